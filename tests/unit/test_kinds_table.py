"""Whether the table of kinds in docs/guarantees.md has each kind, and each cell its test."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from syncd.config import auth, pages
from tests.daemon import accounts, listing, test_auth_kinds, test_page_kinds

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
NOTHING = "—"

PAGES = {
    "kill -9 in the middle of page 3": ["test_kill_9_in_the_middle_of_page_3"],
    "the list leads back": ["test_loop", "test_loop_behind_the_end"],
    "an empty page": ["test_empty_page"],
    "rows move": ["test_shifted_rows"],
    "another page size by a reload": ["test_another_page_size_in_mid_cycle"],
}
AUTH = {
    "its token ends in a run": [
        "test_expiry_that_was_foreseen",
        "test_expiry_that_nobody_foresaw",
        "test_expiry_of_a_certificate",
    ],
    "refused for good": ["test_revoked", "test_revoked_certificate"],
    "20 requests are refused at once": [
        "test_herd_of_20_calls",
        "test_herd_of_20_calls_without_a_token_key",
        "test_herd_of_20_calls_whose_login_is_refused",
        "test_herd_of_20_calls_that_no_login_helps",
        "test_herd_of_20_calls_whose_certificate_is_refused",
    ],
    "two processes": [
        "test_two_processes",
        "test_killed_in_a_login",
        "test_two_processes_that_share_nothing",
    ],
}
"""Each column, and the tests that hold its cells."""


def table(first: str) -> tuple[list[str], dict[str, list[str]]]:
    """The columns' heads, and the cells of each row by what stands in its first column."""
    text = GUARANTEES.read_text("utf-8").partition("\n## Kinds\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", text.partition(f"\n| {first} |")[2], re.MULTILINE)
    head = text.partition(f"\n| {first} | ")[2].partition(" |\n")[0].split(" | ")
    rows = [line.split(" | ") for line in lines[: _end(text, first)]]
    return head, {row[0].replace("`", ""): row[1:] for row in rows}


def _end(text: str, first: str) -> int:
    """How many rows the table has."""
    body = text.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    return len(body.splitlines()) - 2


def held(module: ModuleType, test: str) -> set[str]:
    """The kinds that a test is made for."""
    marks = [m for m in getattr(module, test).pytestmark if m.name == "parametrize"]
    if not any(m.args[0] in ("kind", "way") for m in marks):
        return {accounts.Certificate.name}
    return {str(p.values[0]) for m in marks if m.args[0] in ("kind", "way") for p in m.args[1]}


@pytest.mark.parametrize(
    ("first", "kinds", "columns", "module"),
    [
        ("pages", listing.ALL, PAGES, test_page_kinds),
        ("credentials", accounts.ALL, AUTH, test_auth_kinds),
    ],
    ids=["pages", "credentials"],
)
def test_each_cell_has_a_test_or_says_why_there_is_none(
    first: str,
    kinds: tuple[listing.Kind | accounts.Way, ...],
    columns: dict[str, list[str]],
    module: ModuleType,
) -> None:
    """Rows, columns and cells of the table are those of the tests."""
    head, rows = table(first)
    assert head == list(columns)
    assert list(rows) == [kind.name for kind in kinds]
    for number, tests in enumerate(columns.values()):
        of_tests = set().union(*(held(module, test) for test in tests))
        said = {name for name, cells in rows.items() if not cells[number].startswith(NOTHING)}
        assert said == of_tests, head[number]
        for name in rows.keys() - said:
            assert len(rows[name][number]) > len(NOTHING) + 5, f"{name}: it does not say why"


def test_no_kind_of_the_config_is_left_out() -> None:
    """A kind that comes in has to come into the table as well."""
    assert {listing.of_config(kind) for kind in listing.ALL} == set(pages.KINDS)
    assert {accounts.of_config(way) for way in accounts.ALL} - {None} == set(auth.KINDS)
