"""`[admin]`: where the side door listens, and with which token."""

import pytest

from syncd.config.secrets import redactions
from syncd.config.settings import Settings
from tests.unit.config.conftest import ENVIRON, GOOD, Faults, Load

TOKEN = "canary-token-4711-4711"
WITH_TOKEN = {**ENVIRON, "DOOR": TOKEN}
ADMIN = '\n[admin]\ntoken = { env = "DOOR" }\n'


def test_without_the_table_there_is_no_side_door(load_text: Load) -> None:
    """contained: and nothing listens."""
    assert load_text().admin is None


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("127.0.0.1:8321", True),
        ("127.1.2.3:0", True),
        ("[::1]:8321", True),
        ("localhost:8321", True),
        ("unix:/run/syncd/admin.sock", True),
        ("0.0.0.0:8321", False),
        ("[::]:8321", False),
        ("192.0.2.7:80", False),
    ],
)
def test_where_it_may_listen(listen: str, local: bool, load_text: Load) -> None:
    """no-secret-out: who can come in decides whether reading needs the token."""
    admin = load_text(GOOD + ADMIN, f"admin.listen={listen}", environ=WITH_TOKEN).admin
    assert admin is not None
    assert (admin.listen, admin.local) == (listen, local)


def test_its_table_may_be_empty(load_text: Load) -> None:
    """contained: then it shows, on the loopback, and nobody may write."""
    admin = load_text(GOOD + "\n[admin]\n").admin
    assert admin is not None
    assert (admin.listen, admin.token, admin.hosts) == ("127.0.0.1:8321", None, ())


@pytest.mark.parametrize(
    "listen",
    ["8321", ":8321", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:x", "::1:8321", "example.com:80",
     "[127.0.0.1]:80", "unix:", "unix:run/x", "unix:/run/", "unix:/" + "x" * 107, "", "1.2.3.4:٣",
     "http://127.0.0.1:80"],
)  # fmt: skip
def test_what_is_no_address(listen: str, faults_of: Faults) -> None:
    """all-or-nothing-reload: one fault, which shows how one is written."""
    found = faults_of(GOOD + ADMIN, f"admin.listen={listen!r}", environ=WITH_TOKEN)
    assert list(found) == ["admin.listen"]
    assert '"unix:/run/syncd/admin.sock"' in found["admin.listen"]


@pytest.mark.parametrize(
    ("listen", "wrong"),
    [
        ("example.com:80", "a name is not allowed: write the address in figures"),
        ("unix:relative.sock", "must be absolute"),
        ("unix:/run/", "end with its name"),
        ("unix:/" + "x" * 107, "107 bytes at most"),
        ("0.0.0.0:99999", "the port is a number from 0 to 65535"),
        ("127.0.0.1", "it has no port"),
        (":8321", "it has no address"),
        ("::1:8321", "an address of IPv6 stands in brackets"),
        ("http://127.0.0.1:80", "write the address in figures"),
    ],
)
def test_a_wrong_address_is_told_what_is_wrong_with_it(
    listen: str, wrong: str, faults_of: Faults
) -> None:
    """all-or-nothing-reload: of this value, not of all that there could be."""
    message = faults_of(GOOD + ADMIN, f"admin.listen={listen!r}", environ=WITH_TOKEN)
    assert wrong in message["admin.listen"]


@pytest.mark.parametrize(
    ("setting", "path", "said"),
    [
        ("admin.token=hunter2", "admin.token", "a secret never stands in the file"),
        ("admin.token={}", "admin.token", "it must be one of"),
        ("admin.token={env='NOT_THERE'}", "admin.token", "NOT_THERE is not set"),
        ("admin.token={env='SHORT'}", "admin.token", "16 or more characters"),
        ("admin.token={env='BLANK'}", "admin.token", "none a blank"),
        ("admin.hosts='x'", "admin.hosts", "it must be a list"),
        ("admin.hosts=[3]", "admin.hosts", 'such as ["syncd.example.com"]'),
        ("admin.hosts=['x.example:8321']", "admin.hosts", "without a port"),
        ("admin.hosts=['[::1]:8321']", "admin.hosts", "without a port"),
        ("admin.hosts=['https://x']", "admin.hosts", "names as a browser shows them"),
        ("admin.port=1", "admin.port", "unknown key"),
        ("admin=1", "admin", "it must be a table"),
    ],
)
def test_each_fault_is_told_at_its_place(
    setting: str, path: str, said: str, faults_of: Faults
) -> None:
    """no-secret-out: and never with the value of a secret."""
    secrets = {"SHORT": "hunter2", "BLANK": "hunter2 hunter2 hunter2"}
    found = faults_of(GOOD + ADMIN, setting, environ=WITH_TOKEN | secrets)
    assert list(found) == [path]
    assert said in found[path]
    assert "hunter2" not in found[path]


def test_where_others_can_come_in_a_token_is_needed(faults_of: Faults) -> None:
    """no-secret-out: nobody reads by mistake what concerns this host alone."""
    found = faults_of(GOOD + '\n[admin]\nlisten = "0.0.0.0:80"\n')
    assert list(found) == ["admin.token"]
    assert "needed for reading, too" in found["admin.token"]


def test_the_token_is_hidden_wherever_something_is_said(load_text: Load) -> None:
    """no-secret-out: it is one of those that no line may hold."""
    settings: Settings = load_text(GOOD + ADMIN, environ=WITH_TOKEN)
    assert TOKEN in redactions(settings)
    assert TOKEN not in repr(settings)
    assert load_text(GOOD + ADMIN, secrets=False).admin is not None
