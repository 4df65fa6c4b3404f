"""What does a new config change, stream by stream?  A pure function of two Settings.

keep      nothing of it differs
adopt     it goes on with its cycle at the next page boundary, with the new settings
replace   what its cycle has done so far is of no use to the new settings (another
address, filter, page size, table): the cycle begins anew at the boundary
retire    it is not in the file any more: it ends at the boundary
add       it is new
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import attrs

from syncd.config.settings import Settings, SourceSettings, StreamSettings
from syncd.errors import ConfigError, Fault
from syncd.sync.model import StreamId

Fate = Literal["keep", "adopt", "replace", "retire", "add"]

FIXED = ("database", "state", "admin")
"""What a running syncd stands on."""

FOLLOWED = ("admin.token", "admin.hosts")
"""Of these what is looked at anew each time."""

OF_ALL = ("keep_dead_letters", "token_key")
"""What every stream adopts."""

OF_THE_SOURCE = ("base_url",)
OF_THE_STREAM = (
    *("path", "params", "incremental", "search", "records", "where"),
    *("page", "key", "schema", "table"),
)
"""What a cursor, and the rows written so far, are valid for; `ApiSource.fingerprint` has the
same, and a test holds them to each other."""


@attrs.frozen(kw_only=True)
class Change:
    """What becomes of one stream."""

    stream: StreamId
    fate: Fate
    changed: tuple[str, ...] = ()
    """Which settings differ, as the operator writes them; never their values."""

    def __str__(self) -> str:
        what = f" ({', '.join(self.changed)})" if self.changed else ""
        return f"{self.stream}: {self.fate}{what}"


@attrs.frozen(kw_only=True)
class Plan:
    """What becomes of all of them, in the file's order; those that leave at the end."""

    changes: tuple[Change, ...]

    def of(self, fate: Fate) -> list[Change]:
        return [change for change in self.changes if change.fate == fate]

    def __str__(self) -> str:
        """Such as `1 adopt, 3 keep`."""
        fates: tuple[Fate, ...] = ("add", "adopt", "replace", "retire", "keep")
        return ", ".join(f"{len(self.of(f))} {f}" for f in fates if self.of(f))


def plan(old: Settings, new: Settings) -> Plan:
    """Compare; raises ConfigError for what only a restart can change."""
    refuse_changes(old, new)
    before, after = _streams(old), _streams(new)
    of_all = [name for name in OF_ALL if getattr(old, name) != getattr(new, name)]
    changes = [
        _change(i, before[i], after[i], of_all) if i in before else Change(stream=i, fate="add")
        for i in after
    ]
    changes += [Change(stream=i, fate="retire") for i in before if i not in after]
    return Plan(changes=tuple(changes))


def refuse_changes(old: Settings, new: Settings, names: Sequence[str] = FIXED) -> None:
    """Raise ConfigError for what of these only a restart can change."""
    fixed = [
        Fault(path=path, message="it can't be changed while syncd runs: restart syncd for that")
        for name in names
        for path in differences(getattr(old, name), getattr(new, name), name)
        if path not in FOLLOWED
    ]
    if fixed:
        raise ConfigError(fixed)


def _change(
    stream: StreamId,
    old: tuple[SourceSettings, StreamSettings],
    new: tuple[SourceSettings, StreamSettings],
    of_all: Sequence[str],
) -> Change:
    changed = [*of_all, *_of_sources(old[0], new[0]), *differences(old[1], new[1], "")]
    if not changed:
        return Change(stream=stream, fate="keep")
    anew = any(getattr(old[0], name) != getattr(new[0], name) for name in OF_THE_SOURCE)
    anew = anew or any(getattr(old[1], name) != getattr(new[1], name) for name in OF_THE_STREAM)
    return Change(stream=stream, fate="replace" if anew else "adopt", changed=tuple(changed))


def _of_sources(old: SourceSettings, new: SourceSettings) -> Iterator[str]:
    return differences(attrs.evolve(old, streams={}), attrs.evolve(new, streams={}), "")


def differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """The paths of settings that differ; a secret that differs is one of them."""
    if old == new:
        return
    if attrs.has(type(old)) and type(old) is type(new) and not hasattr(old, "reveal"):
        for field in attrs.fields(type(old)):
            inner = f"{path}.{field.name}" if path else field.name
            yield from differences(getattr(old, field.name), getattr(new, field.name), inner)
    elif _named(old) and _named(old) == _named(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True), 1):
            yield from differences(one, other, path if len(old) == 1 else f"{path}[{place}]")
    else:
        yield path


def _named(settings: Any) -> list[str]:
    """The names of tables in a list, none if it is no such list."""
    of = settings if isinstance(settings, tuple) else ()
    return [s.name for s in of if attrs.has(type(s)) and hasattr(s, "name")]


def _streams(settings: Settings) -> dict[StreamId, tuple[SourceSettings, StreamSettings]]:
    return {
        StreamId(source=source.name, stream=stream.name): (source, stream)
        for source in settings.sources.values()
        for stream in source.streams.values()
    }
