"""The commands' side of a request, on a real Postgres."""

import psycopg
import trio

from syncd.store.requests import Asking
from syncd.sync.asking import Asker, Deed
from tests.contract.subjects import ADS, TABLE, PostgresSubject, opened

ME = Asker(who="me@here")


async def test_a_request_finds_its_answer(real: PostgresSubject) -> None:
    """contained: and one that nobody has taken can be withdrawn."""
    stream = await opened(real.store)
    asking = Asking(real.store.connections)
    number = await asking.ask("sync", "ads", "campaigns", asked_by=ME)
    assert not (await asking.progress(number)).taken
    (request,) = await real.store.take_requests([stream.lease])
    assert not await asking.withdraw(number)
    assert (await asking.progress(number)).taken
    said = "a: keep\n" * 200  # a line for each stream
    await real.store.answer_request(request, ok=False, answer=said)
    ended = await asking.progress(number)
    assert (ended.ended, ended.ok, ended.answer) == (True, False, said)
    other = await asking.ask("sync", "ads", "campaigns", asked_by=ME)
    assert await asking.withdraw(other)
    gone = await asking.progress(other)
    assert (gone.known, gone.ended, gone.ok) == (False, True, False)


async def test_what_a_dead_process_took_is_answered_by_the_next(real: PostgresSubject) -> None:
    """contained: nobody waits for ever."""
    stream = await opened(real.store)
    asking = Asking(real.store.connections)
    number = await asking.ask("reset", "ads", "campaigns", asked_by=ME)
    await real.store.take_requests([stream.lease])
    waiting = await asking.ask("sync", "ads", "campaigns", asked_by=ME)
    await real.store.abandon_requests([stream.lease], "ask again")
    assert (await asking.progress(number)).answer == "ask again"
    assert not (await asking.progress(waiting)).ended


async def test_pausing_holds_over_restarts_and_for_streams_that_never_ran(
    real: PostgresSubject,
) -> None:
    """resume: it stands in the database, whoever runs the stream."""
    asking = Asking(real.store.connections)
    await asking.hold("pause", ADS, asked_by=ME)
    stream = await opened(real.store)
    assert stream.at.paused
    await asking.ask("resume", "ads", "campaigns", asked_by=ME)
    at = await real.store.open_stream(ADS, TABLE, stream.lease, every=900)
    assert not at.paused
    await asking.ask("pause", "ads", "campaigns", asked_by=ME)
    assert (await real.store.read_checkpoint(ADS)).paused


async def test_a_request_is_heard_at_once(real: PostgresSubject) -> None:
    """contained: by NOTIFY; a connection that breaks is noticed, and polling goes on."""
    await opened(real.store)
    asking = Asking(real.store.connections)
    await real.store.wait_for_requests(0.01)
    heard = trio.Event()

    async def wait() -> None:
        await real.store.wait_for_requests(30)
        heard.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await asking.ask("sync", "ads", "campaigns", asked_by=ME)
        with trio.fail_after(15):
            await heard.wait()
    with psycopg.connect(real.conninfo, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        )
    with trio.fail_after(15):
        for _ in range(2):  # the server's last words, and the end of the connection
            await real.store.wait_for_requests(0.5)
        began = trio.current_time()
        await real.store.wait_for_requests(0.2)
    assert trio.current_time() - began > 0.19


async def deeds(asking: Asking) -> list[tuple[str, str, bool | None, str]]:
    _, found = await asking.audit(100)
    return [(deed.what, deed.subject, deed.ok, deed.answer) for _, deed in reversed(found)]


async def test_what_was_asked_is_in_the_audit_with_its_answer(real: PostgresSubject) -> None:
    """accounted: answered, withdrawn, abandoned; and what was done without a request."""
    stream = await opened(real.store)
    asking = Asking(real.store.connections)
    number = await asking.ask("sync", "ads", "campaigns", asked_by=ME, subjects=["1", "2"])
    await asking.hold("pause", ADS, asked_by=ME)
    await asking.note(Deed(asker=Asker(who="x\x00", origin="::1"), what="refused", ok=False))
    assert await asking.discard([7, 3], asked_by=ME) == []
    assert (await deeds(asking))[0] == ("sync", "ads.campaigns 1 2", None, "")
    (request,) = await real.store.take_requests([stream.lease])
    assert request.id == number
    await real.store.answer_request(request, ok=True, answer="2 written")
    withdrawn = await asking.ask("reset", "ads", "campaigns", asked_by=ME)
    assert await asking.withdraw(withdrawn)
    await asking.ask("reload", "ads", None, asked_by=ME)
    await real.store.take_requests([stream.lease])
    await real.store.abandon_requests([stream.lease], "ask again")
    assert await deeds(asking) == [
        ("sync", "ads.campaigns 1 2", True, "2 written"),
        ("pause", "ads.campaigns", True, ""),
        ("refused", "", False, ""),
        ("discard", "3 7", True, "0 discarded"),
        ("reset", "ads.campaigns", False, "withdrawn: nobody had taken it"),
        ("reload", "ads", False, "ask again"),
    ]


async def test_entries_of_the_audit_leave_after_400_days(real: PostgresSubject) -> None:
    """accounted: a batch of them with each new one."""
    await opened(real.store)
    asking = Asking(real.store.connections)
    old = (
        "INSERT INTO syncd.audit (who, origin, what, at) SELECT 'x', 'y', 'z', "
        "clock_timestamp() - make_interval(days => CASE WHEN n <= 250 THEN 401 ELSE 399 END) "
        "FROM generate_series(1, 260) n"
    )
    with psycopg.connect(real.conninfo, autocommit=True) as connection:
        connection.execute(old.encode())
    left = []
    for _ in range(4):
        await asking.note(Deed(asker=ME, what="a", ok=True))
        left.append(len((await asking.audit(1000))[1]))
    assert left == [161, 62, 13, 14]
