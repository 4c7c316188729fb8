"""Names and addresses of machines, as they stand in a request."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def plain_host(host: str) -> str:
    """A host without its port, in lower case, without the brackets of an address; empty for what is none.

    >>> plain_host("[::1]:8000"), plain_host("Server.example.:80"), plain_host("a b")
    ('::1', 'server.example', '')
    """
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # an impossible one raises
        name = (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""
    return name if parts.netloc == host and "@" not in host and not any(map(str.isspace, name)) else ""


def is_address(name: str) -> bool:
    """Whether a host is an address rather than a name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether a host can be nothing but this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("10.0.0.1"), is_loopback("localhost.evil")
    (True, True, False, False)
    """
    return name == "localhost" or (is_address(name) and ip_address(name).is_loopback)
