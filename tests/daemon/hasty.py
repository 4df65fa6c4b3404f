"""syncd whose side door has no patience and little room: `python -m tests.daemon.hasty`.

A client that reads nothing has a second, and more than three do not listen.
"""

if __name__ == "__main__":
    from syncd.admin import audience, live, serving

    serving.WRITING = audience.READING = 1.0
    live.MOST = 3
    from syncd.cli import main

    main()
