"""`run_many` against hundreds of `kill -9`: the promise of issue-sized runs, at full size."""

import signal
import time
from pathlib import Path
from random import Random

import pytest

from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from tests.bulk.kill_loop import RESULTS, Loop, tell
from tests.end_to_end.results import FRAME, Result

pytestmark = pytest.mark.usefixtures("interpreter")


def a_place(folder: Path) -> Path:
    """Make a folder that may be moved."""
    place = folder / "place"
    place.mkdir()
    return place


async def kill_and_finish(loop: Loop, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Kill so many, let one run to its end, check everything and tell the figures."""
    began = time.monotonic()
    while loop.kills.total() < kills:
        await loop.kill_one()
    left, parts = loop.count - loop.completed(), loop.parts()
    await loop.run_to_the_end()
    loop.check_all()
    with capsys.disabled():
        tell(f"\n{loop.count} requests, {loop.sandbox.jobs.created} generations and files")
        tell(f"{loop.kills.total()} of {loop.lives} clients killed: {dict(loop.kills)}")
        tell(f"struck: {loop.struck()}")
        tell(f"moved: {dict(loop.moves)}; refused until whole: {loop.refusals}; full: {loop.full}")
        tell(f"left to the last run: {left} requests and {parts} part files")
        tell(f"{time.monotonic() - began:.0f} s in all")
    assert left > 0  # there was work to be interrupted until the end


async def test_a_thousand_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand requests, two hundred kills: one generation and one whole file for each."""
    async with Sandbox(render=False, progression="time(0.15)", placeholder_size=100_000) as sandbox:
        loop = Loop(sandbox, a_place(tmp_path), count=1000, chance=Random(200))
        await kill_and_finish(loop, 200, capsys)
        assert loop.struck()["resets before acceptance"] > 100
        assert loop.struck()["resets after acceptance"] > 100


async def test_a_part_of_a_result_that_is_found_again(tmp_path: Path) -> None:
    """What a kill leaves of a second fetch goes with the next run, which finds the first."""
    async with Sandbox(render=False, progression="immediate", placeholder_size=100_000) as sandbox:
        loop = Loop(sandbox, a_place(tmp_path), count=6, chance=Random(1))
        await loop.run_to_the_end()
        loop.check_all()
        sandbox.faults.add(Fault("slow_body", path=RESULTS, seconds=9.0, count=None))
        loop.move_the_journal()  # then neither the noted path nor that from the journal is right
        loop.move_the_folder()
        async with loop.life() as process:
            await loop.until(process, lambda: loop.parts() > 0)
        assert process.returncode == -signal.SIGKILL
        assert loop.parts() > 0
        sandbox.faults.clear()
        loop.journal = loop.journal.rename(loop.place / loop.journal.name)
        await loop.run_to_the_end()
        loop.check_all()


async def test_rendered_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the service really renders, each file plays to its end, in sound and picture."""
    head = draw_talking_head(tmp_path / "head.mp4", seconds=1.0, width=160, height=96)
    speech = speak_line(tmp_path / "speech.wav", seconds=1.0)
    async with Sandbox(progression="immediate") as sandbox:
        media = (sandbox.host_file(head), sandbox.host_file(speech))
        loop = Loop(sandbox, a_place(tmp_path), count=120, chance=Random(25), media=media)
        await kill_and_finish(loop, 25, capsys)
        for path in loop.results.iterdir():
            result = Result.read(path)
            assert result.codecs == ("h264", "aac")
            assert result.seconds == pytest.approx(1.0, abs=2 * FRAME)
