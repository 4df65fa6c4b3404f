"""Each drift is an alarm of its own, made of what the database knows."""

import json

import trio.testing

from syncd.errors import StoreUnavailable
from syncd.sync import events
from syncd.sync.drift import Added, Drift
from tests.flow.test_telling import SHOP, Stage, ended, hear, receiver, settings, stage

Clock = trio.testing.MockClock
COLOUR = Drift(what="new-field", name="colour", rule="discard")
BUDGET = Drift(what="wrong-type", name="budget", found="a string", rule="dead-letter", records=3)
DRIFTED = events.Drifted(stream=SHOP, drift=COLOUR)

__all__ = ["stage"]  # the fixture


def said(stage: Stage, name: str = "me") -> list[tuple[str, str, str]]:
    bodies = [json.loads(m.body) for _, of, m in stage.post.taken if of == name]
    return [(b["alarm"], b["about"], b["state"]) for b in bodies]


async def test_each_is_told_once_and_once_that_it_is_over(
    stage: Stage, autojump_clock: Clock
) -> None:
    """Two of one stream are two alarms; what the next cycles find again is not told again."""
    async with stage.process() as telling:
        stage.book.drifting[SHOP] = [COLOUR, BUDGET]
        await hear(telling, DRIFTED)
        await hear(telling, DRIFTED, ended(), ended())
        assert said(stage) == [
            ("contract", "colour new", "firing"),
            ("contract", "budget a string", "firing"),
        ]
        stage.book.drifting[SHOP] = [BUDGET]
        await hear(telling, ended())
        assert said(stage)[2:] == [("contract", "colour new", "recovered")]
    body = json.loads(stage.post.taken[1][2].body)
    assert body["reason"] == (
        "column budget is sent a string that does not fit its type: the record is put aside"
    )
    assert "syncd contract show shop.orders" in body["todo"]


async def test_a_restart_tells_nothing_again(stage: Stage, autojump_clock: Clock) -> None:
    """resume: and it is told that it is over, though the process knew nothing of it."""
    stage.book.drifting[SHOP] = [COLOUR]
    async with stage.process() as telling:
        await hear(telling, DRIFTED)
    async with stage.process() as telling:
        await hear(telling, ended())
        assert len(said(stage)) == 1
        stage.book.drifting[SHOP] = []
        await hear(telling, ended())
        assert said(stage)[1:] == [("contract", "colour new", "recovered")]


async def test_who_does_not_ask_for_it_is_not_told_and_nothing_is_read(
    stage: Stage, autojump_clock: Clock
) -> None:
    stage.settings = settings(receiver("me", on=("parked",)))
    stage.book.drifting[SHOP] = [COLOUR]
    async with stage.process() as telling:
        stage.book.trouble = StoreUnavailable("away")
        await hear(telling, DRIFTED, ended())
        assert said(stage) == []


async def test_a_database_that_is_away_is_asked_after_the_next_cycle(
    stage: Stage, autojump_clock: Clock
) -> None:
    """contained: nothing is lost, it is told later."""
    async with stage.process() as telling:
        stage.book.drifting[SHOP] = [COLOUR]
        stage.book.trouble = StoreUnavailable("away")
        await hear(telling, DRIFTED)
        stage.book.trouble = None
        await trio.sleep(60)
        await hear(telling, ended())
        assert said(stage) == [("contract", "colour new", "firing")]


async def test_a_stream_that_leaves_takes_its_alarms_along(
    stage: Stage, autojump_clock: Clock
) -> None:
    """Also where the database is away just then."""
    stage.book.drifting[SHOP] = [COLOUR]
    async with stage.process() as telling:
        await hear(telling, DRIFTED)
        stage.book.trouble = StoreUnavailable("away")
        telling.follow(settings(stream_name="other"))
        await hear(telling)
        assert said(stage)[1:] == [("contract", "colour new", "recovered")]


async def test_a_column_that_was_added_is_told_as_well(stage: Stage, autojump_clock: Clock) -> None:
    added = Added(column="colour", type="text", field="colour")
    stage.book.drifting[SHOP] = [Drift(what="new-field", name="colour", rule="evolve")]
    async with stage.process() as telling:
        await hear(telling, events.ColumnAdded(stream=SHOP, added=added))
        (body,) = [json.loads(m.body) for *_, m in stage.post.taken]
        assert body["reason"].endswith("a column was added for it")
