"""The ways to fetch a film into a file, each in a process of its own, and what they took.

Run as `python -m benchmarks.downloads CONTENDER URL FOLDER`: each line of the input is one
download, and its figures are printed. `raw` is the least that an asyncio program can do: one
aiohttp session, pieces of 256 KiB, and one fsync at the end. `ours` looks at every byte's
place, could resume, and gives the file its name when it is whole. `httpx` does as `raw` does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import attrs
import httpx

from lipsync_async import AsyncClient, Generation, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Fetch = Callable[[Path], Awaitable[object]]
    Contender = Callable[[str], AbstractAsyncContextManager[Fetch]]

_PIECE_BYTES = 262_144


@attrs.frozen(slots=True, kw_only=True)
class Taken:
    """Hold what one download took.

    Attributes:
        seconds: How long it took.
        cpu_seconds: CPU time of the process meanwhile.
        memory: Most bytes of memory that the process has held so far, above those before its
            first download.

    """

    seconds: float
    cpu_seconds: float
    memory: int


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Fetch]:
    """Build what a careful user of aiohttp would write by hand."""
    async with aiohttp.ClientSession() as session:

        async def fetch(target: Path) -> None:
            async with session.get(url) as answer:
                with target.open("wb") as file:
                    async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())

        yield fetch


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Fetch]:
    """Build this project's client with its defaults."""
    job = Generation(id="film", status=Status.COMPLETED, output_url=url)
    async with AsyncClient("key", base_url=url.rpartition("/")[0]) as client:

        async def fetch(target: Path) -> None:
            await client.generations.download(job, target)

        yield fetch


@asynccontextmanager
async def httpx_raw(url: str) -> AsyncIterator[Fetch]:
    """Build the same with httpx."""
    async with httpx.AsyncClient() as client:

        async def fetch(target: Path) -> None:
            async with client.stream("GET", url) as answer:
                with target.open("wb") as file:
                    async for piece in answer.aiter_bytes(_PIECE_BYTES):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())

        yield fetch


CONTENDERS: dict[str, Contender] = {"raw": raw, "ours": ours, "httpx": httpx_raw}


def _peak() -> int:
    """Return the most bytes of memory that this process has held (`ru_maxrss` is inherited)."""
    facts = Path("/proc/self/status").read_text(encoding="ascii")
    return int(facts.partition("VmHWM:")[2].split()[0]) * 1024


async def _timed(fetch: Fetch, target: Path, idle: int) -> Taken:
    cpu_began, began = time.process_time(), time.perf_counter()
    await fetch(target)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Taken(seconds=seconds, cpu_seconds=cpu_seconds, memory=_peak() - idle)


def main() -> None:
    """Fetch once for each line of the input."""
    contender, url, folder = sys.argv[1:]
    with asyncio.Runner() as runner:
        building = CONTENDERS[contender](url)
        fetch = runner.run(building.__aenter__())
        idle = _peak()
        for number, _ in enumerate(sys.stdin):
            target = Path(folder) / f"{contender}-{number}.mp4"
            taken = runner.run(_timed(fetch, target, idle))
            assert target.stat().st_size > 0
            target.unlink()
            print(json.dumps(attrs.asdict(taken)), flush=True)
        runner.run(building.__aexit__(None, None, None))


if __name__ == "__main__":
    main()
