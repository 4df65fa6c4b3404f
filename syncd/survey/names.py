"""What are a source and its stream called, so that a person knows them again?"""

import ipaddress
import re

GENERIC = {
    *("api", "rest", "services", "data", "records", "list", "search", "query", "all", "public"),
    *("json", "graphql", "odata", "latest", "index"),
}
_VERSION = re.compile(r"v?\d+(\.\d+)*|v\d+[a-z]*\d*|\d{4}-\d\d(-\d\d)?")
_ID = re.compile(r"[0-9a-f]{12,}|[0-9a-f-]{36}|app[A-Za-z0-9]{14}|\d+")
SECOND = {"co", "com", "org", "net", "gov", "ac", "edu"}
"""Labels below a country's own that many share."""


def source_name(host: str) -> str:
    """`shop` of `api.shop.example`, or `api` where the host has no name of its own."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        labels = host.lower().rstrip(".").split(".")
    else:
        return "api"
    if len(labels) > 1:
        labels = labels[:-1]
    if len(labels) > 1 and labels[-1] in SECOND:
        labels = labels[:-1]
    name = labels[-1]
    return "api" if name in ("localhost", "api", "") else _simple(name, "api")


def stream_name(path: str) -> str:
    """What the path's last word calls the list."""
    parts = [part for part in path.split("/") if part]
    for part in reversed(parts):
        word = re.sub(r"\.(json|jsonld|php|aspx?)$", "", part, flags=re.IGNORECASE)
        plain = word.lower()
        if plain in GENERIC or _VERSION.fullmatch(plain) or _ID.fullmatch(word):
            continue
        return _simple(word, "records")
    return "records"


def _simple(word: str, instead: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word)
    return re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")[:40] or instead
