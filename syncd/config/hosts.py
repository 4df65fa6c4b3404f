"""Can this be a server's name, or the address of something on it?"""

import ipaddress
import re
import urllib.parse

from syncd.config.reading import Node

LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def is_host(host: str) -> bool:
    """A name of letters, figures, dashes and dots, or an IP address, without brackets."""
    labels = host.removesuffix(".").split(".")
    if ":" in host or labels[-1].isdigit():
        return _is_address(host)
    return len(host) <= 253 and all(map(LABEL.fullmatch, labels))


def server_of(url: str) -> tuple[str, int]:
    """Host and port of an address that the config took: what its requests go to."""
    parts = urllib.parse.urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def check_address(node: Node, key: str, address: str) -> None:
    """Note what is wrong with the address of a server, which may have a path."""
    if "@" in address:
        # Not shown: it may hold a credential.
        node.fault(
            key,
            "it holds an '@': if these are credentials, they belong into `auth`, by reference; "
            "in a path, write %40",
        )
        return
    if "?" in address or "#" in address:
        # Not shown either: some APIs take their key there.
        node.fault(key, "it can't hold a '?' or a '#'; a query goes into a stream's params")
        return
    try:
        parts = urllib.parse.urlsplit(address)
        good = parts.scheme in ("http", "https") and is_host(parts.hostname or "")
        good = good and parts.port != 0  # raises for one that is no number
        # In brackets there is an address and nothing else, but for the port.
        good = good and bool(re.fullmatch(r"(\[[^][]*:[^][]*\]|[^][:]*)(:\d*)?", parts.netloc))
    except ValueError:
        good = False
    if not good or not address.isascii() or not address.isprintable() or " " in address:
        allowed = 'an http or https address with a host, such as "https://api.example.com/v1"'
        node.wrong(key, address, allowed)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
