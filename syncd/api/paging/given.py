"""Lists whose next page is asked for by text that the answer holds: a cursor, or a record's field.

The text is opaque: it is kept and sent as it came.
"""

import attrs

from syncd.api.contract import fields_of, text_form
from syncd.api.paging.ends import flag, found, goes_on
from syncd.api.paging.kind import Answered, Asked, Turn, count, sized
from syncd.api.shown import shown
from syncd.api.splitting import MalformedError
from syncd.config.settings import CursorPages, KeysetPages, UrlPages
from syncd.errors import UnexpectedAnswer

NOTHING = (b"null", b'""', b"false")
"""What APIs write where there is no cursor."""


@attrs.frozen
class ByCursor:
    """?cursor=…, which stands in the answer's body, or in one of its headers."""

    settings: CursorPages
    ends_with_404: bool = False

    def ask(self, cursor: str | None) -> Asked:
        return _asked(cursor, self.settings)

    def turn(self, answered: Answered) -> Turn:
        page = self.settings
        following = given(answered, page, "a cursor")
        if page.more is not None:
            # The flag decides: some APIs give a cursor with the last page as well.
            if not flag(answered.envelope, page.more):
                following = None
            elif following is None:
                raise UnexpectedAnswer(
                    f"`{page.more}` says that another page follows, but there is no cursor: "
                    f"{self._found(answered)}",
                    hint="Check `page.next`",
                )
        return Turn(next_cursor=following, total=count(answered.envelope, page.total))

    def _found(self, answered: Answered) -> str:
        page = self.settings
        if page.header is not None:
            return f"the header {page.header} is empty or missing"
        return f"{page.next} is {found(answered.envelope, page.next)}"


@attrs.frozen
class ByKeyset:
    """?after=…, with a field of the last record that was met."""

    settings: KeysetPages
    ends_with_404: bool = False

    def ask(self, cursor: str | None) -> Asked:
        return _asked(cursor, self.settings)

    def turn(self, answered: Answered) -> Turn:
        page = self.settings
        total = count(answered.envelope, page.total)
        # What a total counts is no matter here: it may be what is left.
        if not goes_on(attrs.evolve(page, total=None), answered, 0):
            return Turn(next_cursor=None, total=total)
        return Turn(next_cursor=self._field(answered.last), total=total)

    def _field(self, last: bytes | None) -> str:
        field = self.settings.field
        try:
            value = fields_of(last or b"{}").get(field)
        except MalformedError:
            value = None
        text = text_form(value)
        if not text:
            what = "missing" if value is None else shown(value)
            raise UnexpectedAnswer(
                f"the last record's `{field}`, by which the next page is asked for, is {what}",
                hint="Check `page.field`",
            )
        return text


def _asked(cursor: str | None, page: CursorPages | KeysetPages) -> Asked:
    text = page.initial if cursor is None else cursor
    params = sized(page.size, page.size_param)
    return Asked(params=params if text is None else {page.param: text, **params})


def given(answered: Answered, page: CursorPages | UrlPages, what: str) -> str | None:
    """What stands in the header, or as text or number at the path; None where there is none."""
    if page.header is not None:
        return answered.headers.get(page.header.lower(), "").strip() or None
    value = answered.envelope.at(page.next)
    if value in NOTHING or (value is None and page.absent == "end"):
        return None
    text = text_form(value)
    if text is None or value == b"true":
        absent = (
            ""
            if value is not None
            else ' (if the API leaves it out with the last page: `absent = "end"`)'
        )
        raise UnexpectedAnswer(
            f"`{page.next}`, which says how to ask for the next page, is "
            f"{found(answered.envelope, page.next)}; it must be {what}, or null with the last page",
            hint=f"Check `page.next`{absent}",
        )
    return text
