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
from tests.end_to_end.conftest import Make
from tests.end_to_end.results import FRAME, Result

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


async def test_another_process_can_use_a_sandbox_until_it_is_ended(
    *, monkeypatch: pytest.MonkeyPatch, head: Make, speech: Make, tmp_path: Path
) -> None:
    """What it prints is all that a client needs; `kill`, as Ctrl-C, leaves nothing on disk."""
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
        process.send_signal(signal.SIGTERM)
        _, complaints = await anyio.to_thread.run_sync(lambda: process.communicate(None, PATIENCE))
    assert (process.returncode, complaints) == (0, "")
    assert list(folder.iterdir()) == []
    assert Result.read(path).seconds == pytest.approx(0.4, abs=FRAME)
