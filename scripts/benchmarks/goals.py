"""Was a goal met?  One line for each, the same in all benchmarks."""

import attrs


@attrs.frozen(kw_only=True)
class Goal:
    """A figure, and what it ought to be."""

    what: str
    found: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        low = self.at_least is None or self.found >= self.at_least
        return low and (self.at_most is None or self.found <= self.at_most)

    def line(self) -> str:
        """Such as `plain script / syncd: 1.20  (goal: at least 1.15) met`."""
        wanted = [
            f"at {word} {value:g}"
            for word, value in (("least", self.at_least), ("most", self.at_most))
            if value is not None
        ]
        if not wanted:
            return f"{self.what}: {self.found:.2f}"
        verdict = "met" if self.met else "MISSED"
        return f"{self.what}: {self.found:.2f}  (goal: {' and '.join(wanted)}) {verdict}"

    def told(self) -> dict[str, object]:
        """For --json; `met` is null where there is no goal."""
        none = self.at_least is None and self.at_most is None
        return {**attrs.asdict(self), "met": None if none else self.met}
