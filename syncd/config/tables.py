"""Do the streams that write to one table agree on what it is?"""

from collections.abc import Mapping

from syncd.config.reading import dotted
from syncd.config.settings import SourceSettings, StreamSettings
from syncd.errors import Fault


def refuse_shared_tables(sources: Mapping[str, SourceSettings], faults: list[Fault]) -> None:
    """Streams of different sources may share a table if they agree; of one source never.

    A row's key holds its source, so those of two accounts are told apart; two streams of
    one source would overwrite and delete each other's rows.
    """
    first: dict[tuple[str, str], tuple[str, str, StreamSettings]] = {}
    for source in sources.values():
        for stream in source.streams.values():
            path = dotted("sources", source.name, "streams", stream.name)
            own = (source.name, path, stream)
            holder, there, other = first.setdefault((stream.schema, stream.table), own)
            differ = [n for n, of in _shape(stream).items() if of != _shape(other)[n]]
            message = ""
            if holder == source.name and there != path:
                message = f"{there} of the same source writes to {stream.schema}.{stream.table} "
                message += "as well; name another"
            elif differ:
                message = (
                    f"{there} writes to the same table {stream.schema}.{stream.table} with "
                    f"other {' and '.join(differ)}; make them equal, or name another table"
                )
            if message:
                faults.append(Fault(path=dotted(path, "table"), message=message))


def _shape(stream: StreamSettings) -> dict[str, object]:
    return {
        "columns": dict(stream.columns),
        "key": stream.key,
        "volatile": stream.volatile,
        "kept columns": frozenset(stream.call.keep) if stream.call else frozenset(),
        "indexes": stream.indexes,
    }
