"""The sandbox as an HTTP client: it fetches inputs and posts webhooks.

A request names any URL it likes, and the sandbox runs on somebody's machine. So only
loopback addresses and hosts that were allowed by name are asked, at every hop of a
redirect, for so many bytes and so many seconds. No name is looked up to decide: a host
that is neither written as a loopback address nor allowed is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import contextmanager
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, BinaryIO

import aiohttp
import anyio
import anyio.to_thread
import attrs
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_logger = logging.getLogger("lipsync_async.sandbox")

_IS_ENCODED = re.compile(r"[!-~]+")  # ASCII that is seen; else yarl has to encode it
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 262_144  # each chunk is one hop to a writing thread
_DELIVERY_SECONDS = 10.0  # a receiver is to answer fast


@attrs.define(slots=True, eq=False)
class FetchError(Exception):
    """Raised when media could not be fetched, or may not be."""

    reason: str  # may be shown to the caller of the API


def _parsed(url: str) -> URL:
    """Read a URL without writing it anew: a signed address is valid in its own spelling only."""
    return URL(url, encoded=_IS_ENCODED.fullmatch(url) is not None)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its canonical spelling only (not `127.1`)."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return address.is_loopback
    return address == IPv6Address("::1")


@attrs.frozen(slots=True)
class Delivery:
    """One POST to make, after so many seconds of the sandbox's clock."""

    url: str
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    delay: float = 0.0


@attrs.define(slots=True)
class OutboundHttp:
    """The sandbox's HTTP client; its session is made when first needed."""

    _allowed_hosts: frozenset[str]
    _max_bytes: int
    _seconds: float = 60.0
    _session: aiohttp.ClientSession | None = attrs.field(default=None, init=False)

    def refusal(self, url: str) -> str | None:
        """Return why a URL may not be asked; `None`: it may.

        The URL is read by the same parser that the request is sent with, so the two cannot
        take different parts of it for the host.
        """
        try:
            parsed = _parsed(url)
            port = parsed.port
        except ValueError as error:
            return f"it is no URL ({error})"
        if parsed.scheme not in {"http", "https"}:
            return "only http and https URLs are fetched"
        if parsed.raw_host is None or port is None:
            return "it names no host"
        if parsed.raw_user is not None or parsed.raw_password is not None:
            return "it holds a user name or a password"
        is_allowed = parsed.raw_host.lower() in {host.lower() for host in self._allowed_hosts}
        if is_allowed or is_loopback(parsed.raw_host):
            return None
        return f"host {parsed.raw_host!r} is neither loopback nor allowed"

    async def fetch(self, url: str, target: Path) -> None:
        """Write what a URL holds to a file; no file is left where that fails."""
        try:
            with anyio.fail_after(self._seconds):
                await self._fetch(url, target)
        except TimeoutError:
            raise FetchError(f"{url} was not there within {self._seconds:g} s") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            reason = str(error) or type(error).__name__
            raise FetchError(f"{url} cannot be fetched: {reason}") from error

    async def deliver(self, delivery: Delivery) -> None:
        """Make one POST, once: no retries are documented."""
        reason = self.refusal(delivery.url)
        if reason is None:
            try:
                async with self._open().post(
                    delivery.url,
                    data=delivery.body,
                    headers=delivery.headers,
                    timeout=aiohttp.ClientTimeout(total=_DELIVERY_SECONDS),
                    allow_redirects=False,
                ) as answer:
                    reason = None if answer.ok else f"it was answered {answer.status}"
            except (aiohttp.ClientError, OSError) as error:
                reason = str(error) or type(error).__name__
        if reason is not None:
            _logger.warning("webhook to %s was not delivered: %s", delivery.url, reason)

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def _fetch(self, url: str, target: Path) -> None:
        """Follow redirects by hand, so that every hop passes the same gate."""
        for _ in range(_MOST_REDIRECTS + 1):
            reason = self.refusal(url)
            if reason is not None:
                raise FetchError(f"{url} may not be fetched: {reason}")
            async with self._open().get(
                _parsed(url),
                allow_redirects=False,
                headers={"Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                if answer.status not in _REDIRECTS:
                    await self._store(answer, target)
                    return
                url = _next_hop(answer)
        raise FetchError(f"{url} is more than {_MOST_REDIRECTS} redirects away")

    async def _store(self, answer: aiohttp.ClientResponse, target: Path) -> None:
        if answer.status != HTTPStatus.OK:
            raise FetchError(f"{answer.url} answered {answer.status}")
        too_large = FetchError(f"{answer.url} is larger than {self._max_bytes} bytes")
        if (answer.content_length or 0) > self._max_bytes:
            raise too_large
        size = 0
        with _new_file(target) as file:
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                # Counted as it comes, for a length may be missing or a lie.
                if size > self._max_bytes:
                    raise too_large
                await anyio.to_thread.run_sync(file.write, chunk)


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file to write, that is removed where the block fails or is cancelled.

    It is not AnyIO's own file, which stays open when it is cancelled.
    """
    try:
        with target.open("wb") as file:
            yield file
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _next_hop(answer: aiohttp.ClientResponse) -> str:
    location = answer.headers.get("Location")
    if location is None:
        raise FetchError(f"{answer.url} redirects to nowhere")
    try:
        return str(answer.url.join(_parsed(location)))
    except ValueError as error:
        raise FetchError(f"{answer.url} redirects to what is no URL ({error})") from None
