"""The async client: where the account's settings and resources come together."""

from __future__ import annotations

import os
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._account import Account, find_account
from lipsync_async._async.generations import AsyncGenerations
from lipsync_async._async.models import AsyncModels
from lipsync_async._exchange import Exchange, Settings
from lipsync_async._fleet.berths import Berths
from lipsync_async._loops import PerLoop
from lipsync_async._rules import config, validation
from lipsync_async._values.policies import Limits, PollPolicy, RetryPolicy
from lipsync_async._watch.poller import Poller
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from lipsync_async._transport.protocol import Transport
    from lipsync_async._values.messages import Response


class _Unset(Enum):
    """Mark an argument that was not given, where `None` has a meaning."""

    UNSET = auto()


_UNSET = _Unset.UNSET


class AsyncClient:
    """Speak to the sync.so API from asyncio code.

    Use it as `async with AsyncClient() as client`, or call `aclose` in the end. One client
    serves any number of tasks of one event loop at once. It may be built anywhere, and
    used by several `asyncio.run` calls in a row.

    Args:
        api_key: The account's key; `None`: the environment's `SYNC_API_KEY`, read now.
        base_url: Where the service is; `None`: the environment's `SYNC_BASE_URL`, or
            `https://api.sync.so`. Plain http only to a loopback host.
        timeout: Seconds for one try of one request (uploads get a second more for each
            125,000 bytes of file); `None`: no limit.
        retry: How failed requests are tried again.
        poll: How waiting looks after a job.
        limits: How many requests may be sent in a minute, and how many jobs run at once;
            `None`: as every plan allows, 60 creates and 600 others, and as many jobs as the
            service turns out to run. All clients of a process that use the same key and
            address share them.
        on_response: Called, and awaited if need be, with each raw answer (status,
            headers, body), retries and looks included.
        transport: What carries the requests; `None`: sockets. The sandbox has one that
            runs in memory, on a virtual clock.

    Raises:
        ConfigurationError: There is no key, or an argument cannot be used.

    Example:
        `async with AsyncClient() as client: await client.generations.get(job_id)`

    Source: contract section 1.
    """

    generations: AsyncGenerations
    models: AsyncModels

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | None = 60.0,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        limits: Limits | None = None,
        on_response: Callable[[Response], object] | None = None,
        transport: Transport | None = None,
    ) -> None:
        settled = config.resolve(api_key, base_url, os.environ)
        limits = limits or Limits()
        _refuse(config.setting_problems({"limits": (limits, Limits)}, None))
        account: Callable[[], Account] = partial(find_account, settled)
        settings = Settings(
            timeout,
            retry or RetryPolicy(),
            poll or PollPolicy(),
            on_response,
        )
        if transport is None:
            # Here and not above: aiohttp takes 200 ms to import.
            from lipsync_async._transport.aiohttp import AiohttpTransport  # noqa: PLC0415

            transport = AiohttpTransport()
        else:
            # It may have a clock of its own, by which no other client's requests are counted.
            account = Account
        exchange = Exchange(transport, settled, account, limits)
        pollers = PerLoop(partial(Poller, exchange, limits.requests_per_minute))
        berths = PerLoop(partial(Berths, exchange))
        self._equip(exchange, settings, pollers, berths)

    def _equip(
        self,
        exchange: Exchange,
        settings: Settings,
        pollers: PerLoop[Poller],
        berths: PerLoop[Berths],
    ) -> None:
        policies = {"retry": (settings.retry, RetryPolicy), "poll": (settings.poll, PollPolicy)}
        _refuse(validation.timeout_problems(settings.timeout))
        _refuse(config.setting_problems(policies, settings.on_response))
        self._exchange = exchange
        self._pollers = pollers
        self._berths = berths
        self._settings = settings
        self.generations = AsyncGenerations(exchange, settings, pollers, berths)
        self.models = AsyncModels(exchange, settings)

    def with_options(
        self,
        *,
        timeout: float | _Unset | None = _UNSET,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        on_response: Callable[[Response], object] | None = None,
    ) -> Self:
        """Return a view of this client with other settings.

        The view shares connections, account and poller with this client; closing one
        closes both. When many wait at once, a look serves all, and goes by the settings of
        whichever of them makes it.

        Args:
            timeout: Seconds for one try of one request; `None`: no limit. Left out: as here.
            retry: How failed requests are tried again; `None`: as here.
            poll: How waiting looks after a job; `None`: as here.
            on_response: Called, and awaited if need be, with each raw answer; `None`: as
                here.

        Raises:
            ConfigurationError: An argument cannot be used.

        Example:
            `client.with_options(timeout=5.0, retry=RetryPolicy(attempts=1))`

        """
        current = self._settings
        settings = Settings(
            timeout=current.timeout if timeout is _UNSET else timeout,
            retry=retry or current.retry,
            poll=poll or current.poll,
            on_response=on_response or current.on_response,
        )
        view = object.__new__(type(self))
        view._equip(self._exchange, settings, self._pollers, self._berths)
        return view

    async def aclose(self) -> None:
        """Close all connections; closing twice is fine. The client cannot be used again."""
        await self._exchange.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        exchange = self._exchange
        return (
            f"<{type(self).__name__} base_url={exchange.base_url!r} in_flight={exchange.in_flight}>"
        )


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigurationError(f"{'; '.join(problems)}.")
