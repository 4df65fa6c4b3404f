"""One list, served in every kind of paging that a config can name, by a server that a test leads.

The pages of one list are cut by places: by how many records stand before (as numbers, offsets
and most links are), or by the record that they come after (as keysets and good cursors are).
What a page is called, and where the answer says which one follows, is the kind's.

    before a page is answered      `api.gate(n)` holds the n-th list request
    in the middle of the answer    `api.halve(n)` sends half of it, and no more
    which page follows             `api.leads_back = (3, 2)`: the third names the second
    what is on it                  `api.things` and `api.hidden` may change between two pages
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from syncd.config.pages import KINDS
from tests.daemon.serving import WITHIN, Answer, Asked, Gate, served

THINGS, SIZE = 20, 4
PATH = "/things"


@attrs.frozen(kw_only=True)
class Onward:
    """The page that follows."""

    place: int
    size: int
    base_url: str


class Kind(ABC):
    """How pages are asked for, and how an answer tells of the next one."""

    name: str
    """As docs/guarantees.md has it."""

    page: str
    """The stream's table `page`, but for its size."""

    more: str = ""
    """What else the stream has."""

    by_place: bool = False
    """Pages are counted from the list's beginning, not from a record."""

    counted: bool = False
    """The answer names no next page: syncd counts, or looks at the last record."""

    until_empty: bool = False
    """A page without records is the end."""

    foreseen: bool = False
    """What the next page is called is known before this one has come."""

    @abstractmethod
    def place(self, asked: Asked) -> int:
        """How many records stand before the page that is asked for, or the key that it is after."""

    def size(self, asked: Asked) -> int:
        return int(asked.params["limit"])

    def headers(self, onward: Onward | None) -> dict[str, str]:  # noqa: ARG002 - most have none
        """Those that tell which page follows; None: that none does."""
        return {}

    def members(self, onward: Onward | None) -> dict[str, Any]:  # noqa: ARG002 - as above
        """Those of the body that do."""
        return {}

    def __str__(self) -> str:
        return self.name


class Number(Kind):
    name, page = "number", 'kind = "number"'
    by_place = counted = foreseen = True

    def place(self, asked: Asked) -> int:
        return (int(asked.params["page"]) - 1) * self.size(asked)

    def members(self, onward: Onward | None) -> dict[str, Any]:
        return {"has_more": onward is not None}


class Offset(Kind):
    name, page = "offset", 'kind = "offset"'
    by_place = counted = until_empty = foreseen = True

    def place(self, asked: Asked) -> int:
        return int(asked.params["offset"])


class Cursor(Kind):
    name, page = "cursor in the body", 'kind = "cursor", size_param = "limit"'

    def place(self, asked: Asked) -> int:
        return opened(asked.params.get("cursor"))

    def members(self, onward: Onward | None) -> dict[str, Any]:
        return {"next_cursor": None if onward is None else sealed(onward.place)}


class HeaderCursor(Kind):
    name = "cursor in a header"
    page = 'kind = "cursor", size_param = "limit", header = "X-Next-Cursor"'

    def place(self, asked: Asked) -> int:
        return opened(asked.params.get("cursor"))

    def headers(self, onward: Onward | None) -> dict[str, str]:
        return {} if onward is None else {"X-Next-Cursor": sealed(onward.place)}


class Keyset(Kind):
    name, page = "keyset", 'kind = "keyset"'
    counted = until_empty = True

    def place(self, asked: Asked) -> int:
        return int(asked.params.get("after", 0))


class Link(Kind):
    name, page = "link", 'kind = "link", size_param = "limit"'
    by_place = True

    def place(self, asked: Asked) -> int:
        return (int(asked.params.get("page", 1)) - 1) * self.size(asked)

    def headers(self, onward: Onward | None) -> dict[str, str]:
        if onward is None:
            return {"Link": f'<{PATH}>; rel="first"'}
        query = f"page={onward.place // onward.size + 1}&limit={onward.size}"
        return {"Link": f'<{onward.base_url}{PATH}?{query}>; rel="next"'}


class Url(Kind):
    name, page = "url in the body", 'kind = "url", size_param = "limit"'
    by_place = True

    def place(self, asked: Asked) -> int:
        return int(asked.params.get("offset", 0))

    def members(self, onward: Onward | None) -> dict[str, Any]:
        return {"next": None if onward is None else address(onward)}


class HeaderUrl(Kind):
    name, page = "url in a header", 'kind = "url", size_param = "limit", header = "X-Next"'
    by_place = True

    def place(self, asked: Asked) -> int:
        return int(asked.params.get("offset", 0))

    def headers(self, onward: Onward | None) -> dict[str, str]:
        return {} if onward is None else {"X-Next": address(onward)}


class Whole(Kind):
    name, page = "none", 'kind = "none"'

    def place(self, asked: Asked) -> int:  # noqa: ARG002 - there is only the first
        return 0

    def size(self, asked: Asked) -> int:  # noqa: ARG002 - nobody asks for one
        return 10**6


class Search(Cursor):
    name, more = "search by POST", 'search = { body = { sort = "id" } }'

    def place(self, asked: Asked) -> int:
        return opened(asked.json.get("cursor"))

    def size(self, asked: Asked) -> int:
        return int(asked.json["limit"])


ALL = (
    *(Number(), Offset(), Cursor(), HeaderCursor(), Keyset()),
    *(Link(), Url(), HeaderUrl(), Search(), Whole()),
)
PAGED = tuple(kind for kind in ALL if kind.name != "none")


def of_config(kind: Kind) -> str:
    """The `kind` that the config has for it."""
    return next(name for name in KINDS if f'"{name}"' in kind.page)


def address(onward: Onward) -> str:
    return f"{onward.base_url}{PATH}?offset={onward.place}&limit={onward.size}"


def sealed(place: int) -> str:
    """A cursor: nothing that a client could count with."""
    return base64.urlsafe_b64encode(f"after {place}".encode()).decode()


def opened(cursor: str | None) -> int:
    return 0 if cursor is None else int(base64.urlsafe_b64decode(cursor).split()[1])


@attrs.define(eq=False)
class Listing:
    """The list, and what becomes of who asks for it."""

    kind: Kind
    base_url: str = attrs.field(default="", init=False)
    things: dict[int, str] = attrs.field(init=False)
    hidden: set[int] = attrs.field(factory=set, init=False)
    """Cut into pages like the others, and then left out: the account may not see them."""

    leads_back: tuple[int, int] | None = attrs.field(default=None, init=False)
    """From that page on, each answer leads to the other one; or holds it, if it names none."""

    wraps: bool = attrs.field(default=False, init=False)
    """Behind the last page the first one comes again."""

    asked: list[Asked] = attrs.field(factory=list, init=False)
    """Each list request, in order."""

    _gates: dict[int, Gate] = attrs.field(factory=dict, init=False)
    _halves: dict[int, trio.Event] = attrs.field(factory=dict, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.things = {n: f"thing {n}" for n in range(1, THINGS + 1)}

    @property
    def seen(self) -> dict[int, str]:
        """What the API shows in all."""
        return {n: name for n, name in self.things.items() if n not in self.hidden}

    @property
    def places(self) -> list[int]:
        """What was asked for, in order."""
        return [self.kind.place(each) for each in self.asked]

    def gate(self, number: int) -> Gate:
        """Hold that list request (1: the first of all) before it is answered."""
        return self._gates.setdefault(number, Gate())

    def next_gate(self, ahead: int = 1) -> Gate:
        """Hold the list request that comes next, or one after it."""
        return self.gate(len(self.asked) + ahead)

    def halve(self, number: int) -> trio.Event:
        """Send half of that answer only; is set when that was done."""
        return self._halves.setdefault(number, trio.Event())

    async def until_asked(self, many: int) -> None:
        """Wait until so many list requests have come."""
        with trio.fail_after(WITHIN):
            while len(self.asked) < many:
                await self._news.wait()

    async def answer(self, asked: Asked) -> Answer:
        """One list request."""
        self.asked.append(asked)
        number = len(self.asked)
        self._news.set()
        self._news = trio.Event()
        if number in self._gates:
            await self._gates[number].passed()
        place, size = self.kind.place(asked), self.kind.size(asked)
        return self._page(place, size, self._halves.get(number))

    def _page(self, place: int, size: int, half: trio.Event | None) -> Answer:
        if self._leads_back(place, size):
            here, onward = self._back(place, size)
        else:
            here = self._cut(place, size)
            onward = self._onward(place, size, here)
        follows = None
        if onward is not None:
            follows = Onward(place=onward, size=size, base_url=self.base_url)
        data = [{"id": n, "name": self.things[n]} for n in here if n not in self.hidden]
        members = {"data": data, "total": len(self.seen), **self.kind.members(follows)}
        return Answer(body=members, headers=self.kind.headers(follows), half=half)

    def _leads_back(self, place: int, size: int) -> bool:
        return self.leads_back is not None and place >= (self.leads_back[0] - 1) * size

    def _back(self, place: int, size: int) -> tuple[list[int], int | None]:
        """Its own records and the other page's name; or that page itself, if it names none."""
        back = ((self.leads_back or (0, 0))[1] - 1) * size
        return self._cut(back if self.kind.counted else place, size), back

    def _cut(self, place: int, size: int) -> list[int]:
        numbers = sorted(self.things)
        if not self.kind.by_place:
            return [n for n in numbers if n > place][:size]
        if self.wraps:
            place %= len(numbers)
        return numbers[place : place + size]

    def _onward(self, place: int, size: int, here: list[int]) -> int | None:
        if self.kind.by_place:
            if self.wraps:
                return (place + size) % len(self.things)
            return place + size if place + size < len(self.things) else None
        return here[-1] if here and here[-1] < max(self.things) else None


@asynccontextmanager
async def listing(kind: Kind) -> AsyncIterator[Listing]:
    """A server of twenty things."""
    api = Listing(kind)
    async with served(api.answer) as port:
        api.base_url = f"http://127.0.0.1:{port}"
        yield api


def config(
    base_url: str,
    database: str,
    kind: Kind,
    *,
    size: int = SIZE,
    scans: bool = False,
    connections: int = 1,
) -> str:
    """A config with the one stream `api.things`, which runs a cycle at its start and when asked.

    scans: each cycle also looks for what is gone.
    connections: with more than one, several pages are asked for at once, in any order.
    """
    sized = "" if isinstance(kind, Whole) else f", size = {size}"
    return f"""
[database]
url = '{database}'
[sources.api]
base_url = "{base_url}"
timeout = "30s"
backoff = "20ms"
connections = {connections}
[sources.api.streams.things]
every = "1d"
reconcile = "{"1ms" if scans else "never"}"
path = "{PATH}"
records = "data"
key = ["id"]
columns = {{ id = "bigint", name = "text" }}
page = {{ {kind.page}{sized}, total = "total" }}
{kind.more}
"""
