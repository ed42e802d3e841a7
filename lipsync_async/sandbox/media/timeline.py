"""Decide which source frame, and whose sound, every output frame has.

Everything here is pure: no codec, no file, no clock. V is the video's length and A the
audio's. `bounce`, `loop` and `remap` last A; `cut_off` lasts min(V, A); `silence` lasts
max(V, A). Lengths are rounded to the frame grid, and an output has at least one frame.

Source: "Sync mode" and "Segments", sync.so developer guides.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import attrs

from lipsync_async._enums import SyncMode
from lipsync_async.sandbox.media.errors import SEGMENTS_INVALID, VALIDATION_FAILED, MediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The audio rate of every output. Faster audio is brought down to it, as the service does;
# slower audio is brought up, so that sounds of any origin fit into one stream.
SAMPLE_RATE = 48_000


@attrs.frozen(slots=True)
class Window:
    """One segment as the plan sees it."""

    start: float  # second in the video
    end: float  # equal to `start`: no effect
    audio_seconds: float  # after cropping
    sync_mode: str


@attrs.frozen(slots=True)
class Span:
    """A run of output frames that share one sound."""

    frames: Sequence[int]  # the source frame of each output frame
    window: int | None  # whose audio is heard from its beginning; `None`: the video's own goes on


def index_map(mode: str, frames: int, fps: Fraction, audio_seconds: float) -> list[int]:
    """Return the source frame, from 0 to `frames` - 1, of each output frame."""
    wanted = frame_count(audio_seconds, fps)
    match mode:
        case SyncMode.BOUNCE:
            # No frame is shown twice at a turning point.
            period = max(1, 2 * frames - 2)
            return [min(index % period, period - index % period) for index in range(wanted)]
        case SyncMode.LOOP:
            return [index % frames for index in range(wanted)]
        case SyncMode.CUT_OFF:
            return list(range(min(frames, wanted)))
        case SyncMode.SILENCE:
            return [min(index, frames - 1) for index in range(max(frames, wanted))]
        case SyncMode.REMAP:
            return [index * frames // wanted for index in range(wanted)]
    known = ", ".join(SyncMode)
    raise MediaError(VALIDATION_FAILED, f"sync_mode {mode!r} is not one of {known}.")


def frame_count(seconds: float, fps: Fraction) -> int:
    """Return how many frames come nearest to a length, at least one."""
    return max(1, round(seconds * fps))


# The rates that cameras and screens have, up to slow motion; the last is the fastest output.
_USUAL_RATES = (
    *(Fraction(24), Fraction(24_000, 1001), Fraction(25), Fraction(30), Fraction(30_000, 1001)),
    *(Fraction(50), Fraction(60), Fraction(60_000, 1001), Fraction(120), Fraction(240)),
)
_FASTEST_GRID = 60
_SLOWEST_RATE, _CALM_RATE = 12, 24
# Two frames nearer to each other than the fastest rate are one to the eye, and recorders
# stamp a few of a thousand at random.
_SHOWN_SHARE = 0.995


def steady_rate(ticks: Sequence[int], time_base: Fraction, stated: Sequence[Fraction]) -> Fraction:
    """Return a rate at which every frame of a video is shown, at most half a frame off its time.

    `ticks` are the moments of the frames, from 0 on; `stated` are the rates that the file
    states. Frames that follow each other regularly decide; then those that do so but for
    pauses; for all others it is the slowest rate that leaves no frame out. Slow rates are
    multiplied, so that sound of any length fits.
    """
    small = (rate.limit_denominator(1001) for rate in stated)
    for rate in (*(rate for rate in small if 0 < rate <= _USUAL_RATES[-1]), *_USUAL_RATES):
        if all(cell == place for place, cell in enumerate(_cells(ticks, time_base * rate))):
            return rate * ceil(_CALM_RATE / rate) if rate < _SLOWEST_RATE else rate
    for rate in _USUAL_RATES:
        if rate <= _FASTEST_GRID and _is_grid(ticks, time_base * rate):
            return rate
    most = len(set(_cells(ticks, time_base * _USUAL_RATES[-1])))
    return next(
        rate
        for rate in _USUAL_RATES
        if len(set(_cells(ticks, time_base * rate))) >= _SHOWN_SHARE * most
    )


def _cells(ticks: Sequence[int], scale: Fraction) -> Iterator[int]:
    """Yield the first frame of the output in which each frame may be shown: the nearest one."""
    numerator, denominator = scale.as_integer_ratio()
    return (-((denominator - 2 * numerator * tick) // (2 * denominator)) for tick in ticks)


def _is_grid(ticks: Sequence[int], scale: Fraction) -> bool:
    """Whether every frame has a frame of the output to itself, at most an eighth off."""
    numerator, denominator = scale.as_integer_ratio()
    rests = (numerator * tick % denominator for tick in ticks)
    is_near = all(8 * min(rest, denominator - rest) <= denominator for rest in rests)
    return is_near and len(set(_cells(ticks, scale))) == len(ticks)


def sample_position(frame: int, fps: Fraction) -> int:
    """Return the audio sample at which an output frame begins."""
    return round(frame / fps * SAMPLE_RATE)


def output_seconds(
    mode: str, video_seconds: float, audio_seconds: float, *, is_image: bool = False
) -> float:
    """Return how long the output will be, before it is rounded to the frame grid."""
    if is_image or mode not in {SyncMode.CUT_OFF, SyncMode.SILENCE}:
        return audio_seconds
    if mode == SyncMode.CUT_OFF:
        return min(video_seconds, audio_seconds)
    return max(video_seconds, audio_seconds)


def plan_segments(frames: int, fps: Fraction, windows: Sequence[Window]) -> list[Span]:
    """Return the spans of a video whose windows are dubbed; its length never changes.

    Outside every window the video keeps its own frames and its own audio. Inside, the
    frames follow the window's sync_mode; where the audio is shorter than the window, the
    picture goes on from where it stands and the rest is silent.
    """
    spans: list[Span] = []
    cursor = 0
    for first, last, number in sorted(_grid(frames, fps, windows)):
        if first < cursor:
            raise MediaError(SEGMENTS_INVALID, f"segments[{number}] overlaps another segment.")
        if first > cursor:
            spans.append(Span(range(cursor, first), None))
        spans.append(Span(_window_frames(windows[number], first, last, fps), number))
        cursor = last
    if cursor < frames:
        spans.append(Span(range(cursor, frames), None))
    return spans


def _grid(frames: int, fps: Fraction, windows: Sequence[Window]) -> list[tuple[int, int, int]]:
    """Return first frame, end frame and number of every window that has any effect."""
    cells: list[tuple[int, int, int]] = []
    # People round to the video's stated length; one frame too far is not a mistake.
    limit = float((frames + 1) / fps)
    for number, window in enumerate(windows):
        if not 0 <= window.start <= window.end <= limit:
            raise MediaError(
                SEGMENTS_INVALID,
                f"segments[{number}] runs from {window.start:g} s to {window.end:g} s, "
                f"but the video lasts {float(frames / fps):.2f} s.",
            )
        first, last = (min(round(second * fps), frames) for second in (window.start, window.end))
        if first < last:
            cells.append((first, last, number))
    return cells


def _window_frames(window: Window, first: int, last: int, fps: Fraction) -> list[int]:
    """Return the source frames of one window, exactly as many as it is long."""
    length = last - first
    mapped = index_map(window.sync_mode, length, fps, window.audio_seconds)[:length]
    following = range(mapped[-1] + 1, mapped[-1] + 1 + length - len(mapped))
    return [first + min(index, length - 1) for index in (*mapped, *following)]
