"""What each request is answered, on a clock of the test's own."""

import base64
import json
from typing import Any

import pytest

from mock_api.api import Api, Decision, Request
from mock_api.clock import Clock
from mock_api.faults import read_rules
from mock_api.settings import Quirk, Settings


class Platform:
    """The platform, a clock to turn, and the shortest ways to ask."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1000.0
        clock = Clock(monotonic=lambda: self.now, wall=lambda: self.now)
        self.api = Api(Settings(journal=1000, **settings), clock=clock)
        self.bearer = f"Bearer {self.login()['access_token']}"

    def login(self, email: str = "ads@example.com", password: str = "secret") -> dict[str, Any]:
        pair = base64.b64encode(f"{email}:{password}".encode()).decode()
        answer: dict[str, Any] = body(
            self.ask("POST", "/auth/token", authorization=f"Basic {pair}")
        )
        return answer

    def ask(self, method: str, path: str, **more: str) -> Decision:
        path, _, query = path.partition("?")
        request = Request(method=method, path=path, query=query, **more)
        return self.api.decide(request, self.api.late(request))

    def get(self, path: str = "/api/campaigns", client: str = "c") -> Decision:
        return self.ask("GET", path, authorization=self.bearer, client=client)

    def post(self, campaign: str = "camp_1", key: str = "", client: str = "c") -> Decision:
        path = f"/api/campaigns/{campaign}/sync"
        return self.ask("POST", path, authorization=self.bearer, client=client, key=key)

    def faults(self, *rules: dict[str, Any]) -> None:
        self.api.script.replace(read_rules(json.dumps(rules).encode()))


def status(decision: Decision) -> int | None:
    return None if decision.answer is None else decision.answer.status


def body(decision: Decision) -> Any:
    assert decision.answer is not None
    return json.loads(decision.answer.body)


def test_a_page_tells_where_it_stands() -> None:
    platform = Platform(campaigns=25)
    first, last, beyond = (platform.get(f"/api/campaigns?page={n}&limit=10") for n in (1, 3, 4))
    assert [record["id"] for record in body(last)["data"]] == [f"camp_{n}" for n in range(21, 26)]
    assert body(first)["pagination"] == {"page": 1, "limit": 10, "total": 25, "has_more": True}
    assert body(last)["pagination"]["has_more"] is False
    assert body(beyond)["data"] == []


@pytest.mark.parametrize("query", ["page=0", "page=x", "limit=-1", "limit=1.5", "page=%D9%A1"])
def test_a_page_that_is_none_is_a_400(query: str) -> None:
    assert status(Platform().get(f"/api/campaigns?{query}")) == 400


def test_list_requests_fail_and_hang_by_their_number() -> None:
    """Every fifth is a 503, every tenth is never answered, and both cost quota."""
    platform = Platform(limit=0)
    answers = [status(platform.get(client=f"c{n}")) for n in range(1, 21)]
    fine = [200] * 4
    assert answers == [*fine, 503, *fine, None, *fine, 503, *fine, None]
    assert platform.api.hangs == 2
    assert all(entry.cost for entry in platform.api.journal.entries() if entry.n)


def test_numbers_can_be_each_clients_own() -> None:
    platform = Platform(per_client=True)
    assert [status(platform.get(client=c)) for c in "ababababab"] == [*[200] * 8, 503, 503]


def test_lists_and_posts_share_ten_a_minute_and_a_refusal_says_how_long() -> None:
    platform = Platform(retry_after_header=True)
    for n in range(5):
        platform.now += 1
        assert status(platform.get()) == (503 if n == 4 else 200)
        assert status(platform.post()) == 200
    refused = platform.post()
    assert status(refused) == 429
    assert body(refused)["retry_after"] == 60
    assert refused.answer is not None
    assert (b"retry-after", b"60") in refused.answer.headers
    assert status(platform.get(client="other")) == 200
    platform.now += 56
    assert status(platform.get()) == 200


def test_a_refused_request_is_neither_counted_nor_numbered() -> None:
    platform = Platform(limit=2)
    assert [status(platform.get()) for _ in range(9)] == [200, 200, *[429] * 7]
    assert status(platform.ask("GET", "/api/campaigns")) == 401
    platform.now += 60
    assert status(platform.get()) == 200  # the third, not the eleventh
    assert [entry.n for entry in platform.api.journal.entries() if entry.n] == [1, 2, 3]
    assert platform.api.counted == 3


def test_auth_comes_before_the_limit_and_logins_are_free() -> None:
    platform = Platform(limit=1)
    assert status(platform.get()) == 200
    assert status(platform.ask("GET", "/api/campaigns", client="c")) == 401
    assert status(platform.get()) == 429
    for _ in range(20):
        platform.login()
    assert platform.api.tokens.logins == 21


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ?",
        "Bearer x",
        "Basic " + base64.b64encode(b"ads@example.com:x").decode(),
    ],
)
def test_wrong_or_missing_credentials_buy_nothing(authorization: str) -> None:
    platform = Platform()
    assert status(platform.ask("POST", "/auth/token", authorization=authorization)) == 401
    assert platform.api.tokens.logins_failed == 1


def test_a_password_may_hold_colons_and_umlauts() -> None:
    assert "access_token" in Platform(password="secret").login(password="secret")
    api = Api(Settings(password="ä:b", journal=10))
    pair = base64.b64encode("ads@example.com:ä:b".encode()).decode()
    assert api.tokens.login(f"Basic {pair}", 0) is not None


def test_only_issued_tokens_pass_and_only_while_they_live() -> None:
    platform = Platform()
    login = platform.login()
    assert (login["token_type"], login["expires_in"]) == ("Bearer", 3600)
    assert login["issued_at"] == "1970-01-01T00:16:40.000Z"
    assert status(platform.ask("GET", "/api/campaigns", authorization="Bearer made-up")) == 401
    platform.now += 3599
    assert status(platform.get()) == 200
    platform.now += 1
    assert status(platform.get()) == 401


def test_a_sync_is_carried_out_once_for_each_key_and_its_answer_repeated() -> None:
    platform = Platform(limit=0)
    first = platform.post(key="k")
    assert first.due == platform.now + 2
    platform.now += 1
    early = platform.post(key="k")
    platform.now += 5
    late = platform.post(key="k")
    assert body(first) == body(early) == body(late)
    assert body(first)["synced_at"] == "1970-01-01T00:16:42.000Z"
    assert body(first)["success"] is True
    assert (early.due, late.due) == (first.due, platform.now)
    calls = platform.api.calls.as_json()
    assert calls["by_id"] == {"camp_1": {"asked": 3, "carried_out": 1}}
    assert calls["by_key"] == {"k": {"campaign_id": "camp_1", "asked": 3}}


def test_without_a_key_each_sync_is_carried_out() -> None:
    platform = Platform()
    platform.post()
    platform.post()
    assert platform.api.calls.as_json()["by_id"] == {"camp_1": {"asked": 2, "carried_out": 2}}


def test_what_is_not_there_is_a_404_that_costs_quota() -> None:
    platform = Platform(limit=2)
    assert status(platform.post("camp_101")) == 404
    assert status(platform.get("/api/other")) == 404
    assert status(platform.get()) == 429
    assert status(platform.ask("GET", "/other")) == 404
    assert status(platform.ask("GET", "/health")) == 200
    assert status(platform.ask("GET", "/auth/token")) == 405


def test_speed_divides_every_time_and_what_clients_are_told_stays_true() -> None:
    platform = Platform(speed=20)
    assert platform.login()["expires_in"] == 180
    assert platform.post().due == pytest.approx(platform.now + 0.1)
    for _ in range(9):
        platform.get()
    assert body(platform.get())["retry_after"] == 3
    platform.now += 3
    assert status(platform.post()) == 200
    assert Settings(speed=200).at_speed().retry_after == 1
    assert Settings(speed=20).at_speed().idle == 1.0


def test_quirks_are_those_of_the_real_test_server() -> None:
    platform = Platform(quirks=frozenset(Quirk), limit=0, fail_every=0, hang_every=0)
    platform.bearer = "Bearer anything"
    ninth, tenth = (body(platform.get(f"/api/campaigns?page={n}&limit=50")) for n in (9, 10))
    assert ninth["pagination"] == {"page": 9, "limit": 50, "total": 100, "has_more": True}
    assert tenth["pagination"]["has_more"] is False
    assert tenth["data"][0]["id"] == "camp_451"
    again = body(platform.get("/api/campaigns?page=10&limit=50"))
    assert again["data"][0] != tenth["data"][0]
    assert status(platform.post("camp_451")) == 200
    lost = platform.get("/api/other").answer
    assert lost is not None
    assert lost.body.startswith(b"<!DOCTYPE html>")


def test_a_scripted_answer_stands_in_place_of_the_work() -> None:
    platform = Platform()
    platform.faults({"path": "*/sync", "status": 500, "headers": {"X-A": "b"}, "delay": 3})
    decision = platform.post(key="k")
    assert status(decision) == 500
    assert decision.answer is not None
    assert (b"x-a", b"b") in decision.answer.headers
    assert decision.due == platform.now + 3
    assert platform.api.calls.asked == 0
    assert platform.api.counted == 1


def test_a_lost_answer_means_that_the_work_was_done() -> None:
    platform = Platform()
    platform.faults({"path": "*/sync", "on": [1], "status": 500, "handle": True})
    assert [status(platform.post(key="k")) for _ in range(2)] == [500, 200]
    assert platform.api.calls.as_json()["by_id"] == {"camp_1": {"asked": 2, "carried_out": 1}}


def test_a_scripted_429_costs_no_quota_and_a_refused_request_meets_no_fault() -> None:
    platform = Platform(limit=1)
    platform.faults({"on": [1, 3], "status": 429, "headers": {"Retry-After": "0"}})
    assert [status(platform.get()) for _ in range(4)] == [429, 200, 429, 429]
    assert platform.api.script.as_json()[0]["matched"] == 2
    assert platform.api.refused == 2


def test_a_share_of_the_requests_comes_late_and_the_same_ones_after_a_reset() -> None:
    def late() -> list[int]:
        request = Request(method="GET", path="/api/campaigns")
        return [n for n in range(1000) if platform.api.late(request)]

    platform = Platform(late=0.3)
    first = late()
    platform.api.reset()
    assert late() == first
    assert 250 < len(first) < 350
    assert platform.api.late(Request(method="POST", path="/auth/token")) is None


def test_what_comes_late_is_named_in_the_journal_by_the_last_fault_that_it_met() -> None:
    platform = Platform(limit=2, late=1)
    platform.faults({"name": "bad", "on": [2], "status": 500})
    assert [status(platform.get()) for _ in range(3)] == [200, 500, 429]
    entries = list(platform.api.journal.entries())[1:]  # but for the login
    assert [entry.fault for entry in entries] == ["late", "bad", "late"]


def test_a_page_that_the_client_has_is_a_304_that_costs_quota() -> None:
    platform = Platform(campaigns=5, etags=True)
    first = platform.get().answer
    assert first is not None
    etag = dict(first.headers)[b"etag"].decode()
    asked = {"authorization": platform.bearer, "client": "c"}
    again = platform.ask("GET", "/api/campaigns", known=f'"x", W/{etag}', **asked)
    assert again.answer is not None
    assert (again.answer.status, again.answer.body) == (304, b"")
    assert platform.api.statistics()["counted"] == 2
    platform.api.campaigns.change("camp_2", {"name": "new"})
    changed = platform.ask("GET", "/api/campaigns", known=etag, **asked)
    assert status(changed) == 200
    plain = Platform(campaigns=5).get().answer
    assert plain is not None
    assert b"etag" not in dict(plain.headers)


def test_a_reset_forgets_everything() -> None:
    platform = Platform()
    platform.post(key="k")
    platform.faults({"hang": True})
    platform.api.campaigns.remove("camp_1")
    platform.api.reset()
    assert len(platform.api.campaigns) == 100
    assert platform.api.statistics()["requests"] == 0
    assert status(platform.get()) == 401
    assert "access_token" in platform.login()


def test_a_campaign_shows_its_last_sync_once_it_is_through() -> None:
    """With the key that it was asked with: what a client needs who lost the answer."""
    platform = Platform(campaigns=3, limit=0)

    def last() -> Any:
        return body(platform.get("/api/campaigns/camp_2"))["last_sync"]

    assert last() is None
    answer = body(platform.post("camp_2", key="k1"))
    platform.now += 1.9
    assert last() is None
    platform.now += 0.2
    assert last() == {"key": "k1", "synced_at": answer["synced_at"]}
    platform.post("camp_2")
    assert last()["key"] == "k1"
    platform.now += 2.1
    assert last()["key"] is None
    platform.post("camp_2", key="k1")
    platform.now += 2.1
    assert last()["key"] is None, "a key that comes again carries nothing out"


def test_one_campaign_is_the_record_of_the_list() -> None:
    """It costs quota and has no number; an unknown one is a 404."""
    platform = Platform(campaigns=3)
    listed = body(platform.get())["data"][1]
    assert body(platform.get("/api/campaigns/camp_2"))["data"] == listed
    assert status(platform.get("/api/campaigns/camp_9")) == 404
    assert platform.api.counted == 3
    assert [e.n for e in platform.api.journal.entries()][-3:] == [1, 0, 0]
    assert (
        status(platform.ask("PUT", "/api/campaigns/camp_2", authorization=platform.bearer)) == 405
    )
