"""What an address may hold: a page, a filter, or a secret that must not stand there."""

import click
import pytest

from syncd.commands.init import _place

URL = "https://api.shop.example/orders"


@pytest.mark.parametrize("name", ["page_token", "next_token", "continuation_token", "cursor"])
def test_a_cursor_is_no_secret(name: str) -> None:
    """Its address is that of a later page, and is understood so."""
    place, _ = _place(f"{URL}?{name}=dGVhbTpDMDY", None)
    assert dict(place.params) == {name: "dGVhbTpDMDY"}


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "sig", "X-Amz-Secret"])
def test_a_secret_is_refused(name: str) -> None:
    """no-secret-out: with what to do instead."""
    with pytest.raises(click.UsageError, match="looks like a secret") as caught:
        _place(f"{URL}?{name}=canary", None)
    assert f"--api-key-query {name}" in str(caught.value)
    assert "canary" not in str(caught.value)
