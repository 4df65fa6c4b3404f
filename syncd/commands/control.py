"""`sync`, `pause`, `resume`, `reset`, `reconcile`, `reload`: what can a running syncd be asked?"""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import click
import trio

from syncd.app import database
from syncd.commands.asking import Answer, ask, running, whoami
from syncd.commands.options import Options, select
from syncd.config.settings import Settings
from syncd.errors import SyncdError
from syncd.store.looking import Looking
from syncd.store.postgres import PostgresStore
from syncd.store.requests import Asking
from syncd.sync.asking import Deed
from syncd.sync.model import StreamId
from syncd.sync.picture import Cycle, Seen
from syncd.sync.ports import APPROVE, NOTHING_HELD, RequestKind
from syncd.sync.scans import BROKEN, rows_in_words
from syncd.usage.exits import FAILED
from syncd.views.streams import configured
from syncd.views.words import number, plain

SCANS = 20  # cycles, the last ones, among which those that were waited for are
LOOK = 1.0  # seconds between two looks at a cycle that is waited for


def sync(options: Options, stream: str, keys: tuple[str, ...], *, wait: bool) -> None:
    if keys and wait:
        raise click.UsageError("with KEYs it is waited for anyway; leave --wait out")
    if not all(key.strip() for key in keys):
        raise click.UsageError("a KEY is empty")
    settings = options.to_look()
    chosen = _one(settings, stream)
    answer = trio.run(partial(_sync, settings, chosen, keys, wait=wait))
    _say(chosen, answer)


def pause(options: Options, streams: tuple[str, ...]) -> None:
    _each(options, streams, "pause", "paused; no daemon runs it, and the next one will not")


def resume(options: Options, streams: tuple[str, ...]) -> None:
    _each(options, streams, "resume", "no daemon runs it; it goes on when one starts")


def reset(options: Options, stream: str, *, yes: bool) -> None:
    settings = options.to_look()
    chosen = _one(settings, stream)
    if not yes:
        click.confirm(f"Give up the running cycle of {plain(str(chosen))}, if any?", abort=True)
    _say(chosen, trio.run(_reset, settings, chosen))


def reconcile(options: Options, stream: str, *, wait: bool, approve: bool, yes: bool) -> None:
    settings = options.to_look()
    chosen = _one(settings, stream)
    if approve and not yes:
        what = trio.run(_what_may_go, settings, chosen)
        click.confirm(f"{what} Mark them as deleted if they are missing again?", abort=True)
    _say(chosen, trio.run(partial(_reconcile, settings, chosen, wait=wait, approve=approve)))


def reload(options: Options) -> None:
    settings = options.to_look()
    answers = trio.run(_reload, settings)
    for who, answer in answers:
        refused = "" if answer.ok else ": its config is refused, the one before goes on"
        click.echo(f"{who}{refused}", err=not answer.ok)
        for line in answer.text.splitlines():
            click.echo(f"  {plain(line)}", err=not answer.ok)
    if not all(answer.ok for _, answer in answers):
        sys.exit(FAILED)


def _one(settings: Settings, name: str) -> StreamId:
    (chosen,) = select(configured(settings), [name])
    return chosen


def _each(options: Options, names: Sequence[str], kind: RequestKind, otherwise: str) -> None:
    settings = options.to_look()
    for stream in select(configured(settings), names):
        _say(stream, trio.run(_hold, settings, stream, kind, otherwise))


def _say(stream: StreamId, answer: Answer) -> None:
    click.echo(plain(f"{stream}: {answer.text}"), err=not answer.ok)
    if not answer.ok:
        sys.exit(FAILED)


# --- the database -------------------------------------------------------------------------


async def _hold(settings: Settings, stream: StreamId, kind: RequestKind, otherwise: str) -> Answer:
    async with database.store(settings) as store:
        holder = (await running(store, [stream.source])).get(stream.source)
        if holder is not None:
            return await ask(store, holder, kind, stream.stream)
        await Asking(store.connections).hold(kind, stream, asked_by=whoami())
        return Answer(True, otherwise)


@asynccontextmanager
async def _leased(store: PostgresStore, source: str) -> AsyncIterator[None]:
    """Be the one who runs a source, for a moment."""
    lease = await store.acquire_lease(source)
    try:
        yield
    finally:
        with trio.move_on_after(5, shield=True):
            await store.release_leases([lease])


async def _reset(settings: Settings, stream: StreamId) -> Answer:
    async with database.store(settings) as store:
        holder = (await running(store, [stream.source])).get(stream.source)
        if holder is not None:
            return await ask(store, holder, "reset", stream.stream)
        if stream not in await Looking(store.connections).streams():
            return Answer(True, "it never ran: there is nothing to give up")
        async with _leased(store, stream.source):
            at = await store.read_checkpoint(stream)
            await store.reset(at, f"reset by {whoami().who}")
            await _noted(store, "reset", stream)
        return Answer(True, "the next cycle begins at the first page; no daemon runs it now")


async def _what_may_go(settings: Settings, stream: StreamId) -> str:
    async with database.store(settings, migrations=False) as store:
        seen = await _seen(Looking(store.connections), stream)
    if not seen.question:
        raise SyncdError(f"{stream}: {NOTHING_HELD}; `syncd reconcile {stream}` looks")
    return plain(seen.question) + "."


async def _reconcile(settings: Settings, stream: StreamId, *, wait: bool, approve: bool) -> Answer:
    async with database.store(settings) as store:
        looking = Looking(store.connections)
        holder = (await running(store, [stream.source])).get(stream.source)
        if holder is None:
            return await _reconcile_later(store, looking, stream, approve=approve)
        _, before = await looking.cycles(stream, 1)
        subjects = [APPROVE] if approve else []
        answer = await ask(store, holder, "reconcile", stream.stream, subjects)
        if not (wait and answer.ok):
            return answer
        click.echo(plain(f"{stream}: {answer.text}"))
        return await _until_reconciled(looking, stream, after=before[0].id if before else 0)


async def _reconcile_later(
    store: PostgresStore, looking: Looking, stream: StreamId, *, approve: bool
) -> Answer:
    if stream not in await looking.streams():
        return Answer(not approve, "it never ran: nothing can be gone")
    async with _leased(store, stream.source):
        at = await store.read_checkpoint(stream)
        if approve and not at.question:
            return Answer(False, NOTHING_HELD)
        await store.ask_to_reconcile(at, f"asked by {whoami().who}", approve=approve)
        await _noted(store, "reconcile", stream, *([APPROVE] if approve else []))
    return Answer(True, f"the next start looks, or `syncd once {stream}`; no daemon runs it now")


async def _noted(store: PostgresStore, what: str, stream: StreamId, *subjects: str) -> None:
    subject = " ".join([str(stream), *subjects])
    await Asking(store.connections).note(Deed(asker=whoami(), what=what, subject=subject, ok=True))


async def _until_reconciled(looking: Looking, stream: StreamId, *, after: int) -> Answer:
    """Wait until nothing more is to be looked at, telling each page."""
    told = (0, 0)
    while True:
        # How it stands is looked at last: what came of a scan is then in both, or in neither.
        _, cycles = await looking.cycles(stream, SCANS)
        seen = await _seen(looking, stream)
        if seen.parked is not None:
            return Answer(False, f"parked: {seen.parked}")
        scans = [c for c in cycles if c.reconcile and c.id > after]
        known = scans and scans[0].missing is not None
        if known and seen.extra is None and seen.running is None:
            return _found(scans, seen)
        if seen.running is not None and seen.pages and (seen.running.id, seen.pages) != told:
            told = (seen.running.id, seen.pages)
            so_far = number(seen.running.totals.seen, "record")
            click.echo(plain(f"{stream}: {number(seen.pages, 'page')}, {so_far}"))
        await trio.sleep(LOOK)


def _found(scans: Sequence[Cycle], seen: Seen) -> Answer:
    deleted, last = sum(c.deleted for c in scans), scans[0]
    said = [f"{rows_in_words(deleted)} marked as deleted"] if deleted else []
    if seen.question:
        return Answer(False, "; ".join([*said, f"{seen.question}: see `syncd status`"]))
    if BROKEN in last.reason:
        return Answer(False, f"{last.reason}; the next whole cycle tries again")
    said += [f"{rows_in_words(seen.missing)} missing; they go if they stay so"] * (seen.missing > 0)
    return Answer(True, "; ".join(said) or "nothing is gone")


async def _reload(settings: Settings) -> list[tuple[str, Answer]]:
    async with database.store(settings, migrations=False) as store:
        runs = await running(store, list(settings.sources))
        by_process = {(h.host, h.pid): h for h in runs.values()}
        if not by_process:
            raise SyncdError("no daemon runs a source of this config; the next start reads it")
        return [
            (f"pid {pid} on {plain(host)}", await ask(store, holder, "reload"))
            for (host, pid), holder in by_process.items()
        ]


async def _sync(settings: Settings, stream: StreamId, keys: Sequence[str], *, wait: bool) -> Answer:
    async with database.store(settings, migrations=False) as store:
        looking = Looking(store.connections)
        holder = (await running(store, [stream.source])).get(stream.source)
        if holder is None:
            raise SyncdError(
                f"no daemon runs {stream.source}; `syncd once {stream}` runs a cycle by itself"
            )
        before = await _seen(looking, stream)
        answer = await ask(store, holder, "sync", stream.stream, keys)
        if not (wait and answer.ok):
            return answer
        click.echo(plain(f"{stream}: {answer.text}"))
        return await _until_it_ended(looking, stream, before)


async def _until_it_ended(looking: Looking, stream: StreamId, before: Seen) -> Answer:
    """Wait for the end of the cycle that runs or begins, telling each page."""
    was = before.last.id if before.last else 0
    pages = None
    while True:
        seen = await _seen(looking, stream)
        if seen.last is not None and seen.last.id > was:
            totals = seen.last.totals
            ended = f"cycle {seen.last.id} ended {seen.last.outcome}: {totals.seen} seen, "
            ended += f"{totals.written} written, {totals.unchanged} unchanged, {totals.dead} dead"
            reason = f" ({seen.last.reason})" if seen.last.reason else ""
            return Answer(seen.last.outcome == "ok", ended + reason)
        if seen.parked is not None:
            return Answer(False, f"parked: {seen.parked}")
        if seen.running is not None and seen.pages != pages:
            pages = seen.pages
            so_far = number(seen.running.totals.seen, "record")
            click.echo(plain(f"{stream}: {number(pages or 0, 'page')}, {so_far}"))
        await trio.sleep(LOOK)


async def _seen(looking: Looking, stream: StreamId) -> Seen:
    picture = await looking.picture([stream], [stream.source], [])
    return picture.streams[0]
