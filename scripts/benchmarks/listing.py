"""What does the list for benchmarks answer?  Bytes that were rendered before anybody asked.

It must never be the limit, so that an answer costs a look into a table.  It reads no more of a
request than it has to: its clients are the benchmarks' own.  Asked for what has changed since, it
gives the records that were changed then or later, in the order of their changes.
"""

import bisect
import datetime as dt
import hashlib
import json
import math
from collections.abc import Sequence
from urllib.parse import parse_qs

import attrs

from scripts.benchmarks import records

PATH = "/records"
COUNTS = "/_counts"
EDITION = "/_edition"
SINCE = "updated_since"
SIZE = 100  # records in a page, where the request does not say


@attrs.frozen
class Answer:
    """One answer, from its status line to its last byte."""

    status: int
    whole: bytes
    length: int
    """Of the body."""

    tag: str = ""


@attrs.define(eq=False)
class Listing:
    """The list, its pages, and what was asked of it."""

    count: int
    """Records that it has."""

    etags: bool = True
    requests: int = 0
    unchanged: int = 0
    """Answers without a body: the client had the page already."""

    body_bytes: int = 0
    first_at: float | None = None
    """On the clock that all processes share (`time.monotonic`)."""

    edition: int = 1
    """Of the records: in the second one some have changed."""

    _pages: dict[tuple[int, str, int, int], Answer] = attrs.field(factory=dict, init=False)
    """By edition, since when, size and number."""

    _stamps: list[tuple[dt.datetime, int]] = attrs.field(init=False)
    """When each record was changed, in this order, and its number."""

    def __attrs_post_init__(self) -> None:
        self.publish(self.edition)

    def publish(self, edition: int) -> None:
        """From now on the records are as they are in this edition."""
        self.edition = edition
        self._stamps = sorted((records.updated_at(n, edition), n) for n in range(self.count))

    def render(self, size: int) -> None:
        """All pages of this size, ahead; those of others are rendered when they are asked for."""
        # One more: who does not trust a short page asks for the next.
        for number in range(1, math.ceil(self.count / size) + 2):
            self._page("", size, number)

    def answer(self, head: bytes, now: float) -> bytes:
        """What to send for a request, by its line and headers; `now` is when it came."""
        line, *headers = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        path, _, query = target.partition("?")
        if path == COUNTS:
            return _json(200, self._counted(keep=query == "keep")).whole
        if path == EDITION:
            self.publish(int(query))
            return _json(200, {"edition": self.edition}).whole
        if method != "GET" or path != PATH:
            return _json(404, {"error": f"there is GET {PATH}, no more"}).whole
        if self.first_at is None:
            self.first_at = now
        self.requests += 1
        try:
            page = self._asked(query)
        except ValueError:
            error = f"page and limit must be whole numbers, 1 or more, and {SINCE} a time"
            return _json(400, {"error": error}).whole
        if page.tag and page.tag in _if_none_match(headers):
            self.unchanged += 1
            return f"HTTP/1.1 304 Not Modified\r\nETag: {page.tag}\r\n\r\n".encode()
        self.body_bytes += page.length
        return page.whole

    def _asked(self, query: str) -> Answer:
        values = parse_qs(query)
        size = int(values.get("limit", [str(SIZE)])[0])
        number = int(values.get("page", ["1"])[0])
        if size < 1 or number < 1:
            raise ValueError(query)
        return self._page(values.get(SINCE, [""])[0], size, number)

    def _page(self, since: str, size: int, number: int) -> Answer:
        which = (self.edition, since, size, number)
        if which not in self._pages:
            numbers = self._changed(since) if since else range(self.count)
            first = (number - 1) * size
            rows = ",".join(records.texts(numbers[first : first + size], self.edition))
            more = "true" if first + size < len(numbers) else "false"
            body = f'{{"data":[{rows}],"has_more":{more},"total":{len(numbers)}}}'.encode()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"' if self.etags else ""
            self._pages[which] = _whole(200, body, tag)
        return self._pages[which]

    def _changed(self, since: str) -> Sequence[int]:
        moment = dt.datetime.fromisoformat(since)
        if moment.tzinfo is None:  # the tap leaves it out
            moment = moment.replace(tzinfo=dt.UTC)
        first = bisect.bisect_left(self._stamps, (moment, -1))
        return [number for _, number in self._stamps[first:]]

    def _counted(self, *, keep: bool) -> dict[str, object]:
        """What was asked since the last look; then counting begins anew, if it is not kept."""
        names = ("requests", "unchanged", "body_bytes", "first_at")
        found = {name: getattr(self, name) for name in names}
        if keep:
            return found
        self.requests = self.unchanged = self.body_bytes = 0
        self.first_at = None
        return found


def _if_none_match(headers: list[str]) -> list[str]:
    for header in headers:
        name, _, value = header.partition(":")
        if name.lower() == "if-none-match":
            return [tag.strip().removeprefix("W/") for tag in value.split(",")]
    return []


def _json(status: int, value: object) -> Answer:
    return _whole(status, json.dumps(value).encode())


def _whole(status: int, body: bytes, tag: str = "") -> Answer:
    reason = {200: "OK", 400: "Bad Request", 404: "Not Found"}[status]
    head = [
        f"HTTP/1.1 {status} {reason}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"ETag: {tag}"] if tag else []),
    ]
    return Answer(status, "\r\n".join([*head, "", ""]).encode() + body, len(body), tag)
