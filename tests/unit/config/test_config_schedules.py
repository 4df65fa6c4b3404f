"""What `cron` and `zone` may say beside `every`, and every fault of theirs."""

import zoneinfo

import pytest

from syncd.config.settings import StreamSettings
from syncd.schedule import Schedule
from syncd.zones import NONE_HERE, zone
from tests.unit.config.conftest import GOOD, Faults, Load

ORDERS = "sources.shop.streams.orders"
CRON, ZONE, EVERY = f"{ORDERS}.cron", f"{ORDERS}.zone", f"{ORDERS}.every"
NIGHTLY = f'{CRON}="30 2 * * *"'
BERLIN = f"{ZONE}=Europe/Berlin"
SLACK = "notify=[{ url = 'https://hooks.example.com/x', kind = 'slack', max_age = '%s' }]"


def orders(load: Load, *sets: str, text: str = GOOD, source: str = "shop") -> StreamSettings:
    return load(text, *sets).sources[source].streams["orders"]


def test_a_calendar_takes_the_place_of_an_interval(load_text: Load) -> None:
    """A text or a list of them; UTC unless something else is said."""
    assert orders(load_text).schedule is None
    assert orders(load_text, NIGHTLY).schedule == Schedule(("30 2 * * *",), "UTC")
    several = f'{CRON}=["@daily", "  0  14 * * mon-fri "]'
    found = orders(load_text, several, BERLIN)
    assert found.schedule == Schedule(("@daily", "0 14 * * mon-fri"), "Europe/Berlin")
    assert found.interval == 86400.0


@pytest.mark.parametrize(
    ("sets", "path", "words"),
    [
        ([NIGHTLY, f"{EVERY}=1h"], CRON, "exclude each other; leave one of them out"),
        ([BERLIN], ZONE, "the zone of `cron`, which is not there"),
        ([NIGHTLY, f"{ZONE}=Europe/Berlim"], ZONE, "did you mean 'Europe/Berlin'?"),
        ([NIGHTLY, f"{ZONE}=europe/berlin"], ZONE, "did you mean 'Europe/Berlin'?"),
        ([NIGHTLY, f"{ZONE}=Mars/Base"], ZONE, 'a time zone such as "UTC"'),
        ([NIGHTLY, f"{ZONE}=Europe"], ZONE, "a time zone such as"),
        ([NIGHTLY, f"{ZONE}=../../etc/passwd"], ZONE, "a time zone such as"),
        ([NIGHTLY, f"{ZONE}=2"], ZONE, "found 2; it must be a time zone"),
        ([f"{CRON}=15m"], CRON, "found '15m': 1 field instead of five; it must be five fields"),
        ([f'{CRON}="0 30 2 * * *"'], CRON, "seconds can't be given"),
        ([f'{CRON}="0 25 * * *"'], CRON, "found '0 25 * * *': bad hour; it must be five fields"),
        (
            [f'{CRON}="0 0 31 2 *"'],
            CRON,
            "found '0 0 31 2 *': it never comes; no month that it names has such a day",
        ),
        ([f'{CRON}=["0 0 30 2 *"]'], f"{CRON}[1]", "it never comes; no month that it names"),
        ([f"{CRON}=@reboot"], CRON, "there is no @reboot; there are @hourly"),
        ([f"{CRON}=[]"], CRON, "or a list of them"),
        ([f"{CRON}=900"], CRON, "found 900; it must be five fields"),
        ([f'{CRON}=["0 2 * * *", 3]'], CRON, "or a list of them"),
        ([f'{CRON}=["0 2 * * *", "0 2 * *"]'], f"{CRON}[2]", "4 fields instead of five"),
        ([f'{CRON}=["0 2 * * *", "0  2 * * *"]'], f"{CRON}[2]", "the same as cron[1]"),
    ],
)
def test_each_fault_is_told(faults_of: Faults, sets: list[str], path: str, words: str) -> None:
    """all-or-nothing-reload: where, what was found, what is allowed."""
    [(where, message)] = faults_of(GOOD, *sets).items()
    assert where == path
    assert words in message


def test_one_takes_the_place_of_the_other_where_a_source_is_like_another(load_text: Load) -> None:
    """What excludes each other is not inherited side by side."""
    nightly = GOOD.replace(
        'path     = "/orders"', 'path = "/orders"\ncron = "@daily"\nzone = "Europe/Berlin"'
    )
    often = '[sources.more]\nlike = "shop"\nstreams.orders = { every = "1m" }\n'
    found = orders(load_text, text=nightly + often, source="more")
    assert (found.every, found.schedule) == (60.0, None)

    other = '[sources.more]\nlike = "shop"\nstreams.orders = { cron = "@weekly" }\n'
    found = orders(load_text, text=nightly + other, source="more")
    assert found.schedule == Schedule(("@weekly",), "Europe/Berlin")

    hourly = GOOD.replace('path     = "/orders"', 'path = "/orders"\nevery = "1h"')
    found = orders(load_text, text=hourly + other, source="more")
    assert found.schedule == Schedule(("@weekly",), "UTC")


def test_an_age_is_measured_by_the_longest_time_between_two(
    faults_of: Faults, load_text: Load
) -> None:
    """accounted: no alarm that the calendar itself sets off."""
    office = f'{CRON}="*/15 9-17 * * MON-FRI"'
    [(where, message)] = faults_of(GOOD, office, SLACK % "2d").items()
    assert where == "notify[1].max_age"
    assert f"{CRON} (227700s), the shortest of its streams" in message
    assert orders(load_text, office, SLACK % "3d").cron
    assert list(faults_of(GOOD, f"{CRON}=daily", SLACK % "1m")) == [CRON]


def test_without_any_zones_it_is_said_what_to_install(
    faults_of: Faults, load_text: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slim machine: UTC goes on working, and all else says what is missing."""
    monkeypatch.setattr(zoneinfo, "available_timezones", set)

    def none(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", none)
    of_a_field = f'{ORDERS}.incremental={{field="f", param="s", zone="%s"}}'
    found = faults_of(GOOD, NIGHTLY, BERLIN, of_a_field % "Europe/Berlin")
    assert found == {
        ZONE: f"found 'Europe/Berlin'; {NONE_HERE}",
        f"{ORDERS}.incremental.zone": f"found 'Europe/Berlin'; {NONE_HERE}",
    }
    schedule = orders(load_text, NIGHTLY, f"{ZONE}=UTC", of_a_field % "UTC").schedule
    assert schedule is not None
    assert schedule.after(0.0) == 2.5 * 3600
    assert zone("UTC").utcoffset(None) is not None
