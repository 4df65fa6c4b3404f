"""How does a line get into journald with its fields?  By its native protocol.

One datagram an entry; what is too large for one goes as a sealed memfd.  Nothing here
waits: a journald that is behind, or away, costs lines, which are counted and told as
soon as one gets through.  See systemd's "Native Journal Protocol".
"""

import array
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping

import attrs

from syncd.logs.entry import Entry
from syncd.logs.kinds import LINES_LOST
from syncd.logs.shapes import one_line, pairs

SOCKET = "/run/systemd/journal/socket"
SEND_BUFFER = 8 * 2**20  # bytes; the kernel may give less
PRIORITIES = ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6), (0, 7))
TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
NAME = 64  # characters; journald ignores a field with a longer name


def stands_behind(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected this descriptor to the journal, and nobody moved it since."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False


@attrs.define(eq=False)
class Journal:
    """The way to one journald."""

    path: str = SOCKET
    lost: int = attrs.field(default=0, init=False)
    """Lines that did not get through since that was last told."""

    ever_lost: int = attrs.field(default=0, init=False)

    _socket: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def close(self) -> None:
        self._socket.close()

    def __call__(self, entry: Entry) -> None:
        """Send one entry, or count it as lost; before it, what was lost."""
        if self.lost and self._send(encoded(_lost(entry, self.lost))):
            self.lost = 0
        if not self._send(encoded(fields_of(entry))):
            self.lost += 1
            self.ever_lost += 1

    def _send(self, data: bytes) -> bool:
        try:
            try:
                self._socket.sendto(data, self.path)
            except OSError as error:
                if error.errno not in TOO_LARGE:
                    return False
                self._send_as_file(data)
        except OSError:
            return False
        return True

    def _send_as_file(self, data: bytes) -> None:
        with os.fdopen(
            os.memfd_create("syncd-journal", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC), "wb"
        ) as file:
            file.write(data)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
            passed = array.array("i", [file.fileno()])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)]
            self._socket.sendmsg([], rights, 0, self.path)


def fields_of(entry: Entry) -> dict[str, str]:
    """The journal's fields of an entry; MESSAGE says all of it, for who reads without them."""
    stream = [one_line(entry.stream) + ":"] if entry.stream else []
    message = " ".join([*stream, one_line(entry.sentence), *pairs(entry.fields)])
    fields = {
        "MESSAGE": f"{message}\n{entry.traceback}" if entry.traceback else message,
        "PRIORITY": str(next(p for least, p in PRIORITIES if entry.severity >= least)),
        "SYSLOG_IDENTIFIER": "syncd",
    }
    if entry.kind is not None:
        fields |= {"MESSAGE_ID": entry.kind.id, "SYNCD_EVENT": entry.kind.name}
    if entry.stream:
        source, _, stream_name = entry.stream.rpartition(".")
        fields |= {"SYNCD_SOURCE": source, "SYNCD_STREAM": stream_name}
    for name, value in entry.fields.items():
        fields.setdefault(f"SYNCD_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"[:NAME], str(value))
    return fields


def encoded(fields: Mapping[str, str]) -> bytes:
    """The fields as one message of the protocol."""
    parts = []
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            size = struct.pack("<Q", len(value))
            parts.append(b"%s\n%s%s\n" % (name.encode(), size, value))
        else:
            parts.append(b"%s=%s\n" % (name.encode(), value))
    return b"".join(parts)


def _lost(entry: Entry, count: int) -> dict[str, str]:
    return fields_of(
        Entry(
            time=entry.time,
            level="WARNING",
            severity=30,
            sentence=LINES_LOST.sentence,
            fields={"count": count},
        )
    )
