"""How often is one trouble told?  When it starts, now and then, and when it ends.

A Postgres that is away for ten minutes fails every stream several times a minute.  The
first failure is told at once; while the trouble lasts it is told at most once in
`EVERY`, with how often it happened; and its end is told with counts and duration.
"""

from collections.abc import Callable, Hashable
from typing import Any

import attrs

from syncd.logs.kinds import Kind

EVERY = 60.0  # seconds between two lines about the same trouble while it lasts

Told = tuple[Kind, dict[str, Any]]


@attrs.frozen(kw_only=True)
class Words:
    """What one kind of trouble is called at its start, while it lasts, and at its end."""

    starts: Kind
    lasts: Kind
    ends: Kind


@attrs.define(kw_only=True)
class _Trouble:
    since: float
    told: float
    until: float
    times: int = 1


@attrs.define(eq=False)
class Troubles:
    """All that is wrong at the moment, by whom and what it concerns."""

    clock: Callable[[], float]
    every: float = EVERY
    """Seconds between two lines about the same trouble while it lasts."""

    _open: dict[tuple[Hashable, Words], _Trouble] = attrs.field(factory=dict, init=False)

    def happened(
        self, whom: Hashable, words: Words, *, lasting: float = 0.0, **fields: Any
    ) -> Told | None:
        """Note one more failure; the line to say, if any.

        `lasting`: an end that comes within so many seconds is none, because what is told
        as good news was under way before the trouble began.
        """
        now = self.clock()
        trouble = self._open.get((whom, words))
        if trouble is None:
            self._open[whom, words] = _Trouble(since=now, told=now, until=now + lasting)
            return words.starts, fields
        trouble.times += 1
        trouble.until = max(trouble.until, now + lasting)
        if now - trouble.told < self.every:
            return None
        trouble.told = now
        return words.lasts, {**fields, **self._so_far(trouble)}

    def ended(self, whom: Hashable, words: Words, *, surely: bool = False) -> Told | None:
        """Note that it goes well again; the line to say, if it did not before.

        `surely`: what went well is the very thing that did not.
        """
        trouble = self._open.get((whom, words))
        if trouble is None or (self.clock() < trouble.until and not surely):
            return None
        del self._open[whom, words]
        return words.ends, self._so_far(trouble)

    def forget(self, whom: Hashable) -> None:
        """Nothing more is heard of it: it stopped for good, as a line of its own said."""
        for key in [key for key in self._open if key[0] == whom]:
            del self._open[key]

    def _so_far(self, trouble: _Trouble) -> dict[str, Any]:
        return {"times": trouble.times, "lasted": round(self.clock() - trouble.since, 1)}
