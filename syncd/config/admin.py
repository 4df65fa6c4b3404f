"""What does `[admin]` mean: where the side door listens, and who may come in?"""

import ipaddress
import re
from typing import Any

from syncd.config.hosts import is_host
from syncd.config.reading import Node, kind
from syncd.config.settings import UNRESOLVED, AdminSettings, Secret

SHORTEST = 16  # characters of a token; nobody guesses one of so many
LONGEST_PATH = 107  # bytes of a unix socket's path, which the kernel takes

LISTEN = (
    'an address and a port, such as "127.0.0.1:8321" or "[::1]:8321", or a unix socket, such as '
    '"unix:/run/syncd/admin.sock"'
)
NAME = re.compile(r"([^:\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def read_admin(node: Node) -> AdminSettings | None:
    """The table `[admin]`; None if there is none, or it is of no use."""
    table = node.table("admin")
    if table is None:
        return None
    listen = table.get("listen", AdminSettings().listen, LISTEN, _listen)
    token = _token(table)
    hosts = table.texts("hosts", ())
    for host in hosts:
        if not _is_name(host):
            table.wrong("hosts", host, 'names as a browser shows them, such as "syncd.example.com"')
    table.finish()
    settings = AdminSettings(listen=listen, token=token, hosts=tuple(h.lower() for h in hosts))
    if not settings.local and token is None and "token" not in table.values:
        table.fault(
            "token",
            "missing; where others than this host's own users reach `listen`, it is needed for "
            "reading, too",
        )
    return settings


def _listen(value: Any) -> str | None:
    if not isinstance(value, str) or not value.isprintable():
        return None
    if value.startswith("unix:"):
        path = value[5:]
        good = path.startswith("/") and not path.endswith("/")
        return value if good and len(path.encode()) <= LONGEST_PATH else None
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
        return None
    if host == "localhost":
        return value
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    # An IPv6 address gets brackets: else nobody sees where its port begins.
    return value if (address.version == 6) == (bare != host) else None


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
