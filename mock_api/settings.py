"""How does this server behave, as a whole, until it is stopped?

All times stand here in the platform's own seconds.  `at_speed` divides every
one of them, so that a client sees a platform that is the same, only faster.
"""

from enum import StrEnum
from math import ceil

import attrs

IDLE_FLOOR = 1.0  # seconds
# At high speeds an idle timeout shorter than this would measure how fast the
# client's machine schedules its tasks, not how it copes with a closed connection.


class Quirk(StrEnum):
    """What the platform's real test server does differently from its manual."""

    ANY_BEARER = "any-bearer"
    """Any bearer token passes."""

    HAS_MORE = "has-more"
    """`has_more` is only `page < 10`, whatever the limit."""

    BEYOND_TOTAL = "beyond-total"
    """Pages beyond `total` hold campaigns too."""

    CHANGING = "changing"
    """Values change on each read."""

    HTML_404 = "html-404"
    """404 is an HTML page."""


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that a command line option can set."""

    email: str = "ads@example.com"
    password: str = attrs.field(default="secret", repr=False)

    campaigns: int = 100
    page_size: int = 10
    """Campaigns on a page when the request names no `limit`."""
    page_max: int = 1000
    """The most that a request can have on a page; a larger `limit` is cut to it."""

    limit: int = 10
    """Requests allowed in any window, for each client; 0 is no limit."""
    window: float = 60.0  # seconds
    retry_after_header: bool = False

    fail_every: int = 5
    """Every so many list requests one is a 503; 0 is never."""
    hang_every: int = 10
    """Every so many list requests one is never answered; 0 is never."""
    per_client: bool = False
    """Whether list requests are numbered for each client, not for the server."""

    etags: bool = False
    """Whether pages have ETags, and one that the client knows is answered 304."""

    late: float = 0.0
    """A share of the requests under /api/ is counted only `late_by` after it was received."""
    late_by: float = 3.0  # seconds

    sync_delay: float = 2.0  # seconds
    token_life: float = 3600.0  # seconds
    idle: float = 5.0  # seconds

    quirks: frozenset[Quirk] = frozenset()
    journal: int = 200_000
    """Requests that the journal remembers."""
    speed: float = 1.0

    def at_speed(self) -> "Settings":
        """The same with all times divided by `speed`; only faults still look at it."""
        return attrs.evolve(
            self,
            window=self.window / self.speed,
            sync_delay=self.sync_delay / self.speed,
            token_life=self.token_life / self.speed,
            idle=max(self.idle / self.speed, min(self.idle, IDLE_FLOOR)),
        )

    @property
    def retry_after(self) -> int:
        """What a 429 tells the client: the window, in whole seconds that are enough."""
        return max(1, ceil(self.window))
