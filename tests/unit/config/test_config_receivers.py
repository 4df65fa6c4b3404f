"""`[[notify]]` and `heartbeat`: what they mean, and what is wrong with them."""

import base64
from typing import Any

import pytest

from syncd.config.settings import ALARMS, Secret, signing_key
from tests.unit.config.conftest import ENVIRON, GOOD, Faults, Load

URL = "https://hooks.example.com/hunter2"
KEY = {"KEY": "a key of sixteen bytes", "SHORT": "hunter2", "URL": URL, **ENVIRON}
SIGNED = f"url = '{URL}', secret = {{ env = 'KEY' }}"
SHOP = "sources.shop.streams.orders"


def one(settings: Any) -> Any:
    (receiver,) = settings.notify
    return receiver


def test_the_least_is_an_address_and_what_signs(load_text: Load) -> None:
    """Everything else has a default: all alarms, of all sources."""
    found = one(load_text(GOOD, f"notify=[{{ {SIGNED} }}]", environ=KEY))
    assert (found.name, found.kind, found.on, found.sources) == ("notify[1]", "json", ALARMS, ())
    assert (found.after, found.repeat, found.max_age, found.timeout) == (300, 86400, None, 10)
    assert "hunter2" not in repr(found)
    assert "hunter2" not in found.key


def test_everything_can_be_said(load_text: Load) -> None:
    text = f"""{GOOD}
[[notify]]
name = "on-call"
{SIGNED.replace(", ", chr(10))}
on = ["parked", "data-too-old"]
sources = ["shop"]
after = "0s"
repeat = 0
max_age = "2h"
timeout = "3s"
[[notify]]
kind = "slack"
url = {{ env = "URL" }}
"""
    first, second = load_text(text, environ=KEY).notify
    assert (first.name, first.key, first.on) == ("on-call", "on-call", ("parked", "data-too-old"))
    assert (first.sources, first.after, first.repeat) == (("shop",), 0, 0)
    assert (first.max_age, first.timeout) == (7200, 3)
    assert (second.name, second.kind, second.secret) == ("notify[2]", "slack", None)
    assert second.url.origin == "env URL"


ONE_FAULT = [
    ("secret = { env = 'KEY' }", "url", "missing"),
    (f"url = '{URL}'", "secret", "missing; what signs the messages is named by reference"),
    (f"url = '{URL}', secret = 'hunter2'", "secret", "must not stand in the file"),
    (f"url = '{URL}', secret = {{ env = 'SHORT' }}", "secret", "at least 16 bytes"),
    (f"url = '{URL}', secret = {{ env = 'NONE' }}", "secret", "NONE is not set"),
    ("url = 'ftp://hunter2/', kind = 'slack'", "url", "an http or https address"),
    ("url = 'https://hunter2:0/', kind = 'slack'", "url", "an http or https address"),
    ("url = 'https://[::1]hunter2/', kind = 'slack'", "url", "an http or https address"),
    ("url = 'https://u:hunter2@h/', kind = 'slack'", "url", "keep the whole address as a secret"),
    (f"{SIGNED}, kind = 'teams'", "kind", '"json" or "slack"'),
    (f"{SIGNED}, on = ['prked']", "on", "there is no alarm 'prked'; known: parked, failing"),
    (f"{SIGNED}, on = 'parked'", "on", 'none of them empty, such as ["parked"]'),
    (f"{SIGNED}, on = []", "on", "found an empty list; leave it out for every alarm"),
    (f"{SIGNED}, sources = []", "sources", "leave it out for every source"),
    (f"{SIGNED}, sources = [3]", "sources", 'such as ["shop"]'),
    (f"{SIGNED}, sources = ['shp']", "sources", "there is no source 'shp'; known: shop"),
    (f"{SIGNED}, on = ['data-too-old']", "max_age", "say here from which age on it is"),
    (f"{SIGNED}, max_age = 0", "max_age", "more than 0"),
    (f"{SIGNED}, max_age = '14m'", "max_age", f"no shorter than {SHOP}.every (900s)"),
    (f"{SIGNED}, max_age = 1, sources = ['shop']", "max_age", "the shortest of its streams"),
    (f"{SIGNED}, max_age = 1, sources = ['shp']", "sources", "known: shop"),
    (f"{SIGNED}, after = -1", "after", "0 or more"),
    (f"{SIGNED}, timeout = 'never'", "timeout", "more than 0"),
    (f"{SIGNED}, reapet = 0", "reapet", "did you mean 'repeat'?"),
    (f"{SIGNED}, name = ''", "name", "not empty"),
]


@pytest.mark.parametrize(("receiver", "key", "said"), ONE_FAULT)
def test_one_wrong_value_is_one_fault_at_its_place(
    receiver: str, key: str, said: str, faults_of: Faults
) -> None:
    """all-or-nothing-reload: and no address is shown."""
    [(where, message)] = faults_of(GOOD, f"notify=[{{ {receiver} }}]", environ=KEY).items()
    assert where == f"notify[1].{key}"
    assert said in message
    assert "hunter2" not in message


def test_two_receivers_are_told_apart(faults_of: Faults, load_text: Load) -> None:
    """What each was told is remembered by its name, or by its address."""
    twice = f"notify=[{{ {SIGNED} }}, {{ {SIGNED} }}]"
    assert "a name of its own" in faults_of(GOOD, twice, environ=KEY)["notify[2].name"]
    named = f"notify=[{{ {SIGNED} }}, {{ {SIGNED}, name = 'b' }}]"
    assert len(load_text(GOOD, named, environ=KEY).notify) == 2
    again = f"notify=[{{ {SIGNED}, name = 'b' }}, {{ {SIGNED}, name = 'b' }}]"
    assert "notify[2].name" in faults_of(GOOD, again, environ=KEY)


def test_a_file_is_looked_at_without_its_secrets(load_text: Load) -> None:
    """Two addresses that are not known are not the same one."""
    text = (
        "notify=[{ url = { env = 'A' }, kind = 'slack' }, { url = { env = 'B' }, kind = 'slack' }]"
    )
    assert len(load_text(GOOD, text, environ={}, secrets=False).notify) == 2


def test_a_secret_is_its_bytes_or_base64_behind_the_standards_beginning() -> None:
    key = bytes(range(24))
    assert signing_key(Secret("whsec_" + base64.b64encode(key).decode(), "here")) == key
    assert signing_key(Secret("plain", "here")) == b"plain"
    assert signing_key(Secret("whsec_?", "here")) == b""


def test_an_age_is_measured_by_the_most_frequent_of_its_streams(
    faults_of: Faults, load_text: Load
) -> None:
    """accounted: of those it is told of; as long as `every` is the least."""
    more = '[sources.more]\nlike = "shop"\nstreams.orders = { every = "1m" }\n'
    of_all = f"notify=[{{ {SIGNED}, max_age = '1m' }}]"
    assert one(load_text(GOOD + more, of_all, environ=KEY)).max_age == 60
    of_shop = f"notify=[{{ {SIGNED}, max_age = '1m', sources = ['shop'] }}]"
    assert list(faults_of(GOOD + more, of_shop, environ=KEY)) == ["notify[1].max_age"]
    assert list(faults_of(GOOD, of_all, f"{SHOP}.every=0", environ=KEY)) == [f"{SHOP}.every"]


def test_a_wrong_heartbeat_shows_one(faults_of: Faults) -> None:
    found = faults_of(GOOD, f"{SHOP}.heartbeat=hunter2")
    assert '"https://watch.example.com/ping/orders"' in found[f"{SHOP}.heartbeat"]
    assert "hunter2" not in found[f"{SHOP}.heartbeat"]


def test_each_stream_has_a_heartbeat_of_its_own(faults_of: Faults, load_text: Load) -> None:
    """A copy that comes by `like` would hide that one of the two is dead."""
    beat = f"{SHOP}.heartbeat=https://beat.example.com/1"
    like = "sources.more.like=shop"
    found = faults_of(GOOD, beat, like)
    assert (
        "sources.shop.streams.orders has the same" in found["sources.more.streams.orders.heartbeat"]
    )
    none = load_text(GOOD, beat, like, "sources.more.streams.orders.heartbeat=''")
    assert none.sources["more"].streams["orders"].heartbeat is None
    assert none.sources["shop"].streams["orders"].heartbeat is not None
    by = "sources.more.streams.orders.heartbeat={ env = 'URL' }"
    secret = f"{SHOP}.heartbeat={{ file = '/nowhere' }}"
    other = load_text(GOOD, secret, like, by, environ={}, secrets=False)
    assert other.sources["more"].streams["orders"].heartbeat == Secret("not-looked-up", "env URL")
    same = f"{SHOP}.heartbeat={{ env = 'URL' }}"
    assert faults_of(GOOD, same, like, environ={}, secrets=False)
