"""Where do log lines go, and in what shape?

To standard error: with colours and columns on a terminal, plain lines elsewhere.
Values are bound as fields, not baked into sentences, so that the same event always
has the same words.  Standard library loggers end here too; httpx and httpcore are
quiet, since their lines hold whole URLs.
"""

import logging
import sys
from typing import TYPE_CHECKING

import attrs
from loguru import logger

from syncd.sync import events

if TYPE_CHECKING:
    from loguru import Record


def configure(level: str = "INFO") -> None:
    """Send everything that is logged to standard error from now on."""
    logger.remove()
    # `diagnose` would print the values of variables into tracebacks: secrets among them.
    logger.add(sys.stderr, level=level, format=_format, diagnose=False, backtrace=False)
    logging.basicConfig(handlers=[_Caught()], level=logging.INFO, force=True)
    for name in ("httpx", "httpcore", "psycopg"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _format(record: "Record") -> str:
    fields = " ".join(f"{k}={{extra[{k}]}}" for k in record["extra"])
    when = "<dim>{time:YYYY-MM-DD HH:mm:ss.SSS}</dim> "
    return f"{when}<level>{{level: <7}}</level> {{message}} <dim>{fields}</dim>\n{{exception}}"


class _Caught(logging.Handler):
    """Hands a standard library record on to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in _LEVELS else record.levelno
        logger.opt(exception=record.exc_info).log(level, "{}", record.getMessage())


_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})


def tell(event: events.Event) -> None:  # noqa: C901, PLR0912 - one case for each event
    """Log one event of the loop, with its values bound as fields."""
    log = logger.bind(stream=str(event.stream))
    match event:
        case events.CycleStarted(checkpoint=at) if at.pages:
            log.bind(cycle=at.cycle, pages=at.pages).info("cycle taken up again")
        case events.CycleStarted(checkpoint=at):
            log.bind(cycle=at.cycle).info("cycle started")
        case events.PageCommitted(checkpoint=at, totals=totals):
            log.bind(pages=at.pages, records=totals.seen).info("page committed")
        case events.Retrying():
            log.bind(attempt=event.attempt, reason=event.reason).warning("request failed")
        case events.Waiting(why="database"):
            log.bind(seconds=round(event.seconds, 2), reason=event.reason).warning(
                "Postgres is away"
            )
        case events.Waiting(why="hint"):
            log.bind(seconds=round(event.seconds, 1)).warning("the API asked to wait")
        case events.PutAside():
            log.bind(key=event.key, kind=event.kind, reason=event.reason).warning(
                "record put aside"
            )
        case events.CycleEnded():
            counts = {k: v for k, v in attrs.asdict(event.totals).items() if v}
            level = "INFO" if event.outcome == "ok" else "WARNING"
            log.bind(cycle=event.cycle, outcome=event.outcome, reason=event.reason, **counts).log(
                level, "cycle ended"
            )
        case events.Paused():
            log.bind(seconds=round(event.seconds), reason=event.reason).error(
                "retries used up, the cycle goes on later"
            )
        case events.Resting():
            log.bind(seconds=round(event.seconds)).info("resting until the next cycle")
        case events.Parked():
            log.bind(reason=event.reason, hint=event.hint).error("stream parked")
        case events.LoggedIn():
            log.bind(expires_in=round(event.expires_in)).info("logged in")
        case _:
            pass
