"""Programs of users who cannot await, each in a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from textwrap import dedent

from lipsync_async.sandbox import Sandbox
from tests.interpreter import STRICT, Fork, until

# Only of slow callbacks, which a busy machine makes, development mode must not speak.
# From Python 3.12 on, a fork with threads alive is a DeprecationWarning of its own.
QUIET = (*STRICT, "-W", "ignore::DeprecationWarning")
_AS_OPTIONS = {
    STRICT: "",
    QUIET: "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n",
}
_BEGINNING = """
import atexit, gc, logging, os, signal, sys, threading, time
from lipsync_async import *

logging.getLogger("asyncio").setLevel("ERROR")
logging.getLogger("lipsync_async").setLevel("ERROR")

INPUTS = (Video("https://media.example/clip.mp4"), Audio("https://media.example/speech.wav"))
ORDER = {"model": "lipsync-2", "input": INPUTS}


def connect(**settings):
    poll = PollPolicy(initial_interval=0.001, max_interval=0.002, long_poll=None)
    limits = Limits(creates_per_minute=None, requests_per_minute=None)
    settings = {"poll": poll, "limits": limits} | settings
    return Client("URL_KEY", base_url="URL", **settings)


def say(*words):
    print(*words, flush=True)
"""


class Program:
    """Watch a running program, line by line."""

    def __init__(self, process: asyncio.subprocess.Process | Fork) -> None:
        self._process = process

    async def line(self) -> str:
        """Return the next line that it prints; empty when it has ended."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def until(self, is_time: Callable[[], bool]) -> None:
        """Wait until it is time, or the program has ended."""
        await until(self._process, is_time)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def end(self) -> tuple[int | None, str, str]:
        """Wait for the end; return the exit code, and what it printed since, on both ways."""
        printed, errors = await self._process.communicate()
        return self._process.returncode, printed.decode(), errors.decode()


def text(body: str, sandbox: Sandbox) -> str:
    """Return a program's whole text."""
    return (
        (_BEGINNING + dedent(body)).replace("URL_KEY", sandbox.api_key).replace("URL", sandbox.url)
    )


@asynccontextmanager
async def running(
    body: str, sandbox: Sandbox, options: tuple[str, ...] = STRICT, *, first: str = ""
) -> AsyncIterator[Program]:
    """Run a program, with a line before all others; kill it if the test does not see its end.

    What must come before anything is imported, or has other options, has an interpreter of
    its own.
    """
    process: asyncio.subprocess.Process | Fork
    if options in _AS_OPTIONS and not first:
        process = await Fork.start(_AS_OPTIONS[options] + text(body, sandbox))
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *options, "-c", f"{first}\n{text(body, sandbox)}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    try:
        yield Program(process)
    finally:
        with suppress(ProcessLookupError):  # as it should be: no child is left either
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def run(
    body: str, sandbox: Sandbox, options: tuple[str, ...] = STRICT, *, first: str = ""
) -> tuple[int | None, str, str]:
    """Run a program to its end."""
    async with running(body, sandbox, options, first=first) as program:
        return await program.end()
