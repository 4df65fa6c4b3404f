"""What does syncd do with a Postgres that it speaks to over TLS, and can't trust?

A real server with real certificates, on a loopback address of the test's own.  Whatever is
wrong is put right on the server, as with a certificate that has expired; so `run` waits.
"""

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psycopg
import pytest
import trio

from mock_api.testing import running_mock
from syncd.store.embedded import Embedded, embedded_server
from tests.daemon.conftest import Syncd, config
from tests.daemon.proof import proof
from tests.daemon.running import daemon
from tests.servers import CHOSEN, debian_binaries

SPEED = 200.0
RECORDS, SIZE = 8, 4
HOST = "db.example"
SECRET = "unmistakable-password"
AWAY = "Postgres is away"

pytestmark = pytest.mark.long


@attrs.frozen
class Authority:
    """A folder of certificates, and the CA that signs them."""

    folder: Path
    name: str

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.name}.crt"

    def make(self) -> None:
        self._openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", f"{self.name}.key", "-out", f"{self.name}.crt"),
            *("-subj", f"/CN={self.name}"),
        )

    def sign(self, name: str, *, of: str, days: int = 2) -> None:
        """Make `name`.crt and `name`.key, a certificate of that host or role."""
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key"),
            *("-out", f"{name}.csr", "-subj", f"/CN={of}"),
        )
        (self.folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{of}\n", encoding="ascii")
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", "-days", str(days)),
            *("-CA", f"{self.name}.crt", "-CAkey", f"{self.name}.key", "-CAcreateserial"),
            *("-extfile", f"{name}.ext"),
        )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )


@attrs.define(eq=False)
class Secured:
    """A server that takes nobody without TLS, and what is known of its certificates."""

    server: Embedded
    folder: Path
    address: str

    def url(self, **more: str) -> str:
        """As an operator would write it; `more` replaces what stands there."""
        said = {
            "host": HOST,
            "hostaddr": self.address,
            "dbname": "postgres",
            "user": "postgres",
            "password": SECRET,
            "sslmode": "verify-full",
            "sslrootcert": "ca.crt",
            **more,
        }
        for name in ("sslrootcert", "sslcert", "sslkey"):
            if name in said:
                said[name] = str(self.folder / said[name])
        return psycopg.conninfo.make_conninfo("", **said)

    @property
    def inside(self) -> str:
        return f"host={self.server.place.data} dbname=postgres user=postgres"

    def lets_in(self, rule: str) -> None:
        """Make this its pg_hba.conf, with the way that we have."""
        hba = self.server.place.data / "pg_hba.conf"
        hba.write_text(f"local all all trust\n{rule}\n", encoding="ascii")
        self._run("SELECT pg_reload_conf()")

    def shows(self, name: str) -> None:
        """Have it show this certificate from now on; none if there is no name."""
        self._run(
            f"ALTER SYSTEM SET ssl_cert_file = '{self.folder / (name or 'good')}.crt'",
            f"ALTER SYSTEM SET ssl_key_file = '{self.folder / (name or 'good')}.key'",
            f"ALTER SYSTEM SET ssl_ca_file = '{self.folder / 'ca.crt'}'",
            f"ALTER SYSTEM SET ssl = {'on' if name else 'off'}",
            "SELECT pg_reload_conf()",
        )

    async def listens(self) -> None:
        """Listen on the address, which takes a new start."""
        self._run(f"ALTER SYSTEM SET listen_addresses = '{self.address}'")
        stop: list[str | Path] = [self.server._binaries / "pg_ctl", "stop"]
        stop += ["-D", self.server.place.data]
        await trio.run_process(stop, capture_stdout=True, **self.server.place.as_user)
        await self.server.revive()

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self.inside, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())


@asynccontextmanager
async def secured(place: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Secured]:
    """A server whose certificate is good, for HOST."""
    binaries = debian_binaries()
    if binaries is None:
        pytest.skip("no Postgres of the distribution is installed; the embedded one has no TLS")
    monkeypatch.setenv(CHOSEN, str(binaries))
    ca, other = Authority(place, "ca"), Authority(place, "other")
    for authority in (ca, other):
        authority.make()
    ca.sign("good", of=HOST)
    ca.sign("expired", of=HOST, days=-1)
    ca.sign("misnamed", of="another.example")
    ca.sign("role", of="postgres")
    other.sign("strange", of=HOST)
    # One address for each process: others may test on this machine as well.
    high, low = divmod(os.getpid() % 65536, 256)
    async with embedded_server(place / "state") as server:
        give_keys(place, server)
        found = Secured(server, place, f"127.{128 + high // 2}.{low}.{1 + high % 2}")
        found.lets_in("hostssl all all all trust")
        found.shows("good")
        await found.listens()
        yield found


def give_keys(folder: Path, server: Embedded) -> None:
    """Let the server read its keys, and nobody else; the role's own is ours."""
    user = server.place.user
    for key in folder.glob("*.key"):
        key.chmod(0o600)
        if user is not None and key.name != "role.key":
            os.chown(key, user.pw_uid, user.pw_gid)


@pytest.mark.parametrize("own", [False, True], ids=["", "with-a-certificate-of-our-own"])
async def test_with_a_verified_server_a_cycle_runs(
    place: Path, syncd: Syncd, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    """contained: sslmode=verify-full, with the role's password or its certificate."""
    async with (
        secured(place, monkeypatch) as db,
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
    ):
        more = {"sslcert": "role.crt", "sslkey": "role.key"} if own else {}
        if own:
            db.lets_in("hostssl all all all cert clientcert=verify-full")
        syncd.write(config(mock.base_url, db.url(**more), speed=SPEED, size=SIZE))
        checked = await syncd.command("check")
        assert checked.returncode == 0, checked.stdout
        assert "in clear text" not in checked.stdout
        done = await syncd.command("once")
        assert done.returncode == 0, done.stderr
        found = await proof(mock, db.inside, syncd.path)
    found.assert_equal(records=RECORDS, pages=RECORDS // SIZE, said=done.stdout)


FAULTS = {
    "wrong-ca": ("strange", "certificate verify failed", "sslrootcert"),
    "expired": ("expired", "certificate verify failed", "has expired"),
    "wrong-name": ("misnamed", f'does not match host name "{HOST}"', "a certificate for the host"),
    "no-tls": ("", "server does not support SSL", "turn `ssl` on"),
}
"""What the server shows, what is said of it, and what is said to do."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_server_that_cannot_be_trusted_is_told_of_and_waited_for(
    place: Path, syncd: Syncd, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """contained, no-secret-out: no request is made; mended on the server, `run` goes on."""
    shown, said, todo = FAULTS[fault]
    async with (
        secured(place, monkeypatch) as db,
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
    ):
        db.shows(shown)
        mode = {"sslmode": "require"} if fault == "no-tls" else {}
        url = db.url(**mode)
        syncd.write(config(mock.base_url, url, speed=SPEED, size=SIZE))
        told = []
        for command in ("check", "once"):
            done = await syncd.command(command)
            assert done.returncode == 1
            told.append(done.stdout + done.stderr)
        async with daemon(syncd) as running:
            await running.until(AWAY)
            told.append(running.said.replace('\\"', '"'))  # as it is quoted in a log line
            assert await mock.requests() == []
            db.shows("good")
            await running.leave()
        found = await proof(mock, db.inside, syncd.path)
    for text in told:
        assert said in text
        assert todo in text
        assert "Traceback" not in text
    assert SECRET not in "".join(told) + running.said
    found.assert_equal(records=RECORDS, pages=RECORDS // SIZE, said=running.said)


@pytest.mark.parametrize(
    ("more", "said", "todo"),
    [
        ({"sslrootcert": "nowhere.crt"}, "does not exist", "sslrootcert=…"),
        ({}, "requires a valid client certificate", "sslcert=… and sslkey=…"),
        ({"sslcert": "role.crt", "sslkey": "nowhere.key"}, "private key file", "sslkey=…"),
    ],
    ids=["no-ca", "no-certificate", "no-key"],
)
async def test_a_file_that_is_missing_here_is_told_of(
    place: Path,
    syncd: Syncd,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, str],
    said: str,
    todo: str,
) -> None:
    """contained: in the words of the config, and no request is made."""
    async with (
        secured(place, monkeypatch) as db,
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
    ):
        db.lets_in("hostssl all all all cert clientcert=verify-full")
        syncd.write(config(mock.base_url, db.url(**more), speed=SPEED, size=SIZE))
        for command in ("check", "once"):
            done = await syncd.command(command)
            text = done.stdout + done.stderr
            assert done.returncode == 1
            assert said in text
            assert todo in text
            assert SECRET not in text
        assert await mock.requests() == []


async def test_clear_text_to_another_host_is_warned_of(
    place: Path, syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """no-secret-out: `check` says that the password goes in clear, and to whom."""
    async with (
        secured(place, monkeypatch) as db,
        running_mock(speed=SPEED, campaigns=RECORDS) as mock,
    ):
        db.address = address_of_this_host()
        db.lets_in("host all all all trust")
        await db.listens()
        url = db.url(sslmode="disable")
        syncd.write(config(mock.base_url, url, speed=SPEED, size=SIZE))
        checked = await syncd.command("check")
        assert checked.returncode == 0, checked.stdout
        assert f"rows and password go to {HOST} in clear text" in checked.stdout
        assert "sslmode=verify-full" in checked.stdout
        assert SECRET not in checked.stdout


def address_of_this_host() -> str:
    """One that is not loopback; skips where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this host has no address but loopback")
        return str(probe.getsockname()[0])
