"""A list of records behind any kind of page, and random things that befall it."""

import json
import random
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

SIZE = 5

PAGES = {
    "number": '{ kind = "number", size = 5, more = "more", total = "total" }',
    "offset": '{ kind = "offset", size = 5 }',
    "cursor": '{ kind = "cursor", size = 5, size_param = "limit", next = "next" }',
    "link": '{ kind = "link", size = 5, size_param = "limit" }',
    "none": '{ kind = "none" }',
}
"""What a config says of each kind."""


@attrs.define(eq=False, kw_only=True)
class Listing:
    """The records, each as the JSON text that is sent for it."""

    kind: str
    port: int = 0
    records: dict[int, list[str]] = attrs.field(factory=dict)
    """By id; several for one that comes twice on its page."""

    requests: int = 0

    def put(self, number: int, **values: Any) -> dict[str, Any]:
        """Have a record say this, beside what it said."""
        there = json.loads(self.records[number][-1]) if number in self.records else {}
        record = {"id": number, **there, **values}
        self.records[number] = [json.dumps(record)]
        return record

    def answer(self, query: dict[str, str]) -> tuple[str, dict[str, str]]:
        """The body of one page, and its headers."""
        self.requests += 1
        since = int(query.get("since", 0))
        records = [t for t in self.records.values() if _version(t) >= since]
        size = len(records) if self.kind == "none" else int(query.get("limit", SIZE))
        first = int(query.get("offset") or query.get("cursor") or 0)
        if "page" in query:
            first = (int(query["page"]) - 1) * size
        rows = ", ".join(text for texts in records[first : first + size] for text in texts)
        after = first + size
        more = after < len(records)
        following = json.dumps(str(after) if more else None)
        total, flag = len(records), json.dumps(more)
        body = f'{{"data": [{rows}], "more": {flag}, "total": {total}, "next": {following}}}'
        link = f'</items?limit={size}&offset={after}>; rel="next"'
        return body, {"Link": link} if more and self.kind == "link" else {}


def _version(texts: list[str]) -> int:
    found: int = json.loads(texts[-1]).get("version", 0)
    return found


@contextmanager
def listening(kind: str) -> Iterator[Listing]:
    """Serve a list, in a thread of its own."""
    listing = Listing(kind=kind)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.urlsplit(self.path).query
            body, headers = listing.answer(dict(urllib.parse.parse_qsl(query)))
            self.send_response(200)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listing.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield listing
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fresh(number: int) -> dict[str, Any]:
    """What a new record says."""
    return {
        "name": f"record {number}",
        "price": f"{number}.50",
        "at": f"2026-03-{number % 27 + 1:02}T10:00:00Z",
        "tags": {"n": number, "of": ["a", None]},
        "clicks": number,
        "status": "active",
    }


@attrs.define(eq=False, kw_only=True)
class Fate:
    """Random changes that can be had again: add, change, drop, undo, spoil."""

    listing: Listing
    rng: random.Random
    _next: int = 1
    _gone: dict[int, list[str]] = attrs.field(factory=dict)
    _spoilt: dict[int, list[str]] = attrs.field(factory=dict)

    def fill(self, many: int) -> None:
        for _ in range(many):
            self.add()

    def add(self) -> None:
        self.listing.put(self._next, **fresh(self._next))
        self._next += 1

    def befall(self) -> None:
        """A round of all that can befall a list."""
        for many, what in (
            (3, self._change),
            (2, self._count),
            (2, self._same_in_other_words),
            (2, self._take_out),
            (1, self._bury),
            (1, self._archive),
            (1, self._double),
            (1, partial(self._spoil, price="much")),  # against the contract
            (1, partial(self._spoil, price="-1")),  # against a constraint of the owner's
        ):
            for number in self._some(many):
                what(number)
        for _ in range(3):
            self.add()

    def undo(self) -> None:
        """Some of what is gone comes back, and what was spoilt is mended."""
        for number in self.rng.sample(sorted(self._gone), min(2, len(self._gone))):
            self.listing.records[number] = self._gone.pop(number)
        for number, texts in self._spoilt.items():
            if number in self.listing.records:
                self.listing.records[number] = texts
        self._spoilt.clear()

    def _some(self, many: int) -> list[int]:
        """Records that nothing has befallen yet but changes."""
        fine = [
            n
            for n, texts in self.listing.records.items()
            if n not in self._spoilt and n not in self._gone and len(texts) == 1
        ]
        return self.rng.sample(fine, min(many, len(fine)))

    def _count(self, number: int) -> None:
        self.listing.put(number, clicks=self.rng.randrange(10**17))

    def _take_out(self, number: int) -> None:
        self._gone[number] = self.listing.records.pop(number)

    def _bury(self, number: int) -> None:
        self._gone[number] = self.listing.records[number]
        self.listing.records[number] = [json.dumps({"id": number, "deleted": True, "price": "n/a"})]

    def _archive(self, number: int) -> None:
        self.listing.put(number, status="archived")

    def _double(self, number: int) -> None:
        if self.listing.kind == "offset":
            return  # its next offset would grow by both
        twice = [json.dumps({"id": number, **fresh(n)}) for n in (number + 1, number + 2)]
        self.listing.records[number] = twice

    def _change(self, number: int) -> None:
        values: dict[str, Any] = {
            "name": f"renamed {self.rng.random()}",
            "price": f"{self.rng.randrange(10**15)}.{self.rng.randrange(10**15):015}1",
            "at": "2026-07-01T12:00:00.123456+02:00",
            "tags": {"n": 9007199254740993, "of": [self.rng.random()]},
        }
        for name in self.rng.sample(sorted(values), self.rng.randrange(1, 4)):
            self.listing.put(number, **{name: values[name]})
        if self.rng.random() < 0.3:
            self.listing.put(number, name=None)

    def _same_in_other_words(self, number: int) -> None:
        """Equal by Postgres: a zero more, another zone, another order."""
        record = json.loads(self.listing.records[number][-1])
        tags = record["tags"]
        at = str(record["at"])
        if at.endswith("T10:00:00Z"):
            at = at.replace("T10:00:00Z", "T12:00:00+02:00")
        self.listing.put(
            number, price=f"{record['price']}0", at=at, tags=dict(reversed(tags.items()))
        )

    def _spoil(self, number: int, **values: Any) -> None:
        self._spoilt[number] = self.listing.records[number]
        self.listing.put(number, **values)
