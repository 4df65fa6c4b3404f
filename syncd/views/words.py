"""How do times, counts and names read, wherever people read them?

Names, keys and reasons come from config files and APIs: they are shown as they are,
and with nothing in them that a terminal would obey.
"""

import math
import unicodedata
from datetime import UTC, datetime

from syncd.config.settings import BudgetSettings
from syncd.sync.model import spoken

TIED = "\ue000"  # a blank that no line is broken at; `plain` lets no other one through


def plain(text: str) -> str:
    """On one line, and escaped where it is not printable."""
    return printable(" ".join(text.split()))


def one_line(text: str) -> str:
    """The same, with the indent that is ours kept."""
    return text[: len(text) - len(text.lstrip(" "))] + plain(text)


def wide(text: str) -> int:
    """The columns that it takes on a screen."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def printable(text: str) -> str:
    """Escaped where it is not printable; its blanks stay."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def tied(text: str) -> str:
    """Words that stay together when a line is broken."""
    return text.replace(" ", TIED)


def untied(text: str) -> str:
    """For where lines are broken by others."""
    return text.replace(TIED, " ")


def as_written(payload: bytes) -> str:
    """A payload with its own line breaks, and escaped where it is no text."""
    text = payload.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def key_in_words(key: str | None) -> str:
    """A canonical key, a JSON array, as a person would say it."""
    return "(no key)" if key is None else plain(spoken(key))


# --- times ------------------------------------------------------------------------------------


def seconds(value: float) -> str:
    """A duration as a person says it: `4 s`, `3 min 10 s`, `2 h 5 min`."""
    whole = math.ceil(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def span(value: float) -> str:
    """A stretch of time, as exact as a glance needs: `12 s`, `4 min`, `2 h 5 min`, `3 days`."""
    whole = max(0, int(value))
    if whole < 60:
        return f"{whole} s"
    if whole < 86400:
        return seconds(whole - whole % 60)
    days = whole // 86400
    return "1 day" if days == 1 else f"{days} days"


def took(value: float) -> str:
    """How long something took: `0.4 s`, `12 s`, `3 min 10 s`, `2 h 5 min`."""
    if value < 10:
        return f"{max(0.0, value):.1f}".removesuffix(".0") + " s"
    whole = round(value)
    return seconds(whole) if whole < 3600 else span(whole)


def percent(share: float | None) -> str:
    """`99.5 %`; never 100 % unless it is all, and `-` of nothing."""
    if share is None:
        return "-"
    tenths = math.floor(share * 1000)
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10} %"


def ago(value: float) -> str:
    """How long ago that was."""
    return "just now" if value < 1 else f"{span(value)} ago"


def ahead(value: float) -> str:
    """How long it takes until then, rounded up: nobody comes back too early."""
    whole = math.ceil(max(0.0, value))
    unit = 1 if whole < 60 else 60 if whole < 86400 else 86400
    return span(math.ceil(whole / unit) * unit)


def moment(value: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if value is None:
        return None
    text = datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def clock(value: float) -> str:
    """For people: `2026-11-25 12:00:05`, in UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")


def time_of_day(value: float, now: float) -> str:
    """The same, without the date where that is today's: `12:00:05 UTC`."""
    day, _, time = clock(value).partition(" ")
    return f"{time} UTC" if clock(now).startswith(day) else f"{day} {time} UTC"


def limit_words(limit: BudgetSettings) -> str:
    """`10 requests in 60 s`, and for which paths."""
    under = f" under {', '.join(limit.paths)}" if limit.paths else ""
    return f"{number(limit.requests, 'request')} in {took(limit.per)}{under}"


def number(count: int, what: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
