"""Which streams does the config name?"""

from syncd.config.settings import Settings
from syncd.sync.model import StreamId


def configured(settings: Settings) -> list[StreamId]:
    """Every stream of the config, in its order."""
    return [
        StreamId(source=source.name, stream=stream)
        for source in settings.sources.values()
        for stream in source.streams
    ]
