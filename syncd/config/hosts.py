"""Can this be a server's name or address?"""

import ipaddress
import re
import urllib.parse

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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
