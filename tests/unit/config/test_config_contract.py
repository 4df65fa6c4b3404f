"""What `contract` may say, and every fault of its."""

import pytest

from syncd.config.settings import ContractSettings
from tests.unit.config.conftest import GOOD, Faults, Load

ORDERS = "sources.shop.streams.orders"
CONTRACT = f"{ORDERS}.contract"


def test_what_is_not_said_is_as_it_was_before_there_was_a_contract(load_text: Load) -> None:
    """New fields are left out, wrong types put aside."""
    stream = load_text(GOOD).sources["shop"].streams["orders"]
    assert stream.contract == ContractSettings(
        new_fields="discard", wrong_types="dead-letter", ignore=()
    )


def test_all_that_can_be_said(load_text: Load) -> None:
    for rule in ("discard", "evolve", "freeze", "dead-letter"):
        more = (
            f"{CONTRACT}.new_fields={rule}",
            f"{CONTRACT}.wrong_types={rule}",
            f'{CONTRACT}.ignore=["_links"]',
        )
        stream = load_text(GOOD, *more).sources["shop"].streams["orders"]
        assert stream.contract == ContractSettings(
            new_fields=rule,
            wrong_types=rule,
            ignore=("_links",),
        )
        assert "_links" in stream.named


@pytest.mark.parametrize(
    ("said", "place", "words"),
    [
        ('{new_fields="ignore"}', ".new_fields", '"discard" or "evolve" or "freeze"'),
        ("{new_fields=true}", ".new_fields", "found true"),
        ('{wrong_types="null"}', ".wrong_types", '"dead-letter" or "freeze"'),
        ('{ignore="x"}', ".ignore", "a list of any number of different texts"),
        ('{ignore=["id"]}', ".ignore", "'id' is a column; leave it out in one"),
        ('{new_field="evolve"}', ".new_field", "did you mean 'new_fields'?"),
        ('"evolve"', "", "it must be a table"),
    ],
)
def test_faults_are_told_with_their_place(
    faults_of: Faults, said: str, place: str, words: str
) -> None:
    """contained: a bad file costs nothing, and says where it is bad."""
    (found,) = faults_of(GOOD, f"{CONTRACT}={said}").items()
    assert found[0] == f"{CONTRACT}{place}"
    assert words in found[1]
