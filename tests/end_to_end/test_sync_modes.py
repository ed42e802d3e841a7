from fractions import Fraction
from pathlib import Path

import pytest

from lipsync_async import AsyncClient, Audio, Options, SyncMode, Video
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import tone
from tests.end_to_end.results import FRAME, Result
from tests.sandbox.media.clips import Clip, shown_numbers

# `test_render` has the examples of the guide. What becomes of five numbered frames under a
# sound that lasts for so many frames.
RATE = Fraction(25, 2)
FRAMES = [
    (SyncMode.BOUNCE, 12, [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]),
    (SyncMode.LOOP, 12, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]),
    (SyncMode.REMAP, 10, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    (SyncMode.CUT_OFF, 10, [0, 1, 2, 3, 4]),
    (SyncMode.SILENCE, 8, [0, 1, 2, 3, 4, 4, 4, 4]),
    (SyncMode.SILENCE, 2, [0, 1, 2, 3, 4]),
    (None, 8, [0, 1, 2, 3, 4, 3, 2, 1]),
]


@pytest.mark.parametrize(("mode", "frames", "expected"), FRAMES)
async def test_a_mode_decides_the_pictures(
    *,
    client: AsyncClient,
    sandbox: Sandbox,
    tmp_path: Path,
    mode: SyncMode | None,
    frames: int,
    expected: list[int],
) -> None:
    """The mode that was asked for is the one that was rendered; unasked, it is bounce."""
    video = Clip(5, rate=RATE).write(tmp_path / "numbers.mp4")
    audio = tone(tmp_path / "tone.wav", seconds=float(frames / RATE), hertz=440)
    generation = await client.generations.run(
        model="lipsync-2",
        input=[Video(sandbox.host_file(video)), Audio(sandbox.host_file(audio))],
        options=None if mode is None else Options(sync_mode=mode),
    )
    path = await client.generations.download(generation, tmp_path / "out.mp4")
    result = Result.read(path)
    assert shown_numbers(path) == expected
    assert (
        generation.output_duration == result.seconds == pytest.approx(float(len(expected) / RATE))
    )
    lengths = [result.video_seconds, result.audio_seconds]
    assert lengths == pytest.approx([result.seconds] * 2, abs=FRAME)
    assert (result.codecs, result.starts) == (("h264", "aac"), (0, 0))
