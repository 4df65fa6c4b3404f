"""A site of Django REST framework with tokens, and of Django OAuth Toolkit with refresh tokens
that change each time.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.real.places import DJANGO
from tests.real.records import MANY, record
from tests.real.running import free_port, serving
from tests.real.server import Server

SITE = Path(__file__).parent / "sites" / "shop.py"
TOKEN = "canary-rest-token"
CLIENT_SECRET = "canary-client-secret"
REFRESH_TOKEN = "canary-first-refresh-token"
TOKEN_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

COLUMNS = """
id = "bigint"
sku = "text"
name = "text"
price = "numeric"
stock = "bigint"
active = "boolean"
since = "date"
note = "text"
tags = "jsonb"
updated_at = "timestamptz"
"""

WITH_TOKEN = """
[sources.shop.auth]
kind = "api-key"
header = "Authorization"
prefix = "Token "
key = { env = "SHOP_TOKEN" }
"""

WITH_REFRESH_TOKEN = """
[sources.shop.auth]
kind = "refresh-token"
url = "/o/token/"
client_id = { env = "SHOP_CLIENT_ID" }
client_secret = { env = "SHOP_CLIENT_SECRET" }
refresh_token = { env = "SHOP_REFRESH_TOKEN" }
"""

WITH_CLIENT = """
[sources.shop.auth]
kind = "client-credentials"
url = "/o/token/"
client_id = { env = "SHOP_CLIENT_ID" }
client_secret = { env = "SHOP_CLIENT_SECRET" }
"""


@attrs.define(eq=False, kw_only=True)
class Shop(Server):
    """One list of the site."""

    http: httpx.Client
    listed: str = "things"
    page: str = 'kind = "url", size = 25, size_param = "page_size", total = "count"'
    auth: str = WITH_TOKEN

    @property
    def address(self) -> str:
        return f"/api/{self.listed}/"

    @property
    def options(self) -> list[str]:
        if self.auth == WITH_TOKEN:
            header = ["--api-key-header", "Authorization", "--api-key-prefix", "Token "]
            return ["--api-key-env", "SHOP_TOKEN", *header]
        of_client = ["SHOP_CLIENT_ID", "SHOP_CLIENT_SECRET"]
        if self.auth == WITH_CLIENT:
            return ["--client-env", *of_client, "--token-url", "/o/token/"]
        access = ["--bearer-env", "SHOP_ACCESS_TOKEN", "--token-key-env", "TOKEN_KEY"]
        refresh = ["--refresh-env", *of_client, "SHOP_REFRESH_TOKEN", "--token-url", "/o/token/"]
        return [*access, *refresh]

    @property
    def source(self) -> str:
        return f"""
{self.auth}
[sources.shop.streams.things]
path = "{self.address}"
records = "results"
key = ["id"]
page = {{ {self.page} }}

[sources.shop.streams.things.columns]
{COLUMNS}
"""

    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        number = 1
        while len(found) == 200 * (number - 1):
            asked = {"page": number, "page_size": 200}
            answer = self.http.get("/api/things/", params=asked).raise_for_status()
            found += answer.json()["results"]
            number += 1
        return found

    def add(self, values: Mapping[str, Any]) -> None:
        self.http.post("/api/things/", json=values).raise_for_status()

    def change(self, key: Any, values: Mapping[str, Any]) -> None:
        self.http.patch(f"/api/things/{key}/", json=values).raise_for_status()

    def remove(self, key: Any) -> None:
        self.http.delete(f"/api/things/{key}/").raise_for_status()


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    port = free_port()
    things = folder / "things.json"
    things.write_text(json.dumps([record(n) for n in range(MANY)]), "utf-8")
    secrets = {
        "SHOP_TOKEN": TOKEN,
        "SHOP_CLIENT_SECRET": CLIENT_SECRET,
        "SHOP_REFRESH_TOKEN": REFRESH_TOKEN,
        "SHOP_ACCESS_TOKEN": "canary-first-access-token",
    }
    env = {**secrets, "SHOP_RECORDS": str(things)}
    program = str(DJANGO.folder() / "bin" / "python")
    command = [program, str(SITE), str(port), str(folder / "shop.sqlite")]
    headers = {"Authorization": f"Token {TOKEN}"}
    base = f"http://127.0.0.1:{port}"
    with serving(command, port, folder, env), httpx.Client(base_url=base, headers=headers) as http:
        secrets |= {"SHOP_CLIENT_ID": "syncd", "TOKEN_KEY": TOKEN_KEY}
        yield Shop(port=port, http=http, env=secrets)
