"""How often may something be done?  Pure: the clock is handed in."""

from collections import deque

import attrs

KINDS = 100  # of those that are thinned; what is beyond is counted together


@attrs.define(eq=False, kw_only=True)
class Allowance:
    """At most so many in any stretch of so many seconds."""

    most: int
    per: float
    _spent: deque[float] = attrs.field(factory=deque, init=False)

    def spend(self, now: float) -> float:
        """Do it once: 0, or the seconds after which it may be tried again."""
        while self._spent and self._spent[0] <= now - self.per:
            self._spent.popleft()
        if len(self._spent) < self.most:
            self._spent.append(now)
            return 0.0
        return self._spent[0] + self.per - now


@attrs.define(eq=False, kw_only=True)
class Thinned:
    """What may come in floods, and is told once in a while with how often it came."""

    every: float
    _told: dict[tuple[str, ...], tuple[float, int]] = attrs.field(factory=dict, init=False)
    """Of each when it was told the last time, and how often it came since; of many others by ()."""

    def happened(self, now: float, *what: str) -> int:
        """How often, if it is to be told now; 0 if not."""
        self._forget(now)
        key = what if what in self._told or len(self._told) < KINDS else ()
        told, since = self._told.get(key, (-self.every, 0))
        if now - told < self.every:
            self._told[key] = (told, since + 1)
            return 0
        self._told[key] = (now, 0)
        return since + 1

    def untold(self, now: float) -> list[tuple[tuple[str, ...], int]]:
        """What came again and was not told, for long enough: told now, with how often."""
        found = [
            (what, since)
            for what, (told, since) in self._told.items()
            if since and now - told >= self.every
        ]
        for what, _ in found:
            self._told[what] = (now, 0)
        return found

    def _forget(self, now: float) -> None:
        if len(self._told) < KINDS:
            return
        for key in [k for k, (told, _) in self._told.items() if now - told > 2 * self.every]:
            del self._told[key]
