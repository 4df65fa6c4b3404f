"""How far has an incremental stream come, and what is asked for next?  Pure.

A high-water mark is the server's own text, kept as it came and compared as what it means: an
instant, or a number.  What is asked for is never later than the mark: it is the mark itself, or
an instant before it, rounded down to what the server writes.

Sources: RFC 3339 and ISO 8601 for instants; nothing is lost of a fraction, however long.
"""

import datetime as dt
import re
from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal, InvalidOperation

import attrs

from syncd.api.columns import text_of
from syncd.api.shown import shown
from syncd.config.settings import IncrementalSettings
from syncd.errors import UnexpectedAnswer
from syncd.zones import zone

_TIME = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:(?P<between>[Tt ])(?P<clock>\d{2}:\d{2}(?::\d{2})?)(?:[.,](?P<fraction>\d{1,30}))?"
    r"(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
UNITS = {"epoch": 1, "epoch-ms": 1000}


@attrs.frozen
class Marks:
    """The high-water marks of one stream."""

    settings: IncrementalSettings

    def highest(self, values: Iterable[bytes | None]) -> str | None:
        """The highest of these JSON values, as text; None if there is none.

        Null is no mark.  Raises UnexpectedAnswer for a value that is none of the kind.
        """
        found: str | None = None
        for value in values:
            if value is None or value == b"null":
                continue
            found = self.higher(found, self._text(value))
        return found

    def higher(self, one: str | None, other: str | None) -> str | None:
        """The higher of two marks; the first if they are equal."""
        if one is None or other is None:
            return one if other is None else other
        return other if self._value(other) > self._value(one) else one

    def bounded(self, mark: str, now: float) -> str:
        """The mark, but never above the server's clock minus the lag: what is still being
        committed there may be older than what was seen (`now`: epoch seconds).
        """
        settings = self.settings
        if settings.kind == "number":
            return mark
        most = (Decimal(now) - Decimal(settings.lag)) * UNITS.get(settings.kind, 1)
        return mark if self._value(mark) <= most else self._written(most, mark)

    def asked(self, mark: str) -> str:
        """What the request sends, so that nothing at or after the mark is left out."""
        settings = self.settings
        back = Decimal(settings.lookback) + self._turned_back(mark)
        if settings.kind == "number" or not back:
            return mark
        return self._written(self._value(mark) - back * UNITS.get(settings.kind, 1), mark)

    def _turned_back(self, mark: str) -> int:
        """Seconds by which the clock of a stamp without a zone is turned back within a day.

        What it writes afterwards is lower than what it wrote before, for so long.
        """
        if self.settings.kind != "time" or self.settings.zone is None:
            return 0
        moment = _EPOCH + dt.timedelta(seconds=_floor(self._value(mark)))
        there = zone(self.settings.zone)
        days = ((moment + dt.timedelta(days=n)).astimezone(there) for n in (-1, 0, 1))
        offsets = [day.utcoffset() or dt.timedelta(0) for day in days]
        turned = max(offsets[0] - offsets[1], max(offsets[:2]) - offsets[2], dt.timedelta(0))
        return int(turned.total_seconds())

    def _text(self, value: bytes) -> str:
        text = text_of(value) if value[:1] == b'"' else value.decode("ascii", "replace")
        if text is None:
            raise self._wrong(value.decode("utf-8", "replace"))
        self._value(text)
        return text

    def _value(self, text: str) -> Decimal:
        """What a mark means: seconds or milliseconds since the epoch, or the number itself."""
        if self.settings.kind == "time":
            return self._instant(text)
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise self._wrong(text) from None
        if not number.is_finite():
            raise self._wrong(text)
        return number

    def _instant(self, text: str) -> Decimal:
        found = _TIME.fullmatch(text.strip())
        if found is None:
            raise self._wrong(text)
        try:
            clock = found["clock"] or "00:00"
            moment = dt.datetime.fromisoformat(f"{found['date']}T{clock}")
            moment = moment.replace(tzinfo=self._zone(found["zone"], text))
            seconds = Decimal(int((moment - _EPOCH).total_seconds()))
        except (ValueError, OverflowError):
            raise self._wrong(text) from None
        return seconds + Decimal(f"0.{found['fraction'] or 0}")

    def _zone(self, written: str | None, text: str) -> dt.tzinfo:
        if written in ("Z", "z"):
            return dt.UTC
        if written is not None:
            digits = written[1:].replace(":", "").ljust(4, "0")
            offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            return dt.timezone(-offset if written[0] == "-" else offset)
        if self.settings.zone is None:
            raise UnexpectedAnswer(
                f"`{self.settings.field}` says no time zone: {shown(text)}",
                hint='Say which it means: `incremental.zone = "UTC"`',
            )
        return zone(self.settings.zone)

    def _written(self, value: Decimal, like: str) -> str:
        """A value as the server writes its own, rounded down."""
        if self.settings.kind != "time":
            return str(_floor(value))
        found = _TIME.fullmatch(like.strip())
        if found is None:
            raise self._wrong(like)
        zone = self._zone(found["zone"], like)
        whole = _floor(value)
        moment = (_EPOCH + dt.timedelta(seconds=whole)).astimezone(zone)
        if found["clock"] is None:
            return moment.date().isoformat()
        places = len(found["fraction"] or "")
        digits = str(int((value - whole) * 10**places)).rjust(places, "0")
        clock = moment.strftime("%H:%M:%S" if found["clock"].count(":") == 2 else "%H:%M")
        fraction = f".{digits}" if places else ""
        return f"{moment.date()}{found['between']}{clock}{fraction}{found['zone'] or ''}"

    def _wrong(self, text: str) -> UnexpectedAnswer:
        what = {
            "time": 'an instant, such as "2026-01-31T12:00:00Z"',
            "number": "a number",
            "epoch": "seconds since 1970",
            "epoch-ms": "milliseconds since 1970",
        }[self.settings.kind]
        return UnexpectedAnswer(
            f"`{self.settings.field}`, by which the stream goes on, is {shown(text)}; it must be "
            f"{what}",
            hint="Check `incremental.field` and `incremental.kind`",
        )


def _floor(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_FLOOR))
