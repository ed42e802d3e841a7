"""The sandbox as a client: it fetches inputs and delivers webhooks, within its guards."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import aiohttp

from lipsync_async.sandbox.fetch import fetch, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async.sandbox.webhook_sender import Delivery

_logger = logging.getLogger("lipsync_async.sandbox")

_FETCH_SECONDS = 60.0
_DELIVERY_SECONDS = 10.0  # a receiver is to answer fast, contract section 10


class Outside:
    """Hold one session for all that leaves the sandbox, made when first needed.

    Args:
        allowed_hosts: Hosts besides loopback that may be asked.
        max_bytes: Most bytes of one fetched file.

    """

    def __init__(self, allowed_hosts: frozenset[str], max_bytes: int) -> None:
        """Open nothing yet."""
        self._allowed_hosts = allowed_hosts
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    def refusal(self, url: str) -> str | None:
        """Return why a URL may not be asked; `None`: it may."""
        return refusal(url, self._allowed_hosts)

    async def fetch(self, url: str, target: Path) -> None:
        """Write what a URL holds to a file.

        Raises:
            FetchError: It may not be fetched, or could not be.

        """
        await fetch(
            url,
            target,
            session=self._open(),
            allowed_hosts=self._allowed_hosts,
            max_bytes=self._max_bytes,
            timeout=_FETCH_SECONDS,
        )

    async def deliver(self, delivery: Delivery) -> None:
        """Make one POST, once: no retries are documented (contract section 10)."""
        reason = self.refusal(delivery.url)
        if reason is None:
            reason = await self._post(delivery)
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

    async def _post(self, delivery: Delivery) -> str | None:
        """Return why the POST failed, or `None`."""
        timeout = aiohttp.ClientTimeout(total=_DELIVERY_SECONDS)
        try:
            async with self._open().post(
                delivery.url,
                data=delivery.body,
                headers=delivery.headers,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                return None if answer.ok else f"it was answered {answer.status}"
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__
