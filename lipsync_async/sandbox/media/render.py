"""Make the output file of one generation: plan, decode, encode, read back.

A render blocks for about a second per 10 s of 640x360, so the service runs it in a worker
thread. The file appears under its name only when it is complete.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lipsync_async.sandbox.media.audio_reader import (
    SampleReader,
    Silence,
    Sound,
    sound_seconds,
    sound_start,
)
from lipsync_async.sandbox.media.errors import (
    SEGMENTS_INVALID,
    TRIM_INVALID,
    VALIDATION_FAILED,
    VIDEO_INVALID,
    MediaError,
    RenderCancelledError,
)
from lipsync_async.sandbox.media.mp4_writer import Mp4Writer
from lipsync_async.sandbox.media.open_media import MICROSECONDS, open_media
from lipsync_async.sandbox.media.timeline import (
    Span,
    Window,
    frame_count,
    index_map,
    plan_segments,
)
from lipsync_async.sandbox.media.video_reader import FrameReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@attrs.frozen(slots=True)
class RenderSegment:
    """Hold one window of the video that gets an audio of its own.

    Args:
        start: Second in the video at which the window begins.
        end: Second at which it ends; equal to `start` means no effect.
        audio: The audio that is heard inside.
        crop: First and last second of the part of the audio to use; `None` means all.
        sync_mode: How the window's frames are fitted to that audio.

    """

    start: float
    end: float
    audio: Path
    crop: tuple[float, float] | None = None
    sync_mode: str = "bounce"


@attrs.frozen(slots=True)
class RenderOrder:
    """Hold everything that one output is made of.

    Args:
        visual: The video, or the picture.
        is_image: Whether `visual` is a still picture; then `sync_mode` is ignored.
        audio: The audio for the whole output. `None` keeps the video's own, as dubbing
            and segments do; with segments it is not used.
        output: The mp4 to write. An existing file is replaced.
        sync_mode: How the video is fitted to the audio.
        segments: Windows with audio of their own; the video's length is kept.
        comment: Stored in the file, so that nobody takes it for the real service's.

    """

    visual: Path
    is_image: bool
    audio: Path | None
    output: Path
    sync_mode: str = "bounce"
    segments: tuple[RenderSegment, ...] = ()
    comment: str = "SANDBOX"


@attrs.frozen(slots=True)
class Rendered:
    """Hold what a finished render made.

    Args:
        path: The mp4.
        duration: Its length in seconds, read back from the file.
        frames: How many pictures it shows.

    """

    path: Path
    duration: float
    frames: int


class _Watcher:
    """Report whole percents, and stop the work when it is cancelled."""

    def __init__(
        self,
        total: int,
        on_progress: Callable[[float], object] | None,
        is_cancelled: Callable[[], bool] | None,
    ) -> None:
        self._total = total
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._percent = -1

    def reach(self, done: int) -> None:
        """Tell that `done` frames are ready."""
        if self._is_cancelled is not None and self._is_cancelled():
            raise RenderCancelledError(f"the render stopped at frame {done} of {self._total}.")
        percent = 100 * done // self._total
        if self._on_progress is not None and percent > self._percent:
            self._on_progress(float(percent))
        self._percent = percent


def render(
    order: RenderOrder,
    *,
    on_progress: Callable[[float], object] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Rendered:
    """Make the output of one generation; blocking.

    Args:
        order: What to make.
        on_progress: Called in this thread with 0 to 100, at each whole percent; 100 comes
            when the file has its name.
        is_cancelled: Asked before each frame.

    Returns:
        The finished file with its true length.

    Raises:
        MediaError: An input cannot be used; its code is the service's.
        RenderCancelledError: `is_cancelled` said so.

    """
    partial = order.output.with_name(f"{order.output.name}.part")
    code = VALIDATION_FAILED if order.is_image else VIDEO_INVALID
    try:
        with FrameReader(order.visual, code=code) as frames:
            spans = _plan(order, frames)
            total = sum(len(span.frames) for span in spans)
            watcher = _Watcher(total, on_progress, is_cancelled)
            _encode(order, frames, spans, partial, watcher)
        partial.replace(order.output)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    watcher.reach(total)
    return Rendered(order.output, _stated_seconds(order.output), total)


def _plan(order: RenderOrder, frames: FrameReader) -> Sequence[Span]:
    """Return the spans of the output."""
    if order.segments:
        return _plan_segments(order, frames)
    if order.audio is None:
        if order.is_image:
            raise MediaError(VALIDATION_FAILED, "a picture needs an audio input.")
        return [Span(range(frames.count), None)]
    seconds = sound_seconds(order.audio)
    if order.is_image:
        return [Span([0] * frame_count(seconds, frames.rate), None)]
    return [Span(index_map(order.sync_mode, frames.count, frames.rate, seconds), None)]


def _plan_segments(order: RenderOrder, frames: FrameReader) -> Sequence[Span]:
    """Return the spans of a video with segments."""
    if order.is_image:
        raise MediaError(SEGMENTS_INVALID, "segments apply to video inputs only.")
    windows = [
        Window(segment.start, segment.end, _crop(segment)[1], segment.sync_mode)
        for segment in order.segments
    ]
    return plan_segments(frames.count, frames.rate, windows)


def _crop(segment: RenderSegment) -> tuple[float, float]:
    """Return where a segment's sound begins in its audio, and how long it is."""
    seconds = sound_seconds(segment.audio)
    start, end = segment.crop or (0.0, seconds)
    if not 0 <= start <= end or start > seconds:
        raise MediaError(
            TRIM_INVALID,
            f"the crop from {start:g} s to {end:g} s does not fit {seconds:.2f} s of audio.",
        )
    return start, min(end, seconds) - start


def _encode(
    order: RenderOrder,
    frames: FrameReader,
    spans: Sequence[Span],
    path: Path,
    watcher: _Watcher,
) -> None:
    """Write every frame with its sound."""
    first = frames.frame(spans[0].frames[0])
    with ExitStack() as stack:
        main = stack.enter_context(_main_sound(order, frames))
        writer = stack.enter_context(
            Mp4Writer(
                path,
                width=first.width,
                height=first.height,
                rate=frames.rate,
                comment=order.comment,
            ),
        )
        for number, sound in _cut(order, frames, spans, main):
            watcher.reach(writer.frames)
            writer.write(frames.frame(number), sound.read(*writer.next_samples()))


def _cut(
    order: RenderOrder,
    frames: FrameReader,
    spans: Sequence[Span],
    main: Sound,
) -> Iterator[tuple[int, Sound]]:
    """Yield the source frame and the sound of every output frame."""
    done = 0
    for span in spans:
        if span.window is None:
            yield from ((number, main) for number in span.frames)
        else:
            begins = float(done / frames.rate)
            with _segment_sound(order.segments[span.window], begins) as sound:
                yield from ((number, sound) for number in span.frames)
        done += len(span.frames)


def _main_sound(order: RenderOrder, frames: FrameReader) -> Sound:
    """Return what is heard outside segments."""
    if order.audio is not None and not order.segments:
        return SampleReader(order.audio)
    start = sound_start(order.visual)
    if start is None:
        return Silence()
    return SampleReader(order.visual, lead=start - frames.origin, code=VIDEO_INVALID)


def _segment_sound(segment: RenderSegment, begins: float) -> SampleReader:
    """Return a segment's sound, placed at its window's beginning."""
    start, seconds = _crop(segment)
    return SampleReader(segment.audio, lead=begins - start, seconds=begins + seconds)


def _stated_seconds(path: Path) -> float:
    """Return the length that the finished file states."""
    with open_media(path) as container:
        return (container.duration or 0) / MICROSECONDS
