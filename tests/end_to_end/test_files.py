from hashlib import sha256
from pathlib import Path

import pytest

from lipsync_async import AsyncClient, Audio, Image, Segment, SegmentAudio, Video
from lipsync_async.sandbox import Sandbox
from tests.end_to_end.conftest import Make
from tests.end_to_end.results import FRAME, Result


async def test_local_files_travel_with_the_order(
    client: AsyncClient, sandbox: Sandbox, head: Make, speech: Make, tmp_path: Path
) -> None:
    """A path and bytes arrive unharmed and become the video that comes back."""
    video, audio = head(0.8), speech(0.4).read_bytes()
    generation = await client.generations.run(
        model="lipsync-2", input=[Video(file=video), Audio(file=audio)], upload="form"
    )
    result = Result.read(await client.generations.download(generation, tmp_path / "out.mp4"))
    assert result.seconds == pytest.approx(0.4, abs=FRAME)
    assert generation.output_duration == result.seconds
    (order,) = sandbox.requests.find("POST", "/v2/generate")
    assert order.headers["content-type"].startswith("multipart/form-data")
    assert order.json["video"]["sha256"] == sha256(video.read_bytes()).hexdigest()
    assert order.json["audio"]["sha256"] == sha256(audio).hexdigest()


async def test_a_local_file_goes_with_a_url(
    client: AsyncClient, sandbox: Sandbox, portrait: Path, speech: Make, tmp_path: Path
) -> None:
    """One input may be a local file while the other is a URL."""
    generation = await client.generations.run(
        model="sync-3", input=[Image(file=str(portrait)), Audio(sandbox.host_file(speech(0.4)))]
    )
    result = Result.read(await client.generations.download(generation, tmp_path / "out.mp4"))
    assert result.seconds == pytest.approx(0.4, abs=FRAME)


async def test_a_local_video_can_have_segments(
    client: AsyncClient, sandbox: Sandbox, head: Make, speech: Make, tmp_path: Path
) -> None:
    """Segments travel in the same form as the file that they cut."""
    generation = await client.generations.run(
        model="lipsync-2",
        input=[Video(file=head(0.8)), Audio(sandbox.host_file(speech(0.4)), ref_id="line")],
        segments=[Segment(start_time=0.2, end_time=0.6, audio_input=SegmentAudio("line"))],
    )
    result = Result.read(await client.generations.download(generation, tmp_path / "out.mp4"))
    assert result.seconds == pytest.approx(0.8, abs=FRAME)


async def test_an_uploaded_file_can_be_used_again(
    client: AsyncClient, head: Make, speech: Make
) -> None:
    """The inputs that the service echoes are good for another order, by URL or by asset."""
    first = await client.generations.run(
        model="lipsync-2", input=[Video(file=head(0.8)), Audio(file=speech(0.4))], upload="form"
    )
    video = next(item for item in first.input if isinstance(item, Video))
    audio = next(item for item in first.input if isinstance(item, Audio))
    second = await client.generations.run(
        model="lipsync-2", input=[Video(asset_id=video.asset_id), Audio(audio.url)]
    )
    assert second.output_duration == first.output_duration
