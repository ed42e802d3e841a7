"""Find a face in the frames of a video, and follow 468 points of it.

One model finds faces anywhere in a picture, another finds the points of a face in a crop that is
turned level. Every second frame is looked at and the others lie between; where two
looks do not agree, as at a cut, the frame between them is looked at, too. Points are
smoothed over time, but never across a cut.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left
from itertools import pairwise
from math import atan2, ceil, cos, exp, sin
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np
from PIL import Image

from lipsync_async.sandbox.media.errors import EngineError, in_words
from lipsync_async.sandbox.media.mouth_warp import (
    EYES,
    INNER_ABOVE,
    INNER_BELOW,
    JAW_LINE,
    NOSE_BASE,
    OUTER_ABOVE,
    OUTER_BELOW,
    SKIN,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lipsync_async.sandbox.media.face_models import FaceModels

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    Planes = Sequence[Plane]  # brightness and, at half the size, both colours
    ReadPlanes = Callable[[int], Planes]  # of a frame of the video

# Points of the mesh, beside those that a mouth is moved by.
NOSE_TIP, CHIN = 4, 152
CHEEKS = (127, 356)
POINTS = 468
_LIPS = OUTER_ABOVE + OUTER_BELOW + INNER_ABOVE + INNER_BELOW
# Kept of each frame: the others are of no use to a mouth.
_KEPT = np.array(
    sorted({*_LIPS, *JAW_LINE, *SKIN, *EYES, *CHEEKS, NOSE_BASE, NOSE_TIP}), dtype=np.intp
)
_LEFT_EYE, _RIGHT_EYE, _TIP, *_CHEEKS = (
    int(np.searchsorted(_KEPT, point)) for point in (*EYES, NOSE_TIP, *CHEEKS)
)

_FINDER_SIDE, _MESH_SIDE = 128, 192  # pixels of the crops that the models take
_LEAST_SCORE = 0.55  # of a face that is found
_LEAST_PRESENCE = 0.6  # of a face that is followed
_SAME_FACE = 0.3  # overlap of two boxes, of their union
_MARGIN = 1.5  # side of a crop, in sides of the face's box
_PATIENCE = 12  # frames from a search in vain to the next
_STRIDE = 2  # frames from look to look
_JUMP = 0.3  # eye distances between two frames: another shot, or another face
_SIGMA, _REACH = 1.2, 4  # of the smoothing, in frames
_RAMP = 3  # frames over which the weight rises and falls
# A cheek so many times as far from the nose as the other: the effect begins to fade, is gone.
_TURNED, _PROFILE = 2.5, 3.5
_NO_BLACK = (16, 128, 128)  # what is outside a picture is black
# From YUV to RGB, for the models only, which do not see what matrix a video has.
_TO_RGB = np.array([[1.164, 1.164, 1.164], [0, -0.392, 2.017], [1.596, -0.813, 0]], np.float32)


Edges = tuple[float, float, float, float]  # left, top, right and bottom


class Face(NamedTuple):
    """A face in one frame."""

    points: Floats  # (468, 2), x and y in pixels of the whole picture; NaN: not kept
    weight: float  # 0 to 1, how much of a movement is shown


class Box(NamedTuple):
    """Where a face is: a square that may be turned."""

    x: float  # of its middle
    y: float
    side: float
    angle: float  # radians by which the face is turned clockwise
    score: float = 1.0

    def holds(self, edges: Edges) -> bool:
        """Return whether the middle is between edges: left, top, right and bottom."""
        left, top, right, bottom = edges
        return left <= self.x <= right and top <= self.y <= bottom

    def overlap(self, other: Box) -> float:
        """Return the share of both upright squares that is in each."""
        across = min(self.x + self.side / 2, other.x + other.side / 2) - max(
            self.x - self.side / 2, other.x - other.side / 2
        )
        down = min(self.y + self.side / 2, other.y + other.side / 2) - max(
            self.y - self.side / 2, other.y - other.side / 2
        )
        shared = max(across, 0.0) * max(down, 0.0)
        return shared / (self.side**2 + other.side**2 - shared)

    def distance(self, x: float, y: float) -> float:
        """Return how far a point is from the middle, in sides."""
        return float(np.hypot(self.x - x, self.y - y)) / self.side


@attrs.frozen(cache_hash=True)
class Speaker:
    """Whose lips move: those of the largest sure face, unless a point or boxes choose another."""

    frame: int = 0  # of the video, in which the point is
    point: tuple[float, float] | None = None  # pixels of the picture as it is shown
    boxes: tuple[Edges | None, ...] = ()  # frame by frame; `None`: no face is meant

    def box(self, number: int) -> Edges | None:
        """Return the box of a frame; after the last there is none."""
        return self.boxes[number] if number < len(self.boxes) else None


LARGEST = Speaker()


class FaceTrack:
    """One face in the frames of a video in which it is seen."""

    def __init__(self, numbers: Sequence[int], points: Floats, weights: Floats) -> None:
        self._places = {number: place for place, number in enumerate(numbers)}
        self._points = points
        self._weights = weights

    @property
    def seen(self) -> int:
        """Number of frames in which the face is seen."""
        return int(np.count_nonzero(self._weights))

    def face(self, number: int) -> Face | None:
        """Return the face of a frame; `None`: it is not seen there."""
        place = self._places.get(number)
        if place is None or not self._weights[place]:
            return None
        points = np.full((POINTS, 2), np.nan, np.float32)
        points[_KEPT] = self._points[place]
        return Face(points, float(self._weights[place]))


class _Model:
    """One of the models, in one thread: so its answers are always the same."""

    def __init__(self, path: object) -> None:
        # Here and not above: it belongs to an extra. It has no types.
        lite: Any = importlib.import_module("ai_edge_litert.interpreter")
        self._interpreter = lite.Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]

    def ask(self, pixels: Floats) -> list[Floats]:
        """Return what the model says of a picture."""
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


class FaceFinder:
    """The two models, and what their numbers mean; `EngineError`: they cannot be loaded."""

    def __init__(self, models: FaceModels) -> None:
        try:
            self._detector = _Model(models.detector)
            self._mesh = _Model(models.mesh)
        except Exception as error:
            raise EngineError(f"ai-edge-litert does not work: {in_words(error)}") from error
        self._anchors = np.concatenate([_anchors(16, 2), _anchors(8, 6)])

    def faces(self, planes: Planes, *, all_of_them: bool = False) -> list[Box]:
        """Return the faces of a picture, the largest sure one first.

        The picture is looked at as a whole, then in parts, until faces are found.
        """
        found: list[Box] = []
        for squares in _looks(*planes[0].shape):
            for square in squares:
                found += self._look(planes, square)
            if found and not all_of_them:
                break
        kept: list[Box] = []
        for box in sorted(found, key=lambda box: -box.score * box.side):
            if all(box.overlap(other) < _SAME_FACE for other in kept):
                kept.append(box)
        return kept

    def points(self, planes: Planes, box: Box, *, fits: int = 1) -> Floats | None:
        """Return the points of the face in a box, (468, 2); `None`: there is none.

        Each further fit uses the box that the one before it found.
        """
        points = None
        for _ in range(fits):
            square = box._replace(side=box.side * _MARGIN)
            values, presence = self._mesh.ask(_crop(planes, square, _MESH_SIDE))
            if _sigmoid(presence).item() <= _LEAST_PRESENCE:
                return None
            level = np.asarray(values.reshape(-1, 3)[:, :2] / _MESH_SIDE - 0.5, np.float32)
            points = _placed(level, square)
            box = box_of(points)
        return points

    def _look(self, planes: Planes, square: Box) -> Iterator[Box]:
        offsets, logits = self._detector.ask(_crop(planes, square, _FINDER_SIDE) * 2 - 1)
        scores = _sigmoid(logits.ravel())
        for place in np.flatnonzero(scores > _LEAST_SCORE):
            middle, size, left, right = (offsets[place] / _FINDER_SIDE)[:8].reshape(4, 2)
            x, y = _placed(np.asarray(self._anchors[place] + middle - 0.5), square)
            across, down = right - left
            side, angle = float(size.max()) * square.side, atan2(down, across)
            yield Box(float(x), float(y), side, angle, float(scores[place]))


def box_of(points: Floats) -> Box:
    """Return the box of a face's points, turned as its eyes are."""
    across, down = points[EYES[1]] - points[EYES[0]]
    turn = _turn(atan2(down, across))
    level = points @ turn
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn @ ((low + high) / 2)
    return Box(float(x), float(y), float((high - low).max()), atan2(down, across))


def follow(
    finder: FaceFinder,
    read: ReadPlanes,
    numbers: Sequence[int],
    speaker: Speaker,
    before_each_look: Callable[[], object],
) -> FaceTrack:
    """Follow a speaker's face through frames of a video, given in their order."""
    search = _Search(finder, read, speaker, before_each_look)
    looked = list(_looked_at(numbers))
    start = 0
    if speaker.point is not None:
        start = min(int(np.searchsorted(looked, speaker.frame)), max(0, len(looked) - 1))
    # From the frame of the point to both ends.
    for way in (looked[start:], looked[start::-1]):
        search.pass_through(way, frozenset(numbers))
    return _track(search.seen, numbers)


class _Seen(NamedTuple):
    """A face in one frame."""

    points: Floats  # those that are kept
    box: Box

    def jump(self, other: _Seen) -> float:
        """Return how far the face is from where it is in another frame, in eye distances."""
        moved = np.hypot(*(self.points - other.points).T).mean()
        return float(moved) / _eye_distance(self.points)


class _Search:
    """What is known of a face while it is followed from frame to frame."""

    def __init__(
        self,
        finder: FaceFinder,
        read: ReadPlanes,
        speaker: Speaker,
        before_each_look: Callable[[], object],
    ) -> None:
        self._finder = finder
        self._read = read
        self._speaker = speaker
        self._before_each_look = before_each_look
        self._first = None if speaker.point is None else self._at_point(*speaker.point)
        self._looked: set[int] = set()
        self.seen: dict[int, _Seen] = {}

    def pass_through(self, way: Sequence[int], wanted: frozenset[int]) -> None:
        """Follow the face from frame to frame, and fill in the frames between them."""
        box = home = self._first
        missed, before = -_PATIENCE, -_PATIENCE
        for number in way:
            found = self.seen.get(number)
            if number not in self._looked:
                self._looked.add(number)
                found = self._fitted(number, box, fits=1)
                if found is None and abs(number - missed) >= _PATIENCE and self._is_meant(number):
                    found = self._searched(number, home)
                    missed = missed if found else number
            if found is not None:
                self.seen[number] = found
                home = found.box
            box = None if found is None else found.box
            middle = (number + before) // 2
            if abs(number - before) == _STRIDE and middle in wanted:
                self._fill(before, middle, number)
            before = number

    def _at_point(self, x: float, y: float) -> Box | None:
        """Return the face at the point that is given in some frame."""
        planes = self._read(self._speaker.frame)
        found = self._finder.faces(planes, all_of_them=True)
        for box in sorted(found, key=lambda box: box.distance(x, y)):
            points = self._finder.points(planes, box, fits=2) if box.distance(x, y) <= 1 else None
            if points is not None:
                return box_of(points)
        return None

    def _is_meant(self, number: int) -> bool:
        """Return whether boxes, if there are any, have one for a frame."""
        return not self._speaker.boxes or self._speaker.box(number) is not None

    def _fitted(self, number: int, box: Box | None, fits: int) -> _Seen | None:
        """Return the face of a frame that is near a box, unless another is meant."""
        if box is None:
            return None
        self._before_each_look()
        points = self._finder.points(self._read(number), box, fits=fits)
        if points is None:
            return None
        found = _Seen(np.asarray(points[_KEPT]), box_of(points))
        if self._speaker.boxes:
            edges = self._speaker.box(number)
            return found if edges is not None and found.box.holds(edges) else None
        return found

    def _searched(self, number: int, home: Box | None) -> _Seen | None:
        """Search a frame for the speaker's face."""
        self._before_each_look()
        speaker = self._speaker
        chooses = bool(speaker.boxes) or speaker.point is not None
        found = self._finder.faces(self._read(number), all_of_them=chooses)
        if speaker.boxes:
            edges = speaker.box(number)
            found = [box for box in found if edges is not None and box.holds(edges)]
        elif speaker.point is not None:
            # What is far from where the face was is another face.
            found = [box for box in found if home and home.distance(box.x, box.y) <= 1]
        # What looks like a face from afar need not be one.
        fitted = (self._fitted(number, box, fits=2) for box in found)
        return next((each for each in fitted if each is not None), None)

    def _fill(self, before: int, middle: int, after: int) -> None:
        """Give the frame between two its points: those between theirs, if these agree."""
        ends = [self.seen[number] for number in (before, after) if number in self.seen]
        if len(ends) == _STRIDE and ends[0].jump(ends[1]) <= _JUMP:
            between = np.asarray((ends[0].points + ends[1].points) / 2, np.float32)
            self.seen[middle] = _Seen(between, ends[0].box)
            return
        fitted = (self._fitted(middle, end.box, fits=2) for end in ends)
        found = next((each for each in fitted if each is not None), None)
        if found is not None:
            self.seen[middle] = found


def _looked_at(numbers: Sequence[int]) -> Iterator[int]:
    """Yield every second frame of those that follow each other, and the last of them."""
    last = -_STRIDE
    for number, following in pairwise([*numbers, -1]):
        if number - last >= _STRIDE or following != number + 1:
            yield number
            last = number


def _track(seen: dict[int, _Seen], numbers: Sequence[int]) -> FaceTrack:
    """Smooth what was seen over time, and let it fade where it begins and ends."""
    points = np.zeros((len(numbers), len(_KEPT), 2), np.float32)
    weights = np.zeros(len(numbers), np.float32)
    run: list[int] = []
    missed = [number for number in numbers if number not in seen]
    for place, number in enumerate(numbers):
        if run and not _go_on(seen, numbers[run[-1]], number):
            points[run] = _smoothed(points[run])
            run = []
        if number in seen:
            run.append(place)
            points[place] = seen[number].points
            weights[place] = _frontal(points[place]) * _ramp(missed, number)
    if run:
        points[run] = _smoothed(points[run])
    return FaceTrack(numbers, points, weights)


def _go_on(seen: dict[int, _Seen], before: int, number: int) -> bool:
    """Return whether a face moves on from one frame to another: no cut is between them."""
    is_near = number - before <= _STRIDE and number in seen
    return is_near and seen[before].jump(seen[number]) <= _JUMP


def _smoothed(points: Floats) -> Floats:
    """Return each point's weighted mean over the frames around it."""
    total = np.zeros_like(points)
    parts = np.zeros((len(points), 1, 1), np.float32)
    for by in range(-min(_REACH, len(points) - 1), min(_REACH, len(points) - 1) + 1):
        weight = np.float32(exp(-0.5 * (by / _SIGMA) ** 2))
        here, there = slice(max(0, -by), len(points) - max(0, by)), slice(max(0, by), None)
        source = points[there] if by >= 0 else points[: len(points) + by]
        total[here] += weight * source
        parts[here] += weight
    return np.asarray(total / parts)


def _ramp(missed: Sequence[int], number: int) -> float:
    """Return the weight of a frame by how far it is from where the face is not seen."""
    place = bisect_left(missed, number)
    near = [abs(number - other) for other in missed[max(0, place - 1) : place + 1]]
    return min(1.0, min(near, default=_RAMP + 1) / (_RAMP + 1))


def frontal(left: float, right: float) -> float:
    """Return 1 for a face that looks this way, 0 for one that shows its side.

    Given is how far the nose is from the cheeks, across the picture.
    """
    near, far = sorted((max(left, 1e-3), max(right, 1e-3)))
    return min(1.0, max(0.0, (_PROFILE - far / near) / (_PROFILE - _TURNED)))


def _frontal(points: Floats) -> float:
    across = points[_RIGHT_EYE] - points[_LEFT_EYE]
    left, right = (float((points[place] - points[_TIP]) @ across) for place in _CHEEKS)
    return frontal(-left / _eye_distance(points), right / _eye_distance(points))


def _eye_distance(points: Floats) -> float:
    return max(1e-3, float(np.hypot(*(points[_RIGHT_EYE] - points[_LEFT_EYE]))))


def _anchors(cells: int, times: int) -> Floats:
    """Return the middles of a square's cells, row by row, each so many times."""
    middles = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    return np.repeat(grid, times, axis=0)


def _looks(height: int, width: int) -> Iterator[list[Box]]:
    """Yield what is looked at together: the whole, then squares along it, then small ones."""
    short = float(min(height, width))
    yield [Box(width / 2, height / 2, float(max(height, width)), 0.0)]
    for side, step in ((short, short / 2), (short / 2, short / 4)):
        rows, columns = (_middles(length, side, step) for length in (height, width))
        yield [Box(x, y, side, 0.0) for y in rows for x in columns]


def _middles(length: int, side: float, step: float) -> list[float]:
    """Return the middles of intervals that cover a length and overlap."""
    count = ceil((length - side) / step) + 1
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]


def _crop(planes: Planes, square: Box, side: int) -> Floats:
    """Return a square of a picture, turned level, as RGB from 0 to 1; (side, side, 3)."""
    layers = []
    for plane, size, black in zip(planes, (1, 2, 2), _NO_BLACK, strict=True):
        x, y, reach = square.x / size, square.y / size, square.side / size * 0.75 + 2
        height, width = plane.shape
        left, top = (
            min(max(0, int(edge - reach)), most) for edge, most in ((x, width - 1), (y, height - 1))
        )
        part = plane[top : max(top, int(y + reach)) + 1, left : max(left, int(x + reach)) + 1]
        scale = square.side / size / side
        by = max(1, int(scale))
        image = Image.fromarray(part).reduce(by)
        (a, b), (c, d) = _turn(square.angle) * (scale / by)
        middle = side / 2
        to_source = (
            *(a, b, (x - left) / by - (a + b) * middle),
            *(c, d, (y - top) / by - (c + d) * middle),
        )
        layer = image.transform(
            (side, side),
            Image.Transform.AFFINE,
            to_source,
            Image.Resampling.BILINEAR,
            fillcolor=black,
        )
        layers.append(np.asarray(layer, np.float32) - black)
    return np.asarray(np.clip(np.stack(layers, axis=-1) @ _TO_RGB / 255, 0, 1), np.float32)


def _placed(level: Floats, square: Box) -> Floats:
    """Return where points of a crop, -0.5 to 0.5, are in the picture."""
    placed = level @ _turn(square.angle).T * square.side + (square.x, square.y)
    return np.asarray(placed, np.float32)


def _turn(angle: float) -> Floats:
    return np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]], np.float32)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))), np.float32)
