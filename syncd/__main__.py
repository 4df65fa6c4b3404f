"""`python -m syncd`, and the `syncd` command."""

import signal
import sys

INTERRUPTED = 130  # as shells number an end by SIGINT


def main() -> None:
    """Run the command line; Ctrl-C before Trio listens to it is no traceback either."""
    if "run" in sys.argv[1:]:
        # A SIGHUP that comes before the daemon listens waits until it does, and one after
        # it has ceased to is too late: by default either would end the process.
        signal.signal(signal.SIGHUP, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        from syncd.cli import main as run  # noqa: PLC0415 - importing takes a moment

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
