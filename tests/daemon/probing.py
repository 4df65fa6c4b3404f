"""syncd that soon looks again at an API that was failing: `python -m tests.daemon.probing`.

Its breaker's first probe goes within half a second.
"""

from syncd.sync import breaker

if __name__ == "__main__":
    breaker.FIRST = 0.5
    from syncd.cli import main

    main()
