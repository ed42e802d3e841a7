from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lipsync_async import AsyncClient, Audio, Segment, SegmentAudio, Video
from lipsync_async.errors import GenerationFailedError, UnprocessableError
from lipsync_async.sandbox import Sandbox
from tests.end_to_end.conftest import Make
from tests.sandbox.media.clips import Clip

Damage = Callable[[Path], Path]


def noise(folder: Path) -> Path:
    """Write a file that holds no media at all."""
    path = folder / "noise.bin"
    path.write_bytes(bytes(range(256)) * 16)
    return path


def shortened(folder: Path) -> Path:
    """Write a video whose second half, index included, never arrived."""
    path = Clip(25).write(folder / "short.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def live(folder: Path) -> Path:
    """Write a recording of a stream, which states no length."""
    return Clip(5, codec="libvpx", options={}, is_live=True).write(folder / "live.webm")


def wide(folder: Path) -> Path:
    """Write a video that is one step too wide."""
    return Clip(1, size=(4098, 16)).write(folder / "wide.mp4")


VIDEOS = [
    (noise, "generation_input_video_invalid"),
    (shortened, "generation_input_video_invalid"),
    (live, "generation_media_metadata_missing"),
    (wide, "generation_input_resolution_unsupported"),
]
LINE, CROPPED = SegmentAudio("line"), SegmentAudio("line", start_time=5.0, end_time=6.0)
SEGMENTS = [
    (Segment(start_time=0.4, end_time=9.0, audio_input=LINE), "generation_input_segments_invalid"),
    (Segment(start_time=0.2, end_time=0.6, audio_input=CROPPED), "generation_input_trim_invalid"),
]


@pytest.fixture
async def other() -> AsyncIterator[Sandbox]:
    """Host media on another server, which the job asks only when it runs."""
    async with Sandbox(render=False) as other:
        yield other


@pytest.mark.parametrize(("damage", "code"), VIDEOS)
async def test_a_bad_video_is_refused_at_once(
    client: AsyncClient, speech: Make, tmp_path: Path, damage: Damage, code: str
) -> None:
    """What the service can look at itself costs no job; the error names the reason."""
    with pytest.raises(UnprocessableError) as caught:
        await client.generations.create(
            model="lipsync-2", input=[Video(file=damage(tmp_path)), Audio(file=speech(0.4))]
        )
    assert caught.value.code == code
    assert await client.generations.count() == 0


@pytest.mark.parametrize(("damage", "code"), VIDEOS[:2])
async def test_a_bad_video_elsewhere_fails_its_job(
    *, client: AsyncClient, other: Sandbox, speech: Make, tmp_path: Path, damage: Damage, code: str
) -> None:
    """What has to be fetched is looked at when the job runs, which then fails with the code."""
    bad = other.host_file(damage(tmp_path))
    with pytest.raises(GenerationFailedError) as caught:
        await client.generations.run(model="lipsync-2", input=[Video(bad), Audio(file=speech(0.4))])
    assert caught.value.code == code
    assert caught.value.generation.output_url is None


@pytest.mark.parametrize(("segment", "code"), SEGMENTS)
async def test_segments_that_do_not_fit_fail_their_job(
    *, client: AsyncClient, sandbox: Sandbox, head: Make, speech: Make, segment: Segment, code: str
) -> None:
    """A window outside the video and a crop outside the audio have codes of their own."""
    with pytest.raises(GenerationFailedError) as caught:
        await client.generations.run(
            model="lipsync-2",
            input=[Video(file=head(0.8)), Audio(sandbox.host_file(speech(0.4)), ref_id="line")],
            segments=[segment],
        )
    assert caught.value.code == code
