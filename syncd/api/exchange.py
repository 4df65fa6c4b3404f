"""What is a request, and what its answer, before and after they are bytes?

The pure parts make and read these; `transport` alone sends them.
"""

from collections.abc import Callable, Mapping

import attrs

from syncd.config.settings import ErrorRule
from syncd.sync.events import Purpose, Trouble


@attrs.frozen(kw_only=True)
class Ask:
    """One request as we mean it, without what the source adds to all of them."""

    method: str
    path: str
    """Relative to base_url, percent-encoded."""

    params: Mapping[str, str] = attrs.field(factory=dict)
    rooted: bool = False
    """The path, which may hold a query, begins at the server's root, not at base_url."""

    body: bytes | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    purpose: Purpose = "list"
    cost: int = 1
    """Tokens of each limit that counts it."""

    stream: str = ""
    """Whose it is; empty: the whole source's."""

    key: str | None = attrs.field(default=None, repr=False)
    """The record that it is about, if it is about one."""

    rules: tuple[ErrorRule, ...] = attrs.field(default=(), repr=False)
    """What the config says of its answers, in their order."""

    once: bool = False
    """It must not be sent again where it may have been carried out."""

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@attrs.frozen(kw_only=True, eq=False)
class Answer:
    """One answer, whole."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; a header that came twice is joined by commas."""

    body: bytes = attrs.field(repr=False)
    rule: ErrorRule | None = attrs.field(default=None, repr=False)
    """The one of its request's rules that names it."""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


@attrs.frozen(kw_only=True, eq=False)
class Exchange:
    """A request that has come to its end, for who counts them."""

    ask: Ask
    status: int | None
    """None: no answer came, or not all of it."""

    trouble: Trouble
    seconds: float
    """From its first byte to the last of its answer."""


Heard = Callable[[Exchange], None]
