"""What is known of a call whose outcome is unknown, and what can be done about it?

The wait after which "not done" is believed counts from the moment when the outcome became
unknown, not from the call's start: a call that timed out has lasted `timeout` already, and
there the wait is needed most.
"""

import attrs
import trio

from syncd.errors import CallFailed

ASKED = "; asked by `verify`: "

LOOK_THERE = (
    "If it was carried out, `syncd dead discard ID` forgets this; if not, "
    "`syncd dead retry --repeat ID` makes the call again"
)
COULD_VERIFY = "; `call.verify` would let syncd look for itself"
ASKS_AGAIN = "`syncd dead retry ID` asks once more. Else look there. "


@attrs.define(eq=False, kw_only=True)
class Doubt:
    """One call whose outcome is unknown."""

    reason: str
    """Why it is."""

    since: float = attrs.field(factory=trio.current_time)
    repeat: bool = False
    """A person answers for it that it is made once more, should nobody be able to tell."""

    said: str = ""
    """What the last verify request found."""

    @classmethod
    def of(cls, reason: str, *, repeat: bool = False) -> "Doubt":
        """From the reason that the ledger has, which may hold what was said before."""
        return cls(reason=reason.partition(ASKED)[0], repeat=repeat)

    def stays(self, said: str) -> CallFailed:
        """Nobody can tell."""
        return CallFailed("outcome-unknown", f"{self.reason}{ASKED}{said}")


def what_to_do(*, verifiable: bool) -> str:
    """For the operator, at the end of a dead letter's reason."""
    return f"{ASKS_AGAIN}{LOOK_THERE}" if verifiable else f"{LOOK_THERE}{COULD_VERIFY}"
