"""Read the first audio stream of a file as 48 kHz stereo, forwards, in bounded memory."""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING, Protocol

import av
import numpy as np

from lipsync_async.sandbox.media.errors import AUDIO_INVALID, VIDEO_INVALID, MediaError
from lipsync_async.sandbox.media.open_media import MICROSECONDS, open_media, stated, translated
from lipsync_async.sandbox.media.timeline import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from av.container import InputContainer

    Samples = np.ndarray[tuple[int, ...], np.dtype[np.int16]]

CHANNELS = 2
# Two AAC frames. A container knows the padding that its encoder added, a decoder does
# not; up to here the container's word is better. Beyond, it is an estimate or damage.
_PADDING_SECONDS = 2 * 1024 / 44_100


class Sound(Protocol):
    """Anything that samples can be read from."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def read(self, start: int, end: int) -> Samples:
        """Return the samples of one stretch; positions may only grow."""
        ...


class SampleReader:
    """Read a file's audio by position; positions may only grow.

    Args:
        path: The file.
        lead: Second, on the caller's timeline, of the file's first sample; negative to
            begin inside the file.
        seconds: Where the sound ends on the caller's timeline; `None` means at its own
            end. Before its beginning and after its end there is silence.
        code: The service's error code if the file cannot be read.

    Raises:
        MediaError: The file is damaged or has no audio.

    """

    def __init__(
        self,
        path: Path,
        *,
        lead: float = 0.0,
        seconds: float | None = None,
        code: str = AUDIO_INVALID,
    ) -> None:
        """Open the file; decoding waits for the first read."""
        self._path = path
        self._code = code
        self._limit = None if seconds is None else round(seconds * SAMPLE_RATE)
        self._at = round(lead * SAMPLE_RATE)
        self._held: Samples = np.zeros((0, CHANNELS), np.int16)
        with translated(code, path):
            self._container = open_media(path)
        self._blocks = _decoded(self._container)
        if not self._container.streams.audio:
            self._container.close()
            raise MediaError(code, f"{path.name} has no audio stream.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.close()

    def read(self, start: int, end: int) -> Samples:
        """Return the samples of one stretch, silence included.

        Args:
            start: First sample, at or after the `end` of the last call.
            end: Sample after the last one.

        """
        with translated(self._code, self._path):
            self._fill(start, end)
        samples: Samples = np.zeros((end - start, CHANNELS), np.int16)
        audible_end = end if self._limit is None else min(end, self._limit)
        first = max(start, self._at)
        last = min(audible_end, self._at + len(self._held))
        if first < last:
            samples[first - start : last - start] = self._held[first - self._at : last - self._at]
        return samples

    def _fill(self, start: int, end: int) -> None:
        """Decode until `end` is held; what lies before `start` is let go."""
        while self._at + len(self._held) < end:
            block = next(self._blocks, None)
            if block is None:
                return
            gone = min(max(0, start - self._at), len(self._held))
            self._held = np.concatenate([self._held[gone:], block])
            self._at += gone


class Silence:
    """Stand in for a `SampleReader` where there is nothing to hear."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Have nothing to close."""

    def read(self, start: int, end: int) -> Samples:
        """Return silence."""
        return np.zeros((end - start, CHANNELS), np.int16)


def sound_seconds(path: Path) -> float:
    """Return how long a file's audio really is.

    The whole stream is decoded: compressed files without an index only estimate it.

    Raises:
        MediaError: The file is damaged, or has no audio.

    """
    with translated(AUDIO_INVALID, path), open_media(path) as container:
        promised = (container.duration or 0) / MICROSECONDS
        if container.streams.audio:
            stream = container.streams.audio[0]
            time_base = stated(stream.time_base)
            if stream.duration is not None and time_base is not None:
                promised = float(stream.duration * time_base)
        counted = sum(frame.samples / frame.sample_rate for frame in _frames(container))
    if not counted:
        raise MediaError(AUDIO_INVALID, f"{path.name} holds no sound.")
    return promised if 0 < counted - promised < _PADDING_SECONDS else counted


def sound_start(path: Path) -> float | None:
    """Return the second at which a video's audio starts; `None` means that it has none.

    Raises:
        MediaError: The video is damaged.

    """
    with translated(VIDEO_INVALID, path), open_media(path) as container:
        frame = next(_frames(container), None)
        return None if frame is None else frame.time or 0.0


def _frames(container: InputContainer) -> Iterator[av.AudioFrame]:
    """Yield the decoded frames of the first audio stream, if there is one."""
    if container.streams.audio:
        yield from container.decode(container.streams.audio[0])


def _decoded(container: InputContainer) -> Iterator[Samples]:
    """Yield the audio in blocks of 48 kHz stereo, also where its format changes midway."""
    for (channels, *_), frames in groupby(_frames(container), key=_format):
        # A single channel is copied below; the resampler would make it 3 dB quieter.
        layout = "mono" if channels == 1 else "stereo"
        resampler = av.AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
        for frame in chain(frames, [None]):
            yield from map(_block, resampler.resample(frame))


def _format(frame: av.AudioFrame) -> tuple[int, str, int, str]:
    """Return what a resampler must know of its input."""
    layout = frame.layout
    return len(layout.channels), layout.name, frame.sample_rate, frame.format.name


def _block(frame: av.AudioFrame) -> Samples:
    """Return one packed frame as rows of two samples."""
    samples = np.asarray(frame.to_ndarray(), np.int16).reshape(frame.samples, -1)
    return np.broadcast_to(samples, (frame.samples, CHANNELS))
