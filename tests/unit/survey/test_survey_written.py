"""Whether what is written loads, whatever an API says, and `syncd init` as a command."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.api.shown import Redactor
from syncd.cli import cli
from syncd.config.load import load
from syncd.config.settings import (
    BasicAuth,
    BearerAuth,
    ClientCredentials,
    CursorPages,
    KeyAuth,
    KeysetPages,
    LinkPages,
    NoPages,
    NumberPages,
    OffsetPages,
    PageSettings,
    RefreshToken,
    Secret,
    UrlPages,
)
from syncd.errors import UnexpectedAnswer
from syncd.survey.asking import Asking, Place, Reply
from syncd.survey.survey import Survey, survey
from syncd.survey.written import Given, config

TODAY = dt.date(2024, 5, 17)
GIVEN = Given(
    url="https://api.example.com/x", source="shop", stream="things", base_url="https://x.example"
)
TOKEN = Secret("canary-value", "env TOKEN")


def found(body: Any, headers: dict[str, str] | None = None) -> Survey:
    """The survey of an API that always gives the same answer."""
    reply = Reply(status=200, headers=headers or {}, body=json.dumps(body).encode())

    async def fetch(_: object) -> Reply:
        return reply

    async def main() -> Survey:
        place = Place(path="/x", params={"a b": "c"})
        return await survey(Asking(fetch, lambda _: None), place, "things", Redactor())

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def loaded(text: str, folder: Path) -> Any:
    path = folder / "syncd.toml"
    path.write_text(text, "utf-8")
    (source,) = load(path, environ={}, secrets=False).sources.values()
    return source


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
RECORDS = st.lists(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(around=st.dictionaries(TEXT, VALUES, max_size=4), records=RECORDS, name=TEXT)
def test_what_is_written_loads_whatever_the_api_says(
    around: dict[str, Any],
    records: list[dict[str, Any]],
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Odd names, odd values: a file that `syncd check --offline` takes, or a sentence."""
    try:
        seen = found({**around, "data": records, name: 1}, {"link": name})
    except UnexpectedAnswer:
        return
    loaded(config(seen, GIVEN, TODAY), tmp_path_factory.mktemp("written"))


PAGES: list[PageSettings] = [
    NumberPages(size=25, size_param=None, page_param="p", first=0, until="empty", more=None),
    NumberPages(size=25, size_param="limit", until="more", more="meta.more", total="meta.total"),
    OffsetPages(size=25, size_param="count", offset_param="startAt"),
    OffsetPages(size=25, until="more", more="has_more"),
    CursorPages(size=25, param="after", next="paging.next.after", absent="end"),
    CursorPages(header="X-Next-Cursor", size=100, size_param="limit", more="more"),
    KeysetPages(size=10, param="starting_after", until="more", more="has_more"),
    LinkPages(size=30, size_param="per_page", foreign="ignore"),
    UrlPages(size=50, next="@odata.nextLink", absent="end", total="@odata.count"),
    UrlPages(size=50, header="Next-Page", size_param="_limit"),
    NoPages(),
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_kind_of_paging_is_read_back_as_it_was(page: PageSettings, tmp_path: Path) -> None:
    """The file says exactly what was found out, but for a size that is not sent."""
    seen = attrs.evolve(found([{"id": 1}]), page=page)
    read = loaded(config(seen, GIVEN, TODAY), tmp_path).streams["things"].page
    if isinstance(page, CursorPages | LinkPages | UrlPages) and page.size_param is None:
        read = attrs.evolve(read, size=page.size)
    assert read == page


@pytest.mark.parametrize("changed", ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05", 1704164645])
def test_what_it_advises_loads_once_it_is_no_comment_any_more(
    changed: str | int, tmp_path: Path
) -> None:
    """A person who takes the advice has to find a parameter's name, and nothing else."""
    text = config(found([{"id": n, "updated_at": changed} for n in (1, 2)]), GIVEN, TODAY)
    (stream,) = loaded(text.replace("# incremental", "incremental"), tmp_path).streams.values()
    assert stream.incremental.field == "updated_at"


@pytest.mark.parametrize(
    "auth",
    [
        BearerAuth(token=TOKEN),
        BasicAuth(username=TOKEN, password=TOKEN),
        KeyAuth(key=TOKEN, header="Authorization", prefix="Token "),
        KeyAuth(key=TOKEN, header=None, query="api_key"),
        RefreshToken(url="/o/", client_id=TOKEN, client_secret=TOKEN, refresh_token=TOKEN),
        ClientCredentials(url="/o/token/", client_id=TOKEN, client_secret=TOKEN, scope="read"),
    ],
    ids=lambda auth: auth.kind,
)
def test_credentials_are_written_as_references(auth: Any, tmp_path: Path) -> None:
    """No value of a secret stands in the file."""
    given = attrs.evolve(
        GIVEN, auth=auth, token_key=TOKEN, headers={"X-Client": "syncd", "X-Key": TOKEN}
    )
    text = config(found([{"id": 1}]), given, TODAY)
    assert "canary-value" not in text
    source = loaded(text, tmp_path)
    assert type(source.auth) is type(auth)
    assert '{ env = "TOKEN" }' in text
    assert list(source.headers) == ["X-Client", "X-Key"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["api.example.com/x"], "give the whole one"),
        (["ftp://api.example.com/x"], "give the whole one"),
        (["https://me:secret@api.example.com/x"], "--basic-env USER PASSWORD"),
        (["https://api.example.com/x?api_key=s3cret"], "--api-key-query api_key"),
        (["https://api.example.com/x", "--bearer-env", "NO_SUCH"], "NO_SUCH is not set"),
        (["https://api.example.com/x", "--header", "Authorization: s3cret"], "--header-env"),
        (["https://api.example.com/x", "--header", "X"], "has no value"),
        (["https://api.example.com/x", "--body", "["], "--body takes a JSON object"),
        (["https://api.example.com/x", "--body", '{"a": [null]}'], "no null"),
        (["https://api.example.com/x", "--client-env", "HOME", "HOME"], "--token-url"),
        (["https://api.example.com/x", "--token-url", "/o"], "--token-url belongs to"),
        (
            ["https://a.example/x", "--refresh-env", "HOME", "HOME", "HOME", "--token-url", "/o"],
            "one time only",
        ),
        (["https://a.example/x", "--bearer-env", "HOME", "--api-key-env", "HOME"], "one kind"),
    ],
)
def test_what_a_person_gives_wrongly_is_said_before_anything_is_asked(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to give instead, and without repeating a secret."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["init", *arguments])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
    assert "s3cret" not in done.output
    assert not (tmp_path / "syncd.toml").exists()
