"""Which service, with which key: arguments first, then the environment."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import attrs

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BASE_URL = "https://api.sync.so"  # contract, header

# Paths are put behind a base URL, so it can have no query; the rest is in no URL.
_UNFIT = re.compile(r"[?#\\\s\x00-\x1f\x7f]")


class Secret:
    """Hold the API key where no repr, log line or pickle shows it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the key itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> str:
        message = "an API key is not pickled; build a new client where it is needed"
        raise TypeError(message)


@attrs.frozen(slots=True)
class Config:
    """Hold where requests go and what authorizes them."""

    base_url: str
    api_key: Secret


def resolve(
    api_key: str | None,
    base_url: str | None,
    environment: Mapping[str, str],
) -> Config:
    """Settle key and base URL.

    Args:
        api_key: `None`: take `SYNC_API_KEY`.
        base_url: `None`: take `SYNC_BASE_URL`, or the service's own.
        environment: The environment variables as they are now.

    Raises:
        ConfigurationError: There is no key, or one of the two cannot be used.

    """
    key = environment.get("SYNC_API_KEY", "") if api_key is None else api_key
    url = environment.get("SYNC_BASE_URL") or DEFAULT_BASE_URL if base_url is None else base_url
    return Config(base_url=_checked_url(url), api_key=Secret(_checked_key(key)))


def setting_problems(
    policies: Mapping[str, tuple[object, type]],
    on_response: object,
) -> list[str]:
    """Return what is wrong with a client's settings; found out later, it might cost a job.

    Args:
        policies: Each setting with its class.
        on_response: What is to be called, or `None`.

    """
    problems = [
        f"{name} must be a {kind.__name__}, not {value!r}"
        for name, (value, kind) in policies.items()
        if not isinstance(value, kind)
    ]
    if on_response is not None and not callable(on_response):
        problems.append(f"on_response must be callable, not {on_response!r}")
    return problems


def is_loopback(host: str | None) -> bool:
    """Tell whether a URL's host is this machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name; only `localhost` is sure to be this machine
        return False


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return what decides whether two URLs are the same server: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise ConfigurationError(f"api_key must be text, not {type(key).__name__}.")
    if not key:
        raise ConfigurationError(
            "There is no API key. Pass api_key= or set SYNC_API_KEY; to work without one, start "
            "the local sandbox (python -m lipsync_async.sandbox) and use what it prints.",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            "The API key holds spaces, line ends or characters that no key has. Copy it again.",
        )
    return key


def _checked_url(url: object) -> str:
    advice = "Pass base_url= (or set SYNC_BASE_URL) like 'https://api.sync.so'."
    if not isinstance(url, str):
        raise ConfigurationError(f"base_url must be text, not {type(url).__name__}. {advice}")
    parts = _split(url)
    if parts is None:
        raise ConfigurationError(f"base_url {url!r} is no http(s) address. {advice}")
    if "@" in parts.netloc:
        raise ConfigurationError(f"base_url must not hold a user name or password. {advice}")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"base_url {url!r} would send the API key unencrypted. Use https, or http to a "
            "loopback host.",
        )
    return url.rstrip("/")


def _split(url: str) -> SplitResult | None:
    """Return the parts of an `http(s)` address, and `None` for anything else."""
    try:
        parts = urlsplit(url)
        has_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    is_fit = parts.scheme in {"http", "https"} and not _UNFIT.search(url)
    return parts if has_address and is_fit else None
