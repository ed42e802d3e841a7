"""Ctrl-C ends a command in good order: one line, status 130."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from lipsync_async.cli.interruption import run_interruptibly

PATIENCE = 30.0  # seconds; a command that does not end fails its test instead of hanging


@pytest.mark.parametrize("presses", [1, 2])
def test_the_work_tidies_up(presses: int) -> None:
    """What is interrupted closes what it has opened, also when the key comes twice."""
    seen: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            for _ in range(presses - 1):
                os.kill(os.getpid(), signal.SIGINT)
            seen.append("closed")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(work)
    assert seen == ["closed"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_background_job_stays_deaf() -> None:
    """Where the shell has Ctrl-C ignored, it stays ignored."""

    async def work() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 7

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run_interruptibly(work) == 7
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("presses", [1, 2])
def test_a_demo_of_many_jobs_stops_in_a_line(tmp_path: Path, presses: int) -> None:
    """In the middle of everything, Ctrl-C is a line and status 130; no traceback."""
    command = [sys.executable, "-m", "lipsync_async", "demo", "--jobs", "100"]
    with subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--output", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        while "running" not in running.stdout.readline():
            assert running.poll() is None
        for _ in range(presses):
            running.send_signal(signal.SIGINT)
        _, errors = running.communicate(None, PATIENCE)
    expected = "demo: stopped. The sandbox and its jobs have ended.\n"
    assert (running.returncode, errors) == (130, expected)
