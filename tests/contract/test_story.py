"""What is remembered of single records, and whether `why` can tell a story from it."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from psycopg import sql

from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.store import history
from syncd.store.looking import Looking
from syncd.store.postgres import open_store
from syncd.store.requests import Asking
from syncd.sync.asking import Asker
from syncd.sync.model import PageCommit, Row, StreamId, Table
from syncd.sync.picture import Look, Story
from syncd.sync.ports import Settlement
from syncd.views.story import Tale, story_object, tell
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
    opened,
    page,
    row,
    running,
)

CONFIG = """
state = "/tmp"
[sources.ads]
base_url = "http://127.0.0.1:9"
[sources.ads.streams.campaigns]
path = "/api/campaigns"
key = ["id"]
table = "campaigns"
volatile = ["heat"]
columns = { id = "text", name = "text", budget = "numeric", clicks = "bigint", heat = "numeric", synced = "text" }
call = { path = "/api/campaigns/{id}/sync", keep = { synced = "synced" } }
"""  # noqa: E501 - a line of the file

ASKED = "GET /api/campaigns?page=1&limit=10 answered 200"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "syncd.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return load(path, secrets=False)


async def story(subject: PostgresSubject, of: str = "1", stream: StreamId = ADS) -> Story:
    looking: Look = Looking(subject.store.connections)
    return await looking.story(stream, TABLE, of)


async def told(subject: PostgresSubject, settings: Settings, of: str = "1") -> Tale:
    return tell(await story(subject, of), settings)


def kinds(tale: Tale) -> list[str]:
    return [chapter.kind for chapter in tale.past]


def asked(*rows: Row, **of_page: Any) -> PageCommit:
    return attrs.evolve(page(*rows, **of_page), request=ASKED)


async def scan(stream: Stream, *rows: Row) -> None:
    """A whole cycle that notes its keys, and its conclusion."""
    stream.at, _ = await stream.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(asked(*rows, next_cursor=None), keys=()))
    await stream.store.reconcile(stream.table, stream.at, cycle, moved="")
    stream.at = await stream.store.read_checkpoint(stream.id)


async def retry(stream: Stream, number: int, *rows: Row, **of_page: Any) -> None:
    """A dead letter is tried again, beside the list."""
    beside = await stream.store.begin_aside(stream.at, "1 dead letter tried again")
    commit = attrs.evolve(
        page(*rows, next_cursor=None, letters={number: key("1")}, **of_page), aside=True
    )
    await commit_one(stream.store, stream.table, beside, commit)
    stream.at = await stream.store.read_checkpoint(stream.id)


async def test_one_record_through_all_that_can_befall_it(
    real: PostgresSubject, settings: Settings
) -> None:
    """accounted: written, changed, dead, retried, deleted and returned; each with its page."""
    stream = await running(real.store)
    await real.store.settle_calls([Settlement(intent=intent("1"), outcome="done", kept=b"{}")])
    await stream.commit(asked(*campaigns("1", "2", "3")))
    await stream.commit(asked(*campaigns("4"), next_cursor=None))
    await stream.whole_cycle(*campaigns("1", "2", "3", "4"))
    assert kinds(await told(real, settings)) == ["called", "written"]
    await stream.begin()
    await stream.commit(asked(row("1", name="new"), *campaigns("2", "3"), next_cursor=None))
    tale = await told(real, settings)
    assert tale.past[-1].words == "Changed by page 1 of cycle 3"
    assert tale.past[-1].details == [f"{ASKED}; 3 records: 1 written, 2 unchanged"]
    failed = letter("1", kind="call-failed", reason="409: busy")
    await stream.whole_cycle(*campaigns("2", "3", "4"), dead=(failed,))
    (lies,) = (await story(real)).letters
    tale = await told(real, settings)
    assert tale.past[-1].words == "Put aside as a dead letter (call-failed) by page 1 of cycle 4"
    assert tale.past[-1].details[0] == "409: busy"
    assert "dead letter 1 (call-failed), put aside once" in tale.now[-1]
    await retry(stream, lies.id, dead=(failed,))
    assert kinds(await told(real, settings))[-2:] == ["retried", "put-aside"]
    await retry(stream, lies.id, row("1", name="newer"))
    tale = await told(real, settings)
    assert kinds(tale)[-3:] == ["retried", "changed", "recovered"]
    assert tale.past[-2].words == "Changed by cycle 6 (1 dead letter tried again)"
    await scan(stream, *campaigns("2", "3", "4"))
    tale = await told(real, settings)
    assert kinds(tale)[-1] == "missing"
    assert "If the next complete scan does not meet it either" in tale.coming[-1]
    await scan(stream, *campaigns("2", "3", "4"))
    tale = await told(real, settings)
    assert kinds(tale)[-1] == "deleted"
    assert "marked as deleted since" in tale.now[0]
    assert "the page that meets it takes the mark away" in tale.coming[-1]
    await scan(stream, row("1", name="newer"), *campaigns("2", "3", "4"))
    tale = await told(real, settings)
    assert kinds(tale) == [
        *("written", "changed", "put-aside", "retried", "put-aside", "retried", "changed"),
        *("recovered", "missing", "deleted", "returned"),
    ], "the ledger keeps no calls of cycles past"
    assert (await story(real)).last == (await story(real)).pages[-1]
    assert "last changed just now, by page 1 of cycle 9." in tale.now[0]


async def test_a_rows_moment_is_its_pages(real: PostgresSubject) -> None:
    """page-atomic: one moment for all that a page changed; halves as well, and deletes."""
    stream = await running(real.store)
    await stream.commit(asked(*campaigns("1", "2"), row("3", clicks=2**63)))
    (at,) = await moments(real)
    assert (await pages(real))["1"] == [at]
    await stream.commit(asked(row("1", heat=7), row("2", name="new"), next_cursor=None))
    found = await pages(real)
    assert found["1"] == [at], "what is volatile is no change"
    assert found["2"][0] == at
    assert await moments(real) == sorted({at, found["2"][1]})
    for _ in range(2):
        await scan(stream, row("1", heat=7))
    gone = await real.select(
        sql.SQL(
            "SELECT e.at = c._syncd_deleted_at AND e.at = c._syncd_changed_at AS same "
            "FROM syncd.event e, campaigns c WHERE e.what = 'deleted' AND c.id = '2'"
        )
    )
    assert gone == [{"same": True}]


async def moments(subject: PostgresSubject) -> list[Any]:
    found = "SELECT DISTINCT _syncd_changed_at AS at FROM campaigns ORDER BY 1"
    return [r["at"] for r in await subject.select(sql.SQL(found))]


async def pages(subject: PostgresSubject) -> dict[str, list[Any]]:
    """When a page is said to have changed each campaign."""
    found = "SELECT unnest(changed)::jsonb ->> 0 AS id, committed_at AS at FROM syncd.page"
    told: dict[str, list[Any]] = {}
    for r in await subject.select(sql.SQL(found) + sql.SQL(" ORDER BY 2")):
        told.setdefault(r["id"], []).append(r["at"])
    return told


async def test_a_page_that_changes_nothing_leaves_nothing(real: PostgresSubject) -> None:
    """The usual page of the usual cycle costs the history not a byte."""
    stream = await opened(real.store)
    for _ in range(3):
        await stream.whole_cycle(*campaigns("1", "2"))
    count = sql.SQL("SELECT count(*) AS n FROM syncd.page")
    assert await real.select(count) == [{"n": 1}]


async def test_a_letter_that_comes_again_for_the_same_reason_is_told_once(
    real: PostgresSubject,
) -> None:
    """A record that is bad in each cycle for a year has one event, and one more by a new reason."""
    stream = await opened(real.store)
    for reason in ("bad", "bad", "bad", "worse"):
        await stream.whole_cycle(dead=(letter("1", reason=reason),))
    found = await story(real)
    assert [(e.what, e.reason) for e in found.events] == [
        ("put-aside", "bad"),
        ("put-aside", "worse"),
    ]
    assert found.letters[0].attempts == 4


async def test_a_letter_leaves_by_each_of_its_ways(
    real: PostgresSubject, settings: Settings
) -> None:
    """Discarded by a person, left out by a rule, or written by a cycle: each is told."""
    stream = await opened(real.store)
    looking = Looking(real.store.connections)
    await stream.whole_cycle(dead=(letter("1"), letter(None, payload=b"no key")))
    ann = Asker(who="ann@web1")
    asking = Asking(real.store.connections)
    assert len(await asking.discard(await looking.which_are_dead(ADS), asked_by=ann)) == 2
    assert (await told(real, settings)).past[-1].details == ["by ann@web1"]
    await stream.whole_cycle(dead=(letter("1"),))
    beside = await stream.store.begin_aside(stream.at, "1 dead letter tried again")
    (number,) = await looking.which_are_dead(ADS)
    commit = page(next_cursor=None, letters={number: None}, left_out=1)
    await commit_one(stream.store, TABLE, beside, attrs.evolve(commit, aside=True))
    stream.at = await stream.store.read_checkpoint(ADS)
    assert "a rule of `where` leaves the record out" in (await told(real, settings)).past[-1].words
    await stream.whole_cycle(dead=(letter("1"),))
    await stream.whole_cycle(row("1"))
    assert kinds(await told(real, settings)) == [
        *("put-aside", "discarded", "put-aside", "retried", "left-out"),
        *("put-aside", "written", "recovered"),
    ]


async def test_many_that_go_at_once_are_counted_and_not_named(
    real: PostgresSubject, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a table does not become half a history; its row says by which scan it went."""
    monkeypatch.setattr("syncd.store.scans.NAMED", 2)
    stream = await opened(real.store)
    await stream.whole_cycle(*campaigns("1", "2", "3", "4", "5"))
    for _ in range(2):
        await scan(stream, *campaigns("4", "5"))
    sizes = "SELECT what, many, cardinality(keys) AS named FROM syncd.event ORDER BY id"
    assert [tuple(r.values()) for r in await real.select(sql.SQL(sizes))] == [
        ("missing", 3, 0),
        ("deleted", 3, 0),
    ]
    tale = await told(real, settings)
    assert tale.past[-1].words == "Marked as deleted by cycle 3, with 3 rows at once"
    assert kinds(await told(real, settings, "4")) == ["written"]


async def test_history_ages_out_in_batches_and_by_its_size(
    real: PostgresSubject, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too old leaves; so do old pages of a stream that changes without end."""
    stream = await opened(real.store)
    for name in ("a", "b", "c"):
        await stream.whole_cycle(row("1", name=name), row("2"), dead=(letter("3"),))
    monkeypatch.setattr(history, "KEYS", 2)
    await stream.store.purge(ADS, 1000.0)
    tale = await told(real, settings)
    assert [c.words for c in tale.past] == [
        "Written by page 1 of cycle 2",
        "Changed by page 1 of cycle 3",
    ]
    lost = await told(real, settings, "2")
    assert "a page that is not remembered any more" in lost.past[0].words
    monkeypatch.setattr(history, "PURGE", 1)
    async with open_store(real.conninfo) as again:
        await again.purge(ADS, -1.0)
    left = "SELECT (SELECT count(*) FROM syncd.page), (SELECT count(*) AS e FROM syncd.event)"
    assert [tuple(r.values()) for r in await real.select(sql.SQL(left))] == [(0, 0)]
    assert "by a page of which nothing is known" in (await told(real, settings)).past[-1].words


# --- keys ----------------------------------------------------------------------------------------

KEYED = Table(
    schema="public",
    name="keyed",
    columns={"region": "text", "id": "bigint", "at": "timestamptz", "share": "numeric"},
    key=("region", "id", "at", "share"),
)


@pytest.mark.parametrize(
    "asked_for",
    [
        "eu, 42, 2026-01-01T00:00:00Z, 1.50",
        "eu,42,2026-01-01 01:00:00+01,1.5",
        '["eu", 42, "2026-01-01T00:00:00Z", "1.5"]',
        '["eu",42,"2026-01-01T00:00:00Z",1.5]',
    ],
)
async def test_a_key_is_found_however_it_is_written(real: PostgresSubject, asked_for: str) -> None:
    """Its columns' types say what the words mean."""
    canonical = '["eu",42,"2026-01-01T00:00:00Z","1.5"]'
    stream = await running(real.store, table=KEYED)
    values = {"region": "eu", "id": 42, "at": "2026-01-01T00:00:00Z", "share": 1.5}
    await stream.commit(asked(Row(key=canonical, json=json.dumps(values).encode())))
    refused = attrs.evolve(letter("x", kind="refused"), key=canonical)
    await stream.commit(asked(dead=(refused,), next_cursor=None))
    found = await Looking(real.store.connections).story(ADS, KEYED, asked_for)
    assert (len(found.pages), len(found.letters), len(found.events)) == (1, 1, 1)
    assert found.row is not None
    assert found.last == found.pages[0]


@pytest.mark.parametrize(
    ("asked_for", "said"),
    [("eu, 42", "the key has 4 columns"), ("eu, x, 2026-01-01, 1", "invalid input syntax")],
)
async def test_a_key_that_no_row_can_have_is_told_so(
    real: PostgresSubject, asked_for: str, said: str
) -> None:
    await opened(real.store, table=KEYED)
    found = await Looking(real.store.connections).story(ADS, KEYED, asked_for)
    assert said in found.misfit
    assert (found.known, found.key) == (False, None)


async def test_an_unknown_record_is_told_where_it_could_be(
    real: PostgresSubject, settings: Settings
) -> None:
    """Another stream that knows the key, dead letters without one, what the last cycle saw."""
    (said,) = (await told(real, settings, "7")).now[1:]
    assert said == "No cycle of this stream has run yet."
    stream = await opened(real.store)
    await stream.whole_cycle(*campaigns("1"), dead=(letter(None, payload=b"?"),))
    other = await opened(real.store, OTHER, attrs.evolve(TABLE, name="adsets"))
    await other.whole_cycle(*campaigns("7"))
    tale = await told(real, settings, "7")
    assert not tale.known
    assert tale.now[0].startswith("Nothing is known of a record with this key: no row in public.")
    assert "`syncd why ads.adsets 7`" in tale.now[1]
    assert "1 dead letter (`syncd dead list`)" in tale.now[2]
    assert "saw 2 records" in tale.now[3]


async def test_a_table_that_is_not_there_or_may_not_be_read_is_told(
    real: PostgresSubject, settings: Settings
) -> None:
    """What is remembered is told all the same."""
    stream = await opened(real.store)
    await stream.whole_cycle(*campaigns("1"))
    await real.select(sql.SQL("DROP TABLE campaigns"))
    tale = await told(real, settings)
    assert kinds(tale) == ["written"]
    assert "can't be read: relation" in tale.now[0]


async def test_programs_get_the_same(real: PostgresSubject, settings: Settings) -> None:
    stream = await opened(real.store)
    await stream.begin()
    await stream.commit(asked(*campaigns("1"), next_cursor=None))
    found = json.loads(json.dumps(story_object(await story(real), settings)))
    assert (found["known"], found["key"], found["table"]) == (True, '["1"]', "public.campaigns")
    assert found["row"]["changed_at"] == found["past"][0]["at"]
    assert found["last_changed_by"]["request"] == ASKED
    assert (found["past"][0]["what"], found["past"][0]["page"]) == ("written", 1)
