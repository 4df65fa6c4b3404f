"""`syncd why`: why is this row as it is?  The whole story of one record."""

import sys

import click
import trio

from syncd import app
from syncd.commands.options import FAILED, Options, select
from syncd.commands.screen import Screen, say_json
from syncd.config.settings import Settings
from syncd.store.looking import Looking
from syncd.sync.model import StreamId
from syncd.sync.picture import Story
from syncd.views.objects import configured
from syncd.views.story import heading, story_object, tell
from syncd.views.words import clock, plain

LABEL = len("2026-11-25 12:00:05")  # columns


@click.command()
@click.argument("stream")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times as ISO 8601.")
@click.pass_obj
def why(options: Options, stream: str, key: str, *, as_json: bool) -> None:
    """Tell the story of one record: what was, what is, and what comes next.

    Which page, request and answer wrote or changed its row, or put it aside, and when; its
    calls; what scans found. A row's `_syncd_changed_at` names the page that changed it last.
    Times are UTC. KEY is written as for `syncd sync`: a key of several columns as "eu, 42".

    The story reaches as far back as dead letters are kept (`keep_dead_letters`). It is read
    from the database alone, so a daemon is not needed, nor disturbed.

    \b
    Example:
      syncd why campaigns 4711
      syncd why campaigns 4711 --json | jq -r '.past[].words'

    Exit status 1 if nothing is known of such a record.
    """  # noqa: D301 - click's own \b keeps lines
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
    table = app.table(settings.sources[stream.source].streams[stream.stream])
    async with app.store(settings, migrations=False) as store:
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
