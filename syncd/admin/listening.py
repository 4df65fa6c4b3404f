"""Where does the side door listen, and what if it can't?

An address that can't be listened at is a fault of the config, told at the start with all that
an operator needs.  A unix socket is its owner's and its group's alone, takes the place of one
that a killed syncd has left, and goes with us.
"""

import errno
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from syncd.config.settings import AdminSettings
from syncd.errors import ConfigError, Fault

BACKLOG = 256
SILENT = 1  # second until the kernel lets one in that has asked nothing
MODE = 0o660
BUFFER = 128 * 1024  # bytes that the kernel holds for a client that does not read
PEER = struct.Struct("iII")  # pid, uid, gid, as SO_PEERCRED tells them


@contextmanager
def listening(settings: AdminSettings) -> Iterator[socket.socket]:
    """The socket, closed at the end; ConfigError if it can't be listened at."""
    path = settings.socket
    try:
        sock = _tcp(*settings.address) if path is None else _unix(path)
    except OSError as error:
        raise _fault(settings, error) from error
    with closing(sock):
        if path is None:
            yield sock
            return
        made = path.lstat().st_ino
        try:
            yield sock
        finally:
            with suppress(OSError):  # somebody else's stands in its place, or none any more
                if path.lstat().st_ino == made:
                    path.unlink()


def address(sock: socket.socket) -> str:
    """Where it listens, as somebody would ask for it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def origin(sock: socket.socket) -> str:
    """Who is at the other end of a connection."""
    if sock.family != socket.AF_UNIX:
        return str(sock.getpeername()[0])
    _, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return f"unix socket (uid {uid})"


def _tcp(host: str, port: int) -> socket.socket:
    host = "127.0.0.1" if host == "localhost" else host
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A client is let in when its request is there: who says nothing costs the kernel alone.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT)
        sock.bind((host, port))
        return _ready(sock)
    except BaseException:
        sock.close()
        raise


def _unix(path: Path) -> socket.socket:
    _remove_what_was_left(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        # Before anybody can connect, which is from `listen` on.
        path.chmod(MODE)
        return _ready(sock)
    except BaseException:
        sock.close()
        raise


def _ready(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # its connections inherit it
    sock.setblocking(False)
    sock.listen(BACKLOG)
    return sock


def _remove_what_was_left(path: Path) -> None:
    """Raises OSError if what stands there is no socket, or somebody listens at it."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file stands there that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(1.0)
        try:
            other.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another process listens at it")


def _fault(settings: AdminSettings, error: OSError) -> ConfigError:
    todo = {
        errno.EADDRINUSE: "another process has it; is a second syncd running?",
        errno.EADDRNOTAVAIL: "no interface of this host has this address",
        errno.EACCES: "the user who runs syncd may not; use a port from 1024 on, or a folder that "
        "is syncd's own (systemd: RuntimeDirectory=)",
        errno.ENOENT: "its folder is missing (systemd: RuntimeDirectory=)",
    }.get(error.errno or 0, "")
    said = f"{error.strerror or error}{'; ' if todo else ''}{todo}"
    message = f"can't listen at {settings.listen}: {said}"
    return ConfigError([Fault(path="admin.listen", message=message)])
