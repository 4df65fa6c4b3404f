"""What does this process have open at the moment?  Facts, as `app` tells them when it is asked."""

from collections.abc import Collection, Mapping

import attrs

from syncd.sync.events import Purpose
from syncd.sync.model import StreamId


@attrs.frozen(kw_only=True)
class StorePool:
    """The few connections to Postgres."""

    size: int
    in_use: int
    waiting: int
    waits: int
    waited: float
    away: bool
    """The last piece of work did not reach it, or lost it."""


@attrs.frozen(kw_only=True)
class HttpPool:
    """The HTTP client of one source."""

    size: int
    in_use: int
    waiting: int
    rebuilt: int
    under_way: Mapping[Purpose, int]


@attrs.frozen(kw_only=True)
class Inside:
    """All of it; nothing is open yet while Postgres is away at the start."""

    store: StorePool | None = None
    http: Mapping[str, HttpPool] = attrs.field(factory=dict)
    """By source."""

    parked: Collection[StreamId] = ()
    """Also those of which the database could not be told."""

    lines_lost: int = 0
