"""`python -m syncd`, and the `syncd` command."""

import sys

INTERRUPTED = 130  # as shells number an end by SIGINT


def main() -> None:
    """Run the command line; Ctrl-C before Trio listens to it is no traceback either."""
    try:
        from syncd.cli import main as run  # noqa: PLC0415 - importing takes half a second

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
