"""How is each single thing built from Settings?"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from syncd.api import keys
from syncd.api.auth.safe import Safe
from syncd.api.client import ApiClient
from syncd.api.exchange import Heard
from syncd.api.source import ApiSource
from syncd.config.settings import AuthSettings, Secret, Settings, SourceSettings, StreamSettings
from syncd.store.embedded import embedded_server
from syncd.store.postgres import PostgresStore, open_store
from syncd.survey.proposed import proposed
from syncd.sync.bucket import TokenBucket
from syncd.sync.events import Purpose
from syncd.sync.limits import Limits
from syncd.sync.model import Table
from syncd.sync.ports import Budget, Price, Store
from syncd.sync.retry import Outage, Retry
from syncd.sync.unlimited import Unlimited
from syncd.sync.vault import Vault
from syncd.sync.waits import Waits

Part = TokenBucket | Unlimited


@asynccontextmanager
async def store(settings: Settings, *, migrations: bool = True) -> AsyncIterator[PostgresStore]:
    """Yield the open store, its Postgres an embedded one if none is configured.

    With `migrations` its schema is made as new as this syncd.
    """
    url = settings.database.url
    if url is not None:
        conninfo = url.reveal() if isinstance(url, Secret) else url
        async with open_store(conninfo, migrations=migrations) as opened:
            yield opened
        return
    async with (
        embedded_server(settings.state) as server,
        open_store(server.conninfo, migrations=migrations, revive=server.revive) as opened,
    ):
        yield opened


def table(stream: StreamSettings) -> Table:
    """The user's table, as the settings describe it."""
    return Table(
        schema=stream.schema,
        name=stream.table,
        columns=stream.columns,
        key=stream.key,
        volatile=stream.volatile,
        kept=frozenset(stream.call.keep) if stream.call else frozenset(),
        indexes=stream.indexes,
        ignored=frozenset(stream.contract.ignore),
        evolves="evolve" in (stream.contract.new_fields, stream.contract.wrong_types),
    )


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
    return ApiSource(settings, stream, http, proposed)


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
