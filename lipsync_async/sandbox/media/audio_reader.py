"""Read the first audio stream of a file as 48 kHz stereo, forwards, in bounded memory."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import av
import numpy as np
from av.error import InvalidDataError

from lipsync_async.sandbox.media.errors import AUDIO_INVALID, VIDEO_INVALID, MediaError
from lipsync_async.sandbox.media.open_media import (
    MICROSECONDS,
    audio_stream,
    open_media,
    stated,
    translated,
)
from lipsync_async.sandbox.media.timeline import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Self

    from av.container import InputContainer

    Samples = np.ndarray[tuple[int, ...], np.dtype[np.int16]]

CHANNELS = 2
# Two AAC frames. A container knows the padding that its encoder added, a decoder does
# not; up to here the container's word is better. Beyond, it is an estimate or damage.
_PADDING_SECONDS = 2 * 1024 / 44_100
# Where at least so much lies before the first read, the file is not decoded from its beginning.
_LEAST_SKIP_SECONDS = 5.0
# A decoder that starts in the middle needs what came before: mp3 up to nine frames.
_RUN_UP_SECONDS = 0.5
# A frame of video: a shorter gap is the jitter of stamps, and not seen on the lips.
_GAP_SECONDS = 0.04
_REPEATED_SECONDS = 1.0
_FULL_SCALE = 32_768
_MOST_FAILURES = 3  # packets one after the other: a tenth of a second at most
_MIXES = {1: ("s16", "mono"), 2: ("s16", "stereo")}  # by the number of channels


class SampleReader:
    """Reader of a file's audio by position; positions may only grow. Around it is silence."""

    def __init__(
        self,
        path: Path,
        *,
        # On the caller's timeline: where the first sample is, below 0 to begin inside the file,
        # and where the sound ends; `None`: at its own end.
        lead: float = 0.0,
        seconds: float | None = None,
        code: str = AUDIO_INVALID,
        may_be_silent: bool = False,  # a file without audio is read as silence
    ) -> None:
        self.path = path
        self._code = code
        self.restart(lead=lead, seconds=seconds)
        self._begins: float | None = None  # the stamp of the first sample; `None`: not looked for
        with translated(code, path):
            self._container = open_media(path)
        if audio_stream(self._container) is None and not may_be_silent:
            self._container.close()
            raise MediaError(code, "has no audio stream.", path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def restart(self, *, lead: float, seconds: float | None) -> None:
        """Begin on another timeline; any position may be read first, and the file stays open.

        What was learned of the file's packets stays, too: some formats have no index, and to
        leap means to read all that lies before.
        """
        self._limit = None if seconds is None else round(seconds * SAMPLE_RATE)
        self._at = round(lead * SAMPLE_RATE)
        self._held: Samples = np.zeros((0, CHANNELS), np.int16)
        self._blocks: Iterator[Samples] | None = None

    def read(self, start: int, end: int) -> Samples:
        """Return the samples from `start`, at or after the last `end`, up to `end`."""
        with translated(self._code, self.path):
            if self._blocks is None:
                frames = self._frames_near(start)
                self._blocks = _resampled(_with_silences(frames, self._container))
            while self._at + len(self._held) < end:
                block = next(self._blocks, None)
                if block is None:
                    break
                gone = min(max(0, start - self._at), len(self._held))
                self._held = np.concatenate([self._held[gone:], block])
                self._at += gone
        samples: Samples = np.zeros((end - start, CHANNELS), np.int16)
        audible_end = end if self._limit is None else min(end, self._limit)
        first = max(start, self._at)
        last = min(audible_end, self._at + len(self._held))
        if first < last:
            samples[first - start : last - start] = self._held[first - self._at : last - self._at]
        return samples

    def _frames_near(self, position: int) -> Iterator[av.AudioFrame]:
        """Return the frames from the beginning, or from shortly before a far position."""
        ahead = (position - self._at) / SAMPLE_RATE - _RUN_UP_SECONDS
        is_near = ahead < _LEAST_SKIP_SECONDS
        if is_near and self._begins is not None:
            # Only a file that was just opened gives its first samples as they are.
            self._container.close()
            self._container = open_media(self.path)
        stream = audio_stream(self._container)
        if stream is None:
            return iter(())
        if is_near or self._begins is None:
            frames = _frames(self._container)
            first = next(frames, None)
            if first is None:
                return iter(())
            self._begins = first.time or 0.0
            if is_near:
                return chain([first], frames)
        ticks = (self._begins + ahead) / (stated(stream.time_base) or 1)
        self._container.seek(int(ticks), stream=stream)
        frames = _frames(self._container)
        found = next(frames, None)
        if found is None:
            return frames
        # A seek ends at the packet before; its own stamp says which that was.
        self._at += round(((found.time or 0.0) - self._begins) * SAMPLE_RATE)
        return chain([found], frames)


def sound_seconds(path: Path) -> float:
    """Return how long a file's audio really is: all is decoded, as an index may be a guess."""
    with translated(AUDIO_INVALID, path), open_media(path) as container:
        promised = (container.duration or 0) / MICROSECONDS
        stream = audio_stream(container)
        if stream is not None:
            time_base = stated(stream.time_base)
            if stream.duration is not None and time_base is not None:
                promised = float(stream.duration * time_base)
        counted = 0.0
        for silence, frame in _with_silences(_frames(container), container):
            counted += silence + frame.samples / frame.sample_rate
    if not counted:
        raise MediaError(AUDIO_INVALID, "holds no sound.", path)
    return promised if 0 < counted - promised < _PADDING_SECONDS else counted


def sound_start(path: Path) -> float:
    """Return the second at which a video's audio starts; 0 if it has none."""
    with translated(VIDEO_INVALID, path), open_media(path) as container:
        frame = next(_frames(container), None)
        return 0.0 if frame is None else frame.time or 0.0


def _frames(container: InputContainer) -> Iterator[av.AudioFrame]:
    """Yield the frames that can be decoded. As players do, skip a few packets that cannot.

    Joined mp3 files have the tags of the second one in the middle, and the end of a file may be
    cut off.
    """
    stream = audio_stream(container)
    if stream is None:
        return
    failed = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except InvalidDataError:
            failed += 1
            if failed > _MOST_FAILURES:
                raise
        else:
            failed = 0
            yield from frames


def _with_silences(
    frames: Iterable[av.AudioFrame], container: InputContainer
) -> Iterator[tuple[float, av.AudioFrame]]:
    """Yield each frame with the silence before it, in seconds; leave out what comes twice.

    Recorders that lose packets, and editors that cut, leave gaps. Closed up, they would let
    the sound run ahead of the picture.
    """
    end = ((container.start_time or 0) + (container.duration or 0)) / MICROSECONDS
    due: float | None = None
    for frame in frames:
        lasts = frame.samples / frame.sample_rate
        late = 0.0
        if frame.time is not None:
            late = 0.0 if due is None else frame.time - due
            # A leap beyond the end, or far back, is a clock that began anew.
            if due is None or frame.time > end or late < -_REPEATED_SECONDS:
                due, late = frame.time, 0.0
        silence = late if late > _GAP_SECONDS else 0.0
        if late >= -_GAP_SECONDS:
            due = None if due is None else due + silence + lasts
            yield silence, frame


def _resampled(frames: Iterable[tuple[float, av.AudioFrame]]) -> Iterator[Samples]:
    """Yield the audio in blocks of 48 kHz stereo, also where its format changes midway."""
    resampler: av.AudioResampler | None = None
    form: object = None
    for silence, frame in frames:
        if resampler is None or silence or _format(frame) != form:
            if resampler is not None:
                yield from map(_rows, resampler.resample(None))
            for gone in range(0, total := round(silence * SAMPLE_RATE), SAMPLE_RATE):
                yield np.zeros((min(total - gone, SAMPLE_RATE), CHANNELS), np.int16)
            form = count, *_ = _format(frame)
            # A single channel is copied; the resampler would make it 3 dB quieter. Many are
            # mixed in floating point, as otherwise all would be made quieter for the case that
            # all are at their loudest, and speech, in the centre, by 10.7 dB instead of 3.
            sample, layout = _MIXES.get(count, ("flt", "stereo"))
            resampler = av.AudioResampler(format=sample, layout=layout, rate=SAMPLE_RATE)
        yield from map(_rows, resampler.resample(frame))
    if resampler is not None:
        yield from map(_rows, resampler.resample(None))


def _rows(part: av.AudioFrame) -> Samples:
    rows = part.to_ndarray().reshape(part.samples, -1)
    if rows.dtype != np.int16:
        rows = np.clip(np.round(rows * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    return np.broadcast_to(rows.astype(np.int16), (part.samples, CHANNELS))


def _format(frame: av.AudioFrame) -> tuple[int, str, int, str]:
    layout = frame.layout
    return len(layout.channels), layout.name, frame.sample_rate, frame.format.name


_WINDOW_SECONDS = 0.02
_LOUD_SHARE = 0.1  # of the loudest window: above it there is speech
_PAUSE_SECONDS = 0.3  # a shorter one does not end a stretch
_BLOCK = 10 * SAMPLE_RATE  # samples that are read at once


def heard_stretches(path: Path) -> tuple[float, list[tuple[float, float]]]:
    """Return how long a file's sound is, and where in it something is to be heard, in seconds."""
    seconds = sound_seconds(path)
    window = round(_WINDOW_SECONDS * SAMPLE_RATE)
    levels: list[float] = []
    with SampleReader(path) as reader:
        for first in range(0, round(seconds * SAMPLE_RATE), _BLOCK):
            last = min(first + _BLOCK, round(seconds * SAMPLE_RATE))
            samples = reader.read(first, last).astype(np.float64).mean(axis=1)
            whole = samples[: len(samples) // window * window].reshape(-1, window)
            levels += [float(level) for level in np.sqrt((whole**2).mean(axis=1))]
    least = max(levels, default=0.0) * _LOUD_SHARE
    stretches: list[tuple[float, float]] = []
    for number, level in enumerate(levels):
        start, end = number * _WINDOW_SECONDS, (number + 1) * _WINDOW_SECONDS
        if not least or level < least:
            continue
        if stretches and start - stretches[-1][1] < _PAUSE_SECONDS:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return seconds, stretches
