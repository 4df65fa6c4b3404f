"""What `init` is given: an address with a page, a filter or a secret in it, and a file."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from syncd.cli import cli
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


def test_a_parameter_that_is_there_twice_is_not_dropped() -> None:
    """accounted: with one value less it would be another list."""
    with pytest.raises(click.UsageError, match="'status' more than once"):
        _place(f"{URL}?status=open&status=held", None)
    place, _ = _place(f"{URL}?status=open,held", None)
    assert dict(place.params) == {"status": "open,held"}


@pytest.mark.parametrize("name", ["none/syncd.toml", "."])
def test_nothing_is_asked_for_a_file_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    """budget: requests whose answers nobody gets are made in vain."""
    done = CliRunner().invoke(cli, ["init", URL, "--force", "--output", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "can't be written; --output FILE names another place" in done.output
    assert "request 1" not in done.output
