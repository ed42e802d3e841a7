"""A server of many jobs that is never the bottleneck.

Run as `python -m benchmarks.bulk_server`: it prints its port and ends when its input does.
It makes jobs that last as long as a seed says, shows them one by one or a hundred in a
list, and tells what it knows that its clients do not: `GET /facts` the number of requests
and its own CPU seconds, `GET /ends` when each job ended, by the machine's monotonic clock,
which all processes share. `GET /anew?SHORTEST&LONGEST` forgets all jobs, and says how many
seconds those to come last.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import sys
import time
from typing import cast

from benchmarks.bulk_jobs import Jobs

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: *(\S+)", re.IGNORECASE)
_LIST = b"/v2/generations?"
_ONE = b"/v2/generate/"
_ANEW = b"/anew?"


class BulkServer:
    """Answer requests of all connections.

    Args:
        seed: Decides how long jobs last.

    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._begin_anew(5.0, 30.0)

    def _begin_anew(self, shortest: float, longest: float) -> None:
        self._jobs = Jobs(self._seed, shortest, longest)
        self._requests = 0
        self._cpu_began = time.process_time()

    def answer(self, method: bytes, target: bytes, head: bytes) -> bytes:
        """Return the answer to a request."""
        self._requests += 1
        if method == b"POST" and target == b"/v2/generate":
            key = _KEY.search(head)
            return _answer(201, self._jobs.create(key[1] if key else None))
        if target.startswith(_LIST):
            return _answer(200, self._jobs.show_all(target[len(_LIST) :]))
        if target.startswith(_ONE):
            return _answer(200, self._jobs.show(target[len(_ONE) :].partition(b"?")[0]))
        return self._answer_the_bench(target)

    def _answer_the_bench(self, target: bytes) -> bytes:
        """Answer what no client asks; it is not counted."""
        self._requests -= 1
        if target == b"/facts":
            cpu = time.process_time() - self._cpu_began
            facts = {
                "requests": self._requests,
                "cpu_seconds": cpu,
                "most_at_once": self._jobs.most_at_once(),
            }
            return _answer(200, json.dumps(facts).encode())
        if target == b"/ends":
            return _answer(200, self._jobs.ends.tobytes())
        if target.startswith(_ANEW):
            self._begin_anew(*map(float, target[len(_ANEW) :].split(b"&")))
            return _answer(200, b"{}")
        return _answer(404, b"{}")


class _Connection(asyncio.Protocol):
    """Cut what arrives into requests."""

    def __init__(self, server: BulkServer) -> None:
        self._server = server
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(_END)) >= 0:
            head = self._unread[:end]
            length = _LENGTH.search(head)
            whole = end + len(_END) + (int(length[1]) if length else 0)
            if len(self._unread) < whole:
                return
            self._unread = self._unread[whole:]
            method, target, _ = head.split(b" ", 2)
            self._transport.write(self._server.answer(method, target, head))


def _answer(status: int, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Date: Sat, 14 Mar 2026 09:26:53 GMT\r\nX-Request-Id: req-0001\r\n\r\n%b"
    ) % (status, len(body), body)


async def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    bulk_server = BulkServer(parser.parse_args().seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(bulk_server), "127.0.0.1", 0, backlog=1024
    )
    gc.freeze()
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
