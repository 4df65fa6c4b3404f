"""`syncd contract`: how does the data leave what the config says of it, and may it stay so?"""

from collections.abc import Sequence
from typing import Any

import click
import trio

from syncd.app import database
from syncd.commands.asking import whoami
from syncd.commands.options import Options, select
from syncd.commands.screen import Line, Screen, say_json
from syncd.config.settings import Settings
from syncd.store.looking import Looking
from syncd.store.requests import Asking
from syncd.sync.model import StreamId, Table
from syncd.sync.picture import Noted
from syncd.views.drifts import named, what_is_wrong
from syncd.views.streams import configured
from syncd.views.words import ago, moment, number, plain


def show(options: Options, streams: tuple[str, ...], *, as_json: bool) -> None:
    settings = options.to_look()
    known = configured(settings)
    chosen = select(known, streams) if streams else known
    now, noted, tables = trio.run(_read, settings, chosen)
    if as_json:
        say_json(
            {
                "drifts": [_object(each) for each in noted],
                "columns": [
                    {"source": s.source, "stream": s.stream, "column": name, "type": of}
                    for s, table in tables.items()
                    for name, of in table.columns.items()
                ],
            }
        )
        return
    screen = Screen.stdout()
    _show(screen, now, noted)
    for stream, table in tables.items():
        listed = ", ".join(f"{plain(name)} {of}" for name, of in table.columns.items())
        if listed:
            screen.say(plain(f"{stream}: columns added to {table.schema}.{table.name}: {listed}"))


def accept(options: Options, stream: str, names: tuple[str, ...]) -> None:
    settings = options.to_look()
    (chosen,) = select(configured(settings), [stream])
    done = trio.run(_accept, settings, chosen, names)
    for name in [name for name in names if name not in done]:
        click.echo(plain(f"{name}: nothing is told of it"), err=True)
    click.echo(f"{number(len(done), 'name')} accepted")


async def _read(
    settings: Settings, streams: Sequence[StreamId]
) -> tuple[float, list[Noted], dict[StreamId, Table]]:
    async with database.store(settings, migrations=False) as store:
        looking = Looking(store.connections)
        now, noted = await looking.drifts(streams)
        return now, noted, {s: await looking.added(_table(settings, s)) for s in streams}


def _table(settings: Settings, stream: StreamId) -> Table:
    return database.table(settings.sources[stream.source].streams[stream.stream])


async def _accept(settings: Settings, stream: StreamId, names: Sequence[str]) -> list[str]:
    async with database.store(settings, migrations=False) as store:
        asking = Asking(store.connections)
        return await asking.accept(stream, names, asked_by=whoami())


def _show(screen: Screen, now: float, noted: Sequence[Noted]) -> None:
    if not noted:
        screen.say("what the APIs send is as the config says")
        return
    lines = [
        Line(
            cells=(
                plain(str(each.stream)),
                named(each.drift),
                each.drift.rule,
                "seen" if each.accepted else "new",
                ago(now - each.last),
                str(each.drift.records or "-"),
            ),
            beneath=[plain(what_is_wrong(each.drift))],
        )
        for each in noted
    ]
    screen.table(("stream", "name", "rule", "", "last", "records"), lines, gives_way=1, right=5)
    screen.say()


def _object(noted: Noted) -> dict[str, Any]:
    return {
        "source": noted.stream.source,
        "stream": noted.stream.stream,
        "what": noted.drift.what,
        "name": noted.drift.name,
        "found": noted.drift.found or None,
        "rule": noted.drift.rule,
        "says": what_is_wrong(noted.drift),
        "records": noted.drift.records if noted.drift.what == "wrong-type" else None,
        "first_at": moment(noted.first),
        "last_at": moment(noted.last),
        "accepted_at": moment(noted.accepted),
    }
