"""The how many-th list request is this?

The platform counts for the whole server, and so do we unless asked to count
for each client.  Then the least recent of very many clients start again at 1.
"""

from collections import OrderedDict

CAPACITY = 65_536  # clients whose number is remembered


class Ordinals:
    """Numbers list requests from 1."""

    def __init__(self, *, per_client: bool) -> None:
        self._per_client = per_client
        self.clear()

    def clear(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()

    def next(self, client: str) -> int:
        whose = client if self._per_client else ""
        number = self._last.get(whose, 0) + 1
        self._last[whose] = number
        self._last.move_to_end(whose)
        if len(self._last) > CAPACITY:
            self._last.popitem(last=False)
        return number
