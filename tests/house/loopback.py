"""Tell this machine from others, as the guards of `tests/conftest.py` need it."""

import ipaddress
from typing import Any


def stranger(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the other machine that an audit event, by name and arguments, reaches for."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return None
    name = host.decode() if isinstance(host, bytes) else host
    return None if name is None or _is_loopback(name) else name


def _is_loopback(name: str) -> bool:
    if name in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
