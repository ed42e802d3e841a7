"""Which proxy a request goes through: an argument first, then the environment.

The environment is read as curl reads it: `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` name a
proxy, `NO_PROXY` who is reached without one; in lower case they come first. This machine
itself is never reached through a proxy of the environment, or a local sandbox would be
asked for elsewhere.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from lipsync_async._rules.secrecy import Secret, kind_of

_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_PROXY_ADVICE = (
    "Write it like 'http://proxy.example:3128', or with 'user:password@' before the host, both "
    "percent-encoded"
)


@attrs.frozen(slots=True)
class Proxy:
    """Hold one proxy.

    Attributes:
        url: Its address, without user name and password.
        origin: What has named it: an argument or a variable.
        authorization: The header that authorizes its users.
        problem: Why it cannot be used.

    """

    url: str
    origin: str
    authorization: Secret | None = None
    problem: str | None = None


@attrs.frozen(slots=True)
class Proxies:
    """Hold what decides the way to each address.

    Attributes:
        by_scheme: The proxy for each scheme of an address.
        bypassed: The entries of `NO_PROXY`; `None`: every address goes through a proxy.

    """

    by_scheme: Mapping[str, Proxy] = attrs.field(factory=dict)
    bypassed: tuple[str, ...] | None = ()

    def way_to(self, url: str) -> Proxy | None:
        """Return the proxy through which an address is reached; `None`: it is reached directly."""
        if not self.by_scheme:
            return None
        parts = urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme)
        if proxy is None or (self.bypassed is not None and self._is_bypassed(parts)):
            return None
        return proxy

    def _is_bypassed(self, parts: SplitResult) -> bool:
        host = _plain_host(parts.hostname or "")
        if is_this_machine(host):
            return True
        port = str(parts.port or _PORTS.get(parts.scheme))
        return any(_covers(entry, host, port) for entry in self.bypassed or ())


def proxies_from(
    argument: object,
    environment: Mapping[str, str],
) -> tuple[Proxies, list[str]]:
    """Return the proxies, and what is wrong with the argument or a variable.

    Args:
        argument: An address for all requests, this machine's included; an empty text: no
            proxy at all; `None`: as the environment says.
        environment: The environment variables as they are now.

    """
    if argument is None:
        return _from_environment(environment)
    if not isinstance(argument, str):
        return Proxies(), [f"proxy must be text, not {kind_of(argument)}. {_PROXY_ADVICE}"]
    if not argument.strip():
        return Proxies(), []
    proxy = _read(argument, "proxy")
    problems = [] if proxy.problem is None else [proxy.problem]
    return Proxies(dict.fromkeys(_SCHEMES, proxy), None), problems


def is_this_machine(host: str | None) -> bool:
    """Tell whether a host without doubt is this machine, for what is no secret."""
    return is_loopback(host) or (host or "").endswith(".localhost")


def is_loopback(host: str | None) -> bool:
    """Tell whether a URL's host is this machine, whatever a name server says."""
    if host is None or host == "localhost":
        return host is not None
    address = address_of(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback


def _from_environment(environment: Mapping[str, str]) -> tuple[Proxies, list[str]]:
    by_scheme: dict[str, Proxy] = {}
    for scheme in _SCHEMES:
        for name in (f"{scheme}_proxy", "all_proxy"):
            told = _variable(name, environment)
            if told is not None:
                if told[1].strip():
                    by_scheme[scheme] = _read(told[1], told[0])
                break
    told = _variable("no_proxy", environment)
    entries = () if told is None else tuple(re.findall(r"[^\s,;]+", told[1].lower()))
    return Proxies(by_scheme, entries), []


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return a variable that is set, with its name; in lower case it comes first."""
    names = [name, name.upper()]
    if name == "http_proxy" and "REQUEST_METHOD" in environment:
        # A web server sets HTTP_PROXY from a header that any visitor may send ("httpoxy").
        names.remove("HTTP_PROXY")
    return next(((each, environment[each]) for each in names if each in environment), None)


def _read(text: str, origin: str) -> Proxy:
    """Read a proxy's address; a host alone will do."""
    text = text.strip()
    if "://" not in text:
        text = f"http://{text}"
    scheme = text.partition("://")[0].lower()
    if scheme.startswith("socks"):
        problem = (
            f"{origin} names a SOCKS proxy, which aiohttp does not speak to. Name an http proxy, "
            "or pass session= with a connector that does (such as aiohttp-socks has)"
        )
        return Proxy("", origin, problem=problem)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        is_fit = bool(host) and port != 0 and parts.scheme in _SCHEMES
    except ValueError:
        is_fit = False
    if not is_fit or not text.isascii() or not text.isprintable() or " " in text:
        # It is not repeated, for it may hold a password.
        return Proxy("", origin, problem=f"{origin} is no http(s) address of a proxy. {_PROXY_ADVICE}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        problem = f"{origin} names a path; a proxy's address ends with its port. {_PROXY_ADVICE}"
        return Proxy("", origin, problem=problem)
    place = f"[{host}]" if ":" in (host or "") else host
    url = f"{parts.scheme}://{place}" + (f":{port}" if port else "")
    return Proxy(url, origin, _authorization(parts))


def _authorization(parts: SplitResult) -> Secret | None:
    if parts.username is None and parts.password is None:
        return None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Secret(f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}")


def _covers(entry: str, host: str, port: str) -> bool:
    """Tell whether an entry of `NO_PROXY` is about a host.

    It names all hosts (`*`), an address, a range of addresses (`10.0.0.0/8`), or a name with
    all that ends in it; with a port, only that one.
    """
    if entry == "*":
        return True
    name, wanted = _split_port(entry)
    if wanted is not None and wanted != port:
        return False
    address = address_of(host)
    if address is not None:
        return _holds(name, address)
    name = _plain_host(name.removeprefix("*").lstrip("."))
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _holds(name: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str | None]:
    """Take a port off an entry, be it a name or an address of either kind."""
    if entry.startswith("["):
        inner, _, rest = entry[1:].partition("]")
        return inner, rest.removeprefix(":") or None
    name, colon, port = entry.rpartition(":")
    if not colon or ":" in name or not port.isdecimal():  # an address of IPv6 has no port here
        return entry, None
    return name, port


def _plain_host(host: str) -> str:
    """Return a host as it is compared: in lower case, in ASCII, without the root's dot."""
    host = host.lower().rstrip(".")
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is; `None`: it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
