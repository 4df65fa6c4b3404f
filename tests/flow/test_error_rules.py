"""What becomes of lists and calls by the rules of a config: the real client under the real loop.

Only the wire is a fake: it answers what a server would, on the clock that jumps.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from syncd.api.client import ApiClient
from syncd.api.exchange import Answer, Ask
from syncd.api.source import ApiSource
from syncd.api.transport import Signing
from syncd.config.settings import (
    CallSettings,
    ErrorRule,
    NumberPages,
    Secret,
    SourceSettings,
    StreamSettings,
    Then,
    TokenLogin,
)
from syncd.errors import ApiUnavailable, NotNow, ParkedByRule, RateLimited, UnexpectedAnswer
from syncd.sync import events
from syncd.sync.aside import retry_letters
from syncd.sync.context import StreamContext
from syncd.sync.ports import Permit
from syncd.sync.stream import run_cycle
from syncd.testing import FakeSource
from syncd.testing.scanning import DELETED
from tests.flow.conftest import CAMPAIGNS, World

Clock = trio.testing.MockClock
Reply = tuple[int, object]
"""A status, and a body to be written as JSON."""

DENIED: Reply = (403, {"code": "QUOTA", "message": "slow down"})
GONE: Reply = (404, {"message": "no such thing"})
BUSY: Reply = (409, {"message": "busy"})
BROKEN: Reply = (500, {"message": "broken"})
GIVES: Reply = (200, {"at": "2026-01-01T00:00:00Z"})


@attrs.define(eq=False)
class Wire:
    """An API of 25 records, ten on a page, and a call for each; it stumbles as it is told."""

    many: int = 25
    replies: dict[str, list[Reply]] = attrs.field(factory=dict)
    """By what is asked for, such as `page 2`, `call 7` or `login`: what is answered first."""

    always: dict[str, Reply] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    asked: list[tuple[str, float]] = attrs.field(factory=list)
    done: Counter[str] = attrs.field(factory=Counter)
    """What was carried out."""

    on_answer: Callable[[str], None] = lambda _: None
    under_way: Counter[str] = attrs.field(factory=Counter)
    rebuilt: int = 0

    def url(self, ask: Ask) -> str:
        return f"http://shop.test{ask.path}"

    def times(self, what: str) -> int:
        return [name for name, _ in self.asked].count(what)

    async def exchange(self, ask: Ask, permit: Permit, *, signing: Signing | None = None) -> Answer:
        if signing is not None:
            await signing.auth()
        await permit.confirm()
        what = self._what(ask)
        self.asked.append((what, trio.current_time()))
        permit.written()
        await trio.sleep(0.01)
        permit.answered()
        to_come = self.replies.get(what)
        status, body = to_come.pop(0) if to_come else self.always.get(what) or self._good(what)
        self.on_answer(what)
        return Answer(status=status, headers=self.headers, body=json.dumps(body).encode())

    def _what(self, ask: Ask) -> str:
        if ask.path == "/auth/token":
            return "login"
        if ask.purpose == "call":
            return f"call {ask.path.split('/')[2]}"
        return f"page {ask.params['page']}"

    def _good(self, what: str) -> Reply:
        kind, _, which = what.partition(" ")
        if kind == "login":
            return 200, {"access_token": f"bearer-{len(self.asked)}", "expires_in": 3600}
        if kind == "call":
            self.done[which] += 1
            return GIVES
        number = int(which)
        ids = range((number - 1) * 10 + 1, min(number * 10, self.many) + 1)
        records = [{"id": str(n), "name": f"campaign {n}", "budget": n} for n in ids]
        return 200, {"data": records, "has_more": number * 10 < self.many}

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False, kw_only=True)
class Ruled:
    """A world whose stream reads the wire by the rules of its config."""

    wire: Wire = attrs.field(factory=Wire)
    world: World = attrs.field(factory=lambda: World(requests=None))
    patch: pytest.MonkeyPatch

    def by(self, *rules: ErrorRule, call: CallSettings | None = None, login: bool = False) -> None:
        """Read it by these rules from the next process on."""
        stream = StreamSettings(
            name="campaigns",
            path="/campaigns",
            records="data",
            key=("id",),
            columns={"id": "text", "name": "text", "budget": "numeric", "synced_at": "timestamptz"},
            table="campaigns",
            page=NumberPages(size=10),
            call=call,
            errors=rules,
        )
        auth = TokenLogin(username="u", password=Secret("p", "env P")) if login else None
        source = SourceSettings(name="ads", base_url="http://shop.test", auth=auth)
        client = ApiClient(source)
        self.patch.setattr(client, "_transport", self.wire)
        self.world.source = cast("FakeSource", ApiSource(source, stream, client))

    @property
    def rows(self) -> dict[str, dict[str, object]]:
        return self.world.rows


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> Ruled:
    return Ruled(patch=monkeypatch)


def rule(then: Then, **said: Any) -> ErrorRule:
    return ErrorRule(then=then, **said)


def call(**changes: Any) -> CallSettings:
    of = CallSettings(path="/campaigns/{id}/sync", keep={"synced_at": "at"})
    return attrs.evolve(of, **changes)


# --- lists --------------------------------------------------------------------------------------


async def test_retry_asks_again_for_what_would_be_for_good(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """CASES 30: an error in a good answer and a 404 pass, and not a record is lost."""
    ruled.by(rule("retry", status=("404",)), rule("retry", body={"error": ("BUSY",)}))
    ruled.wire.replies["page 2"] = [GONE, (200, {"error": "BUSY"}), GONE]
    done = await ruled.world.cycle()

    assert done.outcome == "ok"
    assert (done.totals.seen, done.totals.retried, done.totals.requests) == (25, 3, 6)
    assert len(ruled.rows) == 25


async def test_a_retry_that_never_helps_waits_at_its_checkpoint(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """resume: as many tries as `retries` allows, then the cycle stands and goes on later."""
    ruled.by(rule("retry", status=("404",)))
    ruled.wire.replies["page 2"] = [GONE] * 6
    with pytest.raises(NotNow, match="answered 404: no such thing"):
        await ruled.world.cycle()
    assert ruled.wire.times("page 2") == 6
    assert ruled.world.store.parked == {}

    assert (await ruled.world.cycle()).totals.seen == 25
    assert ruled.wire.times("page 1") == 1


async def test_retry_says_nothing_ill_of_the_apis_health(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """contained: records that are locked are no API that is down: nobody else waits for them."""
    ruled.by(rule("retry", status=("409",)), call=call(repeat="idempotent"))
    for n in range(1, 21):
        ruled.wire.replies[f"call {n}"] = [BUSY, BUSY]
    done = await ruled.world.cycle()

    assert done.totals.written == 25
    assert not [e for e in ruled.world.heard if isinstance(e, events.BreakerOpened)]


@pytest.mark.parametrize(("headers", "held"), [({}, 40.0), ({"retry-after": "90"}, 90.0)])
async def test_wait_holds_the_budget_as_a_429_does(
    ruled: Ruled, autojump_clock: Clock, headers: dict[str, str], held: float
) -> None:
    """budget: for as long as the answer says, else as the rule does; it counts as refused."""
    ruled.by(rule("wait", status=("403",), body={"code": ("QUOTA",)}, hold=40.0, says="quota"))
    ruled.wire.replies["page 2"] = [DENIED]
    ruled.wire.headers = headers
    done = await ruled.world.cycle()

    (first, again) = (at for what, at in ruled.wire.asked if what == "page 2")
    assert held <= again - first < held * 1.03
    assert (done.totals.refused, done.totals.retried, done.totals.seen) == (1, 1, 25)
    [told] = [e for e in ruled.world.heard if isinstance(e, events.Retrying)]
    assert told.reason == "quota: GET /campaigns answered 403: slow down"


async def test_a_wait_holds_after_a_restart(ruled: Ruled, autojump_clock: Clock) -> None:
    """budget, resume: what the rule says outlasts the process, for all who share the budget."""
    ruled.by(rule("wait", status=("403",), hold=600.0))
    ruled.wire.replies["page 1"] = [DENIED] * 6
    with pytest.raises(RateLimited):
        await ruled.world.cycle()
    began = trio.current_time()
    with trio.move_on_after(60):  # a life that is cut in the middle of the wait
        ruled.wire.replies["page 1"] = [DENIED]
        await ruled.world.cycle()
    await ruled.world.cycle()
    assert ruled.wire.asked[-3][1] - began >= 600


async def test_login_buys_another_token(ruled: Ruled, autojump_clock: Clock) -> None:
    """CASES 13: a 403 that means expired costs a login, not the stream."""
    ruled.by(rule("login", status=("403",)), login=True)
    ruled.wire.replies["page 2"] = [DENIED]
    done = await ruled.world.cycle()

    assert done.totals.seen == 25
    assert (ruled.wire.times("login"), ruled.wire.times("page 2")) == (2, 2)
    assert done.totals.retried == 0


async def test_end_ends_a_list_whose_flag_goes_on(ruled: Ruled, autojump_clock: Clock) -> None:
    """CASES 18, accounted: a 404 after the last full page is the end, and the cycle is whole."""
    ruled.by(rule("end", status=("404",)))
    ruled.wire.many = 1000
    ruled.wire.always["page 3"] = GONE
    done = await ruled.world.cycle()

    assert (done.outcome, done.totals.seen) == ("ok", 20)
    assert done.checkpoint.cycle is None

    ruled.wire.always["page 1"] = GONE
    with pytest.raises(UnexpectedAnswer, match="404"):
        await ruled.world.cycle()


async def test_park_parks_at_once_with_the_rules_words(ruled: Ruled, autojump_clock: Clock) -> None:
    """contained: no retries, the checkpoint stands, and whoever resumes it goes on from there."""
    ruled.by(rule("park", status=("5xx",), says="quota used up; ask the vendor"))
    ruled.wire.replies["page 2"] = [BROKEN]
    with pytest.raises(ParkedByRule):
        await ruled.world.cycle()

    assert ruled.world.store.parked[CAMPAIGNS].startswith(
        "quota used up; ask the vendor: GET /campaigns answered 500: broken. A rule parks"
    )
    assert ruled.wire.times("page 2") == 1
    assert (await ruled.world.cycle()).totals.seen == 25
    assert ruled.wire.times("page 1") == 1


async def test_fail_parks_without_a_retry(ruled: Ruled, autojump_clock: Clock) -> None:
    """contained: a 503 that will never be another answer is asked for once."""
    ruled.by(rule("fail", status=("503",)))
    ruled.wire.replies["page 2"] = [(503, {"message": "switched off"})]
    with pytest.raises(UnexpectedAnswer, match="answered 503: switched off"):
        await ruled.world.cycle()
    assert ruled.wire.times("page 2") == 1


# --- calls --------------------------------------------------------------------------------------


async def test_skip_leaves_the_record_out_and_says_so(ruled: Ruled, autojump_clock: Clock) -> None:
    """accounted: counted as left out by a rule, no dead letter, and one line for the rule."""
    ruled.by(rule("skip", status=("404",), says="archived"), call=call())
    for n in (3, 7, 15):
        ruled.wire.always[f"call {n}"] = GONE
    done = await ruled.world.cycle()

    assert (done.outcome, done.totals.seen, done.totals.written) == ("ok", 25, 22)
    assert (done.totals.left_out, done.totals.dead) == (3, 0)
    assert done.totals.balanced
    assert not {"3", "7", "15"} & set(ruled.rows)
    assert ruled.world.store.dead_letters == []
    told = [e for e in ruled.world.heard if isinstance(e, events.LeftOut)]
    assert {e.key for e in told} == {'["3"]', '["7"]', '["15"]'}
    assert [e.alert for e in told] == [True, False, False]
    assert told[0].reason.startswith("archived: POST /campaigns/")
    assert all(ruled.wire.times(f"call {n}") == 1 for n in (3, 7, 15))


async def test_a_record_that_was_skipped_is_not_called_for_again_after_a_crash(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """no-blind-repeat, accounted: its answer is in the ledger, and means the same once more."""
    ruled.world.concurrency = 1
    ruled.by(rule("skip", status=("404",)), call=call(repeat="idempotent"))
    ruled.wire.always["call 7"] = GONE
    with trio.CancelScope() as life:
        ruled.wire.on_answer = lambda what: life.cancel() if what == "call 10" else None
        await ruled.world.cycle()
    assert life.cancelled_caught
    ruled.wire.on_answer = lambda _: None
    done = await ruled.world.cycle()

    assert ruled.wire.times("call 7") == 1
    assert done.totals.left_out == 1
    assert done.totals.balanced


async def test_a_record_that_was_skipped_is_not_taken_for_gone(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """no-delete-on-absence: the API lists it, so two scans that skip it mark nothing."""
    ruled.world.reconcile = 0.0
    ruled.by(rule("skip", status=("404",)), call=call())
    await ruled.world.cycle()
    ruled.wire.always["call 7"] = GONE
    for _ in range(3):
        done = await ruled.world.cycle()
        assert done.totals.left_out == 1
    assert ruled.rows["7"].get(DELETED) is None


async def test_a_dead_letter_whose_call_is_skipped_leaves(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """accounted: tried again by the new rule, it is left out, and lies there no more."""
    ruled.by(call=call())
    ruled.wire.always["call 7"] = GONE
    async with ruled.world.process() as stream:
        await run_cycle(stream)
    assert [d.kind for d in ruled.world.store.dead_letters] == ["call-failed"]

    ruled.by(rule("skip", status=("404",)), call=call())
    async with ruled.world.process() as stream:
        letters = await stream.store.due_letters(stream.id)
        at = await stream.store.read_checkpoint(stream.id)
        done = await retry_letters(stream, at, letters)
    assert (done.totals.seen, done.totals.left_out) == (1, 1)
    assert ruled.world.store.dead_letters == []
    assert "7" not in ruled.rows


@pytest.mark.parametrize(
    ("said", "reply"),
    [(rule("retry", status=("409",)), BUSY), (rule("wait", status=("403",), hold=9.0), DENIED)],
)
async def test_no_blind_repeat_of_a_call_that_was_turned_away(
    ruled: Ruled, autojump_clock: Clock, said: ErrorRule, reply: Reply
) -> None:
    """no-blind-repeat: the API has said that nothing was done, so it is made again, and once."""
    ruled.by(said, call=call(repeat="never"))
    ruled.wire.replies["call 7"] = [reply, reply]
    done = await ruled.world.cycle()

    assert (done.totals.written, done.totals.dead) == (25, 0)
    assert ruled.wire.times("call 7") == 3
    assert set(ruled.wire.done.values()) == {1}


@pytest.mark.parametrize("then", ["retry", "wait"])
async def test_no_blind_repeat_of_a_call_at_which_the_api_broke(
    ruled: Ruled, autojump_clock: Clock, then: Then
) -> None:
    """no-blind-repeat: no rule knows what became of it, so a person looks."""
    ruled.by(rule(then, status=("500",)), call=call(repeat="never"))
    ruled.wire.always["call 7"] = BROKEN
    done = await ruled.world.cycle()

    assert ruled.wire.times("call 7") == 1
    assert [d.kind for d in ruled.world.store.dead_letters] == ["outcome-unknown"]
    assert done.totals.dead == 1


async def test_login_replays_a_call(ruled: Ruled, autojump_clock: Clock) -> None:
    """CASES 13, no-blind-repeat: an expired token turned it away, so it is made once more."""
    ruled.by(rule("login", status=("403",)), call=call(repeat="never"), login=True)
    ruled.wire.replies["call 7"] = [DENIED]
    done = await ruled.world.cycle()

    assert done.totals.written == 25
    assert (ruled.wire.times("login"), ruled.wire.times("call 7")) == (2, 2)
    assert set(ruled.wire.done.values()) == {1}


async def test_fail_puts_the_record_aside_without_a_retry(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """contained: a 503 that is one record's own costs that record."""
    ruled.by(rule("fail", status=("503",), says="too large"), call=call())
    ruled.wire.always["call 7"] = (503, {"message": "no"})
    done = await ruled.world.cycle()

    assert (done.totals.written, done.totals.dead) == (24, 1)
    [letter] = ruled.world.store.dead_letters
    assert (letter.kind, letter.key) == ("call-failed", '["7"]')
    assert letter.reason == "too large: POST /campaigns/7/sync answered 503: no"
    assert ruled.wire.times("call 7") == 1


async def _parks(ruled: Ruled, stream: StreamContext) -> None:
    with pytest.raises(ParkedByRule, match="ask the vendor"):
        await run_cycle(stream)


async def test_park_at_a_call_keeps_the_answers_of_the_others(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """no-blind-repeat: the page is not committed; after it, only those turned away are made."""
    ruled.by(rule("park", status=("402",), says="ask the vendor"), call=call(repeat="never"))
    for n in range(3, 11):
        ruled.wire.replies[f"call {n}"] = [(402, {"message": "quota"})]
    async with ruled.world.process() as stream:
        await _parks(ruled, stream)
        assert ruled.rows == {}
        ruled.wire.replies.clear()  # somebody has paid
        done = await run_cycle(stream)

    assert (done.totals.written, done.totals.dead) == (25, 0)
    assert set(ruled.wire.done.values()) == {1}
    assert len(ruled.wire.done) == 25


async def test_a_call_that_was_turned_away_is_made_after_a_restart(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """no-blind-repeat: its intent was withdrawn when the stream stopped for it."""
    ruled.by(rule("park", status=("402",), says="ask the vendor"), call=call(repeat="never"))
    ruled.wire.replies["call 7"] = [(402, {"message": "quota"})]
    async with ruled.world.process() as stream:
        await _parks(ruled, stream)
    done = await ruled.world.cycle()

    assert done.totals.dead == 0
    assert ruled.wire.times("call 7") == 2
    assert len(ruled.wire.done) == len(set(ruled.wire.done)) == 25


async def test_tries_that_are_used_up_leave_no_call_in_doubt(
    ruled: Ruled, autojump_clock: Clock
) -> None:
    """no-blind-repeat: when no call of a page gets through, all are made later, by the process."""
    ruled.by(rule("retry", status=("409",)), call=call(repeat="never"))
    ruled.wire.many = 3
    for n in (1, 2, 3):
        ruled.wire.always[f"call {n}"] = BUSY
    async with ruled.world.process() as stream:
        with pytest.raises(ApiUnavailable, match="busy"):
            await run_cycle(stream)
        ruled.wire.always.clear()
        done = await run_cycle(stream)
    assert (done.totals.written, done.totals.dead) == (3, 0)
