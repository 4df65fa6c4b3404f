"""`syncd forget` on a real Postgres: nothing of a record is left, and nothing of others is lost."""

import json
from functools import partial
from typing import Any

import attrs
import psycopg
import pytest
import trio
from psycopg import sql

from syncd.api import keys
from syncd.errors import StoreRefused
from syncd.store.alarms import AlarmBook
from syncd.store.forgetting import Forgetting, MisfitError
from syncd.store.looking import Looking
from syncd.store.requests import Asking
from syncd.sync.alarm import Alarm, Message, Standing
from syncd.sync.asking import Asker
from syncd.sync.keepout import KeptOut, Salt, key_is
from syncd.sync.model import DeadLetter, PageCommit, Row, StreamId, Table
from syncd.sync.ports import ApiFailing, Settlement
from tests.contract.subjects import (
    ADS,
    OTHER,
    TABLE,
    PostgresSubject,
    Stream,
    campaigns,
    commit_one,
    intent,
    key,
    letter,
    one_token,
    opened,
    page,
    row,
    running,
)

ME = Asker(who="me@here")
NAME = "marker_4711"
WHO, MAIL = "Marker Muster", "marker@example.com"
LONG = f"a remark of Marker's that is longer than a reason has room for, {'and longer ' * 9}"
MARKERS = (NAME, WHO, MAIL, "remark of Marker")
WRONG = f'column name: found "{LONG[:59]}…; allowed: less of {WHO}'
RECORD = json.dumps({"id": NAME, "name": WHO, "mail": MAIL, "remarks": [LONG]}).encode()


def forgetting(
    subject: PostgresSubject, table: Table = TABLE, stream: StreamId = ADS
) -> Forgetting:
    return Forgetting(
        connections=subject.store.connections,
        stream=stream,
        table=table,
        canonical=partial(keys.canonical, table.key, table.columns),
        paged_by_key=False,
    )


async def dump(subject: PostgresSubject) -> str:
    """Every column of every table of the database, as text."""
    every = await subject.select(
        sql.SQL(
            "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
            "AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'"
        )
    )
    found = []
    for table in every:
        name = sql.Identifier(table["schema"], table["name"])
        rows = await subject.select(sql.SQL("SELECT * FROM {}").format(name))
        found += [f"{table['name']}: {_as_text(row)}" for row in rows]
    return "\n".join(found)


def _as_text(row: dict[str, Any]) -> str:
    return " | ".join(
        f"{n}={v.decode('utf-8', 'replace') if isinstance(v, bytes) else v}" for n, v in row.items()
    )


def left(text: str) -> list[str]:
    return [line for line in text.splitlines() if any(m in line for m in MARKERS)]


def the_row(of: str = NAME) -> Row:
    return attrs.evolve(row(of, name=WHO), raw=RECORD)


def the_letter(kind: Any) -> DeadLetter:
    return attrs.evolve(letter(NAME, kind=kind, reason=WRONG, payload=RECORD))


async def scan(stream: Stream, *rows: Row) -> None:
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(page(*rows, next_cursor=None), keys=()))
    await stream.store.reconcile(stream.table, stream.at, cycle, moved="")
    stream.at = await stream.store.read_checkpoint(stream.id)


async def through_everything(subject: PostgresSubject) -> Stream:
    """A record that was written, refused, called for, missed, asked about and complained of."""
    store = subject.store
    stream = await running(store)
    asking = Asking(store.connections)
    await store.open_budget("b", requests=10, per=60)
    of = intent(NAME, stream.at.cycle or 0, stream.at.started)
    for what in (f"call {key(NAME)}", f"verify {key(NAME)}"):
        await one_token(
            store,
            spent_on=f"{ADS} {what}",
            lease=stream.lease,
            intent=of if what.startswith("call") else None,
        )
    done = b'{"synced":"' + WHO.encode() + b'"}'
    await store.settle_calls([Settlement(intent=of, outcome="done", kept=done)])
    await store.settle_calls([Settlement(intent=intent(NAME, 104), outcome="done", kept=done)])
    for number, outcome in ((101, "failed"), (102, "unknown")):
        settled = Settlement(intent=intent(NAME, number), outcome=outcome, reason=WRONG)  # type: ignore[arg-type]
        await store.settle_calls([settled])
    await store.store_intent(intent(NAME, 103), stream.lease)
    asked = f"GET /api/campaigns/{NAME} answered 200"
    await stream.commit(
        attrs.evolve(page(the_row(), *campaigns("1", "2"), next_cursor=None), request=asked)
    )
    for kind in ("contract", "refused", "call-failed", "outcome-unknown"):
        await stream.whole_cycle(*campaigns("1", "2"), dead=(the_letter(kind), letter("3")))
    beside = await store.begin_aside(stream.at, "1 dead letter tried again")
    letters = await subject.select(sql.SQL("SELECT id FROM syncd.dead_letter ORDER BY id"))
    tried = {letters[0]["id"]: key(NAME)}
    again = page(next_cursor=None, dead=(the_letter("contract"),), letters=tried)
    await commit_one(store, TABLE, beside, attrs.evolve(again, aside=True))
    stream.at = await store.read_checkpoint(ADS)
    await scan(stream, the_row(), *campaigns("1", "2"))
    every = ("contract", "refused", "call-failed", "outcome-unknown")
    await stream.whole_cycle(dead=(*map(the_letter, every), letter("3")))
    await scan(stream, *campaigns("1"))  # two are missing
    stream.at, _ = await store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    noted = attrs.evolve(page(*campaigns("1", "2")), keys=(key(NAME),))
    await stream.commit(noted)  # of a scan that has not ended
    trouble = f"all 10 records break the contract, the first because {WRONG}"
    await store.note_trouble(
        stream.at, parked=True, reason=trouble, counts=attrs.evolve(_none(), requests=1)
    )
    await store.post_failing(
        stream.lease, ApiFailing(since=1, reason=f"{MAIL} is not known", next_probe=1)
    )
    await AlarmBook(store.connections).write(
        "here",
        standing=[
            (
                "me",
                Standing(
                    alarm=Alarm("parked", "ads", "campaigns"), reason=trouble, since=1, told=1
                ),
            ),
            ("me", Standing(alarm=Alarm("api-failing", "ads"), reason=MAIL, since=1, told=1)),
        ],
        messages=[
            (
                "ads",
                Message(id="1", receiver="me", what="parked", body=json.dumps({"reason": trouble})),
            )
        ],
    )
    for subjects in ([NAME], ["1", NAME], [key(NAME)]):
        await asking.ask("sync", "ads", "campaigns", asked_by=ME, subjects=subjects)
    for request in await store.take_requests([stream.lease]):
        answer = f"the API does not list: {NAME} (or `where` leaves it out)"
        await store.answer_request(request, ok=False, answer=answer)
    await asking.ask("sync", "ads", "campaigns", asked_by=ME, subjects=["1", NAME])
    return stream


def _none() -> Any:
    from syncd.sync.model import Counts  # noqa: PLC0415

    return Counts()


async def test_no_secret_out_nothing_of_a_record_is_left_in_any_table(
    real: PostgresSubject,
) -> None:
    """no-secret-out: whatever befell it: its key and its values are in no column any more."""
    stream = await through_everything(real)
    before = await dump(real)
    places = {line.partition(":")[0] for line in left(before)}
    assert places == {
        *("campaigns", "dead_letter", "call", "token", "page", "event", "missing", "seen"),
        *("cycle", "checkpoint", "lease", "alarm", "notice", "request", "audit"),
    }
    found = await forgetting(real).forget([NAME], keep_out=True, asked_by=ME)
    assert left(await dump(real)) == []
    assert found.places == {
        "in public.campaigns": 1,
        "among the dead letters": 4,
        "in the ledger of calls": 4,
        "beside tokens of the budget": 2,
        "in its story": found.places["in its story"],
        "noted by scans": 2,
        "among the requests": 4,
        "in reasons, answers and the audit": found.places["in reasons, answers and the audit"],
    }
    assert found.unknown == 3  # one that is open, one that is unknown, and a letter's
    proof = await forgetting(real).prove([NAME])
    assert proof.left == []
    assert proof.tables > 15
    assert proof.rows > 30
    # What is of others stands as it stood.
    assert set(await real.rows()) == {"1", "2"}
    assert [aside.key for aside in await real.dead()] == [key("3")]
    story = await Looking(real.store.connections).story(ADS, TABLE, "2")
    assert [e.what for e in story.events] == ["missing"]
    # The scan that runs has lost nothing, and ends whole.
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(page(next_cursor=None), keys=()))
    found_by_scan = await real.store.reconcile(TABLE, stream.at, cycle, moved="")
    assert (found_by_scan.broken, found_by_scan.missing) == ("", 0)


async def test_what_is_only_looked_at_stays(real: PostgresSubject) -> None:
    """contained: the same counts, and every table as it was."""
    await through_everything(real)
    before = await dump(real)
    seen = await forgetting(real).look([NAME])
    assert await dump(real) == before
    found = await forgetting(real).forget([NAME], keep_out=False, asked_by=ME)
    assert (found.places, found.unknown) == (seen.places, seen.unknown)


async def test_the_audit_says_who_did_it_and_not_to_whom(real: PostgresSubject) -> None:
    """no-secret-out: when, which stream, how much; no key."""
    stream = await running(real.store)
    await stream.commit(page(the_row()))
    await forgetting(real).forget([NAME, "2"], keep_out=True, asked_by=ME)
    _, [(_, deed), *_] = await Asking(real.store.connections).audit(5)
    assert (deed.asker, deed.what, deed.ok) == (ME, "forget", True)
    assert (deed.subject, deed.answer) == (
        "ads.campaigns (2 records, kept out)",
        "1 in public.campaigns, 1 in its story",
    )


async def test_a_small_number_is_struck_out_of_the_audit_where_it_is_the_key(
    real: PostgresSubject,
) -> None:
    """no-secret-out: ids of letters, counts and other streams' records stay."""
    stream = await running(real.store)
    asking = Asking(real.store.connections)
    for kind, stream_of, subjects in (
        ("sync", ADS, ["7", "77"]),
        ("retry", ADS, ["7"]),
        ("sync", OTHER, ["7"]),
    ):
        await asking.ask(kind, "ads", stream_of.stream, asked_by=ME, subjects=subjects)  # type: ignore[arg-type]
        (request,) = await real.store.take_requests([stream.lease])
        answer = "7 written; the API does not list: 7, 77 (or `where` leaves it out)"
        await real.store.answer_request(request, ok=False, answer=answer)
    await forgetting(real).forget(["7"], keep_out=False, asked_by=ME)
    _, [_, *deeds] = await asking.audit(9)
    assert [(deed.what, deed.subject) for _, deed in reversed(deeds)] == [
        ("sync", "ads.campaigns *** 77"),
        ("retry", "ads.campaigns 7"),
        ("sync", "ads.adsets 7"),
    ]
    said = "7 written; the API does not list: ***, 77 (or `where` leaves it out)"
    assert deeds[-1][1].answer == said
    requests = await real.select(sql.SQL("SELECT subjects, answer FROM syncd.request ORDER BY id"))
    assert [r["subjects"] for r in requests] == [["***", "77"], ["7"], ["7"]]
    assert requests[0]["answer"] == said


async def test_a_key_that_is_nowhere_is_kept_out_all_the_same(real: PostgresSubject) -> None:
    """accounted: of a stream that never ran, too; and let in again."""
    found = await forgetting(real).forget([NAME], keep_out=True, asked_by=ME)
    assert (found.words, found.were_kept_out) == ("nothing", 0)
    stream = await running(real.store)
    done = await stream.commit(page(the_row(), *campaigns("1")))
    assert (done.totals.written, done.totals.left_out, done.totals.kept_out) == (1, 1, 1)
    assert (await forgetting(real).look([NAME])).were_kept_out == 1
    looking = Looking(real.store.connections)
    assert (await looking.story(ADS, TABLE, NAME)).kept_out
    assert await forgetting(real).let_in([NAME], asked_by=ME) == 1
    assert await forgetting(real).let_in([NAME], asked_by=ME) == 0
    assert not (await looking.story(ADS, TABLE, NAME)).kept_out
    done = await stream.commit(page(the_row()))
    assert done.totals.written == 2


async def test_a_number_is_kept_out_however_it_is_written(real: PostgresSubject) -> None:
    """accounted: 1.0 is 1 for a number; a text is taken as it is; two columns are one key."""
    columns = {"region": "text", "id": "numeric", "name": "text"}
    table = attrs.evolve(
        TABLE,
        name="items",
        columns=columns,
        key=("region", "id"),
        volatile=frozenset(),
        kept=frozenset(),
    )
    stream = await running(real.store, OTHER, table)
    items = [
        Row(key=f'["eu",{n}]', json=f'{{"region": "eu", "id": {n}, "name": "{WHO}"}}'.encode())
        for n in ("1.50", "2")
    ]
    items[0] = attrs.evolve(items[0], key='["eu","1.5"]')  # as `api.columns` writes it
    await stream.commit(page(*items))
    of = forgetting(real, table, OTHER)
    found = await of.forget(["eu, 1.500"], keep_out=True, asked_by=ME)
    assert found.words.startswith("1 in public.items")
    kept_out = await real.store.kept_out(OTHER, table)
    assert kept_out.without(OTHER, [i.key for i in items]) == {'["eu",2]'}
    assert (await of.prove(["eu, 1.5"])).left == []
    assert [r["id"] for r in await real.select(sql.SQL("SELECT id FROM items"))] == [2]
    assert await of.let_in(["EU, 1.5"], asked_by=ME) == 0
    assert await of.let_in(['["eu", 1.5]'], asked_by=ME) == 1
    for misfit in ("eu", "eu, x", "eu, 1, 2"):
        with pytest.raises(MisfitError):
            await of.look([misfit])


async def test_the_hashes_are_those_that_the_loop_makes(real: PostgresSubject) -> None:
    """accounted: HMAC-SHA256, of Python and of Postgres alike."""
    salt = Salt.of(b"secret")
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    text = "ads\x1fcampaigns\x1f" + key("ü")
    assert salt.hashed(ADS, key("ü")) == hmac.new(b"secret", text.encode(), hashlib.sha256).digest()
    await forgetting(real).forget(["ü"], keep_out=True, asked_by=ME)
    known = await real.store.kept_out(ADS, TABLE)
    assert known.salt is not None
    assert known.hashes == {known.salt.hashed(ADS, key("ü"))}
    stream = await running(real.store)
    assert (await stream.commit(page(row("ü"), row("u")))).totals.kept_out == 1


async def test_another_key_than_the_hashes_were_made_of_parks_the_stream(
    real: PostgresSubject,
) -> None:
    """contained: who is kept out can't be told any more; nothing comes back by the way."""
    await forgetting(real).forget(["7"], keep_out=True, asked_by=ME)
    other = attrs.evolve(TABLE, columns={**TABLE.columns, "id": "bigint"})
    with pytest.raises(StoreRefused, match=r"its key is id bigint now.* known by id text"):
        await real.store.kept_out(ADS, other)
    assert await forgetting(real, other).let_in([], asked_by=ME) == 1
    known = await real.store.kept_out(ADS, other)
    assert known == KeptOut(version=known.version, key_is=key_is(other))


async def test_what_another_table_refers_to_is_told_and_nothing_is_erased(
    real: PostgresSubject,
) -> None:
    """contained: all or nothing; and so is a right that is missing."""
    stream = await running(real.store)
    await stream.commit(page(the_row(), dead=(letter("2"),)))
    await real.select(
        sql.SQL(
            "CREATE TABLE orders (source text, campaign text, "
            "FOREIGN KEY (source, campaign) REFERENCES campaigns (_syncd_source, id))"
        )
    )
    await real.select(sql.SQL("INSERT INTO orders VALUES ('ads', {})").format(NAME))
    with pytest.raises(StoreRefused, match="another table of yours refers to it"):
        await forgetting(real).forget([NAME], keep_out=True, asked_by=ME)
    assert NAME in await real.rows()
    assert (await real.store.kept_out(ADS, TABLE)).hashes == frozenset()


async def test_a_letter_without_a_key_that_names_it_is_told_as_left(real: PostgresSubject) -> None:
    """no-secret-out: it may be another's, so nobody but a person discards it."""
    stream = await running(real.store)
    await stream.commit(page(dead=(letter(None, payload=RECORD), letter("2", payload=RECORD))))
    found = await forgetting(real).forget([NAME], keep_out=False, asked_by=ME)
    assert found.keyless == 1
    proof = await forgetting(real).prove([NAME])
    (place,) = proof.left
    assert place.startswith("syncd.dead_letter, column payload; a dead letter without a key")


async def test_a_list_that_is_paged_by_its_keys_names_it_until_it_has_gone_on(
    real: PostgresSubject,
) -> None:
    """no-secret-out: its cursor is told as left, with what to do; its mark goes at once."""
    stream = await running(real.store)
    await stream.commit(attrs.evolve(page(the_row("7"), next_cursor="7"), high_seen="7"))
    await real.select(sql.SQL("UPDATE syncd.checkpoint SET high_water = '7'"))
    by_number = forgetting(real)
    by_key = attrs.evolve(by_number, paged_by_key=True)
    await by_key.forget(["7"], keep_out=True, asked_by=ME)
    (checkpoint,) = await real.select(sql.SQL("SELECT * FROM syncd.checkpoint"))
    assert (checkpoint["high_water"], checkpoint["last_page"]) == (None, None)
    assert (await by_number.prove(["7"])).left == []  # there it is the number of a page
    todo = "the list is paged by it; it goes with the next page, or `syncd reset ads.campaigns`"
    assert (await by_key.prove(["7"])).left == [
        f"syncd.checkpoint, column cursor: {todo}",
        f"syncd.checkpoint, column high_seen: {todo}",
    ]
    stream.at = await real.store.reset(stream.at, "asked")
    await stream.begin()
    assert (await by_key.prove(["7"])).left == []


async def test_what_nobody_thought_of_is_found_too(real: PostgresSubject) -> None:
    """no-secret-out: a table that a later version brings is looked through as well."""
    await running(real.store)
    await real.select(
        sql.SQL("CREATE TABLE syncd.later (source text, stream text, keys text[], j jsonb)")
    )
    insert = sql.SQL("INSERT INTO syncd.later VALUES ('ads', {}, ARRAY[{}], {})")
    await real.select(insert.format("campaigns", key(NAME), "{}"))
    await real.select(insert.format("adsets", key(NAME), f'["{NAME}"]'))
    proof = await forgetting(real).prove([NAME])
    assert proof.left == ["syncd.later, column keys"]


async def test_page_atomic_a_commit_under_way_and_forget_wait_for_each_other(
    real: PostgresSubject,
) -> None:
    """page-atomic: whichever comes first, the record is gone afterwards."""
    stream = await running(real.store)
    await stream.commit(page(the_row()))
    with psycopg.connect(real.conninfo) as holding:
        # A page's transaction, before its COMMIT.
        holding.execute("UPDATE syncd.checkpoint SET seq = seq")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(forgetting(real).forget, [NAME], keep_out=False, asked_by=ME)
            )
            await _until_one_waits(real)
            holding.commit()
    assert await real.rows() == {}
    # That page was fetched before; the next one after.
    stale: PageCommit = page(the_row(), *campaigns("1"))
    assert (await stream.commit(stale)).totals.kept_out == 1
    assert set(await real.rows()) == {"1"}
    now = attrs.evolve(stale, kept_out_version=stream.at.kept_out_version)
    await stream.commit(now)
    assert set(await real.rows()) == {"1", NAME}


async def _until_one_waits(subject: PostgresSubject) -> None:
    waiting = sql.SQL("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with trio.fail_after(20):
        while True:
            if await subject.select(waiting):
                return
            await trio.sleep(0.01)


async def test_a_stream_that_was_opened_before_its_table(real: PostgresSubject) -> None:
    """contained: a table that is not there has nothing to be erased."""
    lacks = attrs.evolve(TABLE, name="elsewhere")
    await opened(real.store)
    found = await forgetting(real, lacks).forget([NAME], keep_out=False, asked_by=ME)
    assert found.words == "nothing"
    assert (await forgetting(real, lacks).prove([NAME])).left == []
