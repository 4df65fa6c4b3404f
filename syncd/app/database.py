"""How is what is in the database opened, as Settings say?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.config.settings import Secret, Settings, StreamSettings
from syncd.store.embedded import embedded_server
from syncd.store.postgres import PostgresStore, open_store
from syncd.sync.model import Table


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
