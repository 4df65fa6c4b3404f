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

from syncd.api.contract import text_form
from syncd.api.decode import Envelope
from syncd.api.splitting import MalformedError

LONGEST = 7 * 86_400.0  # seconds; no API means more, and a slip must not stop us for ever
EPOCH_SECONDS = 1e9  # above this, a number is a point in time (2001 and later) …
EPOCH_MILLIS = 1e12  # … and above this, one in milliseconds
RESETS = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
REMAINING = ("x-ratelimit-remaining", "x-rate-limit-remaining", "ratelimit-remaining")

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
    reference = _date(headers.get("date", ""))
    if reference is None:
        reference = time.time() if now is None else now
    spent = any(headers.get(name, "").strip() == "0" for name in REMAINING)
    for name in ("retry-after", *(RESETS if refused or spent else ())):
        if name in headers:
            hint = seconds(headers[name], reference)
            if hint is not None:
                return hint
    text = _at(body, path)
    return None if text is None else seconds(text, reference)


def seconds(text: str, reference: float) -> float | None:
    """The wait that a number or a date stands for, seen from `reference` (epoch seconds)."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        value = float(text)
        if value > EPOCH_MILLIS:
            value = value / 1000 - reference
        elif value > EPOCH_SECONDS:
            value -= reference
    else:
        moment = _date(text)
        if moment is None:
            return None
        value = moment - reference
    return min(value, LONGEST) if value > 0 and math.isfinite(value) else None


def _date(text: str) -> float | None:
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
    try:
        return text_form(Envelope(body).at(path))
    except (MalformedError, ValueError):
        return None
