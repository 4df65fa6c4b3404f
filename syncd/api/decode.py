"""What does the body of an answer hold: where are its records, what stands around them?

Strictly parsed if it can be; if one record spoils the page for a strict parser,
the page is cut along its brackets and each record is judged alone.  No value is
turned into a Python object on the way, so that none is changed.
"""

import re
from collections.abc import Sequence

import attrs
import msgspec

from syncd.api import splitting
from syncd.api.columns import kind_of
from syncd.api.contract import Contract, Judged, fields_of, judge_all, text_form
from syncd.api.shown import Redactor, excerpt, shown
from syncd.api.typed import Fitting, Typed
from syncd.errors import ApiUnavailable, UnexpectedAnswer
from syncd.sync.model import Block, Record

BOM = b"\xef\xbb\xbf"
FAILED = {b"false": ("success", "ok"), b'"error"': ("status",), b'"fail"': ("status",)}
"""What some APIs write into a 200 that is an error, and under which names."""

ERRORS = ("error", "errors")
NO_ERROR = (b"null", b"false", b"0", b'""', b"[]", b"{}")
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_PLACE = re.compile("[0-9]{1,9}").fullmatch
_any = msgspec.json.Decoder(msgspec.Raw).decode


@attrs.define(eq=False)
class Envelope:
    """One JSON answer, looked into by dotted paths."""

    text: bytes
    _opened: dict[str, dict[str, bytes] | None] = attrs.field(factory=dict, init=False)

    def at(self, path: str) -> bytes | None:
        """The JSON text at `a.b.c`, or None if there is nothing; "" is the whole answer.

        A field that is itself called `a.b.c` comes first: OData has `@odata.nextLink`.
        In a list a figure names a place, from 0: `errors.0.code`.
        """
        if not path:
            return self.text
        top = self.fields("")
        if top is not None and path in top:
            return top[path]
        parent, _, name = path.rpartition(".")
        fields = self.fields(parent)
        return self._element(parent, name) if fields is None else fields.get(name)

    def _element(self, path: str, place: str) -> bytes | None:
        text = self.at(path) if _PLACE(place) else None
        if text is None or text.lstrip()[:1] != b"[":
            return None
        try:
            return raws_of(text)[int(place)]
        except (splitting.MalformedError, IndexError):
            return None

    def fields(self, path: str) -> dict[str, bytes] | None:
        """The fields of the object at a path, or None if there is no object."""
        if path not in self._opened:
            text = self.at(path)
            try:
                is_object = text is not None and text.lstrip()[:1] == b"{"
                self._opened[path] = fields_of(text) if text and is_object else None
            except splitting.MalformedError:
                self._opened[path] = None
        return self._opened[path]

    def keys(self, path: str = "") -> str:
        """For a reason: which keys are there."""
        fields = self.fields(path)
        if fields is None:
            text = self.at(path)
            return "nothing" if text is None else kind_of(text.lstrip())
        return "the keys " + shown(", ".join(fields), 100) if fields else "an empty object"


def looked_into(body: bytes) -> Envelope:
    """A body of any kind: where it is no JSON, nothing stands at any path."""
    return Envelope(body.removeprefix(BOM).strip(b" \t\r\n"))


def text_at(envelope: Envelope, path: str) -> str | None:
    """What stands at a path, as text; None if nothing does that has such a form."""
    try:
        return text_form(envelope.at(path))
    except (splitting.MalformedError, ValueError):
        return None


def open_envelope(body: bytes, content_type: str, redactor: Redactor) -> Envelope:
    """Look at a body as JSON.

    ApiUnavailable if it only ends too early (a connection that was cut without
    anybody noticing), UnexpectedAnswer if it is something else.
    """
    text = body.removeprefix(BOM).strip(b" \t\r\n")
    try:
        _any(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        _cut(text, content_type, redactor)
    return Envelope(text)


def _cut(text: bytes, content_type: str, redactor: Redactor) -> None:
    """Raise unless the text can at least be cut into its parts."""
    if not text:
        raise ApiUnavailable("the answer has an empty body where JSON was expected")
    try:
        splitting.elements(text) if text[:1] == b"[" else splitting.members(text)
    except splitting.MalformedError as error:
        if error.truncated and text[:1] in b"{[":
            raise ApiUnavailable(
                f"the JSON of the answer ends early, after {len(text)} bytes"
            ) from None
        begins = excerpt(text, redactor)
        named = shown(redactor.text(content_type)) or "no content type"
        raise UnexpectedAnswer(
            f"the answer is not JSON ({named}); it begins: {begins}",
            hint="Check base_url and path; a login page or a proxy may be answering",
        ) from None


def list_at(envelope: Envelope, path: str, redactor: Redactor) -> bytes:
    """The JSON text of the list at `path`; UnexpectedAnswer if no list is there."""
    text = envelope.at(path)
    named = f"`{path}`" if path else "the answer itself"
    if text is None:
        # An error in a 200 looks like this; it must never pass for an empty list.
        parent = path.rpartition(".")[0]
        where = f" under `{parent}`" if parent else ""
        raise UnexpectedAnswer(
            f"the answer has no records at {named}; found{where}: {envelope.keys(parent)}; "
            f"it begins: {excerpt(envelope.text, redactor)}",
            hint="Check `records`, or what the API says of the error",
        )
    text = text.strip(b" \t\r\n")
    if text[:1] != b"[":
        holds = f" with {envelope.keys(path)}" if text[:1] == b"{" else ""
        raise UnexpectedAnswer(
            f"{named} is {kind_of(text)}{holds}, not a list of records",
            hint="Check `records`",
        )
    return text


def raws_at(envelope: Envelope, path: str, redactor: Redactor) -> list[bytes]:
    """The JSON text of each record of the list at `path`."""
    text = list_at(envelope, path, redactor)
    try:
        return raws_of(text)
    except splitting.MalformedError as error:
        named = f"`{path}`" if path else "the answer itself"
        raise UnexpectedAnswer(f"the list at {named} is malformed: {error}") from None


def raws_of(text: bytes) -> list[bytes]:
    """The JSON text of each element.  MalformedError if the list can't even be cut."""
    try:
        return list(map(bytes, _list(text)))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return splitting.elements(text)


def refuse_an_error(envelope: Envelope, path: str, redactor: Redactor, *, empty: bool) -> None:
    """Raise UnexpectedAnswer where an answer says itself that it is none.

    path: of the records; what stands around them is looked at.
    empty: there are none.  What stands under `error` beside records may be a warning.
    """
    around = {n: bytes(v).strip() for n, v in (envelope.fields("") or {}).items()}
    around.pop(path.partition(".")[0], None)
    says = [name for value, names in FAILED.items() for name in names if around.get(name) == value]
    if empty:
        says += [n for n in ERRORS if n in around and b"".join(around[n].split()) not in NO_ERROR]
    if says:
        raise UnexpectedAnswer(
            f"the answer says that it is an error, so it is no list: `{says[0]}` is "
            f"{excerpt(around[says[0]], redactor)}; it begins: {excerpt(envelope.text, redactor)}",
            hint="Look at what the API says, then `syncd resume`",
        )


def records_at(
    envelope: Envelope,
    path: str,
    contract: Contract,
    redactor: Redactor,
    mark: str | None = None,
    typed: Typed | None = None,
) -> Judged:
    """Each record of the list at `path`, judged.

    mark: the path of what else is told of each.
    typed: looks at all of them at once first, where nothing else is told.
    """
    if typed is not None and mark is None:
        fitting = typed.read(list_at(envelope, path, redactor))
        if fitting is not None and fitting.keys:
            refuse_an_error(envelope, path, redactor, empty=False)
            return _fitted(fitting, contract)
    raws = raws_at(envelope, path, redactor)
    refuse_an_error(envelope, path, redactor, empty=not raws)
    return judge_all(contract, raws, mark)


def _fitted(page: Fitting, contract: Contract) -> Judged:
    def each() -> Sequence[Record]:
        return judge_all(contract, raws_of(page.text)).records

    last = bytes(_list(page.text)[-1])
    return Judged(records=Block(keys=page.keys, text=page.text, each=each), last=last)
