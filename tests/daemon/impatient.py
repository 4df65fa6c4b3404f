"""syncd that waits for seconds where others wait for minutes: `python -m tests.daemon.impatient`.

It gives a silent Postgres up after a second, and looks within half a second whether an API
that was failing is well again.
"""

from syncd.store import connections
from syncd.sync import breaker

if __name__ == "__main__":
    connections.SILENCE = 1.0
    breaker.FIRST = 0.5
    from syncd.cli import main

    main()
