"""`syncd dead`: what was put aside, why, and what can a person do about it?"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import trio

from syncd.app import database
from syncd.commands.asking import Answer, ask, running, whoami
from syncd.commands.options import Options, select
from syncd.commands.screen import Line, Screen, say_json
from syncd.config.settings import Settings
from syncd.errors import SyncdError
from syncd.store.looking import Looking
from syncd.store.requests import Asking
from syncd.sync.model import StreamId
from syncd.sync.picture import Letter
from syncd.sync.ports import REPEAT
from syncd.usage.exits import FAILED
from syncd.views.letters import (
    AFTERWARDS,
    KEYLESS,
    MAY_BE_TWICE,
    WHAT_IT_MEANS,
    WHAT_TO_DO,
    may_be_twice,
)
from syncd.views.streams import configured
from syncd.views.words import ago, as_written, clock, key_in_words, moment, number, plain


def list_letters(
    options: Options, stream: str | None, *, kind: str | None, limit: int, as_json: bool
) -> None:
    settings = options.to_look()
    now, many, found = trio.run(partial(_read, settings, stream, kind, limit))
    if as_json:
        say_json({"count": many, "letters": [_object(letter) for letter in found]})
    else:
        show_list(Screen.stdout(), now, many, found)


def show_letter(options: Options, number: int, *, as_json: bool) -> None:
    settings = options.to_look()
    now, (letter,) = trio.run(_letters, settings, (number,))
    if as_json:
        say_json(_object(letter) | {"payload": as_written(letter.payload)})
    else:
        show_whole(Screen.stdout(), now, letter)


def retry(options: Options, numbers: tuple[int, ...], *, stream: str | None, repeat: bool) -> None:
    if bool(numbers) == (stream is not None):
        raise click.UsageError("name the IDs, or a stream with --all STREAM")
    settings = options.to_look()
    ids = trio.run(_meant, settings, numbers, stream)
    if not ids:
        click.echo("there are none")
        return
    failed = False
    for chosen, answer in trio.run(partial(_retry, settings, ids, repeat=repeat)):
        click.echo(plain(f"{chosen}: {answer.text}"), err=not answer.ok)
        failed = failed or not answer.ok
    if failed:
        sys.exit(FAILED)


def discard(options: Options, numbers: tuple[int, ...], *, stream: str | None, yes: bool) -> None:
    if bool(numbers) == (stream is not None):
        raise click.UsageError("name the IDs, or a stream with --all STREAM")
    settings = options.to_look()
    ids = trio.run(_meant, settings, numbers, stream)
    if not ids:
        click.echo("there are none")
        return
    if not yes:
        click.confirm(f"Forget {number(len(ids), 'dead letter')} for good?", abort=True)
    click.echo(f"{number(trio.run(_discard, settings, ids), 'dead letter')} discarded")


# --- the database -----------------------------------------------------------------------------


async def _read(
    settings: Settings, name: str | None, kind: str | None, limit: int
) -> tuple[float, int, list[Letter]]:
    async with database.store(settings, migrations=False) as store:
        looking = Looking(store.connections)
        chosen = await _stream(looking, settings, name) if name is not None else None
        return await looking.dead(chosen, kind, limit)


async def _letters(settings: Settings, ids: Sequence[int]) -> tuple[float, list[Letter]]:
    async with database.store(settings, migrations=False) as store:
        now, found = await Looking(store.connections).letters(ids)
    missing = sorted(set(ids) - {letter.id for letter in found})
    if missing:
        one = len(missing) == 1
        what = "there is no dead letter" if one else "there are no dead letters"
        listed = ", ".join(map(str, missing))
        raise SyncdError(f"{what} {listed} (any more); `syncd dead list` shows what there is")
    return now, found


async def _meant(settings: Settings, ids: Sequence[int], name: str | None) -> list[int]:
    if name is None:
        _, found = await _letters(settings, ids)
        return [letter.id for letter in found]
    async with database.store(settings, migrations=False) as store:
        looking = Looking(store.connections)
        return await looking.which_are_dead(await _stream(looking, settings, name))


async def _retry(
    settings: Settings, ids: Sequence[int], *, repeat: bool
) -> list[tuple[StreamId, Answer]]:
    _, letters = await _letters(settings, ids)
    answers = []
    async with database.store(settings, migrations=False) as store:
        known = configured(settings)
        for stream in dict.fromkeys(letter.stream for letter in letters):
            ours = [letter for letter in letters if letter.stream == stream]
            if stream not in known:
                answers.append((stream, Answer(False, "it is not in the config any more")))
                continue
            holder = (await running(store, [stream.source])).get(stream.source)
            if holder is None:
                raise SyncdError(
                    f"no daemon runs {stream.source}; start one, and ask again (the next cycle "
                    "of its own tries every record anew)"
                )
            may = [x for x in ours if repeat or not may_be_twice(settings, x)]
            if len(may) < len(ours):
                left = ", ".join(str(x.id) for x in ours if x not in may)
                answers.append((stream, Answer(False, f"{left}: {MAY_BE_TWICE}")))
            if may:
                subjects = [*(str(x.id) for x in may), *([REPEAT] if repeat else [])]
                answers.append((stream, await ask(store, holder, "retry", stream.stream, subjects)))
    return answers


async def _discard(settings: Settings, ids: Sequence[int]) -> int:
    async with database.store(settings, migrations=False) as store:
        return len(await Asking(store.connections).discard(ids, asked_by=whoami()))


async def _stream(looking: Looking, settings: Settings, name: str) -> StreamId:
    # Letters of streams that have left the config still lie there.
    known = dict.fromkeys([*configured(settings), *await looking.streams()])
    (chosen,) = select(known, [name])
    return chosen


# --- what is shown ------------------------------------------------------------------------------


def show_list(screen: Screen, now: float, many: int, found: Sequence[Letter]) -> None:
    """Print letters as a table, the reason beneath each."""
    if not found:
        screen.say("no dead letters")
        return
    lines = [
        Line(
            cells=(
                str(letter.id),
                plain(str(letter.stream)),
                letter.kind,
                key_in_words(letter.key),
                ago(now - letter.last),
                str(letter.attempts),
            ),
            beneath=[plain(letter.reason)],
        )
        for letter in found
    ]
    screen.table(("id", "stream", "kind", "key", "last", "times"), lines, gives_way=3, right=5)
    screen.say()
    if many > len(found):
        screen.say(f"the newest {len(found)} of {many}; -n {many} shows all")
    else:
        screen.say(number(many, "dead letter"))
    screen.say("`syncd dead show ID` shows one whole, and what can be done")


def show_whole(screen: Screen, now: float, letter: Letter) -> None:
    """Print all that is known of one letter."""
    facts = {
        "dead letter": str(letter.id),
        "stream": plain(str(letter.stream)),
        "kind": letter.kind,
        "key": key_in_words(letter.key),
        "reason": plain(letter.reason),
        "times": str(letter.attempts),
        "first": f"{clock(letter.first)} UTC, {ago(now - letter.first)}",
        "last": f"{clock(letter.last)} UTC, {ago(now - letter.last)}",
        "next try": None if letter.next_try is None else f"{clock(letter.next_try)} UTC",
        "cycle": None if letter.cycle is None else str(letter.cycle),
        "table": f"{plain(letter.target)} (schema version {letter.schema_version})",
        "call's key": letter.idempotency_key and plain(letter.idempotency_key),
    }
    screen.facts({name: text for name, text in facts.items() if text is not None})
    screen.say()
    screen.say("The record as the API wrote it:", style="dim")
    screen.raw(as_written(letter.payload), indent=2)
    screen.say()
    screen.say(WHAT_IT_MEANS[letter.kind])
    screen.say(WHAT_TO_DO[letter.kind])
    forget = f"`syncd dead discard {letter.id}` forgets it."
    if letter.key is None:
        screen.say(f"{KEYLESS} {forget}")
        return
    screen.say(
        f"{AFTERWARDS} `syncd dead retry {letter.id}` tries it now, as it stands here; {forget}"
    )


def _object(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "source": letter.stream.source,
        "stream": letter.stream.stream,
        "kind": letter.kind,
        "key": letter.key,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_at": moment(letter.first),
        "last_at": moment(letter.last),
        "next_try": moment(letter.next_try),
        "cycle": letter.cycle,
        "table": letter.target,
        "schema_version": letter.schema_version,
        "idempotency_key": letter.idempotency_key,
    }
