"""`syncd diff`: what it says is what `once` then does, and it writes nothing."""

import json
import random
import signal
from decimal import Decimal
from typing import Any

import attrs
import psycopg
import pytest
import trio
from psycopg import sql

from mock_api.testing import MockServer, running_mock
from tests.daemon.changing import PAGES, Fate, Listing, listening
from tests.daemon.conftest import Syncd, config, lines_until

WRITTEN = ("added", "changed", "volatile", "returned", "deleted")
SUMS = ("seen", "written", "unchanged", "left_out", "dead", "folded")
SPENT = ("budget", "token", "vault")
"""Tables of syncd's that a dry run changes, as every request does."""

Rows = dict[str, dict[str, Any]]


def listed(listing: Listing, database: str, more: str = "") -> str:
    return f"""
[database]
url = "{database}"

[sources.shop]
base_url = "http://127.0.0.1:{listing.port}"
budget = {{ requests = 1000, per = "1s" }}

[sources.shop.streams.items]
path = "/items"
records = "data"
key = ["id"]
page = {PAGES[listing.kind]}
where = {{ status = ["active"] }}
volatile = ["clicks"]
reconcile = "1ms"
deleted = {{ field = "deleted" }}
columns = {{ id = "bigint", name = "text", price = "numeric", at = "timestamptz", tags = "jsonb", clicks = "bigint", status = "text" }}
{more}
"""  # noqa: E501 - a line of the file


@attrs.frozen(kw_only=True)
class Said:
    """What one `syncd diff --json` said."""

    lines: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def written(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By key: what would happen to a row, and its columns."""
        return {
            named(line["key"]): (line["change"], line.get("columns", {}))
            for line in self.lines
            if line["change"] in WRITTEN
        }

    @property
    def aside(self) -> set[tuple[str, str]]:
        """Records that would be put aside, and were not: key and reason."""
        return {
            (named(line["key"]), line["reason"])
            for line in self.lines
            if line["change"] == "put-aside" and not line["again"]
        }


def loads(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


async def diffed(syncd: Syncd, stream: str, *options: str) -> Said:
    done = await syncd.command("diff", stream, "--json", *options)
    assert done.returncode == 0, done.stderr
    *lines, last = map(loads, done.stdout.splitlines())
    return Said(lines=lines, summary=last["summary"])


def query(database: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(statement.encode()).fetchall()


def named(key: list[Any] | None) -> str:
    return "none" if key is None else ", ".join(map(str, key))


def table(database: str, name: str) -> Rows:
    """Every row by its key, values as JSON."""
    of = "SELECT json_build_array(id)::text, row_to_json(t)::text FROM"
    found = query(database, f"{of} {name} t")
    return {named(loads(key)): loads(row) for key, row in found}


def aside(database: str) -> set[tuple[str, str]]:
    found = query(database, "SELECT coalesce(key, 'null'), reason FROM syncd.dead_letter")
    return {(named(loads(key)), reason) for key, reason in found}


def everything(database: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that is in the database but what requests cost, with the place of each row."""
    tables = query(
        database,
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'syncd')",
    )
    found = {}
    with psycopg.connect(database) as connection:
        for schema, name in tables:
            if name not in SPENT:
                statement = sql.SQL("SELECT ctid::text, xmin::text, t::text FROM {} t ORDER BY 1")
                found[name] = connection.execute(
                    statement.format(sql.Identifier(schema, name))
                ).fetchall()
        found["sequences"] = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        ).fetchall()
    return found


def happened(
    before: Rows, after: Rows, kept: tuple[str, ...] = ()
) -> dict[str, tuple[str, dict[str, Any]]]:
    """What has become of each row, in the words of a diff."""
    found = {}
    for key, now in after.items():
        was = before.get(key)
        columns = {
            name: {"old": None if was is None else was[name], "new": value}
            for name, value in now.items()
            if not name.startswith("_syncd_")
            and name not in kept
            and (value is not None if was is None else was[name] != value)
        }
        if was is None:
            found[key] = ("added", columns)
        elif was["_syncd_deleted_at"] is None and now["_syncd_deleted_at"] is not None:
            found[key] = ("deleted", {})
        elif was["_syncd_deleted_at"] is not None and now["_syncd_deleted_at"] is None:
            found[key] = ("returned", columns)
        elif was["_syncd_changed_at"] != now["_syncd_changed_at"]:
            found[key] = ("changed", columns)
        elif columns:
            found[key] = ("volatile", columns)
    assert before.keys() <= after.keys(), "a row was taken out of the table"
    return found


async def step(syncd: Syncd, database: str) -> Said:
    """Diff, then once: the same, row by row and sum by sum."""
    untouched = await trio.to_thread.run_sync(everything, database)
    said = await diffed(syncd, "items")
    assert await trio.to_thread.run_sync(everything, database) == untouched
    before, lay = table(database, "items"), aside(database)
    once = await syncd.command("once")
    assert once.returncode == 0, once.stdout + once.stderr
    assert said.written == happened(before, table(database, "items"))
    assert said.aside == aside(database) - lay
    (cycle, *_) = json.loads((await syncd.command("cycles", "--json")).stdout)
    assert [said.summary["counts"][n] for n in SUMS] == [cycle[n] for n in SUMS]
    assert said.summary["changes"]["missing"] == cycle["missing"]
    assert (said.summary["suspicious"] is None) == (cycle["outcome"] == "ok")
    assert said.summary["differences"] == len(said.written) + len(said.aside)
    assert said.summary["complete"] is True
    return said


async def rounds(syncd: Syncd, database: str, kind: str, seed: int, many: int = 1) -> set[str]:
    """Some rounds of fate; which kinds of change they held."""
    met: set[str] = set()
    with listening(kind) as listing:
        fate = Fate(listing=listing, rng=random.Random(seed))
        fate.fill(22)
        syncd.write(listed(listing, database))
        once = await syncd.command("once")
        assert once.returncode == 0, once.stderr
        run(database, "ALTER TABLE items ADD CHECK (price >= 0)")
        for _ in range(many):
            fate.befall()
            met |= {change for change, _ in (await step(syncd, database)).written.values()}
            # What two scans did not meet goes with the second one.
            await step(syncd, database)
            fate.undo()
            met |= {change for change, _ in (await step(syncd, database)).written.values()}
        await step(syncd, database)
        quiet = await diffed(syncd, "items")
        assert (quiet.summary["differences"], quiet.written, quiet.aside) == (0, {}, set())
        nothing = await syncd.command("diff", "items", "--exit-code")
        assert nothing.returncode == 0
        assert "no difference" in nothing.stdout
    return met


def run(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.mark.long
async def test_what_diff_says_is_what_once_does(syncd: Syncd, postgres: str) -> None:
    """accounted: row by row, column by column, and every sum; then there is nothing to say."""
    assert await rounds(syncd, postgres, "number", 1) == set(WRITTEN)


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("kind", PAGES)
async def test_diff_and_once_agree_on_each_kind_of_page(
    syncd: Syncd, postgres: str, kind: str, seed: int
) -> None:
    """accounted: whatever befalls the list, and however it is paged."""
    await rounds(syncd, postgres, kind, seed, many=2 if kind == "cursor" else 1)


async def test_diff_on_an_empty_database_and_its_exit_status(syncd: Syncd, postgres: str) -> None:
    """All rows are new; no table is made, and 3 says that there are differences."""
    with listening("number") as listing:
        Fate(listing=listing, rng=random.Random(1)).fill(7)
        syncd.write(listed(listing, postgres))
        done = await syncd.command("diff", "items", "--exit-code", "--limit", "2")
        assert done.returncode == 3, done.stderr
        assert '+ 1  new\n    id: 1\n    name: "record 1"\n    price: 1.50\n' in done.stdout
        assert "+ 3" not in done.stdout
        assert "and more; --limit N shows more than 2 records" in done.stdout
        assert "7 records on 2 pages (2 requests): 7 new." in done.stdout
        assert "a cycle first runs: CREATE TABLE" in done.stdout
        assert query(postgres, "SELECT FROM pg_tables WHERE schemaname = 'public'") == []
        first = await diffed(syncd, "items", "--pages", "1", "--columns", "name")
        assert next(line["columns"] for line in first.lines) == {
            "name": {"old": None, "new": "record 1"}
        }
        assert (first.summary["complete"], first.summary["counts"]["seen"]) == (False, 5)
        assert any("only the first page was looked at" in n for n in first.summary["notes"])


CHANGED = 'incremental = { field = "version", param = "since", kind = "number" }'


async def test_diff_asks_for_what_has_changed_as_the_next_cycle_does(
    syncd: Syncd, postgres: str
) -> None:
    """resume: from the mark on; with --full what slipped by it is found as well."""
    with listening("number") as listing:
        Fate(listing=listing, rng=random.Random(1)).fill(12)
        for number in listing.records:
            listing.put(number, version=number)
        more = f'{CHANGED}\nhide = {{ status = "drop", name = "mask" }}'
        text = listed(listing, postgres, more).replace('where = { status = ["active"] }', "")
        syncd.write(text.replace('reconcile = "1ms"', ""))
        first = await syncd.command("diff", "items")
        assert "record 1" not in first.stdout
        assert 'name: "***"' in first.stdout
        assert (await syncd.command("once")).returncode == 0
        listing.put(3, version=13, price="3.75")
        listing.put(4, price="4.75")
        listing.records.pop(5)
        said = await diffed(syncd, "items")
        assert {k: change for k, (change, _) in said.written.items()} == {"3": "changed"}
        assert (said.summary["since"], said.summary["counts"]["seen"]) == ("12", 2)
        assert any("what is gone can't be told" in note for note in said.summary["notes"])
        full = await diffed(syncd, "items", "--full")
        assert {k: change for k, (change, _) in full.written.items()} == {
            "3": "changed",
            "4": "changed",
        }
        assert (full.summary["since"], full.summary["changes"]["missing"]) == (None, 1)
        assert any("1 row is not in the list, and stays" in n for n in full.summary["notes"])
        before = table(postgres, "items")
        assert (await syncd.command("once")).returncode == 0
        assert said.written == happened(before, table(postgres, "items"))


async def test_diff_adds_no_column_and_shows_nobody_who_is_kept_out(
    syncd: Syncd, postgres: str
) -> None:
    """What the contract would add is told; what was forgotten is as if the API had it not."""
    evolves = '[sources.shop.streams.items.contract]\nnew_fields = "evolve"\n'
    with listening("number") as listing:
        fate = Fate(listing=listing, rng=random.Random(5))
        fate.fill(8)
        syncd.write(listed(listing, postgres, evolves))
        assert (await syncd.command("once")).returncode == 0
        first, second = list(table(postgres, "items"))[:2]
        done = await syncd.command("forget", "items", first, "--keep-out", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        for number in listing.records:
            listing.put(number, colour="red")
        untouched = await trio.to_thread.run_sync(everything, postgres)
        said = await diffed(syncd, "items")
        assert await trio.to_thread.run_sync(everything, postgres) == untouched
        assert "a cycle adds columns, which are not compared: colour" in said.summary["notes"]
        assert first not in {named(line["key"]) for line in said.lines}
        assert (await syncd.command("once")).returncode == 0
        after = table(postgres, "items")
        assert (first in after, after[second]["colour"]) == (False, "red")
        assert (await diffed(syncd, "items")).summary["differences"] == 0


async def test_diff_refuses_what_it_does_not_know(syncd: Syncd, postgres: str) -> None:
    """A column that is none, and a stream that is none: usage, with what there is."""
    with listening("number") as listing:
        syncd.write(listed(listing, postgres))
        done = await syncd.command("diff", "items", "--columns", "nmae")
        assert done.returncode == 2
        assert "no column 'nmae'; name some of: id, name, price" in done.stderr
        assert (await syncd.command("diff", "others")).returncode == 2
        assert listing.requests == 0


async def test_diff_of_a_list_that_breaks_off_tells_what_was_found(
    syncd: Syncd, postgres: str
) -> None:
    """contained: what was seen until then is shown, and exit status 1 says that it is not all."""
    with listening("number") as listing:
        fate = Fate(listing=listing, rng=random.Random(1))
        fate.fill(40)
        syncd.write(listed(listing, postgres))
        for number in range(6, 41):
            listing.put(number, price="much")
        done = await syncd.command("diff", "items")
        assert done.returncode == 1
        assert "+ 5  new" in done.stdout
        assert "not finished: " in done.stderr
        assert "a cycle would end there, too" in done.stderr


def changes(said: Said) -> dict[str, str]:
    return {key: change for key, (change, _) in said.written.items()}


@pytest.mark.long
async def test_diff_beside_a_daemon_makes_no_call_and_keeps_the_budget(
    syncd: Syncd, postgres: str
) -> None:
    """budget, no-blind-repeat: the daemon keeps its lease, and every window its limit."""
    speed = 60.0
    options = {"speed": speed, "campaigns": 12, "fail_every": 0, "hang_every": 0}
    async with running_mock(**options) as mock:
        call = 'repeat = "with-key"\nwhen = "changed"'
        syncd.write(config(mock.base_url, postgres, speed=speed, size=4, call=call))
        async with syncd.started("run") as process:
            await lines_until(process, "resting until")
            asked = (await mock.calls())["asked"]
            await mock.change("camp_3", name="renamed")
            await mock.change("camp_4", clicks=4)
            (new,) = await mock.add(1)
            said = await diffed(syncd, "campaigns")
            assert changes(said) == {
                "camp_3": "changed",
                "camp_4": "volatile",
                new: "added",
            }
            assert [line["call"] for line in said.lines] == [True, False, True]
            assert said.summary["calls"] == 2
            assert any("would be called for 2 records" in n for n in said.summary["notes"])
            assert (await mock.calls())["asked"] == asked
            before = table(postgres, "campaigns")
            done = await syncd.command("sync", "campaigns", "--wait")
            assert done.returncode == 0, done.stderr
            after = table(postgres, "campaigns")
            assert said.written == happened(before, after, kept=("synced_at",))
            assert (await mock.calls())["asked"] == asked + 2
            process.terminate()
            assert await process.wait() == 0
        assert (await mock.windows())["fullest"] <= 10
        assert all(e["status"] != 429 for e in await mock.requests())


async def test_diff_is_interrupted_and_tells_what_it_has(syncd: Syncd, postgres: str) -> None:
    """drain: Ctrl-C ends the wait for the budget at once; no lease lies about."""
    async with running_mock(campaigns=200, fail_every=0, hang_every=0) as mock:
        syncd.write(config(mock.base_url, postgres, speed=1.0, size=10, call=None))
        async with syncd.started("diff", "campaigns") as process:
            await lines_until(process, "budget: next token in")
            process.send_signal(signal.SIGINT)
            with trio.fail_after(10):
                assert await process.wait() == 1
            assert process.stdout is not None
            rest = b""
            async for piece in process.stdout:
                rest += piece
        assert b"not finished: interrupted" in rest
        assert b"100 records on 10 pages (10 requests): 100 new" in rest
    assert query(postgres, "SELECT FROM syncd.lease") == []


async def asked(mock: MockServer, query: str) -> bool:
    return any(query in e["query"] for e in await mock.requests())


async def test_asked_twice_a_diff_waits_for_no_request(syncd: Syncd, postgres: str) -> None:
    """drain: a second Ctrl-C cuts what is in flight, and what was found is told all the same."""
    async with running_mock(campaigns=40, fail_every=0, hang_every=0) as mock:
        await mock.faults({"path": "/api/campaigns", "query": "*page=2*", "hang": True})
        syncd.write(config(mock.base_url, postgres, speed=1.0, size=10, call=None, timeout=60))
        async with syncd.started("diff", "campaigns", "--limit", "0") as process:
            await lines_until(process, "page 1 compared")
            with trio.fail_after(30):
                while not await asked(mock, "page=2"):  # noqa: ASYNC110 - another process's doing
                    await trio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            await lines_until(process, "Ctrl-C again cuts it short")
            process.send_signal(signal.SIGINT)
            said = await lines_until(process, "not finished: interrupted", within=20)
            assert await process.wait() == 1
    assert any("10 records on 1 page (2 requests): 10 new." in line for line in said)
