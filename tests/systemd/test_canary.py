"""Promise 8 where everything is real: unmistakable secrets, and a search for them everywhere.

The daemon runs under the unit with them through success, through an API that sends them
back in every way, through refused logins, through a database that refuses it, and through a
bug.  Then all that anybody can read is searched: for the values, in base64 and in hex.  So is
all that it sends and shows by itself (`outlets`); whoever is told sends it back with its secrets.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

import pytest

from tests.systemd.boxes import UNITS, Box, configured, until
from tests.systemd.outlets import RECEIVER, come, everything_sent, forget, listen, told

pytestmark = pytest.mark.systemd

# The core of each survives every quoting; around it stands what has to be quoted.
CORES = {
    "e-mail": "c4n4ryMaila7e1",
    "password": "c4n4ryPass9b3d",
    "api key": "c4n4ryKey51f8",
    "bearer": "c4n4ryBearer2c6a",
    "database password": "c4n4ryBase8d02",
    "admin token": "c4n4ryAdmin6e4f",
    "webhook address": "c4n4ryHook0b7c",
    "webhook secret": "c4n4rySign93aa",
    "slack address": "c4n4rySlack2f5d",
    "heartbeat address": "c4n4ryBeat77b1",
    "collector token": "c4n4rySpans4d9e",
}
EMAIL = f"{CORES['e-mail']}@example.com"
PASSWORD = f'"{CORES["password"]}\\ %+é'
KEY = f"k/{CORES['api key']}=="
BEARER = f"b.{CORES['bearer']}-_~"
DATABASE = f"{CORES['database password']}@/:'"

ADMIN = f"{CORES['admin token']}-0123456789"
HOOK = f"{RECEIVER}/hook/{CORES['webhook address']}?key=1"
SIGN = f"{CORES['webhook secret']}-0123456789"
SLACK = f"{RECEIVER}/slack/{CORES['slack address']}"
BEAT = f"{RECEIVER}/beat/{CORES['heartbeat address']}"
SPANS = CORES["collector token"]

TOLD = """
[admin]
listen = "127.0.0.1:8321"
token = { credential = "admin-token" }

[[notify]]
url = { credential = "hook-url" }
secret = { credential = "hook-secret" }
after = "0s"

[[notify]]
kind = "slack"
url = { credential = "slack-url" }
after = "0s"
"""
"""Who may ask, and who is told."""

CREDENTIALS = {
    "api-key": KEY,
    "admin-token": ADMIN,
    "hook-url": HOOK,
    "hook-secret": SIGN,
    "slack-url": SLACK,
    "beat-url": BEAT,
}

BY_ITS_NATURE = {("collector token", "/proc/PID/environ")}
"""OpenTelemetry takes it from the environment, which root and the service's own user can read."""

BASIC = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
ECHO = f"what is {EMAIL} {PASSWORD} {KEY} {BEARER} {BASIC} {quote(PASSWORD)} {json.dumps(KEY)}?"

LOGIN = {
    "path": "/auth/token",
    "status": 200,
    "body": {"access_token": BEARER, "token_type": "Bearer", "expires_in": 3600},
}
"""The API lets everybody in, and its bearer is a canary as well."""

BUG = f"""
import trio
from syncd.__main__ import main
from syncd.api.source import ApiSource

async def deep(secret):
    raise RuntimeError("no idea what to do with " + secret)

async def fetch(self, *_):
    async with trio.open_nursery() as nursery:
        for secret in {[EMAIL, PASSWORD, KEY, DATABASE]!r}:
            nursery.start_soon(deep, secret)

ApiSource.fetch = fetch
main()
"""


NAIVE = f"""
from syncd import logs
from syncd.__main__ import main
from syncd.admin.pages import Pages
from syncd.api.shown import Redactor
from syncd.logs.hiding import Hiding
from syncd.metrics import metrics
from syncd.tracing import spans

Hiding.hide = lambda self, text: text
Redactor.text = lambda self, text: text
Redactor.data = lambda self, data: data
metrics.__version__ = {KEY!r}
plain = spans._http
spans._http = lambda event: {{**plain(event), "url.full": "/?key=" + {KEY!r}}}
read = Pages.read
Pages.read = staticmethod(lambda: _with_secrets(read()))
def _with_secrets(pages):
    for file in pages._files.values():
        object.__setattr__(file, "body", file.body + {KEY.encode()!r})
    return pages
main()
"""
"""A syncd that tells all it knows."""

LEAKY = {
    "the webhooks at /hook",
    "the webhooks at /slack",
    "the audit",
    "the spans",
    "the spans as bytes",
    *(
        f"the side door (GET {path})"
        for path in (
            *("/", "/metrics", "/api/status", "/api/events", "/api/cycles?limit=100"),
            *("/api/dead?limit=100", "/api/audit?limit=100"),
        )
    ),
}
"""Where it is seen by that."""


@pytest.fixture
def box(new_box: Callable[..., Box]) -> Box:
    """A box whose service knows the secrets, and a Postgres that asks for one."""
    box = new_box()
    box.mock(quirk="any-bearer")
    box.debian_postgres()
    as_postgres = ("runuser", "-u", "postgres", "--")
    quoted = DATABASE.replace("'", "''")
    box.run(*as_postgres, "psql", "-X", stdin=f"ALTER ROLE syncd PASSWORD '{quoted}'")
    beat = 'heartbeat = { credential = "beat-url" }'
    text = configured("DATABASE", every="1s", source="retries = 2", stream=beat) + TOLD
    text = text.replace("url = 'DATABASE'", 'url = { credential = "database-url" }')
    before = '"X-Client-Id" = "test"'
    assert before in text
    text = text.replace(before, f'{before}, "X-Api-Key" = {{ credential = "api-key" }}')
    box.install(text)
    box.secrets(EMAIL, PASSWORD)
    for name, value in CREDENTIALS.items():
        box.write(f"/etc/syncd/{name}", value, "0600")
    database(box, DATABASE)
    names = (*CREDENTIALS, "database-url")
    box.drop_in("more", *(f"LoadCredential={name}:/etc/syncd/{name}" for name in names))
    opens = f"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{SPANS}\n"
    box.write("/etc/syncd/otel", opens, "0600")
    box.drop_in(
        "traces",
        "EnvironmentFile=/etc/syncd/otel",
        f"Environment=OTEL_EXPORTER_OTLP_ENDPOINT={RECEIVER} OTEL_BSP_SCHEDULE_DELAY=200",
    )
    listen(box)
    return box


def database(box: Box, password: str) -> None:
    url = f"postgresql://syncd:{quote(password, safe='')}@127.0.0.1/syncd"
    box.write("/etc/syncd/database-url", url, "0600")


def started(box: Box, *faults: Mapping[str, object]) -> str:
    """Start afresh with an API that does this; where the journal ended before."""
    box.systemctl("stop", "syncd")
    box.systemctl("reset-failed", "syncd", check=False)
    box.faults(*faults, LOGIN)
    cursor = box.cursor()
    box.systemctl("start", "syncd", check=False)
    return cursor


def terminal(box: Box) -> Iterator[tuple[str, str]]:
    """What the commands print into a pipe and onto a terminal, as an administrator runs them."""
    box.write("/usr/local/bin/syncd", (UNITS / "syncd").read_text("utf-8"), "0755")
    commands = ["check", "once", "status", "status --json", "cycles --json", "dead list --json"]
    for words in [
        *commands,
        "dead list",
        "schema",
        "schema --roles",
        "pause",
        "dead retry --all",
        "notify test",
        "why adplatform.campaigns camp_1",
        "reload",
    ]:
        done = box.run("sh", "-c", f"syncd {words}", check=False)
        yield f"syncd {words}", done.stdout + done.stderr
        shown = ("env", "TERM=xterm", "script", "-qec", f"syncd {words}", "/dev/null")
        yield f"syncd {words}, on a terminal", box.run(*shown, check=False).stdout


def everywhere(box: Box) -> Iterator[tuple[str, str]]:
    """All that is written down anywhere, but for the secrets' own files."""
    box.run("journalctl", "--sync")
    yield "the journal", box.out("journalctl", "-q", "--all", "-o", "export")
    yield "the journal as read", box.out("journalctl", "-q", "--all", "-x")
    yield "systemctl", box.out("systemctl", "show", "syncd") + box.out("systemctl", "cat", "syncd")
    status = box.systemctl("status", "--no-pager", "syncd", check=False)
    yield "systemctl status", status.stdout + status.stderr
    yield (
        "the unit on the bus",
        box.out(
            *("busctl", "--full", "introspect", "org.freedesktop.systemd1"),
            "/org/freedesktop/systemd1/unit/syncd_2eservice",
        ),
    )
    as_postgres = ("runuser", "-u", "postgres", "--")
    yield "the database", box.out(*as_postgres, "pg_dump", "--inserts", "syncd")
    yield "its activity", box.local_psql("SELECT * FROM pg_stat_activity")
    yield "its log", box.out("sh", "-c", "cat /var/log/postgresql/*")
    # Of every process: its own, its children, and whatever systemd started for it.
    for name in ("environ", "cmdline"):
        script = f"cat /proc/[0-9]*/{name} 2>/dev/null | tr '\\0' '\\n'"
        yield f"/proc/PID/{name}", box.out("sh", "-c", script)
    kept = "/var/lib/private/syncd /run/systemd/units /run/systemd/system /etc/systemd"
    yield "what is left in files", box.out("sh", "-c", f"grep -ahr '' {kept} || :")


def forms(core: str) -> set[str]:
    """A core in every way it may be written: as it is, in hex, and in base64 at any place."""
    found = {core, core.encode().hex(), core.encode().hex().upper()}
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + core.encode()).decode()
        first, last = (0, 2, 3)[shift], len(whole) - 4
        found.add(whole[first:last])
    return found


def hits(outputs: Mapping[str, str]) -> list[str]:
    """Which secret is in which output, with the line that holds it."""
    found = []
    for where, text in outputs.items():
        for name, core in CORES.items():
            for form in forms(core):
                if form in text and (name, where) not in BY_ITS_NATURE:
                    line = next(x for x in text.splitlines() if form in x)
                    found.append(f"{name} in {where}: {line[:300]}")
    return found


def test_no_secret_out_of_the_service(box: Box, figure: Callable[[str], None]) -> None:
    """Through success, failure, refusal and a bug, no secret stands where anybody can read it."""
    outputs = dict(failed_in_every_way(box))
    # And now some calls are refused, so that there are dead letters to be looked at.
    # Always the same, or the retry at the cycle's end would take most of them for well.
    some = {"path": "/api/campaigns/camp_1?/sync", "status": 400, "body": ECHO}
    cursor = started(box, some)
    box.entry("SYNCD_EVENT=cycle-ended", after=cursor)
    outputs |= dict(terminal(box))
    box.entry("SYNCD_EVENT=heartbeat-failed", after=cursor)
    until(lambda: come(box, "/slack")[1:], "it is told of there, too")
    outputs |= dict(everything_sent(box))
    outputs |= dict(everywhere(box))

    assert hits(outputs) == []
    searched = sum(len(text.encode()) for text in outputs.values())
    figure(f"{searched} bytes in {len(outputs)} outputs searched, 0 hits")
    # It did come by all of them: stars stand where they stood.
    assert outputs["the journal"].count("***") > 10
    kept = ("the parked stream in the database", "syncd dead list --json", "the database")
    assert [name for name in kept if "***" not in outputs[name]] == []
    assert all(len(outputs[name]) > 100 for name in ("/proc/PID/environ", "/proc/PID/cmdline"))
    # Whoever was told has sent his address and his headers back.
    for event in ("not-told", "heartbeat-failed", "spans-lost"):
        assert f"SYNCD_EVENT={event}" in outputs["the journal"], event
    answers = [name for name in LEAKY if name.startswith("the side door")]
    assert [name for name in answers if not outputs[name].startswith("200\n")] == []
    sent = ("the webhooks at /hook", "the side door (GET /api/status)")
    assert [name for name in sent if "***" not in outputs[name]] == []

    planted(box)
    found = {hit.partition(":")[0] for hit in hits(dict(everywhere(box)))}
    assert found >= {
        "password in the journal",
        "api key in the journal",
        "bearer in the database",
        "database password in the database",
        "e-mail in /proc/PID/environ",
        "e-mail in systemctl",
        "e-mail in the unit on the bus",
    }
    hides_nothing(box)
    outlets = dict(everything_sent(box))
    leaks = {hit.partition(": ")[0].partition(" in ")[2] for hit in hits(outlets)}
    assert leaks >= LEAKY


def failed_in_every_way(box: Box) -> Iterator[tuple[str, str]]:
    """Success first, then whatever goes wrong with a secret in its hand."""
    cursor = started(box)
    box.entry("SYNCD_EVENT=cycle-ended", after=cursor)
    # The API sends them back: in an error, in a refused call, in a page, in a redirect.
    broken = {"path": "/api/campaigns", "status": 502, "body": ECHO}
    box.entry("SYNCD_EVENT=request-failed", after=started(box, broken))
    refused = {"path": "/api/campaigns/*/sync", "times": 1, "status": 400, "body": ECHO}
    box.entry("SYNCD_EVENT=put-aside", after=started(box, refused))
    strange = {"path": "/api/campaigns", "status": 200, "body": f"<html>{ECHO}</html>"}
    box.entry("SYNCD_EVENT=parked", after=started(box, strange))
    elsewhere = {"Location": f"http://elsewhere.example/?key={quote(KEY)}&p={quote(PASSWORD)}"}
    redirect = {"path": "/api/campaigns", "status": 302, "headers": elsewhere}
    box.entry("SYNCD_EVENT=parked", after=started(box, redirect))
    # But for the bearer: one that only an earlier process held can't be known to this one.
    login = {"path": "/auth/token", "status": 401, "body": ECHO.replace(BEARER, "it")}
    box.entry("SYNCD_EVENT=parked", after=started(box, login))
    until(lambda: come(box, "/hook")[1:], "a person is told of it")
    yield "the parked stream in the database", box.local_psql("SELECT * FROM syncd.checkpoint")
    # Postgres refuses.
    database(box, f"{DATABASE}wrong")
    cursor = started(box)
    box.entry("_SYSTEMD_UNIT=syncd.service", "PRIORITY=3", after=cursor)
    database(box, DATABASE)
    # A bug, in a group of exceptions, with them in its words.
    box.write("/etc/syncd/bug.py", BUG)
    start = "/opt/syncd/bin/python /etc/syncd/bug.py --config /etc/syncd/syncd.toml run"
    box.drop_in("bug", "ExecStart=", f"ExecStart={start}", "Restart=no")
    bug = box.entry("SYNCD_EVENT=bug", after=started(box))
    assert bug["MESSAGE"].count("no idea what to do with ***") == 4
    box.run("rm", "/etc/systemd/system/syncd.service.d/bug.conf", "/etc/syncd/bug.py")
    box.systemctl("daemon-reload")
    yield "the bug's entry", json.dumps(bug)


def planted(box: Box) -> None:
    """A leak of each kind, which the search must find."""
    box.run("logger", "-t", "syncd", stdin=f"a login with {PASSWORD}\n")
    box.run("logger", "-t", "syncd", stdin=base64.b64encode(f"x{KEY}".encode()).decode())
    as_postgres = ("runuser", "-u", "postgres", "--")
    quoted = DATABASE.replace("'", "''")
    script = f"CREATE TABLE a AS SELECT '{BEARER}' b; CREATE TABLE c AS SELECT '{quoted}'::bytea d;"
    box.run(*as_postgres, "psql", "-X", "syncd", stdin=script)
    box.drop_in("leak", f"Environment=EMAIL={EMAIL}")
    box.systemctl("restart", "syncd")
    box.entry("SYNCD_EVENT=cycle-ended", after=box.cursor())


def hides_nothing(box: Box) -> None:
    """Run a syncd that does, at an API that sends everything back."""
    box.write("/etc/syncd/naive.py", NAIVE)
    start = "/opt/syncd/bin/python /etc/syncd/naive.py --config /etc/syncd/syncd.toml run"
    box.drop_in("naive", "ExecStart=", f"ExecStart={start}")
    forget(box)
    # A tenth, late in a cycle: with those that the one before left in it still too few to park
    # the stream, which is to be for the strange answer, wherever in the cycle it goes on.
    refused = {"path": "/api/campaigns/camp_9?/sync", "status": 400, "body": ECHO}
    strange = {"path": "/api/campaigns", "from": 22, "status": 200, "body": f"<html>{ECHO}</html>"}
    box.entry("SYNCD_EVENT=parked", after=started(box, refused, strange))
    # Of this, by both: that an earlier trouble is over may still come, and has no secret in it.
    firing = (("/hook", '"state":"firing"'), ("/slack", ":red_circle:"))
    until(lambda: all(told(box, *way, "parked") for way in firing), "a person is told of it")
    until(lambda: come(box, "/v1/traces"), "spans come")
