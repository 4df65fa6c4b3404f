"""`syncd why`: why is this row as it is?  The whole story of one record."""

import sys

import click
import trio

from syncd.app import database
from syncd.commands.options import Options, select
from syncd.commands.screen import Screen, say_json
from syncd.config.settings import Settings
from syncd.store.looking import Looking
from syncd.sync.model import StreamId
from syncd.sync.picture import Story
from syncd.usage.exits import FAILED
from syncd.views.story import heading, story_object, tell
from syncd.views.streams import configured
from syncd.views.words import clock, plain

LABEL = len("2026-11-25 12:00:05")  # columns


def why(options: Options, stream: str, key: str, *, as_json: bool) -> None:
    if not key.strip():
        raise click.UsageError("the KEY is empty")
    settings = options.to_look()
    (chosen,) = select(configured(settings), [stream])
    story = trio.run(_read, settings, chosen, key)
    if as_json:
        say_json(story_object(story, settings))
    else:
        show(Screen.stdout(), story, settings)
    if not story.known:
        sys.exit(FAILED)


async def _read(settings: Settings, stream: StreamId, key: str) -> Story:
    table = database.table(settings.sources[stream.source].streams[stream.stream])
    async with database.store(settings, migrations=False) as store:
        return await Looking(store.connections).story(stream, table, key)


def show(screen: Screen, story: Story, settings: Settings) -> None:
    """Print a story."""
    tale = tell(story, settings)
    screen.say(plain(heading(story, settings)), style="bold")
    screen.say()
    for chapter in tale.past:
        sentences = [f"{chapter.words}.", *chapter.details]
        screen.beside(clock(chapter.at), [plain(s) for s in sentences], wide=LABEL)
    for label, said in (("now", tale.now), ("next", tale.coming)):
        if said:
            screen.say()
            screen.beside(label, [plain(s) for s in said], wide=LABEL if tale.known else len(label))
