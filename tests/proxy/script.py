"""Which connection goes wrong, at which moment, and how?

A script is a list of rules, as JSON or as `Rule` objects.  All rules that are for a
connection hold for it; the first one that ends it has it.

    [{"on": [2], "side": "down", "after": 120, "do": "cut"},
     {"rate": 0.2, "seed": 7, "do": "reset"},
     {"statement": "COMMIT", "of": "UPDATE syncd.checkpoint", "nth": 3, "do": "swallow"}]

Which connections (all that are given must hold):

    on                the numbers of the connections, counted from 1 as they are accepted
    from, to, every   from the n-th, up to the n-th, each n-th (n % every == 0)
    rate, seed        a share of them, 0 to 1, drawn from a seeded sequence
    times             fires no more often than this

At which moment:

    side, after       when so many bytes of that side have passed: "up" goes to the server,
                      "down" to the client; 0 is at once
    text              the bytes are counted from where the client has sent this text …
    statement         Postgres alone: when a statement comes that holds this text …
    of                … in a transaction that has held this text before …
    nth               … for the n-th time, counted over all connections; of `text` as well

What happens:

    cut               both ends are closed, by FIN
    reset             both ends are closed, by RST; what the client has not read yet is lost
    black-hole        the connection stays, and nothing passes any more
    swallow           with `statement`: it goes on to the server, whose answer is swallowed;
                      when that is whole the client gets an RST
    drip              from there on only so many `bytes` at a time, `seconds` between them
    delay             from there on each piece is late by so many `seconds`
"""

from random import Random
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Bytes = Annotated[int, msgspec.Meta(ge=0)]
Side = Literal["up", "down"]
Deed = Literal["cut", "reset", "black-hole", "swallow", "drip", "delay"]
SLOW = ("drip", "delay")


class Rule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"from_": "from"},
):
    """One rule; the module's docstring explains each field."""

    name: str = ""

    on: tuple[Count, ...] | None = None
    from_: Count = 1
    to: Bytes | None = None
    every: Count = 1
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: int = 0
    times: Bytes | None = None

    side: Side = "down"
    after: Bytes = 0
    text: str | None = None
    statement: str | None = None
    of: str = ""
    nth: Count = 1

    do: Deed
    bytes: Count = 1
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.05

    def __post_init__(self) -> None:
        if self.do == "swallow" and self.statement is None:
            raise ValueError("`swallow` needs the `statement` whose answer is swallowed")
        if self.do in SLOW and self.statement is not None:
            raise ValueError(f"`{self.do}` begins after so many bytes, not at a statement")

    def is_for(self, number: int) -> bool:
        """Whether the connection of that number is one of those that it means."""
        return (
            (self.on is None or number in self.on)
            and number >= self.from_
            and (self.to is None or number <= self.to)
            and number % self.every == 0
        )


class Script:
    """Rules, and how often each has fired."""

    def __init__(self, rules: "list[Rule]") -> None:
        self.rules = [
            msgspec.structs.replace(rule, name=rule.name or f"rule {n}")
            for n, rule in enumerate(rules, 1)
        ]
        self._random = {rule.name: Random(rule.seed) for rule in self.rules}
        self._fired: dict[str, int] = {}
        self._met: dict[str, int] = {}

    @property
    def reads_postgres(self) -> bool:
        return any(rule.statement is not None for rule in self.rules)

    def of_connection(self, number: int) -> list[Rule]:
        """The rules that hold for a new connection."""
        return [
            rule
            for rule in self.rules
            if rule.is_for(number)
            and (rule.rate is None or self._random[rule.name].random() < rule.rate)
        ]

    def meets(self, rule: Rule) -> bool:
        """Count one of the statements that a rule waits for; whether it is the one."""
        self._met[rule.name] = self._met.get(rule.name, 0) + 1
        return self._met[rule.name] == rule.nth

    def fires(self, rule: Rule) -> bool:
        """Count a firing; False if it has fired often enough."""
        if rule.times is not None and self._fired.get(rule.name, 0) >= rule.times:
            return False
        self._fired[rule.name] = self._fired.get(rule.name, 0) + 1
        return True


def read_script(text: str | bytes) -> list[Rule]:
    """The rules in a JSON text; ValueError says what is wrong."""
    return msgspec.json.decode(text, type=list[Rule])
