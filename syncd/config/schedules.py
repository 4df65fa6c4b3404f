"""When does a stream's next cycle begin: `every` so often, or by a calendar, `cron`?"""

from typing import Any

import attrs

from syncd.config.reading import Node, shown
from syncd.config.zones import read_zone
from syncd.schedule import NEVER, refused
from syncd.zones import UTC

EXAMPLE = 'five fields such as "30 2 * * *" (minute, hour, day of month, month, day of week)'
NO_SUCH_DAY = "no month that it names has such a day"
ALLOWED = f'{EXAMPLE}, or a list of them such as ["0 2 * * *", "30 14 * * MON-FRI"]'


@attrs.frozen(kw_only=True)
class Begins:
    """What the three keys say together."""

    every: float
    cron: tuple[str, ...]
    zone: str


def read_schedule(node: Node) -> Begins:
    """`every`, or `cron` with its `zone`."""
    if node.has("cron") and node.has("every"):
        node.fault("cron", "`every` and `cron` exclude each other; leave one of them out")
    if node.has("zone") and not node.has("cron"):
        node.fault("zone", "it is the zone of `cron`, which is not there; leave it out")
    return Begins(every=node.duration("every", 900.0), cron=_crons(node), zone=read_zone(node, UTC))


def _crons(node: Node) -> tuple[str, ...]:
    if not node.has("cron"):
        return ()
    given: Any = node.values["cron"]
    many = isinstance(given, list)
    values = given if many else [given]
    if not values or not all(isinstance(value, str) for value in values):
        node.wrong("cron", given, ALLOWED)
        return ()
    found = tuple(" ".join(value.split()) for value in values)
    good = True
    for place, cron in enumerate(found, 1):
        why = refused(cron)
        if why is None and cron in found[: place - 1]:
            why = f"it is the same as cron[{found.index(cron) + 1}]"
        if why is not None:
            good = False
            hint = NO_SUCH_DAY if why == NEVER else f"it must be {EXAMPLE}"
            message = f"found {shown(values[place - 1])}: {why}; {hint}"
            if many:
                node.fault_of("cron", place, message)
            else:
                node.fault("cron", message)
    return found if good else ()
