"""Was a call whose answer never came carried out?  What to ask, and what the answer says.

Pure.  An answer that is not what the config describes leaves the outcome unknown, with
what was found: a guess in either direction would be a call made twice, or not at all.
"""

import json
from collections.abc import Mapping

import attrs

from syncd.api.calls import filled, said, taken, with_fields
from syncd.api.contract import text_form
from syncd.api.decode import Envelope, open_envelope
from syncd.api.exchange import Answer, Ask
from syncd.api.shown import Redactor, shown
from syncd.config.settings import KEY_FIELD, VerifySettings
from syncd.errors import UnexpectedAnswer
from syncd.sync.model import Record, Verdict


@attrs.frozen(kw_only=True)
class Verify:
    """The verify request of one stream's calls."""

    settings: VerifySettings
    columns: Mapping[str, str]

    def ask(self, record: Record, idempotency_key: str) -> Ask:
        """The request; CallFailed if the record's fields cannot stand in its path."""
        fields = _fields(record, idempotency_key)
        return Ask(method="GET", path=filled(self.settings.path, fields, "verify's path"))

    def verdict(
        self, record: Record, idempotency_key: str, ask: Ask, answer: Answer, redactor: Redactor
    ) -> Verdict:
        """What an answer below 500 says.

        ApiUnavailable if it was cut; CallFailed or UnexpectedAnswer if it does not tell.
        """
        settings = self.settings
        if answer.status == 404 and settings.not_found == "not-done":
            return Verdict(outcome="not-done", reason=f"{ask} answered 404")
        if answer.status >= 400:
            raise UnexpectedAnswer(f"{ask} answered {answer.status}: {said(answer, redactor)}")
        envelope = open_envelope(answer.body, answer.content_type, redactor)
        wanted = with_fields(settings.wanted, _fields(record, idempotency_key), "verify's `is`")
        found = self._value(envelope)
        if found != wanted:
            is_now = "null" if found is None else shown(found)
            return Verdict(
                outcome="not-done", reason=f"`{settings.done}` is {is_now}, not {shown(wanted)}"
            )
        return Verdict(outcome="done", kept=self._kept(envelope))

    def _value(self, envelope: Envelope) -> str | None:
        """The text at `done`; None where it, or what it would stand in, is null."""
        path = self.settings.done
        value = envelope.at(path)
        if value is None and not _ends_in_null(envelope, path):
            raise UnexpectedAnswer(f"the answer has no `{path}`; it has {envelope.keys()}")
        if value is None or value == b"null":
            return None
        text = text_form(value)
        if text is None:
            raise UnexpectedAnswer(f"`{path}` of the answer is {shown(value)}, no single value")
        return text

    def _kept(self, envelope: Envelope) -> bytes:
        for column, path in self.settings.keep.items():
            # By default these are the call's own paths, which need not fit this answer: a
            # null in the row would pass for what the API has said.
            if envelope.at(path) is None:
                raise UnexpectedAnswer(
                    f"it was carried out, but the answer has no `{path}` for {column}"
                )
        return taken(envelope, self.settings.keep, self.columns)


def _fields(record: Record, idempotency_key: str) -> dict[str, bytes]:
    return {**record.fields, KEY_FIELD: json.dumps(idempotency_key).encode()}


def _ends_in_null(envelope: Envelope, path: str) -> bool:
    """Whether something on the way to `path` is null: `last.key`, where `last` is null."""
    parent = path.rpartition(".")[0]
    if not parent:
        return False
    value = envelope.at(parent)
    return value == b"null" if value is not None else _ends_in_null(envelope, parent)
