"""Move the lips of a video: whose lips they are, how they move, and what paints them.

A face that the sandbox drew is drawn anew: its comment says how it was drawn, and a redrawing of
two frames shows whether that still holds. The mouth of any other face is bent, where the models
that find faces are there. `FunctionPainter` hands the frames of any video to a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import attrs
import av
import numpy as np

from lipsync_async.sandbox.media.audio_reader import SampleReader
from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.errors import EngineError
from lipsync_async.sandbox.media.face_landmarks import (
    LARGEST,
    FaceFinder,
    FaceTrack,
    Speaker,
    follow,
)
from lipsync_async.sandbox.media.face_models import find_models
from lipsync_async.sandbox.media.mouth_shapes import (
    Mouth,
    MouthCurve,
    curve_of_phonemes,
    curve_of_sound,
)
from lipsync_async.sandbox.media.mouth_warp import move_mouth
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
_NO_FACE = "none (no face is seen)"
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
        spoken: Spoken,
    ) -> av.VideoFrame:
        """Return a frame with a mouth."""
        shown = mouth.weighted(spoken.weight)
        part, (left, top) = self._face.draw_lower_face(float(number / self._rate), shown)
        painted, drawn = _copied(picture), video_frame(part)
        for target, patch, size in zip(_planes(painted), _planes(drawn), (1, 2, 2), strict=True):
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


@attrs.frozen(eq=False)
class WarpedFacePainter:
    """Painter of any face: it bends the picture of its mouth."""

    _tracks: Mapping[Speaker, FaceTrack]

    def paint(
        self, picture: av.VideoFrame, number: int, mouth: Mouth, spoken: Spoken
    ) -> av.VideoFrame:
        """Return a frame with a mouth; as it is where the face is not seen."""
        face = self._tracks[spoken.speaker].face(number)
        if face is None:
            return picture
        painted = _copied(picture)
        weight = face.weight * spoken.weight
        move_mouth(list(_planes(painted)), face.points, mouth, weight)
        return painted


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
        # Convert a copy: PyAV changes the colour fields of a frame while it converts it, and the
        # writer may be encoding this one.
        given = _copied(picture).to_ndarray(format="rgb24", threads=THREADS)
        shown = mouth.weighted(spoken.weight)
        pixels = np.asarray(self._function(given.copy(), shown, spoken.path, spoken.second))
        if (pixels.shape, pixels.dtype) != (given.shape, given.dtype):
            raise ValueError(
                f"paint_lips returned an array of {pixels.shape} {pixels.dtype}, "
                f"not of {given.shape} {given.dtype}."
            )
        made = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        matrix = picture.colorspace
        return made.reformat(format="yuv420p", dst_colorspace=matrix, threads=THREADS)


def _copied(picture: av.VideoFrame) -> av.VideoFrame:
    """Return a frame of the same pixels, to be painted on."""
    copy = av.VideoFrame(picture.width, picture.height, "yuv420p")
    copy.colorspace, copy.color_range = picture.colorspace, picture.color_range
    for target, source in zip(_planes(copy), _planes(picture), strict=True):
        target[:] = source
    return copy


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
    speaker: Speaker = LARGEST  # whose lips


@attrs.frozen(eq=False)
class Lips:
    """The lips of one output."""

    trace: str  # `drawn`, `warped` or `painted`, and what moves them, or `none`, and why
    _frame_seconds: float = 0.0
    _painter: Painter | None = None
    _curves: Mapping[Path, MouthCurve] = attrs.field(factory=dict)

    def paint(self, picture: av.VideoFrame, number: int, spoken: Spoken) -> av.VideoFrame:
        """Return frame `number` of the video, saying what is heard."""
        if self._painter is None or not spoken.weight:
            return picture
        mouth = self._curves[spoken.path].at(spoken.second, self._frame_seconds)
        return self._painter.paint(picture, number, mouth, spoken)


def find_lips(
    video: Path,
    frames: FrameReader,
    sounds: Mapping[Path, float],
    speakers: Mapping[Speaker, Sequence[int]],
    before_each_block: Callable[[], object],
    *,
    paint_lips: PaintLips | None = None,
    models: Path | None = None,
) -> Lips:
    """Return how the lips of a video follow sounds, given with their seconds.

    All of a sound is listened to here, since what is loud in it shows only at its end, and the
    frames in which each speaker speaks are looked at. The models are in the user's cache
    folder, unless another is given.
    """
    if not sounds:
        return Lips(_NO_SOUND)
    painter: Painter | None
    how, seen = "painted", ""
    if paint_lips:
        painter = FunctionPainter(paint_lips)
    elif painter := _drawn_face(video, frames):
        how = "drawn"
    else:
        try:
            tracks = _tracks(frames, speakers, before_each_block, models)
        except EngineError as error:
            return Lips(f"none ({error})")
        share = sum(track.seen for track in tracks.values()) / sum(map(len, speakers.values()))
        if not share:
            return Lips(_NO_FACE)
        painter, how = WarpedFacePainter(tracks), "warped"
        seen = f", a face in {max(1, round(100 * share))} % of the frames"
    curves = {
        path: _mouth_curve(path, seconds, before_each_block) for path, seconds in sounds.items()
    }
    drives = " and ".join(sorted({curve.drive for curve in curves.values()}))
    return Lips(f"{how} ({drives}{seen})", float(1 / frames.rate), painter, curves)


def _drawn_face(path: Path, frames: FrameReader) -> DrawnFacePainter | None:
    """Return what draws the lips of a video, if the sandbox drew it and it is as it was."""
    with open_media(path) as container:
        said = _COMMENT.fullmatch(container.metadata.get("comment", ""))
    if said is None:
        return None
    seed, width, height = map(int, said.groups())
    first = frames.frame(0)
    if (width, height) != (first.width, first.height):
        return None
    painter = DrawnFacePainter(DrawnFace(width, height, seed), frames.rate)
    return painter if painter.is_true_of(frames) else None


def _tracks(
    frames: FrameReader,
    speakers: Mapping[Speaker, Sequence[int]],
    before_each_look: Callable[[], object],
    models: Path | None,
) -> dict[Speaker, FaceTrack]:
    """Return where each speaker's face is in the frames in which it speaks."""
    finder = FaceFinder(find_models(models))

    def read(number: int) -> list[Plane]:
        return list(_planes(frames.frame(number)))

    return {
        speaker: follow(finder, read, numbers, speaker, before_each_look)
        for speaker, numbers in speakers.items()
    }


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
