"""syncd that gives a silent Postgres up after a second: `python -m tests.daemon.impatient`."""

from syncd.store import connections

if __name__ == "__main__":
    connections.SILENCE = 1.0
    from syncd.cli import main

    main()
