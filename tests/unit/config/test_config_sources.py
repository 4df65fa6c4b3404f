"""Several sources: `like`, shared budgets, sources.d, overrides, and where the file is found."""

from pathlib import Path

import pytest

from syncd.config import load as module
from syncd.config.load import find, load
from syncd.config.settings import Secret, TokenLogin
from syncd.errors import ConfigError
from tests.unit.config.conftest import ENVIRON, GOOD, Faults, Load

# --- like ---------------------------------------------------------------------------------


def test_a_source_takes_what_it_does_not_say_from_the_one_it_is_like(load_text: Load) -> None:
    """Tables merge down to single keys, streams too; all else is replaced."""
    second = """
[sources.second]
like = "shop"
headers = { "X-More" = "1" }
streams = { orders = { every = "1h", volatile = ["status"], table = "o" } }
"""
    sources = load_text(GOOD + second).sources
    first, second_ = sources["shop"], sources["second"]
    assert second_.headers == {"X-Client-Id": "syncd", "X-More": "1"}
    assert second_.base_url == first.base_url
    orders = second_.streams["orders"]
    assert (orders.every, orders.volatile) == (3600.0, frozenset({"status"}))
    assert orders.columns == first.streams["orders"].columns


def test_a_chain_of_likes_holds_whatever_its_order(load_text: Load) -> None:
    """A source may be like one that is like another, and stand before both."""
    chain = '[sources.third]\nlike = "second"\n[sources.second]\nlike = "shop"\ntimeout = 7\n'
    sources = load_text(chain + GOOD, "sources.shop.streams.orders.table=o").sources
    assert sources["third"].timeout == 7.0
    assert sources["third"].streams["orders"].table == "o"


def test_a_secret_of_another_kind_replaces_the_first(load_text: Load, tmp_path: Path) -> None:
    """Two references merged would be none; columns named like a kind of secret still merge."""
    (tmp_path / "pw").write_text("other")
    second = """
[sources.second]
like = "shop"
auth = { password = { file = "pw" } }
streams = { orders = { table = "o", columns = { file = "text" } } }
"""
    source = load_text(GOOD + second).sources["second"]
    assert isinstance(source.auth, TokenLogin)
    assert source.auth.password.reveal() == "other"
    assert {"id", "file"} < set(source.streams["orders"].columns)


def test_a_pattern_without_streams_does_not_run_and_need_not_be_whole(load_text: Load) -> None:
    """It stands only to be copied: what it lacks, the others may add."""
    settings = load_text(
        GOOD.replace("[sources.shop]", '[sources.shop]\nlike = "base"')
        + "[sources.base]\nretries = 9"
    )
    assert list(settings.sources) == ["shop"]
    assert settings.sources["shop"].retries == 9


def test_a_fault_is_told_once_where_it_was_written(faults_of: Faults) -> None:
    """A slip in the first of a hundred accounts is not a hundred faults."""
    many = "".join(f'[sources.a{n}]\nlike = "shop"\n' for n in range(20))
    found = faults_of(GOOD + many + "[sources.a7.page]\n", "sources.shop.timeout=0")
    assert set(found) == {"sources.shop.timeout", "sources.a7.page"}


def test_a_source_without_a_name_is_like_nobody(faults_of: Faults) -> None:
    """An empty name is a fault of its own, and takes none of another's."""
    found = faults_of(GOOD + '[sources.""]\n[sources.b]\n')
    assert 'sources."".base_url' in found
    assert "sources.b.base_url" in found


def test_a_fault_of_a_pattern_is_told_unless_all_put_it_right(
    faults_of: Faults, load_text: Load
) -> None:
    """What is wrong in a pattern matters only where it is used."""
    text = GOOD.replace("[sources.shop]", '[sources.shop]\nlike = "base"')
    text += "[sources.base]\nretries = -1"
    assert set(faults_of(text)) == {"sources.base.retries"}
    assert load_text(text, "sources.shop.retries=1").sources["shop"].retries == 1


@pytest.mark.parametrize(
    "links", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}]
)
def test_a_circle_is_one_fault_that_shows_it(links: dict[str, str], faults_of: Faults) -> None:
    """Sources that are like each other end the reading with a fault, not without end."""
    text = GOOD + "".join(f'[sources.{n}]\nlike = "{of}"\n' for n, of in links.items())
    circles = [m for path, m in faults_of(text).items() if path.endswith(".like")]
    assert len(circles) == 1
    assert "circle: " in circles[0]


# --- budgets ------------------------------------------------------------------------------


def budgets(load_text: Load, text: str) -> dict[str, str]:
    sources = load_text(text).sources
    return {n: s.budget[0].name for n, s in sources.items() if s.budget}


def test_a_budget_is_a_sources_own_unless_it_is_named(load_text: Load) -> None:
    """The same limits for each of two accounts, or one limit for both: the file says which."""
    second = '[sources.second]\nlike = "shop"\n'
    own = budgets(load_text, GOOD + second)
    assert own["shop"] != own["second"]
    shared = GOOD.replace('{ requests = 10, per = "60s" }', '"agency"') + second
    named = budgets(load_text, shared + "[budgets.agency]\nrequests = 3\nper = 1\n")
    assert named["shop"] == named["second"]


def test_a_named_budget_is_never_a_sources_own_by_accident(load_text: Load) -> None:
    """A budget that is called like a source is another one."""
    third = '[sources.third]\nlike = "shop"\nbudget = "shop"\n'
    names = budgets(load_text, GOOD + third + "[budgets.shop]\nrequests = 3\nper = 1\n")
    assert names["shop"] != names["third"]


# --- sources.d ----------------------------------------------------------------------------


def test_files_in_sources_d_are_read_along(load_text: Load) -> None:
    """Each account may be a file of its own; hidden files and other kinds are not read."""
    more = {"b.toml": '[sources.b]\nlike = "shop"', ".c.toml": "?", "d.txt": "?"}
    assert list(load_text(GOOD, more=more).sources) == ["shop", "b"]


def test_a_source_in_two_files_is_a_fault_that_names_both(
    faults_of: Faults, tmp_path: Path
) -> None:
    """Neither silently wins."""
    like = '[sources.{}]\nlike = "shop"\n'
    more = {"a.toml": like.format("x") + like.format("shop"), "b.toml": like.format("x")}
    found = faults_of(GOOD, more=more)
    folder = tmp_path / "sources.d"
    assert set(found) == {"sources.shop", "sources.x"}
    assert f"both {tmp_path / 'syncd.toml'} and {folder / 'a.toml'}" in found["sources.shop"]
    assert f"both {folder / 'a.toml'} and {folder / 'b.toml'}" in found["sources.x"]


def test_what_is_no_source_in_sources_d_is_a_fault(faults_of: Faults) -> None:
    """Settings of the whole daemon stand in the main file only."""
    found = faults_of(GOOD, more={"a.toml": "drain = 3\nbudgets = 3\n[sources]\nx = 3"})
    assert "[sources] and [budgets] only" in found["drain"]
    assert "it must be a table, in " in found["budgets"]
    assert found["sources.x"] == "found a number; it must be a table"


def test_each_file_that_is_not_toml_is_told(load_text: Load) -> None:
    """Two broken files are two faults at once."""
    with pytest.raises(ConfigError) as caught:
        load_text(GOOD, more={"a.toml": "?", "b.toml": "[", "c.toml": ""})
    told = [str(f) for f in caught.value.faults]
    assert [("a.toml" in t, "b.toml" in t) for t in told] == [(True, False), (False, True)]


# --- overrides ----------------------------------------------------------------------------


def test_an_override_replaces_one_key(load_text: Load) -> None:
    """Values are TOML, or plain text where they are not; later ones win."""
    settings = load_text(
        GOOD,
        "sources.shop.timeout=30s",
        "sources.shop.retries = 2",
        "sources.shop.retries = 3",
        "sources.shop.headers.X-A=b=c",
        'sources.shop.headers.X-Q="quoted"',
    )
    shop = settings.sources["shop"]
    assert (shop.timeout, shop.retries) == (30.0, 3)
    assert (shop.headers["X-A"], shop.headers["X-Q"]) == ("b=c", "quoted")


def test_an_override_of_a_name_with_an_equals_sign_finds_its_end(load_text: Load) -> None:
    """A quoted key may hold what else ends it."""
    stream = load_text(GOOD, 'sources.shop.streams.orders.params."a=b"=c=d')
    assert stream.sources["shop"].streams["orders"].params == {"a=b": "c=d"}


def test_an_override_reaches_the_sources_that_are_like_it(load_text: Load) -> None:
    """It is as if it had been written in the file."""
    settings = load_text(GOOD + '[sources.b]\nlike = "shop"', "sources.shop.timeout=3")
    assert settings.sources["b"].timeout == 3.0


@pytest.mark.parametrize("override", ["", "=", "drain", "=3", "#=3", "a b=3", "[x]=3", "\udcff=3"])
def test_an_override_that_is_none_is_a_fault(override: str, faults_of: Faults) -> None:
    """It says what an override looks like."""
    assert "KEY=VALUE" in faults_of(GOOD, override)["--set"]


def test_an_override_into_what_is_no_table_is_a_fault(faults_of: Faults) -> None:
    """A text has no keys."""
    found = faults_of(GOOD, "sources.shop.base_url.x=3")
    assert found["--set"] == "sources.shop.base_url.x: sources.shop.base_url is no table"


def test_an_override_is_one_value_only(faults_of: Faults) -> None:
    """A line break in it begins no second key."""
    assert "found '1\\nx = 2'" in faults_of(GOOD, "drain=1\nx = 2")["drain"]


# --- where the file is, and where the state goes -------------------------------------------


def test_the_config_is_the_first_of_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is named wins over what is found."""
    here, there = tmp_path / "syncd.toml", tmp_path / "etc.toml"
    monkeypatch.setattr(module, "PLACES", (here, there))
    with pytest.raises(ConfigError) as caught:
        find(None, {})
    for place in ("--config", "$SYNCD_CONFIG", "./syncd.toml", "/etc/syncd/syncd.toml"):
        assert place in str(caught.value)
    there.touch()
    assert find(None, {"SYNCD_CONFIG": ""}) == there
    here.touch()
    assert find(None, {}) == here
    assert find(None, {"SYNCD_CONFIG": "/x"}) == Path("/x")
    assert find(Path("y"), {"SYNCD_CONFIG": "/x"}) == Path("y")


@pytest.mark.parametrize(
    ("environ", "uid", "state"),
    [
        ({"STATE_DIRECTORY": "/a:/b", "XDG_STATE_HOME": "/x"}, 0, "/a"),
        ({"XDG_STATE_HOME": "/x"}, 0, "/var/lib/syncd"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, 1000, "/x/syncd"),
        ({"HOME": "/h"}, 1000, "/h/.local/state/syncd"),
    ],
)
def test_the_state_goes_where_systemd_or_the_user_keeps_it(
    environ: dict[str, str],
    uid: int,
    state: str,
    load_text: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under systemd, as root, and for a user, without a key in the file."""
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert load_text(environ={**ENVIRON, "HOME": "", **environ}).state == Path(state)
    assert load_text("state = '/mine'\n" + GOOD).state == Path("/mine")


def test_settings_know_their_file(tmp_path: Path) -> None:
    """So that a reload reads the same one."""
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    settings = load(path, environ=ENVIRON)
    assert settings.path == path
    auth = settings.sources["shop"].auth
    assert isinstance(auth, TokenLogin)
    assert isinstance(auth.password, Secret)
