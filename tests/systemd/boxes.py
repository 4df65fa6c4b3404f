"""A machine for one test: a real systemd in namespaces, with syncd's unit in it.

`box` beside this file boots it in less than a second; `Box` looks inside and changes
things.  Whatever syncd does in there happens in its own time: a test waits for an entry
of the journal (`entry`), or looks until something holds (`until`).
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest

from tests.daemon.conftest import config

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMMAND = HERE / "box"
UNITS = ROOT / "systemd"

CANNOT = 77  # what `box` ends with where a machine can't
BOOT = 60.0  # seconds
PATIENCE = 60.0  # seconds; a busy machine
ANEW = 15.0  # seconds that the journal is followed before it is read anew
LOOK = 0.05  # seconds between two looks at what another process does

HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - not used
"""What a service with ProtectHome= and PrivateTmp= can't see of the machine."""

SPEED = 200.0
USERNAME, PASSWORD = "ads@example.com", "secret"

Entry = Mapping[str, Any]
T = TypeVar("T")

ASK = """\
import sys, urllib.request
request = urllib.request.Request(sys.argv[2], method=sys.argv[1], data=sys.stdin.buffer.read())
sys.stdout.buffer.write(urllib.request.urlopen(request, timeout=30).read())
"""


def refusal() -> str:
    """Why this machine can't boot a box, in one line; empty if it can."""
    done = subprocess.run(
        [COMMAND, "check"], capture_output=True, text=True, timeout=BOOT, check=False
    )
    return "" if done.returncode == 0 else done.stderr.strip() or "box: cannot run here"


def until(look: Callable[[], T], what: str, *, within: float = PATIENCE) -> T:
    """Look until it is something, and give that."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(LOOK)
    return found


@attrs.define(eq=False, kw_only=True)
class Box:
    """One machine."""

    name: str
    binds: Sequence[tuple[Path, str]] = ()
    """What of this machine it sees besides, read only, and where."""

    root: Path | None = None
    """Another tree than a view of this machine's."""

    # --- the machine ----------------------------------------------------------------------

    def start(self) -> None:
        words = ["start", "--private-net", "--with-pid", str(os.getpid())]
        for source, target in self.binds:
            words += ["--bind-ro", f"{source}:{target}"]
        words += ["--root", str(self.root)] if self.root else []
        self._box(*words, timeout=BOOT)
        # A syncd that somebody ran on this machine has left its own there, and nobody's service
        # can have that for its state.
        self.run("sh", "-c", "rm -rf /etc/syncd /var/lib/syncd* /var/lib/private/syncd*")

    def stop(self) -> None:
        self._box("stop", timeout=BOOT)

    def _box(self, *words: str, timeout: float) -> None:
        done = subprocess.run(
            [COMMAND, "-n", self.name, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd="/",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def run(
        self,
        *command: str,
        check: bool = True,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        within: float = PATIENCE,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as root; its output as text."""
        words = ["env", *(f"{k}={v}" for k, v in env.items())] if env else []
        done = subprocess.run(
            [COMMAND, "-n", self.name, "run", *words, *command],
            input=stdin,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=within,
            cwd="/",
            check=False,
            start_new_session=True,  # a `kill 0` in there ends nobody out here
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def out(self, *command: str, within: float = PATIENCE) -> str:
        """What a command says that must not fail."""
        return self.run(*command, within=within).stdout.strip()

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """A file inside, and the folders above it."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    # --- units ------------------------------------------------------------------------------

    def systemctl(
        self, *words: str, check: bool = True, within: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        return self.run("systemctl", *words, check=check, within=within)

    def show(self, name: str, unit: str = "syncd") -> str:
        """One property of a unit."""
        return self.out("systemctl", "show", "--value", "-p", name, unit)

    def pid(self, unit: str = "syncd") -> int:
        return int(self.show("MainPID", unit))

    def says(self, text: str, unit: str = "syncd", *, within: float = PATIENCE) -> str:
        """Wait until STATUS holds a text; the whole line."""
        seen = ""

        def look() -> bool:
            nonlocal seen
            seen = self.show("StatusText", unit)
            return text in seen

        try:
            until(look, text, within=within)
        except AssertionError:
            raise AssertionError(f"STATUS is {seen!r}, not {text!r}\n{self.tail()}") from None
        return seen

    def becomes(self, name: str, value: str, unit: str = "syncd", *, within: float = 60) -> None:
        """Wait until a property of a unit has this value."""
        try:
            until(lambda: self.show(name, unit) == value, f"{name}={value}", within=within)
        except AssertionError as error:
            now = self.show(name, unit)
            raise AssertionError(f"{error}, but {now!r}\n{self.tail(unit)}") from None

    # --- the journal ------------------------------------------------------------------------

    def journal(self, *words: str, unit: str | None = "syncd") -> list[dict[str, Any]]:
        """The entries that journalctl finds."""
        self.run("journalctl", "--sync")
        which = ["-u", unit] if unit else []
        said = self.out("journalctl", "-q", "--all", "-o", "json", *which, *words)
        return [json.loads(line) for line in said.splitlines()]

    def cursor(self) -> str:
        """Where the journal ends now."""
        self.run("journalctl", "--sync")
        last = self.out("journalctl", "-q", "-n", "1", "-o", "json").splitlines()
        return str(json.loads(last[-1])["__CURSOR"])

    def entry(
        self, *matches: str, after: str = "", many: int = 1, within: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait for an entry with these fields, `SYNCD_EVENT=page-committed` for instance.

        The `many`-th since the beginning, or since the cursor `after`.
        """
        since = ["--after-cursor", after] if after else ["--no-tail"]
        # Given the fields, journalctl 252 passes over the first entry after the cursor that has
        # them, if it was there already; so they are looked for here.
        follow = ["journalctl", "-q", "--all", "-o", "json", "-f", *since]
        wanted = dict(match.split("=", 1) for match in matches)
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            # Seen on a busy machine: one that follows has slept through the entry.
            words = ["timeout", f"{min(left, ANEW):g}", *follow]
            if (found := self._followed(wanted, many, *words)) is not None:
                return found
        raise AssertionError(f"no {matches} within {within:.0f} s\n{self.tail()}")

    def _followed(self, wanted: Mapping[str, str], many: int, *words: str) -> dict[str, Any] | None:
        """The `many`-th entry with these fields that a command says, as soon as it does."""
        with subprocess.Popen(
            [COMMAND, "-n", self.name, "run", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        ) as process:
            assert process.stdout is not None
            whole = (line for line in process.stdout if line.endswith("\n"))
            entries: Iterator[dict[str, Any]] = map(json.loads, whole)
            found = (entry for entry in entries if wanted.items() <= entry.items())
            try:
                return next(itertools.islice(found, many - 1, None), None)
            finally:
                process.terminate()

    def tail(self, unit: str = "syncd") -> str:
        """What a person would look at when a test has failed."""
        said = self.run("journalctl", "-q", "-n", "40", "-u", unit, "-o", "short-iso", check=False)
        return said.stdout

    # --- the mock API -----------------------------------------------------------------------

    def mock(self, *, speed: float = SPEED, **options: object) -> None:
        """Start a mock at http://127.0.0.1:3001 and wait until it answers."""
        words = [f"--speed={speed:g}", "--port=3001"]
        words += [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        self.run(
            *("systemd-run", "--quiet", "--collect", "--unit=mock-api", "--service-type=exec"),
            *("/opt/mock/bin/python", "-m", "mock_api", *words),
        )
        until(lambda: "listening" in self.tail("mock-api"), "the mock listens")

    def mock_elsewhere(self, host: str) -> None:
        """A second mock, at another address of the box."""
        words = [f"--host={host}", f"--speed={SPEED:g}", "--port=3001"]
        self.run(
            *("systemd-run", "--quiet", "--collect", "--unit=mock-elsewhere"),
            *("/opt/mock/bin/python", "-m", "mock_api", *words),
        )
        until(lambda: "listening" in self.tail("mock-elsewhere"), "the second mock listens")

    def ask(self, method: str, path: str, body: object = None, *, host: str = "127.0.0.1") -> Any:
        """Look into the mock, or change it: what stands behind /_mock, see mock_api/README.md."""
        words = [method, f"http://{host}:3001/_mock{path}"]
        sent = "" if body is None else json.dumps(body)
        return json.loads(self.run("/opt/mock/bin/python", "-c", ASK, *words, stdin=sent).stdout)

    def requests(self) -> list[dict[str, Any]]:
        """The mock's journal."""
        found: list[dict[str, Any]] = self.ask("GET", "/requests?since=0")["requests"]
        return found

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """These rules, and no others, from now on."""
        self.ask("PUT", "/faults", {"rules": rules})

    # --- syncd ------------------------------------------------------------------------------

    def install(self, text: str | None = None, *, unit: str = "syncd.service") -> None:
        """The unit as shipped, a config, and the secrets as credentials."""
        self.write(f"/etc/systemd/system/{unit}", (UNITS / unit).read_text("utf-8"))
        self.write("/etc/syncd/syncd.toml", configured() if text is None else text)
        self.secrets(USERNAME, PASSWORD)
        self.drop_in(
            "secrets",
            "LoadCredential=api-username:/etc/syncd/api-username",
            "LoadCredential=api-password:/etc/syncd/api-password",
        )

    def secrets(self, username: str, password: str) -> None:
        """What the API's credentials are from the next start on."""
        self.write("/etc/syncd/api-username", username, "0600")
        self.write("/etc/syncd/api-password", password, "0600")

    def drop_in(self, name: str, *lines: str, unit: str = "syncd.service") -> None:
        """Change the unit as `systemctl edit` does."""
        text = "\n".join(["[Service]", *lines, ""])
        self.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.systemctl("daemon-reload")

    # --- Postgres -----------------------------------------------------------------------------

    def static_user(self) -> None:
        """A user that is there before the service: Postgres may come later than it."""
        self.write(
            "/etc/sysusers.d/syncd.conf", (UNITS / "sysusers.d/syncd.conf").read_text("utf-8")
        )
        self.run("systemd-sysusers", "syncd.conf")

    def debian_postgres(self, *, owner: str = "syncd") -> None:
        """Start the distribution's Postgres, with a database and a role for the service."""
        self.debian_cluster()
        if owner:
            as_postgres = ("runuser", "-u", "postgres", "--")
            self.run(*as_postgres, "createuser", owner)
            self.run(*as_postgres, "createdb", "--owner", owner, owner)

    def debian_cluster(self) -> None:
        """Start the distribution's Postgres, as freshly installed."""
        if self.run("sh", "-c", "command -v pg_createcluster", check=False).returncode:
            pytest.skip("no Postgres of the distribution is installed")
        version = max(int(p.name) for p in Path("/usr/lib/postgresql").iterdir())
        # This machine's own cluster shines through: another one in its place.
        self.run("sh", "-c", "rm -rf /etc/postgresql/* /var/lib/postgresql/*")
        self.run("pg_createcluster", str(version), "main")
        self.systemctl("daemon-reload")
        self.systemctl("start", "postgresql")
        until(
            lambda: (
                self.run("pg_isready", "-q", "-h", "/run/postgresql", check=False).returncode == 0
            ),
            "Postgres answers",
        )

    def local_psql(self, query: str, database: str = "syncd") -> str:
        """Ask the distribution's Postgres, as its superuser."""
        as_postgres = ("runuser", "-u", "postgres", "--")
        return self.out(*as_postgres, "psql", "-X", "-A", "-t", "-c", query, database)

    def psql(self, query: str, *, folder: str = "/var/lib/syncd/postgres/data") -> str:
        """Ask the embedded Postgres, by the superuser's way in."""
        words = ["-X", "-A", "-t", "-h", folder, "-U", "postgres", "-c", query, "postgres"]
        return self.out("psql", *words)


def configured(database: str | None = None, *, speed: float = SPEED, **options: Any) -> str:
    """A config for the mock inside, its secrets credentials of the unit."""
    text = config("http://127.0.0.1:3001", database, speed=speed, **options)
    for env, name in (("EMAIL", "username"), ("PASSWORD", "password")):
        before = f'{{ env = "ADPLATFORM_{env}" }}'
        assert before in text
        text = text.replace(before, f'{{ credential = "api-{name}" }}')
    return text


def interpreter() -> str:
    """The Python of the tests, seen from inside; empty if a service can't see it."""
    real = os.path.realpath(sys.executable)
    return "" if real.startswith(HIDDEN) else real


def commands(text: str, headings: Sequence[str]) -> str:
    """The blocks of shell commands under these headings of a page, as they stand."""
    wanted: list[str] = []
    heading, block = "", False
    for line in text.splitlines():
        if line.startswith("```"):
            block = line == "```sh" and heading in headings
        elif block:
            wanted.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    return "\n".join([*wanted, ""])
