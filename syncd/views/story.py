"""Why is this row as it is?  The story of one record: what was, what is, what comes next.

Pure: `sync.picture.Story` in sentences, for a terminal, and in JSON (`GET /api/why`).
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from syncd.config.settings import Settings, StreamSettings
from syncd.sync.picture import Cycle, Letter, PageOf, Row, Seen, Story
from syncd.views.past import Chapter, page_in_words, past
from syncd.views.standing import standing
from syncd.views.words import ago, ahead, key_in_words, moment, number, span


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
        past=past(story, stream),
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
        yield _row_in_words(row, story, stream)
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


def _row_in_words(row: Row, story: Story, stream: StreamSettings) -> str:
    by = f", by {page_in_words(story.last, story)}" if story.last else ""
    words = f"Its row in {_table(stream)} was last changed {ago(story.now - row.changed)}{by}."
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
    found = standing(seen, story.now, stream, runs=runs)
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
    if story.kept_out:
        yield (
            "It is kept out: somebody had it forgotten for good, and what the API lists of it is "
            "only counted (`syncd forget --let-in` undoes it)."
        )
    for other in story.elsewhere:
        name = shlex.quote(str(other))
        yield f"{other} knows a record by this key: `syncd why {name} {shlex.quote(story.asked)}`."
    last = seen.last or seen.running
    if last is None:
        yield "No cycle of this stream has run yet."
        return
    if story.kept_out:
        return
    yield from _where_it_could_be(story, last, stream)


def _where_it_could_be(story: Story, last: Cycle, stream: StreamSettings) -> Iterator[str]:
    seen = _seen(story)
    if stream.where:
        rules = ", ".join(sorted(stream.where))
        by_rule = last.totals.left_out - last.totals.kept_out
        yield (
            f"A rule of `where` ({rules}) may leave it out: the last cycle ({last.id}) left out "
            f"{by_rule} of {number(last.totals.seen, 'record')}."
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
