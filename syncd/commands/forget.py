"""`syncd forget`: how does a record leave, wherever syncd keeps it?  The right to be forgotten."""

import re
import sys
from collections.abc import Sequence
from functools import partial

import click
import trio

from syncd.app import database, wiring
from syncd.commands.asking import running, whoami
from syncd.commands.options import Options, select
from syncd.config.settings import NumberPages, OffsetPages, Settings, StreamSettings
from syncd.store.forgetting import Forgetting, Forgotten, MisfitError
from syncd.store.postgres import PostgresStore
from syncd.store.proving import Proof
from syncd.sync.model import StreamId, key_parts
from syncd.usage.exits import FAILED
from syncd.views.streams import configured
from syncd.views.words import number, plain

OUT_OF_REACH = (
    "the write-ahead log, backups and replicas that lag",
    "what VACUUM has not cleared away yet, in the tables' and an embedded Postgres's files",
    "the journal and other logs, notifications and traces that were sent",
    "copies of your own: triggers, views that are stored, other tables",
    "the API itself, and what a running daemon has in its memory until its page is done",
)
"""Where syncd has no hand in it."""

HASHED = re.compile("hmac:[0-9a-f]{64}")


def forget(
    options: Options,
    stream: str,
    keys: tuple[str, ...],
    *,
    keep_out: bool,
    let_in: bool,
    everyone: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    _must_make_sense(keys, keep_out=keep_out, let_in=let_in, everyone=everyone, dry_run=dry_run)
    settings = options.to_look()
    (chosen,) = select(configured(settings), [stream])
    keys = tuple(dict.fromkeys(keys))
    _must_be_as_hidden(settings.sources[chosen.source].streams[chosen.stream], keys)
    try:
        if let_in:
            click.echo(trio.run(_let_in, settings, chosen, keys))
            return
        found = trio.run(partial(_look, settings, chosen, keys, migrations=not dry_run))
        _tell(chosen, keys, found)
        for other in _beside(settings, chosen):
            click.echo(plain(f"{other} writes into the same table: forget it there, too."))
        if dry_run:
            return
        if not yes:
            click.confirm(f"{_question(found, keep_out=keep_out)}?", abort=True)
        _erase(settings, chosen, keys, keep_out=keep_out)
    except MisfitError as error:
        raise click.UsageError(f"{chosen} has no such record: {error}") from error


def _must_make_sense(
    keys: Sequence[str], *, keep_out: bool, let_in: bool, everyone: bool, dry_run: bool
) -> None:
    if let_in and (keep_out or dry_run):
        raise click.UsageError("--let-in undoes what --keep-out did: it stands alone")
    if everyone and not let_in:
        raise click.UsageError("--all is for --let-in; to forget, name each KEY")
    if everyone == bool(keys):
        raise click.UsageError("name the KEYs, or --all" if let_in else "name the KEYs")
    if not all(key.strip() for key in keys):
        raise click.UsageError("a KEY is empty")


def _must_be_as_hidden(of: StreamSettings, keys: Sequence[str]) -> None:
    """What nobody can find by a clear text must not be certified as not there."""
    hashed = [c for c in of.key if of.paths.get(c, c) in of.hide]
    for key in keys:
        parts = dict(zip(of.key, key_parts(key, len(of.key)) or (), strict=False))
        clear = [c for c in hashed if c in parts and not HASHED.fullmatch(parts[c])]
        if clear:
            raise click.UsageError(
                f"`hide` hides `{clear[0]}`: name the record by what stands in the table "
                "(hmac:…), for by anything else nobody finds it"
            )


def _erase(settings: Settings, stream: StreamId, keys: Sequence[str], *, keep_out: bool) -> None:
    found, proof, runs = trio.run(partial(_forget, settings, stream, keys, keep_out=keep_out))
    click.echo(f"forgotten: {found.words}" if found.places else "nothing was there to be forgotten")
    said = f"{number(proof.tables, 'table')}, {number(proof.rows, 'row')} looked at"
    click.echo(f"{'found again' if proof.left else 'not found'} in {said}")
    if keep_out or found.were_kept_out:
        what = "it" if len(keys) == 1 else "them"
        click.echo(f"kept out: what the API lists of {what} is only counted, until --let-in")
    else:
        comes = "it comes" if len(keys) == 1 else "they come"
        listed = "it" if len(keys) == 1 else "them"
        click.echo(
            f"{comes} back with the next cycle in which the API lists {listed} (see --keep-out)"
        )
    if keep_out and runs:
        click.echo("the daemon hears of it at the end of the page that it is at")
    click.echo("Not in syncd's reach: " + "; ".join(OUT_OF_REACH) + ".")
    for place in proof.left:
        click.echo(f"left in {plain(place)}", err=True)
    if proof.left and runs:
        click.echo(
            "a daemon runs: what it was still doing for the record goes with the page that it is "
            "at; then ask again",
            err=True,
        )
    if proof.left:
        sys.exit(FAILED)


def _tell(stream: StreamId, keys: Sequence[str], found: Forgotten) -> None:
    what = f"record {keys[0]}" if len(keys) == 1 else f"{len(keys)} records"
    there = "" if found.places else ": not found"
    click.echo(plain(f"{stream}, {what}{there}"))
    for where, many in found.places.items():
        click.echo(f"  {many} {plain(where)}")
    if found.were_kept_out:
        click.echo(f"  {number(found.were_kept_out, 'record')} kept out already")
    if found.unknown:
        calls = "of 1 call" if found.unknown == 1 else f"of {found.unknown} calls"
        click.echo(
            f"The outcome {calls} is not known: once it is forgotten nobody can find out any more "
            "what became of it, and where the record comes back it may be made again."
        )
    if found.keyless:
        letters = number(found.keyless, "dead letter")
        click.echo(
            f"{letters} of the stream without a key: whose they are can't be told "
            "(`syncd dead list`)."
        )
    if found.elsewhere:
        others = ", ".join(map(str, found.elsewhere))
        click.echo(plain(f"A record with this key is known in {others}, too; it stays there."))


def _beside(settings: Settings, stream: StreamId) -> list[StreamId]:
    """Other streams of the source whose rows are the very same ones."""
    of = settings.sources[stream.source].streams
    ours = (of[stream.stream].schema, of[stream.stream].table)
    names = [name for name, other in of.items() if (other.schema, other.table) == ours]
    return [StreamId(source=stream.source, stream=n) for n in names if n != stream.stream]


def _question(found: Forgotten, *, keep_out: bool) -> str:
    what = "Erase all of that for good" if found.places else "Forget it all the same"
    return f"{what}, and keep it out" if keep_out else what


# --- the database -----------------------------------------------------------------------------


def _forgetting(settings: Settings, stream: StreamId, store: PostgresStore) -> Forgetting:
    of = settings.sources[stream.source].streams[stream.stream]
    return Forgetting(
        connections=store.connections,
        stream=stream,
        table=database.table(of),
        canonical=partial(wiring.canonical_key, of),
        paged_by_key=not isinstance(of.page, NumberPages | OffsetPages),
    )


async def _look(
    settings: Settings, stream: StreamId, keys: Sequence[str], *, migrations: bool
) -> Forgotten:
    async with database.store(settings, migrations=migrations) as store:
        return await _forgetting(settings, stream, store).look(keys)


async def _forget(
    settings: Settings, stream: StreamId, keys: Sequence[str], *, keep_out: bool
) -> tuple[Forgotten, Proof, bool]:
    async with database.store(settings) as store:
        forgetting = _forgetting(settings, stream, store)
        found = await forgetting.forget(keys, keep_out=keep_out, asked_by=whoami())
        runs = stream.source in await running(store, [stream.source])
        return found, await forgetting.prove(keys), runs


async def _let_in(settings: Settings, stream: StreamId, keys: Sequence[str]) -> str:
    async with database.store(settings) as store:
        many = await _forgetting(settings, stream, store).let_in(keys, asked_by=whoami())
    if not many:
        return "nothing was kept out" if not keys else "it was not kept out"
    return f"{number(many, 'record')} let in: back with the next cycle in which the API lists it"
