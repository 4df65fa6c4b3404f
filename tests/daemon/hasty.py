"""syncd whose side door waits a second for who reads nothing: `python -m tests.daemon.hasty`."""

if __name__ == "__main__":
    from syncd.admin import serving

    serving.WRITING = 1.0
    from syncd.cli import main

    main()
