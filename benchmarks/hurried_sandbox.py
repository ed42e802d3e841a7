"""A sandbox in a process of its own whose minutes take seconds, and the way to it.

Run as `python -m benchmarks.hurried_sandbox OPTIONS`, where the options are the sandbox's
own as JSON: it prints address and key, and when its input ends, each request that came:
when (in seconds of its clock), method, path and status.

The client lives by the same fast clock, through its transport: so the real limits, pauses
and intervals hold on both sides, and nothing has to be scaled by hand.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from lipsync_async._transport.aiohttp import AiohttpTransport
from lipsync_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lipsync_async._models.http import Request, Response

SPEED = 10.0
_TAKE = re.compile(rb"take=(\d+)")


@attrs.frozen(slots=True)
class Arrival:
    """Hold a request as the sandbox has seen it."""

    time: float
    method: str
    path: str
    status: int | None

    @property
    def is_create(self) -> bool:
        """Whether it orders a job."""
        return self.method == "POST" and self.path == "/v2/generate"


class HurriedSandbox:
    """Hold a sandbox that runs, and what came to it when it has ended."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.base_url = base_url
        self.api_key = api_key
        self.arrivals: list[Arrival] = []

    @property
    def refusals(self) -> int:
        """Requests that were answered with 429."""
        return sum(arrival.status == 429 for arrival in self.arrivals)

    @property
    def creates(self) -> list[Arrival]:
        """The creates, in order."""
        return [arrival for arrival in self.arrivals if arrival.is_create]


class HurriedTransport(AiohttpTransport):
    """Live as fast as the sandbox, and tell it how long each job is to last.

    Args:
        lengths: The seconds of each job, by the number of its take.

    """

    def __init__(self, lengths: Sequence[float]) -> None:
        super().__init__()
        self._lengths = lengths

    def now(self) -> float:
        """Return seconds of the fast clock."""
        return super().now() * SPEED

    async def sleep(self, seconds: float) -> None:
        """Pause for seconds of the fast clock."""
        await super().sleep(seconds / SPEED)

    async def send(
        self,
        request: Request,
        *,
        timeout: float | None,
        deadline: float | None = None,
    ) -> Response:
        """Send a request; a create with its job's length."""
        take = _TAKE.search(request.body or b"")
        if take is not None:
            told = {"x-sandbox-progression": f"time({self._lengths[int(take[1])]:.3f})"}
            request = attrs.evolve(request, headers={**request.headers, **told})
        return await super().send(request, timeout=timeout, deadline=deadline)


@contextmanager
def hurried_sandbox(**options: float | str) -> Iterator[HurriedSandbox]:
    """Run a sandbox; what came to it is known after the block."""
    command = [sys.executable, "-m", "benchmarks.hurried_sandbox", json.dumps(options)]
    with subprocess.Popen(  # noqa: S603 - our own words
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        sandbox = HurriedSandbox(*process.stdout.readline().split())
        yield sandbox
        told, _ = process.communicate()
        sandbox.arrivals = [Arrival(*each) for each in json.loads(told)]


async def main() -> None:
    """Serve until the standard input ends."""
    async with Sandbox(render=False, speed=SPEED, **json.loads(sys.argv[1])) as sandbox:
        print(sandbox.url, sandbox.api_key, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        entries = [(each.time, each.method, each.path, each.status) for each in sandbox.requests]
        print(json.dumps(entries))


if __name__ == "__main__":
    asyncio.run(main())
