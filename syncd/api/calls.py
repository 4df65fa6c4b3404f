"""What does a record's own call ask for, and what does its answer give to the row?

Pure: a record and the settings make a request; an answer makes the kept columns,
or a CallFailed that says why asking again is of no use.
"""

import json
import re
import urllib.parse
from collections.abc import Callable, Mapping

import attrs

from syncd.api.columns import TYPES
from syncd.api.contract import fault, text_form
from syncd.api.decode import Envelope, looked_into, open_envelope, text_at
from syncd.api.exchange import Answer, Ask
from syncd.api.shown import Redactor, excerpt, shown
from syncd.config.settings import CallSettings
from syncd.errors import ApiUnavailable, CallFailed, UnexpectedAnswer
from syncd.sync.model import Record

LONGEST_PATH = 8000  # bytes; what servers are asked to take at least (RFC 9110, section 4.1)
MESSAGE = 120  # characters of the API's own words in a reason

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@attrs.frozen(kw_only=True)
class Calls:
    """The calls of one stream."""

    settings: CallSettings
    columns: Mapping[str, str]

    def ask(self, record: Record, idempotency_key: str) -> Ask:
        """The request for a record; CallFailed if its fields cannot stand in the path."""
        settings = self.settings
        key = {settings.key_header: idempotency_key} if settings.sends_key else {}
        return Ask(
            method=settings.method,
            path=filled(settings.path, record.fields),
            headers=key,
            cost=settings.cost,
        )

    def kept(self, answer: Answer, redactor: Redactor) -> bytes:
        """The kept columns of a 2xx, as a JSON object.

        ApiUnavailable if the answer was cut, CallFailed if it says that nothing was
        done or is not what the config describes.
        """
        settings = self.settings
        if settings.success is None and not settings.keep:
            return b"{}"
        try:
            envelope = open_envelope(answer.body, answer.content_type, redactor)
        except UnexpectedAnswer as error:
            raise CallFailed("call-failed", error.reason) from None
        if settings.success is not None:
            self._require(envelope, settings.success, redactor)
        return taken(envelope, settings.keep, self.columns)

    def says_undone(self, answer: Answer) -> bool:
        """Whether a 2xx says by the call's own flag that nothing was done."""
        path = self.settings.success
        if path is None or answer.status >= 300:
            return False
        return text_at(looked_into(answer.body), path) == "false"

    def _require(self, envelope: Envelope, path: str, redactor: Redactor) -> None:
        value = envelope.at(path)
        if value == b"true":
            return
        found = "missing" if value is None else shown(value)
        said = message(envelope, redactor)
        raise CallFailed("call-failed", f"`{path}` of the answer is {found}, not true: {said}")


def taken(envelope: Envelope, keep: Mapping[str, str], columns: Mapping[str, str]) -> bytes:
    """What an answer gives to the row, as a JSON object; CallFailed if a value does not fit."""
    fields = []
    for column, path in keep.items():
        value = _value(envelope, path, column, columns[column])
        fields.append(json.dumps(column).encode() + b":" + value)
    return b"{" + b",".join(fields) + b"}"


def _value(envelope: Envelope, path: str, column: str, type_name: str) -> bytes:
    value = envelope.at(path)
    if value is None or value == b"null":
        return b"null"
    of = TYPES[type_name]
    wrong = None if of.fits(value) else of.check(value)
    if wrong is not None:
        raise CallFailed("call-failed", f"the answer's {fault(column, value, wrong)}")
    return as_column(value, type_name)


def as_column(value: bytes, of: str) -> bytes:
    """The value as the row holds it: a number for a text column as the API wrote it.

    Postgres would show 1e2 as 100 once it has been through a jsonb number.
    """
    return b'"' + value + b'"' if of == "text" and value[:1] in b"-0123456789" else value


def filled(path: str, fields: Mapping[str, bytes], what: str = "the call's path") -> str:
    """The path with each {field} filled in, percent-encoded as one segment's part."""

    def quoted(name: str, text: str) -> str:
        try:
            return urllib.parse.quote(text, safe="")
        except UnicodeEncodeError:
            raise CallFailed("call-failed", f"{name} cannot stand in a path") from None

    segments = [(s, with_fields(s, fields, what, quoted)) for s in path.split("/")]
    for template, segment in segments:
        # A record must not lead its call to another address.
        if segment in (".", "..") and template != segment:
            raise CallFailed("call-failed", f"{what} would have the segment {segment!r}")
    whole = "/".join(segment for _, segment in segments)
    if len(whole) > LONGEST_PATH:
        raise CallFailed("call-failed", f"{what} would be {len(whole)} bytes long")
    return whole


def with_fields(
    template: str,
    fields: Mapping[str, bytes],
    what: str,
    written: Callable[[str, str], str] = lambda _, text: text,
) -> str:
    """The template with each {field} filled in; CallFailed if a field has no text.

    written: makes of a field's name and its text what stands there.
    """

    def put(match: re.Match[str]) -> str:
        name = match[1]
        text = text_form(fields.get(name))
        if not text:
            state = "missing, null or empty" if not fields.get(name) else shown(fields[name])
            raise CallFailed("call-failed", f"{what} needs {name}, which is {state}")
        return written(name, text)

    return _PLACEHOLDER.sub(put, template)


def message(envelope: Envelope, redactor: Redactor) -> str:
    """What an answer says in words, from where APIs usually say it, else its beginning."""
    if redactor.muted:  # its words may quote what is hidden
        return excerpt(envelope.text, redactor, MESSAGE)
    for path in ("message", "error.message", "error_description", "error", "detail", "title"):
        value = envelope.at(path)
        if value is not None and value[:1] == b'"':
            return shown(redactor.text(text_form(value) or ""), MESSAGE)
    return excerpt(envelope.text, redactor, MESSAGE)


def said(answer: Answer, redactor: Redactor) -> str:
    """The API's own words in an answer that may not be JSON at all."""
    try:
        return message(open_envelope(answer.body, answer.content_type, redactor), redactor)
    except (ApiUnavailable, UnexpectedAnswer):
        return excerpt(answer.body, redactor, MESSAGE)


def merged(columns: list[bytes], kept: bytes | None) -> bytes:
    """A row's JSON object from the columns' members and what its call gave."""
    inner = b"" if kept is None else kept.strip()[1:-1].strip()
    return b"{" + b",".join([*columns, inner] if inner else columns) + b"}"
