"""How do tests and demos look inside, and change things, while it runs?

Everything under /_mock: no token, no quota, no entry in the journal.

    GET    /_mock                       settings, and this list
    GET    /_mock/stats                 counters, open connections, memory
    GET    /_mock/requests?since=0      the journal: all entries numbered above `since`
    GET    /_mock/windows               for each client, the most that any window counted
    GET    /_mock/calls                 POSTs asked and carried out, by id and by key
    GET    /_mock/faults                the script, with what each rule matched and fired
    PUT    /_mock/faults                replace it      POST  append      DELETE  clear
    GET    /_mock/campaigns?page&limit  the list as it is now, free and without misbehaviour
    POST   /_mock/campaigns             {"count": 3} adds campaigns; gives {"ids": […]}
    GET    /_mock/campaigns/{id}        one record
    PATCH  /_mock/campaigns/{id}        {"set": {…}, "drop": [names], "raw": "text"}
    PUT    /_mock/campaigns/{id}        no body: undo all changes of this one
    DELETE /_mock/campaigns/{id}        remove it
    DELETE /_mock/tokens                let every issued token die now
    POST   /_mock/reset                 as freshly started, and without faults
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import attrs
import msgspec

from mock_api.answers import JSON, Answer, error, json_answer
from mock_api.api import Api
from mock_api.campaigns import UnknownCampaign
from mock_api.faults import BadScript, read_rules
from mock_api.journal import as_json, fullest_windows

PREFIX = "/_mock"
PAGE = 1000  # records on a page of the free list unless `limit` says otherwise
CHUNK = 500  # journal entries in one piece of the answer

Stream = Iterator[bytes]
Asked = dict[str, list[str]]


class Added(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 1


class Change(msgspec.Struct, forbid_unknown_fields=True):
    set: dict[str, Any] = {}
    drop: list[str] = []
    raw: str | None = None


class Control:
    """Answers the requests under /_mock."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._routes: dict[tuple[str, str], Callable[[Asked, bytes], Answer | Stream]] = {
            ("GET", ""): self._index,
            ("GET", "stats"): self._stats,
            ("GET", "requests"): self._requests,
            ("GET", "windows"): self._windows,
            ("GET", "calls"): self._calls,
            ("GET", "faults"): self._faults,
            ("PUT", "faults"): self._replace_faults,
            ("POST", "faults"): self._append_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "campaigns"): self._campaigns,
            ("POST", "campaigns"): self._add_campaigns,
            ("DELETE", "tokens"): self._expire_tokens,
            ("POST", "reset"): self._reset,
        }
        self.connections = 0
        """Open connections; the server keeps it."""

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer | Stream:
        try:
            return self._route(method, path.removeprefix(PREFIX).strip("/"), query, body)
        except UnknownCampaign as unknown:
            return error(404, f"no campaign {unknown}")
        except (BadScript, msgspec.DecodeError, ValueError) as fault:
            return error(400, str(fault))

    def _route(self, method: str, path: str, query: str, body: bytes) -> Answer | Stream:
        what, _, name = path.partition("/")
        if what == "campaigns" and name:
            return self._campaign(method, name, body)
        handler = self._routes.get((method, path))
        if handler is None:
            return error(404, f"no {method} {PREFIX}/{path}; see {PREFIX}")
        return handler(parse_qs(query), body)

    def _index(self, _: Asked, __: bytes) -> Answer:
        settings = attrs.asdict(self._api.settings)
        del settings["password"]
        settings["quirks"] = sorted(settings["quirks"])
        scaled = self._api.scaled
        times = ("window", "sync_delay", "token_life", "idle")
        return json_answer(
            200,
            {
                "settings": settings,
                "at_speed": {name: getattr(scaled, name) for name in times},
                "endpoints": (__doc__ or "").split("\n\n")[2].splitlines(),
            },
        )

    def _stats(self, _: Asked, __: bytes) -> Answer:
        open_now = {"connections": self.connections}
        return json_answer(200, self._api.statistics() | open_now | memory())

    def _calls(self, _: Asked, __: bytes) -> Answer:
        return json_answer(200, self._api.calls.as_json())

    def _requests(self, asked: Asked, _: bytes) -> Stream:
        encode = msgspec.json.encode
        since = int(asked.get("since", ["0"])[-1])
        yield b'{"now":%s,"requests":[' % encode(self._api.clock.monotonic())
        chunk: list[bytes] = []
        comma = b""
        for entry in self._api.journal.entries(since):
            chunk.append(encode(as_json(entry)))
            if len(chunk) == CHUNK:
                yield comma + b",".join(chunk)
                chunk, comma = [], b","
        if chunk:
            yield comma + b",".join(chunk)
        yield b"]}"

    def _windows(self, _: Asked, __: bytes) -> Answer:
        scaled = self._api.scaled
        fullest = fullest_windows(self._api.journal.entries(), scaled.window)
        return json_answer(
            200,
            {
                "window": scaled.window,
                "limit": scaled.limit,
                "fullest": max(fullest.values(), default=0),
                "clients": fullest,
            },
        )

    def _faults(self, _: Asked, __: bytes) -> Answer:
        return json_answer(200, {"rules": self._api.script.as_json()})

    def _replace_faults(self, asked: Asked, body: bytes) -> Answer:
        self._api.script.replace(read_rules(body))
        return self._faults(asked, body)

    def _append_faults(self, asked: Asked, body: bytes) -> Answer:
        self._api.script.append(read_rules(body))
        return self._faults(asked, body)

    def _clear_faults(self, asked: Asked, body: bytes) -> Answer:
        self._api.script.replace([])
        return self._faults(asked, body)

    def _expire_tokens(self, _: Asked, __: bytes) -> Answer:
        return json_answer(200, {"expired": self._api.tokens.expire_all()})

    def _reset(self, _: Asked, __: bytes) -> Answer:
        self._api.reset()
        return json_answer(200, {"reset": True})

    def _add_campaigns(self, _: Asked, body: bytes) -> Answer:
        added = msgspec.json.decode(body or b"{}", type=Added)
        return json_answer(201, {"ids": self._api.campaigns.add(added.count)})

    def _campaigns(self, asked: Asked, _: bytes) -> Answer:
        page = max(1, int(asked.get("page", ["1"])[-1]))
        limit = max(1, int(asked.get("limit", [str(PAGE)])[-1]))
        campaigns = self._api.campaigns
        records = campaigns.render((page - 1) * limit, limit)
        body = f'{{"total":{len(campaigns)},"data":[{records}]}}'
        return Answer(200, body.encode("utf-8", "surrogatepass"), JSON)

    def _campaign(self, method: str, name: str, body: bytes) -> Answer:
        campaigns = self._api.campaigns
        match method:
            case "PATCH":
                change = msgspec.json.decode(body, type=Change)
                campaigns.change(name, change.set, drop=change.drop, raw=change.raw)
            case "PUT":
                campaigns.restore(name)
            case "DELETE":
                campaigns.remove(name)
                return json_answer(200, {"removed": name})
            case "GET":
                pass
            case _:
                return error(405, "GET, PATCH, PUT or DELETE")
        return Answer(200, campaigns.render_one(name).encode("utf-8", "surrogatepass"), JSON)


def memory() -> dict[str, int]:
    """What this process holds now and held at most, in bytes; nothing where it cannot be told."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    return {
        "rss_bytes": int(fields["VmRSS"].split()[0]) * 1024,
        "peak_rss_bytes": int(fields["VmHWM"].split()[0]) * 1024,
    }
