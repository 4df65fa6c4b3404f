"""Whatever is done to a config, it loads or every fault is told; nothing else happens."""

import copy
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.config import document
from syncd.config.load import load
from syncd.config.settings import Settings
from syncd.errors import ConfigError, Fault

EXAMPLES = Path(__file__).parents[3] / "examples"
WHOLE = [tomllib.loads(path.read_text("utf-8")) for path in sorted(EXAMPLES.glob("*.toml"))]

WORDS = st.sampled_from(["", "shop", "adplatform", "acme", "id", "like", "10s", "/x", "a.b", "\0"])
SCALARS = st.one_of(
    WORDS,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
    st.integers(),
    st.sampled_from([0, 1, -1, 10**400, 2**64, 16**1000]),
    st.floats(),
    st.booleans(),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def ways(table: dict[str, Any], so_far: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The way to each key, tables included."""
    found = []
    for key, value in table.items():
        found.append((*so_far, key))
        if isinstance(value, dict):
            found += ways(value, (*so_far, key))
    return found


@st.composite
def mutilated(draw: st.DrawFn) -> dict[str, Any]:
    """An example with up to three keys removed, replaced or added."""
    whole: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(ways(whole) or [("sources",)]))
        table = whole
        for key in way[:-1]:
            table = table[key]
        match draw(st.sampled_from(["remove", "replace", "add"])):
            case "remove":
                table.pop(way[-1], None)
            case "replace":
                table[way[-1]] = draw(VALUES)
            case _:
                table[draw(WORDS)] = draw(VALUES)
    return whole


def outcome(values: dict[str, Any]) -> Settings | list[Fault]:
    """What `load` makes of parsed TOML: writing it down first would only test the writer."""
    with patch.object(document, "_parsed", return_value=values):
        try:
            return load(Path("/nowhere/syncd.toml"), environ={}, secrets=False)
        except ConfigError as error:
            return error.faults


@settings(deadline=None, max_examples=300)
@given(mutilated())
def test_a_mutilated_config_loads_or_tells_its_faults(values: dict[str, Any]) -> None:
    """No slip of an operator's ends in a traceback, and each fault says where and what."""
    found = outcome(values)
    if isinstance(found, list):
        assert found
        assert all(fault.path and fault.message for fault in found)
        assert len(set(found)) == len(found)
    else:
        assert all(source.streams for source in found.sources.values())


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_a_config_or_a_fault(content: bytes) -> None:
    """A file that is no config at all is refused in words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "syncd.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError):  # so few bytes hold no source
            load(path, environ={})
