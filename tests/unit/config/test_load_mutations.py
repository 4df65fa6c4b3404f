"""A file that is spoilt anywhere, or overridden in any way, and its secrets.

Unlike test_config_mutilated.py, which is after tracebacks, this reads real files and looks
secrets up.
"""

import copy
import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from syncd.config.load import load
from syncd.errors import ConfigError, Fault
from tests.unit.config.files import write

EXAMPLE = tomllib.loads(
    (Path(__file__).parents[3] / "examples" / "campaigns.toml").read_text("utf-8")
)
ENVIRON = {"ADPLATFORM_EMAIL": "me", "ADPLATFORM_PASSWORD": "canary-pw", "HOME": "/home/nobody"}

# Words that mean something somewhere in a config, wherever they may turn up.
WORDS = [
    "id", "like", "adplatform", "env", "file", "command", "ADPLATFORM_EMAIL", "campaigns", "call",
    "columns", "page", "text", "jsonb", "15s", "0s", "64MiB", "/x", "/{id}", "{", "always",
    "syncd", "a.b", "", "\0", "'; --", "https://x.example",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    # TOML knows no second pass of an hour.
    st.times().map(lambda t: t.replace(fold=0)),
    st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(lambda t: t.replace(fold=0)),
)
VALUES = st.recursive(
    SCALARS,
    # No `command`: a test starts no program that chance has named.
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS.filter(lambda t: t != "command"), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """The example, with one to three keys at any depth deleted, added or replaced."""
    document = copy.deepcopy(EXAMPLE)
    for _ in range(draw(st.integers(1, 3))):
        table: Any = document
        while True:
            inner = [k for k, v in table.items() if isinstance(v, dict) and v]
            if not inner or draw(st.integers(0, 3)) == 0:
                break
            table = table[draw(st.sampled_from(inner))]
        keys = st.sampled_from(list(table)) if table else TEXTS
        key = draw(keys | TEXTS.filter(lambda t: t != "command"))
        if draw(st.booleans()):
            table.pop(key, None)
        else:
            table[key] = draw(VALUES)
    return document


@given(document=mutations(), secrets=st.booleans())
@hypothesis_settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_spoilt_file_loads_or_is_refused_and_shows_no_secret(
    document: dict[str, Any], secrets: bool, tmp_path: Path
) -> None:
    """Whatever is wrong beside its secrets, the operator sees faults and none of them."""
    path = write(tmp_path / "syncd.toml", document)
    assert same(tomllib.loads(path.read_text("utf-8")), document)
    said, shown = outcome(path, secrets=secrets)
    assert len(said) == len(set(said))
    assert "canary-pw" not in shown


def outcome(path: Path, **how: Any) -> tuple[list[Fault], str]:
    """The faults, if there are any, and what a person may get to see."""
    try:
        found = load(path, environ=ENVIRON, **how)
    except ConfigError as error:
        return error.faults or [Fault(path="", message="refused without a reason")] * 2, str(error)
    return [], repr(found)


def same(one: object, other: object) -> bool:
    """Equal, where a number that is none equals another."""
    return repr(one) == repr(other)


@given(override=st.text(max_size=60) | st.tuples(TEXTS, TEXTS).map("=".join))
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_override_at_all_loads_or_is_refused(override: str, tmp_path: Path) -> None:
    """No --set at all makes syncd fail with anything but a sentence about it."""
    path = write(tmp_path / "syncd.toml", EXAMPLE)
    said, _ = outcome(path, overrides=[override])
    assert len(said) == len(set(said))
