"""Why is this row as it is?  The story of one record: what was, what is, what comes next.

Pure: `sync.picture.Story` in sentences, for a terminal, and in JSON (`GET /api/why`).
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import attrs

from syncd.config.settings import Settings, StreamSettings
from syncd.sync.picture import CallOf, Cycle, Happened, Letter, PageOf, Seen, Story, What
from syncd.views.standing import standing
from syncd.views.words import ago, ahead, key_in_words, moment, number, span

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


@attrs.frozen(kw_only=True)
class Tale:
    """The whole story, in sentences."""

    known: bool
    past: Sequence[Chapter]
    """The oldest first."""

    now: Sequence[str]
    coming: Sequence[str]


def tell(story: Story, settings: Settings) -> Tale:
    """The story of a record; of one that is not known: where it could be."""
    stream = _settings(story, settings)
    if not story.known:
        return Tale(known=False, past=[], now=list(_unknown(story, stream)), coming=[])
    return Tale(
        known=True,
        past=_past(story, stream),
        now=list(_now(story, stream)),
        coming=list(_coming(story, stream)),
    )


def story_object(story: Story, settings: Settings) -> dict[str, Any]:
    """The same for programs; keys stay, and new ones may come."""
    tale, seen = tell(story, settings), _seen(story)
    row = story.row
    return {
        "at": moment(story.now),
        "source": seen.stream.source,
        "stream": seen.stream.stream,
        "table": _table(_settings(story, settings)),
        "asked": story.asked,
        "key": story.key,
        "known": tale.known,
        "row": row and {"changed_at": moment(row.changed), "deleted_at": moment(row.deleted)},
        "last_changed_by": story.last and _page_object(story.last),
        "past": [_chapter_object(chapter) for chapter in tale.past],
        "now": list(tale.now),
        "next": list(tale.coming),
        "letters": [letter.id for letter in story.letters],
        "missing_since_cycle": story.missing,
        "pages_known_since": moment(story.known_since),
        "elsewhere": [str(stream) for stream in story.elsewhere],
    }


def _page_object(page: PageOf) -> dict[str, Any]:
    return {
        "cycle": page.cycle,
        "page": page.number,
        "committed_at": moment(page.at),
        "request": page.request or None,
        "seen": page.seen,
        "written": page.written,
        "unchanged": page.unchanged,
        "left_out": page.left_out,
        "dead": page.dead,
        "folded": page.folded,
        "changed": page.changed,
    }


def _chapter_object(chapter: Chapter) -> dict[str, Any]:
    return {
        "at": moment(chapter.at),
        "what": chapter.kind,
        "words": chapter.words,
        "details": list(chapter.details),
        "cycle": chapter.cycle,
        "page": chapter.page,
    }


def _settings(story: Story, settings: Settings) -> StreamSettings:
    stream = _seen(story).stream
    return settings.sources[stream.source].streams[stream.stream]


def _seen(story: Story) -> Seen:
    (seen,) = story.picture.streams
    return seen


def _runs(story: Story) -> bool:
    return any(holder.runs for holder in story.picture.holders)


def _table(stream: StreamSettings) -> str:
    return f"{stream.schema}.{stream.table}"


# --- what was ---------------------------------------------------------------------------------


def _past(story: Story, stream: StreamSettings) -> list[Chapter]:
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
            words=f"{words} by {_page_of(page, story)}",
            details=_came_to(page),
            cycle=page.cycle,
            page=page.number,
        )
        before = page


def _page_of(page: PageOf, story: Story) -> str:
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
    if row.deleted is not None and not _told(story, "deleted", row.deleted):
        many = [e for e in story.events if not e.named and e.at == row.deleted]
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


def _told(story: Story, what: str, at: float) -> bool:
    return any(event.what == what and event.named and event.at == at for event in story.events)


def _not_known(story: Story) -> str:
    if story.known_since is None or story.row is None:
        return "by a page of which nothing is known"
    if story.row.changed < story.known_since:
        return f"by a page that is not remembered any more (pages are since {_day(story)})"
    return "but by none of syncd's pages that are known: it may have been another hand"


def _day(story: Story) -> str:
    return (moment(story.known_since) or "").partition("T")[0]


# --- what is --------------------------------------------------------------------------------------


def _now(story: Story, stream: StreamSettings) -> Iterator[str]:
    row, seen = story.row, _seen(story)
    if story.unread:
        yield f"The table {_table(stream)} can't be read: {story.unread}."
    elif row is None:
        yield f"There is no row of it in {_table(stream)}."
    elif row.deleted is not None:
        yield (
            f"Its row in {_table(stream)} is marked as deleted since "
            f"{span(story.now - row.deleted)} (`_syncd_deleted_at`)."
        )
    else:
        yield _row_in_words(story, stream)
    for letter in story.letters:
        yield _lies_aside(letter, story.now)
    if story.missing is not None:
        yield (
            f"The last complete scan did not meet it; cycle {story.missing} was the first that "
            "did not. The row stays for now."
        )
    last = seen.last
    if row and not row.deleted and not story.letters and last and last.started > row.changed:
        yield (
            f"No cycle has changed it since; the last one ({last.id}) ended "
            f"{ago(story.now - (last.ended or last.started))}."
        )


def _row_in_words(story: Story, stream: StreamSettings) -> str:
    if story.row is None:  # for the type checker: who calls has looked
        return ""
    by = f", by {_page_of(story.last, story)}" if story.last else ""
    words = (
        f"Its row in {_table(stream)} was last changed {ago(story.now - story.row.changed)}{by}."
    )
    refreshed = sorted({*stream.volatile, *(stream.call.keep if stream.call else ())})
    if refreshed:
        words += f" ({', '.join(refreshed)} may be newer: they move no `_syncd_changed_at`.)"
    return words


def _lies_aside(letter: Letter, now: float) -> str:
    times = "once" if letter.attempts == 1 else f"{letter.attempts} times"
    return (
        f"It lies aside as dead letter {letter.id} ({letter.kind}), put aside {times}, "
        f"the last time {ago(now - letter.last)}: {letter.reason}"
    )


# --- what comes -----------------------------------------------------------------------------------


def _coming(story: Story, stream: StreamSettings) -> Iterator[str]:
    seen = _seen(story)
    yield _of_the_stream(story, stream)
    for letter in story.letters:
        yield _of_a_letter(letter, story.now)
    if story.missing is not None:
        if story.approved:
            yield (
                "An operator approved that it goes: the next complete scan that does not meet it "
                "marks the row as deleted."
            )
        elif seen.question is not None:
            name = shlex.quote(str(seen.stream))
            yield (
                f"It is held: {seen.question}. `syncd reconcile {name} --approve` lets it go, and "
                "the next complete scan that does not meet it marks the row as deleted."
            )
        else:
            yield (
                "If the next complete scan does not meet it either, the row is marked as deleted; "
                "if it does, nothing happens."
            )
    if story.row is not None and story.row.deleted is not None:
        yield "If the API lists it again, the page that meets it takes the mark away."


def _of_the_stream(story: Story, stream: StreamSettings) -> str:
    seen, runs = _seen(story), _runs(story)
    found = standing(seen, story.now, every=stream.every, runs=runs)
    if seen.parked is not None or seen.paused is not None:
        why = f": {found.reason.rstrip('.')}" if found.reason else ""
        return f"Nothing is read while the stream is {found.state}{why}. {found.todo}"
    if seen.running is not None:
        page = (seen.pages or 0) + 1
        if not runs:
            return f"No daemon runs: the next start goes on with page {page} of the cycle."
        return f"Cycle {seen.running.id} is under way, at page {page}; each cycle reads all pages."
    if not runs:
        return "No daemon runs: the next start, or `syncd once`, reads the list again."
    if seen.extra is not None:
        return f"Another cycle begins at once ({seen.extra})."
    left = (seen.next_start or story.now) - story.now
    when = f"in {ahead(left)}" if left > 0 else "now"
    return f"The next cycle reads the list again {when}."


def _of_a_letter(letter: Letter, now: float) -> str:
    by_hand = f"`syncd dead retry {letter.id}` tries it now"
    if letter.next_try is not None:
        left = letter.next_try - now
        when = f"in {ahead(left)}" if left > 0 else "at the end of the next cycle"
        return f"Its call is tried again by itself {when}; {by_hand}."
    if letter.kind == "outcome-unknown":
        return (
            "Its call is not made again by itself, for it may have been carried out: "
            f"`syncd dead show {letter.id}` says what can be done."
        )
    found = "makes its call again" if letter.kind == "call-failed" else "looks at it again"
    return (
        f"The cycle {found}; once its row is written the letter leaves. {by_hand} as it stands, "
        f"`syncd dead show {letter.id}` shows it whole."
    )


# --- a record that is not known --------------------------------------------------------------


def _unknown(story: Story, stream: StreamSettings) -> Iterator[str]:
    seen = _seen(story)
    form = ", ".join(f"{name} ({stream.columns[name]})" for name in stream.key)
    if story.misfit:
        yield f"No record can have this key: {story.misfit}. It is made of {form}."
    elif story.unread:
        yield f"The table {_table(stream)} can't be read: {story.unread}."
    else:
        yield (
            f"Nothing is known of a record with this key: no row in {_table(stream)} with "
            f"{form} = {key_in_words(story.key or story.asked)}, no dead letter, no call, and "
            "nothing that is remembered."
        )
    for other in story.elsewhere:
        name = shlex.quote(str(other))
        yield f"{other} knows a record by this key: `syncd why {name} {shlex.quote(story.asked)}`."
    last = seen.last or seen.running
    if last is None:
        yield "No cycle of this stream has run yet."
        return
    yield from _where_it_could_be(story, last, stream)


def _where_it_could_be(story: Story, last: Cycle, stream: StreamSettings) -> Iterator[str]:
    seen = _seen(story)
    if stream.where:
        rules = ", ".join(sorted(stream.where))
        yield (
            f"A rule of `where` ({rules}) may leave it out: the last cycle ({last.id}) left out "
            f"{last.totals.left_out} of {number(last.totals.seen, 'record')}."
        )
    if seen.dead:
        yield (
            f"It may lie aside without a key that could be told: the stream has "
            f"{number(seen.dead, 'dead letter')} (`syncd dead list`)."
        )
    if seen.running is not None:
        yield (
            f"Cycle {seen.running.id} has read {number(seen.pages or 0, 'page')} so far: it may "
            "come with one that follows."
        )
    elif not stream.where:
        yield (
            f"The API did not list it: the last cycle ({last.id}, ended "
            f"{ago(story.now - (last.ended or last.started))}) saw "
            f"{number(last.totals.seen, 'record')}."
        )


def heading(story: Story, settings: Settings) -> str:
    """What the story is of."""
    key = key_in_words(story.key or story.asked)
    return f"{_seen(story).stream}, record {key}, table {_table(_settings(story, settings))}"
