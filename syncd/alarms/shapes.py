"""What is sent?  A message as JSON, whose schema is in docs/notifications.md, or for Slack."""

import json
import uuid
from collections.abc import Callable
from typing import Any, Literal

from syncd.alarms import words
from syncd.config.settings import NotifySettings
from syncd.sync.alarm import Message, Told
from syncd.views.words import moment, plain, span

ICONS = {"firing": ":red_circle:", "recovered": ":large_green_circle:", "test": ":white_circle:"}
LONGEST = 2900  # characters; Slack takes 3000 in one block


def message(
    told: Told,
    receiver: NotifySettings,
    *,
    now: float,
    host: str,
    version: str,
    hide: Callable[[str], str],
) -> Message:
    """What one receiver is sent, under an id that no other message has."""
    number = f"msg_{uuid.uuid4().hex}"
    found = as_object(told, number=number, now=now, host=host, version=version, hide=hide)
    return Message(
        id=number,
        receiver=receiver.key,
        what=f"{told.alarm}, {told.state}",
        body=body(found, receiver.kind),
    )


def as_object(
    told: Told, *, number: str, now: float, host: str, version: str, hide: Callable[[str], str]
) -> dict[str, Any]:
    """All that is told; `now` is `told.at` in seconds since the epoch."""
    lasted = told.at - told.since
    return {
        "id": number,
        "at": moment(now),
        "alarm": told.alarm.kind,
        "state": told.state,
        "source": told.alarm.source or None,
        "stream": told.alarm.stream or None,
        "about": words.safe(told.alarm.about, hide) or None,
        "sentence": plain(words.sentence(told)),
        "reason": words.safe(told.reason, hide),
        "todo": words.safe(words.todo(told), hide),
        "since": moment(now - lasted),
        "lasted_seconds": round(lasted, 1),
        "syncd": {"version": version, "host": host},
    }


def body(found: dict[str, Any], kind: Literal["json", "slack"]) -> str:
    """The bytes that are sent; ASCII alone, so that they are the same wherever they lay."""
    return json.dumps(found if kind == "json" else _slack(found), separators=(",", ":"))


def _slack(found: dict[str, Any]) -> dict[str, Any]:
    lasted = f" after {span(found['lasted_seconds'])}" if found["state"] == "recovered" else ""
    title = f"{_escaped(found['sentence'])}{lasted}"
    beneath = [_escaped(found[part]) for part in ("reason", "todo") if found[part]]
    text = "\n".join([f"{ICONS[found['state']]} *{title}*", *beneath])[:LONGEST]
    where = _escaped(f"{found['alarm']} · syncd on {found['syncd']['host']}")
    return {
        "text": title,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": text}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": where}]},
        ],
    }


def _escaped(text: str) -> str:
    """Slack reads these three as the beginning of links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
