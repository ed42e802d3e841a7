"""Make the output file of one generation: plan, decode, encode, read back.

A render blocks for about a second per 10 s of 640x360, so the service runs it in a worker
thread; a second one encodes what it painted. The file appears under its name only when it is
complete.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lipsync_async.sandbox.media.audio_reader import SampleReader, sound_seconds, sound_start
from lipsync_async.sandbox.media.errors import (
    FACE_SELECTION_INVALID,
    SEGMENTS_INVALID,
    TRIM_INVALID,
    VALIDATION_FAILED,
    VIDEO_INVALID,
    MediaError,
    RenderCancelledError,
)
from lipsync_async.sandbox.media.face_landmarks import LARGEST, Speaker
from lipsync_async.sandbox.media.lips import PaintLips, Spoken, edge_weight, find_lips
from lipsync_async.sandbox.media.mp4_writer import Mp4Writer
from lipsync_async.sandbox.media.open_media import MICROSECONDS, open_media
from lipsync_async.sandbox.media.timeline import Span, Window, frame_count, index_map, plan_segments
from lipsync_async.sandbox.media.video_reader import FrameReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@attrs.frozen(slots=True)
class RenderSegment:
    """One window of the video that gets an audio of its own."""

    start: float  # second in the video
    end: float  # equal to `start`: no effect
    audio: Path
    crop: tuple[float, float] | None = None  # the seconds of the audio to use; `None`: all
    sync_mode: str = "bounce"
    speaker: Speaker | None = None  # `None`: that of the job


@attrs.frozen(slots=True)
class RenderJob:
    """Everything that one output is made of."""

    visual: Path
    is_image: bool  # then `sync_mode` is ignored
    audio: Path | None  # `None` keeps the video's own, as in dubbing; not used with segments
    output: Path  # an mp4; an existing file is replaced
    sync_mode: str = "bounce"
    segments: tuple[RenderSegment, ...] = ()
    speaker: Speaker = LARGEST  # whose lips move
    paint_lips: PaintLips | None = None  # in place of the sandbox's own way
    models: Path | None = None  # folder of the models; `None`: in the user's cache


@attrs.frozen(slots=True)
class Rendered:
    """What a finished render made."""

    path: Path
    duration: float  # seconds, read back from the file
    frames: int
    lips: str  # `drawn`, `warped` or `painted`, and what moved them, or `none`, and why


def render(
    job: RenderJob,
    *,
    on_progress: Callable[[float], object] | None = None,  # 0 to 100, in this thread
    is_cancelled: Callable[[], bool] | None = None,  # asked before each frame
) -> Rendered:
    """Make the output of one generation; blocking. 100 % is told when the file has its name."""
    partial = job.output.with_name(f"{job.output.name}.part")
    code = VALIDATION_FAILED if job.is_image else VIDEO_INVALID
    shown = -1  # percent

    def reach(done: int) -> None:
        nonlocal shown
        if is_cancelled is not None and is_cancelled():
            raise RenderCancelledError(f"the render stopped at frame {done} of {total}.")
        percent = 100 * done // total
        if on_progress is not None and percent > shown:
            on_progress(float(percent))
        shown = percent

    try:
        with FrameReader(job.visual, code=code) as frames:
            cut = _Cut(job, frames)
            spans = cut.plan()
            total = sum(len(span.frames) for span in spans)
            lips = find_lips(
                job.visual,
                frames,
                cut.sounds(spans),
                cut.speakers(spans),
                lambda: reach(0),
                paint_lips=job.paint_lips,
                models=job.models,
            )
            first = frames.frame(spans[0].frames[0])
            with Mp4Writer(
                partial,
                width=first.width,
                height=first.height,
                rate=frames.rate,
                # So that it is not taken for the real service's.
                comment=f"SANDBOX, lips: {lips.trace}",
                tags=frames.tags,
            ) as writer:
                for number, sound, spoken in cut.frames_and_sounds(spans):
                    reach(writer.frames)
                    picture = frames.frame(number)
                    if spoken is not None:
                        picture = lips.paint(picture, number, spoken)
                    writer.write(picture, sound.read(*writer.next_samples()))
        partial.replace(job.output)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    reach(total)
    with open_media(job.output) as container:
        return Rendered(job.output, (container.duration or 0) / MICROSECONDS, total, lips.trace)


@attrs.frozen
class _Cut:
    """What follows what in an output."""

    job: RenderJob
    video: FrameReader
    # The true length of an audio costs its decoding: once, however many segments use it.
    length: Callable[[Path], float] = attrs.field(init=False, factory=lambda: cache(sound_seconds))

    def plan(self) -> Sequence[Span]:
        job, count, rate = self.job, self.video.count, self.video.rate
        if job.segments:
            if job.is_image:
                raise MediaError(SEGMENTS_INVALID, "segments apply to video inputs only.")
            windows = [
                Window(segment.start, segment.end, self._crop(segment)[1], segment.sync_mode)
                for segment in job.segments
            ]
            return plan_segments(count, rate, windows)
        if job.audio is None:
            if job.is_image:
                raise MediaError(VALIDATION_FAILED, "a picture needs an audio input.")
            return [Span(range(count), None)]
        seconds = self.length(job.audio)
        if job.is_image:
            return [Span([0] * frame_count(seconds, rate), None)]
        return [Span(index_map(job.sync_mode, count, rate, seconds), None)]

    def sounds(self, spans: Sequence[Span]) -> dict[Path, float]:
        """Return the audios that lips move to, with the seconds of each."""
        windows = [span.window for span in spans if span.window is not None]
        paths = {self.job.segments[window].audio for window in windows}
        if self.job.audio is not None and not self.job.segments:
            paths.add(self.job.audio)
        return {path: self.length(path) for path in sorted(paths)}

    def speakers(self, spans: Sequence[Span]) -> dict[Speaker, list[int]]:
        """Return in which frames of the video each speaker speaks, in their order."""
        found: dict[Speaker, set[int]] = {}
        for span in spans:
            if span.window is not None or (self.job.audio is not None and not self.job.segments):
                found.setdefault(self._speaker(span), set()).update(span.frames)
        for speaker in found:
            self._check_point(speaker)
        return {speaker: sorted(numbers) for speaker, numbers in found.items()}

    def _check_point(self, speaker: Speaker) -> None:
        first, (x, y) = self.video.frame(0), speaker.point or (0.0, 0.0)
        if x >= first.width or y >= first.height or speaker.frame >= self.video.count:
            raise MediaError(
                FACE_SELECTION_INVALID,
                f"the point {x:g}, {y:g} in frame {speaker.frame} is not in the video, which has "
                f"{self.video.count} frames of {first.width}x{first.height}.",
            )

    def _speaker(self, span: Span) -> Speaker:
        own = None if span.window is None else self.job.segments[span.window].speaker
        return own or self.job.speaker

    def frames_and_sounds(
        self, spans: Sequence[Span]
    ) -> Iterator[tuple[int, SampleReader, Spoken | None]]:
        """Yield source frame and sound of every output frame, and what its lips say, if anything.

        Lips follow the output's time, whichever way the video runs.
        """
        done, rate = 0, self.video.rate
        with self._main_sound() as main, ExitStack() as opened:
            sound: SampleReader | None = None
            for span in spans:
                middles = [float((place + 0.5) / rate) for place in range(len(span.frames))]
                if span.window is None:
                    for number, middle in zip(span.frames, middles, strict=True):
                        yield number, main, self._spoken(middle)
                else:
                    segment, begins = self.job.segments[span.window], float(done / rate)
                    start, seconds = self._crop(segment)
                    lead, end = begins - start, begins + seconds
                    if sound is None or sound.path != segment.audio:
                        opened.close()
                        sound = opened.enter_context(SampleReader(segment.audio))
                    sound.restart(lead=lead, seconds=end)
                    for place, (number, middle) in enumerate(
                        zip(span.frames, middles, strict=True)
                    ):
                        weight = edge_weight(place, len(middles)) if middle < seconds else 0.0
                        spoken = Spoken(segment.audio, start + middle, weight, self._speaker(span))
                        yield number, sound, spoken
                done += len(span.frames)

    def _spoken(self, second: float) -> Spoken | None:
        """Return what is heard where no segment is; the video's own sound is none."""
        audio = None if self.job.segments else self.job.audio
        return None if audio is None else Spoken(audio, second, speaker=self.job.speaker)

    def _main_sound(self) -> SampleReader:
        if self.job.audio is not None and not self.job.segments:
            return SampleReader(self.job.audio)
        lead = sound_start(self.job.visual) - self.video.origin
        return SampleReader(self.job.visual, lead=lead, code=VIDEO_INVALID, may_be_silent=True)

    def _crop(self, segment: RenderSegment) -> tuple[float, float]:
        """Return where a segment's sound begins in its audio, and how long it is."""
        seconds = self.length(segment.audio)
        start, end = segment.crop or (0.0, seconds)
        if not 0 <= start <= end or start > seconds:
            raise MediaError(
                TRIM_INVALID,
                f"the crop from {start:g} s to {end:g} s does not fit {seconds:.2f} s of audio.",
            )
        return start, min(end, seconds) - start
