"""The status page in a real browser, in every state; the daemon's part is played."""

import re
import time
from pathlib import Path
from typing import Any, Literal

import attrs
import jsonschema
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from syncd.admin import shapes
from syncd.sync.model import StreamId
from syncd.sync.picture import Seen
from syncd.views.objects import cycle_object
from syncd.views.words import moment
from tests.browser.conftest import Open
from tests.browser.stage import TOKEN, Stage, said
from tests.browser.states import (
    CAMPAIGNS,
    MINUTE,
    SCENES,
    budget_of,
    cycle,
    dead_letters,
    history,
    letter,
    many_sources,
    parked,
    resting,
    running,
    spent,
    status,
    suspicious,
)

pytestmark = pytest.mark.browser

ORDERS = StreamId(source="shop", stream="orders")
PHONES = [(390, 844), (320, 640)]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def play(stage: Stage, folder: Path, scene: str) -> None:
    SCENES[scene](stage, folder)


def headline(page: Page) -> Any:
    return expect(page.get_by_role("heading", level=1))


def row(page: Page, stream: StreamId) -> Any:
    return page.locator(".stream").filter(
        has=page.get_by_role("button", name=str(stream), exact=True)
    )


@pytest.mark.parametrize("scene", SCENES)
def test_the_stage_says_what_the_document_promises(scene: str, tmp_path: Path) -> None:
    """accounted: what the page is tried on has each key that the real side door's answers have."""
    stage = Stage()
    play(stage, tmp_path, scene)
    for shape, shown in (
        (shapes.STATUS, stage.status),
        (shapes.CYCLES, {"at": stage.status["at"], "cycles": stage.cycles}),
        (shapes.LETTERS, {"at": stage.status["at"], "total": 0, "letters": stage.letters}),
    ):
        jsonschema.Draft202012Validator(shape).validate(shown)


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "says"),
    [
        ("first-start", "No stream has run yet"),
        ("cycle-running", "The stream is in step"),
        ("parked", "1 stream needs a person"),
        ("dead-letters", "The stream is in step, but for 3 records"),
        ("200-sources", "2 streams need a person"),
    ],
)
def test_the_headline_says_whether_the_tables_can_be_trusted(
    scene: str, says: str, stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, scene)
    page = open_page(stage.url)
    headline(page).to_have_text(says)


def test_a_running_cycle_is_told_with_its_pages_and_its_end(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, "cycle-running")
    page = open_page(stage.url)
    stream = row(page, CAMPAIGNS)
    expect(stream).to_contain_text("Page 7 of 10")
    expect(stream).to_contain_text("60 records of about 107")
    expect(stream.locator(".facts > div").first).to_have_text(
        re.compile("Will be done ?in [45] min")
    )
    expect(stream).to_contain_text("data 21 min old")
    expect(stream.locator(".canvas canvas")).to_have_count(2)
    expect(stream).to_contain_text("3 of 10 free")
    expect(stream.locator(".strip")).to_have_attribute(
        "aria-label", "Spent in the last 60 s: 1 list page, 6 record calls"
    )


@pytest.mark.parametrize(("drifts", "words"), [(1, "1 thing it"), (3, "3 things it"), (0, "")])
def test_that_data_leaves_its_contract_is_among_the_facts(
    drifts: int, words: str, stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """accounted: as `syncd status` tells it, with the command that says more."""
    seen = attrs.evolve(resting(CAMPAIGNS, time.time()), drifts=drifts)
    stage.status = status(tmp_path, time.time(), [seen])
    page = open_page(stage.url)
    fact = row(page, CAMPAIGNS).locator(".facts > div").filter(has_text="Contract")
    expect(row(page, CAMPAIGNS).locator(".facts")).to_contain_text("Begins")
    expect(fact).to_have_count(1 if drifts else 0)
    if drifts:
        expect(fact).to_contain_text(f"{words} does not say")
        expect(fact).to_contain_text("see syncd contract show adplatform.campaigns")


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"parked": "The API does not accept our credentials (401)."}, "Parked"),
        ({"paused": 1.0, "paused_by": "ada"}, "Paused"),
    ],
    ids=["parked", "paused"],
)
def test_a_cycle_that_does_not_go_on_has_no_end_in_sight(
    changed: dict[str, Any], state: str, stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    now = time.time()
    stage.show(status(tmp_path, now, [attrs.evolve(running(CAMPAIGNS, now), **changed)]))
    assert stage.status["streams"][0]["expected"]["done_at"] is None
    page = open_page(stage.url)
    expect(row(page, CAMPAIGNS)).to_contain_text(state)
    expect(row(page, CAMPAIGNS)).to_contain_text("So far")
    expect(row(page, CAMPAIGNS)).not_to_contain_text("Will be done")


def test_a_cycle_that_waits_for_budget_says_so(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, "waiting-for-budget")
    page = open_page(stage.url)
    expect(row(page, CAMPAIGNS)).to_contain_text(re.compile("waiting for budget, 1[012] s more"))
    expect(row(page, CAMPAIGNS)).to_contain_text("Used up")


def test_a_stream_that_begins_by_a_calendar_says_so(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """How late it is, its next due time tells, and no interval."""
    now = time.time()
    late, in_time = (StreamId(source="shop", stream=name) for name in ("late", "in_time"))
    seen = [
        attrs.evolve(running(late, now), next_start=now - MINUTE),
        attrs.evolve(running(in_time, now, pages=30), next_start=now + 60 * MINUTE),
        Seen(stream=ORDERS, next_start=now + 120 * MINUTE),
    ]
    shown = status(tmp_path, now, seen)
    for stream in shown["streams"]:
        stream |= {"cron": ["30 2 * * *"], "zone": "Europe/Berlin"}
    stage.show(shown)
    page = open_page(stage.url)
    for stream in (late, in_time):
        expect(row(page, stream)).to_contain_text("30 2 * * *")
        expect(row(page, stream)).to_contain_text("Europe/Berlin")
    expect(row(page, ORDERS)).to_contain_text("first in 2 h")
    behind = page.get_by_role("heading", level=2).filter(has_text="Behind; syncd works on it")
    expect(behind).to_have_text(re.compile("1$"))


def test_what_needs_a_person_stands_first_with_reason_and_what_to_do(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, "parked")
    page = open_page(stage.url)
    first = page.locator(".stream").first
    expect(first).to_contain_text("Parked")
    expect(first).to_contain_text("ADPLATFORM_PASSWORD right?")
    expect(first.locator(".todo code")).to_have_text("syncd resume adplatform.campaigns")
    expect(first.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.locator(".said").last).to_contain_text("stream parked")
    order = page.get_by_role("heading", level=2).all_text_contents()
    assert order[:3] == ["Needs a person1", "Behind; syncd works on it1", "In step2"]


def test_nothing_configured_is_said(stage: Stage, open_page: Open, tmp_path: Path) -> None:
    shown = status(tmp_path, time.time(), [Seen(stream=CAMPAIGNS)])
    stage.show({**shown, "streams": []})
    page = open_page(stage.url)
    headline(page).to_have_text("No stream is configured")


def test_a_refused_config_is_told_with_every_fault(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """all-or-nothing-reload: the page says that a restart would fail."""
    now = time.time()
    faults = ["sources.shop.timeout: 15 minutes is no duration", "sources.crm.auth: missing"]
    shown = status(tmp_path, now, [resting(CAMPAIGNS, now)])
    shown["daemon"]["reload"] = {"ok": False, "at": moment(now - 90), "faults": faults}
    stage.show(shown)
    page = open_page(stage.url)
    expect(page.locator(".notice")).to_contain_text("The config file was refused 1 min ago")
    assert page.locator(".notice li").all_text_contents() == faults


# --- live ----------------------------------------------------------------------------------------


def test_an_update_changes_the_page_without_a_reload(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """The same elements stay, and the focus with them, also when a stream changes its place."""
    now = time.time()
    stage.show(status(tmp_path, now, [resting(CAMPAIGNS, now), resting(ORDERS, now)]))
    page = open_page(stage.url)
    headline(page).to_have_text("All 2 streams are in step")
    button = page.get_by_role("button", name=str(ORDERS), exact=True)
    button.focus()
    button.evaluate("node => { window.before = node; }")
    stage.show(status(tmp_path, now, [resting(CAMPAIGNS, now), parked(ORDERS, now)]))
    headline(page).to_have_text("1 stream needs a person")
    expect(page.locator(".stream").first).to_contain_text("shop.orders")
    assert page.evaluate("document.activeElement === window.before")
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
    expect(page).to_have_title("(1) syncd")


def test_a_new_cycle_comes_into_the_charts(stage: Stage, open_page: Open, tmp_path: Path) -> None:
    now = time.time()
    past = [cycle_object(c) for c in history(CAMPAIGNS, now, last=900, many=3)]
    stage.cycles = past
    stage.show(status(tmp_path, now, [resting(CAMPAIGNS, now)]))
    page = open_page(stage.url)
    chart = page.locator(".canvas").first
    expect(chart).to_have_attribute("aria-label", re.compile("3 cycles"))
    newest = cycle(500, CAMPAIGNS, now - 60, 50, written=17, dead=1)
    stage.cycles = [cycle_object(newest), *past]
    stage.show(
        status(tmp_path, now, [attrs.evolve(resting(CAMPAIGNS, now), last=newest, whole=newest)])
    )
    expect(chart).to_have_attribute(
        "aria-label",
        "Records in each cycle: 4 cycles, the last one 17 written, 82 unchanged, 1 put aside",
    )
    page.get_by_text("The last cycles as a table").click()
    expect(page.locator("tbody tr")).to_have_count(4)


def test_what_could_not_be_read_is_read_when_the_stream_is_opened_again(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """Closed meanwhile it asks for nothing, and has not forgotten what it lacks."""
    many_sources(stage, tmp_path, 12)
    page = open_page(stage.url)
    busy = re.compile("api/cycles")
    asked = []
    page.on(
        "request", lambda request: asked.append(request.url) if "cycles" in request.url else None
    )
    page.route(
        busy, lambda route: route.fulfill(status=503, json={"error": "too many ask at once"})
    )
    button = page.get_by_role("button", name="account-003.campaigns", exact=True)
    with page.expect_response(busy):
        button.click()
    button.click()
    page.wait_for_timeout(2000)  # longer than it takes to ask once more
    assert len(asked) == 1
    page.unroute(busy)
    button.click()
    expect(page.locator(".canvas canvas")).to_have_count(2)


def test_a_stream_that_a_reload_took_away_asks_for_nothing_more(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    now = time.time()
    stage.show(status(tmp_path, now, [resting(CAMPAIGNS, now), resting(ORDERS, now)]))
    page = open_page(stage.url)
    expect(page.locator(".stream")).to_have_count(2)
    page.route("**/api/cycles*orders*", lambda route: route.fulfill(status=404, json={}))
    newest = cycle(500, ORDERS, now - 60, 50)
    again = attrs.evolve(resting(ORDERS, now), last=newest, whole=newest)
    with page.expect_response(re.compile("cycles.*orders")):
        stage.show(status(tmp_path, now, [resting(CAMPAIGNS, now), again]))
    stage.show(status(tmp_path, now, [resting(CAMPAIGNS, now)]))
    expect(page.locator(".stream")).to_have_count(1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2000)
    assert [url for url in asked if "orders" in url] == []


def test_a_screen_reader_hears_what_changed_and_no_more(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """A hundred updates that change nothing of weight are silent; a new headline is said once."""
    now = time.time()
    stage.show(status(tmp_path, now, [running(CAMPAIGNS, now, pages=1)]))
    page = open_page(stage.url)
    headline(page).to_have_text("The stream is in step")
    page.evaluate(
        """() => {
            window.heard = [];
            const tell = (changes) => {
                for (const change of changes) window.heard.push(change.target.textContent);
            };
            const all = {childList: true, characterData: true, subtree: true};
            for (const node of document.querySelectorAll("[role=status], [aria-live]")) {
                new MutationObserver(tell).observe(node, all);
            }
        }"""
    )
    for pages in range(2, 9):
        stage.show(status(tmp_path, now, [running(CAMPAIGNS, now, pages=pages)]))
        expect(row(page, CAMPAIGNS)).to_contain_text(f"Page {pages + 1} of")
    assert page.evaluate("window.heard") == []
    stage.show(status(tmp_path, now, [suspicious(CAMPAIGNS, now)]))
    headline(page).to_have_text("1 stream needs a person")
    assert page.evaluate("window.heard") == ["1 stream needs a person"]


def test_the_daemon_is_gone_and_comes_back(open_page: Open, tmp_path: Path) -> None:
    """Since when, what is shown meanwhile, and no reload when it is back."""
    stage = Stage()
    with stage.playing():
        play(stage, tmp_path, "cycle-running")
        page = open_page(stage.url)
        expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator(".notice")).to_contain_text("The daemon is not reachable since")
    expect(page.locator(".notice")).to_contain_text("What stands below is from")
    headline(page).to_have_text("Last known: the stream is in step")
    for name in ("Pause", "Reload the config"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page).to_have_title("not reachable · syncd")
    expect(row(page, CAMPAIGNS)).to_contain_text("So far")
    expect(row(page, CAMPAIGNS)).not_to_contain_text("Will be done")
    page.evaluate("window.same = true")
    with stage.playing():
        expect(page.locator("#link")).to_have_text("Live")
        headline(page).to_have_text("The stream is in step")
        expect(page.locator(".notice")).to_have_count(0)
        expect(row(page, CAMPAIGNS)).to_contain_text("Will be done")
        expect(page.get_by_role("button", name="Pause")).to_be_enabled()
        assert page.evaluate("window.same")


def test_while_postgres_is_away_the_last_picture_is_called_old(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    now = time.time()
    shown = status(tmp_path, now, [resting(CAMPAIGNS, now)])
    stage.show(
        {**shown, "stale_since": moment(now - 200), "stale_reason": "Postgres does not answer"}
    )
    page = open_page(stage.url)
    expect(page.locator("#link")).to_have_text("Postgres is away")
    expect(page.locator(".notice")).to_contain_text("(3 min)")
    headline(page).to_have_text("Last known: the stream is in step")
    stage.show(shown)
    expect(page.locator(".notice")).to_have_count(0)
    headline(page).to_have_text("The stream is in step")


def test_an_api_that_is_out_of_order_is_told_as_such(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, "cycle-running")
    stage.broken = "a bug; the log tells more"
    page = open_page(stage.url)
    expect(page.locator(".notice")).to_contain_text("not as it should: a bug; the log tells more")
    stage.broken = None
    headline(page).to_have_text("The stream is in step")


# --- asking --------------------------------------------------------------------------------------


def test_a_dead_letter_is_retried_with_the_token_asked_once(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """A wrong token is told; the right one is kept in this tab, and nowhere else."""
    dead_letters(stage, tmp_path)
    page = open_page(stage.url)
    page.get_by_role("button", name="Retry: camp_17").click()
    dialog = page.get_by_role("dialog", name="The token, please")
    token = dialog.get_by_label("Token of [admin]")
    expect(token).to_be_focused()
    token.fill("not this one")
    token.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("That token was not accepted: wrong token")
    token.fill(TOKEN)
    token.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".letters > li")).to_have_count(2)
    expect(page.locator(".toast")).to_have_text("Retry of record camp_17: done")
    assert page.evaluate("document.activeElement.tagName") == "H4", "its button has left with it"
    page.get_by_role("button", name="Retry: camp_58").click()
    expect(page.locator(".letters > li")).to_have_count(1)
    assert stage.asked == [
        ("dead/retry", {"ids": [1], "repeat": False}),
        ("dead/retry", {"ids": [2], "repeat": False}),
    ]
    kept = page.evaluate(
        "[JSON.stringify({...localStorage}), document.cookie, sessionStorage.length]"
    )
    assert kept[:2] == ["{}", ""]
    page.get_by_role("button", name="Forget the token").click()
    assert TOKEN not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_a_call_that_may_have_been_carried_out_is_not_repeated_unasked(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """no-blind-repeat: the page says what may happen first."""
    dead_letters(stage, tmp_path)
    page = open_page(stage.url)
    page.evaluate("(token) => sessionStorage.setItem('syncd-token', token)", TOKEN)
    page.get_by_role("button", name="Retry: camp_91").click()
    dialog = page.get_by_role("dialog", name="Make this call again?")
    expect(dialog).to_contain_text("it may do it twice")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Retry: camp_91").click()
    page.get_by_role("button", name="Make it again").click()
    expect(page.locator(".letters > li")).to_have_count(2)
    assert [body["repeat"] for _, body in stage.asked] == [False, False, True]


@pytest.mark.parametrize(
    ("seen", "offered"),
    [
        (resting(CAMPAIGNS, 0.0), ["Sync now", "Look for what is gone", "Pause"]),
        (running(CAMPAIGNS, 0.0), ["Pause"]),
        (parked(CAMPAIGNS, 0.0), ["Resume"]),
        (attrs.evolve(resting(CAMPAIGNS, 0.0), paused=1.0, paused_by="ada"), ["Resume"]),
        (
            attrs.evolve(resting(CAMPAIGNS, 0.0), question="40 of 100 rows are gone"),
            ["Approve the deletes…", "Sync now", "Look for what is gone", "Pause"],
        ),
    ],
    ids=["resting", "running", "parked", "paused", "deletes held"],
)
def test_what_can_be_asked_is_what_makes_sense(
    seen: Seen, offered: list[str], stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    stage.show(status(tmp_path, 0.0, [seen]))
    page = open_page(stage.url)
    expect(page.locator(".actions button")).to_have_text(offered)


def test_without_a_token_nothing_is_offered_that_needs_one(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, "dead-letters")
    page = open_page(stage.url)
    expect(page.locator(".letters button").first).to_be_visible()
    daemon = {**stage.status["daemon"], "writable": False}
    stage.show({**stage.status, "daemon": daemon})
    expect(page.locator("#about-words")).to_contain_text("to look only")
    expect(page.locator(".letters li").first).to_be_visible()
    for button in (".letters button", ".part-head button", ".actions button", "#reload"):
        expect(page.locator(button).filter(visible=True)).to_have_count(0)


def test_records_put_aside_are_not_asked_for_while_the_daemon_is_gone(
    open_page: Open, tmp_path: Path
) -> None:
    stage = Stage()
    with stage.playing():
        play(stage, tmp_path, "dead-letters")
        page = open_page(stage.url)
        expect(page.locator(".letters button").first).to_be_enabled()
    for button in page.locator(".letters button, .part-head button").all():
        expect(button).to_be_disabled()


def test_deletes_are_approved_after_they_were_shown(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """No delete on absence: it takes a person, the token, and a second look."""
    now = time.time()
    seen = attrs.evolve(resting(CAMPAIGNS, now), question="40 of 100 rows are gone")
    stage.show(status(tmp_path, now, [seen]))
    page = open_page(stage.url)
    page.evaluate("(token) => sessionStorage.setItem('syncd-token', token)", TOKEN)
    page.get_by_role("button", name="Approve the deletes…").click()
    dialog = page.get_by_role("dialog", name="Mark these rows as deleted?")
    expect(dialog).to_contain_text("40 of 100 rows are gone")
    dialog.get_by_role("button", name="Cancel").click()
    assert stage.asked == []
    page.get_by_role("button", name="Approve the deletes…").click()
    dialog.get_by_role("button", name="Approve the deletes").click()
    expect(page.locator(".toast")).to_have_text("adplatform.campaigns: done")
    assert stage.asked == [("streams/adplatform.campaigns/approve", {})]


def test_a_page_that_is_open_to_the_network_asks_for_the_token_to_read(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, "cycle-running")
    stage.closed = True
    page = open_page(stage.url)
    token = page.get_by_label("Token of [admin]")
    expect(page.get_by_role("dialog")).to_contain_text("looking needs the token, too")
    token.fill("guess")
    token.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That token was not accepted.")
    token.fill(TOKEN)
    token.press("Enter")
    headline(page).to_have_text("The stream is in step")
    expect(page.locator(".canvas canvas")).to_have_count(2)


# --- for everybody -------------------------------------------------------------------------------


def test_everything_can_be_done_with_the_keyboard(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """Skip, filter, open, retry, type the token, and be back where one was."""
    many_sources(stage, tmp_path, 12)
    stage.letters = [
        letter(
            1,
            StreamId(source="account-003", stream="campaigns"),
            time.time(),
            '["a"]',
            "refused",
            "no",
        )
    ]
    stage.status["streams"][2]["dead_letters"] = 1
    stage.show(stage.status)
    page = open_page(stage.url)
    expect(page.locator(".stream")).to_have_count(12)
    press = page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to the streams")).to_be_focused()
    press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("003")
    expect(page.locator(".stream:visible")).to_have_count(1)
    press("Tab")  # the group
    press("Tab")
    button = page.get_by_role("button", name="account-003.campaigns", exact=True)
    expect(button).to_be_focused()
    press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    retry = page.get_by_role("button", name="Retry: a")
    expect(retry).to_be_visible()
    for _ in range(10):
        press("Tab")
        if retry.evaluate("node => node === document.activeElement"):
            break
    expect(retry).to_be_focused()
    press("Enter")
    expect(page.get_by_label("Token of [admin]")).to_be_focused()
    press("Escape")
    expect(retry).to_be_focused()
    press("Enter")
    page.keyboard.type(TOKEN)
    press("Enter")
    expect(retry).to_have_count(0)
    expect(button).to_be_focused()


def look_with_axe(page: Page) -> None:
    """In the light and in the dark."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"


def open_some(page: Page) -> None:
    expect(page.locator(".stream").first).to_be_visible()
    closed = page.locator(".stream-button[aria-expanded=false]")
    for _ in range(min(4, closed.count())):
        closed.first.click()


@pytest.mark.parametrize("scene", [s for s in SCENES if s != "200-sources"])
def test_axe_finds_nothing(scene: str, stage: Stage, open_page: Open, tmp_path: Path) -> None:
    """Contrast, names, roles, order of headings: no violation in any state."""
    play(stage, tmp_path, scene)
    page = open_page(stage.url)
    open_some(page)
    if scene != "first-start":
        expect(page.locator(".canvas canvas").first).to_be_visible()
    look_with_axe(page)


def test_axe_finds_nothing_in_the_dialog_nor_in_an_outage(open_page: Open, tmp_path: Path) -> None:
    stage = Stage()
    with stage.playing():
        dead_letters(stage, tmp_path)
        page = open_page(stage.url, size=PHONES[0])
        page.get_by_role("button", name="Retry: camp_17").click()
        page.get_by_label("Token of [admin]").fill("no")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).not_to_be_empty()
        look_with_axe(page)
        page.keyboard.press("Escape")
    expect(page.locator(".notice")).to_be_visible()
    look_with_axe(page)


@pytest.mark.parametrize("scene", SCENES)
def test_a_phone_needs_no_sideways_scrolling(
    scene: str, stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    play(stage, tmp_path, scene)
    page = open_page(stage.url, size=PHONES[0])
    open_some(page)
    for width, height in PHONES:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") == width


# --- hostile, many, alone ------------------------------------------------------------------------

EVIL = "<img src=x onerror='window.owned=1'>"


def test_what_an_api_says_never_becomes_markup(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """Names, reasons, keys, hints, faults and payloads are text, however they look."""
    now = time.time()
    evil = StreamId(source="shop", stream=EVIL)
    stage.letters = [letter(1, evil, now, f'["{EVIL}"]', "refused", f"`{EVIL}` {EVIL}")]
    stage.answers = {"retry": EVIL}
    events = [
        said(now, 5, "ERROR", "parked", str(evil), EVIL, f"`{EVIL}`", reason=EVIL, odd={"a": EVIL})
    ]
    seen = attrs.evolve(parked(evil, now), parked=f"{EVIL} `{EVIL}", dead=1)
    tokens = [attrs.evolve(t, spent_on=f"{evil} page 1") for t in spent(now, evil, 1, many=2)]
    stage.cycles = [
        cycle_object(attrs.evolve(c, outcome=EVIL)) for c in history(evil, now, last=60, many=2)
    ]
    shown = status(tmp_path, now, [seen], [budget_of("shop", tokens)], events=events, version=EVIL)
    shown["daemon"] |= {"host": EVIL, "reload": {"ok": False, "at": None, "faults": [EVIL]}}
    stage.show({**shown, "stale_since": moment(now), "stale_reason": EVIL})
    page = open_page(stage.url)
    page.evaluate("(token) => sessionStorage.setItem('syncd-token', token)", TOKEN)
    expect(page.locator(".stream .reason")).to_contain_text(EVIL)
    page.get_by_role("button", name=f"Show the record: {EVIL}").click()
    expect(page.locator(".payload")).to_contain_text("onerror")
    page.get_by_text("The last cycles as a table").click()
    page.get_by_role("button", name=f"Retry: {EVIL}").click()
    expect(page.locator(".toast")).to_contain_text(EVIL)
    assert page.locator("img").count() == 1, "the page's own"
    assert page.evaluate("window.owned") is None


AWAIT = """(many) => new Promise((go) => {
    const look = () => (window.took.length >= many ? go() : setTimeout(look, 5));
    look();
})"""
"""The page's policy forbids the `eval` that Playwright's own wait needs."""


def test_two_hundred_sources_stay_fast(stage: Stage, open_page: Open, tmp_path: Path) -> None:
    """An update of all takes less than 100 ms; a filter finds one of them."""
    many_sources(stage, tmp_path)
    page = open_page(stage.url)
    expect(page.locator(".stream")).to_have_count(200)
    page.evaluate(
        """() => {
            window.took = [];
            const hear = (list) => window.took.push(...list.getEntries().map((e) => e.duration));
            new PerformanceObserver(hear).observe({type: "measure"});
        }"""
    )
    for name in ("account-042.campaigns", "account-003.campaigns"):
        page.get_by_role("button", name=name, exact=True).click()
    for turn in range(1, 6):
        for stream in stage.status["streams"]:
            if stream["running"]:
                stream["running"]["pages"] += 1
                stream["running"]["seen"] += 10
            stream["next_start"] = moment(time.time() + 60 * turn)
        stage.show(stage.status)
        page.evaluate(AWAIT, turn)
    took = page.evaluate("window.took")
    assert min(took) < 100, took  # the quickest: others may have the machine as well
    page.get_by_role("searchbox").fill("parked")
    expect(page.locator(".stream:visible")).to_have_count(1)
    expect(page.get_by_text("1 of 200 streams")).to_be_visible()
    page.get_by_role("searchbox").fill("account-17")
    expect(page.locator(".stream:visible")).to_have_count(10)


def test_a_group_and_all_that_is_open_can_be_closed(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    many_sources(stage, tmp_path, 30)
    page = open_page(stage.url)
    group = page.get_by_role("button", name=re.compile("^In step"))
    group.click()
    expect(group).to_have_attribute("aria-expanded", "false")
    expect(page.locator(".group-good .stream").first).to_be_hidden()
    group.click()
    page.get_by_role("button", name="account-003.campaigns", exact=True).click()
    page.get_by_role("button", name="Close all").click()
    expect(page.locator(".stream.open")).to_have_count(0)


def test_the_page_asks_nobody_but_its_daemon(stage: Stage, open_page: Open, tmp_path: Path) -> None:
    """Without the network it is the same page: no font, script or picture comes from elsewhere."""
    play(stage, tmp_path, "cycle-running")
    page = open_page(stage.url)
    expect(page.locator(".canvas canvas")).to_have_count(2)
    asked = page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
    assert len(asked) > 10
    assert all(url.startswith(stage.url) for url in asked)
    assert "syncd" in page.title()


def test_what_was_opened_stays_open_after_a_reload(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    many_sources(stage, tmp_path, 12)
    page = open_page(stage.url)
    button = page.get_by_role("button", name="account-003.campaigns", exact=True)
    button.click()
    page.reload()
    expect(button).to_have_attribute("aria-expanded", "true")


def test_a_budget_strip_goes_on_between_two_updates(
    stage: Stage, open_page: Open, tmp_path: Path
) -> None:
    """Tokens come back by time alone."""
    now = time.time()
    tokens = [attrs.evolve(t, free=now + 1.5) for t in spent(now, CAMPAIGNS, 7, many=4)]
    stage.show(status(tmp_path, now, [running(CAMPAIGNS, now)], [budget_of("adplatform", tokens)]))
    page = open_page(stage.url)
    expect(row(page, CAMPAIGNS)).to_contain_text("10 of 10 free")
    expect(page.locator(".strip")).to_be_hidden()


def test_minutes_old_data_ages_by_itself(stage: Stage, open_page: Open, tmp_path: Path) -> None:
    now = time.time()
    seen = resting(CAMPAIGNS, now)
    assert seen.whole is not None
    begun = cycle(9, CAMPAIGNS, now - 3 * MINUTE + 1.5, 30)
    stage.show(status(tmp_path, now, [attrs.evolve(seen, last=begun, whole=begun)]))
    page = open_page(stage.url)
    expect(row(page, CAMPAIGNS)).to_contain_text("data 2 min old")
    expect(row(page, CAMPAIGNS)).to_contain_text("data 3 min old")
