"""syncd that looks at once for what is past its time: `python -m tests.daemon.tidying`.

It does so as soon as it runs, and not a minute later.
"""

from syncd.daemon import purging

if __name__ == "__main__":
    purging.FIRST = 0.0
    from syncd.cli import main

    main()
