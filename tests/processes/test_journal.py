"""Journals on PostgreSQL whose owners are killed, stopped and started as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from lipsync_async.sandbox import Fault, Sandbox
from tests.bulk.jobs import address_of, entries
from tests.bulk.runs import made
from tests.bulk.test_journal_postgres import end_sessions
from tests.interpreter import until
from tests.processes.workers import ROOT

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from tests.servers import PostgresServer

COUNT = 30
# Creates are on their way long enough to be cut by a kill; some lose their answers.
TROUBLES = (
    Fault("latency", path="/v2/generate", seconds=0.05, probability=0.5, count=None),
    Fault("reset_after", path="/v2/generate", probability=0.1, count=None),
)


@attrs.frozen
class Owners:
    """Processes that own one journal, one after the other."""

    sandbox: Sandbox
    address: str
    folder: Path

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[Process]:
        """Start a process, and kill it in the end, if it has not ended."""
        words = ("tests.processes.journal_owner", self.address, str(COUNT), f"{self.folder}/")
        account = {"SYNC_BASE_URL": self.sandbox.url, "SYNC_API_KEY": self.sandbox.api_key}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *words),
            env={**os.environ, **account},
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def run_to_the_end(self) -> None:
        """Let a process take over, and bring all to a good end."""
        async with self.begun() as process:
            printed, _ = await process.communicate()
        assert len(printed.splitlines()) == COUNT
        assert process.returncode == 0

    def check(self) -> None:
        """Check that each request has one job and one file, and that the journal knows them."""
        jobs = {job.id: job.body["outputFileName"] for job in self.sandbox.jobs}
        assert made(self.sandbox) == {f"take-{number}": 1 for number in range(COUNT)}
        recorded = entries(self.address)
        assert {entry.generation_id: entry.request["outputFileName"] for entry in recorded} == jobs
        files = sorted(self.folder.iterdir())
        assert sorted(str(entry.download_path) for entry in recorded) == [*map(str, files)]


@pytest.fixture
async def owners(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Owners]:
    """Give a service with 6 slots and jobs of half a second, and a journal that is not there."""
    async with Sandbox(render=False, concurrency=6, progression="time(0.5)") as sandbox:
        for trouble in TROUBLES:
            sandbox.faults.add(trouble)
        yield Owners(sandbox, address_of(postgres_server), tmp_path / "results")


async def lines_of(process: Process, many: int) -> list[str]:
    """Return so many lines that a process writes."""
    assert process.stdout is not None
    return [(await process.stdout.readline()).decode() for _ in range(many)]


async def test_a_killed_owner_is_followed_at_once(owners: Owners) -> None:
    """Four processes are killed in mid-run; each next one goes on, and no job is made twice."""
    for lines in (0, 1, 4, 9):
        async with owners.begun() as process:
            await until(process, lambda: owners.sandbox.requests.count("POST", "/v2/generate") > 0)
            said = await lines_of(process, lines)
            assert [line for line in said if "JournalError" in line] == []
            process.send_signal(signal.SIGKILL)
        owners.sandbox.requests.clear()
    await owners.run_to_the_end()
    owners.check()


async def test_a_stopped_owner_that_lost_its_session_makes_no_job(
    owners: Owners, postgres_server: PostgresServer
) -> None:
    """A second owner is refused until the session ends; then the first writes nothing more."""
    async with owners.begun() as first:
        await lines_of(first, 3)
        first.send_signal(signal.SIGSTOP)
        async with owners.begun() as second:
            (refused,) = await lines_of(second, 1)
        assert f"is in use by process {first.pid}. Wait until" in refused
        end_sessions(postgres_server)  # as the server does when the machine does not answer
        async with owners.begun() as second:
            await lines_of(second, 5)
            first.send_signal(signal.SIGCONT)
            said, _ = await first.communicate()
            assert b"JournalError: " in said.splitlines()[-1]
            await second.communicate()
    owners.check()
