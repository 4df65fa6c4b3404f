"""What a message says, and that Slack reads no more into it than it says."""

import json
from typing import Any

import pytest

from syncd.alarms import shapes, words
from syncd.config.settings import ALARMS
from syncd.sync.alarm import Alarm, State, Told


def told(kind: str = "parked", state: State = "firing", **of: Any) -> Told:
    source = "" if kind in ("reload-refused", "postgres-away") else "my shop"
    alarm = Alarm(kind, source, "orders" if source else "")
    return Told(**{"alarm": alarm, "state": state, "at": 90.0, "since": 30.0, "reason": "x", **of})


def shaped(message: Told) -> dict[str, Any]:
    return shapes.as_object(
        message, number="msg_1", now=1e9, host="db1", version="1", hide=lambda text: text
    )


@pytest.mark.parametrize("kind", ALARMS)
@pytest.mark.parametrize("state", ["firing", "recovered"])
def test_each_alarm_has_a_sentence_and_something_to_do(kind: str, state: State) -> None:
    found = shaped(told(kind, state))
    assert found["sentence"]
    assert "{" not in found["sentence"] + found["todo"]
    assert bool(found["todo"]) == (state == "firing")


def test_times_are_in_utc_and_the_beginning_is_where_it_was() -> None:
    found = shaped(told())
    assert (found["at"], found["since"]) == ("2001-09-09T01:46:40.000Z", "2001-09-09T01:45:40.000Z")
    assert found["lasted_seconds"] == 60.0


@pytest.mark.parametrize(
    ("kind", "hint", "said"),
    [
        ("parked", "grant it", "grant it. Then `syncd resume 'my shop.orders'`."),
        ("parked", "", "Mend that, then `syncd resume 'my shop.orders'`."),
        ("login-refused", "correct it, then reload.", "correct it, then reload."),
    ],
)
def test_who_found_it_knows_better_what_to_do(kind: str, hint: str, said: str) -> None:
    """And a name can be pasted into a shell."""
    assert words.todo(told(kind, todo=hint)) == said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\nb\x1b[31m", "a b\\x1b[31m"),
        ("see https://x.example.com/a?token=abc#d now", "see https://x.example.com/a?*** now"),
        ("HTTP://u:p@x/y", "HTTP://x/y"),
        ('"https://x/y?sig=1"', '"https://x/y?***"'),
        ("a@b.example.com or x?y", "a@b.example.com or x?y"),
        ("http://x/#frag=abc", "http://x/#***"),
    ],
)
def test_somebodys_words_are_made_safe(said: str, shown: str) -> None:
    """no-secret-out: a signature in an address, a password before a host."""
    assert words.safe(said, lambda text: text) == shown


def test_half_a_secret_is_no_secret_left() -> None:
    """no-secret-out: first struck out, then cut."""
    secret = "s" * 50
    long = "x" * 280 + secret
    assert "sss" not in words.safe(long, lambda text: text.replace(secret, "***"))


def test_slack_reads_no_links_and_no_mentions_into_it() -> None:
    found = shapes.body(shaped(told(reason="<!channel> <http://x|y> & more")), "slack")
    slack = json.loads(found)
    text = slack["blocks"][0]["text"]["text"]
    assert "&lt;!channel&gt; &lt;http://x|y&gt; &amp; more" in text
    assert "<" not in text + slack["text"]
    assert slack["text"] == "my shop.orders is parked: it needs a person"
    assert "db1" in slack["blocks"][1]["elements"][0]["text"]


def test_slack_is_told_how_long_it_lasted_and_takes_no_more_than_so_much() -> None:
    over = json.loads(shapes.body(shaped(told(state="recovered")), "slack"))
    assert over["text"] == "my shop.orders is not parked any more after 1 min"
    long = Alarm("parked", "s" * 60, "&" * 4000)
    found = json.loads(shapes.body(shaped(told(alarm=long)), "slack"))
    assert len(found["blocks"][0]["text"]["text"]) <= 3000


def test_a_body_is_ascii_whatever_was_in_it() -> None:
    """So it is byte for byte the same, wherever it lay."""
    assert shapes.body(shaped(told(reason="é \U0001f600 \ud800")), "json").isascii()
