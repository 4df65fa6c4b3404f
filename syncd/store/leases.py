"""Who has the right to run a source, and is the one who had it still there?

A lease lasts 30 s on Postgres's clock, and after a step of that clock no longer.  It is
taken over at once only from a holder that is provably gone: same boot, same PID namespace,
and no such process (a PID that was given to somebody else since is told by the process's
start time).
"""

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from syncd.errors import LeaseHeld
from syncd.store.connections import Connection, transaction
from syncd.store.sql import sql
from syncd.sync.model import Lease, StreamId
from syncd.sync.ports import ApiFailing

LASTS = 30.0  # seconds


def identity() -> dict[str, Any]:
    """This process, as another one on this host could recognise it."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        # Where one user's processes are hidden from another, absence proves nothing.
        "user": os.getuid(),
        "pid_namespace": _link("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def is_gone(holder: dict[str, Any] | None) -> bool:
    """Whether the holder provably runs no more."""
    if holder is None:
        return True
    ours = identity()
    if not ours["boot"] or not ours["pid_namespace"]:
        return False
    if any(holder.get(k) != ours[k] for k in ("boot", "pid_namespace", "user")):
        return False
    return _started(holder.get("pid", 0)) != holder.get("started")


def acquire(connection: Connection, source: str) -> Lease:
    ours = identity()
    held: LeaseHeld | None = None
    with transaction(connection) as cursor:
        cursor.execute(sql("ensure_lease"), {"source": source})
        cursor.execute(sql("lock_lease"), {"source": source})
        row = cursor.fetchone()
        holder, _, left, since = row or (None, 0, 0.0, "")
        if holder is not None and holder != ours and left > 0 and not is_gone(holder):
            if left > LASTS:
                cursor.execute(sql("shorten_lease"), {"source": source, "lasts": LASTS})
            held = LeaseHeld(
                f"source {source!r} is run by another syncd: pid {holder.get('pid')} on "
                f"{holder.get('host')}, since {since}. Stop that one; should it be dead, its "
                f"lease runs out in {min(left, LASTS):.0f} s"
            )
        else:
            values = {"source": source, "holder": json.dumps(ours), "lasts": LASTS}
            cursor.execute(sql("take_lease"), values)
            (fence,) = cursor.fetchone() or (0,)
            cursor.execute(sql("raise_fences"), {"source": source, "fence": fence})
    if held is not None:
        raise held  # outside of the transaction, which it would roll back
    return Lease(source=source, fence=fence)


def renew(connection: Connection, leases: Sequence[Lease]) -> list[Lease]:
    with transaction(connection) as cursor:
        cursor.execute(sql("renew_leases"), {"lasts": LASTS, **arrays(leases)})
        ours = set(cursor.fetchall())
    return [lease for lease in leases if (lease.source, lease.fence) in ours]


def release(connection: Connection, leases: Sequence[Lease]) -> None:
    with transaction(connection) as cursor:
        cursor.execute(sql("release_leases"), arrays(leases))


def post_failing(connection: Connection, lease: Lease, failing: ApiFailing | None) -> None:
    told: dict[str, Any] = {"since": None, "reason": None, "next_probe": None}
    if failing is not None:
        # An API's words may hold what no text of Postgres can.
        reason = failing.reason.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        told = {"since": failing.since, "reason": reason, "next_probe": failing.next_probe}
    with transaction(connection) as cursor:
        cursor.execute(sql("post_failing"), {**attrs.asdict(lease), **told})


def streams(connection: Connection, leases: Sequence[Lease]) -> list[StreamId]:
    """Every stream that their sources ever had, of those that are held still."""
    with transaction(connection) as cursor:
        cursor.execute(sql("streams_to_purge"), arrays(leases))
        return [StreamId(source=source, stream=stream) for source, stream in cursor]


def arrays(leases: Sequence[Lease]) -> dict[str, list[Any]]:
    return {"sources": [x.source for x in leases], "fences": [x.fence for x in leases]}


def _started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None if it runs no more."""
    stat = _read(f"/proc/{pid}/stat")
    # The name in parentheses may hold blanks and parentheses of its own.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return fields[19]


def _boot() -> str:
    """The boot of this machine; the unit hides it from us, and says it in a variable."""
    found = _read("/proc/sys/kernel/random/boot_id") or os.environ.get("SYNCD_BOOT_ID", "")
    return found.replace("-", "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
