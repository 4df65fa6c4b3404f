"""Whether the configs in docs/sources.md read whole lists, as the APIs' pages have them."""

import json
import re
from pathlib import Path
from typing import cast

import pytest

from syncd.api.auth.bought import NoPermit
from syncd.api.client import ApiClient
from syncd.api.exchange import Answer
from syncd.api.rules import rule_of
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


SECONDARY = "rate-limits-for-the-rest-api#about-secondary-rate-limits"
USAGE = {"domain": "usageLimits", "reason": "rateLimitExceeded", "message": "Rate Limit Exceeded"}
ERRORS: dict[str, tuple[str, int, dict[str, str], object, str | None]] = {
    "an hour that is used up": (
        "GitHub", 403, {"x-ratelimit-remaining": "0"}, {"message": "API rate limit exceeded"},
        "wait",
    ),
    "too much at once": (
        "GitHub", 403, {"x-ratelimit-remaining": "4000"},
        {"documentation_url": f"https://docs.github.com/rest/overview/{SECONDARY}"}, "wait",
    ),
    "a right that lacks": (
        "GitHub", 403, {"x-ratelimit-remaining": "4000"},
        {"message": "Resource not accessible by integration"}, None,
    ),
    "one that passes": ("Slack", 200, {}, {"ok": False, "error": "internal_error"}, "retry"),
    "a token that was revoked": (
        "Slack", 200, {}, {"ok": False, "error": "token_revoked"}, "park",
    ),
    "no error": ("Slack", 200, {}, {"ok": True, "channels": []}, None),
    "two at the same time": (
        "Notion", 409, {}, {"object": "error", "code": "conflict_error"}, "retry",
    ),
    "too many": ("Airtable", 429, {}, {"errors": [{"error": "RATE_LIMIT_REACHED"}]}, "wait"),
    "a quota": ("Google Calendar", 403, {}, {"error": {"errors": [USAGE], "code": 403}}, "wait"),
    "another right that lacks": (
        "Google Calendar", 403, {}, {"error": {"errors": [{"reason": "forbidden"}]}}, None,
    ),
    "the organisation's requests": (
        "Salesforce", 403, {},
        [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}],
        "wait",
    ),
}  # fmt: skip
"""The config that meets an answer, the answer, and what its rules say of it."""


@pytest.mark.parametrize("case", ERRORS)
def test_a_config_knows_the_errors_of_its_api(case: str, tmp_path: Path) -> None:
    """CASES 30: quotas told by a 403, errors inside a 200; a right that lacks is neither."""
    name, status, headers, body, then = ERRORS[case]
    path = tmp_path / "syncd.toml"
    path.write_text(dict(BLOCKS)[name], "utf-8")
    (source,) = load(path, environ={}, secrets=False).sources.values()
    answer = Answer(status=status, headers=headers, body=json.dumps(body).encode())
    rule = rule_of(source.errors, answer)
    assert (rule.then if rule else None) == then
