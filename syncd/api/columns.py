"""May this JSON value go into a column of that type, and what key does it make?

Values are judged as the API wrote them and never touched.  What Postgres would
refuse is refused here, where it costs one record and no round trip; what Postgres
would take for something else (`now`, `infinity`) is refused as well.  Numbers in
strings are taken: many APIs send money and large ids so, and nothing is lost.

Where this lets something pass that Postgres refuses after all, the store finds it
by halving the page.
"""

import datetime as dt
import json
import re
import struct
from collections.abc import Callable
from decimal import Decimal

import attrs
import msgspec

from syncd.api.splitting import depth

DIGITS_BEFORE = 131_072  # of a numeric, before the point (Postgres, table 8.2)
DIGITS_AFTER = 16_383
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is in the arithmetic
NESTING = 500  # levels of a jsonb value; Postgres itself gives up at some thousands

_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_number = re.compile(_NUMBER).fullmatch
_whole = re.compile(rb"-?(?:0|[1-9][0-9]*)").fullmatch
_parts = re.compile(rb"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?").fullmatch
_strings = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_escapes = re.compile(rb"\\(u0000|.)", re.DOTALL)
_large_number = re.compile(rb"[eE][+-]?[0-9]{4,}|[0-9]{15000,}")
_uuid = re.compile(rb'"\{?([0-9a-fA-F]{4}(?:-?[0-9a-fA-F]{4}){7})\}?"').fullmatch
_instant = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8})"
    r"(?:[Tt ](?P<h>[01]\d|2[0-4])(?::?(?P<m>[0-5]\d)(?::?(?P<s>[0-5]\d|60)(?:[.,](?P<f>\d+))?)?)?"
    r" ?(?P<zone>[Zz]|[+-](?:0\d|1[0-5])(?::?[0-5]\d(?::?[0-5]\d)?)?)?)?",
    re.ASCII,
).fullmatch
_text = msgspec.json.Decoder(str).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode

Check = Callable[[bytes], str | None]
"""None if the value fits, else what is wrong with it or what is allowed, in words."""


@attrs.frozen(kw_only=True, eq=False)
class ColumnType:
    """What is known of one Postgres type."""

    fits: Callable[[bytes], object]
    """A quick look: true for nearly all values that fit, never for one that does not."""

    check: Check
    """The whole truth, asked when the quick look says no."""

    canonical: Callable[[bytes], object]
    """Equal for two values that are equal in Postgres; serialised into the record's key."""


NUL = "it holds \\u0000, which Postgres cannot store"


def kind_of(value: bytes) -> str:
    """What JSON calls it, for a reason."""
    first = value[:1]
    if first == b"n":
        return "null"
    kinds = {b"{": "an object", b"[": "a list", b'"': "a string", b"t": "true", b"f": "false"}
    return kinds.get(first, "a number")


def text_of(value: bytes) -> str | None:
    """A JSON string's text, or None if it is none or cannot be told."""
    if value[:1] != b'"':
        return None
    try:
        return _text(value)
    except (msgspec.MsgspecError, UnicodeError):
        return None


# --- text -------------------------------------------------------------------------------


def _check_text(value: bytes) -> str | None:
    if value[:1] == b'"':
        return _check_string(value)
    return None if _number(value) else "allowed: a string or a number"


def _check_string(value: bytes) -> str | None:
    try:
        text = _text(value)
    except UnicodeError:
        return "it is not UTF-8"
    except msgspec.MsgspecError:
        return "it is not a valid JSON string (a lone surrogate or a control character)"
    return NUL if "\x00" in text else None


def _canonical_text(value: bytes) -> object:
    return _text(value) if value[:1] == b'"' else value.decode()


# --- numbers ----------------------------------------------------------------------------


def _bare(value: bytes) -> bytes:
    return value[1:-1] if value[:1] == b'"' else value


def _whole_number(bits: int) -> ColumnType:
    limit = 2 ** (bits - 1)
    digits = len(str(limit)) - 1  # so many digits are always in range
    allowed = f"allowed: a whole number from -{limit} to {limit - 1}"

    def check(value: bytes) -> str | None:
        bare = _bare(value)
        if not _whole(bare) or len(bare) > 25 or not -limit <= int(bare) < limit:
            return allowed
        return None

    return ColumnType(
        fits=re.compile(rb"-?(?:0|[1-9][0-9]{0,%d})" % (digits - 1)).fullmatch,
        check=check,
        canonical=lambda value: int(_bare(value)),
    )


def _too_large(number: bytes) -> bool:
    """True if Postgres has no numeric of so many digits; never builds the number."""
    match = _parts(number)
    if match is None:
        return True
    whole, fraction, exponent = match[1], match[2] or b"", match[3] or b"0"
    figures = exponent.lstrip(b"+-0") or b"0"
    if len(figures) > 6:
        return True
    shift = -int(figures) if exponent[:1] == b"-" else int(figures)
    significant = (whole + fraction).lstrip(b"0")
    before = len(significant) - len(fraction) + shift
    after = len(fraction) - shift
    return before > DIGITS_BEFORE or after > DIGITS_AFTER or abs(shift) > DIGITS_BEFORE


def _check_numeric(value: bytes) -> str | None:
    bare = _bare(value)
    if not _number(bare):
        return "allowed: a number"
    if _too_large(bare):
        return f"allowed: {DIGITS_BEFORE} digits, and {DIGITS_AFTER} after the point"
    return None


def _canonical_numeric(value: bytes) -> object:
    # Decimal.normalize() would round to 28 digits; strip the zeros ourselves.
    sign, digits, exponent = Decimal(_bare(value).decode()).as_tuple()
    if not isinstance(exponent, int):  # pragma: no cover - the check let no NaN pass
        raise TypeError(exponent)
    figures = "".join(map(str, digits)).lstrip("0")
    stripped = figures.rstrip("0")
    if not stripped:
        return 0
    exponent += len(figures) - len(stripped)
    signed = "-" + stripped if sign else stripped
    if exponent >= 0 and len(stripped) + exponent <= 1000:
        return int(signed + "0" * exponent)
    if -100 < exponent < 0:
        return format(Decimal(f"{signed}e{exponent}"), "f")
    return f"{signed}e{exponent}"


def _floating(letter: str, name: str) -> ColumnType:
    def narrow(value: bytes) -> float:
        number: float = struct.unpack(letter, struct.pack(letter, float(_bare(value))))[0]
        return number

    def check(value: bytes) -> str | None:
        bare = _bare(value)
        if not _number(bare):
            return "allowed: a number"
        try:
            number = narrow(bare)
        except OverflowError:
            return f"allowed: a number within the range of {name}"
        nonzero = re.search(rb"^-?[0.]*[1-9]", bare) is not None
        if number in (float("inf"), float("-inf")) or (number == 0 and nonzero):
            return f"allowed: a number within the range of {name}"
        # It passes through a jsonb number on its way.
        return "allowed: a number of fewer digits" if _too_large(bare) else None

    return ColumnType(
        fits=re.compile(rb"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?").fullmatch,
        check=check,
        canonical=lambda value: narrow(value) + 0.0,  # -0.0 equals 0.0
    )


# --- time -------------------------------------------------------------------------------


def _check_instant(allowed: str) -> Check:
    def check(value: bytes) -> str | None:
        text = text_of(value)
        match = _instant(text) if text is not None else None
        if match is None:
            return allowed
        try:
            dt.date.fromisoformat(match["date"])
        except ValueError:
            return "there is no such day"
        return None

    return check


def _canonical_date(value: bytes) -> object:
    match = _instant(_text(value))
    if match is None:
        raise ValueError(value)
    return dt.date.fromisoformat(match["date"]).isoformat()


def _canonical_instant(*, zoned: bool) -> Callable[[bytes], object]:
    """The instant in UTC; a time without a zone counts as UTC, as in our sessions."""

    def canonical(value: bytes) -> object:
        match = _instant(_text(value))
        if match is None:
            raise ValueError(value)
        days = dt.date.fromisoformat(match["date"]).toordinal() - 719_163
        seconds = int(match["h"] or 0) * 3600 + int(match["m"] or 0) * 60 + int(match["s"] or 0)
        micros = round(Decimal("0." + (match["f"] or "0")[:30]) * 1_000_000)
        zone = match["zone"]
        if zoned and zone and zone not in "Zz":
            figures = zone[1:].replace(":", "").ljust(6, "0")
            offset = int(figures[:2]) * 3600 + int(figures[2:4]) * 60 + int(figures[4:])
            seconds -= offset if zone[0] == "+" else -offset
        since = (days * 86_400 + seconds) * 1_000_000 + micros
        try:
            instant = _EPOCH + dt.timedelta(microseconds=since)
        except OverflowError:  # the last hours of the year 9999, seen from the west
            return since
        return instant.isoformat() + ("Z" if zoned else "")

    return canonical


# Days up to 28 exist in every month; the others are looked at more closely.
_DAY = rb"[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_TIME = rb"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-]0[0-9]:[0-5][0-9])?"


# --- the rest -----------------------------------------------------------------------------


def _check_boolean(_: bytes) -> str:
    return "allowed: true or false"


def _check_uuid(value: bytes) -> str | None:
    return None if _uuid(value) else "allowed: a UUID"


def _canonical_uuid(value: bytes) -> object:
    match = _uuid(value)
    if match is None:
        raise ValueError(value)
    h = match[1].replace(b"-", b"").decode().lower()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _check_jsonb(value: bytes) -> str | None:
    if value.count(b"[") + value.count(b"{") > NESTING and depth(value) > NESTING:
        return f"it is nested deeper than {NESTING} levels"
    try:
        value.decode()
        _raw(value)
    except UnicodeError:
        return "it is not UTF-8"
    except (msgspec.MsgspecError, RecursionError):
        return "it is not valid JSON (NaN, Infinity, a lone surrogate or a control character)"
    if b"\\u0000" in value and b"u0000" in _escapes.findall(value):
        return NUL
    if _large_number.search(value):
        numbers = re.findall(_NUMBER, _strings.sub(b"", value))
        if any(map(_too_large, numbers)):
            return f"it holds a number of more than {DIGITS_BEFORE} digits"
    return None


def _canonical_jsonb(value: bytes) -> object:
    def number(text: str) -> object:
        return ["number", _canonical_numeric(text.encode())]

    parsed: object = json.loads(value, parse_int=number, parse_float=number)
    return parsed


def _never(_: bytes) -> None:
    return None


TYPES: dict[str, ColumnType] = {
    "text": ColumnType(
        # ASCII without escapes; all else is decoded to be sure.
        fits=re.compile(rb'"[\x20\x21\x23-\x5b\x5d-\x7f]*"').fullmatch,
        check=_check_text,
        canonical=_canonical_text,
    ),
    "bigint": _whole_number(64),
    "integer": _whole_number(32),
    "smallint": _whole_number(16),
    "numeric": ColumnType(
        fits=re.compile(rb"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?").fullmatch,
        check=_check_numeric,
        canonical=_canonical_numeric,
    ),
    "double precision": _floating("<d", "double precision"),
    "real": _floating("<f", "real"),
    "boolean": ColumnType(
        fits=re.compile(rb"true|false").fullmatch,
        check=_check_boolean,
        canonical=lambda value: value == b"true",
    ),
    "date": ColumnType(
        fits=re.compile(b'"' + _DAY + b'"').fullmatch,
        check=_check_instant("allowed: a date like 2024-01-31"),
        canonical=_canonical_date,
    ),
    "timestamp": ColumnType(
        fits=re.compile(b'"' + _DAY + _TIME + b'"').fullmatch,
        check=_check_instant("allowed: a time like 2024-01-31T12:00:00"),
        canonical=_canonical_instant(zoned=False),
    ),
    "timestamptz": ColumnType(
        fits=re.compile(b'"' + _DAY + _TIME + b'"').fullmatch,
        check=_check_instant("allowed: a time like 2024-01-31T12:00:00Z"),
        canonical=_canonical_instant(zoned=True),
    ),
    "uuid": ColumnType(fits=_uuid, check=_check_uuid, canonical=_canonical_uuid),
    "jsonb": ColumnType(fits=_never, check=_check_jsonb, canonical=_canonical_jsonb),
}
