"""Which kinds of paging does an answer speak of?

A candidate is a whole `page` of the config; what it is worth is found out by asking for the
second page with it.  Those for which most speaks come first.
"""

import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from syncd.api.paging import Answered, pagination_for
from syncd.config.pages import sent_by
from syncd.config.settings import (
    CursorPages,
    KeysetPages,
    LinkPages,
    NumberPages,
    OffsetPages,
    PageSettings,
    Until,
    UrlPages,
)
from syncd.errors import SyncdError
from syncd.survey.answers import Around, Seen, plain

NEXT_HEADERS = ("next-page", "x-next-page", "x-next", "next", "x-next-page-url")
CURSOR_HEADERS = {
    "x-next-cursor": "cursor", "next-cursor": "cursor", "x-cursor": "cursor",
    "x-continuation-token": "continuation_token", "x-ms-continuation": "continuationToken",
    "x-ms-continuationtoken": "continuationToken", "x-next-token": "next_token",
    "x-next-page-token": "page_token", "x-next-page": "page",
}  # fmt: skip
"""Header to the parameter that its text is sent in."""

NEXT = (
    *("next", "nexturl", "nextpageurl", "nextpage", "nextlink", "nexthref", "odatanextlink"),
    *("nextrecordsurl", "nextpagelink", "nexturi", "nextpageuri", "atomnext"),
)
CURSORS: Mapping[str, tuple[str, ...]] = {
    "nextcursor": ("cursor", "start_cursor", "next_cursor", "after"),
    "nextpagetoken": ("pageToken", "page_token", "nextPageToken"),
    "nexttoken": ("next_token", "pagination_token", "nextToken"),
    "nextpage": ("page", "cursor", "page_token"),
    "next": ("cursor", "after", "next", "page", "_next"),
    "endcursor": ("after", "cursor"),
    "aftercursor": ("page[after]", "after", "cursor"),
    "after": ("after", "cursor"),
    "cursor": ("cursor", "after"),
    "offset": ("offset",),
    "continuationtoken": ("continuationToken", "continuation_token"),
    "continuation": ("continuation",),
    "nextmarker": ("marker",),
    "marker": ("marker",),
    "scrollid": ("scroll_id",),
    "nextpagecursor": ("cursor", "page_cursor"),
    "nextoffset": ("offset",),
    "nextstart": ("start",),
    "nextid": ("after", "since_id"),
    "startingafter": ("starting_after",),
    "syncpagetoken": ("page_token",),
}
"""A cursor's name to the parameters that it is sent in, the most usual one first."""

MORE = ("hasmore", "more", "hasnext", "hasnextpage", "hasmoreitems", "moreresults", "morepages",
        "moreitemsincollection", "hasmorepages", "hasmoreresults")  # fmt: skip
TOTALS = (
    *("total", "totalcount", "totalresults", "totalelements", "totalsize", "totalitems"),
    *("totalrecords", "totalentries", "odatacount", "filteredtablerowscount", "nbhits", "count"),
    *("found", "numfound", "totalhits", "totalrows"),
)
NUMBERS = {"page": None, "pagenumber": None, "pageindex": None, "pageno": None, "pagenum": None,
           "currentpage": "page", "number": "page"}  # fmt: skip
"""The page's number, as answers tell it, to the parameter; None: it has the same name."""

OFFSETS = ("offset", "startat", "skip", "start", "startindex", "from")
SIZES = ("perpage", "pagesize", "limit", "size", "itemsperpage", "maxresults", "resultsperpage",
         "top", "pagelimit", "rows")  # fmt: skip
PAIRS = {
    "_page": "_limit", "_token": "_limit", "_next": "_size", "_start": "_limit",
    "page[number]": "page[size]", "page[after]": "page[size]", "page[cursor]": "page[size]",
    "$skip": "$top", "$skiptoken": "$top", "pageToken": "pageSize", "page_token": "page_size",
    "startAt": "maxResults", "start": "limit", "skip": "limit", "offset": "limit",
    "start_cursor": "page_size", "pageNumber": "pageSize", "starting_after": "limit",
    "page_info": "limit",
}  # fmt: skip
"""What asks for the next page, to what tells its size, where the two always come together."""

BY_NUMBER = ("page", "_page", "page[number]", "p", "pageNumber")
BY_PLACE = ("offset", "skip", "start", "_start", "$skip")
BY_CURSOR = {
    *("cursor", "start_cursor", "next_cursor", "page_cursor", "page[cursor]", "page[after]"),
    *("page_token", "pageToken", "nextPageToken", "next_token", "nextToken", "pagination_token"),
    *("continuation_token", "continuationToken", "continuation", "starting_after", "page_info"),
    *("scroll_id", "$skiptoken"),
}
"""Parameters that are hardly anything else than a cursor; `after` and `since_id` may be filters."""

HIGHEST = 10**6  # a larger number is no page and no place: a moment, or an id
SHORTEST = 6  # characters of a cursor; the first one of some APIs is `*`, `0` or `init`
GUESSES = ("limit", "per_page", "page_size")


Linked = TypeVar("Linked", LinkPages, UrlPages)


@attrs.frozen(kw_only=True)
class Candidate:
    """A kind of paging that may be the list's."""

    page: PageSettings
    why: str
    """What speaks for it."""

    told: bool = True
    """The answer speaks of it, so that it is likely also where the list has one page alone."""


def candidates(seen: Seen, params: Mapping[str, str]) -> list[Candidate]:
    """All kinds that may be the list's; `params` are those of its address."""
    found: dict[PageSettings, Candidate] = {}
    for one in (
        *_in_headers(seen),
        *_addresses(seen),
        *_cursors(seen, [name for name in BY_NUMBER if params.get(name) in ("0", "1")]),
        *_asked(seen, params),
        *_cursors(seen),
        *_counted(seen),
        *_keysets(seen),
        *_guessed(seen),
    ):
        found.setdefault(one.page, one)
    return list(found.values())


def later_page(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters that ask for a page which is not the list's first, to what asks for that.

    A cursor that is not sent does.
    """
    found = {}
    for name, value in params.items():
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
        if name in BY_NUMBER and name != "p" and 1 < number < HIGHEST:
            found[name] = "1"
        elif name in BY_PLACE and 0 < number < HIGHEST:
            found[name] = "0"
        elif name in BY_CURSOR and len(value) >= SHORTEST:
            found[name] = ""
    return found


def next_cursor(page: PageSettings, seen: Seen, cursor: str | None = None) -> str | None:
    """What the config's own paging makes of the answer; None where it would end."""
    answered = Answered(
        cursor=cursor,
        envelope=seen.envelope,
        records=len(seen.raws),
        last=seen.raws[-1] if seen.raws else None,
        headers=seen.reply.headers,
        asked=lambda: seen.reply.url,
    )
    try:
        return pagination_for(page).turn(answered).next_cursor
    except SyncdError:
        return None


def total(seen: Seen) -> Around | None:
    """Where the answer tells how many records the list has."""
    for one in seen.named(*TOTALS, *(["value"] if seen.path.startswith("hits") else [])):
        if not _is_count(one.value) or one.value < len(seen.raws):
            continue
        if one.name == "count" and one.value == len(seen.raws) and more_follows(seen):
            continue  # of this page alone
        return one
    return None


def more_follows(seen: Seen) -> bool:
    """Whether the answer says that it is not the whole list."""
    return any(
        c.told and next_cursor(c.page, seen) for c in (*_in_headers(seen), *_addresses(seen))
    )


def size_params(
    seen: Seen, page: PageSettings, params: Mapping[str, str]
) -> list[tuple[str, bool]]:
    """Parameters that may tell a page's size, and whether the answer speaks of them.

    page: a candidate's, which sends no size yet.
    """
    count, moved_by = len(seen.raws), sent_by(page)
    address = next_cursor(page, seen) if isinstance(page, LinkPages | UrlPages) else None
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address or "").query))
    told = [n for n, v in {**params, **query}.items() if v == str(count) and _tells_size(n)]
    told += [
        one.path.rpartition(".")[2]
        for one in seen.named(*SIZES)
        if one.value == count and not isinstance(one.value, bool)
    ]
    likely = [PAIRS[name] for name in {**query, **params} if name in PAIRS]
    likely += [PAIRS[name] for name in moved_by if name in PAIRS]
    if {a.name for a in seen.around} >= {"count", "next", "previous"}:  # Django's REST framework
        likely += ["page_size", "limit"]
    elif isinstance(page, LinkPages) and not likely:
        likely += ["per_page", "limit"]
    likely += GUESSES
    found = dict.fromkeys(told, True)
    for name in likely:
        found.setdefault(name, False)
    return [(name, of) for name, of in found.items() if name not in moved_by]


def _tells_size(name: str) -> bool:
    """By its name: a number of records in a next page's address may as well be an offset."""
    return plain(name) in {*SIZES, "count", "first", "num"} or name in PAIRS.values()


def _in_headers(seen: Seen) -> Iterator[Candidate]:
    headers, count = seen.reply.headers, len(seen.raws)
    if "link" in headers:
        link = _on_our_host(LinkPages(size=count), seen)
        if next_cursor(link, seen) is not None:
            yield Candidate(page=link, why="the Link header names the next page")
        elif re.search(r'rel="?(first|last|prev)', headers["link"]):
            yield Candidate(page=link, why="the Link header names pages, though no next one")
    for name in NEXT_HEADERS:
        if _is_address(headers.get(name, "")):
            spelt = "-".join(part.capitalize() for part in name.split("-"))
            page = _on_our_host(UrlPages(size=count, header=spelt), seen)
            yield Candidate(page=page, why=f"the header {spelt} holds the next page's address")
    for name, param in CURSOR_HEADERS.items():
        if headers.get(name) and not _is_address(headers[name]):
            spelt = "-".join(part.capitalize() for part in name.split("-"))
            cursor = CursorPages(size=count, header=spelt, param=param)
            yield Candidate(page=cursor, why=f"the header {spelt} holds a cursor")


def _addresses(seen: Seen) -> Iterator[Candidate]:
    count = len(seen.raws)
    found = [a for a in seen.around if _is_next(a) and _is_address(a.value)]
    for one in found:
        page = _on_our_host(UrlPages(size=count, next=one.path, absent="end"), seen)
        yield Candidate(page=page, why=f"`{one.path}` holds the next page's address")
    alone = [a for a in seen.around if _is_next(a) and a.value is None]
    for one in alone if not found else ():
        names = {a.name for a in seen.around}
        if one.name != "next" or names & {"previous", "prev"}:
            page = UrlPages(size=count, next=one.path, absent="end")
            yield Candidate(page=page, why=f"`{one.path}` is there, though there is no next page")


def _on_our_host(page: Linked, seen: Seen) -> Linked:
    """Servers behind a proxy often give addresses with a name that they have behind it."""
    if next_cursor(page, seen) is not None:
        return page
    ours = attrs.evolve(page, foreign="ignore")
    return page if next_cursor(ours, seen) is None else ours


def _is_next(one: Around) -> bool:
    parent = plain(one.path.rpartition(".")[0].rpartition(".")[2])
    return one.name in NEXT or (one.name in ("href", "url", "link", "uri") and parent in NEXT)


def _cursors(seen: Seen, asked: Sequence[str] | None = None) -> Iterator[Candidate]:
    """`asked`: only numbers, in these parameters, which a person's address has."""
    more = _flag(seen)
    for name, params in CURSORS.items():
        for one in seen.named(name):
            value = one.value
            if isinstance(value, bool) or value in (None, "") or _is_address(value):
                continue
            if name == "offset" and not isinstance(value, str):
                continue  # it tells where this page began
            # A number is more likely to be a page's than anything else.
            counts = isinstance(value, int) or str(value).isdigit()
            if asked is not None and not counts:
                continue
            sent_in = params if asked is None else asked
            for param in sorted(sent_in, key=lambda p: counts and p not in ("page", "offset")):
                page = CursorPages(
                    size=len(seen.raws), next=one.path, param=param, more=more, absent="end"
                )
                yield Candidate(page=page, why=f"`{one.path}` holds a cursor")


def _counted(seen: Seen) -> Iterator[Candidate]:
    """By number or offset, where the answer tells which of them it is."""
    numbers = [a for a in seen.named(*NUMBERS) if a.value in (0, 1) and _is_count(a.value)]
    for one in numbers:
        param = NUMBERS[one.name] or one.path.rpartition(".")[2]
        yield Candidate(
            page=NumberPages(page_param=param, first=one.value, **_end(seen)),
            why=f"`{one.path}` tells the page's number",
        )
    for one in seen.named(*OFFSETS):
        if one.value in (0, 1) and _is_count(one.value):
            name = one.path.rpartition(".")[2]
            yield Candidate(
                page=OffsetPages(offset_param=name, first=one.value, **_end(seen)),
                why=f"`{one.path}` tells where the page begins",
            )


def _keysets(seen: Seen) -> Iterator[Candidate]:
    """By the last record's id, where only a flag tells that there is more."""
    flag = _flag(seen)
    if flag is None or not seen.records or "id" not in seen.records[-1]:
        return
    for param in ("starting_after", "after"):
        yield Candidate(
            page=KeysetPages(param=param, field="id", **_end(seen)),
            why=f"`{flag}` tells whether there is more",
            told=param == "starting_after",
        )


def _asked(seen: Seen, params: Mapping[str, str]) -> Iterator[Candidate]:
    """What a person's own address asks for a page by."""
    end = _end(seen)
    for name in BY_NUMBER:
        if params.get(name) in ("0", "1"):
            page = NumberPages(page_param=name, first=int(params[name]), **end)
            yield Candidate(page=page, why=f"the address has `{name}`")
    for name in BY_PLACE:
        if params.get(name) == "0":
            offset = OffsetPages(offset_param=name, **end)
            yield Candidate(page=offset, why=f"the address has `{name}`")


def _guessed(seen: Seen) -> Iterator[Candidate]:
    """What is usual, where the answer tells nothing."""
    end = _end(seen)
    why = "it is usual; the answer itself tells nothing"
    yield Candidate(page=NumberPages(page_param="page", **end), why=why, told=False)
    yield Candidate(page=OffsetPages(offset_param="offset", **end), why=why, told=False)


def _end(seen: Seen) -> dict[str, Any]:
    """Size, and what ends a list that is counted through."""
    flag = _flag(seen)
    until: Until = "more" if flag is not None else "empty"
    found = total(seen)
    return {
        "size": max(len(seen.raws), 1),
        "size_param": None,
        "until": until,
        "more": flag,
        "total": found.path if found is not None else None,
    }


def _flag(seen: Seen) -> str | None:
    """Where the answer tells whether there is more."""
    return next((a.path for a in seen.named(*MORE) if isinstance(a.value, bool)), None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_address(value: object) -> bool:
    """Whole, or from the server's root, or a query alone."""
    return (
        isinstance(value, str) and bool(re.match(r"https?://|/[^/]|\?", value)) and " " not in value
    )
