"""Store in Redis or Valkey: a change reads, and writes if no other change came between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from lipsync_async._stores.server import Reading, ServerStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from redis.asyncio import Redis

    Client: TypeAlias = Redis

_CHANNEL = "lipsync"
_READ = """
local time = redis.call('TIME')
local found = redis.call('HMGET', KEYS[1], 'version', 'document')
return {time[1], time[2], found[1], found[2]}
"""
# A version is a new random text, so that one which was lost does not come again. A document that
# is not changed is deleted after one day. A user who may not publish may change it all the same.
_SWAP = f"""
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'document', ARGV[3])
redis.call('PEXPIRE', KEYS[1], 86400000)
if ARGV[4] == '1' then redis.pcall('PUBLISH', '{_CHANNEL}', KEYS[1]) end
return 1
"""


class RedisAccountStore(ServerStore[Any]):
    """Account store in Redis or Valkey; needs the extra `redis`.

    The server's clock counts. A document that is not changed for one day is deleted. A server
    that loses its state, such as one that is restarted and saves nothing, costs some seconds in
    which no job is created.

    Args:
        url: The server's address: `redis://user:password@host:6379/0`, `rediss://...` with TLS,
            or `unix:///path/of/a/socket?db=0`.

    Raises:
        ConfigurationError: It is no such address.

    """

    SCHEMES: ClassVar[tuple[str, ...]] = ("redis", "rediss", "unix")
    _SERVER, _EXAMPLE, _EXTRA = "Redis", "redis://:password@host:6379/0", "redis"

    async def _connect(self) -> Client:
        try:
            from redis.asyncio import Redis  # noqa: PLC0415 - an extra
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
        except ImportError as error:
            raise self._missing(error) from error
        # A write that is sent again would be refused, though the first one has worked.
        once, limit = Retry(NoBackoff(), 0), self._LIMIT
        # It connects when it is used.
        return Redis.from_url(
            self._url.revealed, socket_timeout=limit, socket_connect_timeout=limit, retry=once
        )

    def _abort(self, connection: Client) -> None:
        """Leave it to the client, which closes a connection whose task is cancelled."""

    async def _close(self, connection: Client) -> None:
        await connection.aclose()

    def _is_lost(self, error: Exception) -> bool:
        from redis.exceptions import ConnectionError as Lost, TimeoutError as Late  # noqa: PLC0415

        return isinstance(error, Lost | Late | OSError)

    async def _read(self, connection: Client, name: str) -> Reading:
        read = connection.register_script(_READ)
        seconds, micros, version, document = await read(keys=[name])
        return Reading(document, int(seconds) + int(micros) / 1e6, version or b"")

    async def _write(
        self, connection: Client, name: str, read: Reading, document: bytes | None, *, tells: bool
    ) -> bool:
        if document is None:
            return True
        swap = connection.register_script(_SWAP)
        args = (read.version, os.urandom(16), document, int(tells))
        return bool(await swap(keys=[name], args=args))

    async def _news(self, connection: Client) -> AsyncGenerator[str | None, None]:
        async with connection.pubsub() as news:
            await news.subscribe(_CHANNEL)
            while (heard := await news.get_message(timeout=self._QUIET)) is not None:
                yield heard["data"].decode() if heard["type"] == "message" else None
