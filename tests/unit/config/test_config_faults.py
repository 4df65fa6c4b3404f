"""Each thing that can be wrong in a config, and what the operator is told of it."""

import base64
from pathlib import Path

import pytest

from syncd.config.load import load
from syncd.config.settings import VerifySettings
from syncd.errors import ConfigError
from tests.unit.config.conftest import ENVIRON, GOOD, Faults, Load

SHOP = "sources.shop"
ORDERS = f"{SHOP}.streams.orders"
VERIFY = f"{ORDERS}.call.verify"

KEYLESS = GOOD.replace('username = { env = "USER_NAME" }\npassword = { env = "PASSWORD" }\n', "")
"""With an `auth` that says nothing yet."""

# What is set in the good config; where the fault is, if not there; a part of what is said.
ONE_FAULT = [
    ("foo=1", "", "unknown key"),
    ("drane='30s'", "", "did you mean 'drain'?"),
    ("drain=0", "", "found 0; it must be a duration of more than 0"),
    ("drain=-1", "", "found -1"),
    ("drain=nan", "", "found nan"),
    ("drain=inf", "", "found inf"),
    ("drain=true", "", "found true"),
    ("drain=soon", "", "found 'soon'"),
    ("drain='4000d'", "", "up to ten years"),
    ("drain=1979-05-27", "", "found 1979-05-27"),
    ("state='relative'", "", "the path of a folder"),
    ('state="/nul\\u0000"', "", "the path of a folder"),
    ("database=3", "", "found a number; it must be a table"),
    ("database.url=3", "", "found a number"),
    ("database.url={ envv = 'X' }", "", "found { envv }; it must be one of"),
    ("database.host='x'", "", "unknown key"),
    ("budgets.b={ requests = 0, per = 1 }", "budgets.b.requests", "from 1 to 100000"),
    ("budgets.b={ requests = 1 }", "budgets.b.per", "missing"),
    ("sources.more=3", "", "found a number; it must be a table"),
    (f"{SHOP}.timout='15s'", "", "did you mean 'timeout'?"),
    (f"{SHOP}.base_url=3", "", "found 3"),
    (f"{SHOP}.base_url=ftp://example.com", "", "an http or https address"),
    (f"{SHOP}.base_url=https://", "", "with a host"),
    (f"{SHOP}.base_url=example.com", "", "an http or https address"),
    (f"{SHOP}.base_url=http://[::1", "", "an http or https address"),
    (f"{SHOP}.base_url=http://example.com:port", "", "an http or https address"),
    (f"{SHOP}.base_url=http://exa mple.com", "", "an http or https address"),
    (f"{SHOP}.base_url=http://u:hunter2@example.com", "", "they belong into `auth`"),
    (f"{SHOP}.base_url=http://example.com?key=hunter2", "", "a stream's params"),
    (f"{SHOP}.headers.X-Key=1", "", "found a number"),
    (f"{SHOP}.headers=hunter2", "", "found text; it must be a table"),
    ("database=postgresql://u:hunter2@h", "", "found text; it must be a table"),
    (f'{SHOP}.headers."X Y"=one', f'{SHOP}.headers."X Y"', "letters, figures and dashes"),
    (f'{SHOP}.headers.X-Key="hunter2\\nX: y"', "", "no line breaks"),
    (f"{SHOP}.headers.X-Key='hunter2 '", "", "no blank at its ends"),
    (f"{SHOP}.headers.X-Key=hunter2é", "", "is ASCII"),
    (f"{SHOP}.headers.X-Key=['hunter2']", "", "found a list"),
    (f"{SHOP}.headers.x-client-id=two", "", "the same header as 'X-Client-Id'"),
    (f"{SHOP}.headers.Content-Length=3x", "", "leave it out"),
    (f"{SHOP}.headers.Authorization=hunter2", "", "`auth` makes this header"),
    (f"{SHOP}.headers.Host=example.com", "", "leave it out"),
    (f"{SHOP}.auth=hunter2", "", "it must be a table"),
    (f"{SHOP}.auth.kind=oauth", "", 'it must be "basic" or "bearer"'),
    (f"{SHOP}.auth.url=auth/token", "", 'begins with "/"'),
    (f"{SHOP}.auth.username='a:hunter2'", "", "it holds a ':'"),
    (f"{SHOP}.auth.username=''", "", "found empty text"),
    (f"{SHOP}.auth.password=hunter2", "", "must not stand in the file"),
    (f"{SHOP}.auth.password=['hunter2']", "", "must not stand in the file"),
    (f"{SHOP}.auth.password={{}}", "", "found {}; it must be one of"),
    (f"{SHOP}.auth.spends=1", "", "true or false"),
    (f"{SHOP}.budget=nobody", "", "there is no [budgets.nobody]; known: none"),
    (f"{SHOP}.budget=10", "", "it must be a table"),
    (f"{SHOP}.budget.requests=true", "", "found true; it must be a whole number"),
    (f"{SHOP}.budget.requests='10'", "", "found '10'; it must be a whole number"),
    (f"{SHOP}.budget.requests=0", "", "found 0; it must be a whole number"),
    (f"{SHOP}.budget.requests=1.0", "", "found 1.0; it must be a whole number"),
    (f"{SHOP}.budget.requests=0x{'f' * 5000}", "", "found a number beyond 64 bits"),
    (f"{SHOP}.budget.per=0", "", "more than 0"),
    (f"{SHOP}.budget.per={'9' * 400}", "", "found a number beyond 64 bits"),
    (f"{SHOP}.budget.name=x", "", "unknown key"),
    (f"{SHOP}.retries=-1", "", "from 0 to 100"),
    (f"{SHOP}.connections=0", "", "from 1 to 1000"),
    (f"{SHOP}.keepalive=-1", "", "0 or more"),
    (f"{SHOP}.max_body=0", "", "a size of more than 0"),
    (f"{SHOP}.max_body=1.5", "", "a size of more than 0"),
    (f"{SHOP}.max_body=64mb", "", "found '64mb'"),
    (f"{SHOP}.streams=3", "", "it must be a table"),
    (f"{SHOP}.like=shopp", "", "there is no source 'shopp'; did you mean 'shop'?"),
    (f"{SHOP}.like=zzz", "", "there is no source 'zzz'; known: none"),
    (f"{SHOP}.like=[]", "", "the name of another source"),
    (f"{ORDERS}.path=orders", "", 'begins with "/"'),
    (f"{ORDERS}.path=/orders?a=b", "", "a query goes into `params`"),
    (f'{ORDERS}.path="/or\\nders"', "", 'begins with "/"'),
    (f"{ORDERS}.every=0", "", "more than 0"),
    (f"{ORDERS}.key=[]", "", "one or more different texts"),
    (f"{ORDERS}.key=id", "", "found 'id'; it must be a list"),
    (f"{ORDERS}.key=['id', 'id']", "", "different texts"),
    (f"{ORDERS}.key=['nope']", "", "'nope' is not among `columns` (id, status, views, synced_at)"),
    (f"{ORDERS}.key=['views']", "", "'views' is volatile"),
    (f"{ORDERS}.key=['synced_at']", "", "kept from the call's answer"),
    (f"{ORDERS}.columns.id=jsonb", f"{ORDERS}.key", "jsonb, which can't be a key"),
    (f"{ORDERS}.columns.id=money", "", "found 'money'; it must be one of bigint, boolean"),
    (f"{ORDERS}.columns.id=3", "", "found 3"),
    (f"{ORDERS}.columns._syncd_x=text", f"{ORDERS}.columns", "syncd's own"),
    (f'{ORDERS}.columns.""=text', f"{ORDERS}.columns", "can't be empty"),
    (f'{ORDERS}.columns."a\\u0000"=text', f"{ORDERS}.columns", "a NUL"),
    (f"{ORDERS}.columns.{'a' * 64}=text", f"{ORDERS}.columns", "63 bytes, it has 64"),
    (f'{ORDERS}.columns."{"é" * 32}"=text', f"{ORDERS}.columns", "63 bytes, it has 64"),
    (f"{ORDERS}.volatile=['nope']", "", "'nope' is not among `columns`"),
    (f"{ORDERS}.volatile=[1]", "", "a list of any number of different texts"),
    (f"{ORDERS}.volatile=['']", "", "different texts, none of them empty, such as"),
    (f"{ORDERS}.indexes=['nope']", f"{ORDERS}.indexes[1]", "'nope' is not among `columns`"),
    (
        f"{ORDERS}.indexes=['id', ['status', 'status']]",
        f"{ORDERS}.indexes[2]",
        "found ['status', 'status']; it must be a column, or a list of different columns",
    ),
    (f"{ORDERS}.indexes=[[]]", f"{ORDERS}.indexes[1]", "found []; it must be a column"),
    (f"{ORDERS}.indexes=['id', ['id']]", f"{ORDERS}.indexes[2]", "the same as indexes[1]"),
    (f"{ORDERS}.indexes=status", "", "a list of different indexes"),
    (f"{ORDERS}.table=''", "", "not empty"),
    (f"{ORDERS}.table='{'t' * 64}'", "", "63 bytes, it has 64"),
    (f"{ORDERS}.table='.orders'", "", "a schema's name can't be empty"),
    (f"{ORDERS}.table='syncd.orders'", "", "the schema syncd is syncd's own"),
    (f"{ORDERS}.schema=pg_catalog", "", "Postgres's own"),
    (f"{ORDERS}.params.page='1'", "", "`page` sends this parameter"),
    (f"{ORDERS}.params.sort=['id']", "", "text, a whole number, true or false"),
    (f"{ORDERS}.where.status=[]", "", "a value or a list of them"),
    (f"{ORDERS}.where.status=[['open']]", "", "a value or a list of them"),
    (f"{ORDERS}.records=1", "", "a path such as"),
    (f"{ORDERS}.page.size=0", "", "from 1 to 100000"),
    (f"{ORDERS}.page.kind=pages", "", 'it must be "number" or "offset" or "cursor"'),
    (f"{ORDERS}.page={{kind='url', header='Next Page'}}", f"{ORDERS}.page.header", "header's name"),
    (
        f"{ORDERS}.page={{kind='url', header='Next-Page', next='next'}}",
        f"{ORDERS}.page.next",
        "leave one of the two out",
    ),
    (f"{ORDERS}.page.size_param=page", "", "another parameter's name already"),
    (f"{ORDERS}.page.more=''", "", "a path such as"),
    (f"{ORDERS}.call.path='/a/{{id/sync'", "", "stand in braces"),
    (f"{ORDERS}.call.path='/a/id}}/sync'", "", "stand in braces"),
    (f"{ORDERS}.call.path='/a/{{}}'", "", "stand in braces"),
    (f"{ORDERS}.call.method=post", "", '"POST" or "PUT"'),
    (f"{ORDERS}.call.repeat=maybe", "", '"idempotent" or "with-key" or "never"'),
    (f"{ORDERS}.call.when=sometimes", "", '"always" or "changed"'),
    (f"{ORDERS}.call.concurrency=0", "", "from 1 to 1000"),
    (f"{ORDERS}.call.key_header='a b'", "", "a header's name"),
    (f"{ORDERS}.call.keep.nope='x'", f"{ORDERS}.call.keep", "'nope' is not among `columns`"),
    (f"{ORDERS}.call.keep.status=3", "", "a path into the answer"),
    ("sources.shop.streams.o2=3", "", "it must be a table"),
    (f"{VERIFY}=3", "", "it must be a table"),
    (f"{VERIFY}={{ done = 'd' }}", f"{VERIFY}.path", "missing"),
    (f"{VERIFY}={{ path = '/x' }}", f"{VERIFY}.done", "missing"),
    (f"{VERIFY}={{ path = 'x', done = 'd' }}", f"{VERIFY}.path", 'begins with "/"'),
    (f"{VERIFY}={{ path = '/x/{{id', done = 'd' }}", f"{VERIFY}.path", "stand in braces"),
    (f"{VERIFY}={{ path = '/x', done = '' }}", f"{VERIFY}.done", "a path such as"),
    (f"{VERIFY}={{ path = '/x', done = 'd', is = [] }}", f"{VERIFY}.is", "true or false"),
    (f"{VERIFY}={{ path = '/x', done = 'd', is = '{{id' }}", f"{VERIFY}.is", "stand in braces"),
    (
        f"{VERIFY}={{ path = '/x', done = 'd', not_found = 'done' }}",
        f"{VERIFY}.not_found",
        'it must be "not-done" or "unknown"',
    ),
    (
        f"{VERIFY}={{ path = '/x', done = 'd', keep = {{}} }}",
        f"{VERIFY}.keep",
        "the columns of the call's own `keep` (synced_at)",
    ),
    (
        f"{VERIFY}={{ path = '/x', done = 'd', keep = {{ synced_at = 3 }} }}",
        f"{VERIFY}.keep.synced_at",
        "a path into the answer",
    ),
    (f"{VERIFY}={{ path = '/x', done = 'd', what = 1 }}", f"{VERIFY}.what", "unknown key"),
    ("notify=3", "", "found a number; it must be tables, each under [[notify]]"),
    ("notify=[3]", "notify[1]", "found a number; it must be a table"),
    (f"{ORDERS}.heartbeat=3", "", "found a number"),
    (f"{ORDERS}.heartbeat=hunter2", "", "an http or https address"),
    (f"{ORDERS}.heartbeat=https://u:hunter2@h/", "", "keep the whole address as a secret"),
]


@pytest.mark.parametrize(("setting", "path", "said"), ONE_FAULT, ids=[f[0][:70] for f in ONE_FAULT])
def test_one_wrong_value_is_one_fault_at_its_place(
    setting: str, path: str, said: str, faults_of: Faults
) -> None:
    """The fault stands where the value does, and says what was found or what is allowed."""
    [(where, message)] = faults_of(GOOD, setting).items()
    assert where == (path or setting.partition("=")[0])
    assert said in message
    assert "hunter2" not in message


KEYS = [
    ("header = 'Content-Length'", "header", "syncd writes 'Content-Length' itself"),
    ("header = 'host'", "header", "syncd writes 'host' itself"),
    ("header = 'Connection'", "header", "itself"),
    ("header = 'Transfer-Encoding'", "header", "itself"),
    ("header = 'Accept-Encoding'", "header", "itself"),
    ("header = 'User-Agent'", "header", "itself"),
    ("header = 'x-client-id'", "header", "stands in the source's `headers`, too"),
    ("query = 'limit'", "query", "the stream orders sends a parameter 'limit' already"),
    ("query = 'page'", "query", "already"),
    ("query = 'sort'", "query", "already"),
    ("query = 'mode'", "query", "already"),
]


@pytest.mark.parametrize(("place", "key", "said"), KEYS)
def test_a_key_stands_where_nothing_else_is_sent(
    place: str, key: str, said: str, faults_of: Faults
) -> None:
    """all-or-nothing-reload: else the first request would tell, or the API take the wrong one."""
    auth = f"{SHOP}.auth={{ kind = 'api-key', key = {{ env = 'PASSWORD' }}, {place} }}"
    call = f"{ORDERS}.call.path='/orders/{{id}}/sync?mode=full'"
    found = faults_of(KEYLESS, auth, f"{ORDERS}.params.sort=id", call)
    assert list(found) == [f"{SHOP}.auth.{key}"]
    assert said in found[f"{SHOP}.auth.{key}"]


def test_what_stands_in_a_searchs_body_leaves_the_query_to_the_key(load_text: Load) -> None:
    auth = f"{SHOP}.auth={{ kind = 'api-key', key = {{ env = 'PASSWORD' }}, query = 'limit' }}"
    assert load_text(KEYLESS, auth, f"{ORDERS}.search={{}}").sources["shop"].auth


def test_a_calls_key_and_the_accounts_need_two_headers(faults_of: Faults) -> None:
    """no-blind-repeat: the one would take the other's place."""
    auth = f"{SHOP}.auth={{ kind = 'api-key', key = {{ env = 'PASSWORD' }}, header = 'X-Key' }}"
    sets = f"{ORDERS}.call.repeat=with-key", f"{ORDERS}.call.key_header=x-key"
    assert list(faults_of(KEYLESS, auth, *sets)) == [f"{ORDERS}.call.key_header"]


OAUTH = "client_id = 'me', url = '/token'"
REFRESH = f"{SHOP}.auth={{ kind = 'refresh-token', {OAUTH}, refresh_token = {{ env = 'PASSWORD' }}"
CLIENT = f"{SHOP}.auth={{ kind = 'client-credentials', {OAUTH}, client_secret = {{ env = 'KEY' }}"
SEALED = {**ENVIRON, "KEY": base64.b64encode(bytes(32)).decode()}


def test_basic_needs_a_secret_of_the_client(faults_of: Faults) -> None:
    """all-or-nothing-reload: else the client's id would go into the body unasked."""
    sets = f"{REFRESH}, client = 'basic' }}", "token_key={ env = 'KEY' }"
    found = faults_of(KEYLESS, *sets, environ=SEALED)
    assert found == {f"{SHOP}.auth.client_secret": 'missing; client = "basic" needs it'}


@pytest.mark.parametrize("auth", [REFRESH, CLIENT])
@pytest.mark.parametrize(
    "name", ["grant_type", "client_id", "client_secret", "refresh_token", "scope"]
)
def test_a_body_replaces_nothing_that_syncd_sends(auth: str, name: str, faults_of: Faults) -> None:
    """no-secret-out: a secret there would stand in the file, too."""
    sets = f"{auth}, body = {{ {name} = 'hunter2' }} }}", "token_key={ env = 'KEY' }"
    [(where, message)] = faults_of(KEYLESS, *sets, environ=SEALED).items()
    assert where == f"{SHOP}.auth.body.{name}"
    assert "leave it out here" in message
    assert "hunter2" not in message


ELSEWHERE = [
    (f"{ORDERS}.page", "kind = 'cursor', until = 'empty'", "until", "kinds number, offset, keyset"),
    (f"{ORDERS}.page", "kind = 'cursor', page_param = 'p'", "page_param", "kind number"),
    (
        f"{ORDERS}.page",
        "kind = 'none', size = 3",
        "size",
        "kinds number, offset, cursor, keyset, link, url",
    ),
    (f"{ORDERS}.page", "offset_param = 'o'", "offset_param", "kind offset"),
    (
        f"{SHOP}.auth",
        "kind = 'basic', username = 'a', password = { env = 'PASSWORD' }, client_id = 'x'",
        "client_id",
        "kinds client-credentials, refresh-token",
    ),
]


@pytest.mark.parametrize(("table", "values", "key", "kinds"), ELSEWHERE)
def test_a_key_of_another_kind_is_told_so(
    table: str, values: str, key: str, kinds: str, faults_of: Faults
) -> None:
    """all-or-nothing-reload: it is no slip of the pen, but of the kind."""
    text = (KEYLESS if table.endswith("auth") else GOOD).replace("page     = { size = 10 }\n", "")
    assert faults_of(text, f"{table}={{ {values} }}") == {
        f"{table}.{key}": f"`{key}` belongs to the {kinds}"
    }


def test_a_kind_that_is_none_is_one_fault(faults_of: Faults) -> None:
    """What the other keys mean, and which are missing, depends on it."""
    auth = f"{SHOP}.auth={{ kind = 'oauth', client_id = 'x', tokens = 3 }}"
    assert list(faults_of(KEYLESS, auth)) == [f"{SHOP}.auth.kind"]
    page = f"{ORDERS}.page={{ kind = 'pages', cursor = 'x' }}"
    assert list(faults_of(GOOD, page, f"{ORDERS}.params.page=1")) == [f"{ORDERS}.page.kind"]


def test_a_login_without_an_address_is_told_that_it_may_be_another_server(
    faults_of: Faults,
) -> None:
    found = faults_of(KEYLESS, CLIENT.replace(", url = '/token'", "") + " }", environ=SEALED)
    [(where, message)] = found.items()
    assert where == f"{SHOP}.auth.url"
    assert 'or an address such as "https://login.example.com/oauth/token"' in message


def test_a_token_key_that_is_missing_hides_no_other_fault(faults_of: Faults) -> None:
    """all-or-nothing-reload: all faults are told at once, also those read after it."""
    sets = f"{REFRESH} }}", f"{SHOP}.timeout=0", "keep_dead_letters=0", "admin=1", "notify=1", "x=1"
    found = faults_of(KEYLESS, *sets)
    others = {f"{SHOP}.timeout", "keep_dead_letters", "admin", "notify", "x"}
    assert set(found) == {"token_key", *others}


ALSO_GOOD = [
    f"{ORDERS}.table='crm.orders'",
    f'{ORDERS}.columns."a\'b\\"; DROP TABLE x; --"=text',
    f'{ORDERS}.columns."\\n\\U0001F600\\u4E2D\\U00100000"=text',
    f"{ORDERS}.columns.{'a' * 63}=text",
    f"{ORDERS}.volatile=[]",
    f"{ORDERS}.where.status=open",
    f"{ORDERS}.page.total=''",
    f"{SHOP}.retry_after=''",
    f"{SHOP}.keepalive=0",
    f"{SHOP}.headers.X-Key={{ env = 'PASSWORD' }}",
    "database.url=postgresql:///syncd",
    "state=/srv/syncd",
]


@pytest.mark.parametrize("setting", ALSO_GOOD)
def test_what_is_unusual_but_legal_loads(setting: str, load_text: Load) -> None:
    """Names may hold quotes, line breaks and every plane of Unicode; lists may be empty."""
    assert load_text(GOOD, setting).sources["shop"].streams


def test_a_call_with_a_key_needs_a_header_of_its_own(faults_of: Faults) -> None:
    """A key header that is the same for each call would make all calls one."""
    found = faults_of(
        GOOD, f"{ORDERS}.call.repeat=with-key", f"{ORDERS}.call.key_header=X-CLIENT-ID"
    )
    assert list(found) == [f"{ORDERS}.call.key_header"]


def test_more_calls_at_once_than_connections_are_a_fault_where_somebody_wrote_so(
    faults_of: Faults, load_text: Load
) -> None:
    """A number that silently comes to less would be looked for in the wrong place."""
    found = faults_of(GOOD, f"{ORDERS}.call.concurrency=11")
    assert list(found) == [f"{ORDERS}.call.concurrency"]
    assert "no more than the source's `connections`, 10, are under way" in found.popitem()[1]
    assert load_text(GOOD, f"{ORDERS}.call.concurrency=11", f"{SHOP}.connections=11")
    assert load_text(GOOD, f"{SHOP}.connections=1"), "the default gives way"


READ_BACK = f"{VERIFY}={{ path = '/orders/{{id}}', done = 'key', is = '{{idempotency_key}}' }}"


@pytest.mark.parametrize("repeat", ["idempotent", "with-key"])
def test_verify_is_a_fault_where_it_would_never_be_asked(repeat: str, faults_of: Faults) -> None:
    """no-blind-repeat: a config must not promise what does not happen."""
    found = faults_of(GOOD, READ_BACK, f"{ORDERS}.call.repeat={repeat}")
    assert list(found) == [VERIFY]
    assert f'not needed with repeat = "{repeat}"' in found[VERIFY]


def test_verify_that_looks_for_the_key_needs_a_header_of_its_own(faults_of: Faults) -> None:
    """The call carries its key then, also with `repeat = "never"`."""
    found = faults_of(GOOD, READ_BACK, f"{ORDERS}.call.key_header=X-CLIENT-ID")
    assert list(found) == [f"{ORDERS}.call.key_header"]


def test_verify_takes_what_the_call_keeps_by_the_same_paths(load_text: Load) -> None:
    """Unless it has paths of its own; a flag is compared with `true`."""

    def verify(setting: str) -> VerifySettings:
        call = load_text(GOOD, setting).sources["shop"].streams["orders"].call
        assert call is not None
        assert call.verify is not None
        return call.verify

    assert verify(READ_BACK) == VerifySettings(
        path="/orders/{id}", done="key", wanted="{idempotency_key}", keep={"synced_at": "at"}
    )
    own = verify(f"{VERIFY}={{ path = '/o', done = 'd', is = 7, keep = {{ synced_at = 'a.b' }} }}")
    assert (own.wanted, own.keep, own.not_found) == ("7", {"synced_at": "a.b"}, "unknown")
    assert verify(f"{VERIFY}={{ path = '/o', done = 'd', is = true }}").wanted == "true"


def test_each_index_that_is_wrong_is_told(faults_of: Faults) -> None:
    """all-or-nothing-reload: by its place in the list."""
    found = faults_of(GOOD, f"{ORDERS}.indexes=['nope', 'status', ['id', 'id'], 3]")
    assert list(found) == [f"{ORDERS}.indexes[{place}]" for place in (1, 3, 4)]


def test_all_faults_are_told_at_once(faults_of: Faults) -> None:
    """Whoever corrects a file need not run syncd once for each fault."""
    found = faults_of(GOOD, "drain=0", f"{SHOP}.timeout=0", f"{ORDERS}.every=0", "x=1")
    assert set(found) == {"drain", f"{SHOP}.timeout", f"{ORDERS}.every", "x"}


def test_other_names_of_a_type_are_understood(load_text: Load) -> None:
    """Types may be named as in SQL, in any case; the settings hold one name for each."""
    names = {"a": "INT8", "b": "float", "c": "Timestamp  with time zone", "d": "varchar"}
    settings = load_text(GOOD, *(f"{ORDERS}.columns.{n}={t}" for n, t in names.items()))
    columns = settings.sources["shop"].streams["orders"].columns
    assert [columns[n] for n in names] == ["bigint", "double precision", "timestamptz", "text"]


def test_a_table_is_split_at_its_first_dot_unless_the_schema_is_named(load_text: Load) -> None:
    """`table = "crm.orders"` names both; with `schema` the dot is part of the name."""

    def names(*sets: str) -> tuple[str, str]:
        stream = load_text(GOOD, *sets).sources["shop"].streams["orders"]
        return stream.schema, stream.table

    assert names() == ("public", "orders")
    assert names(f"{ORDERS}.table='crm.or.ders'") == ("crm", "or.ders")
    both = f"{ORDERS}.table='crm.orders'", f"{ORDERS}.schema=sales"
    assert names(*both) == ("sales", "crm.orders")


def test_a_file_without_sources_says_how_to_name_one(faults_of: Faults) -> None:
    """An empty file is one fault, not a list of all that could stand there."""
    assert faults_of("") == {"sources": "missing; name at least one source, as [sources.NAME]"}
    assert faults_of("sources = 0") == {"sources": "found a number; it must be a table"}


def test_a_source_without_streams_is_a_fault(faults_of: Faults) -> None:
    """Nothing would be done for it."""
    found = faults_of('[sources.a]\nbase_url = "http://a"')
    assert found["sources.a.streams"].startswith("missing; name at least one")


SECOND = """
[sources.second]
like = "shop"
[sources.second.streams.orders]
"""


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ('columns = { extra = "text" }', "columns"),
        ('key = ["status"]', "key"),
        ('volatile = ["status"]', "volatile"),
        ('indexes = ["status"]', "indexes"),
        ('call = { keep = { status = "s" } }', "kept columns"),
    ],
)
def test_streams_of_one_table_must_agree_on_it(change: str, what: str, faults_of: Faults) -> None:
    """Two accounts share a table only if both would make the same one."""
    [(path, message)] = faults_of(GOOD + SECOND + change).items()
    assert path == "sources.second.streams.orders.table"
    assert message.startswith(ORDERS)
    assert f"with other {what}; make them equal" in message


def test_two_streams_of_one_source_never_share_a_table(faults_of: Faults) -> None:
    """Their rows could not be told apart."""
    other = "\n[sources.shop.streams.old]\n" + 'path="/old"\nkey=["id"]\ncolumns={id="bigint"}\n'
    found = faults_of(GOOD + other + 'table = "orders"')
    assert "of the same source" in found["sources.shop.streams.old.table"]


# --- the file itself ----------------------------------------------------------------------


def fault_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=ENVIRON)
    [fault] = caught.value.faults
    return str(fault)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The operator sees which path was tried."""
    path = tmp_path / "none.toml"
    assert fault_of(path) == f"can't read {path}: No such file or directory"
    assert fault_of(tmp_path) == f"can't read {tmp_path}: Is a directory"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = 1\nb = [", "at end of document"),
        (b"a = 1\nb = ?", "(at line 2, column 5)"),
        (b"a = 1\na = 2\n", "(at line 2"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"9" * 5000, "is not TOML: "),
        (b"a = 'caf\xe9'", "is not UTF-8 text: look at byte 8"),
    ],
)
def test_a_file_that_is_not_toml_says_where(content: bytes, said: str, tmp_path: Path) -> None:
    """Line and column, as far as they are known."""
    path = tmp_path / "syncd.toml"
    path.write_bytes(content)
    assert said in fault_of(path)
    assert str(path) in fault_of(path)
