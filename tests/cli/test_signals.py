"""Ctrl-C ends a command in good order: one line, status 130."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from lipsync_async.cli.demo import draw_in_thread
from lipsync_async.cli.main import main
from lipsync_async.cli.signals import SignalHandler, handled_signals, run_interruptibly
from lipsync_async.sandbox import Fault, Sandbox
from tests.cli.terminals import Said
from tests.cli.test_run import manifest, run, write
from tests.portal.verbs import interrupted, unheard

__all__ = ["manifest"]  # a fixture

PATIENCE = 30.0  # seconds; a command that does not end fails its test instead of hanging
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def press(number: int = signal.SIGINT) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("number", SIGNALS)
def test_the_work_tidies_up(number: int, presses: int) -> None:
    """What is interrupted closes what it has opened, also when the key comes twice."""
    seen: list[str] = []

    async def work() -> None:
        try:
            press(number)
            await anyio.sleep_forever()
        finally:
            for _ in range(presses - 1):
                press(number)
            seen.append("closed")

    before = [signal.getsignal(each) for each in SIGNALS]
    with handled_signals() as signals, pytest.raises(KeyboardInterrupt):
        run_interruptibly(work)
    assert seen == ["closed"]
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert signals.exit_status(1) == 128 + number


def test_a_signal_that_ends_no_wait() -> None:
    """It is handled within a second all the same, where waits go on after a signal."""
    seen: list[str] = []

    async def work() -> None:
        try:
            seen.append("begun")
            await anyio.sleep_forever()
        finally:
            seen.append("closed")

    with pytest.raises(KeyboardInterrupt), unheard(lambda: bool(seen)):
        run_interruptibly(work)
    assert seen == ["begun", "closed"]


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interruption_that_was_lost(number: int) -> None:
    """One that an import has swallowed is remembered when the work is to begin."""
    begun: list[str] = []

    async def work() -> None:
        begun.append("work")  # pragma: no cover - it must not begin

    with handled_signals() as signals:
        with suppress(BaseException):  # as a callback of the interpreter does
            press(number)
        with pytest.raises(KeyboardInterrupt):
            run_interruptibly(work)
    assert begun == []
    assert signals.exit_status(1) == 128 + number


def test_the_status_without_an_interruption() -> None:
    """A status stays what it is when no signal came, and success when one came too late."""
    untouched, late = SignalHandler(), SignalHandler()
    late.received.append(signal.SIGINT)
    assert [untouched.exit_status(0), untouched.exit_status(3), late.exit_status(0)] == [0, 3, 0]


def test_a_block_in_a_block() -> None:
    """Signals that are taken over already are taken over once."""
    with handled_signals() as outer, handled_signals() as inner:
        assert inner is outer


@pytest.mark.parametrize("number", SIGNALS)
def test_a_background_job_stays_deaf(number: int) -> None:
    """Where the shell has a signal ignored, it stays ignored."""

    async def work() -> int:
        press(number)
        return 7

    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert run_interruptibly(work) == 7
    finally:
        signal.signal(number, before)


def test_what_the_work_raises() -> None:
    """Without a signal, an error is the work's own."""

    async def work() -> None:
        raise LookupError("no such job")

    with pytest.raises(LookupError, match="no such job"):
        run_interruptibly(work)


def test_drawing_stops_when_it_is_left() -> None:
    """A thread that draws is told that its task was cancelled, and keeps no program waiting."""
    has_stopped = threading.Event()

    async def work() -> None:
        def draw(is_cancelled: object) -> None:
            assert callable(is_cancelled)
            steps = iter([press])
            while not is_cancelled():
                next(steps, os.sched_yield)()
            has_stopped.set()

        await draw_in_thread(draw)

    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(work)
    assert has_stopped.wait(PATIENCE)


PHASES: dict[str, tuple[str, str, list[str]]] = {
    "estimate": ("POST", "/v2/generations/estimate", []),
    "create": ("POST", "/v2/generate", ["1 create may have been accepted; ", "  line 2: "]),
    "wait": ("GET", "/v2/*", ["Still running at the service, and paid for: 1 job", "  line 2: "]),
    "download": ("GET", "/__sandbox/media/*", []),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_that_is_stopped_names_what_it_leaves(
    manifest: Path, sandbox: Sandbox, capsys: Said, phase: str
) -> None:
    """Ctrl-C ends it in each phase with 130, and ids and keys are told by lines."""
    method, path, left = PHASES[phase]
    write("lipsync-2,https://h/v.mp4,https://h/a.wav,")
    sandbox.faults.add(Fault("hang", method=method, path=path))
    with interrupted(lambda: sandbox.requests.count(method, path) > 0):
        assert run("--download-to", "out/", "--max-cost", "5", "--duration", "3") == 130
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("run: stopped. To go on where this was, run it again")
    for line, start in zip(lines, left, strict=True):
        assert line.startswith(start)
    assert list(Path().glob("out/*")) == []


def test_a_manifest_that_never_ends_can_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """Ctrl-C does not wait for a pipe or a slow disk; nothing was sent."""
    pipe = tmp_path / "m.csv"
    os.mkfifo(pipe)

    def press_when_read() -> None:
        with pipe.open("wb"):  # it waits for the reader
            press()
            done.wait(PATIENCE)

    done = threading.Event()
    presser = threading.Thread(target=press_when_read)
    presser.start()
    try:
        assert main(["run", str(pipe), "--journal", str(tmp_path / "j.sqlite")]) == 130
    finally:
        done.set()
        presser.join()
    expected = "run: stopped. Nothing is left: no job was created.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("presses", [1, 2])
def test_a_demo_of_many_jobs_stops_in_a_line(tmp_path: Path, presses: int) -> None:
    """In the middle of everything, Ctrl-C is a line and status 130; no traceback."""
    command = [sys.executable, "-m", "lipsync_async", "demo", "--jobs", "40"]
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
