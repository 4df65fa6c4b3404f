"""What does `[admin]` mean: where the side door listens, and who may come in?"""

import ipaddress
import re

from syncd.config.hosts import is_host
from syncd.config.reading import Node, any_text, kind, shown
from syncd.config.settings import UNRESOLVED, AdminSettings, Secret

SHORTEST = 16  # characters of a token; nobody guesses one of so many
LONGEST_PATH = 107  # bytes of a unix socket's path, which the kernel takes

LISTEN = (
    'an address and a port, such as "127.0.0.1:8321" or "[::1]:8321", or a unix socket, such as '
    '"unix:/run/syncd/admin.sock"'
)
NAME = re.compile(r"([^:\[\]]+|\[[0-9A-Fa-f:.]+\])")


def read_admin(node: Node) -> AdminSettings | None:
    """The table `[admin]`; None if there is none, or it is of no use."""
    table = node.table("admin")
    if table is None:
        return None
    listen = _listen(table)
    token = _token(table)
    hosts = table.texts("hosts", (), example="syncd.example.com")
    for host in hosts:
        if not _is_name(host):
            allowed = 'names as a browser shows them, without a port, such as "syncd.example.com"'
            table.wrong("hosts", host, allowed)
    table.finish()
    settings = AdminSettings(listen=listen, token=token, hosts=tuple(h.lower() for h in hosts))
    if not settings.local and token is None and "token" not in table.values:
        table.fault(
            "token",
            "missing; where others than this host's own users reach `listen`, it is needed for "
            "reading, too",
        )
    return settings


def _listen(table: Node) -> str:
    default = AdminSettings().listen
    listen: str = table.get("listen", default, LISTEN, any_text)
    wrong = _wrong_with(listen)
    if wrong is None:
        return listen
    table.fault("listen", f"found {shown(listen)}: {wrong}; it must be {LISTEN}")
    return default


def _wrong_with(listen: str) -> str | None:
    """What is wrong with an address to listen at; None if it is right."""
    if not listen.isprintable():
        return "it holds what can't be printed"
    if listen.startswith("unix:"):
        return _wrong_with_path(listen[5:])
    host, colon, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or host.endswith("://"):
        return "it has no port"
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
        return "the port is a number from 0 to 65535"
    if host == "localhost":
        return None
    if not host:
        return "it has no address"
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return "a name is not allowed: write the address in figures"
    # An IPv6 address gets brackets: else nobody sees where its port begins.
    if (address.version == 6) == (bare != host):
        return None
    return "an address of IPv6 stands in brackets, and no other"


def _wrong_with_path(path: str) -> str | None:
    if not path.startswith("/") or path.endswith("/"):
        return "the path of a socket must be absolute, and end with its name"
    if len(path.encode()) > LONGEST_PATH:
        return f"the path of a socket has {LONGEST_PATH} bytes at most"
    return None


def _is_name(name: str) -> bool:
    found = NAME.fullmatch(name)
    return found is not None and is_host(found[1].strip("[]"))


def _token(table: Node) -> Secret | None:
    if "token" not in table.values:
        table.has("token")
        return None
    if not isinstance(table.values["token"], dict):
        table.has("token")
        table.fault(
            "token",
            f"found {kind(table.values['token'])}; a secret never stands in the file: it must be a "
            'reference such as { credential = "admin-token" }',
        )
        return None
    token: Secret = table.text_or_secret("token")
    value = token.reveal()
    if token.origin == "nowhere" or value == UNRESOLVED:
        return token
    if len(value) < SHORTEST or not re.fullmatch(r"[!-~]+", value):
        # Not shown: it is a secret.
        table.fault(
            "token",
            f"the secret from {token.origin} must have {SHORTEST} or more characters, all of them "
            "ASCII and none a blank; `openssl rand -hex 32` makes a good one",
        )
    return token
