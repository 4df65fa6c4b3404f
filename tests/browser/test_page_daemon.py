"""The status page of the real daemon: real Postgres, real API, real browser."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mock_api.testing import MockServer, running_mock
from syncd.sync.picture import Seen
from tests.browser.backstage import Backstage, backstage
from tests.browser.conftest import Open
from tests.browser.states import CAMPAIGNS, budget_of, status
from tests.daemon.conftest import Syncd, config
from tests.daemon.running import Daemon, daemon
from tests.servers import Servers

pytestmark = pytest.mark.browser

SPEED = 60.0
TOKEN = "a-token-of-some-length"
NAME = "adplatform.campaigns"
SOON = 20_000.0  # ms for what the daemon does at once


@attrs.define(eq=False)
class World:
    """A mock API, and a daemon with a side door that can be started again."""

    back: Backstage
    mock: MockServer
    syncd: Syncd
    database: str
    port: int
    running: list[Daemon] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> Daemon:
        environ = {"ADMIN_TOKEN": TOKEN}
        self.running.append(self.back.enter(daemon(self.syncd, within=110, environ=environ)))
        return self.running[-1]

    def until(self, text: str) -> None:
        self.back.do(self.running[-1].until, text)

    def stop(self) -> None:
        process = self.running[-1].process
        process.send_signal(signal.SIGTERM)
        assert self.back.do(process.wait) == 0, self.running[-1].said

    def faults(self, *rules: dict[str, Any]) -> None:
        self.back.do(self.mock.faults, *rules)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def allow_connections(self, *, allowed: bool) -> None:
        """Whether Postgres lets anybody into the database; who is in it is thrown out."""
        name = str(conninfo_to_dict(self.database)["dbname"])
        elsewhere = make_conninfo(self.database, dbname="postgres")
        with psycopg.connect(elsewhere, autocommit=True) as admin:
            change = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            admin.execute(change.format(sql.Identifier(name), sql.Literal(allowed)))
            who = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            admin.execute(who, [name])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def world(servers: Servers, tmp_path: Path) -> Iterator[World]:
    """Twelve campaigns, in pages of four; the daemon is not started yet."""
    options = {"speed": SPEED, "campaigns": 12, "fail_every": 0, "hang_every": 0}
    with servers["embedded"].fresh_database() as database, backstage() as back:
        mock = back.enter(running_mock(**options))
        port = free_port()
        syncd = Syncd(tmp_path / "syncd.toml")
        door = f'[admin]\nlisten = "127.0.0.1:{port}"\ntoken = {{ env = "ADMIN_TOKEN" }}\n'
        text = config(mock.base_url, database, speed=SPEED, size=4)
        syncd.write(door + text)
        yield World(back, mock, syncd, database, port)


def headline(page: Page) -> Any:
    return expect(page.get_by_role("heading", level=1))


def give_token(page: Page, token: str) -> None:
    field = page.get_by_label("Token of [admin]")
    expect(field).to_be_focused()
    field.fill(token)
    field.press("Enter")


def test_a_cycle_is_seen_live_without_a_reload(world: World, open_page: Open) -> None:
    """From the first start to the tables in step, on one and the same page."""
    world.faults({"path": "/api/campaigns", "on": [3], "delay": 240})
    world.start()
    world.until("the side door is open")
    page = open_page(world.url)
    page.evaluate("window.same = true")
    headline(page).to_have_text("The table is being filled for the first time", timeout=SOON)
    expect(page.locator(".stream-label")).to_have_text("Page 3 of 3", timeout=SOON)
    headline(page).to_have_text("The stream is in step", timeout=SOON)
    expect(page.locator(".canvas canvas")).to_have_count(2, timeout=SOON)
    expect(page.locator(".canvas").first).to_have_attribute(
        "aria-label", "Records in each cycle: 1 cycle, the last one 12 written"
    )
    expect(page.locator(".facts")).to_contain_text("12 written")
    assert page.evaluate("window.same")
    assert Axe().run(page).violations_count == 0


def test_a_dead_letter_is_retried_from_the_page(world: World, open_page: Open) -> None:
    """accounted: put aside with its reason, mended, retried with a button, and in the table.

    A wrong token is told before, and changes nothing; who asked stands in the audit.
    """
    world.faults({"path": "*/camp_7/sync", "status": 422})
    world.start()
    world.until("resting until")
    page = open_page(world.url)
    headline(page).to_have_text("The stream is in step, but for 1 record")
    expect(page.locator(".letters")).to_contain_text("its call failed for good")
    expect(page.locator(".letter-reason")).to_contain_text("422")
    retry = page.get_by_role("button", name="Retry: camp_7")
    retry.click()
    give_token(page, "certainly not that one")
    expect(page.get_by_role("alert")).to_have_text("That token was not accepted: wrong token")
    assert world.rows("SELECT count(*) FROM campaigns") == [(11,)]
    give_token(page, TOKEN)
    expect(page.locator(".toast")).to_contain_text("Retry of record camp_7: ", timeout=SOON)
    expect(page.locator(".letters > li")).to_contain_text("1 put aside", timeout=SOON)
    # A whole record needs the token, too: it is kept for the tab.
    page.evaluate("sessionStorage.removeItem('syncd-token')")
    page.get_by_role("button", name="Show the record: camp_7").click()
    give_token(page, TOKEN)
    expect(page.locator(".payload")).to_contain_text('"camp_7"')
    world.faults()
    retry.click()
    expect(page.locator(".letters > li")).to_have_count(0, timeout=SOON)
    expect(page.locator(".toast").last).to_have_text("Retry of record camp_7: 1 written")
    headline(page).to_have_text("The stream is in step", timeout=SOON)
    assert world.rows("SELECT count(*) FROM campaigns WHERE id = 'camp_7'") == [(1,)]
    audit = world.rows("SELECT what, ok FROM syncd.audit ORDER BY id")
    assert [what for what, _ in audit].count("retry") == 2


def test_a_parked_stream_is_resumed_from_the_page_by_keyboard(
    world: World, open_page: Open
) -> None:
    """contained: reason, what to do, and the button for it are there without a look elsewhere."""
    world.faults({"path": "/api/campaigns", "status": 404})
    world.start()
    world.until("stream parked")
    page = open_page(world.url)
    headline(page).to_have_text("1 stream needs a person")
    expect(page.locator(".reason")).to_contain_text("404")
    expect(page.locator("#lately")).to_contain_text("stream parked")
    assert Axe().run(page).violations_count == 0
    world.faults()
    resume = page.get_by_role("button", name=f"Resume: {NAME}")
    for _ in range(8):
        page.keyboard.press("Tab")
        if resume.evaluate("node => node === document.activeElement"):
            break
    expect(resume).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token of [admin]")).to_be_focused()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    headline(page).to_have_text("The stream is in step", timeout=SOON)


def test_pause_and_resume_from_the_page(world: World, open_page: Open) -> None:
    world.start()
    world.until("resting until")
    page = open_page(world.url)
    page.get_by_role("button", name=f"Pause: {NAME}").click()
    give_token(page, TOKEN)
    headline(page).to_have_text("The stream is paused", timeout=SOON)
    expect(page.locator(".reason")).to_contain_text("Paused by")
    asked = len(world.back.do(world.mock.requests))
    page.get_by_role("button", name=f"Resume: {NAME}").click()
    headline(page).to_have_text("The stream is in step", timeout=SOON)
    assert len(world.back.do(world.mock.requests)) >= asked
    page.get_by_role("button", name=f"Sync now: {NAME}").click()
    world.back.do(world.running[-1].until, "cycle ended")
    expect(page.locator(".canvas").first).to_have_attribute(
        "aria-label", "Records in each cycle: 2 cycles, the last one 12 written", timeout=SOON
    )


def test_the_daemon_leaves_and_comes_back(world: World, open_page: Open) -> None:
    """drain: an open page delays nothing; it says since when the daemon is gone, and goes on."""
    world.start()
    world.until("resting until")
    page = open_page(world.url)
    headline(page).to_have_text("The stream is in step")
    began = time.monotonic()
    world.stop()
    assert time.monotonic() - began < 5
    expect(page.locator(".notice")).to_contain_text("The daemon is not reachable since")
    headline(page).to_have_text("Last known: the stream is in step")
    world.start()
    expect(page.locator("#link")).to_have_text("Live", timeout=SOON)
    headline(page).to_have_text("The stream is in step", timeout=SOON)


def test_while_postgres_is_away_the_page_says_so_and_goes_on(world: World, open_page: Open) -> None:
    """What is shown is called old, with since when; nothing is lost."""
    world.start()
    world.until("resting until")
    page = open_page(world.url)
    headline(page).to_have_text("The stream is in step")
    world.allow_connections(allowed=False)
    expect(page.locator("#link")).to_have_text("Postgres is away", timeout=2 * SOON)
    expect(page.locator(".notice")).to_contain_text("Postgres is away since")
    headline(page).to_have_text("Last known: the stream is in step")
    world.allow_connections(allowed=True)
    expect(page.locator("#link")).to_have_text("Live", timeout=2 * SOON)
    headline(page).to_have_text("The stream is in step")


def test_a_config_that_was_refused_is_told(world: World, open_page: Open) -> None:
    """all-or-nothing-reload: with each fault, and gone when it is mended."""
    world.start()
    world.until("resting until")
    good = world.syncd.path.read_text("utf-8")
    page = open_page(world.url)
    page.get_by_role("button", name="Reload the config").click()
    world.syncd.write(good.replace('every = "1d"', 'every = "sometimes"'))
    give_token(page, TOKEN)
    notice = page.locator(".notice")
    expect(notice).to_contain_text("The config file was refused", timeout=SOON)
    expect(notice.locator("li")).to_contain_text("sources.adplatform.streams.campaigns.every")
    world.syncd.write(good)
    page.get_by_role("button", name="Reload the config").click()
    expect(notice).to_have_count(0, timeout=SOON)


def test_the_page_says_what_the_api_says(world: World, open_page: Open, tmp_path: Path) -> None:
    """The objects of the stage, on which the other tests play, have the real one's keys."""
    folder = tmp_path / "played"  # its config is no daemon's
    folder.mkdir()
    played = status(folder, 0.0, [Seen(stream=CAMPAIGNS)], [budget_of("adplatform", [])])
    world.start()
    world.until("resting until")
    page = open_page(world.url)
    headline(page).to_have_text("The stream is in step")
    told = json.loads(page.evaluate("fetch('api/status').then((answer) => answer.text())"))
    assert set(told) == set(played)
    assert set(told["daemon"]) == set(played["daemon"])
    for part in ("streams", "sources", "budgets"):
        assert [set(one) for one in told[part]] == [set(one) for one in played[part]], part
    assert told["sources"][0]["budget"] == told["budgets"][0]["budget"]
