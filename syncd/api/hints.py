"""How long does the other side ask us to wait?

Pure: an answer's headers and body in, seconds out, or None if it says nothing
usable.  Zero, the past, nan and nonsense are no hint; our own backoff decides then.
"""

import codecs
import datetime as dt
import email.utils
import math
import re
import time
from collections.abc import Mapping

from syncd.api.decode import Envelope, text_at

LONGEST = 7 * 86_400.0  # seconds; no API means more, and a slip must not stop us for ever
EPOCH_SECONDS = 1e9  # above this, a number is a point in time (2001 and later) …
EPOCH_MILLIS = 1e12  # … and above this, one in milliseconds
RESETS = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
REMAINING = ("x-ratelimit-remaining", "x-rate-limit-remaining", "ratelimit-remaining")

LONGEST_HEADER = 1000  # characters of a RateLimit header; a longer one is no hint
_STRING = r'"(?:[^"\\]|\\["\\])*"'
_MEMBER = re.compile(
    rf"[ \t]*(?P<name>{_STRING}|[\w*.:/%-]+)(?:=(?P<value>\d+))?"
    rf"(?P<params>(?:[ \t]*;[ \t]*[a-z*][\w.*-]*(?:=(?:{_STRING}|[^\s,;\"]+))?)*)[ \t]*(?:,|$)",
    re.ASCII,
)
_PARAM = re.compile(rf"([a-z*][\w.*-]*)=({_STRING}|[^\s,;\"]+)", re.ASCII)
_NUMBER = re.compile(r"\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", re.ASCII)


def wait_hint(
    headers: Mapping[str, str],
    body: bytes,
    path: str | None,
    *,
    refused: bool,
    now: float | None = None,
) -> float | None:
    """The wait that an answer asks for; a header wins over the body.

    headers: with lower-case names.
    refused: it is a 429.  Many APIs tell with every answer when their window ends: in another
    one that asks for a wait only if nothing is left of the quota.
    now: our wall clock, used only where the answer has no Date: the server's dates are
    measured by the server's clock.
    """
    reference = date_of(headers.get("date", ""))
    if reference is None:
        reference = time.time() if now is None else now
    spent = any(headers.get(name, "").strip() == "0" for name in REMAINING)
    for name in ("retry-after", *(RESETS if refused or spent else ())):
        if name in headers:
            hint = seconds(headers[name], reference)
            if hint is not None:
                return hint
    hint = _combined(headers, reference, refused=refused)
    if hint is not None:
        return hint
    text = _at(body, path)
    return None if text is None else seconds(text, reference)


def _combined(headers: Mapping[str, str], reference: float, *, refused: bool) -> float | None:
    """What the one RateLimit header of the IETF's draft asks for.

    In its newer form, `"minute";r=0;t=30, "day";r=900;t=4000`, it tells of several quotas: those
    of which nothing is left count, and the longest of them.  In the older one,
    `limit=10, remaining=0, reset=30`, of one.  Where no end is told, RateLimit-Policy tells how
    long the window is.
    """
    quotas = quotas_of(headers.get("ratelimit", ""))
    windows = {name: of.get("w") for name, of in members(headers.get("ratelimit-policy", ""))}
    spent = [name for name, of in quotas.items() if of.get("r") == "0"]
    if not spent and refused and len(quotas) == 1:
        spent = [*quotas]  # a refusal says itself that nothing is left, though not of which
    ends = [quotas[name].get("t") or windows.get(name) for name in spent]
    waits = [seconds(end, reference) for end in ends if end]
    return max((wait for wait in waits if wait is not None), default=None)


def quotas_of(header: str) -> dict[str, dict[str, str]]:
    """By name, what is left (`r`) and when that changes (`t`)."""
    found = members(header)
    told = {name: of["="] for name, of in found if "=" in of}
    if not told:
        return dict(found)
    older = {"r": told.get("remaining"), "t": told.get("reset")}
    # A policy of that form has its limit for a name: `RateLimit-Policy: 10;w=60`.
    return {told.get("limit", ""): {k: v for k, v in older.items() if v is not None}}


def members(header: str) -> list[tuple[str, dict[str, str]]]:
    """The members of a structured list with their parameters; none if any of it is malformed."""
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(header) <= LONGEST_HEADER:
        member = _MEMBER.match(header, at)
        if member is None:
            return []
        of = dict(_PARAM.findall(member["params"]))
        if member["value"] is not None:
            of["="] = member["value"]
        found.append((member["name"], of))
        at = member.end()
    return found


def seconds(text: str, reference: float) -> float | None:
    """The wait that a number or a date stands for, seen from `reference` (epoch seconds)."""
    value = ahead(text, reference)
    return None if value is None or value <= 0 else min(value, LONGEST)


def ahead(text: str, reference: float) -> float | None:
    """How far ahead a number or a date is, as it is written; None if it is neither."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        value = float(text)
        if value > EPOCH_MILLIS:
            value = value / 1000 - reference
        elif value > EPOCH_SECONDS:
            value -= reference
    else:
        moment = date_of(text)
        if moment is None:
            return None
        value = moment - reference
    return value if math.isfinite(value) else None


def clock_of(headers: Mapping[str, str]) -> float:
    """The server's clock when it answered, in epoch seconds; ours if it does not say."""
    said = date_of(headers.get("date", ""))
    return time.time() if said is None else said


def date_of(text: str) -> float | None:
    """An HTTP date, with or without "GMT", or an ISO 8601 one, as epoch seconds."""
    if not text or len(text) > 100:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        return None


def _at(body: bytes, path: str | None) -> str | None:
    body = body.removeprefix(codecs.BOM_UTF8)
    if path is None or not body.lstrip().startswith(b"{"):
        return None
    return text_at(Envelope(body), path)
