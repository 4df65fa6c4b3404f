"""`syncd diff`: what would a cycle change, row by row?  The dry run."""

import json
import sys
from functools import partial
from itertools import islice
from typing import Any

import attrs
import click
import trio

from syncd import logs
from syncd.app import comparing
from syncd.commands.options import Options, select
from syncd.commands.screen import Screen
from syncd.config.secrets import redactions
from syncd.config.settings import StreamSettings
from syncd.errors import Draining, StreamBroken, SyncdError
from syncd.progress import Progress
from syncd.store.findings import Counted, Findings
from syncd.sync.diff import Outcome
from syncd.sync.model import StreamId
from syncd.usage.diff import SHOWN
from syncd.usage.exits import DIFFERENT, FAILED
from syncd.views import differences
from syncd.views.streams import configured
from syncd.views.words import number, plain


def diff(
    options: Options,
    stream: str,
    *,
    full: bool,
    pages: int | None,
    limit: int | None,
    columns: str | None,
    as_json: bool,
    exit_code: bool,
) -> None:
    settings = options.settings()
    (wanted,) = select(configured(settings), [stream])
    of = settings.sources[wanted.source].streams[wanted.stream]
    shown = _columns(of, columns)
    logs.configure(level="ERROR", secrets=redactions(settings))
    with Findings() as findings:
        progress = Progress.on(sys.stderr)
        work = partial(comparing.diff, progress=progress, full=full, pages=pages)
        outcome = trio.run(work, settings, wanted, findings)
        counted = findings.counted()
        if as_json:
            _print(findings, shown, limit)
            _print_summary(wanted, of, outcome, counted)
        else:
            _show(findings, shown, SHOWN if limit is None else limit)
            _sum_up(wanted, of, outcome, counted)
    if outcome.trouble is not None:
        for line in _trouble(wanted, outcome.trouble):
            click.echo(f"syncd: {line}", err=True)
        sys.exit(FAILED)
    if exit_code and (counted.differences or outcome.wanted):
        sys.exit(DIFFERENT)


def _columns(of: StreamSettings, named: str | None) -> list[str]:
    columns = [c.strip() for c in named.split(",")] if named is not None else []
    unknown = [c for c in columns if c not in of.columns]
    if unknown:
        listed = ", ".join(of.columns)
        raise click.UsageError(f"there is no column {unknown[0]!r}; name some of: {listed}")
    return columns


# --- for people -------------------------------------------------------------------------------


def _show(findings: Findings, columns: list[str], limit: int) -> None:
    screen = Screen.stdout()
    news = (d for d in findings if not d.again)
    found = differences.chosen(news, columns)
    for difference, fields in islice(found, limit):
        line, colour = differences.heading(difference)
        screen.say(line, style=colour)
        for name, (old, new) in fields.items():
            added = difference.change == "added"
            screen.say(differences.field(name, old, new, added=added), indent=4)
    if limit and next(found, None) is not None:
        screen.say(f"… and more; --limit N shows more than {number(limit, 'record')}")


def _sum_up(stream: StreamId, of: StreamSettings, outcome: Outcome, counted: Counted) -> None:
    screen = Screen.stdout()
    if outcome.pages:
        table = plain(f"{of.schema}.{of.table}")
        said = differences.summed_up(outcome, counted.of)
        screen.say(f"{plain(str(stream))} and table {table}: {said}", style="bold")
        for note in differences.notes(stream, of, outcome, counted.aside_again):
            screen.say(f"- {note}")


def _trouble(stream: StreamId, error: SyncdError) -> list[str]:
    reason, more = str(error), ["what was found until then is told; the rest is not known"]
    if isinstance(error, Draining):
        reason = "interrupted"
    elif isinstance(error, StreamBroken):
        reason = error.reason
        more = [*filter(None, [error.hint]), "a cycle would end there, too", *more]
    return [plain(f"{stream}: not finished: {reason}"), *(f"  {plain(line)}" for line in more)]


# --- for programs -------------------------------------------------------------------------------


def _print(findings: Findings, columns: list[str], limit: int | None) -> None:
    for difference, fields in islice(differences.chosen(iter(findings), columns), limit):
        click.echo(differences.line(difference, fields))


def _print_summary(
    stream: StreamId, of: StreamSettings, outcome: Outcome, counted: Counted
) -> None:
    trouble, absence = outcome.trouble, outcome.absence
    summary: dict[str, Any] = {
        "stream": str(stream),
        "table": f"{of.schema}.{of.table}",
        "complete": trouble is None and not outcome.more,
        "trouble": None if trouble is None else str(trouble),
        "since": outcome.coming.since,
        "looks_for_gone": outcome.coming.reconcile,
        "pages": outcome.pages,
        "differences": counted.differences,
        "changes": dict(counted.of),
        "put_aside_again": counted.aside_again,
        "calls": outcome.calls,
        "missing_known": absence is not None,
        "suspicious": outcome.suspicious or None,
        "held": outcome.question or None,
        "counts": attrs.asdict(outcome.totals),
        "notes": differences.notes(stream, of, outcome, counted.aside_again),
    }
    del summary["counts"]["calls"]  # none is made
    click.echo(json.dumps({"summary": summary}))
