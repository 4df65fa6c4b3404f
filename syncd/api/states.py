"""What does an API call the state of a page, and may it be asked for the page by that?

Pure.  A validator is kept in the database and sent back as it came, so that it has to be short,
plain and no credential.  RFC 9110: validators 8.8, If-None-Match 13.1.2, 304 15.4.5.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from syncd import __version__
from syncd.api.hide import Hiding
from syncd.api.shown import Redactor
from syncd.config.settings import (
    CursorPages,
    LinkPages,
    Secret,
    SourceSettings,
    StreamSettings,
    UrlPages,
)
from syncd.sync.drift import Evolution
from syncd.sync.known import Validator

LONGEST = 256  # characters of an ETag
SETTLED = 60.0  # seconds; what changed later than that may change again within the same second

# Some servers forget the quotes; `*` would mean any state, and a comma parts several.
_ETAG = re.compile(r'(?:W/)?"[!#-~]*"|[!#-)+\--~]+')
_ENCODED = re.compile(r"[-;](?:gzip|br|deflate|zstd)$|--(?:gzip|br|deflate|zstd)$")


def may_know(stream: StreamSettings) -> bool:
    """Whether a page of the stream may come without a body.

    Not where each record is called for, or where only what has changed is asked for.
    """
    return (
        stream.conditional != "never"
        and stream.search is None
        and stream.incremental is None
        and (stream.call is None or stream.call.when == "changed")
    )


def goes_on_by_header(stream: StreamSettings) -> bool:
    """Whether a header names the next page: the state of a body says nothing of it."""
    page = stream.page
    if isinstance(page, CursorPages | UrlPages):
        return page.header is not None
    return isinstance(page, LinkPages)


def validator_of(
    headers: Mapping[str, str], redactor: Redactor, *, times: bool
) -> Validator | None:
    """What the headers of a page call its state; times: a Last-Modified is one where no ETag is."""
    etag = headers.get("etag", "").strip()
    if etag:
        fit = len(etag) <= LONGEST and _ETAG.fullmatch(etag) is not None
        return Validator(text=etag) if fit and not redactor.found_in(etag.encode()) else None
    modified = headers.get("last-modified", "").strip()
    if times and _is_settled(modified, headers.get("date", "")):
        return Validator(text=modified, of_time=True)
    return None


def _is_settled(modified: str, date: str) -> bool:
    """Whether it is so long ago that a later change has a later time, though times are in seconds.

    Source: RFC 9110, section 8.8.2.2.
    """
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (ValueError, TypeError):
        return False
    return age.total_seconds() >= SETTLED


def asking_by(validator: Validator) -> dict[str, str]:
    """The header that asks for a page only if its state is another one by now."""
    name = "If-Modified-Since" if validator.of_time else "If-None-Match"
    return {name: validator.text}


def speaks_of(headers: Mapping[str, str], validator: Validator) -> bool:
    """Whether a 304 means the state that was asked by: some name another one all the same."""
    name = "last-modified" if validator.of_time else "etag"
    said = headers.get(name, "").strip()
    return not said or _bare(said) == _bare(validator.text)


def _bare(tag: str) -> str:
    """An ETag as it is compared: weakly, and whatever a proxy has made of it by compressing."""
    return _ENCODED.sub("", tag.removeprefix("W/").strip('"'))


def hashed(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _plain(value: Any) -> Any:
    # Of a secret, where it comes from: a hash of it could be tried.
    return value.origin if isinstance(value, Secret) else sorted(value, key=str)


def judged_by(source: SourceSettings, stream: StreamSettings, evolution: Evolution) -> str:
    """A hash of all that decides what becomes of a record, this syncd among it.

    More than that is in it: to read a list whole once more is no harm.
    """
    probe = b""
    if stream.hide_key is not None:
        # As its own hashes do, this tells apart two keys, and tells neither.
        probe = Hiding({"v": "hash"}, stream.hide_key).of(b'{"v":"syncd"}')
    return hashed(
        [
            __version__,
            source.base_url,
            dict(source.headers),
            source.auth and [type(source.auth).__name__, attrs.asdict(source.auth, recurse=False)],
            [attrs.asdict(rule) for rule in source.errors],
            attrs.asdict(stream, filter=lambda a, _: a.name not in ("heartbeat", "hide_key")),
            probe.decode(),
            [attrs.asdict(added) for added in evolution.columns],
        ]
    )
