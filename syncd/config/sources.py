"""What does `[sources.NAME]` say: its address, credentials, budget, and streams?"""

import re
import urllib.parse
from collections.abc import Iterator

from syncd.config.auth import read_auth, read_tls
from syncd.config.budgets import Budgets, check_costs, own_budget
from syncd.config.hosts import check_address
from syncd.config.names import HEADER, refuse_name
from syncd.config.pages import sent_by
from syncd.config.reading import REQUIRED, Node
from syncd.config.rules import check_rules, read_rules
from syncd.config.settings import (
    KeyAuth,
    Secret,
    SourceSettings,
    StreamSettings,
)
from syncd.config.streams import read_stream

PLAIN = re.compile(r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")

FRAMING = {"content-length", "transfer-encoding", "connection", "host"}
"""Headers that the HTTP client writes itself; a second one would garble the request."""

OURS = FRAMING | {"accept", "accept-encoding", "content-type", "user-agent"}
"""All that syncd writes; a key in the place of one would not arrive, or spoil the answer."""


def read_source(name: str, node: Node, budgets: Budgets) -> SourceSettings:
    """One source, with what it takes from the one that it is `like`."""
    refuse_name(node, "", name, "a source's name")
    node.has("like")  # taken into account already
    base_url = node.text("base_url", REQUIRED, 'an address such as "https://api.example.com"')
    if base_url is not REQUIRED:
        check_address(node, "base_url", base_url)
    source = SourceSettings(
        name=name,
        base_url=base_url,
        headers=_headers(node),
        auth=read_auth(node),
        tls=read_tls(node),
        budget=own_budget(name, node, budgets),
        timeout=node.duration("timeout", 15.0),
        retries=node.count("retries", 5, least=0, most=100),
        backoff=node.duration("backoff", 1.0),
        connections=node.count("connections", 10, most=1000),
        keepalive=node.duration("keepalive", 4.0, zero=True),
        max_body=node.size("max_body", 64 * 2**20),
        retry_after=node.path_or_none("retry_after", "retry_after"),
        errors=read_rules(node),
        ratelimit_headers=node.flag("ratelimit_headers", default=True),
        streams={n: read_stream(n, child) for n, child in node.tables("streams")},
    )
    _check_auth(node, source)
    _check_key_headers(node, source)
    _check_concurrency(node, source)
    check_rules(node, source)
    check_costs(node, source)
    node.finish()
    return source


def _headers(node: Node) -> dict[str, str | Secret]:
    table = node.table("headers")
    found: dict[str, str | Secret] = {}
    if table is None:
        return found
    spelt: dict[str, str] = {}
    for name in table.values:
        value = table.text_or_secret(name, "")
        text = value.reveal() if isinstance(value, Secret) else value
        first = spelt.setdefault(name.lower(), name)
        if not HEADER.fullmatch(name):
            table.fault(name, "a header's name is made of letters, figures and dashes")
        elif name.lower() in FRAMING:
            table.fault(name, "syncd writes this header itself; leave it out")
        elif name.lower() == "authorization" and "auth" in node.values:
            table.fault(name, "`auth` makes this header; leave one of them out")
        elif first != name:
            table.fault(name, f"it is the same header as {first!r}; leave one of them out")
        elif text and not PLAIN.fullmatch(text):
            # Not shown: it may be a secret.
            table.fault(
                name,
                "a header's value is ASCII, with no line breaks or control characters "
                "and no blank at its ends",
            )
        else:
            found[name] = value
    return found


def _check_auth(node: Node, source: SourceSettings) -> None:
    """Note a key that stands where something else is sent."""
    auth = source.auth
    if not isinstance(auth, KeyAuth):
        return
    if auth.header is not None and auth.header.lower() in OURS:
        message = f"syncd writes {auth.header!r} itself; name the header that the API wants"
        node.fault_at(("auth", "header"), message)
    elif auth.header is not None and auth.header.lower() in map(str.lower, source.headers):
        message = f"{auth.header!r} stands in the source's `headers`, too; leave one of them out"
        node.fault_at(("auth", "header"), message)
    for name, stream in source.streams.items() if auth.query is not None else ():
        if auth.query in set(_queries(stream)):
            message = f"the stream {name} sends a parameter {auth.query!r} already"
            node.fault_at(("auth", "query"), message)
            break


def _check_concurrency(node: Node, source: SourceSettings) -> None:
    """Note calls of which fewer could be under way than somebody has written."""
    for name, stream in source.streams.items():
        call, most = stream.call, source.connections
        if call is None or call.concurrency <= most:
            continue
        if "concurrency" in node.values["streams"][name]["call"]:
            message = (
                f"it is {call.concurrency}, but no more than the source's `connections`, "
                f"{most}, are under way at once; raise these, or lower it"
            )
            node.fault_at(("streams", name, "call", "concurrency"), message)


def _queries(stream: StreamSettings) -> Iterator[str]:
    """The parameters that its requests have in their queries."""
    yield from stream.params
    if stream.search is None or stream.search.place == "query":
        yield from sent_by(stream.page)
    if stream.call is not None:
        verify = stream.call.verify
        for path in (stream.call.path, *([verify.path] if verify else [])):
            query = path.partition("?")[2]
            yield from (n for n, _ in urllib.parse.parse_qsl(query, keep_blank_values=True))


def _check_key_headers(node: Node, source: SourceSettings) -> None:
    names = {name.lower() for name in source.headers} | FRAMING | {"authorization"}
    if isinstance(source.auth, KeyAuth) and source.auth.header is not None:
        names.add(source.auth.header.lower())
    for name, stream in source.streams.items():
        call = stream.call
        if call is not None and call.sends_key and call.key_header.lower() in names:
            path = ("streams", name, "call", "key_header")
            message = (
                f"{call.key_header!r} stands in the source's headers or is made by syncd; "
                "each call needs a key of its own"
            )
            node.fault_at(path, message)
