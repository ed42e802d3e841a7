"""Recipes of the guides, each run as the program that a reader saves, beside a sandbox."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.house.code_blocks import blocks
from tests.interpreter import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from lipsync_async.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
# The takes of those recipes that are whole programs.
NAMES = [f"take-{number}" for number in range(20)]


def needs(module: str) -> pytest.MarkDecorator:
    """Return the mark that skips tests where an engine is not installed."""
    reason = f"{module} is not installed here; run: nox -s engines"
    return pytest.mark.skipif(find_spec(module) is None, reason=reason)


def save(engine: str, folder: Path) -> Path:
    """Save the Python blocks of an engine's page under the names that the page gives them last."""
    page = ROOT / "docs" / f"engines-{engine}.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page, "python"):
        names = re.findall(r"`(\w+\.py)`", "\n".join(lines[: block.line]))
        (folder / names[-1]).write_text(block.source, encoding="utf-8")
    program = folder / f"lip_sync_{engine}.py"
    assert program.exists()
    return program


def variables(sandbox: Sandbox) -> dict[str, str]:
    """Return what the recipes read from the environment."""
    return {"SYNC_API_KEY": sandbox.api_key, "SYNC_BASE_URL": sandbox.url}


@asynccontextmanager
async def program(path: Path, sandbox: Sandbox, **more: str) -> AsyncIterator[Program]:
    """Start a saved program in its folder; the block's end ends it and all that it started."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        path.name,
        cwd=path.parent,
        env={**os.environ, **variables(sandbox), "HOME": str(path.parent), **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Program(process)
    try:
        yield running
    finally:
        running.kill(*running.descendants(), process.pid)
        await process.communicate()


class Program:
    """A program under way, and the processes that it has started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def until_created(self, sandbox: Sandbox, count: int) -> None:
        """Wait until the service has so many jobs."""
        await until(self.process, lambda: sandbox.jobs.created >= count)
        assert self.process.returncode is None, (await self.process.communicate())[0].decode()

    async def results(self) -> dict[str, str]:
        """Wait for the end, and return the lines of names and addresses that were printed."""
        said, _ = await self.process.communicate()
        text = said.decode()
        assert self.process.returncode == 0, text
        lines = [line.split() for line in text.splitlines()]
        found = [words for words in lines if words and words[0] in NAMES]
        assert len(found) == len(NAMES), text
        return {name: address for name, address, *_ in found}

    def workers(self, word: str) -> list[int]:
        """Return the numbers of its processes whose command line has a word."""
        return [pid for pid in self.descendants() if word in _command(pid)]

    def descendants(self) -> list[int]:
        """Return the numbers of all processes that it has started, and they have started."""
        parents = dict(_parents())
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found - {self.process.pid})

    def kill(self, *pids: int) -> None:
        """Kill some of its processes."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            words = stat.read_text().rpartition(")")[2].split()
            yield int(stat.parent.name), int(words[1])


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
