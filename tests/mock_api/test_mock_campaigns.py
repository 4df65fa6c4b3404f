"""The campaigns: computed, stable, and changed while they are listed."""

import json
from typing import Any

import pytest

from mock_api.campaigns import Campaigns, UnknownCampaign


def listed(campaigns: Campaigns, start: int = 0, count: int = 1000) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(f"[{campaigns.render(start, count)}]")
    return records


def ids(campaigns: Campaigns, start: int = 0, count: int = 1000) -> list[str]:
    return [record["id"] for record in listed(campaigns, start, count)]


def test_a_campaign_has_the_fields_of_the_platform_and_keeps_its_values() -> None:
    """The same number gives the same campaign, in every list and every process."""
    first = listed(Campaigns(100))[0]
    assert list(first) == [
        "id", "name", "status", "budget", "impressions", "clicks", "conversions", "created_at",
    ]  # fmt: skip
    assert first == {
        "id": "camp_1",
        "name": "Campaign 1",
        "status": "active",
        "budget": 9096.23,
        "impressions": 235441,
        "clicks": 11772,
        "conversions": 367,
        "created_at": "2023-07-01T17:31:21Z",
    }
    assert listed(Campaigns(10_000_000))[0] == first


def test_ten_million_are_not_held() -> None:
    """The last page of ten million is there at once."""
    campaigns = Campaigns(10_000_000)
    assert ids(campaigns, 9_999_998, 10) == ["camp_9999999", "camp_10000000"]
    assert ids(campaigns, 10_000_000, 10) == []


def test_when_some_are_removed_the_others_move_up_and_none_is_lost() -> None:
    campaigns = Campaigns(10)
    for name in ("camp_1", "camp_5", "camp_4", "camp_10"):
        campaigns.remove(name)
    expected = ["camp_2", "camp_3", "camp_6", "camp_7", "camp_8", "camp_9"]
    assert len(campaigns) == 6
    assert ids(campaigns) == expected
    for size in (1, 2, 4, 5):
        pages = [ids(campaigns, start, size) for start in range(0, 6, size)]
        assert [name for page in pages for name in page] == expected
    assert not campaigns.serves("camp_5")
    with pytest.raises(UnknownCampaign):
        campaigns.remove("camp_5")


def test_added_ones_stand_at_the_end_and_never_take_a_removed_ones_name() -> None:
    campaigns = Campaigns(3)
    campaigns.remove("camp_3")
    assert campaigns.add(2) == ["camp_4", "camp_5"]
    assert ids(campaigns) == ["camp_1", "camp_2", "camp_4", "camp_5"]


def test_a_change_shows_in_the_list_until_it_is_undone() -> None:
    campaigns = Campaigns(3)
    before = listed(campaigns)
    campaigns.change("camp_2", {"name": "x\u0000\ud800 𝄞", "extra": [1]}, drop=["budget"])
    changed = listed(campaigns)
    assert changed[1]["name"] == "x\u0000\ud800 𝄞"
    assert changed[1]["extra"] == [1]
    assert "budget" not in changed[1]
    assert [changed[0], changed[2]] == [before[0], before[2]]
    campaigns.restore("camp_2")
    assert listed(campaigns) == before


def test_a_changed_id_is_the_one_that_is_served() -> None:
    campaigns = Campaigns(3)
    campaigns.change("camp_2", {"id": "other"})
    assert ids(campaigns) == ["camp_1", "other", "camp_3"]
    assert campaigns.serves("other")
    assert not campaigns.serves("camp_2")
    campaigns.change("camp_2", {"name": "still found by its first id"})
    assert listed(campaigns)[1]["name"] == "still found by its first id"


def test_a_raw_record_is_sent_as_it_is() -> None:
    campaigns = Campaigns(2)
    campaigns.change("camp_1", raw='{"id": NaN}')
    assert campaigns.render(0, 1) == '{"id": NaN}'


@pytest.mark.parametrize("name", ["", "camp_", "camp_0", "camp_01", "camp_4", "camp_-1", "x"])
def test_what_is_not_in_the_list_is_not_served(name: str) -> None:
    assert not Campaigns(3).serves(name)
