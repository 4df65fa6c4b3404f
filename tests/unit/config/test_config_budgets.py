"""What a file may say of limits and costs, and what each is then called."""

import pytest

from syncd.config.settings import BudgetSettings
from tests.unit.config.conftest import GOOD, Faults, Load

SHOP = "sources.shop"


def limits(load_text: Load, text: str, more: str = "") -> list[tuple[str, int, str | None]]:
    """Name, requests and seed of each."""
    found = load_text(GOOD + more, f"{SHOP}.budget={text}").sources["shop"].budget
    return [(limit.name, limit.requests, limit.seed) for limit in found]


SECOND = '{ requests = 10, per = "1s" }'
HOUR = '{ requests = 1000, per = "1h" }'
SEARCH = '{ requests = 30, per = "60s", paths = ["/search"] }'


def test_one_limit_is_a_list_of_one(load_text: Load) -> None:
    """budget: it has the source's name, whether it stands in a list or not."""
    one = limits(load_text, SECOND)
    assert one == limits(load_text, f"[{SECOND}]") == [("source shop", 10, "source shop")]


@pytest.mark.parametrize("text", [f"[{SECOND}, {HOUR}, {SEARCH}]", f"[{SEARCH}, {HOUR}, {SECOND}]"])
def test_the_limits_of_a_list_are_told_apart_by_their_stretch_in_any_order(
    load_text: Load, text: str
) -> None:
    """budget: what was spent is found again when the file is sorted otherwise."""
    assert sorted(limits(load_text, text)) == [
        ("source shop per 1s", 10, "source shop"),
        ("source shop per 3600s", 1000, "source shop"),
        ("source shop per 60s of /search", 30, "source shop"),
    ]


def test_a_limit_of_some_paths_never_has_the_sources_name(load_text: Load) -> None:
    """budget: that of a limit which counts everything; a hold of all the others goes by it."""
    assert limits(load_text, f"[{SEARCH}]") == limits(load_text, SEARCH)
    assert limits(load_text, SEARCH) == [("source shop per 60s of /search", 30, "source shop")]


def test_shared_limits_stand_beside_own_ones(load_text: Load) -> None:
    """budget: a name among tables, and a list under a name."""
    more = '[[budgets.all]]\nrequests = 5\nper = "1s"\n[[budgets.all]]\nrequests = 9\nper = "10s"\n'
    shared = [
        ("budget all per 1s", 5, "budget all"),
        ("budget all per 10s", 9, "budget all"),
    ]
    assert limits(load_text, '"all"', more) == shared
    assert limits(load_text, f'["all", {HOUR}]', more) == [
        ("source shop", 1000, "source shop"),
        *shared,
    ]


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        ("/search", True),
        ("/search/", True),
        ("/search/users", True),
        ("/search?q=/x", True),
        ("/searches", False),
        ("/", False),
        ("", False),
        ("/v1/search", False),
        ("/orders/7/seen", True),
        ("/orders/7/seen/by", True),
        ("/orders/seen", False),
        ("/orders/7", False),
    ],
)
def test_what_a_limit_by_path_counts(path: str, counted: bool) -> None:
    """budget: segment by segment; one in braces is any."""
    paths = ("/search", "/orders/{id}/seen")
    limit = BudgetSettings(name="x", requests=1, per=1.0, paths=paths)
    assert limit.counts(path) is counted
    assert BudgetSettings(name="x", requests=1, per=1.0).counts(path)


LIMITS = [f'{{ requests = 1, per = "{n}s" }}' for n in range(1, 10)]
FAULTS = [
    ("10", "budget", "found a number; it must be a table, the name of one under [budgets]"),
    ("[]", "budget", "found 0 limits; it must be 1 to 8"),
    (f"[{', '.join(LIMITS)}]", "budget", "found 9 limits; it must be 1 to 8"),
    (f"[{SECOND}, 7]", "budget[2]", "found a number; it must be a table or the name of one"),
    (f'[{SECOND}, "nobody"]', "budget[2]", "there is no [budgets.nobody]; known: none"),
    ('[{ requests = 0, per = "1s" }]', "budget[1].requests", "found 0; it must be a whole number"),
    ('[{ requests = 1, per = "0s" }]', "budget[1].per", "a duration of more than 0"),
    ('[{ requests = 1, per = "1s", path = "/x" }]', "budget[1].path", "did you mean 'paths'?"),
    ('{ requests = 1, per = "1s", paths = [] }', "budget.paths", "one or more different texts"),
    ('{ requests = 1, per = "1s", paths = ["x"] }', "budget.paths", "found 'x'; it must be a path"),
    ('{ requests = 1, per = "1s", paths = ["/x?y"] }', "budget.paths", "without a query"),
    (f'[{SECOND}, {{ requests = 9, per = "1s" }}]', "budget[2].per", "the same stretch"),
    (f"[{SEARCH}, {SECOND}, {SEARCH}]", "budget[3].per", "the same stretch"),
]


@pytest.mark.parametrize(("text", "path", "words"), FAULTS)
def test_a_fault_in_a_budget_is_told_where_it_stands(
    faults_of: Faults, text: str, path: str, words: str
) -> None:
    """budget: which of several it is, what was found, and what is allowed."""
    found = faults_of(GOOD, f"{SHOP}.budget={text}")
    assert list(found) == [f"{SHOP}.{path}"]
    assert words in found[f"{SHOP}.{path}"]


def test_a_shared_budget_that_stands_twice_in_a_list_is_a_fault(faults_of: Faults) -> None:
    """budget: a request would take two tokens of it."""
    more = '[budgets.all]\nrequests = 5\nper = "1s"\n'
    found = faults_of(GOOD + more, f'{SHOP}.budget=["all", "all"]')
    assert found == {f"{SHOP}.budget[2]": "'all' stands here twice; leave one of them out"}


ORDERS = f"{SHOP}.streams.orders"


def test_what_requests_cost_arrives(load_text: Load) -> None:
    """budget: a list request, a call and a login."""
    stream = (
        load_text(GOOD, f"{ORDERS}.cost=5", f"{ORDERS}.call.cost=3")
        .sources["shop"]
        .streams["orders"]
    )
    assert stream.call is not None
    assert (stream.cost, stream.call.cost) == (5, 3)


@pytest.mark.parametrize(
    ("budget", "cost", "fault"),
    [
        (SECOND, 10, ""),
        (SECOND, 11, "found 11; it must be no more than its limit holds: 10 in 1 s"),
        (f"[{HOUR}, {SECOND}]", 11, "no more than its limit holds: 10 in 1 s"),
        (f"[{HOUR}, {SEARCH}]", 31, ""),
        (SECOND, 0, "found 0; it must be a whole number from 1"),
    ],
)
def test_nothing_may_cost_more_than_a_limit_holds_that_counts_it(
    load_text: Load, faults_of: Faults, budget: str, cost: int, fault: str
) -> None:
    """budget: it could never be sent."""
    sets = f"{SHOP}.budget={budget}", f"{ORDERS}.cost={cost}"
    if not fault:
        assert load_text(GOOD, *sets)
        return
    found = faults_of(GOOD, *sets)
    assert list(found) == [f"{ORDERS}.cost"]
    assert fault in found[f"{ORDERS}.cost"]


@pytest.mark.parametrize(
    ("auth", "fault"),
    [
        (["spends=true", "cost=11"], "no more than its limit holds: 10 in 1 s"),
        (["spends=false", "cost=2"], "it needs spends = true"),
    ],
)
def test_what_a_login_may_cost(faults_of: Faults, auth: list[str], fault: str) -> None:
    """budget: nothing, unless it spends."""
    sets = [f"{SHOP}.auth.{each}" for each in auth]
    found = faults_of(GOOD, f"{SHOP}.budget={SECOND}", *sets)
    assert fault in found[f"{SHOP}.auth.cost"]
