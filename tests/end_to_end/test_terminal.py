import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import pytest

from lipsync_async import AsyncClient, Audio, Video
from lipsync_async.sandbox.__main__ import main
from tests.end_to_end.conftest import Make
from tests.end_to_end.results import FRAME, Result

pytestmark = pytest.mark.anyio

PATIENCE = 15.0  # seconds; a sandbox that does not end fails its test instead of hanging


@contextmanager
def terminal(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m lipsync_async.sandbox` as people do, its files in a folder of ours."""
    with subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", "lipsync_async.sandbox", *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def exported(process: subprocess.Popen[str]) -> dict[str, str]:
    """Return the variables of the first line, which is made to be pasted into a shell."""
    assert process.stdout is not None
    command, *pairs = shlex.split(process.stdout.readline())
    assert command == "export"
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_another_process_can_use_a_sandbox_until_it_is_ended(
    *,
    monkeypatch: pytest.MonkeyPatch,
    head: Make,
    speech: Make,
    tmp_path: Path,
    ending: signal.Signals,
) -> None:
    """What it prints is all that a client needs; Ctrl-C and `kill` leave nothing on disk."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    with terminal("--port", "0", folder=folder) as process:
        for name, value in (await anyio.to_thread.run_sync(exported, process)).items():
            monkeypatch.setenv(name, value)
        async with AsyncClient() as client:
            generation = await client.generations.run(
                model="lipsync-2", input=[Video(file=head(0.8)), Audio(file=speech(0.4))]
            )
            path = await client.generations.download(generation, tmp_path / "out.mp4")
        assert [each.name[:16] for each in folder.iterdir()] == ["lipsync-sandbox-"]
        process.send_signal(ending)
        _, complaints = await anyio.to_thread.run_sync(lambda: process.communicate(None, PATIENCE))
    assert (process.returncode, complaints) == (0, "")
    assert list(folder.iterdir()) == []
    assert Result.read(path).seconds == pytest.approx(0.4, abs=FRAME)


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_a_port_that_cannot_be_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], port: str
) -> None:
    """A slip of the finger gets one clear line, not a traceback."""
    with pytest.raises(SystemExit) as caught:
        main([f"--port={port}"])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("argument --port: use a number from 0 to 65535.")
