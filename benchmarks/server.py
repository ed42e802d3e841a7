"""A server that is never the bottleneck: it answers every request with the same bytes.

Run as `python -m benchmarks.server`: it prints its port and ends when its input does.
`GET /served` tells how many requests it has answered and the CPU seconds that took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

from benchmarks.payloads import ONE

_END = b"\r\n\r\n"


def _answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (
        head.encode()
        + b"Date: Sat, 14 Mar 2026 09:26:53 GMT\r\nX-Request-Id: req-0001\r\n\r\n"
        + body
    )


_GENERATION = _answer(ONE)


class _Served:
    """Count the answers of all connections."""

    def __init__(self) -> None:
        self.requests = 0

    def facts(self) -> bytes:
        """Return the count and the CPU time so far as an answer."""
        facts = {"requests": self.requests, "cpu_seconds": time.process_time()}
        return _answer(json.dumps(facts).encode())


class _Connection(asyncio.Protocol):
    """Answer each end of a head; a GET has no body."""

    def __init__(self, served: _Served) -> None:
        self._served = served
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(_END)
        for head in heads:
            self._served.requests += 1
            is_asked = head.startswith(b"GET /served ")
            self._transport.write(self._served.facts() if is_asked else _GENERATION)


async def main() -> None:
    """Serve until the standard input ends."""
    served = _Served()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(served),
        "127.0.0.1",
        0,
        backlog=1024,
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
