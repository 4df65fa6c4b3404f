"""What is one line made of, before it has a shape?

The record that loguru made, with every secret taken out of it, as plain values.
"""

import traceback
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from syncd.logs.hiding import Hiding
from syncd.logs.kinds import BY_SENTENCE, Kind

if TYPE_CHECKING:
    from loguru import Record

TRACEBACK = "traceback"  # the field that holds an exception's text, once it is safe

Value = str | int | float | bool | None


@attrs.frozen(kw_only=True)
class Entry:
    """One line of the log."""

    time: datetime
    level: str
    severity: int
    """Of loguru: 10 DEBUG, 20 INFO, 30 WARNING, 40 ERROR, 50 CRITICAL."""

    sentence: str
    stream: str = ""
    fields: Mapping[str, Value] = attrs.field(factory=dict)
    traceback: str = ""

    @property
    def kind(self) -> Kind | None:
        """None for what a library said."""
        return BY_SENTENCE.get(self.sentence)


def make_safe(record: "Record", hiding: Hiding) -> None:
    """Take every secret out of a record, and turn its exception into text.

    No sink gets the exception itself: whoever formats it would find the secrets again.
    Never raises; a record that cannot be read is emptied.
    """
    try:
        told = _told(record)
        record["message"] = hiding.hide(record["message"])
        record["extra"] = {
            hiding.hide(str(k)): _safe(v, hiding) for k, v in record["extra"].items()
        }
        if told:
            record["extra"][TRACEBACK] = hiding.hide(told)
    except Exception as error:  # noqa: BLE001 - a log line must not end the daemon
        record["message"] = f"a log line could not be written: {type(error).__name__}"
        record["extra"] = {}
    record["exception"] = None


def entry(record: "Record") -> Entry:
    """The entry of a record that was made safe."""
    fields = dict(record["extra"])
    told = fields.pop(TRACEBACK, "")
    return Entry(
        time=record["time"],
        level=record["level"].name,
        severity=record["level"].no,
        sentence=record["message"],
        stream=str(fields.pop("stream", "")),
        fields=fields,
        traceback=str(told),
    )


def _told(record: "Record") -> str:
    caught = record["exception"]
    if caught is None or caught.value is None:
        return ""
    return "".join(traceback.format_exception(caught.type, caught.value, caught.traceback)).rstrip()


def _safe(value: object, hiding: Hiding) -> Value:
    text = str(value)
    hidden = hiding.hide(text)
    plain = isinstance(value, int | float | bool) or value is None
    return value if plain and hidden == text else hidden  # type: ignore[return-value]  # `plain` says so
