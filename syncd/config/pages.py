"""What does `page` of a stream say: how is the list cut into pages?"""

from typing import get_args

from syncd.config.names import HEADER
from syncd.config.reading import Node, any_text
from syncd.config.settings import (
    CursorPages,
    KeysetPages,
    LinkPages,
    NoPages,
    NumberPages,
    OffsetPages,
    PageSettings,
    Until,
    UrlPages,
)

KINDS = ["number", "offset", "cursor", "keyset", "link", "url", "none"]
LARGEST_PAGE = 100_000
LARGEST_FIRST = 10**9


def read_page(node: Node) -> PageSettings:
    """The table `page`; without it, pages by number."""
    table = node.table("page")
    if table is None:
        return NumberPages()
    kind = table.choice("kind", KINDS, None if "kind" in table.values else "number")
    if kind is None:
        return NoPages()  # what the other keys mean can't be told
    page: PageSettings
    match kind:
        case "offset":
            page = _offset(table)
        case "cursor":
            page = _cursor(table)
        case "keyset":
            page = _keyset(table)
        case "link":
            page = LinkPages(
                size=_size(table),
                size_param=_param_or_none(table),
                foreign=table.choice("foreign", ["refuse", "ignore"], "refuse"),
                total=table.path_or_none("total", None),
            )
        case "url":
            page = _url(table)
        case "none":
            page = NoPages(total=table.path_or_none("total", None))
        case _:
            page = _number(table)
    sent = sent_by(page)
    if len(set(sent)) < len(sent):
        table.fault("size_param", f"{sent[-1]!r} is another parameter's name already")
    table.finish(get_args(PageSettings))
    return page


def sent_by(page: PageSettings) -> list[str]:
    """The parameters that are sent for the pages' sake."""
    found: list[str | None]
    match page:
        case NumberPages():
            found = [page.page_param, page.size_param]
        case OffsetPages():
            found = [page.offset_param, page.size_param]
        case CursorPages() | KeysetPages():
            found = [page.param, page.size_param]
        case LinkPages() | UrlPages():
            found = [page.size_param]
        case NoPages():
            found = []
    return [name for name in found if name is not None]


def _number(table: Node) -> NumberPages:
    until, more = _end(table, "more", "has_more")
    return NumberPages(
        size=_size(table),
        size_param=_param_or_none(table, "limit"),
        page_param=table.text("page_param", "page"),
        first=table.count("first", 1, least=0, most=LARGEST_FIRST),
        until=until,
        more=more,
        total=table.path_or_none("total", None),
    )


def _offset(table: Node) -> OffsetPages:
    until, more = _end(table, "empty")
    return OffsetPages(
        size=_size(table),
        size_param=_param_or_none(table, "limit"),
        offset_param=table.text("offset_param", "offset"),
        first=table.count("first", 0, least=0, most=LARGEST_FIRST),
        until=until,
        more=more,
        total=table.path_or_none("total", None),
    )


def _cursor(table: Node) -> CursorPages:
    header = _header(table, "where the cursor is")
    return CursorPages(
        size=_size(table),
        size_param=_param_or_none(table),
        param=table.text("param", "cursor"),
        next=table.path_text("next", "next_cursor"),
        header=header,
        more=table.path_text("more", None),
        absent=table.choice("absent", ["error", "end"], "error"),
        initial=table.text("initial", None),
        total=table.path_or_none("total", None),
    )


def _keyset(table: Node) -> KeysetPages:
    until, more = _end(table, "empty")
    return KeysetPages(
        size=_size(table),
        size_param=_param_or_none(table, "limit"),
        param=table.text("param", "after"),
        field=table.text("field", "id"),
        until=until,
        more=more,
        initial=table.text("initial", None),
        total=table.path_or_none("total", None),
    )


def _header(table: Node, tells: str) -> str | None:
    """The header that stands in for a path."""
    header: str | None = table.text("header", None)
    if header is not None and not HEADER.fullmatch(header):
        table.wrong("header", header, "a header's name")
    if header is not None:
        for key in ("next", "absent"):
            if key in table.values:
                table.fault(key, f"`header` says {tells}; leave one of the two out")
    return header


def _url(table: Node) -> UrlPages:
    header = _header(table, "where the address is")
    return UrlPages(
        size=_size(table),
        size_param=_param_or_none(table),
        next=table.path_text("next", "next"),
        header=header,
        absent=table.choice("absent", ["error", "end"], "error"),
        foreign=table.choice("foreign", ["refuse", "ignore"], "refuse"),
        total=table.path_or_none("total", None),
    )


def _size(table: Node) -> int:
    size: int = table.count("size", 100, most=LARGEST_PAGE)
    return size


def _param_or_none(table: Node, default: str | None = None) -> str | None:
    """The parameter that tells the size; "" says that none is sent."""
    allowed = 'a parameter such as "limit", or "" for none'
    return table.get("size_param", default or "", allowed, any_text) or None


def _end(table: Node, default: Until, flag: str | None = None) -> tuple[Until, str | None]:
    """What ends the list, and the path of its flag: a flag that is named decides."""
    given = "more" in table.values
    until: Until = table.choice("until", ["more", "empty", "short"], "more" if given else default)
    if until == "more":
        return until, table.path_text("more", flag) if given or flag else table.path_text("more")
    if given:
        table.has("more")
        table.fault("more", f'until = "{until}" ends the list; leave one of the two out')
    return until, None
