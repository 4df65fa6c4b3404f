"""What `[[errors]]` may say, of a source and of a stream, and every fault of theirs."""

import pytest

from syncd.config.settings import ErrorRule
from tests.unit.config.conftest import GOOD, Faults, Load

SHOP = "sources.shop"
ORDERS = "sources.shop.streams.orders"


def test_all_that_can_be_said(load_text: Load) -> None:
    """Numbers, classes and lists; values as text; rules of the stream apart from the source's."""
    text = """
[[sources.shop.errors]]
status = [403, "5XX", 429]
header = { "X-Error" = "quota", "X-Left" = 0 }
body   = { "error.code" = ["BUSY", 17, true, 0.5], note = "" }
then   = "wait"
for    = "1m"
says   = "quota used up; ask the vendor"

[[sources.shop.errors]]
status = "4xx"
then   = "park"

[[sources.shop.streams.orders.errors]]
body = { ok = false }
then = "skip"
"""
    source = load_text(GOOD + text).sources["shop"]
    assert source.errors == (
        ErrorRule(
            status=("403", "5xx", "429"),
            header={"X-Error": ("quota",), "X-Left": ("0",)},
            body={"error.code": ("BUSY", "17", "true", "0.5"), "note": ("",)},
            then="wait",
            hold=60.0,
            says="quota used up; ask the vendor",
        ),
        ErrorRule(status=("4xx",), then="park"),
    )
    assert source.streams["orders"].errors == (ErrorRule(body={"ok": ("false",)}, then="skip"),)


@pytest.mark.parametrize(
    ("said", "place", "words"),
    [
        ("status=403", ".then", 'missing; it must be "retry" or "wait" or "login" or "skip"'),
        ('status=403,then="ignore"', ".then", "found 'ignore'; it must be"),
        ('then="retry"', "", "it names no answer; say by `status`, `header` or `body`"),
        ('header={},body={},then="retry"', "", "it names no answer"),
        ('status=true,then="retry"', ".status", "found true; it must be a status from 200 to 599"),
        ('status=[],then="retry"', ".status", "a status from 200 to 599"),
        ('status=199,then="retry"', ".status", "a status from 200 to 599"),
        ('status=[404,600],then="retry"', ".status", "a status from 200 to 599"),
        ('status="404",then="retry"', ".status", 'a class such as "5xx"'),
        ('status="1xx",then="retry"', ".status", 'a class such as "5xx"'),
        ('status=200,then="retry"', ".status", "each good answer would be taken for an error"),
        ('status=["2xx",500],then="retry"', ".status", "each good answer would be taken"),
        ('header={"X Y"="a"},then="retry"', '.header."X Y"', "a header's name is made of"),
        ('header={X=[]},then="retry"', ".header.X", "found []; it must be a value or a list"),
        ('body={error={code="a"}},then="retry"', ".body.error", "a path with dots stands in quote"),
        ('body=7,then="retry"', ".body", "found a number; it must be a table"),
        ('status=403,then="retry",for="1m"', ".for", 'then = "retry" has no use for it'),
        ('status=403,then="wait",for=0', ".for", "a duration of more than 0"),
        ('status=403,then="wait",for="8d"', ".for", "found '8d'; it must be a duration of up to"),
        ('status=403,then="park",says=""', ".says", "text, and not empty"),
        ('status=403,then="park",regex="x"', ".regex", "unknown key"),
    ],
)
@pytest.mark.parametrize("whose", [SHOP, ORDERS])
def test_each_fault_is_told(
    faults_of: Faults, whose: str, said: str, place: str, words: str
) -> None:
    """Which rule, what was found, what is allowed; and nothing else."""
    found = faults_of(GOOD, f'{whose}.errors=[{{status=404,then="park"}},{{{said}}}]')
    assert list(found) == [f"{whose}.errors[2]{place}"]
    assert words in found[f"{whose}.errors[2]{place}"]


def test_rules_stand_in_a_list(faults_of: Faults) -> None:
    """One table alone is a slip that can be told."""
    found = faults_of(GOOD, f'{SHOP}.errors={{status=404,then="park"}}')
    assert found == {f"{SHOP}.errors": "found a table; it must be tables, each under [[errors]]"}


STATIC = '{ kind = "bearer", token = { env = "PASSWORD" } }'


@pytest.mark.parametrize("whose", [SHOP, ORDERS])
def test_a_rule_that_can_never_be_followed_is_told(faults_of: Faults, whose: str) -> None:
    """Records are skipped by their calls, lists end after a page, and logins buy a token."""
    good = GOOD[: GOOD.index("[sources.shop.streams.orders.call]")]
    rules = '[{status=404,then="skip"},{status=404,then="end"},{status=403,then="login"}]'
    found = faults_of(
        good,
        f"{whose}.errors={rules}",
        f'{ORDERS}.page={{kind="none"}}',
        f"{SHOP}.auth={STATIC}",
    )
    stream = whose == ORDERS
    assert found == {
        f"{whose}.errors[1].then": '"skip" is for the calls of records, and '
        + ("the stream has none" if stream else "its streams have none"),
        f"{whose}.errors[2].then": '"end" is for the pages after the first, and there are none',
        f"{whose}.errors[3].then": '"login" needs an `auth` that buys a token (token, '
        "client-credentials or refresh-token)",
    }


def test_a_wrong_auth_is_told_once(faults_of: Faults) -> None:
    """That it buys no token is no second fault."""
    rule = '[{status=403,then="login"}]'
    found = faults_of(GOOD, f"{SHOP}.errors={rule}", f"{SHOP}.auth=7")
    assert list(found) == [f"{SHOP}.auth"]


def test_one_stream_with_calls_is_enough(load_text: Load) -> None:
    """A rule of the source holds for those of its streams where it can be followed."""
    more = """
[sources.shop.streams.states]
path    = "/states"
key     = ["id"]
columns = { id = "text" }
page    = { kind = "none" }
"""
    rules = '[{status=404,then="skip"},{status=404,then="end"},{status=403,then="login"}]'
    source = load_text(GOOD + more, f"{SHOP}.errors={rules}").sources["shop"]
    assert [rule.then for rule in source.errors] == ["skip", "end", "login"]


def test_a_pattern_may_have_rules_for_those_that_are_like_it(load_text: Load) -> None:
    """They are taken along, and replaced as a whole."""
    text = """
[sources.pattern]
base_url = "https://api.example.com"
errors   = [{ status = 403, then = "login" }, { status = 404, then = "skip" }]

[sources.one]
like    = "pattern"
auth    = { username = "u", password = { env = "PASSWORD" } }
streams = { orders = { path = "/orders", key = ["id"], columns = { id = "text" }, call = { path = "/x" } } }

[sources.two]
like   = "one"
errors = [{ status = 403, then = "park" }]
streams = { orders = { table = "others" } }
"""  # noqa: E501 - a table of TOML stands on one line
    sources = load_text(text).sources
    assert [rule.then for rule in sources["one"].errors] == ["login", "skip"]
    assert [rule.then for rule in sources["two"].errors] == ["park"]
