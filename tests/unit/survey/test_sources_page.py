"""Whether the configs in docs/sources.md read whole lists, as the APIs' pages have them."""

import re
from pathlib import Path
from typing import cast

import pytest

from syncd.api.auth.bought import NoPermit
from syncd.api.client import ApiClient
from syncd.api.source import ApiSource
from syncd.config.load import load
from tests.unit.survey.apis import APIS
from tests.unit.survey.replay import Client

PAGE = Path(__file__).parents[3] / "docs" / "sources.md"
BLOCKS = re.findall(
    r"^## (.+?)\n.*?^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)
REPLAYED = {"Zendesk": "Zendesk, by cursor"}
"""The list that a config reads, where the API has two."""


def test_there_are_enough_of_them() -> None:
    """At least eight, and as many as the table at the beginning names."""
    named = re.findall(r"^\| \[(.+?)\]", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in BLOCKS] == named
    assert len(named) >= 8


@pytest.mark.parametrize(("name", "text"), BLOCKS, ids=[name for name, _ in BLOCKS])
async def test_a_config_reads_the_whole_list(name: str, text: str, tmp_path: Path) -> None:
    """Each record once, none refused."""
    (api,) = (api for api in APIS if api.name == REPLAYED.get(name, name))
    path = tmp_path / "syncd.toml"
    path.write_text(text, "utf-8")
    (source,) = load(path, environ={}, secrets=False).sources.values()
    (stream,) = source.streams.values()
    reading = ApiSource(source, stream, cast("ApiClient", Client(api, source)))
    keys: list[str] = []
    cursor: str | None = None
    for _ in range(api.many + 1):
        page = await reading.fetch(cursor, NoPermit())
        assert page.rejects == []
        keys += [record.key for record in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(keys) == len(set(keys)) == api.many
