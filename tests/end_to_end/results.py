"""Read back what was downloaded: lengths and streams, as a player would see them."""

from pathlib import Path

import aiohttp
import anyio
import attrs
import av

from lipsync_async.sandbox.media.open_media import MICROSECONDS

FRAME = 1 / 25  # seconds; all actors here play 25 frames a second


@attrs.frozen
class Result:
    """Hold what a downloaded file says of itself, and of every stream in order."""

    seconds: float
    video_seconds: float
    audio_seconds: float
    codecs: tuple[str, ...]
    starts: tuple[int | None, ...]  # in the stream's own ticks

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Return what a file says of itself."""
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            return cls(
                seconds=(container.duration or 0) / MICROSECONDS,
                video_seconds=_seconds(video),
                audio_seconds=_seconds(audio),
                codecs=tuple(stream.codec_context.name for stream in container.streams),
                starts=tuple(stream.start_time for stream in container.streams),
            )


async def fetch(url: str, path: Path) -> Path:
    """Store what a URL holds, as anybody without a key would."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        await anyio.Path(path).write_bytes(await answer.read())
    return path


def _seconds(stream: av.VideoStream | av.AudioStream) -> float:
    assert stream.duration is not None
    assert stream.time_base is not None
    return float(stream.duration * stream.time_base)
