"""What has happened to one record?  The past of its story, chapter by chapter.

Pure: from `sync.picture.Story`, and from what a row itself says where nothing else is remembered.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import attrs

from syncd.config.settings import StreamSettings
from syncd.sync.befell import What
from syncd.sync.picture import CallOf, Happened, PageOf, Story
from syncd.views.words import moment, number, span

Kind = What | Literal["written", "changed", "returned", "called"]

AT_ONCE = ("retried", "called", "missing", "put-aside", "written", "changed", "recovered")
"""In which order things stand that a page did at one moment."""

CALLED = {
    "done": "succeeded",
    "failed": "failed",
    "unknown": "may have been carried out: its answer never came",
    "open": "was begun, and no answer is known yet",
}

LEFT = {
    "recovered": "Its dead letter ({kind}) left, because the record succeeded",
    "left-out": "Its dead letter ({kind}) left, because a rule of `where` leaves the record out",
    "discarded": "Its dead letter ({kind}) was discarded",
}


@attrs.frozen(kw_only=True)
class Chapter:
    """One thing that happened to the record."""

    at: float
    kind: Kind
    words: str
    """A sentence, without its full stop."""

    details: Sequence[str] = ()
    cycle: int | None = None
    page: int | None = None


def past(story: Story, stream: StreamSettings) -> list[Chapter]:
    """All that has happened to it, the oldest first."""
    found = [
        *_written(story, _pages(story)),
        *(_called(call, stream) for call in story.calls),
        *(_happened(event, story) for event in story.events if event.named),
        *_by_nobody_known(story),
    ]
    return sorted(found, key=lambda c: (c.at, AT_ONCE.index(c.kind) if c.kind in AT_ONCE else 9))


def _pages(story: Story) -> list[PageOf]:
    """Those that changed the row, the one whose moment it carries among them."""
    pages = list(story.pages)
    if story.last is not None and story.last not in pages:
        pages.append(story.last)
    return sorted(pages, key=lambda page: page.at)


def _written(story: Story, pages: Sequence[PageOf]) -> Iterator[Chapter]:
    gone = [event.at for event in story.events if event.what == "deleted" and event.named]
    before: PageOf | None = None
    for page in pages:
        if page.at in gone:
            continue  # by it the API said that the record is deleted
        since = before.at if before else 0.0
        kind: Kind = "changed"
        words = "Changed"
        if any(since < at <= page.at for at in gone):
            kind, words = "returned", "Came back: written again, no longer marked as deleted,"
        elif before is None:
            kind = "written"
            words = "Written for the first time" if story.from_the_first else "Written"
        yield Chapter(
            at=page.at,
            kind=kind,
            words=f"{words} by {page_in_words(page, story)}",
            details=_came_to(page),
            cycle=page.cycle,
            page=page.number,
        )
        before = page


def page_in_words(page: PageOf, story: Story) -> str:
    """Which page that was: `page 3 of cycle 7 (out of turn)`."""
    return _where(page.cycle, page.number, story)


def _where(cycle: int | None, page: int | None, story: Story) -> str:
    """Which page, and which cycle, in words."""
    found = story.cycles.get(cycle or 0)
    if found is not None and found.aside:
        return f"cycle {cycle} ({found.reason})"
    turn = " (out of turn)" if found is not None and found.follows else ""
    return f"page {page} of cycle {cycle}{turn}" if page else f"cycle {cycle}{turn}"


def _came_to(page: PageOf) -> list[str]:
    counts = {
        "written": page.written,
        "unchanged": page.unchanged,
        "left out": page.left_out,
        "dead": page.dead,
        "folded": page.folded,
    }
    ends = ", ".join(f"{many} {what}" for what, many in counts.items() if many)
    records = f"{number(page.seen, 'record')}: {ends}"
    return [f"{page.request}; {records}" if page.request else records]


def _called(call: CallOf, stream: StreamSettings) -> Chapter:
    what = "Its call"
    if stream.call is not None:
        what = f"Its call {stream.call.method} {stream.call.path.partition('?')[0]}"
    took = ""
    if call.settled is not None and call.outcome in ("done", "failed"):
        took = f" after {span(call.settled - call.intended)}"
    return Chapter(
        at=call.settled or call.intended,
        kind="called",
        words=f"{what}, for cycle {call.cycle}, {CALLED[call.outcome]}{took}",
        details=[call.reason] if call.reason else [],
        cycle=call.cycle,
    )


def _happened(event: Happened, story: Story) -> Chapter:
    where = _where(event.cycle, event.page, story)
    details = [event.reason] if event.reason else []
    match event.what:
        case "put-aside":
            words = f"Put aside as a dead letter ({event.kind}) by {where}"
            page = story.beside.get((event.cycle or 0, event.page or 0))
            details += _came_to(page) if page else []
        case "retried":
            words = f"Its dead letter was tried again, in cycle {event.cycle}"
        case "missing":
            words = (
                f"Not met by the scan of cycle {event.cycle}, for the first time: the row stayed"
            )
        case "deleted":
            words = f"Marked as deleted: the scan of cycle {event.cycle} did not meet it either"
            if event.page is not None:
                words = f"Marked as deleted by {where}"
        case _:
            words = LEFT[event.what].format(kind=event.kind)
            words += f", in cycle {event.cycle}" if event.cycle is not None else ""
    return Chapter(
        at=event.at,
        kind=event.what,
        words=words,
        details=details,
        cycle=event.cycle,
        page=event.page,
    )


def _by_nobody_known(story: Story) -> Iterator[Chapter]:
    """What the row itself says, where nothing that is remembered goes with it."""
    row = story.row
    if row is None:
        return
    then = [event for event in story.events if event.at == row.deleted]
    if row.deleted is not None and not any(e.what == "deleted" and e.named for e in then):
        many = [event for event in then if not event.named]
        yield Chapter(
            at=row.deleted,
            kind="deleted",
            words=f"Marked as deleted by cycle {many[0].cycle}, with {many[0].many} rows at once"
            if many
            else "Marked as deleted, by whom is not known",
            cycle=many[0].cycle if many else None,
        )
    if row.changed != row.deleted and story.last is None:
        yield Chapter(at=row.changed, kind="changed", words=f"Last changed, {_not_known(story)}")


def _not_known(story: Story) -> str:
    if story.known_since is None or story.row is None:
        return "by a page of which nothing is known"
    if story.row.changed < story.known_since:
        return f"by a page that is not remembered any more (pages are since {_day(story)})"
    return "but by none of syncd's pages that are known: it may have been another hand"


def _day(story: Story) -> str:
    return (moment(story.known_since) or "").partition("T")[0]
