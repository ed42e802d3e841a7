"""The ways to upload a file, each in a process of its own, and what they took.

Run as `python -m benchmarks.uploads CONTENDER URL FILE`: it does its work once for each line of
the input, and prints the figures. `raw` is what a careful user of aiohttp would write: one PUT of
the open file. `hash` reads the file and hashes it. `ours` uploads, and `plain` does so without the
hash; `whole` uploads, orders a generation, and downloads the result.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path

import aiohttp

from lipsync_async import AsyncClient, Audio, Limits, Video

_UNLIMITED = Limits(creates_per_minute=None, requests_per_minute=None, uploads_per_minute=None)


def _size(file: Path) -> int:
    return file.stat().st_size


async def _raw(url: str, file: Path) -> None:
    headers = {"content-type": "video/mp4", "content-length": str(_size(file))}
    async with aiohttp.ClientSession() as session:
        with file.open("rb") as opened:
            async with session.put(f"{url}/put", data=opened, headers=headers) as answer:
                await answer.read()


async def _hash(_: str, file: Path) -> None:
    with file.open("rb") as opened:
        hashlib.file_digest(opened, "sha256")


async def _ours(url: str, file: Path, *, deduplicate: bool = True) -> None:
    async with AsyncClient("key", base_url=url, limits=_UNLIMITED) as client:
        await client.assets.upload(file, type="VIDEO", deduplicate=deduplicate)


async def _plain(url: str, file: Path) -> None:
    await _ours(url, file, deduplicate=False)


async def _whole(url: str, file: Path) -> None:
    async with AsyncClient("key", base_url=url, limits=_UNLIMITED) as client:
        job = await client.generations.run(
            model="lipsync-2", input=[Video(file), Audio("https://media.example/speech.wav")]
        )
        await client.generations.download(job, file.with_name("result.mp4"), overwrite=True)


CONTENDERS = {"raw": _raw, "hash": _hash, "ours": _ours, "plain": _plain, "whole": _whole}


def _peak() -> int:
    """Return the most bytes of memory that this process has held (`ru_maxrss` is inherited)."""
    facts = Path("/proc/self/status").read_text(encoding="ascii")
    return int(facts.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Do the work once for each line of the input."""
    contender, url, file = CONTENDERS[sys.argv[1]], sys.argv[2], Path(sys.argv[3])
    asyncio.run(contender(url, file.with_name("small.mp4")))  # loads what is loaded on first use
    before = _peak()
    for _ in sys.stdin:
        # A hash is kept by path and time.
        file.touch()
        began = time.perf_counter()
        asyncio.run(contender(url, file))
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "memory": _peak() - before}), flush=True)


if __name__ == "__main__":
    main()
