"""How is each single thing that asks an API built from Settings?"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from syncd.api import keys
from syncd.api.auth.safe import Safe
from syncd.api.client import ApiClient
from syncd.api.exchange import Heard
from syncd.api.source import ApiSource
from syncd.config.settings import AuthSettings, Settings, SourceSettings, StreamSettings
from syncd.sync.bucket import TokenBucket
from syncd.sync.drift import Added
from syncd.sync.events import Purpose
from syncd.sync.limits import Limits
from syncd.sync.ports import Budget, Price, Store
from syncd.sync.retry import Outage, Retry
from syncd.sync.unlimited import Unlimited
from syncd.sync.vault import Vault
from syncd.sync.waits import Waits

Part = TokenBucket | Unlimited


def canonical_key(stream: StreamSettings, typed: str) -> str:
    """A record's key as the stream's pages have it; typed: a JSON array as Postgres makes it."""
    return keys.canonical(stream.key, stream.columns, typed)


def client(
    settings: SourceSettings,
    on_login: Callable[[float], None] | None = None,
    reread: Callable[[], Awaitable[AuthSettings | None]] | None = None,
    heard: Heard | None = None,
    safe: Safe | None = None,
    misread: Callable[[str], None] | None = None,
) -> ApiClient:
    """The HTTP client of a source.

    misread: hears, once, of a header with a limit that can't be meant.
    safe: where the tokens that it buys outlast this process.
    heard: hears of each request when it has come to its end.
    reread: gives the credentials as they stand now.
    """
    return ApiClient(
        settings, on_login=on_login, reread=reread, heard=heard, safe=safe, misread=misread
    )


def safe(source: SourceSettings, settings: Settings, vault: Vault) -> Safe | None:
    """Where the tokens of a source are kept; None if no key to seal them with is configured."""
    if settings.token_key is None:
        return None
    return Safe(source=source.name, vault=vault, key=settings.token_key)


def source(settings: SourceSettings, stream: StreamSettings, http: ApiClient) -> ApiSource:
    """One stream of a source, as the loop sees it."""
    return ApiSource(settings, stream, http, _proposed)


def _proposed(field: str, values: Sequence[bytes]) -> Added | None:
    """The column for a field that nobody named."""
    from syncd.survey.proposed import proposed  # noqa: PLC0415 - few sources have such fields

    return proposed(field, values)


def limits(source: SourceSettings, settings: Settings, store: Store) -> Limits:
    """All limits of a source; still to be opened."""
    parts = {name: part(name, source, settings, store) for name in parts_of(source)}
    return limits_of(source, parts)


def parts_of(source: SourceSettings) -> list[str]:
    """Of what a source's limits are made, by name; one that counts every request is there."""
    rest = source.unlimited
    return [*(limit.name for limit in source.budget), *([] if rest is None else [rest])]


def part(name: str, source: SourceSettings, settings: Settings, store: Store) -> Part:
    """One of them; still to be opened."""
    for limit in source.budget:
        if limit.name == name:
            return TokenBucket(limit, store, longest_timeout(settings, name))
    return Unlimited(name, store)


def limits_of(source: SourceSettings, parts: Mapping[str, Part]) -> Limits:
    found = [parts[name] for name in parts_of(source)]
    rest = [part for part in found if isinstance(part, Unlimited)]
    return Limits([p for p in found if isinstance(p, TokenBucket)], rest[0] if rest else None)


def prices(stream: StreamSettings) -> Mapping[Purpose, Price]:
    """What the requests of a stream cost."""
    return {what: Price(path=path, cost=cost) for what, (path, cost) in stream.costs.items()}


def retry(
    source: SourceSettings,
    budget: Budget,
    waits: Waits,
    rng: random.Random,
    *,
    patience: float,
    retries: int | None = None,
    outage: Outage | None = None,
) -> Retry:
    """When a failed attempt of a source comes again; retries: if other than its settings say."""
    return Retry(
        retries=source.retries if retries is None else retries,
        base=source.backoff,
        windows=source.windows,
        budget=budget,
        waits=waits,
        rng=rng,
        patience=patience,
        outage=outage or Outage(rng=rng),
    )


def longest_timeout(settings: Settings, budget: str) -> float:
    """Of all sources that share the budget, in seconds."""
    return max(
        s.timeout
        for s in settings.sources.values()
        if any(limit.name == budget for limit in s.budget)
    )
