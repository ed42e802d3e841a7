from fractions import Fraction
from pathlib import Path

import pytest

from lipsync_async import AsyncClient, Audio, Image, Options, Status, SyncMode, Video
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import tone
from tests.end_to_end.conftest import Make
from tests.end_to_end.results import FRAME, Result
from tests.sandbox.media.clips import Clip, shown_numbers

pytestmark = pytest.mark.anyio

# Video, audio and output seconds, each mode once; `test_render` has all of the guide's examples.
# Source: "Sync mode", sync.so developer guides.
LENGTHS = [
    (4.00, 8.64, SyncMode.BOUNCE, 8.64),
    (4.00, 8.64, SyncMode.REMAP, 8.64),
    (4.00, 8.64, SyncMode.CUT_OFF, 4.00),
    (10.00, 1.74, SyncMode.LOOP, 1.74),
    (10.00, 1.74, SyncMode.SILENCE, 10.00),
]
# What becomes of five numbered frames, five a second, under so many seconds of sound.
FRAMES = [
    (SyncMode.BOUNCE, 2.4, [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]),
    (SyncMode.LOOP, 2.4, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]),
    (SyncMode.REMAP, 2.0, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    (SyncMode.CUT_OFF, 2.0, [0, 1, 2, 3, 4]),
    (SyncMode.SILENCE, 1.6, [0, 1, 2, 3, 4, 4, 4, 4]),
    (SyncMode.SILENCE, 0.4, [0, 1, 2, 3, 4]),
    (None, 1.6, [0, 1, 2, 3, 4, 3, 2, 1]),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make small videos and sounds of the lengths that are worked out in the guide."""
    folder = tmp_path_factory.mktemp("inputs")
    for seconds in {video for video, *_ in LENGTHS}:
        Clip(round(seconds * 25), size=(64, 32)).write(folder / f"{seconds}.mp4")
    for seconds in {audio for _, audio, *_ in LENGTHS}:
        tone(folder / f"{seconds}.wav", seconds=seconds, hertz=440)
    return folder


@pytest.mark.parametrize(("video", "audio", "mode", "expected"), LENGTHS)
async def test_a_mode_decides_the_length(
    *,
    client: AsyncClient,
    sandbox: Sandbox,
    inputs: Path,
    tmp_path: Path,
    video: float,
    audio: float,
    mode: SyncMode,
    expected: float,
) -> None:
    """The file that comes back is as long as its mode promises, sound and picture alike."""
    paths = inputs / f"{video}.mp4", inputs / f"{audio}.wav"
    generation = await client.generations.run(
        model="lipsync-2",
        input=[Video(sandbox.host_file(paths[0])), Audio(sandbox.host_file(paths[1]))],
        options=Options(sync_mode=mode),
    )
    result = Result.read(await client.generations.download(generation, tmp_path / "out.mp4"))
    assert generation.status == Status.COMPLETED
    assert result.seconds == pytest.approx(expected, abs=FRAME)
    assert generation.output_duration == result.seconds
    lengths = [result.video_seconds, result.audio_seconds]
    assert lengths == pytest.approx([result.seconds] * 2, abs=FRAME)
    assert (result.codecs, result.starts) == (("h264", "aac"), (0, 0))


@pytest.mark.parametrize(("mode", "seconds", "expected"), FRAMES)
async def test_a_mode_decides_the_pictures(
    *,
    client: AsyncClient,
    sandbox: Sandbox,
    tmp_path: Path,
    mode: SyncMode | None,
    seconds: float,
    expected: list[int],
) -> None:
    """The mode that was asked for is the one that was rendered; unasked, it is bounce."""
    video = Clip(5, rate=Fraction(5)).write(tmp_path / "numbers.mp4")
    audio = tone(tmp_path / "tone.wav", seconds=seconds, hertz=440)
    generation = await client.generations.run(
        model="lipsync-2",
        input=[Video(sandbox.host_file(video)), Audio(sandbox.host_file(audio))],
        options=None if mode is None else Options(sync_mode=mode),
    )
    path = await client.generations.download(generation, tmp_path / "out.mp4")
    assert shown_numbers(path) == expected


async def test_a_picture_lasts_as_long_as_its_sound(
    client: AsyncClient, sandbox: Sandbox, portrait: Path, speech: Make, tmp_path: Path
) -> None:
    """An image input becomes a video as long as the audio."""
    generation = await client.generations.run(
        model="sync-3",
        input=[Image(sandbox.host_file(portrait)), Audio(sandbox.host_file(speech(0.4)))],
    )
    result = Result.read(await client.generations.download(generation, tmp_path / "out.mp4"))
    assert result.seconds == pytest.approx(0.4, abs=FRAME)
    assert generation.output_duration == result.seconds
    assert result.codecs == ("h264", "aac")
    assert result.starts == (0, 0)
