"""How often, and how loud: the side door's counting, on a clock of the test's own."""

from syncd.admin.limits import KINDS, Allowance, Thinned


def test_no_stretch_has_more_than_is_allowed() -> None:
    """contained: three in ten seconds, whenever they come; who waits as told gets in."""
    allowance = Allowance(most=3, per=10.0)
    assert [allowance.spend(now) for now in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]
    assert allowance.spend(2.5) == 7.5
    assert allowance.spend(10.0) == 0.0
    assert allowance.spend(10.5) == 0.5
    assert allowance.spend(11.0) == 0.0


def test_a_flood_is_told_once_in_a_while_with_its_number() -> None:
    """contained: the first at once, then how often it came since."""
    thinned = Thinned(every=60.0)
    assert [thinned.happened(float(n), "x", "wrong") for n in range(60)] == [1] + [0] * 59
    assert thinned.happened(59.5, "y", "wrong") == 1
    assert thinned.happened(61.0, "x", "wrong") == 60


def test_a_flood_that_ends_is_told_whole() -> None:
    """accounted: nothing has to come again for the rest to be counted."""
    thinned = Thinned(every=60.0)
    for n in range(25):
        thinned.happened(float(n), "x", "wrong")
    thinned.happened(3.0, "y", "wrong")
    assert thinned.untold(59.0) == []
    assert thinned.untold(60.0) == [(("x", "wrong"), 24)]
    assert thinned.untold(130.0) == []
    assert thinned.happened(130.0, "x", "wrong") == 1


def test_a_flood_of_many_kinds_takes_no_more_memory() -> None:
    """contained: what is beyond the first hundred is counted together."""
    thinned = Thinned(every=60.0)
    told = sum(thinned.happened(1.0, str(n)) for n in range(10_000))
    assert told == KINDS + 1
    assert thinned.happened(62.0, "one more") == 10_000 - KINDS
    assert thinned.happened(200.0, "later") == 1
