"""Where secrets come from, and that they go nowhere else."""

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from syncd.config import secrets
from syncd.config.secrets import redactions
from syncd.config.settings import Secret, Settings, TokenLogin
from syncd.errors import Fault
from tests.unit.config.files import ENVIRON, faults, right, settings

PASSWORD = ("sources", "shop", "auth", "password")
USERNAME = ("sources", "shop", "auth", "username")
CANARY = "canary-7f3a"


def auth_of(found: Settings) -> TokenLogin:
    auth = found.sources["shop"].auth
    assert isinstance(auth, TokenLogin)
    return auth


def with_password(reference: Any) -> dict[str, Any]:
    return right((PASSWORD, reference))


def the_fault(found: list[Fault]) -> str:
    """The message of the one fault, which is the password's."""
    [fault] = found
    assert fault.path == "sources.shop.auth.password"
    assert CANARY not in str(fault)
    return fault.message


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# --- found ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("kind", ["env", "credential", "file", "absolute", "command"])
def test_a_secret_is_found_in_each_of_the_four_ways(kind: str, ending: str, tmp_path: Path) -> None:
    """Wherever the secret is, its value arrives without the line's end."""
    value = f" ä{CANARY}\t'\";-- "
    held = tmp_path / "held"
    held.mkdir()
    (held / "pw").write_bytes((value + ending).encode())
    code = f"import sys; sys.stdout.buffer.write({value + ending!r}.encode())"
    references: dict[str, Any] = {
        "env": {"env": "PW"},
        "credential": {"credential": "pw"},
        "file": {"file": "held/pw"},
        "absolute": {"file": str(held / "pw")},
        "command": {"command": python(code)},
    }
    environ = {"PW": value + ending, "CREDENTIALS_DIRECTORY": str(held)}
    found = auth_of(settings(tmp_path, with_password(references[kind]), environ=environ)).password
    assert found.reveal() == value
    assert CANARY not in repr(found) + str(found) + f"{found}"
    assert found.origin.startswith("file" if kind == "absolute" else kind)


def test_only_one_line_break_at_the_end_is_left_out(tmp_path: Path) -> None:
    """A secret that itself ends in a line break keeps it."""
    environ = {"SHOP_PASSWORD": "a\nb\n\n"}
    assert auth_of(settings(tmp_path, right(), environ=environ)).password.reveal() == "a\nb\n"


def test_user_name_header_and_database_url_may_be_secrets(tmp_path: Path) -> None:
    """What is confidential beside the password can be kept out of the file too."""
    document = right(
        (USERNAME, {"env": "USER"}),
        (("sources", "shop", "headers", "X-Api-Key"), {"env": "KEY"}),
        (("database", "url"), {"env": "URL"}),
    )
    environ = {**ENVIRON, "USER": "me", "KEY": "k", "URL": "postgresql://u:p%40w@host/db"}
    found = settings(tmp_path, document, environ=environ)
    assert isinstance(found.database.url, Secret)
    assert {"me", "k", environ["URL"], "p%40w", "p@w", "canary-password"} <= set(redactions(found))


def test_what_a_login_sends_is_kept_out_of_sight_as_well(tmp_path: Path) -> None:
    """User name and password together, as an Authorization header holds them."""
    found = settings(tmp_path, right(), environ={"SHOP_PASSWORD": "pw"})
    sent = base64.b64encode(b"me@example.com:pw").decode()
    assert sent in redactions(found)


def test_a_secret_is_looked_up_once_however_many_sources_name_it(tmp_path: Path) -> None:
    """A secrets manager is asked once for a password that a hundred accounts share."""
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x'); print('pw')"
    more = {f"s{n}": {"like": "shop"} for n in range(5)}
    document = with_password({"command": python(code)})
    document["sources"].update(more)
    assert len(settings(tmp_path, document).sources) == 6
    assert count.read_text() == "x"


# --- missing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "environ", "piece"),
    [
        ({"env": "PW"}, {}, "the environment variable PW is not set"),
        ({"env": "PW"}, {"PW": ""}, "the secret from env PW is empty"),
        ({"env": "PW"}, {"PW": "\n"}, "the secret from env PW is empty"),
        ({"env": "PW"}, {"PW": f"{CANARY}\udcff"}, "is not UTF-8"),
        ({"credential": "pw"}, {}, "$CREDENTIALS_DIRECTORY is not set; under systemd, add Load"),
        ({"credential": "pw"}, {"CREDENTIALS_DIRECTORY": "/nowhere"}, "can't read /nowhere/pw"),
        ({"credential": "../pw"}, {"CREDENTIALS_DIRECTORY": "/nowhere"}, "holds no '/'"),
        ({"file": "absent"}, {}, "absent: No such file or directory"),
        ({"file": "/nowhere/absent"}, {}, "can't read /nowhere/absent: No such file"),
        ({"file": "."}, {}, "Is a directory"),
        ({"file": "a\0b"}, {}, "can't read"),
        ({"file": "not-utf-8"}, {}, "is not UTF-8 text"),
        ({"file": "/dev/zero"}, {}, "is larger than"),
        ({"command": ["no-such-program-7f3"]}, {}, "'no-such-program-7f3' can't be run: No such"),
        ({"command": ["/"]}, {}, "can't be run: Permission denied"),
        ({"command": python("")}, {}, "is empty"),
        (
            {"command": python("import os; os.write(1, b'\\xff')")},
            {},
            "is not UTF-8 text",
        ),
    ],
)
def test_a_secret_that_is_not_there_is_a_fault_that_says_where_it_was_looked_for(
    reference: dict[str, Any], environ: dict[str, str], piece: str, tmp_path: Path
) -> None:
    """Each way of missing a secret has its own sentence, and what to do."""
    (tmp_path / "not-utf-8").write_bytes(CANARY.encode() + b"\xff\xfe")
    found = faults(tmp_path, with_password(reference), environ=environ)
    assert piece in the_fault(found)


def test_a_command_that_fails_shows_its_first_complaint_and_never_what_it_printed(
    tmp_path: Path,
) -> None:
    """Why the secrets manager said no is shown, but not a part of the secret it had printed."""
    code = (
        f"import sys; print({CANARY!r}); "
        "print('permission denied on kv/shop', file=sys.stderr); "
        "print('second line', file=sys.stderr); sys.exit(3)"
    )
    message = the_fault(faults(tmp_path, with_password({"command": python(code)})))
    assert "ended with 3: permission denied on kv/shop" in message
    assert "second line" not in message


def test_a_command_that_never_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secrets manager that hangs does not hang syncd, nor do the children it leaves."""
    monkeypatch.setattr(secrets, "TIMEOUT", 0.2)
    command = ["sh", "-c", f"echo {CANARY}; sleep 600 & sleep 600"]
    assert "took longer than 0.2 s" in the_fault(
        faults(tmp_path, with_password({"command": command}))
    )


def test_a_command_gets_no_shell_and_the_environment_of_syncd(tmp_path: Path) -> None:
    """A word of the command is one word, whatever it holds."""
    code = "import os, sys; print(sys.argv[1] + os.environ['PW'])"
    reference = {"command": [*python(code), "$PW; `id`"]}
    found = settings(tmp_path, with_password(reference), environ={"PW": "x"})
    assert auth_of(found).password.reveal() == "$PW; `id`x"


# --- in the file by mistake ---------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        "",
        7,
        True,
        [CANARY],
        {},
        {"plain": CANARY},
        {"env": "PW", "file": CANARY},
        {"env": ""},
        {"env": 7},
        {"env": {"name": CANARY}},
        {"command": f"cat {CANARY}"},
        {"command": []},
        {"command": [""]},
        {"command": ["cat", 7]},
    ],
)
def test_what_is_no_reference_is_refused_and_not_shown(value: Any, tmp_path: Path) -> None:
    """A password in the file is told from one by reference, and not repeated on the screen."""
    message = the_fault(faults(tmp_path, with_password(value)))
    assert '{ credential = "name" }' in message
    assert '{ command = ["program", "argument"] }' in message


@pytest.mark.parametrize("place", [("sources", "shop", "headers", "X-Key"), USERNAME])
@pytest.mark.parametrize("value", [[CANARY], {"plain": CANARY}, {"value": CANARY, "env": "X"}])
def test_what_may_be_a_secret_is_not_shown_when_it_is_wrong(
    place: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    """Where a secret may stand, a slip does not put it on the screen."""
    found = faults(tmp_path, right((place, value)))
    assert [f.path for f in found] == [".".join(place)]
    assert CANARY not in str(found)


# --- never shown ----------------------------------------------------------------------------


def test_settings_show_no_secret(tmp_path: Path) -> None:
    """However settings are printed, no secret is in it."""
    document = right(
        (USERNAME, {"env": "A"}),
        (("sources", "shop", "headers", "X-Api-Key"), {"env": "B"}),
        (("database", "url"), f"postgresql://u:{CANARY}-d@host/db"),
        (("notify",), [{"url": {"env": "URL"}, "secret": {"env": "KEY"}}]),
        (("sources", "shop", "streams", "orders", "heartbeat"), f"https://h/{CANARY}-h"),
    )
    environ = {"SHOP_PASSWORD": CANARY + "-p", "A": CANARY + "-a", "B": CANARY + "-b"}
    environ |= {"URL": f"https://h/{CANARY}-u?x={CANARY}-q", "KEY": CANARY + "-a-long-key"}
    found = settings(tmp_path, document, environ=environ)
    shown = repr(found) + str(found) + f"{found.sources} {found.database!s} {found.sources['shop']}"
    assert CANARY not in shown
    assert "<secret from env SHOP_PASSWORD>" in shown
    assert sum(CANARY in value for value in redactions(found)) >= 8
    assert f"/{CANARY}-u?x={CANARY}-q" in redactions(found)  # as a library may repeat it


def test_no_fault_shows_a_secret(tmp_path: Path) -> None:
    """A file with faults next to its secrets is told of without them."""
    document = right(
        (("sources", "shop", "base_url"), f"https://me:{CANARY}@api.example.com"),
        (USERNAME, {"env": "A"}),
        (("sources", "shop", "headers", "X-Api-Key"), {"env": "B"}),
        (("database", "url"), f"postgresql://u:{CANARY}@host/db"),
        (("sources", "shop", "timeout"), "never"),
    )
    environ = {"SHOP_PASSWORD": CANARY, "A": f"a:{CANARY}", "B": f"{CANARY}\r\nX: y"}
    found = faults(tmp_path, document, environ=environ)
    assert {f.path for f in found} == {
        "sources.shop.base_url",
        "sources.shop.auth.username",
        "sources.shop.headers.X-Api-Key",
        "sources.shop.timeout",
    }
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    "reference",
    [
        {"env": "PW"},
        {"credential": "pw"},
        {"file": "absent"},
        {"command": ["no-such-program-7f3"]},
    ],
)
def test_without_secrets_nothing_is_looked_up(reference: dict[str, Any], tmp_path: Path) -> None:
    """A file can be looked at on a machine where its secrets are not."""
    found = settings(tmp_path, with_password(reference), environ={}, secrets=False)
    assert not any(redactions(found))
