"""What `incremental` and `deleted` may say, and every fault of theirs."""

import pytest

from syncd.config.settings import DeletedSettings, IncrementalSettings
from tests.unit.config.conftest import GOOD, Faults, Load

ORDERS = "sources.shop.streams.orders"
SINCE = f"{ORDERS}.incremental"


def test_the_least_that_has_to_be_said(load_text: Load) -> None:
    """Everything else has a default that is safe."""
    more = (f"{SINCE}.field=updated_at", f"{SINCE}.param=since", f"{ORDERS}.deleted.field=gone")
    stream = load_text(GOOD, *more).sources["shop"].streams["orders"]
    assert stream.incremental == IncrementalSettings(
        field="updated_at",
        param="since",
        kind="time",
        lookback=300.0,
        lag=60.0,
        zone=None,
        full=86400.0,
    )
    assert stream.deleted == DeletedSettings(field="gone", wanted=("true",))


def test_all_that_can_be_said(load_text: Load) -> None:
    """Lists of values, zones, never again the whole list."""
    text = """
deleted = { field = "state", is = ["archived", 7, false] }
incremental.field = "a.b"
incremental.param = "s"
incremental.kind = "epoch-ms"
incremental.lookback = 0
incremental.lag = "5s"
incremental.zone = "Europe/Berlin"
incremental.full = "never"
"""
    good = GOOD.replace('path     = "/orders"', 'path     = "/orders"' + text)
    stream = load_text(good).sources["shop"].streams["orders"]
    assert stream.incremental == IncrementalSettings(
        field="a.b",
        param="s",
        kind="epoch-ms",
        lookback=0.0,
        lag=5.0,
        zone="Europe/Berlin",
        full=None,
    )
    assert stream.deleted == DeletedSettings(field="state", wanted=("archived", "7", "false"))


@pytest.mark.parametrize(
    ("said", "place", "words"),
    [
        ("{}", ".field", "missing; it must be a path"),
        ('{field="f"}', ".param", "missing; it must be a parameter"),
        ('{field="f",param="s",kind="date"}', ".kind", '"time" or "epoch"'),
        ('{field="f",param="s",lookback="-1s"}', ".lookback", "a duration of 0 or more"),
        ('{field="f",param="s",zone="Mars/Base"}', ".zone", "a time zone such as"),
        ('{field="f",param="s",full=0}', ".full", '"daily", "weekly", "never"'),
        ('{field="f",param="s",kind="number",lag="1s"}', ".lag", "has no clock; leave it out"),
        ('{field="f",param="s",since="x"}', ".since", "unknown key"),
    ],
)
def test_each_fault_is_told(faults_of: Faults, said: str, place: str, words: str) -> None:
    """Where, what was found, what is allowed."""
    assert words in faults_of(GOOD, f"{SINCE}={said}")[f"{SINCE}{place}"]


def test_what_is_sent_twice_is_told(faults_of: Faults) -> None:
    """The mark would be sent, or not, as chance has it."""
    found = faults_of(GOOD, f'{SINCE}={{field="f",param="s"}}', f'{ORDERS}.params={{s="1"}}')
    assert found == {f"{ORDERS}.params.s": "`incremental` sends this parameter"}


def test_what_a_page_sends_is_no_mark(faults_of: Faults) -> None:
    """resume: one of the two would be sent, and changes lost, or pages."""
    for param in ("page", "limit"):
        found = faults_of(GOOD, f'{SINCE}={{field="f",param="{param}"}}')
        assert found == {f"{SINCE}.param": "`page` sends this parameter for its own sake"}
    search = f'{ORDERS}.search.body={{s="1"}}'
    found = faults_of(GOOD, f'{SINCE}={{field="f",param="s"}}', search)
    assert found == {f"{ORDERS}.search.body.s": "`incremental` sends this parameter"}


def test_what_is_hidden_tells_nothing(faults_of: Faults) -> None:
    """accounted: a tombstone whose flag is dropped would empty its row."""
    gone = f'{ORDERS}.deleted={{field="meta.gone"}}'
    for path in ("meta.gone", "meta"):
        found = faults_of(GOOD, gone, f'{ORDERS}.hide={{"{path}"="drop"}}')
        said = {f"{ORDERS}.deleted.field": "`hide` hides it before anything can look at it"}
        assert found == said


def test_a_deleted_that_says_nothing(faults_of: Faults) -> None:
    """No list, no values."""
    found = faults_of(GOOD, f"{ORDERS}.deleted=true")
    said = 'found true; it must be a table such as { field = "archived" }'
    assert found[f"{ORDERS}.deleted"].startswith(said)
    found = faults_of(GOOD, f'{ORDERS}.deleted={{field="f",is=[]}}')
    assert "a value or a list of them" in found[f"{ORDERS}.deleted.is"]
