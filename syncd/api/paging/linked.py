"""Lists whose answers hold the next page's whole address: in the Link header, or in the body.

An address is followed on the source's own server alone; a cursor is its path and query, so
that the scheme and the port stay the config's (servers behind a proxy often name their own).

Source: the Link header and its relations are those of RFC 8288.
"""

import re
import urllib.parse

import attrs

from syncd.api.paging.given import given
from syncd.api.paging.kind import Answered, Asked, Turn, count, sized
from syncd.api.shown import shown
from syncd.config.settings import LinkPages, UrlPages
from syncd.errors import UnexpectedAnswer

# Nothing here is tried a second way (possessive quantifiers): a hostile header takes no time.
_LINK = re.compile(
    r"""<(?P<address>[^>]*+)>
    (?P<params>(?:\s*+;\s*+(?:[^\s=;,]++(?:\s*+=\s*+(?:"(?:[^"\\]|\\.)*+"|[^\s;,"]*+))?+)?+)*+)
    (?:[\s,]*+\Z|\s*+,[\s,]*+)""",
    re.VERBOSE,
)
_PARAM = re.compile(r';\s*+([^\s=;,]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;,"]*+))')


@attrs.frozen
class ByLink:
    """Link: </items?page=2>; rel="next"."""

    settings: LinkPages
    ends_with_404: bool = False

    def ask(self, cursor: str | None) -> Asked:
        return _asked(cursor, self.settings)

    def turn(self, answered: Answered) -> Turn:
        return _turn(_next_of(answered.headers.get("link", "")), answered, self.settings)


@attrs.frozen
class ByUrl:
    """{"next": "https://api.example.com/items?page=2"}."""

    settings: UrlPages
    ends_with_404: bool = False

    def ask(self, cursor: str | None) -> Asked:
        return _asked(cursor, self.settings)

    def turn(self, answered: Answered) -> Turn:
        address = given(answered, self.settings, "the next page's address")
        return _turn(address, answered, self.settings)


def _asked(cursor: str | None, page: LinkPages | UrlPages) -> Asked:
    if cursor is None:
        return Asked(params=sized(page.size, page.size_param))
    if not cursor.startswith("/") or not cursor.isprintable():
        raise UnexpectedAnswer(
            f"the checkpoint's cursor {shown(cursor)} is not an address on the server",
            hint="Reset the stream",
        )
    return Asked(address=cursor)


def _turn(address: str | None, answered: Answered, page: LinkPages | UrlPages) -> Turn:
    following = None if address is None else _on_our_server(address, answered.asked(), page.foreign)
    return Turn(next_cursor=following, total=count(answered.envelope, page.total))


def _next_of(header: str) -> str | None:
    """The address whose relation is `next`; one link may have several relations."""
    header = header.strip(" \t,")
    at, address = 0, None
    while at < len(header):
        link = _LINK.match(header, at)
        if link is None:
            raise UnexpectedAnswer(
                f"the Link header is malformed: {shown(header.partition('?')[0])}",
                hint="Check `page.kind`",
            )
        relations = [
            (quoted or plain).lower().split()
            for name, quoted, plain in _PARAM.findall(link["params"])
            if name.lower() == "rel"
        ]
        # Of several `rel` the first counts (section 3.3).
        if address is None and relations and "next" in relations[0]:
            address = link["address"]
        at = link.end()
    return address


def _on_our_server(address: str, asked: str, foreign: str) -> str:
    """Path and query of an address, which may be relative to the one that was asked."""
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(asked, address.strip()))
        host, ours = parts.hostname, urllib.parse.urlsplit(asked).hostname
        good = parts.scheme in ("http", "https") and bool(host)
    except ValueError:
        good = False
    if not good:
        raise UnexpectedAnswer(
            f"what should be the next page's address is none: {shown(address.partition('?')[0])}",
            hint="Check `page`",
        )
    if host != ours and foreign == "refuse":
        raise UnexpectedAnswer(
            f"the next page is said to be on another host, {shown(host or '')}; syncd never "
            "takes its credentials there",
            hint='If it is the same server under another name: `page.foreign = "ignore"` asks '
            "for that path and query at base_url",
        )
    path = parts.path or "/"
    path = path if path.startswith("/") else "/" + path
    return f"{path}?{parts.query}" if parts.query else path
