"""The journal: what was asked, in memory that does not grow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mock_api.journal import Journal, fullest_windows


def arrive(journal: Journal, at: float, client: str = "c", *, cost: bool = True) -> int:
    return journal.arrived(at, at + 1e9, method="GET", path="/p", client=client, cost=cost)


def test_an_entry_says_all_that_was_seen_and_sent() -> None:
    journal = Journal(10)
    seq = journal.arrived(
        1.5, 2.5, method="POST", path="/ü", query="a=b", client="é", key="k", cost=True, n=7,
        fault="rule 1",
    )  # fmt: skip
    (entry,) = journal.entries()
    assert (entry.status, entry.answered) == (None, None)
    journal.sent(seq, 503)
    journal.answered(seq, 3.25)
    (entry,) = journal.entries()
    assert (entry.seq, entry.arrived, entry.wall, entry.answered) == (1, 1.5, 2.5, 3.25)
    assert (entry.method, entry.path, entry.query) == ("POST", "/ü", "a=b")
    assert (entry.client, entry.key, entry.fault) == ("é", "k", "rule 1")
    assert (entry.status, entry.cost, entry.n) == (503, True, 7)


def test_the_oldest_make_room_and_their_late_answers_harm_nobody() -> None:
    journal = Journal(3)
    for n in range(5):
        arrive(journal, n)
    journal.sent(1, 200)
    journal.answered(1, 99)
    assert [(entry.seq, entry.arrived, entry.status) for entry in journal.entries()] == [
        (3, 2.0, None),
        (4, 3.0, None),
        (5, 4.0, None),
    ]
    assert [entry.seq for entry in journal.entries(since=4)] == [5]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 16_000), min_size=1, max_size=120), st.integers(1, 60))
def test_however_long_the_entries_are_the_newest_are_whole(sizes: list[int], size: int) -> None:
    """Long entries only mean that fewer are remembered; none is ever mixed with another."""
    journal = Journal(size)
    for n, length in enumerate(sizes, 1):
        arrive(journal, n, f"{n}:" + "x" * length)
    entries = list(journal.entries())
    assert entries
    assert [entry.seq for entry in entries] == list(range(journal.oldest, len(sizes) + 1))
    assert len(entries) <= size
    for entry in entries:
        assert entry.arrived == entry.seq
        assert entry.client == f"{entry.seq}:" + "x" * sizes[entry.seq - 1]


def test_entries_that_arrive_while_it_is_read_are_read_too() -> None:
    journal = Journal(5)
    arrive(journal, 1)
    reading = journal.entries()
    assert next(reading).seq == 1
    for n in range(2, 10):
        arrive(journal, n)
    assert [entry.seq for entry in reading] == [5, 6, 7, 8, 9]


def test_the_fullest_window_is_counted_from_arrivals_alone() -> None:
    """Half-open, as the limiter counts; what cost nothing is not counted."""
    journal = Journal(100)
    for at in (0, 1, 2, 10, 11):
        arrive(journal, at, "a")
    arrive(journal, 11.5, "a", cost=False)
    arrive(journal, 12, "b")
    assert fullest_windows(journal.entries(), 10) == {"a": 3, "b": 1}
    assert fullest_windows(journal.entries(), 10.5) == {"a": 4, "b": 1}
