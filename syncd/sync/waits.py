"""Which waits end at once when syncd leaves?  Those that go through here.

A wait for the budget, a backoff or a rest may take hours; a request that is in
flight is awaited.  Only the waits are told to end, so that leaving cancels
nothing that has begun.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from syncd.errors import Draining


@attrs.define(eq=False)
class Waits:
    """The waits of all that leaves together; those of a part end with those of the whole."""

    _whole: "Waits | None" = None
    _ended: bool = attrs.field(default=False, init=False)
    _parts: "list[Waits]" = attrs.field(factory=list, init=False)
    _scopes: set[trio.CancelScope] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        if self._whole is not None:
            self._whole._parts.append(self)  # noqa: SLF001 - of the same class

    @property
    def ended(self) -> bool:
        return self._ended or (self._whole is not None and self._whole.ended)

    @property
    def whole_ended(self) -> bool:
        """Whether all that leaves together does, not this part alone."""
        return self.ended if self._whole is None else self._whole.ended

    def end(self) -> None:
        """End all waits that are under way, and each later one as it begins."""
        self._ended = True
        self._cancel()

    def reopen(self) -> None:
        """Let this part wait again, unless the whole has ended."""
        self._ended = False

    def leave(self) -> None:
        """Be a part no more: what it belonged to is gone."""
        if self._whole is not None and self in self._whole._parts:  # noqa: SLF001 - our class
            self._whole._parts.remove(self)  # noqa: SLF001 - our class

    def _cancel(self) -> None:
        for part in self._parts:
            part._cancel()  # noqa: SLF001 - of the same class
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Run the body as a wait: raises Draining if `end()` cut it short."""
        if self.ended:
            raise Draining("leaving")
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            raise Draining("leaving")

    async def sleep(self, seconds: float) -> None:
        """Sleep; raises Draining as soon as `end()` is called."""
        with self.interruptible():
            await trio.sleep(max(0.0, seconds))
