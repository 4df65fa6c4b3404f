"""Records out of their turn: those that an operator asks for, and dead letters tried again.

They make a page of their own, committed beside the running cycle if there is one: the
checkpoint stays where it points to.  It happens at a page boundary or at rest, in the
stream's own task, so that no record is ever written by two at once.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import attrs

from syncd.errors import SyncdError
from syncd.sync import events
from syncd.sync.calls import make_calls
from syncd.sync.clocks import Stopwatch
from syncd.sync.context import StreamContext
from syncd.sync.model import (
    Checkpoint,
    Committed,
    DeadLetter,
    Page,
    PageCommit,
    Record,
    Reject,
    spoken,
)
from syncd.sync.stream import commit
from syncd.sync.turn import Turn


@attrs.define(eq=False, kw_only=True)
class Aside(Turn):
    """A page that no list request asked for."""

    first_keys: Mapping[str, str] = attrs.field(factory=dict)
    """Record key to the idempotency key that its call was first made with."""

    def key_of(self, record_key: str) -> str:
        return self.first_keys.get(record_key) or super().key_of(record_key)

    @property
    def only_changed(self) -> bool:
        return False  # who asks for a record wants its call made


@attrs.frozen(kw_only=True)
class Found:
    """What came of the records that were asked for."""

    committed: Committed | None
    """None if not one of them was found, and nothing was written."""

    missing: tuple[str, ...]
    """Those that the API does not list, or that a rule leaves out; as they were asked for."""


@attrs.define(eq=False)
class _Told:
    """What is told of it when it has ended."""

    commit: float | None = None


@contextmanager
def _told(stream: StreamContext, what: events.What) -> Iterator[_Told]:
    """Whatever happens within is told as work out of turn."""
    took, told, kind = Stopwatch(), _Told(), "Cancelled"
    stream.report(events.AsideBegan(stream=stream.id, what=what))
    try:
        yield told
        kind = ""
    except SyncdError as error:
        kind = type(error).__name__
        raise
    finally:
        stream.report(
            events.AsideEnded(stream=stream.id, kind=kind, seconds=took.elapsed, commit=told.commit)
        )


async def sync_records(stream: StreamContext, at: Checkpoint, wanted: Collection[str]) -> Found:
    """Look for records through the list, make their calls, write them.

    wanted: each a key as a person says it (`42`, or `eu, 42` for a key of two columns), or
    as syncd does, a JSON array.

    Raises what a cycle raises; nothing is written then.
    """
    with _told(stream, "records") as told:
        return await _sync_records(stream, at, wanted, told)


async def _sync_records(
    stream: StreamContext, at: Checkpoint, wanted: Collection[str], told: _Told
) -> Found:
    await stream.learn_kept_out(at)
    before = stream.kept_out.version
    left = set(wanted)
    records: list[Record] = []
    found = Page(records=records)
    turn: Turn | None = Turn(
        stream=stream, cycle=0, started="", cursor=None, number=1, page_before=None
    )
    while left and turn is not None:
        page = await turn.fetch("for records asked for")
        records.extend(r for r in page.records if _names(r.key) & left)
        found.rejects.extend(r for r in page.rejects if _names(r.key) & left)
        for key in [*(r.key for r in found.records), *(r.key for r in found.rejects)]:
            left -= _names(key)
        turn = turn.following()
    missing = tuple(w for w in wanted if w in left)
    if not found.records and not found.rejects:
        return Found(committed=None, missing=missing)
    many = len(wanted) - len(missing)
    why = f"{many} {'record' if many == 1 else 'records'} asked for by an operator"
    committed = await _commit_aside(stream, at, found, why, told, before=before)
    return Found(committed=committed, missing=missing)


async def retry_letters(
    stream: StreamContext,
    at: Checkpoint,
    letters: Mapping[int, DeadLetter],
    *,
    repeat: bool = False,
) -> Committed:
    """Try dead letters again: judge the record anew, make its call if it has none, write it.

    A call that failed is made again, with its first key.  One whose outcome is unknown is
    asked for first, if it may not be repeated; it is made again if it was not carried out.
    repeat: a person answers for it that it is made again also where nobody can tell.

    A letter leaves in the transaction that writes its row; one that fails again stays, with
    one attempt more.
    """
    with _told(stream, "letters") as told:
        return await _retry_letters(stream, at, letters, told, repeat=repeat)


async def _retry_letters(
    stream: StreamContext,
    at: Checkpoint,
    letters: Mapping[int, DeadLetter],
    told: _Told,
    *,
    repeat: bool,
) -> Committed:
    before = stream.kept_out.version  # the letters were read after it
    records: list[Record] = []
    page = Page(records=records)
    first_keys: dict[str, str] = {}
    doubtful: set[str] = set()
    came_of: dict[int, str | None] = {}
    for number, letter in letters.items():
        judged = stream.source.judge(letter.payload)
        came_of[number] = None if judged is None else judged.key
        if isinstance(judged, Record):
            records.append(judged)
            if letter.idempotency_key is not None:
                first_keys[judged.key] = letter.idempotency_key
            if letter.kind == "outcome-unknown":
                doubtful.add(judged.key)
        elif isinstance(judged, Reject):
            page.rejects.append(judged)
            came_of[number] = ""  # stays, whatever becomes of the others
        else:
            page.left_out.append(letter.key or "")
    await _forget_calls(stream, letters, unknown=False)
    if stream.source.repeatable or (repeat and not stream.source.verifiable):
        await _forget_calls(stream, letters, unknown=True)
        doubtful.clear()
    many = len(letters)
    why = f"{many} {'dead letter' if many == 1 else 'dead letters'} tried again"
    return await _commit_aside(
        stream,
        at,
        page,
        why,
        told,
        before=before,
        first_keys=first_keys,
        doubtful=doubtful,
        repeats=repeat,
        letters=letters,
        came_of=came_of,
    )


async def _forget_calls(
    stream: StreamContext, letters: Mapping[int, DeadLetter], *, unknown: bool
) -> None:
    """Without their rows in the ledger these calls are as if they had never been tried.

    Of a letter that says no more than that its call failed an earlier try may be open: one
    that a crash interrupted.  Its outcome is not known, and nobody has said that it may be
    repeated.
    """
    keys = [
        letter.idempotency_key
        for letter in letters.values()
        if letter.idempotency_key and (letter.kind == "outcome-unknown") == unknown
    ]
    await stream.retry.through_outages(
        lambda: stream.store.forget_calls(keys, unknown=unknown), stream.on_failure
    )


async def _commit_aside(
    stream: StreamContext,
    at: Checkpoint,
    page: Page,
    why: str,
    told: _Told,
    *,
    before: int,
    first_keys: Mapping[str, str] | None = None,
    doubtful: Collection[str] = (),
    repeats: bool = False,
    letters: Mapping[int, DeadLetter] = MappingProxyType({}),
    came_of: Mapping[int, str | None] = MappingProxyType({}),
) -> Committed:
    beside = await stream.retry.through_outages(
        lambda: stream.store.begin_aside(at, why), stream.on_failure
    )
    await stream.learn_kept_out(beside)
    page = stream.sifted(page)
    turn = Aside(
        stream=stream,
        cycle=beside.cycle or 0,
        started=beside.started,
        cursor=None,
        number=0,
        page_before=None,
        first_keys=first_keys or {},
        doubtful=doubtful,
        repeats=repeats,
    )
    rows, dead = await make_calls(turn, page)
    # One that is put aside for another reason now, or left out, leaves where it lay.
    kinds = {d.key: d.kind for d in dead}
    gone = {
        number: None
        if kinds.get(key, letters[number].kind) != letters[number].kind or key in turn.skipped
        else key
        for number, key in came_of.items()
    }
    took = Stopwatch()
    commits = PageCommit(
        rows=rows,
        dead=dead,
        left_out=len(page.left_out) + page.kept_out + len(turn.skipped),
        kept_out=page.kept_out,
        kept_out_version=before,
        folded=0,
        next_cursor=None,
        last_page="",
        aside=True,
        letters=gone,
        **attrs.asdict(stream.tally),
    )
    (committed,) = await commit(stream, beside, [commits])
    told.commit = took.elapsed
    return committed


def _names(key: str | None) -> set[str]:
    """How a person may name this canonical key."""
    return set() if key is None else {key, spoken(key)}
