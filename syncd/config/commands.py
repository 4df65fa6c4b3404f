"""What does a command print?  Never more than we can hold, nor longer than we can wait.

`subprocess` bounds the time only: a command that prints without end would fill the memory.
"""

import os
import selectors
import subprocess
import time

CHUNK = 65_536  # bytes; what a pipe holds


class TooMuchError(Exception):
    """It printed more than anybody asked for."""


def outputs(
    process: subprocess.Popen[bytes], *, timeout: float, largest: int
) -> tuple[bytes, bytes]:
    """Its stdout and stderr, once it has ended; raises TimeoutExpired or TooMuchError."""
    deadline = time.monotonic() + timeout
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    found = [bytearray() for _ in pipes]
    with selectors.DefaultSelector() as selector:
        for pipe, data in zip(pipes, found, strict=True):
            selector.register(pipe, selectors.EVENT_READ, data)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout)
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, CHUNK)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif len(key.data) > largest:
                    raise TooMuchError
    process.wait(max(0.0, deadline - time.monotonic()))
    output, errors = found
    return bytes(output), bytes(errors)
