"""Which service, with which key, by which way: arguments first, then the environment."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

import attrs

from lipsync_async._enums import __version__
from lipsync_async._logic.secrecy import Headers, Secret, kind_of
from lipsync_async._logic.validation import exact, shown, survived
from lipsync_async.errors import in_words

_PORTS = {"http": 80, "https": 443}
_PROXY_ADVICE = (
    "Write it like 'http://proxy.example:3128', or with 'user:password@' before the host, both "
    "percent-encoded"
)


@attrs.frozen(slots=True)
class Proxy:
    """One proxy."""

    url: str  # without user name and password
    origin: str  # what has named it: an argument or a variable
    authorization: Secret | None = None  # the header that authorizes its users
    problem: str | None = None  # why it cannot be used


@attrs.frozen(slots=True)
class Proxies:
    """Proxies by scheme, and the hosts that need none."""

    by_scheme: Mapping[str, Proxy] = attrs.field(factory=dict)
    # The entries of `NO_PROXY`; `None`: every address goes through a proxy.
    bypassed: tuple[str, ...] | None = ()

    def way_to(self, url: str) -> Proxy | None:
        """Return the proxy through which an address is reached; `None`: it is reached directly."""
        if not self.by_scheme:
            return None
        parts = urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme)
        if proxy is None or self.bypassed is None:
            return proxy
        host, port = _plain_host(parts.hostname or ""), str(parts.port or _PORTS[parts.scheme])
        # A name that ends in `.localhost` is this machine for what is no secret.
        is_bypassed = is_loopback(host) or host.endswith(".localhost")
        is_bypassed = is_bypassed or any(_covers(entry, host, port) for entry in self.bypassed)
        return None if is_bypassed else proxy


def proxies_from(argument: object, environment: Mapping[str, str]) -> tuple[Proxies, list[str]]:
    """Return the proxies, and what is wrong with the argument or a variable."""
    if argument is not None:
        return _one_for_all(argument)
    told: dict[str, tuple[str, str]] = {}
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for each in (name.upper(), name):  # in lower case it takes precedence
            # A web server sets HTTP_PROXY from a header that any visitor may send ("httpoxy").
            is_header = each == "HTTP_PROXY" and "REQUEST_METHOD" in environment
            if each in environment and not is_header:
                told[name] = each, environment[each]
    by_scheme: dict[str, Proxy] = {}
    for scheme in _PORTS:
        name, text = told.get(f"{scheme}_proxy") or told.get("all_proxy") or ("", "")
        if text.strip():
            by_scheme[scheme] = _read(text, name)
    _, text = told.get("no_proxy", ("", ""))
    return Proxies(by_scheme, tuple(re.findall(r"[^\s,;]+", text.lower()))), []


def _one_for_all(argument: object) -> tuple[Proxies, list[str]]:
    if not isinstance(argument, str):
        return Proxies(), [f"proxy must be text, not {kind_of(argument)}. {_PROXY_ADVICE}"]
    if not argument.strip():
        return Proxies(), []
    proxy = _read(argument, "proxy")
    problems = [] if proxy.problem is None else [proxy.problem]
    return Proxies(dict.fromkeys(_PORTS, proxy), None), problems


def is_loopback(host: str | None) -> bool:
    """Tell whether a URL's host is this machine, whatever a name server says."""
    if host is None or host == "localhost":
        return host is not None
    address = _address_of(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback


def _read(text: str, origin: str) -> Proxy:
    """Read a proxy's address; a host alone will do."""
    text = text.strip()
    if "://" not in text:
        text = f"http://{text}"
    if text.lower().startswith("socks"):
        problem = (
            f"{origin} names a SOCKS proxy, which aiohttp does not speak to. Name an http proxy, "
            "or pass session= with a connector that does (such as aiohttp-socks has)"
        )
        return Proxy("", origin, problem=problem)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        is_fit = bool(host) and port != 0 and parts.scheme in _PORTS
    except ValueError:
        is_fit = False
    if not is_fit or not text.isascii() or not text.isprintable() or " " in text:
        # It is not repeated, for it may hold a password.
        problem = f"{origin} is no http(s) address of a proxy. {_PROXY_ADVICE}"
        return Proxy("", origin, problem=problem)
    if parts.path.strip("/") or parts.query or parts.fragment:
        problem = f"{origin} names a path; a proxy's address ends with its port. {_PROXY_ADVICE}"
        return Proxy("", origin, problem=problem)
    place = f"[{host}]" if ":" in (host or "") else host
    url = f"{parts.scheme}://{place}" + (f":{port}" if port else "")
    if parts.username is None and parts.password is None:
        return Proxy(url, origin)
    users = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return Proxy(url, origin, Secret(f"Basic {b64encode(users.encode()).decode()}"))


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
    address = _address_of(host)
    if address is not None:
        try:
            return address in ip_network(name, strict=False)
        except ValueError:
            return False
    name = _plain_host(name.removeprefix("*").lstrip("."))
    return bool(name) and (host == name or host.endswith(f".{name}"))


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


def _address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is; `None`: it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


DEFAULT_BASE_URL = "https://api.sync.so"  # contract, header
# What the sandbox's own keys begin with: they open nothing but a sandbox.
_SANDBOX_KEY = "sandbox-"
# A path of the API that stands at the end of a base address by mistake.
_API_PATH = re.compile(r"/v2(/.*)?$", re.IGNORECASE)
_NO_KEY = (
    "There is no API key. Pass api_key= or set SYNC_API_KEY; to work without one, start the local "
    "sandbox (python -m lipsync_async.sandbox) and use what it prints"
)
_UNFIT_KEY = "The API key holds spaces, line ends or characters that no key has. Copy it again"
_ADVICE = "Pass base_url= (or set SYNC_BASE_URL) like 'https://api.sync.so'"
# A host of digits and dots alone is an address; other forms than the usual one are refused
# by aiohttp, and would be read in different ways.
_LIKE_AN_ADDRESS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]*))*\.?", re.IGNORECASE)
# The names of header fields and of what a user agent is made of (RFC 9110 section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Fields that the client or HTTP itself sets, or that would break a request.
_OWN_FIELDS = frozenset(
    {
        "x-api-key",
        "idempotency-key",
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "proxy-authorization",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# What the client calls itself.
OWN_NAME = f"lipsync-async/{__version__}"


@attrs.frozen(slots=True)
class Config:
    """Where requests go, what authorizes them, and how they get there."""

    base_url: str
    api_key: Secret
    proxies: Proxies = attrs.field(factory=Proxies)
    headers: Headers = attrs.field(default=Headers({}))  # to the service, besides
    user_agent: str = OWN_NAME


_NO_CONFIG = Config("", Secret(""))


def settle(
    api_key: object,
    base_url: object,
    environment: Mapping[str, str],
    *,
    proxy: object = None,
    headers: object = None,
    user_agent: object = None,
) -> tuple[Config, list[str]]:
    """Settle what all requests have in common.

    Problems are returned and not raised, so that no frame of this function, with the key
    among its variables, is in a traceback.
    """
    config = _NO_CONFIG
    try:
        key = environment.get("SYNC_API_KEY", "") if api_key is None else api_key
        url = environment.get("SYNC_BASE_URL") or DEFAULT_BASE_URL if base_url is None else base_url
        # Of a member of an enumeration of texts, Python would take the name.
        key, url, proxy, user_agent = map(exact, (key, url, proxy, user_agent))
        proxies, proxy_problems = proxies_from(proxy, environment)
        found: list[str | None] = []
        if not isinstance(key, str):
            found.append(f"api_key must be text, not {kind_of(key)}")
        elif not key:
            found.append(_NO_KEY)
        elif not key.isascii() or not key.isprintable() or " " in key:
            found.append(_UNFIT_KEY)
        found += [_url_problem(url), *proxy_problems]
        if headers is not None:
            found += _header_problems(headers)
        if user_agent is not None:
            found.append(_agent_problem(user_agent))
        problems = [*filter(None, found)]
        if not problems:
            named = headers if isinstance(headers, Mapping) else {}
            fields = zip(map(str.lower, named), map(str.__str__, named.values()), strict=True)
            parts = urlsplit(str(url))
            config = Config(
                parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/"),
                Secret(str(key)),
                proxies,
                Headers(dict(fields)),
                OWN_NAME if user_agent is None else f"{OWN_NAME} {user_agent}",
            )
            problems += _way_problems(config)
    except Exception as error:  # noqa: BLE001 - arguments of any class are looked at
        problems = [f"An argument cannot be read, for looking at it raised {in_words(error)}"]
    return config, problems


@survived("settings")
def setting_problems(
    policies: Mapping[str, tuple[object, type]],
    on_response: object,
    ssl_context: object = None,
    max_connections: object = None,
) -> list[str]:
    """Return what is wrong with a client's settings; found out later, it might cost a job."""
    problems: list[str] = []
    for name, (value, kind) in policies.items():
        if not isinstance(value, kind):
            problems.append(f"{name} must be a {kind.__name__}, not {shown(value)}")
    if on_response is not None and not callable(on_response):
        problems.append(f"on_response must be callable, not {shown(on_response)}")
    if ssl_context is not None:
        # Here and not above: it takes time to load, and aiohttp will have loaded it by then.
        from ssl import SSLContext  # noqa: PLC0415

        if not isinstance(ssl_context, SSLContext):
            kind = type(ssl_context)
            problems.append(
                f"ssl_context must be an ssl.SSLContext, not {kind.__name__}. Build one by "
                "ssl.create_default_context(cafile=...)"
            )
    is_number = isinstance(max_connections, int) and not isinstance(max_connections, bool)
    if max_connections is not None and not (is_number and max_connections >= 1):  # type: ignore[operator]
        problems.append(
            f"max_connections must be a whole number from 1, not {shown(max_connections)}"
        )
    return problems


@survived("transport")
def transport_problems(transport: object) -> list[str]:
    """Return what is wrong with an own transport; found out later, it might cost a job."""
    methods = ("now", "sleep", "hold", "send", "stream", "aclose")
    if all(callable(getattr(transport, method, None)) for method in methods):
        return []
    kind = type(transport).__name__
    return [f"transport must be one like that of a sandbox (sandbox.transport()), not {kind}"]


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return what decides whether two URLs are the same server: scheme, host and port."""
    parts = urlsplit(url)
    # The dot at a name's end only tells name servers that it is whole.
    host = parts.hostname.removesuffix(".") if parts.hostname else None
    return parts.scheme, host, parts.port or _PORTS.get(parts.scheme)


def service_at(base_url: str) -> str:
    """Return a service's address in one form, however clients write it."""
    scheme, host, port = origin(base_url)
    shown = f"[{host}]" if host is not None and ":" in host else host
    where = "" if port == _PORTS[scheme] else f":{port}"
    return f"{scheme}://{shown}{where}{urlsplit(base_url).path.rstrip('/')}"


def _url_problem(url: object) -> str | None:
    """Tell why this is no http(s) address, or not one that has the API below it."""
    if not isinstance(url, str):
        return f"base_url must be text, not {kind_of(url)}. {_ADVICE}"
    if "@" in url.partition("://")[2].partition("/")[0]:  # with a password, it is not repeated
        return f"base_url must not hold a user name or password. {_ADVICE}"
    parts, host, has_port = urlsplit(""), "", False
    with suppress(ValueError):
        parts = urlsplit(url)
        host = parts.hostname or ""
        has_port = parts.port != 0 and not parts.netloc.endswith(":")
    is_odd_number = _LIKE_AN_ADDRESS.fullmatch(host) is not None
    with suppress(ValueError):  # raised by a number that is no address
        ip_address(host)
        is_odd_number = False
    checks = {
        "holds a blank, a line end or another character that no address has": (
            not url.isprintable() or " " in url
        ),
        "has no scheme": "://" not in url,
        "is no http(s) address": parts.scheme not in _PORTS or not host or "\\" in url,
        "has no port between 1 and 65535 behind its colon": not has_port,
        "holds a query or a fragment, behind which no path can be put": "?" in url or "#" in url,
        "has a host that is not ASCII; write it as name servers know it ('xn--...')": (
            not parts.netloc.isascii()
        ),
        "has a path that is not ASCII; percent-encode it": not url.isascii(),
        "has a '.' or '..' in its path": not {".", ".."}.isdisjoint(unquote(parts.path).split("/")),
        "has a number for a host that is no usual address of four parts": is_odd_number,
    }
    if (found := _API_PATH.search(parts.path)) is not None:
        right = parts._replace(path=parts.path[: found.start()]).geturl()
        checks[f"ends with {found[0]!r}, which the client puts there; leave it out: {right!r}"] = (
            True
        )
    is_below = host == "api.sync.so" and parts.path.strip("/") != ""
    checks["names a path, but the service has its API at the top"] = is_below
    for words, is_wrong in checks.items():
        if is_wrong:
            return f"base_url {shown(url)} {words}. {_ADVICE}"
    return None


def _way_problems(config: Config) -> Iterator[str]:
    """Yield why the key cannot be sent to the service, or by the way that leads there."""
    parts = urlsplit(config.base_url)
    way = config.proxies.way_to(config.base_url)
    if way is not None and way.problem is not None:
        yield way.problem
    if parts.scheme == "https" or config.api_key.revealed.startswith(_SANDBOX_KEY):
        return
    if not is_loopback(parts.hostname):
        yield (
            f"base_url {config.base_url!r} would send the API key unencrypted. Use https, or http "
            "to a loopback host; only a sandbox's own key (sandbox-...) may go anywhere by http"
        )
    elif way and way.url.startswith("http:") and not is_loopback(urlsplit(way.url).hostname):
        yield (
            f"The proxy {way.url} would get the API key unencrypted, because base_url "
            f"{config.base_url!r} is plain http. Use https, or pass proxy=''"
        )


@survived("request")
def extra_problems(headers: object, query: object, *, allowed: Container[str] = ()) -> list[str]:
    """Return what is wrong with header fields and query parameters of single calls."""
    problems = [] if headers is None else list(_header_problems(headers, allowed))
    if query is not None and not isinstance(query, Mapping):
        problems.append(f"query must be a mapping of names to values, not {kind_of(query)}")
    elif query is not None:
        problems += [
            f"query: {shown(name)} must be text, and its value as well"
            for name, value in query.items()
            if not (isinstance(name, str) and isinstance(value, str))
        ]
    return problems


def _header_problems(headers: object, allowed: Container[str] = ()) -> Iterator[str]:
    if not isinstance(headers, Mapping):
        yield f"headers must be a mapping of names to values, not {kind_of(headers)}"
        return
    seen: set[str] = set()
    for name, value in headers.items():
        wrong = _wrong_field(name, value, allowed)
        if isinstance(name, str):
            if wrong is None and name.lower() in seen:
                wrong = "is there twice"
            seen.add(name.lower())
        if wrong is not None:
            yield f"headers: {shown(name)} {wrong}"


def _wrong_field(name: object, value: object, allowed: Container[str]) -> str | None:
    """Tell what is wrong, without showing the value: it may be a gateway's secret."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        return "is no name of a header field"
    if name.lower() in _OWN_FIELDS and name.lower() not in allowed:
        return "is set by the client itself, or by HTTP; leave it out"
    if name.lower() == "user-agent":
        return "would take the place of the client's own name; pass user_agent="
    if not isinstance(value, str):
        return f"must have a text for its value, not {type(value).__name__}"
    if not _is_field_value(value):
        return "must have printable ASCII for its value, without blanks at the ends"
    return None


def _agent_problem(user_agent: object) -> str | None:
    if not isinstance(user_agent, str):
        return f"user_agent must be text, not {type(user_agent).__name__}"
    if not user_agent or not _is_field_value(user_agent):
        return f"user_agent must be printable ASCII like 'my-program/1.0', not {shown(user_agent)}"
    return None


def _is_field_value(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()
