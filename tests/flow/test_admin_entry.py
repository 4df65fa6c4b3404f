"""Who knocks at the side door and may not come in: what is remembered of them."""

from contextlib import suppress
from types import SimpleNamespace

import trio
import trio.testing
from starlette.requests import Request

from syncd.admin.entry import TOLD, Entry, Refused
from syncd.config.settings import AdminSettings, Secret
from syncd.sync.asking import Deed

TRIES = 25


async def test_a_flood_of_wrong_tokens_is_told_whole(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """accounted: also when nobody comes any more."""
    settings = AdminSettings(listen="127.0.0.1:0", token=Secret("the-right-one-is-long", "a file"))
    noted: list[Deed] = []
    told: list[tuple[str, int]] = []
    entry = Entry(
        settings=lambda: settings,
        note=noted.append,
        tell=lambda here, times: told.append((here, times)),
    )
    nursery.start_soon(entry.tell_on)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/reload",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer wrong-wrong-wrong")],
        "state": {"connection": SimpleNamespace(origin="10.0.0.1"), "body": b""},
    }
    request = Request(scope)
    for _ in range(TRIES):
        with suppress(Refused):
            entry.writer(request)
    assert told == [("10.0.0.1", 1)]
    await trio.sleep(2 * TOLD + 1)
    assert told == [("10.0.0.1", 1), ("10.0.0.1", TRIES - 1)]
    assert [deed.answer for deed in noted] == [
        "wrong token",
        f"wrong token ({TRIES - 1} times since the last entry)",
    ]
