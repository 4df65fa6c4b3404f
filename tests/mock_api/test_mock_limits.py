"""The sliding window: exact for each client, and small for a million of them."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mock_api.control import memory
from mock_api.limits import SlidingWindow
from mock_api.tally import Tally

MIB = 1024 * 1024
MILLION = 1_000_000


def ask(window: SlidingWindow, client: str, now: float) -> bool:
    if not window.has_room(client, now):
        return False
    window.count(client, now)
    return True


def test_the_eleventh_in_a_window_is_refused_and_served_when_the_first_has_left() -> None:
    """Ten in sixty seconds; the next is served sixty seconds after the first, not before."""
    window = SlidingWindow(limit=10, window=60)
    assert all(ask(window, "a", 100 + n) for n in range(10))
    assert not ask(window, "a", 110)
    assert not ask(window, "a", 159.999)
    assert ask(window, "a", 160)
    assert not ask(window, "a", 160.5)


def test_a_refusal_costs_nothing() -> None:
    """A client that knocks all the time is served again as soon as one that waited."""
    window = SlidingWindow(limit=1, window=60)
    assert ask(window, "a", 0)
    assert not any(ask(window, "a", n) for n in range(1, 60))
    assert ask(window, "a", 60)


def test_clients_have_windows_of_their_own() -> None:
    window = SlidingWindow(limit=1, window=60)
    assert ask(window, "a", 0)
    assert ask(window, "b", 0)
    assert not ask(window, "a", 1)


def test_no_limit_counts_nobody() -> None:
    window = SlidingWindow(limit=0, window=60)
    assert all(ask(window, "a", 0) for _ in range(1000))
    assert window.counted == 0


def test_when_the_window_is_full_of_strangers_all_are_refused_until_it_moves_on() -> None:
    """Memory is bounded, and a limiter that cannot count does not wave through."""
    window = SlidingWindow(limit=10, window=60, capacity=100)
    assert all(ask(window, f"c{n}", n * 0.1) for n in range(100))
    assert not ask(window, "new", 20)
    assert ask(window, "new", 60)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.1, 1.0, 3.0, 9.9, 10.0, 40.0])),
        max_size=200,
    ),
    st.integers(1, 4),
)
def test_whatever_comes_it_says_what_a_list_of_all_times_would_say(
    arrivals: list[tuple[str, float]], limit: int
) -> None:
    """Against the plainest limiter: keep every time, count those in the window."""
    window = SlidingWindow(limit=limit, window=10)
    let_through: dict[str, list[float]] = defaultdict(list)
    now = 1000.0
    for client, pause in arrivals:
        now += pause
        recent = [at for at in let_through[client] if now - at < 10]
        expected = len(recent) < limit
        assert ask(window, client, now) is expected
        if expected:
            let_through[client].append(now)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=400), st.integers(0, 3))
def test_the_tally_counts_as_a_dict_does_however_its_keys_collide(
    steps: list[tuple[bool, int]], shift: int
) -> None:
    """Keys that share a home slot (here: all of them, at shift 10 and more) are kept apart."""
    tally, plain = Tally(), dict[int, int]()
    for adds, number in steps:
        key = number << (shift * 5)
        if adds:
            tally.add(key)
            plain[key] = plain.get(key, 0) + 1
        elif plain.get(key):
            tally.remove(key)
            plain[key] -= 1
    for number in range(1, 41):
        key = number << (shift * 5)
        assert tally[key] == plain.get(key, 0)
    assert len(tally) == sum(1 for count in plain.values() if count)


def test_the_queue_and_the_table_grow_and_shrink_without_losing_anybody() -> None:
    """Nine thousand clients of two requests each come and go; each is refused its third."""
    window = SlidingWindow(limit=2, window=100)
    for n in range(9000):
        assert ask(window, f"c{n}", n * 0.01)
        assert ask(window, f"c{n}", n * 0.01)
        assert not ask(window, f"c{n}", n * 0.01)
    grown = window.nbytes
    for n in range(9000):
        assert ask(window, f"c{n}", 110 + n * 0.5)
    assert window.nbytes < grown / 4
    assert window.clients <= 200 + 1


@pytest.mark.long
def test_a_million_client_ids_in_a_row_leave_memory_flat() -> None:
    """A thousand new ids a second for a quarter of an hour: only a window of them is held."""
    window = SlidingWindow(limit=10, window=60)
    before = memory().get("rss_bytes")
    if before is None:
        pytest.skip("this system does not tell what a process holds")
    for n in range(MILLION):
        now = n * 0.001
        window.has_room(f"c{n}", now)
        window.count(f"c{n}", now)
    assert window.clients <= 60_000 + 64
    assert memory()["rss_bytes"] - before < 8 * MIB


@pytest.mark.long
def test_a_million_client_ids_in_one_window_are_bounded_and_given_back() -> None:
    """All at once they cost 40 bytes each, and nothing when their window is over."""
    window = SlidingWindow(limit=10, window=60)
    before = memory().get("rss_bytes")
    if before is None:
        pytest.skip("this system does not tell what a process holds")
    for n in range(MILLION):
        window.has_room(f"c{n}", 0)
        window.count(f"c{n}", 0)
    assert window.clients == MILLION
    assert window.nbytes < 64 * MILLION
    assert window.has_room("somebody", 60)
    assert window.clients == 0
    assert memory()["rss_bytes"] - before < 4 * MIB
