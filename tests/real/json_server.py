"""json-server: a bare array; pages only where they are asked for, then with a Link header."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.real.places import JSON_SERVER
from tests.real.records import MANY, record
from tests.real.running import free_port, serving
from tests.real.server import Server


@attrs.define(eq=False, kw_only=True)
class JsonServer(Server):
    """One list."""

    http: httpx.Client
    paged: bool = True

    @property
    def address(self) -> str:
        return "/things?_page=1" if self.paged else "/things"

    @property
    def source(self) -> str:
        return """
[sources.jsonserver.streams.things]
path = "/things"
params = { _page = 1, _sort = "id" }
key = ["id"]
page = { kind = "link", size = 25, size_param = "_limit" }

[sources.jsonserver.streams.things.columns]
id = "bigint"
sku = "text"
name = "text"
price = "numeric"
stock = "bigint"
active = "boolean"
since = "date"
note = "text"
tags = "jsonb"
"""

    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/things").raise_for_status().json()
        return found

    def add(self, values: Mapping[str, Any]) -> None:
        self.http.post("/things", json=values).raise_for_status()

    def change(self, key: Any, values: Mapping[str, Any]) -> None:
        self.http.patch(f"/things/{key}", json=values).raise_for_status()

    def remove(self, key: Any) -> None:
        self.http.delete(f"/things/{key}").raise_for_status()


@contextmanager
def json_server(folder: Path) -> Iterator[JsonServer]:
    port = free_port()
    file = folder / "db.json"
    things = [{"id": n + 1, **record(n)} for n in range(MANY)]
    file.write_text(json.dumps({"things": things}), "utf-8")
    program = JSON_SERVER.folder() / "node_modules" / ".bin" / "json-server"
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--quiet", str(file)]
    with serving(command, port, folder), httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        yield JsonServer(port=port, http=http)
