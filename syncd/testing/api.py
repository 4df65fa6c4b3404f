"""An API in memory, for the loop's tests: `ports.Source` on trio's clock.

It counts what arrives as a server would, refuses what is over its limit, and
stumbles as it is told: `api.faults` is asked at each request and may raise, sleep,
or answer in the API's stead.
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Collection, Sequence

import attrs
import trio

from syncd.errors import ApiUnavailable, CallFailed, RateLimited
from syncd.sync.drift import Evolution
from syncd.sync.known import KnownPage, Validator
from syncd.sync.model import Page, Record, Reject, Row, Verdict
from syncd.sync.ports import Permit


@attrs.frozen(kw_only=True)
class Asked:
    """One request as the server saw it."""

    number: int
    """1 for the first request that arrived."""

    at: float
    what: str
    """Such as `page 3`, `call ["c7"]` or `verify ["c7"]`."""

    idempotency_key: str | None = None


SYNCED = b'{"synced_at": "2026-01-01T00:00:00Z"}'
"""What a call gives to its row."""

Fault = Callable[[Asked], Awaitable[Page | bytes | Verdict | None]]
"""Raise to fail, sleep to be late, return an answer to lie, or None to go on."""


@attrs.define(eq=False, kw_only=True)
class FakeApi:
    """A list of records behind pages by number, and a call for each."""

    records: dict[str, dict[str, object]] = attrs.field(factory=dict)
    page_size: int = 10
    latency: float = 0.01
    call_takes: float = 2.0
    limit: int | None = None
    per: float = 60.0
    faults: Fault | None = None
    clock: float = 1_000_000.0
    """What its answers say the time is; marks are seconds on it, too."""

    asked: list[Asked] = attrs.field(factory=list, init=False)
    refused: int = attrs.field(default=0, init=False)
    carried_out: dict[str, int] = attrs.field(factory=dict, init=False)
    """Record key to how often its call was carried out (each idempotency key counts once)."""

    _keys: set[str] = attrs.field(factory=set, init=False)

    def fill(self, count: int) -> None:
        """Have so many records, `c1` to `c<count>`."""
        for n in range(1, count + 1):
            self.records[f"c{n}"] = {"id": f"c{n}", "name": f"campaign {n}", "budget": n}

    async def arrive(self, what: str, key: str | None) -> Page | bytes | Verdict | None:
        """Count a request that has reached the server, and stumble if told to."""
        now = trio.current_time()
        counted = len(self.asked) - bisect_right(self.asked, now - self.per, key=lambda a: a.at)
        if self.limit is not None and counted >= self.limit:
            self.refused += 1
            raise RateLimited("429", hint=self.per)
        asked = Asked(number=len(self.asked) + 1, at=now, what=what, idempotency_key=key)
        self.asked.append(asked)
        return await self.faults(asked) if self.faults else None

    def carry_out(self, record_key: str, idempotency_key: str) -> None:
        """Do what a call asks for; a key that comes again changes nothing."""
        if idempotency_key not in self._keys:
            self._keys.add(idempotency_key)
            self.carried_out[record_key] = self.carried_out.get(record_key, 0) + 1

    def has_carried_out(self, idempotency_key: str) -> bool:
        return idempotency_key in self._keys

    def most_in_a_window(self) -> int:
        """The most requests that any stretch of `per` held, as the server counted."""
        times = [a.at for a in self.asked]
        return max((bisect_left(times, at + self.per) - i for i, at in enumerate(times)), default=0)


@attrs.define(eq=False, kw_only=True)
class FakeSource:
    """One stream of a FakeApi."""

    api: FakeApi
    has_call: bool = True
    repeatable: bool = True
    has_verify: bool = False
    connections: int = 10
    timeout: float = 15.0
    version: str = "1"
    """Part of the fingerprint: change it as if the config had changed the path."""

    conditional: bool = False
    """Its pages have ETags, and come without a body where they are known."""

    counted: bool = True
    """Its pages are counted through, so that the next ones can be asked for before one has come."""

    judges: str = ""
    """Change it as if the config had changed what becomes of records."""

    unread: int = attrs.field(default=0, init=False)
    """Pages that came so."""

    evolution: Evolution = attrs.field(factory=Evolution)
    """The columns that it was told to fill as well."""

    @property
    def verifiable(self) -> bool:
        return self.has_verify and not self.repeatable

    @property
    def fingerprint(self) -> str:
        text = f"{self.version} {self.api.page_size}"
        return hashlib.sha256(text.encode()).hexdigest()

    def forgive(self) -> None: ...

    @property
    def judged(self) -> str:
        return f"{self.fingerprint} {self.judges} {self.evolution}"

    def asked(self, cursor: str | None) -> str:
        return f"{self.fingerprint} page {cursor or 1}"

    async def fetch(
        self,
        cursor: str | None,
        permit: Permit,
        since: str | None = None,
        known: KnownPage | None = None,
    ) -> Page:
        page = await self._fetch(cursor, permit, since)
        return self._stated(page, known) if self.conditional else page

    def _stated(self, page: Page, known: KnownPage | None) -> Page:
        """The page with its state; without its records if that is known."""
        records = [*(r.raw.decode() for r in page.records), *page.gone]
        text = json.dumps([records, page.next_cursor, page.total])
        state = Validator(text=f'"{hashlib.sha256(text.encode()).hexdigest()}"')
        if known is None or known.validator != state:
            return attrs.evolve(page, validator=state)
        self.unread += 1
        return Page(
            records=[],
            next_cursor=known.next_cursor,
            total=known.total,
            printed=known.fingerprint,
            same=known,
        )

    async def _fetch(self, cursor: str | None, permit: Permit, since: str | None) -> Page:
        number = int(cursor or 1)
        answer = await self._request(f"page {number}", None, self.api.latency, permit)
        if isinstance(answer, Page):
            return answer
        ids = [i for i, r in self.api.records.items() if since is None or _mark(r) >= int(since)]
        size = self.api.page_size
        chosen = ids[(number - 1) * size : number * size]
        there = [self.api.records[i] for i in chosen]
        more = number * size < len(ids)
        return Page(
            records=[record(r) for r in there if not r.get("deleted")],
            gone=[record(r).key for r in there if r.get("deleted")],
            next_cursor=str(number + 1) if more else None,
            total=len(ids),
            mark=max((str(_mark(self.api.records[i])) for i in chosen), key=int, default=None),
            clock=self.api.clock,
        )

    @property
    def by_place(self) -> bool:
        return True

    def anew(self) -> None: ...

    @property
    def page_size(self) -> int:
        return self.api.page_size

    def foreseen(self, cursor: str | None, total: int) -> str | None:
        number = int(cursor or 1)
        more = self.counted and number * self.page_size < total
        return str(number + 1) if more else None

    def higher(self, one: str | None, other: str | None) -> str | None:
        return max((m for m in (one, other) if m is not None), key=int, default=None)

    def bounded(self, mark: str, clock: float) -> str:
        return str(min(int(mark), int(clock)))

    async def call(self, record: Record, idempotency_key: str, permit: Permit) -> bytes:
        try:
            answer = await self._request(
                f"call {record.key}", idempotency_key, self.api.call_takes, permit
            )
        except ApiUnavailable as error:
            if error.sent == "unknown" and not self.repeatable:
                raise CallFailed("outcome-unknown", str(error)) from None
            raise
        if isinstance(answer, bytes):
            return answer
        self.api.carry_out(record.key, idempotency_key)
        return SYNCED

    async def verify(self, record: Record, idempotency_key: str, permit: Permit) -> Verdict:
        answer = await self._request(f"verify {record.key}", None, self.api.latency, permit)
        if isinstance(answer, Verdict):
            return answer
        if self.api.has_carried_out(idempotency_key):
            return Verdict(outcome="done", kept=SYNCED)
        return Verdict(outcome="not-done", reason="the API does not know the key")

    async def _request(
        self, what: str, key: str | None, takes: float, permit: Permit
    ) -> Page | bytes | Verdict | None:
        await permit.spend()
        await permit.confirm()
        permit.written()
        try:
            with trio.fail_after(self.timeout):
                answer = await self.api.arrive(what, key)
                await trio.sleep(takes)
        except RateLimited:
            permit.answered()
            permit.refused()
            raise
        except trio.TooSlowError:
            raise ApiUnavailable(f"no answer within {self.timeout:g} s") from None
        except ApiUnavailable:
            permit.answered()
            raise
        permit.answered()
        return answer

    def follow(self, evolution: Evolution) -> None:
        self.evolution = evolution

    def look_again(self, page: Page, without: Collection[str] = ()) -> Page:
        left = [r for r in page.records if r.key not in without]
        return attrs.evolve(page, records=left, wanted=())

    def judge(self, raw: bytes) -> Record | Reject | None:
        return record(json.loads(raw))

    def rows(self, records: Sequence[Record]) -> Sequence[Row]:
        return [self.row(record, None) for record in records]

    def row(self, record: Record, kept: bytes | None) -> Row:
        fields = dict(record.fields)
        if kept is not None:
            fields |= {k: json.dumps(v).encode() for k, v in json.loads(kept).items()}
        text = b",".join(json.dumps(k).encode() + b":" + v for k, v in fields.items())
        return Row(key=record.key, json=b"{" + text + b"}", called=kept is not None, raw=record.raw)


def _mark(fields: dict[str, object]) -> int:
    return int(str(fields.get("version", 0)))


def record(fields: dict[str, object]) -> Record:
    """A record as `api.decode` would have made it, with `id` as its key."""
    return Record(
        key=json.dumps([fields["id"]]),
        fields={k: json.dumps(v).encode() for k, v in fields.items()},
        raw=json.dumps(fields).encode(),
    )


def reject(reason: str, key: str | None = None, column: str = "") -> Reject:
    """A record that broke its contract."""
    return Reject(key=key, reason=reason, raw=b"{}", column=column)


async def hang(_: Asked) -> None:
    """Never answer."""
    await trio.sleep_forever()
