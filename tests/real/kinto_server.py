"""Kinto: the next page's address in a header, ETags, tombstones; records in memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.real.places import KINTO
from tests.real.records import MANY, record
from tests.real.running import free_port, serving
from tests.real.server import Server

LIST = "/v1/buckets/shop/collections/things/records"

SETTINGS = """
[app:main]
use = egg:kinto
kinto.storage_backend = kinto.core.storage.memory
kinto.permission_backend = kinto.core.permission.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.paginate_by = 60
kinto.userid_hmac_secret = canary
multiauth.policies = basicauth
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = {port}
threads = 2
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARN
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(message)s
"""

# The account that owns the bucket; Kinto makes one of any name and password.
WHO = ("founder", "canary-kinto")


@attrs.define(eq=False, kw_only=True)
class Kinto(Server):
    """One collection."""

    http: httpx.Client

    @property
    def address(self) -> str:
        return LIST

    @property
    def options(self) -> list[str]:
        return ["--basic-env", "KINTO_USER", "KINTO_PASSWORD"]

    @property
    def source(self) -> str:
        return f"""
[sources.kinto.auth]
kind = "basic"
username = {{ env = "KINTO_USER" }}
password = {{ env = "KINTO_PASSWORD" }}

[sources.kinto.streams.things]
path = "{LIST}"
records = "data"
key = ["id"]
page = {{ kind = "url", header = "Next-Page", size = 25, size_param = "_limit" }}

[sources.kinto.streams.things.columns]
id = "uuid"
last_modified = "bigint"
sku = "text"
name = "text"
price = "numeric"
stock = "bigint"
active = "boolean"
since = "date"
note = "text"
tags = "jsonb"
"""

    def tick(self) -> None:
        """Wait until its clock, which tells seconds, has left behind all that has happened."""
        began = self.http.get("/v1/").headers["Date"]
        while self.http.get("/v1/").headers["Date"] == began:
            pass

    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        address: str | None = f"{LIST}?_sort=id"
        while address:
            answer = self.http.get(address).raise_for_status()
            found += answer.json()["data"]
            address = answer.headers.get("Next-Page")
        return found

    def add(self, values: Mapping[str, Any]) -> None:
        self.http.post(LIST, json={"data": values}).raise_for_status()

    def change(self, key: Any, values: Mapping[str, Any]) -> None:
        self.http.patch(f"{LIST}/{key}", json={"data": values}).raise_for_status()

    def remove(self, key: Any) -> None:
        self.http.delete(f"{LIST}/{key}").raise_for_status()


@contextmanager
def kinto(folder: Path) -> Iterator[Kinto]:
    port = free_port()
    settings = folder / "kinto.ini"
    settings.write_text(SETTINGS.format(port=port), "utf-8")
    command = [str(KINTO.folder() / "bin" / "kinto"), "start", "--ini", str(settings)]
    base = f"http://127.0.0.1:{port}"
    with serving(command, port, folder), httpx.Client(base_url=base, auth=WHO) as http:
        http.put("/v1/buckets/shop").raise_for_status()
        http.put("/v1/buckets/shop/collections/things").raise_for_status()
        for first in range(0, MANY, 25):  # the most that a batch takes
            requests = [
                {"method": "POST", "path": LIST, "body": {"data": record(n)}}
                for n in range(first, min(first + 25, MANY))
            ]
            http.post("/v1/batch", json={"requests": requests}).raise_for_status()
        env = dict(zip(("KINTO_USER", "KINTO_PASSWORD"), WHO, strict=True))
        yield Kinto(port=port, http=http, env=env)
