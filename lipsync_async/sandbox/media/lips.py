"""Move the lips of a video: whose lips they are, how they move, and what paints them.

By itself, only a face that the sandbox drew speaks: its comment says how it was drawn, and a
redrawing of two frames shows whether that still holds. A `Painter` is all that another way of
moving lips needs to be; `FunctionPainter` hands the frames of any video to a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import attrs
import av
import numpy as np

from lipsync_async.sandbox.media.audio_reader import SampleReader
from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.mouth_shapes import (
    Mouth,
    MouthCurve,
    curve_of_phonemes,
    curve_of_sound,
)
from lipsync_async.sandbox.media.open_media import THREADS, open_media
from lipsync_async.sandbox.media.speech import read_phonemes
from lipsync_async.sandbox.media.timeline import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from lipsync_async.sandbox.media.audio_reader import Samples
    from lipsync_async.sandbox.media.video_reader import FrameReader

    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

_NO_SOUND = "none (the video keeps its own sound)"
_STRANGER = "none (only a face that the sandbox drew moves its lips)"
_CHANGED = "none (the drawn face was changed after it was drawn)"
_COMMENT = re.compile(r"SANDBOX face seed=(-?\d{1,18}) size=(\d{1,5})x(\d{1,5})")
# What an encoder adds to a flat drawing is less; a head that moved by a pixel is more.
_MOST_DIFFERENCE, _PERCENTILE = 12, 99
_EDGE_FRAMES = 3  # over which lips begin and end to move at the edges of a segment
_BLOCK = 4 * SAMPLE_RATE  # samples that are listened to at once


class Painter(Protocol):
    """What paints the lips of one video."""

    def paint(
        self, picture: av.VideoFrame, number: int, mouth: Mouth, spoken: Spoken
    ) -> av.VideoFrame:
        """Return frame `number` of the video with a mouth, at what is heard then.

        The picture is that frame, upright, even, `yuv420p`. It is asked for again where the
        video is shown twice, so it is copied and never changed.
        """


def face_comment(seed: int, width: int, height: int) -> str:
    """Return what a video of the drawn face says of itself."""
    return f"SANDBOX face seed={seed} size={width}x{height}"


def video_frame(picture: Image.Image) -> av.VideoFrame:
    """Return a drawing as the encoder takes it."""
    frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p", threads=THREADS)


@attrs.frozen(eq=False)
class DrawnFacePainter:
    """Painter of the face that the sandbox drew: it draws the lower half anew."""

    _face: DrawnFace
    _rate: Fraction

    def paint(
        self,
        picture: av.VideoFrame,
        number: int,
        mouth: Mouth,
        spoken: Spoken,  # noqa: ARG002 - the mouth is all that is drawn
    ) -> av.VideoFrame:
        """Return a frame with a mouth."""
        part, (left, top) = self._face.draw_lower_face(float(number / self._rate), mouth)
        painted = av.VideoFrame(picture.width, picture.height, "yuv420p")
        painted.colorspace, painted.color_range = picture.colorspace, picture.color_range
        drawn = video_frame(part)
        for target, source, patch, size in zip(
            _planes(painted), _planes(picture), _planes(drawn), (1, 2, 2), strict=True
        ):
            target[:] = source
            height, width = patch.shape
            target[top // size :, left // size :][:height, :width] = patch
        return painted

    def is_true_of(self, frames: FrameReader) -> bool:
        """Return whether the video still shows what was drawn."""
        for number in (0, frames.count // 2):
            drawn = video_frame(self._face.draw(float(number / self._rate)))
            luma, shown = next(_planes(drawn)), next(_planes(frames.frame(number)))
            difference = np.abs(luma.astype(np.int16) - shown)
            if np.percentile(difference, _PERCENTILE) > _MOST_DIFFERENCE:
                return False
        return True


# Takes RGB pixels, a mouth, an audio file and the second in it; returns RGB pixels.
PaintLips = Callable[[Any, Mouth, Path, float], Any]


@attrs.frozen(eq=False)
class FunctionPainter:
    """Painter that calls a function of the user's, which may ask a model."""

    _function: PaintLips

    def paint(
        self,
        picture: av.VideoFrame,
        number: int,  # noqa: ARG002 - the pixels say what is in it
        mouth: Mouth,
        spoken: Spoken,
    ) -> av.VideoFrame:
        """Return what the function makes of a frame."""
        given = picture.to_ndarray(format="rgb24", threads=THREADS)
        pixels = np.asarray(self._function(given.copy(), mouth, spoken.path, spoken.second))
        if (pixels.shape, pixels.dtype) != (given.shape, given.dtype):
            raise ValueError(
                f"paint_lips returned an array of {pixels.shape} {pixels.dtype}, "
                f"not of {given.shape} {given.dtype}."
            )
        made = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        matrix = picture.colorspace
        return made.reformat(format="yuv420p", dst_colorspace=matrix, threads=THREADS)


def _planes(frame: av.VideoFrame) -> Iterator[Plane]:
    """Yield the brightness and both colours of a frame, to be read and written."""
    plane: Any  # a buffer, which its type does not say before Python 3.12
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        yield rows[: plane.height, : plane.width]


class Spoken(NamedTuple):
    """What is heard in one output frame."""

    path: Path
    second: float  # in that file, at the middle of the frame
    weight: float = 1.0  # how far the lips follow it; 0: the video's own are shown


@attrs.frozen(eq=False)
class Lips:
    """The lips of one output."""

    trace: str  # `drawn` or `painted`, and what moves them, or `none`, and why
    _frame_seconds: float = 0.0
    _painter: Painter | None = None
    _curves: Mapping[Path, MouthCurve] = attrs.field(factory=dict)

    def paint(self, picture: av.VideoFrame, number: int, spoken: Spoken) -> av.VideoFrame:
        """Return frame `number` of the video, saying what is heard."""
        if self._painter is None or not spoken.weight:
            return picture
        mouth = self._curves[spoken.path].at(spoken.second, self._frame_seconds)
        return self._painter.paint(picture, number, mouth.weighted(spoken.weight), spoken)


def find_lips(
    video: Path,
    frames: FrameReader,
    sounds: Mapping[Path, float],
    before_each_block: Callable[[], object],
    paint_lips: PaintLips | None = None,
) -> Lips:
    """Return how the lips of a video follow sounds, given with their seconds.

    All of a sound is listened to here, since what is loud in it shows only at its end.
    """
    if not sounds:
        return Lips(_NO_SOUND)
    painter = FunctionPainter(paint_lips) if paint_lips else _find_painter(video, frames)
    if isinstance(painter, str):
        return Lips(painter)
    curves = {
        path: _mouth_curve(path, seconds, before_each_block) for path, seconds in sounds.items()
    }
    drives = " and ".join(sorted({curve.drive for curve in curves.values()}))
    how = "painted" if paint_lips else "drawn"
    return Lips(f"{how} ({drives})", float(1 / frames.rate), painter, curves)


def _find_painter(path: Path, frames: FrameReader) -> Painter | str:
    """Return what paints the lips of a video, or why nothing does."""
    with open_media(path) as container:
        said = _COMMENT.fullmatch(container.metadata.get("comment", ""))
    if said is None:
        return _STRANGER
    seed, width, height = map(int, said.groups())
    first = frames.frame(0)
    if (width, height) == (first.width, first.height):
        painter = DrawnFacePainter(DrawnFace(width, height, seed), frames.rate)
        if painter.is_true_of(frames):
            return painter
    return _CHANGED


def _mouth_curve(path: Path, seconds: float, before_each_block: Callable[[], object]) -> MouthCurve:
    """Return how a mouth makes a file's sound: of its phonemes, if they are known."""
    phonemes = read_phonemes(path)
    if phonemes:
        return curve_of_phonemes(phonemes)

    def blocks() -> Iterator[Samples]:
        end = round(seconds * SAMPLE_RATE)
        with SampleReader(path) as sound:
            for start in range(0, end, _BLOCK):
                before_each_block()
                yield sound.read(start, min(start + _BLOCK, end))

    return curve_of_sound(blocks())


def edge_weight(place: int, length: int) -> float:
    """Return how far lips move in a frame of a segment: not at its edges, but soon."""
    return min(1.0, min(place, length - 1 - place) / _EDGE_FRAMES)
