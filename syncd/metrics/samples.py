"""Samples as they go out: families of prometheus_client, in the order of `kinds`."""

from collections.abc import Iterator, Mapping

import attrs
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from syncd.metrics import kinds
from syncd.metrics.kinds import Kind
from syncd.metrics.tally import Durations


@attrs.define(eq=False)
class Samples:
    """What one scrape is answered with."""

    _families: dict[str, Metric] = attrs.field(factory=dict, init=False)

    def add(self, kind: Kind, value: float, *labels: str) -> None:
        """One sample; the labels in the order in which the kind names them."""
        named = dict(zip(kind.labels, labels, strict=True))
        self._family(kind).samples.append(Sample(kind.name, named, value))

    def each(self, kind: Kind, values: Mapping[str, float], *labels: str) -> None:
        """One sample for each value of the last label."""
        for last, value in values.items():
            self.add(kind, value, *labels, last)

    def one_of(
        self, kind: Kind, possible: tuple[str, ...], found: str | None, *labels: str
    ) -> None:
        """1 for what was found among all that the last label may be, 0 for the others."""
        self.each(kind, {p: float(p == found) for p in possible}, *labels)

    def durations(self, kind: Kind, found: Durations, *labels: str) -> None:
        """A histogram, its buckets each with those before it."""
        named = dict(zip(kind.labels, labels, strict=True))
        samples = self._family(kind).samples
        count = 0
        for bound, more in zip((*found.bounds, float("inf")), found.counts, strict=True):
            count += more
            le = {**named, "le": _bound(bound)}
            samples.append(Sample(f"{kind.name}_bucket", le, count))
        samples.append(Sample(f"{kind.name}_sum", named, found.seconds))
        samples.append(Sample(f"{kind.name}_count", named, count))

    def families(self) -> Iterator[Metric]:
        for kind in kinds.ALL:
            if kind.name in self._families:
                yield self._families[kind.name]

    def _family(self, kind: Kind) -> Metric:
        found = self._families.get(kind.name)
        if found is None:
            name = kind.name.removesuffix("_total") if kind.type == "counter" else kind.name
            found = self._families[kind.name] = Metric(name, kind.help, kind.type)
        return found


def _bound(bound: float) -> str:
    """As Go writes it, and so Prometheus's own clients."""
    return "+Inf" if bound == float("inf") else str(float(bound))
