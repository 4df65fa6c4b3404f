"""Can the daemon do its job?  Pure: from the picture, in words."""

from collections.abc import Sequence
from typing import Any

import attrs

from syncd.admin.desk import LEAVING
from syncd.sync.picture import Holder, Picture


@attrs.frozen(kw_only=True)
class Ourselves:
    """Which process we are, as leases name it."""

    host: str
    pid: int


def readiness(
    picture: Picture | None,
    stale: str,
    sources: Sequence[str],
    ourselves: Ourselves,
    *,
    away: str,
    over: bool,
) -> dict[str, Any]:
    """What `/readyz` answers.

    stale: why the picture is an old one; it says nothing of the sources then.
    away: why Postgres is away for the daemon, as where it can be read but not written.
    """
    holders = {h.source: h for h in picture.holders} if picture is not None and not stale else {}
    of_sources = [
        {"source": name, "ok": not reason, "reason": reason or None}
        for name in sources
        for reason in [stale or _trouble(holders.get(name), ourselves)]
    ]
    gone = stale or away
    reasons = [said for said in (LEAVING if over else "", gone) if said]
    reasons += [f"{each['source']}: {each['reason']}" for each in of_sources if not each["ok"]]
    return {
        "ready": not reasons,
        "reason": reasons[0] if reasons else None,
        "database": {"ok": not gone, "reason": gone or None},
        "sources": of_sources,
    }


def _trouble(holder: Holder | None, ourselves: Ourselves) -> str:
    if holder is None or not holder.runs:
        return "its lease is held by nobody"
    if (holder.host, holder.pid) != (ourselves.host, ourselves.pid):
        return f"another syncd has its lease: pid {holder.pid} on {holder.host}"
    if holder.failing is not None:
        return f"its API fails everybody: {holder.failing.reason}"
    return ""
