"""How many requests does an answer say are left, and until when?

Pure: an answer's headers in, quotas out.  Three families say it: `RateLimit` with
`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, its newest form and the one before),
that draft's older three headers, and the X-RateLimit ones that it was made of.  What is over,
or has no end, says nothing; what can't be meant is told, so that somebody hears of it.
"""

import re
import time
from collections.abc import Iterator, Mapping

import attrs

from syncd.api.hints import LONGEST, ahead, date_of, members, quotas_of
from syncd.api.shown import shown
from syncd.sync.ports import Quota

FAMILIES = ("x-ratelimit", "x-rate-limit", "ratelimit")
ENDS = ("reset", "reset-after")
LATEST = 400 * 86_400.0  # seconds; an end beyond it is a slip: no quota is for longer than a year

_COUNT = re.compile(r"\d{1,15}(\.\d{0,15})?", re.ASCII)


@attrs.frozen(kw_only=True)
class Told:
    """What one answer says of its API's limits."""

    quotas: tuple[Quota, ...] = ()
    nonsense: str = ""
    """A header that can't be meant as it stands; empty if there is none."""


class _NonsenseError(Exception):
    """What is said can't be meant."""


def told(headers: Mapping[str, str], now: float | None = None) -> Told:
    """headers: with lower-case names.  now: our wall clock, where the answer has no Date."""
    if not any("ratelimit" in name or "rate-limit" in name for name in headers):
        return Told()
    reference = date_of(headers.get("date", ""))
    if reference is None:
        reference = time.time() if now is None else now
    quotas: list[Quota] = []
    nonsense = ""
    for part in (*(_of_family(headers, family) for family in FAMILIES), _combined(headers)):
        try:
            for left, limit, end, window in part:
                quota = _quota(left, limit, end, window, reference)
                if quota is not None and quota not in quotas:
                    quotas.append(quota)
        except _NonsenseError as error:
            nonsense = nonsense or str(error)
    return Told(quotas=tuple(quotas), nonsense=nonsense)


_Said = tuple[tuple[str, str], str | None, tuple[str, str] | None, str | None]
"""What is left and where it stands, of how many, the end and where it stands, the window."""


def _of_family(headers: Mapping[str, str], family: str) -> Iterator[_Said]:
    name = f"{family}-remaining"
    if name not in headers:
        return
    ends = [f"{family}-{end}" for end in reversed(ENDS) if f"{family}-{end}" in headers]
    end = (ends[0], headers[ends[0]]) if ends else None
    # The older form of the draft may list its windows behind the limit: `10, 10;w=60`.
    limit, _, policy = headers.get(f"{family}-limit", "").partition(",")
    limit = limit.partition(";")[0].strip()
    policies = dict(members(headers.get("ratelimit-policy", "")) + members(policy))
    yield (name, headers[name]), limit, end, policies.get(limit, {}).get("w")


def _combined(headers: Mapping[str, str]) -> Iterator[_Said]:
    name = "ratelimit"
    if name not in headers:
        return
    quotas = quotas_of(headers[name])
    if not quotas and headers[name].strip():
        raise _NonsenseError(f"{name}: {shown(headers[name])}")
    policies = dict(members(headers.get("ratelimit-policy", "")))
    for of, quota in quotas.items():
        policy = policies.get(of, {})
        end = (f"{name} (t)", quota["t"]) if "t" in quota else None
        # In the older form the limit itself is the name.
        limit = policy.get("q", of)
        if "r" in quota:
            yield (f"{name} (r)", quota["r"]), limit, end, policy.get("w")


def _quota(
    left: tuple[str, str],
    limit: str | None,
    end: tuple[str, str] | None,
    window: str | None,
    reference: float,
) -> Quota | None:
    """None if it is over, or nobody says when it is."""
    if not _COUNT.fullmatch(left[1].strip()):
        raise _NonsenseError(f"{left[0]}: {shown(left[1])}")
    per = float(window) if window is not None and _COUNT.fullmatch(window) else None
    until = per
    if end is not None:
        until = ahead(end[1], reference)
        if until is None or until > LATEST:
            raise _NonsenseError(f"{end[0]}: {shown(end[1])}")
    if until is None or until <= 0:
        return None
    many = limit is not None and _COUNT.fullmatch(limit)
    return Quota(
        left=int(float(left[1])),
        seconds=min(until, LONGEST),
        limit=int(float(limit or 0)) if many else None,
        window=per,
    )
