"""`run_many` against `kill -9`, with real processes and a service that hangs up all the time."""

from pathlib import Path
from random import Random

import pytest

from lipsync_async.sandbox import Sandbox
from tests.bulk.kill_loop import HOSTED, Loop

pytestmark = pytest.mark.usefixtures("interpreter")

# `nox -s soak` kills two hundred.
KILLS = 8


@pytest.mark.parametrize("has_files", [False, True])
async def test_kills_lose_nothing_and_double_nothing(tmp_path: Path, *, has_files: bool) -> None:
    """After many kills and one quiet run, each request has one job and one whole file."""
    async with Sandbox(render=False, progression="time(0.15)", placeholder_size=100_000) as sandbox:
        place = tmp_path / "place"
        place.mkdir()
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(b"a short clip")
        media = (str(clip) if has_files else HOSTED[0], HOSTED[1])
        loop = Loop(sandbox, place, count=40, chance=Random(4), media=media)
        for _ in range(KILLS):
            await loop.kill_one()
        await loop.run_to_the_end()
        loop.check_all()
        assert loop.struck()["resets before acceptance"] > 0
        assert loop.struck()["resets after acceptance"] > 0
    assert loop.kills.total() > KILLS / 2  # the others were too quick
