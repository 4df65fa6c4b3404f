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
        return _is_ip(host)
    return len(host) <= 253 and all(map(LABEL.fullmatch, labels))


def is_address(url: str) -> bool:
    """An http or https address of something on a server, in ASCII and without blanks."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and is_host(parts.hostname or "")
        good = good and parts.port != 0  # raises for one that is no number
    except ValueError:
        return False
    # In brackets there is an address and nothing else, but for the port.
    server = parts.netloc.rpartition("@")[2]
    good = good and bool(re.fullmatch(r"(\[[^][]*:[^][]*\]|[^][:]*)(:\d*)?", server))
    return good and url.isascii() and url.isprintable() and " " not in url


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
    if not is_address(address):
        allowed = 'an http or https address with a host, such as "https://api.example.com/v1"'
        node.wrong(key, address, allowed)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
