"""What may each role do, and what does a role hear that may not?"""

from collections.abc import AsyncIterator
from functools import partial

import attrs
import psycopg
import pytest
from psycopg import sql

from syncd.api import keys
from syncd.errors import SchemaError, StoreRefused
from syncd.store import migrate
from syncd.store.forgetting import Forgetting
from syncd.store.looking import Looking
from syncd.store.postgres import PostgresStore, open_store
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.drift import Added
from syncd.sync.model import Counts, Row, Table
from syncd.sync.ports import ApiFailing, Settlement, Taken
from tests.contract.subjects import (
    ADS,
    TABLE,
    PostgresSubject,
    Stream,
    intent,
    letter,
    one_token,
    opened,
    page,
    row,
)
from tests.servers import execute

ODD = attrs.evolve(TABLE, schema='od"d $syncd$', name="t'; DROP SCHEMA syncd; --\n100%")


@attrs.frozen
class Logins:
    """One login in each role, and the superuser."""

    admin: str
    owner: str
    writer: str
    reader: str


def login(conninfo: str, role: str) -> str:
    return psycopg.conninfo.make_conninfo(conninfo, user=role)


@pytest.fixture
async def logins(postgres: str) -> AsyncIterator[Logins]:
    """An empty database on which the grants were run, with a login in each role."""
    await execute(postgres, migrate.roles_sql([TABLE, ODD]))
    names = {role: f"login_{role}" for role in ("owner", "writer", "reader", "nobody")}
    for role, name in names.items():
        made = f"CREATE ROLE {name} LOGIN"
        await execute(postgres, made if role == "nobody" else f"{made} IN ROLE syncd_{role}")
    yield Logins(postgres, *(login(postgres, names[r]) for r in ("owner", "writer", "reader")))
    for name in names.values():
        await execute(postgres, f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}")
        await execute(postgres, f"DROP ROLE {name}")


async def made(logins: Logins, *tables: Table) -> None:
    """The owner makes the schema and the tables; then the grants are run once more."""
    async with open_store(logins.owner) as store:
        for table in tables:
            await store.make_table(table)
    await execute(logins.admin, migrate.roles_sql(tables))


async def whole_life(store: PostgresStore, table: Table) -> Stream:
    """All that a daemon ever does to its store."""
    stream = await opened(store, ADS, table)
    await store.open_budget("b", requests=2, per=60.0)
    token = await one_token(
        store, "b", lifetime=60.0, spent_on="x", lease=stream.lease, intent=intent("1")
    )
    assert isinstance(token, Taken)
    await store.settle_tokens("b", [(token, 0.0, 60.0)])
    await store.give_back("b", token)
    await store.hold_budget("b", 0.0)
    await store.count_from_answers("b")
    await store.open_budget("b", requests=1, per=90.0)
    await store.store_intent(intent("2"), stream.lease)
    await store.settle_calls([Settlement(intent=intent("1"), outcome="done", kept=b"{}")])
    await store.ledger([intent("1").idempotency_key])
    await stream.begin()
    await store.differing(table, ADS.source, [row("1")])
    await store.note_trouble(stream.at, parked=True, reason="x", counts=Counts())
    await stream.begin()
    await stream.commit(page(row("1"), row("2", clicks="x"), dead=(letter("3"),)))
    await store.committed(stream.at)
    await store.read_checkpoint(ADS)
    await stream.begin(abandon="tried")
    await stream.commit(page(row("1", name="new"), row("3"), next_cursor=None))
    await stream.whole_cycle(row("1"), row("3"))
    await store.renew_leases([stream.lease])
    await store.post_failing(stream.lease, ApiFailing(since=1.0, reason="503", next_probe=9.0))
    asking = Asking(store.connections)
    await asking.ask("pause", ADS.source, ADS.stream, asked_by=Asker(who="me"))
    (request,) = await store.take_requests([stream.lease])
    await store.answer_request(request, ok=True, answer="paused")
    await asking.discard([1], asked_by=Asker(who="me"))
    await asking.hold("resume", ADS, asked_by=Asker(who="me"))
    assert [deed.ok for _, deed in (await asking.audit(3))[1]] == [True] * 3
    version = (await store.look_into_vault("ads")).version
    assert await store.claim_login("ads", version, 60.0)
    await store.give_claim_back("ads", version)
    assert await store.keep_bought("ads", version, b"sealed", 60.0)
    assert (await store.look_into_vault("ads")).text == b"sealed"
    await store.standing(ADS)
    await store.calls(ADS)
    await store.dead_letter_count(ADS)
    assert len(await store.table_rows(table, ADS.source)) == 2
    await store.purge(ADS, 1000.0)
    assert (await Looking(store.connections).story(ADS, table, "1")).known
    await store.release_leases([stream.lease])
    return stream


@pytest.mark.parametrize("table", [TABLE, ODD], ids=["plain", "odd"])
async def test_writer_can_do_all_that_a_daemon_does(logins: Logins, table: Table) -> None:
    """With the writer's rights alone a whole life of the daemon goes well."""
    await made(logins, table)
    async with open_store(logins.writer) as store:
        await whole_life(store, table)
    async with open_store(logins.admin) as store:
        await whole_life(store, table)


async def test_writer_may_not_migrate(logins: Logins) -> None:
    """It is told which command the owner has to run."""
    with pytest.raises(SchemaError, match="syncd schema --apply"):
        async with open_store(logins.writer):
            pass


async def test_writer_may_not_make_a_table(logins: Logins) -> None:
    """It is told the SQL that the owner has to run; the schema stands as it did."""
    await made(logins)
    async with open_store(logins.writer) as store:
        lease = await store.acquire_lease("ads")
        with pytest.raises(SchemaError, match=r'CREATE TABLE "public"\."campaigns"'):
            await store.open_stream(ADS, TABLE, lease, every=900)


async def test_writer_may_not_add_a_column(logins: Logins) -> None:
    """contained: the stream is told what to run; the owner runs it, and the column is there.

    A start before that ends with the same words, as for a migration.
    """
    await made(logins, TABLE)
    evolves = attrs.evolve(TABLE, evolves=True)
    colour = Added(column="colour", type="text", field="colour")
    async with open_store(logins.writer) as store:
        stream = await opened(store, ADS, evolves)
        await stream.begin()
        with pytest.raises(StoreRefused, match="syncd schema --apply") as caught:
            await store.evolve(ADS, evolves, stream.lease, [colour])
        assert 'ALTER TABLE "public"."campaigns" ADD COLUMN "colour" text' in caught.value.hint
        with pytest.raises(SchemaError, match=r"lacks columns(.|\n)*ADD COLUMN"):
            await store.open_stream(ADS, evolves, stream.lease, every=900)
        # One that evolves no more goes on without it.
        await store.open_stream(ADS, TABLE, stream.lease, every=900)
        assert (await store.evolution(TABLE)).columns == ()
        async with open_store(logins.owner) as owners:
            await owners.make_table(evolves)
        await store.open_stream(ADS, evolves, stream.lease, every=900)
        assert (await store.evolution(evolves)).columns == (colour,)
        stream.table = evolves.widened(await store.evolution(evolves))
        await stream.begin()
        done = await stream.commit(page(Row(key='["1"]', json=b'{"id": "1", "colour": "red"}')))
        assert done.totals.written == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE public.campaigns",
        "ALTER TABLE public.campaigns ADD COLUMN x text",
        "TRUNCATE public.campaigns",
        "CREATE TABLE syncd.x (y text)",
        "DROP TABLE syncd.call",
    ],
)
async def test_writer_may_change_no_table(logins: Logins, statement: str) -> None:
    """What the daemon never does, its role may not do."""
    await made(logins, TABLE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await execute(logins.writer, statement)


async def test_reader_reads_and_writes_nothing(logins: Logins) -> None:
    """People see the tables, and what syncd remembers; they change neither."""
    await made(logins, TABLE)
    async with open_store(logins.writer) as store:
        await whole_life(store, TABLE)
    reader = PostgresSubject(PostgresStore.__new__(PostgresStore), logins.reader)
    assert set(await reader.rows()) == {"1", "3"}
    assert len(await reader.select(sql.SQL("SELECT * FROM syncd.cycle"))) == 3
    for statement in (
        "UPDATE public.campaigns SET name = 'x'",
        "DELETE FROM public.campaigns",
        "UPDATE syncd.checkpoint SET seq = 0",
        "DELETE FROM syncd.dead_letter",
        "DELETE FROM syncd.audit",
        "INSERT INTO syncd.budget VALUES ('x', 1)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await execute(logins.reader, statement)


async def test_grants_can_be_run_before_and_after_and_again(logins: Logins) -> None:
    """Whatever is there already: the same text, as often as one likes."""
    text = migrate.roles_sql([TABLE, ODD])
    assert text == migrate.roles_sql([ODD, TABLE, TABLE])
    await execute(logins.admin, text)
    await made(logins, TABLE, ODD)
    await execute(logins.admin, text)


async def test_tables_that_the_owner_role_makes_later_are_granted(logins: Logins) -> None:
    """Without the grants being run again, if they are made as the owner's role itself."""
    as_owner = psycopg.conninfo.make_conninfo(logins.owner, options="-c role=syncd_owner")
    async with open_store(as_owner) as store:
        await store.make_table(TABLE)
    async with open_store(logins.writer) as store:
        await whole_life(store, TABLE)


@pytest.mark.parametrize("again", [False, True])
async def test_bought_tokens_are_not_for_readers(logins: Logins, *, again: bool) -> None:
    """no-secret-out: whether the schema was made after the grants, or they were run once more."""
    as_owner = psycopg.conninfo.make_conninfo(logins.owner, options="-c role=syncd_owner")
    async with open_store(as_owner):
        pass
    if again:
        await execute(logins.admin, migrate.roles_sql([TABLE]))
    await execute(logins.reader, "SELECT FROM syncd.cycle")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="vault"):
        await execute(logins.reader, "SELECT FROM syncd.vault")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("REVOKE ALL ON public.campaigns FROM syncd_writer", "permission denied"),
        ("REVOKE ALL ON syncd.cycle FROM syncd_writer", "permission denied"),
        ("ALTER TABLE public.campaigns RENAME TO gone", "does not exist"),
    ],
)
async def test_missing_rights_say_what_to_grant(logins: Logins, missing: str, said: str) -> None:
    """The stream is parked with a sentence to act on, and goes on once it was acted on."""
    await made(logins, TABLE)
    async with open_store(logins.writer) as store:
        stream = await opened(store)
        await stream.begin()
        await execute(logins.admin, missing)
        with pytest.raises(StoreRefused, match=said) as caught:
            await stream.commit(page(row("1")))
        assert "syncd schema" in str(caught.value)


async def test_a_role_without_any_right_is_told_so(logins: Logins) -> None:
    """Not even to look: the refusal names the grants, too."""
    await made(logins)
    with pytest.raises((StoreRefused, SchemaError), match="syncd schema --roles"):
        async with open_store(login(logins.admin, "login_nobody")):
            pass


async def test_only_who_may_delete_rows_can_have_a_record_forgotten(logins: Logins) -> None:
    """contained: the daemon's role is told what it lacks, and nothing is erased; the owner can."""
    await made(logins, TABLE)

    def forgetting(store: PostgresStore) -> Forgetting:
        return Forgetting(
            connections=store.connections,
            stream=ADS,
            table=TABLE,
            canonical=partial(keys.canonical, TABLE.key, TABLE.columns),
            paged_by_key=False,
        )

    me = Asker(who="me")
    async with open_store(logins.writer) as store:
        stream = await opened(store)
        await stream.whole_cycle(row("7"))
        with pytest.raises(StoreRefused, match="may not delete rows") as told:
            await forgetting(store).forget(["7"], keep_out=True, asked_by=me)
        assert 'GRANT DELETE ON "public"."campaigns" TO "login_writer"' in told.value.hint
        assert len(await store.table_rows(TABLE, "ads")) == 1
    async with open_store(logins.owner) as owner:
        found = await forgetting(owner).forget(["7"], keep_out=True, asked_by=me)
        assert found.places["in public.campaigns"] == 1
        assert (await forgetting(owner).prove(["7"])).left == []
    async with open_store(logins.writer) as store:
        assert (await store.kept_out(ADS, TABLE)).hashes
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await execute(logins.reader, "SELECT * FROM syncd.salt")
    async with open_store(logins.reader, migrations=False) as reader:
        story = await Looking(reader.connections).story(ADS, TABLE, "7")
        assert (story.known, story.kept_out) == (False, False)
