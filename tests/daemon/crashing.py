"""syncd with a step at which it, or its Postgres, is killed: `python -m tests.daemon.crashing`.

Takes syncd's own command line.  The step stands in the environment: CRASH_STEP, one of
`STEPS`; CRASH_PAGE, the number of the page in its cycle; CRASH_CALL, a record of that page;
CRASH_POSTGRES, a postmaster.pid if it is Postgres that dies.  Nothing of the product knows
of this: the functions that take the steps are wrapped here, by name.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psycopg

from syncd.api import body, transport
from syncd.store import pages, statements, tokens
from syncd.store.sql import sql
from syncd.sync.permit import TokenPermit
from syncd.sync.ports import Granted

FETCH = ("fetch-token", "fetch-written", "fetch-answer")
CALL = ("call-intent", "call-written", "call-answer", "call-settled")
COMMIT = ("begin", "rows", "dead", "sums", "commit")
HALVED = tuple(f"halved-{s}" for s in ("rollback", "begin", "checkpoint", *COMMIT[1:]))
"""The second transaction of a page that was refused for one of its records."""

UNKNOWN = ("sent", "done")
"""COMMIT is on its way; it is done, and its answer has not been read."""

STEPS = tuple(
    f"{moment} {step}"
    for step in (*FETCH, *CALL, *COMMIT, *HALVED)
    for moment in ("before", *(UNKNOWN if step.endswith("commit") else ()), "after")
)

CRASHED = "crashed here"
PAGE_STATEMENTS = {
    sql("begin_page"): "begin",
    sql("rollback"): "rollback",
    sql("move_checkpoint"): "checkpoint",
    sql("put_aside"): "dead",
    sql("count_page"): "sums",
    sql("commit"): "commit",
}

asking: ContextVar[str] = ContextVar("asking", default="")
committing = threading.local()


class Crash:
    """The step that this process was told, taken once."""

    def __init__(self) -> None:
        self.step = os.environ["CRASH_STEP"]
        self.page = int(os.environ["CRASH_PAGE"])
        self.call = os.environ["CRASH_CALL"]
        self.postgres = os.environ.get("CRASH_POSTGRES")
        self.over = False
        if self.step not in STEPS:
            raise SystemExit(f"no such step: {self.step}")

    def at(self, step: str) -> None:
        if not self.over and step == self.step:
            self.over = True
            self.kill()

    def kill(self) -> None:
        if self.postgres is None:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        postmaster = Path(self.postgres or "").read_text("utf-8").split()[0]
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text("utf-8")
        # The postmaster first: it would begin to mend what its children's deaths broke.
        for pid in (postmaster, *children.split()):
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        os.write(sys.stdout.fileno(), f"{CRASHED}\n".encode())

    def of_request(self, spent_on: str) -> str | None:
        """`fetch` or `call` if this is the one that is meant."""
        if spent_on.endswith(f" page {self.page}"):
            return "fetch"
        return "call" if spent_on.endswith(f" call {self.call}") else None


def wrap(crash: Crash) -> None:
    """Put the step into the functions that take it."""
    _wrap_requests(crash)
    _wrap_ledger(crash)
    _wrap_transaction(crash)


def _wrap_requests(crash: Crash) -> None:
    take_tokens = tokens.take_tokens

    def take(c: Any, wants: Any, spent_on: str, *rest: Any) -> Any:
        of = crash.of_request(spent_on)
        step = {"fetch": "fetch-token", "call": "call-intent"}.get(of or "")
        crash.at(f"before {step}")
        taken = take_tokens(c, wants, spent_on, *rest)
        if isinstance(taken, Granted):
            crash.at(f"after {step}")
        return taken

    _put(tokens, take_tokens=take)

    def request(step: str, permit: TokenPermit, moment: str) -> None:
        # A login shares the permit of the page that it is for.
        if asking.get().startswith("/api/"):
            crash.at(f"{moment} {crash.of_request(permit.spent_on)}-{step}")

    confirm, written, answered = TokenPermit.confirm, TokenPermit.written, TokenPermit.answered

    async def confirm_(self: TokenPermit) -> None:
        await confirm(self)
        request("written", self, "before")

    def written_(self: TokenPermit) -> None:
        request("written", self, "after")
        written(self)

    def answered_(self: TokenPermit) -> None:
        request("answer", self, "after")
        answered(self)

    _put(TokenPermit, confirm=confirm_, written=written_, answered=answered_)
    exchange, read_body = transport.Transport.exchange, body.read_body
    permits: ContextVar[Any] = ContextVar("permits")

    async def exchange_(self: Any, ask: Any, permit: Any, **more: Any) -> Any:
        asking.set(ask.path)
        permits.set(getattr(permit, "_permit", permit))
        return await exchange(self, ask, permit, **more)

    async def read(*arguments: Any) -> Any:
        request("answer", permits.get(), "before")
        return await read_body(*arguments)

    _put(transport.Transport, exchange=exchange_)
    _put(transport, read_body=read)


def _wrap_ledger(crash: Crash) -> None:
    settle_calls = tokens.settle_calls

    def settle(c: Any, settlements: Any) -> None:
        ours = any(s.intent.record_key == crash.call for s in settlements)
        if ours:
            crash.at("before call-settled")
        settle_calls(c, settlements)
        if ours:
            crash.at("after call-settled")

    _put(tokens, settle_calls=settle)


def _wrap_transaction(crash: Crash) -> None:
    commit_pages, by_halves = pages.commit_pages, pages._commit_by_halves

    def commit(c: Any, table: Any, checkpoint: Any, together: Any) -> Any:
        committing.ours = checkpoint.pages + 1 == crash.page
        committing.prefix = ""
        committing.rows = statements.statements(table)
        try:
            return commit_pages(c, table, checkpoint, together)
        finally:
            committing.ours = False

    def halves(*arguments: Any) -> Any:
        committing.prefix = "halved-"
        return by_halves(*arguments)

    _put(pages, commit_pages=commit, _commit_by_halves=halves)

    def stepped(run: Callable[..., Any]) -> Callable[..., Any]:
        def step(self: Any, query: Any, *arguments: Any) -> Any:
            name = _name(query)
            if name is None:
                return run(self, query, *arguments)
            crash.at(f"before {name}")
            if crash.step in [f"{moment} {name}" for moment in UNKNOWN] and not crash.over:
                _send(self.connection, wait="done" in crash.step)
                crash.at(crash.step)
                self.connection.close()
                raise psycopg.OperationalError("the connection was lost in COMMIT")
            result = run(self, query, *arguments)
            crash.at(f"after {name}")
            return result

        return step

    cursor = psycopg.Cursor
    _put(cursor, execute=stepped(cursor.execute), executemany=stepped(cursor.executemany))


def _name(query: Any) -> str | None:
    """The step that a statement of the page's transaction is."""
    if not getattr(committing, "ours", False):
        return None
    rows = committing.rows
    if query in (rows.commit, rows.turn, rows.first_turn, rows.upsert):
        return f"{committing.prefix}rows"
    name = PAGE_STATEMENTS.get(query) if isinstance(query, str) else None
    if name == "rollback":
        return "halved-rollback"  # it is what the halves begin with
    return None if name is None else committing.prefix + name


def _send(connection: Any, *, wait: bool) -> None:
    """Send COMMIT, and read no answer; `wait` until it has come."""
    connection.pgconn.send_query(b"COMMIT")
    while connection.pgconn.flush():
        pass
    if wait:
        select.select([connection.fileno()], [], [])


def _put(where: Any, **functions: Any) -> None:
    for name, function in functions.items():
        setattr(where, name, function)


if __name__ == "__main__":
    wrap(Crash())
    from syncd.cli import main

    main()
