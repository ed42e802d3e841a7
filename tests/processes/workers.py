"""Processes that share one account: started, killed, stopped for a while, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs

from tests.servers import missing

if TYPE_CHECKING:
    from asyncio.subprocess import Process  # noqa: TC004 - all annotations are text
    from collections.abc import Awaitable, Callable

    from lipsync_async.sandbox import Sandbox  # noqa: TC004

ROOT = Path(__file__).parents[2]
CREATES = ("POST", "/v2/generate")
# Jobs that the processes have at once, between them: more than may run, so that the limits count.
DEALT = 400
# By so many seconds the clock of one of the processes is fast.
AHEAD = 5
_CLOCK = "*/faketime/libfaketime.so.1"


@attrs.define(eq=False)
class Worker:
    """Some of the jobs, and the process that makes them now."""

    numbers: list[int] = attrs.field(factory=list)  # of the jobs whose ends it has not said
    process: Process | None = None
    is_stopped: bool = False

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it has not ended."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


@attrs.define(eq=False)
class Workers:
    """Processes that make jobs of one account.

    Attributes:
        sandbox: The service.
        limits: Creates a minute, other requests a minute, and slots; of the account.
        account: Where the processes keep the limits that they share; `None`: each has a share.
        count: How many jobs there are.
        processes: How many processes there are.
        ended: The ids of the jobs that have ended, by their numbers.
        kills: How many processes were killed.

    """

    sandbox: Sandbox
    limits: tuple[int, int, int]
    account: str | None
    count: int
    processes: int = 4
    ended: dict[int, str] = attrs.field(factory=dict, init=False)
    kills: int = attrs.field(default=0, init=False)
    _workers: list[Worker] = attrs.field(factory=list, init=False)
    _undealt: deque[int] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self._undealt.extend(range(self.count))
        self._workers = [Worker() for _ in range(self.processes)]

    async def run(self, events: dict[int, Callable[[], Awaitable[object]]]) -> None:
        """Run until all jobs have ended; each event happens when so many have."""
        due = sorted(events.items(), key=lambda event: event[0])
        try:
            async with asyncio.TaskGroup() as tasks:

                def note(number: int, job: str) -> None:
                    self.ended[number] = job
                    while due and due[0][0] <= len(self.ended):
                        tasks.create_task(due.pop(0)[1]())  # type: ignore[arg-type]

                for worker in self._workers:
                    tasks.create_task(self._keep_running(worker, note))
        finally:
            for worker in self._workers:
                worker.send_signal(signal.SIGKILL)
        assert due == []

    async def kill(self) -> None:
        """Kill the process that has most to do; it is started again at once."""
        self._busiest().send_signal(signal.SIGKILL)
        self.kills += 1

    async def stop(self, seconds: float) -> None:
        """Stop a process for some seconds, as a machine that sleeps."""
        worker = self._busiest()
        worker.is_stopped = True
        worker.send_signal(signal.SIGSTOP)
        assert worker.process is not None
        with anyio.move_on_after(seconds):
            await worker.process.wait()
        worker.send_signal(signal.SIGCONT)
        worker.is_stopped = False

    def check(self) -> None:
        """Check that each job was made once, by its own request, and none was refused."""
        assert sorted(self.ended) == [*range(self.count)]
        assert self.sandbox.jobs.created == len({*self.ended.values()}) == self.count
        videos = {
            number: self.sandbox.jobs[job].body["input"][0]["url"]
            for number, job in self.ended.items()
        }
        assert videos == {
            number: f"https://media.example/{number}.mp4" for number in range(self.count)
        }
        assert [str(entry) for entry in self.sandbox.requests if entry.status == 429] == []

    def create_times(self) -> list[float]:
        """Return when the creates arrived, in seconds, repeats included."""
        return [entry.time for entry in self.sandbox.requests.find(*CREATES)]

    def told(self) -> str:
        """Return the figures of the run."""
        times = self.create_times()
        answers = Counter(entry.status for entry in self.sandbox.requests)
        return (
            f"{self.count} jobs by {self.processes} processes, {self.kills} kills: {len(times)} "
            f"creates in {times[-1] - times[0]:.1f} s, {dict(answers)} answers"
        )

    def _busiest(self) -> Worker:
        return max(
            (worker for worker in self._workers if not worker.is_stopped),
            key=lambda worker: len(worker.numbers),
        )

    def _deal(self, worker: Worker) -> list[int]:
        """Give a worker more jobs, as long as there are any; return their numbers."""
        room = min(DEALT, self.count) // self.processes - len(worker.numbers)
        more = [self._undealt.popleft() for _ in range(min(room, len(self._undealt)))]
        worker.numbers += more
        return more

    async def _keep_running(self, worker: Worker, note: Callable[[int, str], None]) -> None:
        """Start a worker's process until all its jobs have ended."""
        shares = self.processes if self.account is None else 1
        limits = [str(limit // shares) for limit in self.limits]
        environment = {"SYNC_API_KEY": self.sandbox.api_key, "SYNC_BASE_URL": self.sandbox.url}
        if self.account is not None:
            environment["SYNC_ACCOUNT"] = self.account
            if worker is self._workers[0]:
                environment |= fast_clock()
        self._deal(worker)
        while worker.numbers:
            worker.process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.processes.worker", *limits),
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            tell(process, worker.numbers)
            errors = asyncio.ensure_future(process.stderr.read())
            async for line in process.stdout:
                if line.endswith(b"\n"):  # or it was killed in the middle of it
                    number, job = line.decode().split()
                    worker.numbers.remove(int(number))
                    tell(process, self._deal(worker))
                    if not worker.numbers:
                        process.stdin.close()
                    note(int(number), job)
            status = await process.wait()
            text = (await errors).decode()
            assert status in {0, -signal.SIGKILL}, text


def tell(process: Process, numbers: list[int]) -> None:
    """Tell a process which jobs to make; if it was killed, the next is told."""
    assert process.stdin is not None
    process.stdin.write("".join(f"{number}\n" for number in numbers).encode())


def fast_clock() -> dict[str, str]:
    """Return the environment of a process whose clock is fast, as far as that can be had here."""
    for library in Path("/usr/lib").glob(_CLOCK):
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME": f"+{AHEAD}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        program = "import time; print(time.time())"
        told = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        assert abs(float(told.stdout) - AHEAD - time.time()) < AHEAD / 2
        return environment
    if os.environ.get("CI"):
        missing("there is no libfaketime; install it (Debian: apt-get install libfaketime)")
    return {}
