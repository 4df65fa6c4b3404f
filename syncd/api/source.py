"""What does one stream of one API look like to the loop: pages, calls and rows?

Ties the pure parts together and says what each status means.  An answer that the
config does not describe parks the stream; one that may be different next time is
for the retry; one that concerns a record's call alone costs that record.
"""

import hashlib
import json
import re
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from syncd.api.calls import Calls, as_column, merged, said
from syncd.api.client import ApiClient
from syncd.api.contract import Contract, Gone, Judged, LeftOut, judge_all
from syncd.api.decode import Envelope, looked_into, open_envelope, raws_at, records_at
from syncd.api.drifting import Propose, anything
from syncd.api.exchange import Answer, Ask
from syncd.api.hide import Hiding
from syncd.api.hints import clock_of, wait_hint
from syncd.api.marks import Marks
from syncd.api.paging import Answered, ByNumber, ByOffset, Pagination, pagination_for
from syncd.api.rules import NOT_CARRIED_OUT, TIMED_OUT, ruled, rules_for
from syncd.api.shown import shown
from syncd.api.states import (
    asking_by,
    goes_on_by_header,
    hashed,
    judged_by,
    may_know,
    speaks_of,
    validator_of,
)
from syncd.api.typed import LARGER, Typed
from syncd.api.verify import Verify
from syncd.config.settings import (
    CursorPages,
    ErrorRule,
    KeyAuth,
    KeysetPages,
    NoPages,
    SourceSettings,
    StreamSettings,
)
from syncd.errors import ApiUnavailable, CallFailed, RateLimited, UnexpectedAnswer
from syncd.sync.drift import Added, Evolution
from syncd.sync.events import Purpose
from syncd.sync.known import KnownPage, Validator
from syncd.sync.model import Block, Page, Record, Reject, Row, Verdict
from syncd.sync.ports import Permit

_NUMBER = re.compile("[0-9]{1,12}").fullmatch  # what a page, an offset or a size is at most
TRY_AGAIN = (TIMED_OUT, 425)  # the only 4xx, beside 429, that are nobody's fault

TEXTS = ("text", "jsonb")  # columns that take what a hash or a mask makes of a value

ELSEWHERE = (301, 307, 308)
"""Redirects of a request that was not looked at; others may tell where its outcome stands."""

HINTS = {
    404: "Check base_url and path",
    405: "Check the method",
    410: "The API has withdrawn this address",
}


@attrs.define(eq=False)
class ApiSource:
    """One stream; fulfils `ports.Source`."""

    settings: SourceSettings
    stream: StreamSettings
    client: ApiClient
    propose: Propose = anything
    """What a column for a new field would be."""

    _pagination: Pagination = attrs.field(init=False)
    _contract: Contract = attrs.field(init=False)
    _calls: Calls | None = attrs.field(init=False)
    _verify: Verify | None = attrs.field(init=False)
    _marks: Marks | None = attrs.field(default=None, init=False)
    _rules: tuple[ErrorRule, ...] = attrs.field(init=False)
    _evolution: Evolution = attrs.field(factory=Evolution, init=False)
    _typed: Typed | None = attrs.field(default=None, init=False)
    """Reads the pages of which nothing is to be said."""

    _told: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Fields without a column of which was said in the running cycle that they are new."""

    _judged: str = attrs.field(default="", init=False)
    _conditional: bool = attrs.field(init=False)
    _members: tuple[tuple[str, bytes, str], ...] = attrs.field(init=False)
    """Column, its JSON name with a colon, its type: what a row takes from the record."""

    def __attrs_post_init__(self) -> None:
        stream = self.stream
        self._pagination = pagination_for(stream.page)
        self._conditional = may_know(stream)
        self.follow(Evolution())
        if stream.hide:
            # Bodies are shown in errors: nobody can tell what of theirs is to be hidden.
            self.client.redactor.mute()
        if stream.incremental is not None:
            self._marks = Marks(stream.incremental)
        self._rules = (*stream.errors, *self.settings.errors)
        self._calls = self._verify = None
        if stream.call is not None:
            self._calls = Calls(settings=stream.call, columns=stream.columns)
            if stream.call.verify is not None:
                self._verify = Verify(settings=stream.call.verify, columns=stream.columns)

    def follow(self, evolution: Evolution) -> None:
        stream = self.stream
        keep = stream.call.keep if stream.call is not None else {}
        own = {name: of for name, of in stream.columns.items() if name not in keep}
        self._evolution, self._judged = evolution, ""
        filled = tuple(map(self._unhidden, evolution.columns))
        self._contract = Contract(
            key=stream.key,
            columns=own,
            where=stream.where,
            paths=stream.paths,
            deleted=None
            if stream.deleted is None
            else (stream.deleted.field, frozenset(stream.deleted.wanted)),
            hide=Hiding(stream.hide, stream.hide_key).of if stream.hide else None,
            rules=stream.contract,
            named=stream.named,
            evolution=attrs.evolve(evolution, columns=filled),
        )
        self._told = frozenset()
        self._read_at_once()
        added = {added.column: added.type for added in evolution.columns}
        self._members = tuple(
            (name, json.dumps(name).encode() + b":", of) for name, of in (own | added).items()
        )

    def _read_at_once(self) -> None:
        """Have whole pages read, where their records are not looked at one by one anyway."""
        alone = self.stream.call is not None
        also = self.stream.named | self._told
        self._typed = None if alone else Typed.of(self._contract, also)

    def _get_used_to(self, judged: Judged, text: int) -> None:
        """Go on with whole pages where nothing was odd but fields that are left out."""
        told = self._told | set(judged.drifts.names)
        if self.stream.contract.new_fields != "discard" or told == self._told:
            return
        wanted = sum(
            len(v) for r in judged.records for v in map(r.fields.get, self._contract.types) if v
        )
        if text <= LARGER * wanted:
            self._told = told
            self._read_at_once()

    def _unhidden(self, added: Added) -> Added:
        """The column, filled by nothing where its field was hidden since and it is of no text."""
        texts = self.stream.hide.get(added.field) in ("hash", "mask")
        return attrs.evolve(added, field="") if texts and added.type not in TEXTS else added

    @property
    def has_call(self) -> bool:
        return self._calls is not None

    @property
    def repeatable(self) -> bool:
        return self._calls is not None and self._calls.settings.repeat != "never"

    @property
    def verifiable(self) -> bool:
        return self._verify is not None and not self.repeatable

    @property
    def connections(self) -> int:
        return self.settings.connections

    @property
    def timeout(self) -> float:
        return self.settings.timeout

    @property
    def fingerprint(self) -> str:
        stream = self.stream
        valid: list[Any] = [
            self.settings.base_url,
            stream.path,
            attrs.asdict(stream.page),
            stream.search and attrs.asdict(stream.search),
            dict(stream.params),
            stream.records,
            {name: sorted(texts) for name, texts in stream.where.items()},
            # Another table lacks what this cycle has written so far.
            [stream.schema, stream.table, stream.key],
        ]
        if stream.incremental is not None:
            # What has not changed at the API is not met again, whatever has changed here.
            valid += [
                attrs.asdict(stream.incremental),
                stream.deleted and attrs.asdict(stream.deleted),
                *(dict(sorted(of.items())) for of in (stream.columns, stream.paths, stream.hide)),
            ]
        text = json.dumps(valid, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def forgive(self) -> None:
        self.client.forgive()

    # --- pages ----------------------------------------------------------------------------

    @property
    def conditional(self) -> bool:
        return self._conditional

    @property
    def judged(self) -> str:
        if not self._judged:
            self._judged = judged_by(self.settings, self.stream, self._evolution)
        return self._judged

    def asked(self, cursor: str | None) -> str:
        ask = self._list_request(cursor, None)
        return hashed([ask.path, ask.rooted, ask.params])

    async def fetch(
        self,
        cursor: str | None,
        permit: Permit,
        since: str | None = None,
        known: KnownPage | None = None,
    ) -> Page:
        ask = self._list_request(cursor, since)
        if known is not None and known.validator is not None:
            ask = attrs.evolve(ask, headers={**ask.headers, **asking_by(known.validator)})
        answer = await self.client.send(ask, permit)
        if known is not None and answer.status == 304 and answer.rule is None:
            if self._stands(known, cursor, ask, answer):
                return Page(
                    records=[],
                    next_cursor=known.next_cursor,
                    total=known.total,
                    request=self._in_words(cursor, ask, answer),
                    printed=known.fingerprint,
                    same=known,
                )
            # Nor will the next one: as long as this process lives nobody is asked so again.
            self._conditional = False
            return await self.fetch(cursor, permit, since)
        ends = self._ends(cursor, answer)
        if not ends:
            self._obey(ask, answer, permit)
            self._raise_for_trouble(ask, answer, permit)
            self._raise_for_list(cursor, ask, answer)
        try:
            page = self._end(answer) if ends else self._page(cursor, ask, answer)
            return attrs.evolve(page, request=self._in_words(cursor, ask, answer))
        except UnexpectedAnswer as error:
            reason = self.client.redactor.text(error.reason)
            raise UnexpectedAnswer(f"{ask}: {reason}", hint=error.hint) from None
        except ApiUnavailable as error:
            raise ApiUnavailable(f"{ask}: {error}") from None

    def _stands(self, known: KnownPage, cursor: str | None, ask: Ask, answer: Answer) -> bool:
        """Whether a 304 says all that has to be said: which state it means, and what follows."""
        if known.validator is None or not speaks_of(answer.headers, known.validator):
            return False
        if not goes_on_by_header(self.stream):
            return True
        told = Answered(
            cursor=cursor,
            envelope=Envelope(b"{}"),
            records=known.records,
            headers=answer.headers,
            asked=lambda: self.client.url(ask),
        )
        try:
            following = self._fit_to_be_kept(self._pagination.turn(told).next_cursor)
        except UnexpectedAnswer:
            return False
        return following == known.next_cursor

    def _validator(self, answer: Answer, following: str | None) -> Validator | None:
        """What the API calls the state of a page."""
        if not self._conditional or answer.status != 200:
            return None
        if following is None and goes_on_by_header(self.stream):
            return None  # that another page follows by now would be told by no body
        times = self.stream.conditional == "last-modified"
        return validator_of(answer.headers, self.client.redactor, times=times)

    def _ends(self, cursor: str | None, answer: Answer) -> bool:
        """Whether an answer is the end of the list and no page of it, by a rule or by its kind."""
        if answer.rule is not None:
            return answer.rule.then == "end"
        return answer.status == 404 and cursor is not None and self._pagination.ends_with_404

    def _end(self, answer: Answer) -> Page:
        """The end of a list; UnexpectedAnswer if records would be lost for it."""
        many = self._records_in(answer)
        if many:
            raise UnexpectedAnswer(
                f"a rule ends the list here, but the answer holds {many} records",
                hint='`then = "end"` is for answers without records; what tells that a page is '
                "the last one stands in `page`",
            )
        return Page(records=[])

    def _records_in(self, answer: Answer) -> int:
        """How many records a good answer holds; one that is no list holds none."""
        path, redactor = self.stream.records, self.client.redactor
        if answer.status >= 300 or looked_into(answer.body).text[:1] not in (b"{", b"["):
            return 0
        envelope = open_envelope(answer.body, answer.content_type, redactor)
        is_list = (envelope.at(path) or b"").lstrip()[:1] == b"["
        return len(raws_at(envelope, path, redactor)) if is_list else 0

    def _raise_for_list(self, cursor: str | None, ask: Ask, answer: Answer) -> None:
        if answer.status >= 400:
            raise UnexpectedAnswer(
                f"{ask} answered {answer.status}: {said(answer, self.client.redactor)}",
                hint=_what_to_check(answer.status, first=cursor is None),
            )

    def _in_words(self, cursor: str | None, ask: Ask, answer: Answer) -> str:
        """Which page was asked for, for people who ask months later.

        What the file adds to each request is told to nobody, and of a cursor or an address that
        the API has signed only that there was one: numbers alone are told.
        """
        asked = self._pagination.ask(cursor)
        found = urllib.parse.parse_qsl(ask.path.partition("?")[2]) if ask.rooted else asked.params
        params = found.items() if isinstance(found, Mapping) else found
        told = [f"{shown(name)}={value if _NUMBER(str(value)) else '…'}" for name, value in params]
        address = f"{ask}?{'&'.join(told)}" if told else str(ask)
        return self.client.redactor.text(f"{address} answered {answer.status}")

    def _list_request(self, cursor: str | None, since: str | None) -> Ask:
        stream, search = self.stream, self.stream.search
        asked = self._pagination.ask(cursor)
        if self._marks is not None and since is not None:
            changed = {self._marks.settings.param: self._marks.asked(since)}
            asked = attrs.evolve(asked, params={**asked.params, **changed})
        params, body = dict(stream.params), None
        if search is not None:
            in_body = asked.params if search.place == "body" else {}
            body = json.dumps({**search.body, **in_body}, ensure_ascii=False).encode()
        if search is None or search.place == "query":
            params |= {name: str(value) for name, value in asked.params.items()}
        return Ask(
            method="GET" if search is None else "POST",
            path=stream.path if asked.address is None else asked.address,
            rooted=asked.address is not None,
            params=params if asked.address is None else {},
            headers={} if body is None else {"Content-Type": "application/json"},
            body=body,
            stream=stream.name,
            rules=rules_for(self._rules, "list", first=cursor is None),
            cost=stream.cost,
        )

    def _page(self, cursor: str | None, ask: Ask, answer: Answer) -> Page:
        redactor = self.client.redactor
        envelope = open_envelope(answer.body, answer.content_type, redactor)
        # The records first: where they are missing, the answer is an error, and that is
        # what should be said, not that it has no pages.
        field = None if self._marks is None else self._marks.settings.field
        if cursor is None:
            self.anew()
        judged = records_at(
            envelope, self.stream.records, self._contract, redactor, field, self._typed
        )
        if self._typed is not None:
            self._get_used_to(judged, len(answer.body))
        if cursor is None and judged.marks and not any(judged.marks):
            raise UnexpectedAnswer(
                f"none of {len(judged.marks)} records has `{field}`, by which the stream goes on",
                hint="Check `incremental.field`: without it each cycle would read the whole list",
            )
        answered = Answered(
            cursor=cursor,
            envelope=envelope,
            records=judged.seen,
            last=judged.last,
            headers=answer.headers,
            asked=lambda: self.client.url(ask),
        )
        turn = self._pagination.turn(answered)
        following = self._fit_to_be_kept(turn.next_cursor)
        return Page(
            next_cursor=following,
            size=len(answer.body),
            total=turn.total,
            mark=None if self._marks is None else self._marks.highest(judged.marks),
            clock=None if self._marks is None else clock_of(answer.headers),
            validator=self._validator(answer, following),
            **self._of_records(judged, answer.body),
        )

    @property
    def by_place(self) -> bool:
        # A link may be to a page of a number, too.
        return not isinstance(self.stream.page, CursorPages | KeysetPages | NoPages)

    def anew(self) -> None:
        if self._told:
            self._told = frozenset()
            self._read_at_once()

    def foreseen(self, cursor: str | None, total: int) -> str | None:
        paging = self._pagination
        return paging.foreseen(cursor, total) if isinstance(paging, ByNumber | ByOffset) else None

    def look_again(self, page: Page, without: Collection[str] = ()) -> Page:
        raws = [r for r in page.raws if not without or self._contract.judge(r).key not in without]
        if without:
            self.anew()  # what these records alone have was not said of anybody
        judged = judge_all(self._contract, raws)
        return attrs.evolve(page, **self._of_records(judged, None))

    def _of_records(self, judged: Judged, body: bytes | None) -> dict[str, Any]:
        """What a page is of its records; they came in `body`, if that is still there."""
        redactor, rejects, drifts = self.client.redactor, judged.rejects, judged.drifts
        if (rejects or drifts.names) and (body is None or redactor.found_in(body)):
            # An API that shows us our own credentials must not have them kept in clear.
            rejects = [self._redacted(reject) for reject in rejects]
            for name in drifts.names:
                if redactor.text(name) != name:
                    drifts.forget(name)
        rule = self.stream.contract.new_fields
        if rule == "evolve" and not self._evolution.full:
            drifts.forget_nulls()  # a column for them is worth nothing yet
            wanted = drifts.wanted(self.propose)
        else:
            wanted = drifts.wanted(_no_column)
        told = drifts.all("discard" if rule == "evolve" else rule)
        return {
            "records": judged.records,
            "rejects": rejects,
            "left_out": judged.left_out,
            "gone": judged.gone,
            "folded": judged.folded,
            # What gets a column is nothing new when the page is looked at again.
            "drifts": told,
            "frozen": redactor.text(drifts.frozen),
            "wanted": wanted,
            "raws": judged.raws if wanted or told or drifts.frozen else (),
        }

    def higher(self, one: str | None, other: str | None) -> str | None:
        return one if self._marks is None else self._marks.higher(one, other)

    def bounded(self, mark: str, clock: float) -> str:
        return mark if self._marks is None else self._marks.bounded(mark, clock)

    def _fit_to_be_kept(self, cursor: str | None) -> str | None:
        """A cursor without credentials: it is written into the database.

        An address that an API gives may hold the key that it was asked with, which is sent
        with each request in any case.
        """
        auth = self.settings.auth
        if cursor is None or not self.client.redactor.found_in(cursor.encode()):
            return cursor
        if isinstance(auth, KeyAuth) and auth.query is not None:
            path, _, query = cursor.partition("?")
            kept = [p for p in query.split("&") if _parameter(p) != auth.query]
            cursor = f"{path}?{'&'.join(kept)}" if kept else path
        if self.client.redactor.found_in(cursor.encode()):
            raise UnexpectedAnswer(
                "what asks for the next page holds a credential, and is kept nowhere",
                hint="Use another kind of `page`, or of `auth`",
            )
        return cursor

    def _redacted(self, reject: Reject) -> Reject:
        redactor = self.client.redactor
        return attrs.evolve(
            reject, reason=redactor.text(reject.reason), raw=redactor.data(reject.raw)
        )

    def judge(self, raw: bytes) -> Record | Reject | None:
        judged = self._contract.judge(raw)
        return None if isinstance(judged, LeftOut | Gone) else judged

    # --- rows -------------------------------------------------------------------------------

    def rows(self, records: Sequence[Record]) -> Sequence[Row]:
        if not isinstance(records, Block):
            return [self.row(record, None) for record in records]
        return Block(
            keys=records.keys,
            text=records.text,
            each=lambda: [self.row(record, None) for record in records],
        )

    def row(self, record: Record, kept: bytes | None) -> Row:
        fields = record.fields
        members = [
            name + as_column(fields.get(column, b"null"), of) for column, name, of in self._members
        ]
        return Row(
            key=record.key, json=merged(members, kept), called=kept is not None, raw=record.raw
        )

    # --- calls ------------------------------------------------------------------------------

    async def call(self, record: Record, idempotency_key: str, permit: Permit) -> bytes:
        if self._calls is None:
            raise RuntimeError("this stream's records have no call")
        ask = self._about(record, self._calls.ask(record, idempotency_key), "call")
        try:
            answer = await self.client.send(ask, permit)
            self._obey(ask, answer, permit)
            self._raise_for_trouble(ask, answer, permit)
            self._raise_for_call(ask, answer)
            return self._kept(self._calls, ask, answer)
        except CallFailed as error:
            raise CallFailed(error.kind, self.client.redactor.text(error.reason)) from None
        except ApiUnavailable as error:
            if error.sent == "unknown" and not self.repeatable:
                raise CallFailed("outcome-unknown", str(error)) from None
            raise

    def _kept(self, calls: Calls, ask: Ask, answer: Answer) -> bytes:
        """What a 2xx gives to the row.

        The letter of a call that failed makes it again.  One that may not be repeated has failed
        only if its answer says so: of one that is not what the config describes nobody knows.
        """
        try:
            return calls.kept(answer, self.client.redactor)
        except CallFailed as error:
            if self.repeatable or calls.says_undone(answer):
                raise
            reason = f"{ask} answered {answer.status}, but not as expected: {error.reason}"
            raise CallFailed("outcome-unknown", reason) from None

    async def verify(self, record: Record, idempotency_key: str, permit: Permit) -> Verdict:
        if self._verify is None:
            raise RuntimeError("this stream's calls have no verify request")
        try:
            ask = self._about(record, self._verify.ask(record, idempotency_key), "verify")
            answer = await self.client.send(ask, permit)
            self._obey(ask, answer, permit)
            self._raise_for_trouble(ask, answer, permit)
            verdict = self._verify.verdict(
                record, idempotency_key, ask, answer, self.client.redactor
            )
        except (CallFailed, UnexpectedAnswer) as error:
            # Without it the call's outcome would be as unknown: that costs one record.
            verdict = Verdict(outcome="unknown", reason=error.reason)
        return attrs.evolve(verdict, reason=self.client.redactor.text(verdict.reason))

    def _about(self, record: Record, ask: Ask, purpose: Purpose) -> Ask:
        return attrs.evolve(
            ask,
            purpose=purpose,
            stream=self.stream.name,
            key=record.key,
            rules=rules_for(self._rules, purpose),
            once=purpose == "call" and not self.repeatable,
        )

    def _raise_for_call(self, ask: Ask, answer: Answer) -> None:
        """What concerns this record alone is a CallFailed; a wrong method concerns all."""
        if answer.status < 400:
            return
        reason = f"{ask} answered {answer.status}: {said(answer, self.client.redactor)}"
        if answer.status == 405:
            hint = "Check `call.method` and `call.path`"
            raise UnexpectedAnswer(reason, hint=hint, refused=True)
        raise CallFailed("call-failed", reason)

    # --- what an answer means -----------------------------------------------------------------

    def _obey(self, ask: Ask, answer: Answer, permit: Permit) -> None:
        """Raise what a rule of the user's says of the answer, if one names it."""
        rule = answer.rule
        if rule is None:
            return
        # An API that breaks has not counted the request differently from us.
        if answer.status == 429 or (rule.then == "wait" and answer.status < 500):
            permit.refused()
        call = self._calls if ask.purpose == "call" else None
        raise ruled(
            rule,
            ask,
            answer,
            said(answer, self.client.redactor),
            path=self.settings.retry_after,
            undone=call is not None and call.says_undone(answer),
        )

    def _raise_for_trouble(self, ask: Ask, answer: Answer, permit: Permit) -> None:
        """Raise what a status means whatever was asked: a refusal, an outage, a redirect."""
        status = answer.status
        if status < 300:
            return
        if status == 304:
            raise UnexpectedAnswer(
                f"{ask} answered 304, that nothing has changed, though nobody had asked for that",
                hint="Does one of your `headers` ask so, or a cache in front of the API?",
            )
        if status < 400:
            raise UnexpectedAnswer(
                f"{ask} answered {status}, a redirect to {_target(answer)}",
                hint="Redirects are not followed; write the final address into base_url and path",
                refused=status in ELSEWHERE,
            )
        if status != 429 and status < 500 and status not in TRY_AGAIN:
            return
        path = self.settings.retry_after
        hint = wait_hint(answer.headers, answer.body, path, refused=status == 429)
        reason = f"{ask} answered {status}"
        if status == 429:
            permit.refused()
            raise RateLimited(reason, hint=hint)
        words = said(answer, self.client.redactor)
        raise ApiUnavailable(
            f"{reason}: {words}",
            hint=hint,
            sent="refused" if status in NOT_CARRIED_OUT else "unknown",
        )


def _no_column(_: str, __: Sequence[bytes]) -> None:
    """New fields get none."""


def _what_to_check(status: int, *, first: bool) -> str:
    """An end by 404 is none: the page before said that this one follows, and its flag decides."""
    if status == 404 and not first:
        return (
            "The page before said that this one follows, so the list is not taken to end here; "
            "check how the API pages, then `syncd resume` to ask again, or `syncd reset`"
        )
    return HINTS.get(status, "Check path and params")


def _parameter(part: str) -> str:
    return urllib.parse.unquote_plus(part.partition("=")[0])


def _target(answer: Answer) -> str:
    """The host alone: the rest of a redirect's address may hold a token."""
    try:
        host = urllib.parse.urlsplit(answer.headers.get("location", "")).hostname
    except ValueError:
        host = None
    return shown(host) if host else "another path of the same host"
