"""`status`, `cycles` and `dead` as real commands: every state, as a person and a program see it."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio
from rich.cells import cell_len

from mock_api.testing import running_mock
from syncd.store.postgres import open_store
from tests.daemon.conftest import Syncd, config, lines_until

SPEED = 60.0

STREAM = """
[sources.{source}.streams.{stream}]
path = "/x"
key = ["id"]
table = "{table}"
columns = {{ id = "text" }}
"""

SEED = """
INSERT INTO syncd.lease (source, fence, holder, taken_at, expires_at) VALUES
    ('ads', 3, '{"host": "web1", "boot": "b", "pid": 4711}',
     now() - interval '2 days 1 hour', now() + interval '5 min'),
    ('crm', 1, '{"host": "web2", "boot": "b", "pid": 99}',
     now() - interval '3 days 1 hour', now() - interval '2 hours 5 min');
UPDATE syncd.lease SET failing_since = now() - interval '12.5 min', failing_reason = '503 [red]',
    next_probe = now() + interval '3.5 min';
INSERT INTO syncd.cycle (source, stream, started_at, ended_at, outcome, reason, taken_up, pages,
    seen, written, unchanged, dead, calls, requests, retried) VALUES
    ('ads', 'campaigns', now() - interval '20.5 min', now() - interval '15.5 min', 'ok', '', 0, 10,
     100, 12, 87, 1, 100, 113, 3),
    ('ads', 'campaigns', now() - interval '4.5 min', NULL, NULL, '', 1, 6,
     60, 4, 56, 0, 60, 66, 0),
    ('ads', 'adsets', now() - interval '11.5 min', now() - interval '11.4 min', 'ok', '', 0, 1,
     3, 3, 0, 0, 0, 1, 0),
    ('ads', 'creatives', now() - interval '19 min', now() - interval '18.5 min', 'ok', '', 0, 1,
     3, 0, 3, 0, 0, 1, 0),
    ('ads', 'empty', now() - interval '10.5 min', now() - interval '10.4 min', 'suspicious',
     'no records, where the last good cycle saw 250', 0, 1, 0, 0, 0, 0, 0, 1, 0),
    ('ads', 'flaky', now() - interval '7.5 min', NULL, NULL,
     'GET /x: no answer within 15 s (6 tries)', 0, 2, 20, 20, 0, 0, 0, 9, 6),
    ('ads', 'slow', now() - interval '31.5 min', NULL, NULL, '', 0, 41, 410, 0, 410, 0, 0, 42, 0),
    ('crm', 'people', now() - interval '2 hours 20 min', NULL, NULL, '', 0, 2,
     20, 20, 0, 0, 0, 3, 0);
INSERT INTO syncd.checkpoint (source, stream, fence, cycle, pages, next_start, parked) VALUES
    ('ads', 'campaigns', 3, 2, 6, now() - interval '4.5 min', NULL),
    ('ads', 'adsets', 3, NULL, 0, now() + interval '3.5 min', NULL),
    ('ads', 'creatives', 3, NULL, 0, now() - interval '4.5 min', NULL),
    ('ads', 'empty', 3, NULL, 0, now() + interval '4.5 min', NULL),
    ('ads', 'flaky', 3, 6, 2, NULL, NULL),
    ('ads', 'locked', 3, NULL, 0, NULL,
     'the API does not accept our credentials (401). Are ADS_USER and ADS_PASSWORD right?'),
    ('ads', 'slow', 3, 7, 41, NULL, NULL),
    ('crm', 'people', 1, 8, 2, NULL, NULL);
INSERT INTO syncd.budget (name, per, hold_until, from_answers) VALUES
    ('source ads', 60, now() + interval '4.5 min', true);
INSERT INTO syncd.token (budget, number, free_at) VALUES
    ('source ads', 1, 'epoch'), ('source ads', 2, now() + interval '3.5 min'),
    ('source ads', 3, now() + interval '1 h');
INSERT INTO syncd.dead_letter (source, stream, kind, identity, key, reason, attempts, first_at,
    last_at, cycle, payload, target, schema_version, idempotency_key) VALUES
    ('ads', 'campaigns', 'contract', '["c_1"]', '["c_1"]', 'budget: "cheap" is no numeric', 3,
     now() - interval '2 days 1 hour', now() - interval '15.5 min', 1,
     '{"id": "c_1", "budget": "cheap"}', 'public.campaigns', 1, NULL),
    ('ads', 'campaigns', 'outcome-unknown', '["c_2"]', '["c_2"]',
     'POST /api/campaigns/c_2/sync: no answer within 15 s', 1, now() - interval '15.6 min',
     now() - interval '15.6 min', 1, '{"id": "c_2"}', 'public.campaigns', 1, 'k-2'),
    ('crm', 'people', 'refused', 'sha256:00', NULL, 'value "[red]99[/]" is out of range', 1,
     now() - interval '3.5 hours', now() - interval '3.5 hours', NULL,
     decode('7b226964223a2022ff1b5b33316d220a7d', 'hex'), 'public.people', 1, NULL);
"""


def run_sql(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


async def migrated(database: str) -> None:
    async with open_store(database):
        pass


def many_streams(database: str) -> str:
    """Two sources; their API is never asked."""
    names = ["campaigns", "adsets", "creatives", "empty", "flaky", "locked", "new", "slow"]
    ads = "".join(STREAM.format(source="ads", stream=n, table=n) for n in names)
    return f"""
[database]
url = "{database}"
[sources.ads]
base_url = "http://127.0.0.1:9"
budget = {{ requests = 3, per = "60s" }}
{ads}
[sources.crm]
base_url = "http://127.0.0.1:9"
budget = {{ requests = 100, per = "1h" }}
{STREAM.format(source="crm", stream="people", table="people")}
"""


@pytest.fixture
async def seeded(postgres: str, syncd: Syncd) -> Syncd:
    """A database in which each state stands."""
    await migrated(postgres)
    await trio.to_thread.run_sync(run_sql, postgres, SEED)
    syncd.write(many_streams(postgres))
    return syncd


@pytest.fixture
def short_state() -> Iterator[Path]:
    """A state directory whose socket's path is short, and which any user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def printed(syncd: Syncd, *arguments: str, width: int | None = None) -> str:
    """What a command prints; it has to succeed."""
    if width is not None:
        syncd = Syncd(syncd.path, {**syncd.env, "COLUMNS": str(width)})
    done = await syncd.command(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


STATUS_80 = """\
stream         state                    last cycle  seen  written  dead  letters
ads.campaigns  running: page 7,         15 min ago   100       12     1        2
               60 records
ads.adsets     resting, next in 4 min   11 min ago     3        3     0        0
ads.creatives  late: due 4 min ago      18 min ago     3        0     0        0
ads.empty      suspicious,              10 min ago     0        0     0        0
               next in 5 min
  no records, where the last good cycle saw 250
  The table keeps its rows. Does the API list what it should? See `params` and
  `where`.
ads.flaky      failing at page 3,       -              -        -     -        0
               20 records
  GET /x: no answer within 15 s (6 tries)
  It tries again by itself.
ads.locked     parked                   -              -        -     -        0
  the API does not accept our credentials (401). Are ADS_USER and ADS_PASSWORD
  right?
  Mend that, then run `syncd resume ads.locked` (a reload of the config does it,
  too): it goes on after the last committed page.
ads.new        never ran                -              -        -     -        0
ads.slow       running: page 42,        -              -        -     -        0
               410 records
  Started 31 min ago; the next one was due 16 min ago.
crm.people     stopped at page 3,       -              -        -     -        1
               20 records
  The next start goes on with this page.

ads: run by pid 4711 on web1 for 2 days
crm: no daemon runs (pid 99 on web2 is gone, last heard of 2 h 5 min ago)
API of ads: failing for 12 min, so its streams wait; next probe in 4 min (503
[red])
budget of source ads: 1 of 3 tokens free, the next in 4 min; held for 5 min,
because the API asked for it; counted from each answer, since a request was
refused unexplained
budget of source crm: 100 in 1 h, not used yet
3 dead letters: see `syncd dead list`
"""


async def test_every_state_on_a_narrow_screen(seeded: Syncd) -> None:
    """The whole screen, letter by letter; times are whole minutes with half a minute to spare."""
    assert await printed(seeded, "status", width=80) == STATUS_80


SCREENS = ("status", "cycles", "cycles campaigns", "dead list", "dead show 3", "why campaigns c_1")


@pytest.mark.parametrize("width", [80, 120])
async def test_no_line_is_wider_than_the_screen(seeded: Syncd, width: int) -> None:
    async def look(screen: str) -> None:
        text = await printed(seeded, *screen.split(), width=width)
        assert max(map(cell_len, text.splitlines())) <= width, screen

    async with trio.open_nursery() as nursery:
        for screen in SCREENS:
            nursery.start_soon(look, screen)


async def test_in_a_pipe_each_stream_and_reason_is_one_line(seeded: Syncd) -> None:
    lines = (await printed(seeded, "status")).splitlines()
    assert any(line.startswith("ads.campaigns  running: page 7, 60 records  ") for line in lines), (
        lines
    )
    assert (
        "  the API does not accept our credentials (401). Are ADS_USER and ADS_PASSWORD right?"
        in lines
    )


async def test_json_has_the_same_for_programs(seeded: Syncd) -> None:
    told = json.loads(await printed(seeded, "status", "--json"))
    assert {s["stream"]: s["state"] for s in told["streams"]} == {
        "campaigns": "running",
        "adsets": "resting",
        "creatives": "late",
        "empty": "suspicious",
        "flaky": "failing",
        "locked": "parked",
        "new": "never ran",
        "slow": "running",
        "people": "stopped",
    }
    campaigns = told["streams"][0]
    assert (campaigns["running"]["cycle"], campaigns["running"]["ended_at"]) == (2, None)
    assert (campaigns["last"]["written"], campaigns["dead_letters"]) == (12, 2)
    assert campaigns["last"]["ended_at"].endswith("Z")
    assert [(s["source"], s["running"], s["pid"]) for s in told["sources"]] == [
        ("ads", True, 4711),
        ("crm", False, 99),
    ]
    ads, crm = (s["breaker"] for s in told["sources"])
    assert ads["open_since"] < told["at"] < ads["next_probe_at"]
    assert (ads["reason"], crm) == ("503 [red]", None), "crm's daemon is gone, and what it knew"
    ads, crm = told["budgets"]
    assert (ads["requests"], ads["free"], ads["counted_from"]) == (3, 1, "answers")
    assert ads["held_until"] > told["at"]
    assert (crm["requests"], crm["free"], crm["next_free_at"]) == (100, 100, None)


async def test_a_stream_is_named_whole_or_alone(seeded: Syncd) -> None:
    """One that nobody knows is a usage error which lists what there is."""
    for name in ("people", "crm.people"):
        told = json.loads(await printed(seeded, "status", name, "--json"))
        assert [s["stream"] for s in told["streams"]] == ["people"]
        assert [s["source"] for s in told["sources"]] == ["crm"]
    for command in (["status"], ["cycles"], ["dead", "list"], ["dead", "discard", "--all"]):
        done = await seeded.command(*command, "persons")
        assert done.returncode == 2, command
        assert "there is no stream 'persons'; name one of: ads.campaigns, " in done.stderr


CYCLES_OF_CAMPAIGNS = """\
cycle  started (UTC)        took          outcome  success  seen  written  unchanged  dead  requests  calls  retried
2      ____-__-__ __:__:__  4 min so far  open       100 %    60        4         56     0        66     60        0
  taken up again once
1      ____-__-__ __:__:__  5 min         ok          99 %   100       12         87     1       113    100        3
"""  # noqa: E501 - a screen as it is


async def test_the_last_cycles(seeded: Syncd) -> None:
    """As a table where it fits, else the counts in a sentence each."""
    text = await printed(seeded, "cycles", "campaigns")
    assert re.sub(r"[0-9]{4}-.{5} ..:..:..", "____-__-__ __:__:__", text) == CYCLES_OF_CAMPAIGNS
    narrow = await printed(seeded, "cycles", "campaigns", width=80)
    assert "\n  60 seen, 4 written, 56 unchanged, 66 requests, 60 calls, 100 % success\n" in narrow
    assert len((await printed(seeded, "cycles", "-n", "1")).splitlines()) == 2
    found = json.loads(await printed(seeded, "cycles", "ads.empty", "--json"))
    assert [(c["cycle"], c["outcome"], c["seen"]) for c in found] == [(5, "suspicious", 0)]
    assert (found[0]["seconds"], found[0]["success"]) == (6.0, None)
    newest, oldest = json.loads(await printed(seeded, "cycles", "campaigns", "--json"))
    assert (newest["seconds"], newest["success"]) == (None, 1.0)
    assert (oldest["seconds"], oldest["success"]) == (300.0, 0.99)


DEAD_LIST = """\
id  stream         kind             key       last            times
1   ads.campaigns  contract         c_1       15 min ago          3
  budget: "cheap" is no numeric
2   ads.campaigns  outcome-unknown  c_2       15 min ago          1
  POST /api/campaigns/c_2/sync: no answer within 15 s
3   crm.people     refused          (no key)  3 h 30 min ago      1
  value "[red]99[/]" is out of range

3 dead letters
`syncd dead show ID` shows one whole, and what can be done
"""


async def test_dead_letters_are_listed(seeded: Syncd) -> None:
    assert await printed(seeded, "dead", "list", width=80) == DEAD_LIST
    few = await printed(seeded, "dead", "list", "-n", "1")
    assert "the newest 1 of 3; -n 3 shows all" in few
    told = json.loads(await printed(seeded, "dead", "list", "--kind", "refused", "--json"))
    assert told["count"] == 1
    assert (told["letters"][0]["id"], told["letters"][0]["key"]) == (3, None)
    assert await printed(seeded, "dead", "list", "people", "--kind", "contract") == (
        "no dead letters\n"
    )


async def test_a_dead_letter_is_shown_whole_and_harmless(seeded: Syncd) -> None:
    """Bytes that are no text, and what a terminal would obey, are spelt out."""
    text = await printed(seeded, "dead", "show", "3")
    assert '  {"id": "\\xff\\x1b[31m"\n  }\n' in text
    assert "\x1b" not in text
    assert "Postgres refused the row" in text
    text = await printed(seeded, "dead", "show", "2")
    assert 'call.repeat = "with-key"' in text
    assert "call's key   k-2" in text
    told = json.loads(await printed(seeded, "dead", "show", "1", "--json"))
    assert json.loads(told["payload"]) == {"id": "c_1", "budget": "cheap"}
    done = await seeded.command("dead", "show", "77")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no dead letter 77 (any more); `syncd dead list` shows" in done.stderr


@pytest.mark.long
async def test_discarding_asks_first_and_takes_all_or_none(seeded: Syncd) -> None:
    done = await seeded.command("dead", "discard", "1")  # nobody answers
    assert done.returncode == 1
    assert "Forget 1 dead letter for good?" in done.stdout
    done = await seeded.command("dead", "discard", "1", "77", "78", "--yes")
    assert done.returncode == 1
    assert "there are no dead letters 77, 78" in done.stderr
    for wrong in ([], ["1", "--all", "people"]):
        done = await seeded.command("dead", "discard", *wrong, "--yes")
        assert done.returncode == 2
        assert "name the IDs, or a stream with --all STREAM" in done.stderr
    assert "3 dead letters" in await printed(seeded, "dead", "list")
    assert await printed(seeded, "dead", "discard", "1", "--yes") == "1 dead letter discarded\n"
    assert await printed(seeded, "dead", "discard", "--all", "people", "--yes") == (
        "1 dead letter discarded\n"
    )
    assert await printed(seeded, "dead", "discard", "--all", "people", "--yes") == (
        "there are none\n"
    )
    told = json.loads(await printed(seeded, "dead", "list", "--json"))
    assert [letter["id"] for letter in told["letters"]] == [2]


async def test_odd_names_are_shown_as_they_are(postgres: str, syncd: Syncd) -> None:
    """Markup, quotes, emoji, wide letters: nothing is obeyed, and columns stay in line."""
    odd = [r"[bold]x[/]", "広告キャンペーン", "👩‍🚀", r"a\u001b[31mb", "n" * 60]
    streams = "".join(
        STREAM.format(source="ads", stream=f'"{n}"', table=f"t{i}") for i, n in enumerate(odd)
    )
    syncd.write(
        f"[database]\nurl = '{postgres}'\n[sources.ads]\nbase_url = 'http://127.0.0.1:9'\n{streams}"
    )
    await migrated(postgres)
    for width in (80, 120):
        text = await printed(syncd, "status", width=width)
        assert "ads.[bold]x[/]  " in text
        assert "ads.a\\x1b[31mb" in text
        assert "広告キャンペーン" in text
        assert text.count("never ran") == len(odd)
    assert len(json.loads(await printed(syncd, "status", "--json"))["streams"]) == len(odd)


async def test_where_nothing_ever_ran_that_is_said(postgres: str, syncd: Syncd) -> None:
    """An empty database stays empty."""
    syncd.write(many_streams(postgres))
    text = await printed(syncd, "status")
    assert text.count("never ran") == 9
    assert "\nno daemon runs\n" in text
    assert "budget of source ads: 3 in 1 min, not used yet" in text
    assert await printed(syncd, "cycles") == "no cycle has run yet\n"
    assert await printed(syncd, "dead", "list") == "no dead letters\n"
    told = await trio.to_thread.run_sync(schemas, postgres)
    assert "syncd" not in told


def schemas(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return [name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")]


async def test_a_database_that_is_away_is_a_sentence_and_exit_1(syncd: Syncd) -> None:
    syncd.write(many_streams("host=127.0.0.1 port=1 dbname=x"))
    for command in (["status"], ["status", "--json"], ["cycles"], ["dead", "list"]):
        done = await syncd.command(*command)
        assert (done.returncode, done.stdout) == (1, ""), command
        assert done.stderr.startswith("syncd: ")
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def reader(postgres: str, seeded: Syncd) -> Iterator[str]:
    """The conninfo of a login that may read what syncd remembers, and no more."""
    role = f"looker_{os.getpid()}"
    run_sql(postgres, f"CREATE ROLE {role} LOGIN")
    run_sql(postgres, f"GRANT USAGE ON SCHEMA syncd TO {role}")
    run_sql(postgres, f"GRANT SELECT ON ALL TABLES IN SCHEMA syncd TO {role}")
    yield psycopg.conninfo.make_conninfo(postgres, user=role)
    run_sql(postgres, f"DROP OWNED BY {role}")
    run_sql(postgres, f"DROP ROLE {role}")


async def test_reading_needs_no_right_to_write(seeded: Syncd, reader: str) -> None:
    """A reader sees all; what it may not do is a sentence."""
    seeded.write(many_streams(reader))
    assert await printed(seeded, "status", width=80) == STATUS_80
    assert await printed(seeded, "dead", "list", width=80) == DEAD_LIST
    done = await seeded.command("dead", "discard", "1", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "permission denied for table dead_letter" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_apis_secrets_are_not_needed(postgres: str, syncd: Syncd) -> None:
    """Whoever looks has the database's secret alone."""
    text = config("http://127.0.0.1:9", None, speed=SPEED).replace("ADPLATFORM_", "NOT_SET_")
    syncd.write('[database]\nurl = { env = "DATABASE" }\n' + text)
    with_it = Syncd(syncd.path, {"DATABASE": postgres})
    assert "never ran" in await printed(with_it, "status")
    done = await syncd.command("status")
    assert done.returncode == 78
    assert "database.url" in done.stderr


@pytest.mark.parametrize(
    "embedded", [False, pytest.param(True, marks=pytest.mark.long)], ids=["postgres", "embedded"]
)
async def test_beside_a_live_daemon_and_after_it(
    embedded: bool, postgres: str, syncd: Syncd, short_state: Path
) -> None:
    """Running, then resting, then stopped: the same command tells each."""
    async with running_mock(speed=SPEED, campaigns=60) as mock:
        text = config(mock.base_url, None if embedded else postgres, speed=SPEED)
        syncd.write(f'state = "{short_state}"\n{text}')
        async with syncd.started("run") as process:
            await lines_until(process, "page committed")
            text = await printed(syncd, "status")
            assert "adplatform.campaigns  running: page " in text
            assert f"\nrun by pid {process.pid} on " in text
            assert re.search(r"\nbudget of source adplatform: [0-9]+ of 10 tokens free", text)
            assert "open" in await printed(syncd, "cycles", "campaigns")
            await lines_until(process, "cycle ended", within=60)
            (stream,) = json.loads(await printed(syncd, "status", "--json"))["streams"]
            assert (stream["state"], stream["last"]["seen"]) == ("resting", 60)
            process.terminate()
            assert await process.wait() == 0
        text = await printed(syncd, "status")
        assert "resting, next in 1 day" in text or "resting, next in 24 h" in text
        assert "\nno daemon runs\n" in text


async def test_a_stream_that_parked_says_why_and_what_to_do(postgres: str, syncd: Syncd) -> None:
    """Credentials that the API refuses, as the daemon leaves word of them."""
    async with running_mock(speed=SPEED, campaigns=10) as mock:
        syncd.write(config(mock.base_url, postgres, speed=SPEED))
        wrong = Syncd(syncd.path, {"ADPLATFORM_PASSWORD": "wrong"})
        done = await wrong.command("once")
        assert done.returncode == 1
    lines = (await printed(syncd, "status")).splitlines()
    assert "adplatform.campaigns  parked" in lines[1]
    assert "401" in lines[2]
    assert "wrong" not in lines[2]
    assert lines[3].startswith("  Mend that, then start syncd, or run `syncd once adplatform.camp")


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["why"],
        ["cycles"],
        ["dead"],
        ["dead", "list"],
        ["dead", "show"],
        ["dead", "discard"],
    ],
    ids=" ".join,
)
async def test_help_teaches_with_an_example(syncd: Syncd, command: list[str]) -> None:
    text = await printed(syncd, *command, "--help")
    assert f"  Example:\n    syncd {' '.join(command)}" in text
