"""Wiring: the only room that knows every concrete class.

wiring    builds one thing from Settings
opened    all that one process has open, and what a reload does to it
notices   who is told what needs a person
running   the daemon's and `once`'s life: signals, the service manager, the end
surveying what `syncd init` asks an address
"""

from syncd.app.notices import test_message
from syncd.app.running import once, run
from syncd.app.surveying import survey
from syncd.app.wiring import budget, canonical_key, client, safe, source, store, table

__all__ = [
    "budget",
    "canonical_key",
    "client",
    "once",
    "run",
    "safe",
    "source",
    "store",
    "survey",
    "table",
    "test_message",
]
