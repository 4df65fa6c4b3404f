"""What each request costs, and of which limits: the permit hears it."""

import attrs
import pytest

from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.api.source import ApiSource
from syncd.config.settings import BudgetSettings, CallSettings, StreamSettings
from syncd.sync.model import Record
from syncd.sync.ports import PLAIN, Price
from tests.unit.api.rawserver import NotingPermit, RawServer, ok, token_auth

STREAM = StreamSettings(
    name="orders",
    path="/orders",
    key=("id",),
    columns={"id": "text"},
    table="orders",
    cost=5,
    call=CallSettings(path="/orders/{id}/seen", cost=3),
)
RECORD = Record(key='["a"]', fields={"id": b'"a"'}, raw=b'{"id": "a"}')


async def test_a_list_request_and_a_call_cost_what_the_file_says(
    server: RawServer, permit: NotingPermit
) -> None:
    """budget: a call's path is the one that is sent."""
    server.will(ok(b'{"data": [], "has_more": false}'), ok(b"{}"))
    async with ApiClient(server.source()) as client:
        source = ApiSource(client.settings, attrs.evolve(STREAM, records="data"), client)
        await source.fetch(None, permit)
        await source.call(RECORD, "k", permit)
    assert permit.prices == [
        Price(path="/orders", cost=5),
        Price(path="/orders/a/seen", cost=3),
    ]


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/v1/orders?page=2", "/orders?page=2"),
        ("/v1", "/v1"),
        ("/v10/orders", "/v10/orders"),
        ("/orders", "/orders"),
    ],
)
async def test_an_address_that_the_api_gives_is_seen_from_base_url(
    server: RawServer, address: str, path: str
) -> None:
    """budget: limits by path are written as the paths of streams are."""
    async with ApiClient(server.source(base_url=server.url + "/v1")) as client:
        assert client.price(Ask(method="GET", path=address, rooted=True)) == Price(path=path)


GET = Ask(method="GET", path="/list")


@attrs.define(eq=False)
class AgingPermit(NotingPermit):
    """Its first wait is so long that a bearer grows old."""

    clock: float = 0.0

    async def spend(self, price: Price = PLAIN) -> None:
        self.prices.append(price)
        self.clock += 20.0 if len(self.prices) == 1 else 0.0


async def test_a_login_costs_what_the_file_says(server: RawServer, permit: NotingPermit) -> None:
    """budget: its tokens are none of the request's, where the two cost something else."""
    auth = token_auth(spends=True, cost=2)
    async with ApiClient(server.source(auth=auth)) as client:
        await client.send(GET, permit)
    assert permit.prices == [Price(path="/auth/token", cost=2), Price(path="/list")]


@pytest.mark.parametrize(
    ("paths", "spent"), [((), 2), (("/list",), 3), (("/auth",), 3), (("/",), 2)]
)
async def test_a_token_at_hand_serves_a_login_of_the_same_limits(
    server: RawServer, paths: tuple[str, ...], spent: int
) -> None:
    """budget: what was spent for the request before its bearer grew old, if both count alike."""
    server.life = "10"
    budget = (BudgetSettings(name="b", requests=9, per=1.0, paths=paths),)
    permit = AgingPermit()
    source = server.source(auth=token_auth(spends=False), budget=budget)
    async with ApiClient(source, clocks=(lambda: permit.clock,)) as client:
        await client.send(GET, NotingPermit())
        assert client._bought is not None
        client._bought.settings = token_auth(spends=True)
        await client.send(GET, permit)
    assert len(permit.prices) == spent
    assert permit.prices[-1].path == "/list"
