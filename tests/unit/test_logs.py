"""Whether lines get where they belong, without a secret and without ever failing who logs."""

import base64
import io
import json
import logging
import os
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from loguru import logger

from syncd import logs
from syncd.logs.hiding import Hiding
from syncd.logs.journal import Journal
from syncd.logs.teller import Teller
from syncd.sync import events
from syncd.sync.model import StreamId
from tests.unit.test_logs_journal import Journald, folder

__all__ = ["folder"]

CANARY = 'canary "7f3a" ü\\n@/x'
BASIC = base64.b64encode(f"me:{CANARY}".encode()).decode()
SHOP = StreamId(source="shop", stream="orders")
Read = Callable[[], str]


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `configure` changes for the whole process, changed back."""
    monkeypatch.setattr(logs, "_hiding", Hiding())
    monkeypatch.setattr(logs, "_teller", Teller(lambda: 0.0))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logger.remove()
    logger.configure(patcher=lambda _: None)


@contextmanager
def file_sink(shape: logs.Shape, path: Path, patch: pytest.MonkeyPatch) -> Iterator[Read]:
    with path.open("w", encoding="utf-8") as file:
        patch.setattr(sys, "stderr", file)
        logs.configure("DEBUG", shape=shape, secrets=[CANARY, BASIC])
        yield lambda: path.read_text("utf-8")


@contextmanager
def terminal_sink(patch: pytest.MonkeyPatch) -> Iterator[Read]:
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    heard: list[bytes] = []

    def read() -> str:
        while True:
            try:
                heard.append(os.read(ours, 2**16))
            except BlockingIOError:
                return b"".join(heard).decode()

    with os.fdopen(theirs, "w", encoding="utf-8") as file:
        patch.setattr(sys, "stderr", file)
        logs.configure("DEBUG", secrets=[CANARY, BASIC])
        write = file.write

        def write_and_read(text: str) -> int:
            read()  # or the terminal's buffer is full, and who writes waits
            return write(text)

        patch.setattr(file, "write", write_and_read, raising=False)
        yield read
    os.close(ours)


@contextmanager
def journal_sink(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Read]:
    journald = Journald(folder / "journal")
    journald._socket.settimeout(0)
    with (folder / "err").open("w") as file:
        status = os.fstat(file.fileno())
        patch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        journal = Journal(journald.path)
        patch.setattr(logs, "Journal", lambda: journal)
        patch.setattr(sys, "stderr", file)
        logs.configure("DEBUG", secrets=[CANARY, BASIC])

        entries: list[str] = []

        def read() -> str:
            while True:
                try:
                    entries.append("\n".join(journald.read().values()))
                except BlockingIOError:
                    return "\n".join(entries)

        yield read
    journal.close()
    journald.close()


@pytest.fixture(params=["plain", "json", "terminal", "journal"])
def sink(
    request: pytest.FixtureRequest, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Read]:
    """Each sink in turn, and what can be read behind it."""
    opened = {
        "plain": lambda: file_sink("auto", tmp_path / "err", monkeypatch),
        "json": lambda: file_sink("json", tmp_path / "err", monkeypatch),
        "terminal": lambda: terminal_sink(monkeypatch),
        "journal": lambda: journal_sink(folder, monkeypatch),
    }[request.param]()
    with opened as read:
        yield read


def deep(text: str) -> BaseException:
    """An exception group with a secret at every level, and a cause."""
    try:
        try:
            os.environ[text]
        except KeyError as error:
            raise ExceptionGroup(text, [ValueError(text), OSError(1, text)]) from error
    except ExceptionGroup as group:
        group.add_note(text)
        return group
    raise AssertionError("unreachable")


def test_a_secret_is_in_no_line_however_it_gets_there(
    sink: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Message, field, event, exception, exception group, library, bug: `***` stands there."""
    root = logging.getLogger()  # without pytest's own handler, which raises at bad arguments
    ours = [handler for handler in root.handlers if isinstance(handler, logs._Caught)]
    monkeypatch.setattr(root, "handlers", ours)
    forms = [CANARY, BASIC, urllib.parse.quote(CANARY, safe=""), repr(CANARY), json.dumps(CANARY)]
    for form in forms:
        error = deep(form)
        lib = logging.getLogger("lib")
        for say in (
            partial(logger.info, "1 {}", form),
            partial(
                logger.bind(field=form, nested={"a": [form]}, error=ValueError(form)).info, "2"
            ),
            partial(logger.bind(**{form: 1}).info, "3"),
            partial(logger.opt(exception=error).error, "4"),
            partial(lib.warning, "5 %s", form),
            partial(lib.error, "6", exc_info=error),
            partial(lib.warning, f"7 %d {form}", "no number"),
            partial(logs.tell, events.Parked(stream=SHOP, reason=form, hint=form)),
            partial(sys.excepthook, type(error), error, error.__traceback__),
        ):
            say()
            sink()  # a journald that is not read from is soon full
    logs.hide(["rotated-9c1d"])
    logger.info("8 rotated-9c1d")
    heard = sink()
    for secret in ("7f3a", BASIC, "rotated", base64.b64encode(CANARY.encode()).decode()[:8]):
        assert secret not in heard
    assert heard.count("***") > 50
    for n in range(1, 9):
        assert str(n) in heard
    assert "a bug stopped syncd" in heard
    assert "Exception Group Traceback" in heard


def test_the_canary_is_found_where_nothing_hides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the test above would show nothing."""
    with file_sink("plain", tmp_path / "err", monkeypatch) as read:
        logger.info("another-canary")
        assert "another-canary" in read()


def test_a_library_speaks_through_the_same_sink(sink: Read) -> None:
    """With its name beside it; httpx, which writes whole URLs, is quiet."""
    logging.getLogger("some.library").warning("it %s", "happened")
    for name in ("httpx", "httpcore.http11", "psycopg.pool"):
        logging.getLogger(name).info("GET https://me:pw@example.com")
    heard = sink()
    assert "it happened" in heard
    assert "some.library" in heard
    assert "example.com" not in heard


def test_no_secret_out_what_psycopg_warns_of_is_not_said(sink: Read) -> None:
    """no-secret-out: of an error that another one hides, with the values of the row it is about."""
    logging.getLogger("psycopg").warning("error ignored: Failing row contains (canary)")
    logging.getLogger("psycopg").error("heard")
    assert "canary" not in sink()
    assert "heard" in sink()


def test_no_variable_s_value_is_in_a_traceback(sink: Read) -> None:
    """Loguru's `diagnose` would print them."""
    unknown_secret = "local-" + "5e1f"
    try:
        len(unknown_secret) / 0
    except ZeroDivisionError:
        logger.exception("oh")
    assert "ZeroDivisionError" in (heard := sink())
    assert "local-5e1f" not in heard


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_what_can_t_be_written_costs_a_line_and_nothing_else(sink: Read) -> None:
    """A value without words, or an exception without: the daemon goes on."""
    logger.bind(value=Unspeakable()).info("one")
    logger.opt(exception=ValueError(Unspeakable())).info("two")
    logger.info("three")
    heard = sink()
    assert "a log line could not be written" in heard
    assert "three" in heard


def test_a_broken_sink_ends_nothing_and_leaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard error was closed behind our back."""
    with file_sink("plain", tmp_path / "err", monkeypatch):
        sys.stderr.close()
        logger.info("into the void")
        logging.getLogger("lib").warning("too")
        logs.tell(events.Resting(stream=SHOP, seconds=5))
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_left_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`syncd run 2>&1 | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, "w", encoding="utf-8", buffering=1, closefd=False)
    monkeypatch.setattr(sys, "stderr", file)
    logs.configure()
    for _ in range(3):
        logger.info("nobody reads this")
    logger.remove()
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that its rest can be written
    file.close()


def test_without_standard_error_lines_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`syncd run 2>&-`: Python has none then."""
    monkeypatch.setattr(sys, "stderr", None)
    logs.configure()
    logger.info("nobody reads this")


def test_what_has_no_descriptor_is_written_to_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under systemd as well: a test's standard error, say."""
    file = io.StringIO()
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    monkeypatch.setattr(sys, "stderr", file)
    logs.configure()
    logger.bind(n=1).info("here")
    assert file.getvalue().endswith(" INFO here n=1\n")


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As https://no-color.org asks."""
    monkeypatch.setenv("NO_COLOR", "1")
    with terminal_sink(monkeypatch) as read:
        logger.warning("plain words")
        assert "\x1b" not in read()
        assert "plain words" in read()


def test_a_start_without_postgres_is_told_without_a_stream(sink: Read) -> None:
    """There is none yet."""
    logs.postgres_away("refused", 0.25)
    logs.postgres_away("refused", 0.5)
    logs.postgres_back()
    heard = sink()
    assert heard.count("Postgres is away") == 1
    assert heard.count("Postgres is back") == 1
    assert "stream=" not in heard


def test_an_interrupt_is_no_bug(sink: Read, capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C while we open is not to be reported."""
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "a bug" not in sink()


@pytest.mark.parametrize(
    ("secret", "text", "hidden"),
    [
        ("pw", "pw=pw, pwd", "***=***, pwd"),
        ("longer", "xlongerx", "x***x"),
        ("p@ss word", "p%40ss%20word p%40ss+word", "*** ***"),
        ("a\nb-c", '{"x": "a\\nb-c"}', '{"x": "***"}'),
        ("ünicode", "\\u00fcnicode", "***"),
    ],
)
def test_a_secret_is_hidden_as_it_may_be_written(secret: str, text: str, hidden: str) -> None:
    """In a URL, in JSON, in quotes; a very short one only where it stands alone."""
    hiding = Hiding()
    hiding.add([secret])
    assert hiding.hide(text) == hidden


def test_without_secrets_nothing_is_hidden() -> None:
    """Empty ones are none."""
    hiding = Hiding()
    hiding.add([""])
    assert hiding.hide("a text") == "a text"
