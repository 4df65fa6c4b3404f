"""In which order is found out what is at an address?  Each answer decides what is asked next."""

import urllib.parse
from collections.abc import Mapping

import attrs

from syncd.api.hints import wait_hint
from syncd.api.shown import Redactor, excerpt, shown
from syncd.config.pages import sent_by
from syncd.config.settings import BudgetSettings, CursorPages, KeysetPages, NoPages, PageSettings
from syncd.errors import ApiUnavailable, RateLimited, UnexpectedAnswer
from syncd.survey import records as of
from syncd.survey.answers import Seen, read, rows_of_lists
from syncd.survey.asking import Asking, Place, Reply, Request
from syncd.survey.signs import later_page, total
from syncd.survey.trying import Settled, Sized, Trying

AS_OBJECTS = {"_shape": "objects"}
"""Asks datasette for records with their fields' names."""

LIMITS = (
    *("x-ratelimit-limit", "x-rate-limit-limit", "ratelimit-limit", "x-rate-limit", "ratelimit"),
    *("ratelimit-policy", "x-shopify-shop-api-call-limit", "x-ratelimit-limit-requests"),
)
"""Headers in which APIs tell how often they may be asked."""

TYPICAL = {10, 12, 15, 20, 24, 25, 30, 40, 50, 60, 75, 80, 100, 120, 128, 150, 200, 250, 256, 300,
           400, 500, 1000, 2000, 5000, 10000}  # fmt: skip
"""Sizes of pages: a list that has exactly so many records may well have more."""


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was found out."""

    what: str
    value: str
    sure: bool
    why: str


@attrs.frozen(kw_only=True)
class Survey:
    """All that was found out of one list."""

    place: Place
    """As it is to be asked, which may be otherwise than a person said."""

    records: str
    key: of.Key
    page: PageSettings
    columns: tuple[of.Column, ...]
    left_out: tuple[str, ...]
    volatile: tuple[str, ...]
    updated: of.Column | None
    budget: BudgetSettings | None
    limit: str
    """What the API tells of its limit, if it does not tell in which time."""

    findings: tuple[Finding, ...]
    seen: int
    """Records, each counted once."""

    requests: int
    stopped: str
    """Why less was asked than is good, in words."""

    @property
    def guesses(self) -> int:
        return sum(not f.sure for f in self.findings)


async def survey(asking: Asking, place: Place, stream: str, redactor: Redactor) -> Survey:
    """Find out what is at a place; raises a SyncdError if that is no list of records."""
    later = later_page(place.params)
    begins = {name: value for name, value in place.params.items() if name not in later}
    asked, place = place.params, attrs.evolve(place, params=begins)
    place, first = await _first(asking, place, stream, redactor)
    trying = Trying(asking, place, redactor, first, {**later, **place.params})
    sized = await trying.larger()
    again = sized.seen if sized is not None and sized.seen is not first else None
    settled = await trying.second_page(sized)
    if again is None and asking.made <= 4:
        why = "the same once more: which fields differ?"
        reply = await asking.try_to_ask(Request(place=place), why)
        again = _again(reply, redactor, first)
    if settled is None:
        settled = _no_pages(first)
    second = settled.second
    seen = of.together(
        first.records, again.records if again else [], second.records if second else []
    )
    columns, left_out = of.columns_of(seen)
    key = of.key_of(seen, columns, stream)
    volatile = of.volatile_of(first.records, again.records, key) if again else []
    named = {c.name for c in columns}
    volatile = [name for name in volatile if name in named]
    updated = of.updated_field(columns)
    budget = _budget(first.reply)
    page = _begun(settled.page, place)
    sent = sent_by(page)
    kept = {name: value for name, value in place.params.items() if name not in sent}
    return Survey(
        place=attrs.evolve(place, params=kept),
        records=first.path,
        key=key,
        page=page,
        columns=tuple(of.ordered(columns, key)),
        left_out=tuple(left_out),
        volatile=tuple(v for v in volatile if updated is None or v != updated.name),
        updated=updated,
        budget=budget,
        limit="" if budget is not None else _limit(first.reply),
        findings=(
            *_begins(asked, later),
            *_findings(first, key, settled, sized, columns, volatile, again),
        ),
        seen=len(seen),
        requests=asking.made,
        stopped=asking.stopped,
    )


def _begun(page: PageSettings, place: Place) -> PageSettings:
    """With what the address has for the first cursor."""
    if isinstance(page, CursorPages | KeysetPages) and page.initial is None:
        return attrs.evolve(page, initial=place.params.get(page.param))
    return page


async def _first(
    asking: Asking, place: Place, stream: str, redactor: Redactor
) -> tuple[Place, Seen]:
    reply = await asking.ask(Request(place=place), "the list")
    if reply is not None and (moved := _moved(reply, place)) is not None:
        place = moved
        reply = await asking.ask(Request(place=place), "the list, where it is now")
    reply = _good(reply, asking, redactor)
    if rows_of_lists(reply, redactor) and not place.params.keys() & AS_OBJECTS.keys():
        place = attrs.evolve(place, params={**place.params, **AS_OBJECTS})
        request = Request(place=place)
        reply = _good(await asking.ask(request, "the list as objects"), asking, redactor)
    return place, read(reply, redactor, stream=stream)


def _moved(reply: Reply, place: Place) -> Place | None:
    """Where the list is, if the answer names another path of the same server."""
    target = reply.headers.get("location", "")
    if reply.status not in (301, 302, 307, 308) or not target:
        return None
    try:
        here = urllib.parse.urlsplit(reply.url)
        there = urllib.parse.urlsplit(urllib.parse.urljoin(reply.url, target))
    except ValueError:
        return None
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        shorter = f"{there.scheme}://{there.netloc}{there.path}"
        raise UnexpectedAnswer(
            f"the API answers with a redirect to {shown(shorter, 100)}",
            hint="Give that address, if you trust it with your credentials",
        )
    query = dict(urllib.parse.parse_qsl(there.query)) if there.query else place.params
    return attrs.evolve(place, path=there.path, params=query)


def _good(reply: Reply | None, asking: Asking, redactor: Redactor) -> Reply:
    """The answer, if it can be the list; the first one must be."""
    refused = asking.refused
    if refused is not None:
        wait = wait_hint(refused.headers, refused.body, None, refused=True)
        when = f"in {wait:.0f} s" if wait else "later"
        raise RateLimited(f"the API answered 429: too many requests; run the same command {when}")
    if reply is None:
        raise UnexpectedAnswer(f"there was no answer to look at: {asking.stopped}")
    said = excerpt(reply.body, redactor)
    if reply.status >= 500:
        raise ApiUnavailable(
            f"the API answered {reply.status}: {said}; run the same command again later"
        )
    if reply.status >= 300:
        hints = {404: "Check its path", 405: "If the list is asked for by POST, give --body JSON"}
        hint = hints.get(reply.status, "Check the address, and what the API says")
        raise UnexpectedAnswer(f"the API answered {reply.status}: {said}", hint=hint)
    return reply


def _again(reply: Reply | None, redactor: Redactor, first: Seen) -> Seen | None:
    try:
        return read(reply, redactor, at=first.path) if reply and reply.status < 300 else None
    except UnexpectedAnswer:
        return None


def _no_pages(first: Seen) -> Settled:
    count, found = len(first.raws), total(first)
    if found is not None and found.value == count:
        why = f"`{found.path}` tells as many records as came"
        return Settled(page=NoPages(), sure=True, why=why)
    why = f"no parameter that was tried brought other records; {count} came"
    if count in TYPICAL:
        why += ", a usual size of a page: LOOK whether there are more"
    return Settled(page=NoPages(), sure=False, why=why)


def _budget(reply: Reply) -> BudgetSettings | None:
    """What a RateLimit-Policy tells of the one limit that it names, as the IETF's draft has it."""
    parts = [p.strip() for p in reply.headers.get("ratelimit-policy", "").split(";")]
    given = dict(p.split("=", 1) for p in parts[1:] if "=" in p)
    quota, window = given.get("q", parts[0]), given.get("w", "")
    if "," in "".join(parts) or not (quota.isdigit() and window.isdigit()):
        return None
    if not 0 < int(quota) <= 100_000 or not 0 < int(window) <= 86_400 * 31:
        return None
    return BudgetSettings(name="", requests=int(quota), per=float(window))


def _limit(reply: Reply) -> str:
    found = ((name, reply.headers.get(name, "")) for name in LIMITS)
    return next((f"{name}: {text}" for name, text in found if text.strip()), "")


def _begins(asked: Mapping[str, str], later: Mapping[str, str]) -> list[Finding]:
    """That the address of a later page is not taken for that of the list."""
    if not later:
        return []
    # A cursor's value is an API's own, which may have signed it.
    named = ", ".join(f"{name}={asked[name] if first else '…'}" for name, first in later.items())
    why = f"the address asks for a later page ({shown(named, 100)}), and that is left out"
    return [Finding(what="start", value="the list's first page", sure=True, why=why)]


def _findings(
    first: Seen,
    key: of.Key,
    settled: Settled,
    sized: Sized | None,
    columns: list[of.Column],
    volatile: list[str],
    again: Seen | None,
) -> list[Finding]:
    where = f"`{first.path}`" if first.path else "the answer is the list"
    alone = not first.others
    why = "the only list of objects" if alone else f"there are others: {', '.join(first.others)}"
    why = f"{why}; {len(first.records)} of them in the first answer"
    found = [Finding(what="records", value=where, sure=alone, why=why)]
    found.append(Finding(what="key", value=" and ".join(key.columns), sure=key.sure, why=key.why))
    found.append(
        Finding(what="page", value=f"kind {settled.page.kind}", sure=settled.sure, why=settled.why)
    )
    if sized is not None:
        honoured = len(sized.seen.raws) > len(first.raws)
        why = f"{len(first.raws)} without it, {len(sized.seen.raws)} with it"
        why = why if honoured else "the answer tells this parameter's name"
        value = f"{sized.size} records, by `{sized.param}`"
        found.append(Finding(what="size", value=value, sure=honoured or sized.told, why=why))
    unsure = [c.name for c in columns if not c.sure]
    why = f"guessed: {', '.join(unsure[:8])}{'…' if len(unsure) > 8 else ''}" if unsure else ""
    found.append(
        Finding(
            what="columns",
            value=f"{len(columns)} columns" if len(columns) > 1 else "1 column",
            sure=not unsure,
            why=why or "all records agree",
        )
    )
    if volatile:
        why = "different when the same records were read again"
        found.append(Finding(what="volatile", value=", ".join(volatile), sure=False, why=why))
    elif again is None:
        why = "no record was read twice"
        found.append(Finding(what="volatile", value="none", sure=False, why=why))
    return found
