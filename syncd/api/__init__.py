"""One API as it is: HTTP, credentials, pages, records.  The only room that knows httpx."""

import sys

UNUSED = ("httpx._main", "httpcore._async.http2", "httpcore._sync.http2")
"""Modules that httpx and its core import if they can, and do without if they can't: a command line,
which brings rich and pygments, and HTTP/2.  Together 6 MiB that nobody here has a use for."""

for name in UNUSED:
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: it can't be imported
