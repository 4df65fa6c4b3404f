"""Wiring: the only room that knows every concrete class.

wiring    builds one thing from Settings
opened    all that one process has open, and what a reload does to it
comparing what `syncd diff` opens
notices   who is told what needs a person
running   the daemon's and `once`'s life: signals, the service manager, the end
surveying what `syncd init` asks an address
"""

from syncd.app.comparing import diff
from syncd.app.notices import test_message
from syncd.app.running import once, run
from syncd.app.surveying import survey
from syncd.app.wiring import canonical_key, client, limits, retry, safe, source, store, table

__all__ = [
    "canonical_key",
    "client",
    "diff",
    "limits",
    "once",
    "retry",
    "run",
    "safe",
    "source",
    "store",
    "survey",
    "table",
    "test_message",
]
