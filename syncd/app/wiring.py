"""How is each single thing built from Settings?"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from syncd.api.auth.safe import Safe
from syncd.api.client import ApiClient
from syncd.api.exchange import Heard
from syncd.api.source import ApiSource
from syncd.config.settings import AuthSettings, Secret, Settings, SourceSettings, StreamSettings
from syncd.store.embedded import embedded_server
from syncd.store.postgres import PostgresStore, open_store
from syncd.survey.proposed import proposed
from syncd.sync.bucket import TokenBucket
from syncd.sync.model import Table
from syncd.sync.ports import Store
from syncd.sync.unlimited import Unlimited
from syncd.sync.vault import Vault


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


def client(
    settings: SourceSettings,
    on_login: Callable[[float], None] | None = None,
    reread: Callable[[], Awaitable[AuthSettings | None]] | None = None,
    heard: Heard | None = None,
    safe: Safe | None = None,
) -> ApiClient:
    """The HTTP client of a source.

    safe: where the tokens that it buys outlast this process.
    heard: hears of each request when it has come to its end.
    reread: gives the credentials as they stand now.
    """
    return ApiClient(settings, on_login=on_login, reread=reread, heard=heard, safe=safe)


def safe(source: SourceSettings, settings: Settings, vault: Vault) -> Safe | None:
    """Where the tokens of a source are kept; None if no key to seal them with is configured."""
    if settings.token_key is None:
        return None
    return Safe(source=source.name, vault=vault, key=settings.token_key)


def source(settings: SourceSettings, stream: StreamSettings, http: ApiClient) -> ApiSource:
    """One stream of a source, as the loop sees it."""
    return ApiSource(settings, stream, http, proposed)


def budget(source: SourceSettings, settings: Settings, store: Store) -> TokenBucket | Unlimited:
    """The budget of a source; still to be opened."""
    if source.budget is None:
        return Unlimited(f"source {source.name}", store)
    return TokenBucket(source.budget, store, longest_timeout(settings, source.budget.name))


def longest_timeout(settings: Settings, budget: str) -> float:
    """Of all sources that share the budget, in seconds."""
    return max(
        s.timeout
        for s in settings.sources.values()
        if s.budget is not None and s.budget.name == budget
    )
