"""How often may an API be asked: what do `budget`, `[budgets.NAME]` and `cost` say?

A budget is one limit or a list of them, each of which counts every request, or those under
its paths.  Each has a name by which its tokens are kept, so that a changed file finds what
was spent: one that is alone has the source's own, those of a list are told apart by their
stretch and their paths.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from syncd.config.reading import Node, kind
from syncd.config.settings import BudgetSettings, Login, SourceSettings

Budgets = Mapping[str, tuple[BudgetSettings, ...]]

MOST = 8  # limits of one source; each request takes a token of each that counts it


def read_budgets(node: Node) -> dict[str, tuple[BudgetSettings, ...]]:
    """The budgets that sources share by name."""
    table = node.table("budgets")
    if table is None:
        return {}
    return {name: _named(f"budget {name}", _tables(table, name)) for name in table.values}


def own_budget(name: str, node: Node, budgets: Budgets) -> tuple[BudgetSettings, ...]:
    """A source's limits, its own and those that it shares; none: it is not limited.

    A source that is like another has the same limits, and counts them for itself.
    """
    if not node.has("budget"):
        return ()
    value = node.values["budget"]
    limits = _named(f"source {name}", _tables(node, "budget"))
    shared: list[BudgetSettings] = []
    names = value if isinstance(value, list) else [value]
    for place, of in enumerate(names, 1):
        if not isinstance(of, str):
            continue
        known = ", ".join(budgets) or "none"
        if of not in budgets:
            message = f"there is no [budgets.{of}]; known: {known}"
            _fault(node, "budget", place if isinstance(value, list) else 0, message)
        elif names.index(of) != place - 1:
            _fault(node, "budget", place, f"{of!r} stands here twice; leave one of them out")
        else:
            shared += budgets[of]
    return (*limits, *shared)


def _tables(node: Node, key: str) -> list[tuple[Node, BudgetSettings]]:
    """The limits that stand here, names left out."""
    value = node.values[key]
    node.has(key)
    shares = key == "budget"
    if isinstance(value, dict):
        child = node.child(key, value)
        return [] if child is None else [(child, _limit(child))]
    if not isinstance(value, list) and not (shares and isinstance(value, str)):
        names = ", the name of one under [budgets]" if shares else ""
        node.fault(key, f"found {kind(value)}; it must be a table{names}, or a list of them")
        return []
    if isinstance(value, list) and not 1 <= len(value) <= MOST:
        node.fault(key, f"found {len(value)} limits; it must be 1 to {MOST}")
    found = []
    for place, inner in enumerate(value if isinstance(value, list) else [], 1):
        if isinstance(inner, dict):
            path = f"{node.at(key)}[{place}]"
            child = Node(path=path, values=inner, faults=node.faults, reveal=node.reveal)
            found.append((child, _limit(child)))
        elif not (shares and isinstance(inner, str)):
            other = " or the name of one" if shares else ""
            node.fault_of(key, place, f"found {kind(inner)}; it must be a table{other}")
    return found


def _fault(node: Node, key: str, place: int, message: str) -> None:
    if place:
        node.fault_of(key, place, message)
    else:
        node.fault(key, message)


def _limit(node: Node) -> BudgetSettings:
    budget = BudgetSettings(
        name="",
        requests=node.count("requests", most=100_000),
        per=node.duration("per"),
        slack=node.duration("slack", 0.25),
        paths=node.texts("paths", (), filled=True, example="/search"),
    )
    for path in budget.paths:
        if not path.startswith("/") or set(path) & set("?#"):
            node.wrong(
                "paths", path, 'a path behind base_url that begins with "/", without a query'
            )
    node.finish()
    return budget


def _named(base: str, found: Sequence[tuple[Node, BudgetSettings]]) -> tuple[BudgetSettings, ...]:
    """Each limit with the name of its tokens, and of those that it begins with when it is new."""
    good = [(node, limit) for node, limit in found if isinstance(limit.per, float)]
    named: dict[str, BudgetSettings] = {}
    for node, limit in good:
        under = f" of {' '.join(sorted(limit.paths))}" if limit.paths else ""
        alone = len(good) == 1 and not limit.paths
        name = base if alone else f"{base} per {limit.per:.10g}s{under}"
        if any(limit.per == n.per and set(limit.paths) == set(n.paths) for n in named.values()):
            node.fault("per", "another limit has the same stretch; leave the larger one out")
        named[name] = attrs.evolve(limit, name=name, seed=base)
    return tuple(named.values())


# --- what requests cost --------------------------------------------------------------------


def check_costs(node: Node, source: SourceSettings) -> None:
    """Note what costs more than a limit holds: it could never be sent."""
    for keys, path, cost in _costs(source):
        for limit in source.budget:
            whole = isinstance(limit.requests, int)  # else that is told already
            if whole and limit.counts(path) and cost > limit.requests:
                message = (
                    f"found {cost}; it must be no more than its limit holds: "
                    f"{limit.requests} in {limit.per:g} s"
                )
                node.fault_at(keys, message)
                break
    auth = source.auth
    if isinstance(auth, Login) and auth.cost != 1 and not auth.spends:
        node.fault_at(("auth", "cost"), "it needs spends = true: else a login costs nothing")


def _costs(source: SourceSettings) -> Iterator[tuple[tuple[str, ...], str, int]]:
    """Where a cost stands, the path of its request, and the cost."""
    auth = source.auth
    if isinstance(auth, Login) and auth.spends:
        yield ("auth", "cost"), auth.price_path, auth.cost
    for name, stream in source.streams.items():
        for what, (path, cost) in stream.costs.items():
            yield ("streams", name, *(["call"] if what == "call" else []), "cost"), path, cost
