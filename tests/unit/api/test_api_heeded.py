"""Which answers lower the budget by what they say is left."""

from typing import Any

from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.config.settings import Secret
from syncd.sync.ports import Quota
from tests.unit.api.rawserver import NotingPermit, RawServer, answer, ok, token_auth

GET = Ask(method="GET", path="/list")
LEFT: dict[str, Any] = {"x_ratelimit_remaining": "3", "x_ratelimit_reset": "30"}
QUOTA = Quota(left=3, seconds=30)


async def test_an_answer_says_what_is_left(server: RawServer, permit: NotingPermit) -> None:
    """budget: a good one, and one that concerns the request alone."""
    server.will(ok(**LEFT), answer(404, **LEFT), answer(200))
    async with ApiClient(server.source()) as client:
        for _ in range(3):
            await client.send(GET, permit)
    assert permit.quotas == [QUOTA, QUOTA]
    assert permit.notes == ["spend", "confirm", "written", "answered"] * 3


async def test_of_a_refusal_only_the_retry_says_what_follows(
    server: RawServer, permit: NotingPermit
) -> None:
    """budget: a Retry-After wins over the end of a window, so that it is not heard twice."""
    server.will(answer(429, **LEFT), answer(503, **LEFT))
    async with ApiClient(server.source()) as client:
        await client.send(GET, permit)
        await client.send(GET, permit)
    assert permit.quotas == []


async def test_headers_of_no_use_are_not_looked_at(server: RawServer, permit: NotingPermit) -> None:
    """budget: where `ratelimit_headers` says so."""
    said: list[str] = []
    server.will(ok(**LEFT), ok(x_ratelimit_remaining="?", x_ratelimit_reset="1"))
    async with ApiClient(server.source(ratelimit_headers=False), misread=said.append) as client:
        await client.send(GET, permit)
        await client.send(GET, permit)
    assert (permit.quotas, said) == ([], [])


async def test_what_cannot_be_meant_is_told_once_and_holds_no_secret(
    server: RawServer, permit: NotingPermit
) -> None:
    """budget, no-secret-out: a header may echo anything."""
    said: list[str] = []
    server.otherwise = ok(x_ratelimit_remaining="canary-key", x_ratelimit_reset="1")
    headers = {"X-Api-Key": Secret("canary-key", "env KEY")}
    async with ApiClient(server.source(headers=headers), misread=said.append) as client:
        for _ in range(3):
            await client.send(GET, permit)
    assert said == ["x-ratelimit-remaining: ***"]
    assert permit.quotas == []


async def test_a_login_that_costs_no_budget_lowers_none(
    server: RawServer, permit: NotingPermit
) -> None:
    """budget: what it says is left is another limit's."""
    grant = b'{"access_token": "bearer-1", "expires_in": 3600}'
    server.logins.append(ok(grant, **LEFT))
    async with ApiClient(server.source(auth=token_auth())) as client:
        await client.send(GET, permit)
    assert permit.quotas == []


async def test_a_login_that_costs_budget_lowers_it(server: RawServer, permit: NotingPermit) -> None:
    """budget: it is one of the requests that are counted."""
    grant = b'{"access_token": "bearer-1", "expires_in": 3600}'
    server.logins.append(ok(grant, **LEFT))
    async with ApiClient(server.source(auth=token_auth(spends=True))) as client:
        await client.send(GET, permit)
    assert permit.quotas == [QUOTA]
