"""How is a diff told, to people and to programs?

Values stay the JSON text that Postgres wrote, so that no number is rounded on its way.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from syncd.config.settings import StreamSettings
from syncd.sync.diff import Change, Difference, Outcome
from syncd.sync.model import StreamId
from syncd.sync.scans import rows_in_words
from syncd.views.words import key_in_words, number, plain, printable

WIDEST = 160  # characters of a value that people are shown
BEFORE = 20  # of these, that stand before the first difference
LISTED = 20  # columns that one line names

SIGNS: Mapping[Change, tuple[str, str, str]] = {
    "added": ("+", "green", "new"),
    "changed": ("~", "yellow", "changed"),
    "volatile": ("~", "", "changed in volatile columns alone: `_syncd_changed_at` stays"),
    "returned": ("+", "green", "comes back: it was marked as deleted"),
    "deleted": ("-", "red", "marked as deleted"),
    "missing": ("?", "", "missing"),
    "put-aside": ("!", "red", "put aside"),
}
"""The sign of a line, its colour, and what would happen."""

COUNTED: Mapping[Change, str] = {
    "added": "new",
    "changed": "changed",
    "volatile": "changed in volatile columns alone",
    "returned": "coming back",
    "deleted": "marked as deleted",
    "put-aside": "put aside",
}

_fields = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]]).decode


def chosen(
    found: Iterator[Difference], columns: Collection[str]
) -> Iterator[tuple[Difference, dict[str, tuple[str, str]]]]:
    """Each difference with the JSON texts, old and new, of its columns; of these, if any is named.

    A row that changes in none of these is left out.
    """
    for one in found:
        fields = {
            name: (bytes(both["old"]).decode(), bytes(both["new"]).decode())
            for name, both in (_fields(one.columns) if one.columns else {}).items()
            if not columns or name in columns
        }
        if fields or one.change not in ("changed", "volatile") or not columns:
            yield one, fields


# --- for people -------------------------------------------------------------------------------


def heading(found: Difference) -> tuple[str, str]:
    """The line of one difference, and its colour."""
    sign, colour, what = SIGNS[found.change]
    kind = f" ({found.kind})" if found.kind else ""
    reason = f": {found.reason}" if found.reason else ""
    return f"{sign} {key_in_words(found.key)}  {what}{kind}{plain(reason)}", colour


def field(name: str, old: str, new: str, *, added: bool) -> str:
    """The line of one column."""
    if added:
        return f"{plain(name)}: {_excerpt(new, 0)}"
    pairs = enumerate(zip(old, new, strict=False))
    common = next((n for n, (a, b) in pairs if a != b), min(len(old), len(new)))
    return f"{plain(name)}: {_excerpt(old, common)} -> {_excerpt(new, common)}"


def _excerpt(value: str, differs_at: int) -> str:
    if len(value) <= WIDEST:
        return printable(value)
    start = max(0, min(differs_at - BEFORE, len(value) - WIDEST))
    part = value[start : start + WIDEST]
    before, after = "…" * (start > 0), "…" * (start + WIDEST < len(value))
    return f"{before}{printable(part)}{after} ({len(value)} characters)"


def summed_up(outcome: Outcome, of: Mapping[Change, int]) -> str:
    """What it comes to, in one sentence."""
    totals = outcome.totals
    said = [f"{of[change]} {what}" for change, what in COUNTED.items() if of[change]]
    stay = [
        f"{totals.unchanged} as in the table" if totals.unchanged else "",
        f"{totals.left_out - totals.kept_out} left out by `where`"
        if totals.left_out > totals.kept_out
        else "",
        f"{totals.kept_out} kept out" if totals.kept_out else "",
        f"{totals.folded} that came again on their page (the last one wins)"
        if totals.folded
        else "",
    ]
    asked = number(totals.requests, "request")
    what = f"{number(totals.seen, 'record')} on {number(outcome.pages, 'page')} ({asked})"
    found = ", ".join(said) or "no difference"
    return "; ".join(filter(None, [f"{what}: {found}", ", ".join(filter(None, stay))])) + "."


def notes(stream: StreamId, of: StreamSettings, outcome: Outcome, aside_again: int) -> list[str]:
    """What has to be known beside: what the cycle would be, and what a dry run can't tell."""
    coming, found = outcome.coming, []
    if coming.makes:
        found.append(f"a cycle first runs: {'; '.join(coming.makes)}")
    if outcome.wanted:
        columns = ", ".join(sorted(outcome.wanted)[:LISTED])
        more = f" and {len(outcome.wanted) - LISTED} more" if len(outcome.wanted) > LISTED else ""
        found.append(f"a cycle adds columns, which are not compared: {columns}{more}")
    if coming.paused or coming.parked:
        what = "paused" if coming.paused else f"parked ({coming.parked})"
        found.append(f"it is {what}: the daemon begins no cycle until `syncd resume {stream}`")
    if coming.under_way is not None:
        pages = number(coming.under_way, "page")
        found.append(
            f"a cycle is under way, with {pages} committed, and goes on after them; this looked "
            "from the first page"
        )
    if outcome.recovered:
        letters = "1 dead letter leaves" if outcome.recovered == 1 else None
        found.append(f"{letters or f'{outcome.recovered} dead letters leave'}, being well now")
    if aside_again:
        what = "1 record lies" if aside_again == 1 else f"{aside_again} records lie"
        found.append(
            f"{what} among the dead letters already, and would again: `syncd dead list {stream}`"
        )
    if outcome.suspicious:
        found.append(f"the cycle would end `suspicious`: {outcome.suspicious}")
    if outcome.question:
        found.append(
            f"deletes would be held: {outcome.question}; `syncd reconcile {stream} --approve` "
            "lets them go"
        )
    return [plain(note) for note in [*found, *_unknown(stream, of, outcome)]]


def _unknown(stream: StreamId, of: StreamSettings, outcome: Outcome) -> Iterator[str]:
    coming, call = outcome.coming, of.call
    if outcome.calls and call is not None:
        gives = f" what it gives to {', '.join(call.keep)}," if call.keep else ""
        yield (
            f"{call.method} {call.path} would be called for {number(outcome.calls, 'record')} "
            f'(when = "{call.when}"), and was not: not known is{gives} and which calls fail'
        )
    if outcome.more:
        pages = "page was" if outcome.pages == 1 else f"{outcome.pages} pages were"
        yield f"only the first {pages} looked at: what follows, and what is gone, is not known"
    elif coming.since is not None:
        yield (
            f"asked for what has changed since {coming.since}, as the next cycle does: what is "
            "gone can't be told; --full asks for the whole list"
        )
    if outcome.moved:
        yield (
            f"rows moved while the list was paged ({outcome.moved}): a cycle makes a second pass, "
            "and here some may have slipped by"
        )
    if outcome.broken and outcome.broken != outcome.moved:
        yield f"the cycle looks for what is gone, and here that can't be told: {outcome.broken}"
    many = outcome.absence.many if outcome.absence is not None else 0
    if many and not coming.reconcile:
        stay = "is not in the list, and stays" if many == 1 else "are not in the list, and stay"
        yield (
            f"{rows_in_words(many)} {stay}: the next cycle does not look for what is gone "
            f"(`reconcile` in the config, or `syncd reconcile {stream}`)"
        )
    if coming.untried:
        yield f"not tried whether Postgres takes the rows, beyond their types: {coming.untried}"
    if outcome.untried:
        yield (
            f"not tried whether Postgres takes {rows_in_words(outcome.untried)}: somebody holds a "
            "lock there"
        )
    yield "a cycle asks anew, and may find what has changed at the API since"


# --- for programs -------------------------------------------------------------------------------


def line(found: Difference, fields: Mapping[str, tuple[str, str]]) -> str:
    """One JSON object, its values as Postgres wrote them."""
    members = [f'"change": {_json(found.change)}', f'"key": {found.key or "null"}']
    if found.change in ("added", "changed", "volatile", "returned"):
        columns = [
            f'{_json(name)}: {{"old": {old}, "new": {new}}}' for name, (old, new) in fields.items()
        ]
        members += [f'"columns": {{{", ".join(columns)}}}', f'"call": {_json(found.called)}']
    else:
        members.append(f'"reason": {_json(found.reason)}')
    if found.change == "put-aside":
        members += [f'"kind": {_json(found.kind)}', f'"again": {_json(found.again)}']
    return f"{{{', '.join(members)}}}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
