"""Where do log lines go, and in what shape?

To journald with their fields when systemd connected standard error to it; else to
standard error: in columns with colours on a terminal, plain lines elsewhere, JSON if it
was asked for.  Values are bound as fields, not baked into sentences, so that the same
event always has the same words (`kinds`).  Standard library loggers end here too;
httpx and httpcore are quiet, since their lines hold whole URLs.

Nothing that goes wrong in here reaches who logs: a line may be lost, the daemon may not.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TextIO

from loguru import logger

from syncd.logs import kinds
from syncd.logs.entry import Entry, entry, make_safe
from syncd.logs.hiding import Hiding
from syncd.logs.journal import Journal, stands_behind
from syncd.logs.kinds import Kind
from syncd.logs.recent import Recent
from syncd.logs.shapes import as_json, plain, terminal
from syncd.logs.teller import Line, Teller
from syncd.logs.trouble import Told, Troubles, Words
from syncd.sync import events
from syncd.sync.model import StreamId
from syncd.sync.ports import Request

if TYPE_CHECKING:
    from loguru import Message

Shape = Literal["auto", "plain", "json"]
Sink = Callable[[Entry], None]

QUIET = ("httpx", "httpcore", "hpack", "hypercorn")

_hiding = Hiding()
_teller = Teller(time.monotonic)
_journals: list[Journal] = []
_recent = Recent()

SPANS = Words(starts=kinds.SPANS_LOST, lasts=kinds.SPANS_STILL_LOST, ends=kinds.SPANS_TAKEN)
_spans = Troubles(time.monotonic, every=600.0)
SILENCE = Words(starts=kinds.SILENT, lasts=kinds.STILL_SILENT, ends=kinds.ANSWERED)
_silence = Troubles(time.monotonic)


def configure(level: str = "INFO", *, shape: Shape = "auto", secrets: Iterable[str] = ()) -> None:
    """Send everything that is logged to where it belongs, from now on, without `secrets`."""
    hide(secrets)
    logger.remove()
    logger.configure(patcher=partial(make_safe, hiding=_hiding))
    _add(_sink(sys.stderr, shape), level)
    logging.basicConfig(handlers=[_Caught()], level=logging.INFO, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns of an error that another one hides, with the values of the row that it is about.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    sys.excepthook = _last_word
    threading.excepthook = lambda args: _last_word(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def hide(secrets: Iterable[str]) -> None:
    """Let no line hold one of these, from now on: after a reload there are more."""
    _hiding.add(secrets)


def lines_lost() -> int:
    """How many journald did not take."""
    return sum(journal.ever_lost for journal in _journals)


def hidden(text: str) -> str:
    """The text as a line would hold it: without any of the secrets that are known."""
    return _hiding.hide(text)


def tell(event: events.Event) -> None:
    """Log one event of the loop, with its values bound as fields."""
    _say(_teller.hear(event))


def postgres_away(reason: str, seconds: float) -> None:
    """Log, thinned, that Postgres is away before any stream runs; tried again in so long."""
    _say(_teller.away(reason, seconds))


def postgres_back() -> None:
    """Log that it is there, if it was told to be away."""
    _say(_teller.back())


def postgres_silent(waited: float, most: float) -> None:
    """Log, thinned, that a statement is without an answer, which `most` seconds are waited for."""
    # An answer that comes before the next statement can be told of is no end of it.
    fields = {"waited": round(waited, 1), "most": round(most)}
    _say_of(_silence.happened("", SILENCE, lasting=15.0, **fields))


def postgres_answered() -> None:
    """Log that nothing is any more, if that was told."""
    _say_of(_silence.ended("", SILENCE))


def leaving() -> None:
    """Log that a signal asked us to leave."""
    _log(kinds.LEAVING)


def cut_short() -> None:
    """Log that a second one did."""
    _log(kinds.CUT_SHORT)


def reloaded(plan: str) -> None:
    """Log that the config was taken up; `plan` counts what became of the streams."""
    _log(kinds.RELOADED, plan=plan)


def refused(fault: str) -> None:
    """Log one fault of a config that was not taken up."""
    _log(kinds.REFUSED, fault=fault)


def fate(stream: StreamId, fate: str, changed: Iterable[str]) -> None:
    """Log what a reload makes of one stream."""
    _log(kinds.FATE, stream=str(stream), fate=fate, changed=", ".join(changed) or None)


def asked(request: Request) -> None:
    """Log what an operator asked for."""
    stream = f"{request.source}.{request.stream}" if request.stream else None
    _log(kinds.ASKED, stream=stream, what=request.kind, subjects=" ".join(request.subjects) or None)


def door_open(address: str) -> None:
    """Log where the side door is."""
    _log(kinds.DOOR_OPEN, address=address)


def door_refused(origin: str, times: int) -> None:
    """Log that somebody came with a wrong token, so many times since the last line."""
    _log(kinds.DOOR_REFUSED, origin=origin, times=times)


def door_failed(bug: BaseException) -> None:
    """Log a bug that cost the answer to one request, and nothing else."""
    logger.opt(exception=bug).log(kinds.DOOR_FAILED.level, kinds.DOOR_FAILED.sentence)


def remember() -> None:
    """Keep the last noteworthy lines from now on, for `recent`."""
    _add(_recent.hear, "INFO")


def recent() -> list[dict[str, Any]]:
    """The last noteworthy lines, newest first, as objects."""
    return _recent.objects()


def traces_begun(exporters: Iterable[str]) -> None:
    """Log that spans are made, and by what they are exported."""
    _log(kinds.TRACES_BEGUN, exporters=", ".join(exporters))


def no_traces(reason: str) -> None:
    """Log why there are no spans, or no more of them."""
    _log(kinds.NO_TRACES, reason=reason)


def spans_lost(exporter: str, reason: str) -> None:
    """Log, thinned, that spans are lost.  Called in a thread of each exporter's own."""
    told = _spans.happened(exporter, SPANS, exporter=exporter, reason=reason)
    _say_of(told)


def spans_taken(exporter: str) -> None:
    """Log that they are not any more, if that was told."""
    _say_of(_spans.ended(exporter, SPANS))


def _say_of(told: Told | None) -> None:
    if told is not None:
        kind, fields = told
        _log(kind, **fields)


def told(receiver: str, what: str, *, attempts: int) -> None:
    """Log that a receiver has taken a notification."""
    _log(kinds.TOLD, receiver=receiver, what=what, attempts=attempts if attempts > 1 else None)


def not_told(receiver: str, what: str, *, reason: str, again_in: float) -> None:
    """Log that a receiver has begun to fail; it is told once until it takes one again."""
    _log(kinds.NOT_TOLD, receiver=receiver, what=what, reason=reason, again_in=round(again_in))


def given_up(receiver: str, what: str, *, reason: str) -> None:
    """Log that nobody tries to deliver a notification any more."""
    _log(kinds.GIVEN_UP, receiver=receiver, what=what, reason=reason)


def left_untold(receiver: str, count: int) -> None:
    """Log that we leave with so many undelivered."""
    _log(kinds.LEFT_UNTOLD, receiver=receiver, count=count)


def not_kept(reason: str) -> None:
    """Log that what receivers were told can't be written down, though Postgres is there."""
    _log(kinds.NOT_KEPT, reason=reason)


def heartbeat_failed(stream: StreamId, *, reason: str) -> None:
    """Log that whoever watches a stream did not hear of its good cycle."""
    _log(kinds.HEARTBEAT_FAILED, stream=str(stream), reason=reason)


def words_of(record: logging.LogRecord) -> str:
    """What a standard library record says, as far as it can be told."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - its words don't fit its arguments
        return str(record.msg)


def _log(kind: Kind, **fields: object) -> None:
    given = {name: value for name, value in fields.items() if value is not None}
    logger.bind(**given).log(kind.level, kind.sentence)


def _say(lines: Iterable[Line]) -> None:
    for line in lines:
        stream = {"stream": line.stream} if line.stream else {}
        logger.bind(**stream, **line.fields).log(line.kind.level, line.kind.sentence)


def _add(sink: Sink, level: str) -> None:
    # `diagnose` would print the values of variables into tracebacks: secrets among them.
    logger.add(
        _never_failing(sink),
        level=level,
        format="{message}",
        diagnose=False,
        backtrace=False,
        catch=True,
    )


def _sink(file: TextIO | None, shape: Shape) -> Sink:
    if file is None:  # `syncd run 2>&-`
        return lambda _: None
    if shape == "auto":
        with contextlib.suppress(OSError):  # no descriptor behind it, or none left for a socket
            if stands_behind(file.fileno(), os.environ):
                _journals.append(Journal())
                return _journals[-1]
        if file.isatty():
            bare = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
            return partial(_write, file, partial(terminal, colours=not bare))
    return partial(_write, file, as_json if shape == "json" else plain)


def _write(file: TextIO, shaped: Callable[[Entry], str], entry: Entry) -> None:
    text = shaped(entry) + "\n"
    file.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
    file.flush()


def _never_failing(sink: Sink) -> "Callable[[Message], None]":
    """A sink that loses a line rather than raise.

    Loguru's own `catch` would print the record to standard error.
    """

    def hear(message: "Message") -> None:
        with contextlib.suppress(Exception):  # there is nowhere left to tell it
            sink(entry(message.record))

    return hear


def _last_word(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    """Log what nobody caught: as one entry, and without secrets."""
    if not issubclass(kind, Exception | BaseExceptionGroup):
        sys.__excepthook__(kind, error, where)
        return
    logger.opt(exception=(kind, error, where)).critical(kinds.BUG.sentence)


class _Caught(logging.Handler):
    """Hands a standard library record on to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in _LEVELS else record.levelno
        log = logger.bind(logger=record.name).opt(exception=record.exc_info)
        log.log(level, "{}", words_of(record))


_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
