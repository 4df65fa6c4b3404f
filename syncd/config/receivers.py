"""Who is told when something needs a person?  `[[notify]]`, and a stream's `heartbeat`.

An address may be a secret by itself (a Slack one lets whoever has it write there), so each is
kept as one, also where it stands in the file.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from syncd.config.hosts import is_address
from syncd.config.reading import REFERENCES, REQUIRED, Node, dotted
from syncd.config.settings import (
    ALARMS,
    STANDARD,
    UNRESOLVED,
    NotifySettings,
    Secret,
    SourceSettings,
    signing_key,
)
from syncd.errors import Fault

ADDRESS = 'an http or https address with a host, such as "https://hooks.example.com/syncd"'
WATCH = 'an http or https address with a host, such as "https://watch.example.com/ping/orders"'
WHEN = re.compile(r"\.(every|zone|cron(\[\d+\])?)$")  # paths of what says how often
SHORTEST = 16  # bytes of a secret; what is shorter can be guessed


def read_receivers(node: Node, sources: Mapping[str, SourceSettings]) -> tuple[NotifySettings, ...]:
    """Every `[[notify]]`."""
    found: list[NotifySettings] = []
    for place, table in node.list_of_tables("notify"):
        receiver = _receiver(place, table, sources)
        table.finish()
        known = receiver.url.reveal() not in ("", UNRESOLVED)
        if (known or table.has("name")) and receiver.key in {other.key for other in found}:
            table.fault("name", "another [[notify]] has this name, or this `url` and no name; "
                        "give each a name of its own")  # fmt: skip
        found.append(receiver)
    return tuple(found)


def _receiver(place: int, table: Node, sources: Mapping[str, SourceSettings]) -> NotifySettings:
    url = _address(table, "url", ADDRESS)
    kind = table.choice("kind", ["json", "slack"], "json")
    name = table.text("name", "")
    on = _chosen(table, "on", ALARMS, "alarm")
    receiver = NotifySettings(
        name=name or f"notify[{place}]",
        key=name or hashlib.sha256(url.reveal().encode()).hexdigest()[:16],
        url=url,
        kind=kind,
        secret=_secret(table, required=kind == "json"),
        on=on or ALARMS,
        sources=_chosen(table, "sources", sources, "source"),
        after=table.duration("after", 300.0, zero=True),
        repeat=table.duration("repeat", 86400.0, zero=True),
        max_age=table.duration("max_age", None),
        timeout=table.duration("timeout", 10.0),
    )
    if "data-too-old" in on and not table.has("max_age"):
        table.fault("max_age", "missing; `on` names data-too-old: say here from which age on it is")
    _check_age(table, receiver, sources)
    return receiver


def _check_age(
    table: Node, receiver: NotifySettings, sources: Mapping[str, SourceSettings]
) -> None:
    """Note an age that the data of none of its streams stays below."""
    if not receiver.sources and "sources" in table.values:
        return  # that they are wrong is told already
    if any(WHEN.search(fault.path) for fault in table.faults):
        return
    streams = {
        dotted("sources", source.name, "streams", stream.name): stream
        for source in sources.values()
        if source.name in (receiver.sources or sources)
        for stream in source.streams.values()
    }
    if receiver.max_age is None or not streams:
        return
    shortest = min(streams, key=lambda path: streams[path].interval)
    interval = streams[shortest].interval
    if receiver.max_age >= interval:
        return
    key = "cron" if streams[shortest].cron else "every"
    often = f"{dotted(shortest, key)} ({interval:g}s), the shortest of its streams"
    table.wrong("max_age", table.values["max_age"], f"no shorter than {often}")


def read_heartbeat(node: Node) -> Secret | None:
    """A stream's heartbeat; the empty text takes back what a source that it is like has."""
    if not node.has("heartbeat") or node.values["heartbeat"] == "":
        return None
    return _address(node, "heartbeat", WATCH)


def refuse_shared_heartbeats(sources: Mapping[str, SourceSettings], faults: list[Fault]) -> None:
    """A heartbeat that two streams keep up would hide that one of them is dead."""
    first: dict[str, str] = {}
    for source in sources.values():
        for stream in source.streams.values():
            if stream.heartbeat is None or not stream.heartbeat.value:
                continue
            value, origin = stream.heartbeat.value, stream.heartbeat.origin
            path = dotted("sources", source.name, "streams", stream.name)
            there = first.setdefault(origin if value == UNRESOLVED else value, path)
            if there != path:
                message = (
                    f"{there} has the same, so that one would hide the other's silence; "
                    'each needs one of its own ("" for none)'
                )
                faults.append(Fault(path=dotted(path, "heartbeat"), message=message))


def _address(node: Node, key: str, allowed: str) -> Secret:
    value = node.text_or_secret(key)
    if value is REQUIRED:
        return Secret("", "nowhere")
    url = value if isinstance(value, Secret) else Secret(value, node.at(key))
    if isinstance(value, str) and "@" in value:
        node.fault(key, "it holds an '@': credentials don't stand in the file; keep the whole "
                   "address as a secret, by reference")  # fmt: skip
    elif url.reveal() not in ("", UNRESOLVED) and not (
        is_address(url.reveal()) and "#" not in url.reveal()
    ):
        # Not shown: it may be a secret.
        node.fault(key, f"it must be {allowed}")
    return url


def _secret(table: Node, *, required: bool) -> Secret | None:
    value: Any = table.values.get("secret")
    if not isinstance(value, dict):
        there = table.has("secret")
        if there or required:
            what = "a secret's value must not stand in the file" if there else "missing"
            table.fault(
                "secret",
                f"{what}; what signs the messages is named by reference: {REFERENCES}",
            )
        return None
    secret: Secret = table.text_or_secret("secret")
    if secret.value and secret.value != UNRESOLVED and len(signing_key(secret)) < SHORTEST:
        allowed = f"at least {SHORTEST} bytes, or '{STANDARD}' and as many in base64"
        table.fault("secret", f"it is too short, or no base64; it must be {allowed}")
    return secret


def _chosen(table: Node, key: str, known: Collection[str], what: str) -> tuple[str, ...]:
    """Some of what is known; all of it goes without saying."""
    if table.values.get(key) == []:
        table.has(key)
        table.fault(key, f"found an empty list; leave it out for every {what}")
        return ()
    found = table.texts(key, (), filled=True, example=next(iter(known), what))
    for name in found:
        if name not in known:
            listed = ", ".join(known) or "none"
            table.fault(key, f"there is no {what} {name!r}; known: {listed}")
    return tuple(name for name in found if name in known)
