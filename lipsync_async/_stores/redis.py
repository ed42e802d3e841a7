"""Account store in Redis or Valkey: a change reads, and writes if there was no other between."""

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
# A version is a new random text, so that the version of a lost document does not come again. A
# document is deleted one day after its last change. `pcall`: a user without the right to publish
# can change it.
_SWAP = f"""
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'document', ARGV[3])
redis.call('PEXPIRE', KEYS[1], 86400000)
if ARGV[4] == '1' then redis.pcall('PUBLISH', '{_CHANNEL}', KEYS[1]) end
return 1
"""


class RedisAccountStore(ServerStore[Any]):
    """Account store in Redis or Valkey; needs the extra `redis`.

    Only the server's clock counts. A document is deleted one day after its last change. If the
    server loses its documents, as at a restart without persistence, no job is created for about
    12 seconds.

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
        # A write that is sent again would be refused, although the first one has worked.
        once, limit = Retry(NoBackoff(), 0), self._LIMIT
        # It connects at its first command.
        return Redis.from_url(
            self._url.revealed, socket_timeout=limit, socket_connect_timeout=limit, retry=once
        )

    def _abort(self, connection: Client) -> None:
        """Do nothing: the client closes a connection whose task is cancelled."""

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

    async def _notifications(self, connection: Client) -> AsyncGenerator[str | None, None]:
        async with connection.pubsub() as channel:
            await channel.subscribe(_CHANNEL)
            while (note := await channel.get_message(timeout=self._QUIET)) is not None:
                yield note["data"].decode() if note["type"] == "message" else None
