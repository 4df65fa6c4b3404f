"""What is each request answered?

Everything here is decided at one moment and without waiting: what the answer
is, when it is due, and what a scripted fault does to it.  Nothing is sent;
that is `mock_api.delivery`'s business.

The order in which a request under /api/ is looked at, late if it is one that comes late:

    the token           401, costs nothing and is not numbered
    the limit           429, costs nothing and is not numbered
    the script          may take the request from here, or spoil its answer
    the list's number   n % 10 = 0 is never answered, else n % 5 = 0 is a 503; both cost quota
    the work

So n counts the list requests that were let through, whether or not they turn
out well: the number that a client without refusals counts itself.  A request
that the script keeps from the platform is not numbered.
"""

import hashlib
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

import attrs

from mock_api.answers import JSON, Answer, Headers, error, html_not_found, json_answer
from mock_api.calls import Calls, Sync
from mock_api.campaigns import Campaigns, UnknownCampaign
from mock_api.clock import Clock, iso
from mock_api.faults import Rule, Script
from mock_api.journal import Journal
from mock_api.limits import SlidingWindow
from mock_api.ordinals import Ordinals
from mock_api.settings import Quirk, Settings
from mock_api.tokens import Tokens, bearer

LIST_PATH = "/api/campaigns"
ONE_PATH = re.compile(r"/api/campaigns/([^/]+)")
SYNC_PATH = re.compile(r"/api/campaigns/([^/]+)/sync")
DEFAULT_CLIENT = "default"


@attrs.frozen(kw_only=True)
class Request:
    """What matters of a request."""

    method: str
    path: str
    query: str = ""
    authorization: str = ""
    client: str = DEFAULT_CLIENT
    key: str = ""
    known: str = ""
    """Its If-None-Match."""


@attrs.frozen(kw_only=True)
class Decision:
    """What shall be sent, and when."""

    seq: int
    """The request's number in the journal."""
    answer: Answer | None
    """None: it is never answered."""
    due: float
    """When the answer may leave, on the monotonic clock."""
    rule: Rule | None = None
    """How the script spoils the sending."""


@attrs.frozen(kw_only=True)
class Work:
    """What the platform alone would say."""

    answer: Answer | None
    due: float
    n: int = 0


class Api:
    """The platform: all that it knows, and what it answers."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.scaled = settings.at_speed()
        self.clock = clock or Clock()
        self.script = Script()
        self.journal = Journal(settings.journal)
        self.reset()

    def reset(self) -> None:
        """As freshly started, and without faults."""
        scaled = self.scaled
        self.script.replace([])
        self.journal.clear()
        self.campaigns = Campaigns(scaled.campaigns)
        self.calls = Calls()
        self.windows = SlidingWindow(limit=scaled.limit, window=scaled.window)
        self.ordinals = Ordinals(per_client=scaled.per_client)
        self.tokens = Tokens(email=scaled.email, password=scaled.password, life=scaled.token_life)
        self.statuses: Counter[int] = Counter()
        self.counted = 0
        self.hangs = 0
        self.refused = 0
        self._reads = 0
        always = Rule(name="late", path="/api/*", rate=scaled.late, late=scaled.late_by)
        self._always = Script([always])

    def late(self, request: Request) -> Rule | None:
        """The rule by which a request that was received now comes to `decide` only later."""
        asked = request.method, request.path, request.query, request.client
        picked = [script.pick(*asked, late=True) for script in (self._always, self.script)]
        return picked[0] or picked[1]

    def decide(self, request: Request, late: Rule | None = None) -> Decision:
        """Count the request, note it in the journal, and say what it is answered."""
        now = self.clock.monotonic()
        guarded = request.path.startswith("/api/")
        refusal = self._refusal(request, now) if guarded else None
        if refusal is not None:
            return self._decision(request, now, Work(answer=refusal, due=now), late=late)
        rule = self.script.pick(request.method, request.path, request.query, request.client)
        cost = guarded and (rule is None or rule.costs)
        if cost:
            self.windows.count(request.client, now)
            self.counted += 1
        work = Work(answer=None, due=now)
        if rule is None or rule.handled:
            work = self._work(request, now)
        if rule is not None:
            work = self._spoiled(work, rule)
        return self._decision(request, now, work, cost=cost, rule=rule, late=late)

    def sent(self, seq: int, status: int) -> None:
        """The head of an answer is on its way."""
        self.statuses[status] += 1
        self.journal.sent(seq, status)

    def answered(self, seq: int) -> None:
        """The last byte of an answer was handed over."""
        self.journal.answered(seq, self.clock.monotonic())

    def _decision(
        self,
        request: Request,
        now: float,
        work: Work,
        *,
        cost: bool = False,
        rule: Rule | None = None,
        late: Rule | None = None,
    ) -> Decision:
        met = rule or late
        seq = self.journal.arrived(
            now,
            self.clock.wall(),
            method=request.method,
            path=request.path,
            query=request.query,
            client=request.client,
            key=request.key,
            cost=cost,
            n=work.n,
            fault="" if met is None else met.name,
        )
        hangs = rule is not None and rule.hang
        answer = None if hangs else work.answer
        if answer is None and (rule is None or rule.cut != "before-headers"):
            self.hangs += 1
        return Decision(seq=seq, answer=answer, due=work.due, rule=rule)

    def _spoiled(self, work: Work, rule: Rule) -> Work:
        answer = work.answer
        if rule.brings_answer:
            answer = _own_answer(rule, answer)
        elif answer is not None and rule.headers:
            answer = attrs.evolve(answer, headers=_merged(answer.headers, rule.own_headers()))
        return attrs.evolve(work, answer=answer, due=work.due + rule.delay / self.settings.speed)

    # Who is let in

    def _refusal(self, request: Request, now: float) -> Answer | None:
        if not self._authorized(request, now):
            return error(
                401,
                "A valid access token is required",
                headers=((b"www-authenticate", b'Bearer realm="api"'),),
            )
        if not self.windows.has_room(request.client, now):
            self.refused += 1
            return self._too_many()
        return None

    def _authorized(self, request: Request, now: float) -> bool:
        if Quirk.ANY_BEARER in self.scaled.quirks:
            return bearer(request.authorization) is not None
        return self.tokens.passes(request.authorization, now)

    def _too_many(self) -> Answer:
        seconds = self.scaled.retry_after
        headers: Headers = ()
        if self.scaled.retry_after_header:
            headers = ((b"retry-after", str(seconds).encode()),)
        return error(429, "Rate limit exceeded", headers=headers, retry_after=seconds)

    # The work

    def _work(self, request: Request, now: float) -> Work:
        path, method = request.path, request.method
        if path == LIST_PATH:
            if method != "GET":
                return Work(answer=_not_allowed("GET"), due=now)
            return self._list(request, now)
        if match := SYNC_PATH.fullmatch(path):
            if method != "POST":
                return Work(answer=_not_allowed("POST"), due=now)
            return self._sync(match[1], request.key, now)
        if match := ONE_PATH.fullmatch(path):
            answer = self._one(match[1], now) if method == "GET" else _not_allowed("GET")
            return Work(answer=answer, due=now)
        if path == "/auth/token":
            answer = self._token(request, now) if method == "POST" else _not_allowed("POST")
            return Work(answer=answer, due=now)
        if path == "/health":
            return Work(answer=json_answer(200, {"status": "ok"}), due=now)
        return Work(answer=self._not_found(path), due=now)

    def _token(self, request: Request, now: float) -> Answer:
        token = self.tokens.login(request.authorization, now)
        if token is None:
            return error(
                401, "Invalid credentials", headers=((b"www-authenticate", b'Basic realm="api"'),)
            )
        life = self.scaled.token_life
        body = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(life) if life >= 1 else life,
            "issued_at": iso(self.clock.wall()),
        }
        return json_answer(200, body, headers=((b"cache-control", b"no-store"),))

    def _list(self, request: Request, now: float) -> Work:
        n = self.ordinals.next(request.client)
        if (every := self.scaled.hang_every) and n % every == 0:
            return Work(answer=None, due=now, n=n)
        if (every := self.scaled.fail_every) and n % every == 0:
            answer = error(503, "The service is temporarily unavailable")
            return Work(answer=answer, due=now, n=n)
        answer = self._page(request.query)
        if self.scaled.etags and answer.status == 200:
            answer = _stated(answer, request.known)
        return Work(answer=answer, due=now, n=n)

    def _page(self, query: str) -> Answer:
        asked = parse_qs(query)
        page = _positive(asked.get("page", ["1"])[-1])
        limit = _positive(asked.get("limit", [str(self.scaled.page_size)])[-1])
        if page is None or limit is None:
            return error(400, "page and limit must be whole numbers, 1 or greater")
        limit = min(limit, self.scaled.page_max)
        total, quirks, salt = len(self.campaigns), self.scaled.quirks, 0
        has_more = page < 10 if Quirk.HAS_MORE in quirks else page * limit < total
        if Quirk.CHANGING in quirks:
            self._reads += 1
            salt = self._reads
        records = self.campaigns.render(
            (page - 1) * limit, limit, salt=salt, beyond=Quirk.BEYOND_TOTAL in quirks
        )
        body = (
            f'{{"data":[{records}],"pagination":{{"page":{page},"limit":{limit},'
            f'"total":{total},"has_more":{"true" if has_more else "false"}}}}}'
        )
        # Raw records may hold what UTF-8 cannot: then the client gets those very bytes.
        return Answer(200, body.encode("utf-8", "surrogatepass"), JSON)

    def _sync(self, campaign_id: str, key: str, now: float) -> Work:
        beyond = Quirk.BEYOND_TOTAL in self.scaled.quirks
        if key not in self.calls.by_key and not self.campaigns.serves(campaign_id, beyond=beyond):
            return Work(answer=self._not_found(f"{LIST_PATH}/{campaign_id}"), due=now)
        kept = self.calls.first(campaign_id, key)
        if kept is not None:
            return Work(answer=Answer(200, kept.answer), due=max(now, kept.ready_at))
        sync = Sync(
            key=key,
            begun_at=now,
            ready_at=now + self.scaled.sync_delay,
            synced_at=iso(self.clock.wall() + self.scaled.sync_delay),
        )
        body = {
            "success": True,
            "campaign_id": campaign_id,
            "synced_at": sync.synced_at,
            "message": f"Campaign {campaign_id} synced",
        }
        answer = json.dumps(body).encode()
        self.calls.carry_out(campaign_id, sync, answer)
        return Work(answer=Answer(200, answer), due=sync.ready_at)

    def _one(self, campaign_id: str, now: float) -> Answer:
        try:
            record = self.campaigns.render_one(campaign_id)
        except UnknownCampaign:
            return self._not_found(f"{LIST_PATH}/{campaign_id}")
        last = self.calls.last(campaign_id, now)
        shown = None if last is None else {"synced_at": last.synced_at, "key": last.key or None}
        body = f'{{"data":{record},"last_sync":{json.dumps(shown)}}}'
        return Answer(200, body.encode("utf-8", "surrogatepass"), JSON)

    def _not_found(self, path: str) -> Answer:
        if Quirk.HTML_404 in self.scaled.quirks:
            return html_not_found(path)
        return error(404, f"{path} was not found")

    def statistics(self) -> dict[str, Any]:
        """The counters, as `/_mock/stats` shows them."""
        return {
            "requests": self.journal.last,
            "counted": self.counted,
            "answered": {str(status): count for status, count in sorted(self.statuses.items())},
            "refused_429": self.refused,
            "unavailable_503": self.statuses[503],
            "hangs": self.hangs,
            "logins": self.tokens.logins,
            "logins_failed": self.tokens.logins_failed,
            "posts": self.calls.asked,
            "posts_carried_out": self.calls.carried_out,
            "posts_repeated": self.calls.repeated,
            "campaigns": len(self.campaigns),
            "clients": self.windows.clients,
            "window_bytes": self.windows.nbytes,
            "journal_oldest": self.journal.oldest,
            "journal_last": self.journal.last,
        }


def _stated(answer: Answer, known: str) -> Answer:
    """The answer with its ETag; without its body if the client has that already."""
    etag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    header = ((b"etag", etag.encode()),)
    if etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Answer(304, b"", header)
    return attrs.evolve(answer, headers=answer.headers + header)


def _own_answer(rule: Rule, answer: Answer | None) -> Answer:
    status = rule.status or (200 if answer is None else answer.status)
    body = rule.own_body()
    if body is None:
        own = error(status, "Scripted fault") if status >= 400 else Answer(status, b"{}")
    else:
        own = Answer(status, body)
        if body.lstrip()[:1] == b"<":
            own = attrs.evolve(own, headers=((b"content-type", b"text/html"),))
    return attrs.evolve(own, headers=_merged(own.headers, rule.own_headers()))


def _merged(headers: Headers, own: Headers) -> Headers:
    names = {name for name, _ in own}
    return tuple(item for item in headers if item[0] not in names) + own


def _not_allowed(method: str) -> Answer:
    return error(405, f"Only {method} is allowed here", headers=((b"allow", method.encode()),))


def _positive(text: str) -> int | None:
    # isdecimal alone takes Arabic digits too, and a thousand of them.
    if text.isascii() and text.isdecimal() and len(text) <= 15 and int(text) >= 1:
        return int(text)
    return None
