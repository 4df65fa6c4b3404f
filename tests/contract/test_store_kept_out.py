"""What was forgotten does not come back by a page: the store in memory and the real one alike."""

import json
from functools import partial

import attrs
import pytest
from psycopg import sql

from syncd.api import keys
from syncd.errors import StoreRefused
from syncd.store.forgetting import Forgetting
from syncd.sync.asking import Asker
from syncd.sync.model import PageCommit
from syncd.sync.ports import Settlement
from tests.contract.subjects import (
    ADS,
    TABLE,
    FakeSubject,
    PostgresSubject,
    Stream,
    Subject,
    campaigns,
    intent,
    key,
    letter,
    one_token,
    opened,
    page,
    row,
    running,
)

SEVEN = key("7")


def of(subject: PostgresSubject) -> Forgetting:
    return Forgetting(
        connections=subject.store.connections,
        stream=ADS,
        table=TABLE,
        canonical=partial(keys.canonical, TABLE.key, TABLE.columns),
        paged_by_key=False,
    )


async def forget(subject: Subject, name: str = "7", *, keep_out: bool = False) -> None:
    if isinstance(subject, FakeSubject):
        subject.store.forget(ADS, TABLE, json.dumps([name]), keep_out=keep_out)
    elif isinstance(subject, PostgresSubject):
        await of(subject).forget([name], keep_out=keep_out, asked_by=Asker(who="me"))


async def let_in(subject: Subject) -> None:
    if isinstance(subject, FakeSubject):
        subject.store.let_in(ADS, SEVEN)
    elif isinstance(subject, PostgresSubject):
        await of(subject).let_in(["7"], asked_by=Asker(who="me"))


def as_of(page: PageCommit, version: int) -> PageCommit:
    return attrs.evolve(page, kept_out_version=version)


async def spend(stream: Stream, *keys: str) -> None:
    """Tokens for calls of these records."""
    await stream.store.open_budget("b", requests=10, per=60)
    for of_record in keys:
        await one_token(
            stream.store,
            spent_on=f"{ADS} call {of_record}",
            lease=stream.lease,
            intent=None,
        )


async def spendings(subject: Subject) -> list[str]:
    if isinstance(subject, FakeSubject):
        found = [t.spent_on for b in subject.store.budgets.values() for t in b.tokens.values()]
    elif isinstance(subject, PostgresSubject):
        rows = await subject.select(sql.SQL("SELECT spent_on FROM syncd.token"))
        found = [row["spent_on"] or "" for row in rows]
    return sorted(filter(None, found))


async def test_nothing_is_kept_out_of_a_new_stream(subject: Subject) -> None:
    """accounted: and nothing has to be read to know it."""
    stream = await running(subject.store)
    assert stream.at.kept_out_version == 0
    known = await subject.store.kept_out(ADS, TABLE)
    assert (known.version, known.hashes) == (0, frozenset())


@pytest.mark.parametrize("keep_out", [True, False])
async def test_page_atomic_a_page_that_was_fetched_before_drops_it(
    subject: Subject, keep_out: bool
) -> None:
    """page-atomic, accounted: its row, its letter and its key, whatever the page has of it."""
    stream = await running(subject.store)
    await stream.commit(page(*campaigns("7"), dead=(letter("8"),)))
    await forget(subject, keep_out=keep_out)
    assert (await subject.rows(), [d.key for d in await subject.dead()]) == ({}, [key("8")])
    done = await stream.commit(page(row("7"), *campaigns("1"), dead=(letter("7", payload=b"{7}"),)))
    assert (done.totals.written, done.totals.dead) == (2, 1)  # with those of the first page
    assert (done.totals.left_out, done.totals.kept_out) == (2, 2)
    assert done.totals.balanced
    assert set(await subject.rows()) == {"1"}
    assert [d.key for d in await subject.dead()] == [key("8")]


async def test_page_atomic_each_of_several_pages_drops_who_was_forgotten(subject: Subject) -> None:
    """page-atomic, accounted: what one of them has says nothing of the others."""
    stream = await running(subject.store)
    for name in ("7", "8"):
        await forget(subject, name, keep_out=True)
    pages = [page(*campaigns("1", "7"), next_cursor="b"), page(*campaigns("8", "2"))]
    first, second = await stream.store.commit_pages(TABLE, stream.at, pages)
    assert (first.totals.written, first.totals.kept_out) == (1, 1)
    assert (second.totals.written, second.totals.kept_out) == (2, 2)
    assert set(await subject.rows()) == {"1", "2"}


async def test_of_a_page_that_is_refused_in_part_it_is_dropped_too(subject: Subject) -> None:
    """contained: where the page is halved for another record's sake."""
    stream = await running(subject.store)
    await forget(subject)
    bad = row("2", clicks=2**70)
    done = await stream.commit(page(row("7"), bad, *campaigns("1")))
    assert (done.totals.written, done.totals.dead, done.totals.kept_out) == (1, 1, 1)
    assert [found.key for found in done.refused] == [key("2")]
    assert set(await subject.rows()) == {"1"}


async def test_a_page_that_was_fetched_afterwards_may_bring_it_back(subject: Subject) -> None:
    """accounted: unless it is kept out."""
    stream = await running(subject.store)
    await forget(subject)
    done = await stream.commit(page(*campaigns("1")))
    now = done.checkpoint.kept_out_version
    assert now == 1
    done = await stream.commit(as_of(page(*campaigns("7")), now))
    assert (done.totals.written, done.totals.kept_out) == (2, 0)
    await forget(subject, keep_out=True)
    done = await stream.commit(as_of(page(*campaigns("7")), now))
    assert (done.totals.written, done.totals.kept_out) == (2, 1)


async def test_what_is_kept_out_is_known_by_its_hash(subject: Subject) -> None:
    """accounted: it stays so if the record is forgotten once more, until it is let in."""
    stream = await running(subject.store)
    await forget(subject, keep_out=True)
    await forget(subject)
    await forget(subject, "8")
    known = await subject.store.kept_out(ADS, TABLE)
    assert known.version == 3
    assert known.without(ADS, [SEVEN, key("8")]) == {key("8")}
    await let_in(subject)
    now = await subject.store.read_checkpoint(ADS)
    assert now.kept_out_version == 4
    known = await subject.store.kept_out(ADS, TABLE)
    assert (known.version, known.hashes) == (4, frozenset())
    done = await stream.commit(as_of(page(*campaigns("7")), 4))
    assert (done.totals.written, done.totals.kept_out) == (1, 0)


async def test_it_stays_kept_out_over_a_reset_and_other_settings(subject: Subject) -> None:
    """accounted: and for another syncd that takes the source."""
    stream = await running(subject.store)
    await forget(subject, keep_out=True)
    before = await subject.store.kept_out(ADS, TABLE)
    stream.at = await subject.store.reset(await subject.store.read_checkpoint(ADS), "asked")
    stream.at, _ = await subject.store.begin_cycle(stream.at, fingerprint="other")
    lease = await subject.store.acquire_lease("ads")
    now = await subject.store.open_stream(ADS, TABLE, lease, every=900)
    assert now.kept_out_version == before.version == 1
    assert await subject.store.kept_out(ADS, TABLE) == before


async def test_another_key_is_refused_rather_than_let_in(subject: Subject) -> None:
    """contained: hashes of other keys say nothing of these."""
    await running(subject.store)
    await forget(subject, keep_out=True)
    other = attrs.evolve(TABLE, columns={**TABLE.columns, "id": "bigint"})
    with pytest.raises(StoreRefused):
        await subject.store.kept_out(ADS, other)


async def test_no_blind_repeat_an_answer_that_came_late_goes_with_the_page(
    subject: Subject,
) -> None:
    """no-blind-repeat: or, where the page never was committed, when the next cycle begins."""
    stream = await running(subject.store)
    await forget(subject)
    late = Settlement(intent=intent("7", 1), outcome="done", kept=b"{}")
    other = Settlement(intent=intent("1", 1), outcome="done", kept=b"{}")
    await subject.store.settle_calls([late, other])
    both = [late.intent.idempotency_key, other.intent.idempotency_key]
    await spend(stream, SEVEN, key("1"))
    await stream.commit(page(*campaigns("7", "1")))
    assert list(await subject.store.ledger(both)) == both[1:]
    assert await spendings(subject) == ["ads.campaigns call", f"ads.campaigns call {key('1')}"]
    await forget(subject)
    await subject.store.settle_calls([late])
    await spend(stream, SEVEN, SEVEN)
    await stream.begin()
    assert list(await subject.store.ledger(both)) == both[1:]
    assert await spendings(subject) == [
        *["ads.campaigns call"] * 3,
        f"ads.campaigns call {key('1')}",
    ]


async def test_a_scan_has_lost_nothing_when_a_row_is_forgotten(subject: Subject) -> None:
    """no-delete-on-absence: what it noted of the record is taken back, and it is whole."""
    stream = await running(subject.store)
    await stream.commit(page(*campaigns("1", "2", "7"), next_cursor=None))
    stream.at, _ = await subject.store.begin_cycle(stream.at, fingerprint="f", reconcile=0.0)
    cycle = stream.at.cycle or 0
    await stream.commit(attrs.evolve(page(*campaigns("1", "7")), keys=()))
    await forget(subject, keep_out=True)
    await stream.commit(attrs.evolve(page(next_cursor=None, left_out=1), keys=(SEVEN,)))
    found = await subject.store.reconcile(TABLE, stream.at, cycle, moved="")
    assert (found.broken, found.missing) == ("", 1)
    assert set(await subject.rows()) == {"1", "2"}


async def test_what_came_late_is_looked_for_once_after_each_change(real: PostgresSubject) -> None:
    """no-secret-out: not in each cycle for ever; and after a takeover once more."""
    stream = await running(real.store)
    late = Settlement(intent=intent("7", 1), outcome="done", kept=b"{}")
    number = late.intent.idempotency_key
    for _ in range(2):
        await forget(real, keep_out=True)
        await real.store.settle_calls([late])
        await stream.begin()
        assert await real.store.ledger([number]) == {}
        # What nobody makes, since its page was sifted: it shows that nobody looks.
        await real.store.settle_calls([late])
        await stream.begin()
        assert list(await real.store.ledger([number])) == [number]
        await let_in(real)
    await forget(real, keep_out=True)
    await stream.begin()
    # Whoever had the source before may settle what he had begun, as late as he likes.
    await real.store.settle_calls([late])
    other = await opened(real.store)
    await other.begin()
    assert await real.store.ledger([number]) == {}
