"""Relay between a store and its server, such as a connection pooler, or a network that fails."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress

import attrs

from tests.servers import Server


@attrs.define
class Relay:
    """Relay that can replace words, and lose all that it should pass on.

    Attributes:
        twice: Set when words were replaced for the second time.
        is_lossy: Whether it loses what comes now.
    """

    server: Server
    words: Mapping[bytes, bytes] = {}
    twice: asyncio.Event = attrs.field(factory=asyncio.Event)
    is_lossy: bool = False
    _replaced: int = 0
    _ways: list[asyncio.Future[None]] = attrs.field(factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Give the address of the server behind it, while the block runs."""
        relay = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with relay:
            port = relay.sockets[0].getsockname()[1]
            yield self.server.url.replace(f"{self.server.port}", f"{port}")
            await asyncio.gather(*self._ways)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self.server.port)
        ways = self._copied(reader, there[1]), self._copied(there[0], writer)
        self._ways += map(asyncio.ensure_future, ways)

    async def _copied(self, reader: StreamReader, writer: StreamWriter) -> None:
        with closing(writer), suppress(ConnectionResetError):
            while data := await reader.read(65536):
                for word, other in self.words.items():
                    self._replaced += data.count(word)
                    data = data.replace(word, other)
                writer.write(b"" if self.is_lossy else data)
                if self._replaced > 1:
                    self.twice.set()
