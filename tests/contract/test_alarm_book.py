"""What receivers were told: the book in memory and the one on Postgres keep it alike."""

from collections.abc import AsyncIterator

import attrs
import psycopg
import pytest

from syncd.store.alarms import AlarmBook
from syncd.store.postgres import open_store
from syncd.sync.alarm import Alarm, Book, Kept, Message, Standing
from syncd.sync.model import StreamId
from syncd.testing.alarms import FakeBook
from tests.contract.conftest import KINDS
from tests.contract.subjects import ADS, PostgresSubject, campaigns, letter, opened
from tests.servers import Servers

PARKED = Alarm("parked", "ads", "campaigns")
AWAY = Alarm("postgres-away")
HERE = "db1:/etc/syncd.toml"


@pytest.fixture(params=KINDS)
async def book(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Book]:
    if request.param == "fake":
        yield FakeBook()
        return
    with servers[request.param].fresh_database() as conninfo:
        async with open_store(conninfo) as store:
            yield AlarmBook(store.connections)


def standing(alarm: Alarm = PARKED, **of: float | None) -> Standing:
    given = {"since": 60.0, "told": 30.0, **of}
    return Standing(alarm=alarm, reason="it\x00s \ud800 odd", **given)  # type: ignore[arg-type]


def message(number: str, receiver: str = "me", age: float = 0.0) -> Message:
    return Message(id=number, receiver=receiver, what="parked", body='{"a":"\\u0000"}', age=age)


async def read(
    book: Book, *receivers: str, sources: tuple[str, ...] = ("ads",), instance: str = HERE
) -> list[Kept]:
    return list(await book.load(instance, sources, receivers or ("me",)))


async def test_what_was_written_is_read_and_grows_old(book: Book) -> None:
    """resume: on the clock of the database, as seconds ago."""
    await book.write(HERE, standing=[("me", standing()), ("me", standing(AWAY, ended=5.0))])
    ((kept),) = await read(book)
    parked, away = sorted(kept.standing, key=lambda s: s.alarm.kind)
    assert (parked.alarm, away.alarm) == (PARKED, AWAY)
    assert parked.ended is None
    assert 60.0 <= parked.since < 90.0
    assert 30.0 <= parked.told < 60.0
    assert away.ended is not None
    assert 5.0 <= away.ended < 35.0
    assert "odd" in parked.reason


async def test_it_is_written_over_and_forgotten(book: Book) -> None:
    await book.write(HERE, standing=[("me", standing())])
    await book.write(HERE, standing=[("me", attrs.evolve(standing(), times=3))])
    ((kept),) = await read(book)
    assert [s.times for s in kept.standing] == [3]
    await book.write(HERE, forgotten=[("me", PARKED), ("me", AWAY)])
    ((kept),) = await read(book)
    assert not kept.standing


async def test_messages_come_back_in_order_until_they_are_settled(book: Book) -> None:
    """resume, no-blind-repeat: byte for byte; and writing one twice is no harm."""
    written = [("ads", message(n)) for n in "cab"]
    await book.write(HERE, messages=written)
    await book.write(HERE, messages=written)
    ((kept),) = await read(book)
    assert [m.id for m in kept.messages] == ["c", "a", "b"]
    assert kept.messages[0].body == written[0][1].body
    assert 0 <= kept.messages[0].age < 30.0
    await book.write(HERE, settled=["a", "c", "z"])
    ((kept),) = await read(book)
    assert [m.id for m in kept.messages] == ["b"]


async def test_another_source_and_another_instance_are_not_ours(book: Book) -> None:
    """contained: two daemons share a database, and a receiver."""
    await book.write(HERE, standing=[("me", standing()), ("me", standing(AWAY))])
    await book.write(HERE, messages=[("ads", message("a")), ("", message("b"))])
    ((other),) = await read(book, sources=("crm",), instance="db2:/etc/syncd.toml")
    assert (list(other.standing), list(other.messages)) == ([], [])
    ((moved),) = await read(book, instance="db2:/etc/syncd.toml")
    assert ([s.alarm for s in moved.standing], [m.id for m in moved.messages]) == ([PARKED], ["a"])
    ((ours),) = await read(book)
    assert (len(ours.standing), len(ours.messages)) == (2, 2)


async def test_a_receiver_that_left_is_forgotten_and_no_other(book: Book) -> None:
    await book.write(
        HERE, standing=[("me", standing()), ("you", standing()), ("me", standing(AWAY))]
    )
    await book.write(HERE, messages=[("ads", message("a")), ("ads", message("b", "you"))])
    ((you),) = await read(book, "you")
    assert (len(you.standing), len(you.messages)) == (1, 1)
    me, you = await read(book, "me", "you")
    assert (len(me.standing), len(me.messages)) == (0, 0)
    assert (len(you.standing), len(you.messages)) == (1, 1)


async def test_letters_and_ages_are_those_of_the_streams(postgres: str) -> None:
    """accounted: of cycles that ended well; a stream that is paused has no age."""
    async with open_store(postgres) as store:
        book = AlarmBook(store.connections)
        real = PostgresSubject(store, postgres)
        stream = await opened(real.store)
        assert await book.ages(["ads"]) == {}
        await stream.whole_cycle(*campaigns("a"), dead=(letter("d"),))
        assert await book.dead(ADS) == 1
        assert await book.dead(StreamId(source="ads", stream="other")) == 0
        (age,) = (await book.ages(["ads", "crm"])).values()
        assert 0 <= age < 30.0
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("UPDATE syncd.checkpoint SET paused_at = clock_timestamp()")
        assert await book.ages(["ads"]) == {}
