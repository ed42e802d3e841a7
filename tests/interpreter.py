"""Processes of their own that need not import everything anew: forks of one interpreter.

A fresh interpreter takes half a second of CPU before a program's first line. This one has
imported the package, has neither threads nor a loop, and forks for each program. The text
of a program runs at the top of the main module, so what it raises ends its process as usual.
A test that starts programs asks for the fixture `interpreter`.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamReaderProtocol
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self, TextIO

import anyio

ROOT = Path(__file__).parents[1]
# Every warning is an error, and everything left open is reported.
STRICT = ("-W", "error", "-X", "dev")
# With each text come the ends of four pipes: the program's own three, and one for its number
# and how it has ended. A fork waits for that, so that the next program need not wait.
_SERVER = """
import os, signal, socket, sys
import lipsync_async.sandbox.sandbox, tests.bulk.kill_loop, tests.bulk.journal_process
from lipsync_async import *

server = socket.socket(fileno=int(sys.argv.pop()))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    head, fds, _, _ = socket.recv_fds(server, 8, 4)
    text = server.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""
    if not head:
        server.close()
        break
    if os.fork():
        for fd in fds:
            os.close(fd)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if program := os.fork():
        os.write(fds[3], b"%d\\n" % program)
        for fd in (0, 1, 2, *fds[:3]):
            os.close(fd)
        os.write(fds[3], b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
        os._exit(0)
    os.setsid()
    for number, fd in enumerate(fds):
        if number < 3:
            os.dup2(fd, number)
        os.close(fd)
    server.close()
    exec(compile(text, "<program>", "exec"))
    break
"""
# Seconds between two looks at whether it is time: all the time would slow the program down.
_GLANCE = 0.002
_servers: list[socket.socket] = []


@contextmanager
def begun() -> Iterator[None]:
    """Have an interpreter that forks, while the block runs."""
    ours, theirs = socket.socketpair()
    with (
        closing(ours),
        subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, *STRICT, "-c", _SERVER, str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        ),
    ):
        theirs.close()
        _servers.append(ours)
        yield
        _servers.remove(ours)
        ours.close()


class Pipes(NamedTuple):
    """Our ends of a program's pipes, and its number; `end` is where it says how it has ended."""

    pid: int
    stdin: int
    stdout: int
    stderr: int
    end: int


def _started(text: str) -> Pipes:
    """Start a program."""
    (server,) = _servers
    (stdin, ours), *others = (os.pipe() for _ in range(4))
    data = text.encode()
    theirs = [stdin, *(written for _, written in others)]
    socket.send_fds(server, [len(data).to_bytes(8, "big")], theirs)
    server.sendall(data)
    for fd in theirs:
        os.close(fd)
    stdout, stderr, end = (read for read, _ in others)
    pid = b""
    while not pid.endswith(b"\n"):
        pid += os.read(end, 1)
    return Pipes(int(pid), ours, stdout, stderr, end)


class Fork:
    """Run a program, and talk to it from a loop, as to an `asyncio.subprocess.Process`."""

    def __init__(self, pipes: Pipes) -> None:
        self.pid = pipes.pid  # its process leads a group of its own
        self.returncode: int | None = None  # how it has ended, as far as was waited for

    @classmethod
    async def start(cls, text: str) -> Self:
        """Start a program that has nothing to read."""
        pipes = _started(text)
        os.close(pipes.stdin)
        program = cls(pipes)
        program.stdout = await _reader(pipes.stdout)
        program.stderr = await _reader(pipes.stderr)
        program._end = await _reader(pipes.end)
        return program

    stdout: StreamReader
    stderr: StreamReader
    _end: StreamReader

    def send_signal(self, number: int) -> None:
        """Send the process a signal, if it has not ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the end, and return how it was."""
        if self.returncode is None:
            self.returncode = int(await self._end.readline())
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait for the end, and return what it has printed since."""
        printed, errors, _ = await asyncio.gather(
            self.stdout.read(), self.stderr.read(), self.wait()
        )
        await self._end.read()  # which closes it
        return printed, errors


async def until(process: Fork | asyncio.subprocess.Process, is_time: Callable[[], bool]) -> None:
    """Wait until it is time, or the process has ended."""
    while process.returncode is None and not is_time():
        with anyio.move_on_after(_GLANCE):
            await process.wait()


async def _reader(fd: int) -> StreamReader:
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    return reader


class BlockingFork:
    """Run a program, and talk to it without a loop; the block ends with it."""

    def __init__(self, text: str) -> None:
        pipes = _started(text)
        self.pid = pipes.pid
        self.stdin: TextIO = os.fdopen(pipes.stdin, "w")
        self.stdout: TextIO = os.fdopen(pipes.stdout)
        self._stderr: TextIO = os.fdopen(pipes.stderr)
        self._end: TextIO = os.fdopen(pipes.end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        with self.stdout, self._stderr, self._end:
            self.returncode = int(self._end.readline())
            self.errors = self._stderr.read()

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
