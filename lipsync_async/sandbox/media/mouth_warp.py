"""Move the mouth of a face in a picture, by geometry alone.

The picture is bent along a grid over the lower half of the face. Lengths on that grid are in
units of the distance between the outer corners of the eyes; x runs along the eyes, y down the
face, from the middle between the corners of the mouth. Each column of the grid has knots: nose,
both edges of both lips, jaw, and a line below it that stays. A `Mouth` says where the knots go.
The picture above the line between the lips follows the upper lip, the picture below it the lower
one. What opens between them is painted: the teeth that the picture shows there, or plain ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lipsync_async.sandbox.media.mouth_shapes import Mouth

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

# Points of the face mesh by their numbers.
OUTER_ABOVE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_BELOW = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_ABOVE = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_BELOW = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_RIGHT_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
JAW_LINE = (*_RIGHT_JAW, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
EYES = (33, 263)
NOSE_BASE = 2
SKIN = (50, 280, 205, 425, 36, 266)  # of both cheeks

_COLUMNS, _ROWS = 72, 96
_BELOW_JAW = 0.32  # where the picture stays as it is

_DROP, _RISE = 0.235, 0.035  # of the lower and the upper lip, when the mouth is wide open
_CORNER_DROP = 0.12  # of that of the lower lip
_JAW_DROP = 0.78  # of the same
_SPREAD, _ROUND = 0.13, 0.24
# An open mouth is narrower than a smile.
_OPEN_NARROWS, _SMILE_NARROWS, _HALF_WIDTH = 0.05, 1.2, 0.29
_PRESSED, _TUCKED = 0.18, 0.03
_TEETH = 0.034  # how far the upper teeth reach below the line between closed lips
_PARTED = (0.03, 0.05)  # lips that are apart by so much show teeth of their own
_LEAST = 1e-6


class _Fields(NamedTuple):
    """What the grid says of each place of the picture; lengths in units of the face."""

    across: Array  # from a place to what is shown there, along the eyes
    down_above: Array  # the same along the face, where the upper lip moves it
    down_below: Array
    under_upper: Array  # how far the place is below the edge of the upper lip
    over_lower: Array
    over_teeth: Array  # how far above the end of the upper teeth
    down_between: Array  # to the picture's own teeth


def move_mouth(planes: Sequence[Plane], points: Array, mouth: Mouth, weight: float = 1.0) -> None:
    """Move the mouth of a face, in place.

    Args:
        planes: Brightness and both colours of a picture, of which the colours have half the
            width and height.
        points: The 468 points of the face mesh, in pixels from the picture's corner.
        mouth: How the mouth is to look.
        weight: 0 to 1, how far the picture goes from what it is to that.

    """
    eye, other = points[EYES[0]], points[EYES[1]]
    unit = float(np.hypot(*(other - eye)))
    along = (other - eye) / unit
    axes = np.array([along, [-along[1], along[0]]], np.float32)  # of the face, in pixels
    origin = (points[OUTER_ABOVE[0]] + points[OUTER_ABOVE[-1]]) / 2
    local = (points - origin) @ axes.T / unit
    place = _Place.of(local, axes * np.float32(unit), origin, planes[0].shape)
    if place is None:
        return
    fields, own = _fields(local, place, mouth)
    skin = _skin(planes, points)
    across, above, below, under_upper, over_lower = map(place.spread, fields[:5])
    down = np.where(under_upper < over_lower, above, below)
    cover = np.clip(under_upper * np.float32(unit) + 0.5, 0, 1)
    cover += np.clip(over_lower * np.float32(unit) + 0.5, 0, 1)
    cover = np.clip(cover - 1, 0, 1) * weight
    opened = place.around(cover)
    bent = place.pixels(across * weight, down * weight)
    if opened is None:
        _bend(planes, place, bent)
        return
    inner, cover = opened
    seen = _Fields(*map(inner.spread, fields))
    between = _sizes(*inner.pixels(np.float32(0), seen.down_between))
    teeth = [
        _sample(plane, inner, size, *to) for plane, (size, *to) in zip(planes, between, strict=True)
    ]
    _bend(planes, place, bent)
    _fill(planes, inner, _inside(seen, unit, mouth.wide, own, skin), teeth, cover)


class _Place(NamedTuple):
    """Where the grid lies in the picture."""

    across: Array  # x of the columns
    down: Array  # y of the rows
    axes: Array  # one unit along and down the face, in pixels
    to_grid: tuple[float, ...]  # from pixels of the box to the grid
    left: int
    top: int
    size: tuple[int, int]  # width and height of the box in pixels

    @classmethod
    def of(cls, local: Array, axes: Array, origin: Array, shape: tuple[int, int]) -> _Place | None:
        """Return the place of the grid; `None` outside the picture."""
        jaw = local[list(JAW_LINE)]
        start, end = jaw[:, 0].min(), jaw[:, 0].max()
        across = np.linspace(start, end, _COLUMNS, dtype=np.float32)
        bottom = jaw[:, 1].max() + _BELOW_JAW
        down = np.linspace(local[NOSE_BASE, 1], bottom, _ROWS, dtype=np.float32)
        corners = np.array([(x, y) for x in (start, end) for y in (down[0], bottom)]) @ axes
        low = np.maximum(np.floor(corners.min(0) + origin), 0)
        high = np.minimum(np.ceil(corners.max(0) + origin), shape[::-1])
        left, top = (int(value) // 2 * 2 for value in low)  # whole pixels of the colours
        right, under = (int(value) // 2 * 2 for value in high)
        if right <= left or under <= top:
            return None
        numbers: list[float] = []
        for axis, line in zip(axes, (across, down), strict=True):
            step = (line[1] - line[0]) * float(axis @ axis)
            moved = float((np.array([left, top]) - origin) @ axis) / step
            numbers += [axis[0] / step, axis[1] / step]
            numbers.append(moved - line[0] / (line[1] - line[0]) + 0.5)
        to_grid = tuple(map(float, numbers))
        return cls(across, down, axes, to_grid, left, top, (right - left, under - top))

    def spread(self, field: Array) -> Array:
        """Return a field of the grid for each pixel of the box; 0 outside the grid."""
        image = Image.fromarray(np.ascontiguousarray(field, np.float32))
        bilinear = Image.Resampling.BILINEAR
        spread = image.transform(self.size, Image.Transform.AFFINE, self.to_grid, bilinear)
        return np.asarray(spread)

    def pixels(self, across: Any, down: Any) -> tuple[Array, Array]:
        """Return lengths along and down the face as lengths in the picture."""
        (x_along, y_along), (x_down, y_down) = self.axes
        return across * x_along + down * x_down, across * y_along + down * y_down

    def around(self, cover: Array) -> tuple[_Place, Array] | None:
        """Return the part of the box that is covered, and its cover; `None`: nothing is."""
        rows, columns = (np.flatnonzero(cover.any(axis)) for axis in (1, 0))
        if not len(rows):
            return None
        top, left = int(rows[0]) // 2 * 2, int(columns[0]) // 2 * 2
        part = cover[top : rows[-1] // 2 * 2 + 2, left : columns[-1] // 2 * 2 + 2]
        a, b, c, d, e, f = self.to_grid
        to_grid = (a, b, c + a * left + b * top, d, e, f + d * left + e * top)
        height, width = part.shape
        place = _Place(
            self.across,
            self.down,
            self.axes,
            to_grid,
            self.left + left,
            self.top + top,
            (width, height),
        )
        return place, part

    def of_plane(self, plane: Plane, size: int) -> Plane:
        """Return the box's part of a plane whose pixels are so many wide and high."""
        left, top, (width, height) = self.left, self.top, self.size
        return plane[top // size : (top + height) // size, left // size : (left + width) // size]


def _fields(local: Array, place: _Place, mouth: Mouth) -> tuple[_Fields, float]:
    """Return what the grid says, and how far the picture's own teeth are seen (0 to 1)."""

    def line(numbers: Sequence[int], at: Array) -> Array:
        x, y = local[list(numbers)].T
        # A turned head may hide a corner behind the curve of its lips.
        found: Array = np.interp(at, np.maximum.accumulate(x), y).astype(np.float32)
        return found

    rows, nose = place.down[:, None], place.down[0]
    start, end = place.across[0], place.across[-1]
    half = float(local[OUTER_ABOVE[-1], 0] - local[OUTER_ABOVE[0], 0]) / 2
    lips = local[list(OUTER_ABOVE + OUTER_BELOW), 1]
    drop = _DROP * mouth.jaw
    # Sideways: as the lips do, less towards nose, cheeks and neck.
    scale = 1 + mouth.wide * (_SPREAD if mouth.wide > 0 else _ROUND)
    scale -= mouth.jaw * (_OPEN_NARROWS + _SMILE_NARROWS * max(0.0, half - _HALF_WIDTH))
    shown = np.array([start, -half, half, end])
    moved = np.interp(place.across, shown * (1, scale, scale, 1), shown) - place.across
    fade = np.interp(
        place.down, (nose, lips.min(), lips.max() + drop, place.down[-1]), (0, 1, 1, 0)
    )
    across = (moved[None, :] * fade[:, None]).astype(np.float32)
    x = place.across + across
    # Each knot, where it is in the picture and where it goes.
    upper, lower = line(INNER_ABOVE, x), line(INNER_BELOW, x)
    lip_top, lip_end = line(OUTER_ABOVE, x), line(OUTER_BELOW, x)
    jaw = np.maximum(line(JAW_LINE, x), lip_end + _LEAST)
    inside = np.clip(1 - (x / (0.96 * half)) ** 2, 0, None)
    opening = inside**0.9
    reach = np.where(x < 0, -start, end)
    hinge = np.cos(np.clip(x / reach, -1, 1) * (np.pi / 2)) ** 2
    seam = (upper + lower) / 2 + _CORNER_DROP * drop * hinge
    thin = 1 - _PRESSED * mouth.press
    new_upper = seam - (_RISE * mouth.jaw + _TUCKED * mouth.tuck) * opening
    new_lower = seam + drop * opening
    above = _between(
        rows,
        (nose, new_upper - (upper - lip_top) * thin, new_upper),
        (nose, lip_top, upper),
    )
    stays = jaw + _BELOW_JAW
    below = _between(
        rows,
        (new_lower, new_lower + (lip_end - lower) * thin, jaw + _JAW_DROP * drop * hinge, stays),
        (lower, lip_end, jaw, stays),
    ) + np.maximum(rows - stays, 0)
    own_upper, own_lower = line(INNER_ABOVE, place.across), line(INNER_BELOW, place.across)
    gap = float((own_lower - own_upper).max())
    own = float(np.clip((gap - _PARTED[0]) / (_PARTED[1] - _PARTED[0]), 0, 1))
    edge = gap / 8  # of a lip, which is no tooth
    first, last = own_upper + edge, np.maximum(own_lower - edge, own_upper + edge)
    plain = (own_upper + own_lower) / 2 + _TEETH
    fields = _Fields(
        across,
        above - rows,
        below - rows,
        rows - new_upper,
        new_lower - rows,
        plain + (last - plain) * own - rows,
        np.clip(rows, first, last) - rows,
    )
    return fields, own


def _between(rows: Array, places: Sequence[Array], origins: Sequence[Array]) -> Array:
    """Return where each place comes from, in a straight line from knot to knot."""
    found = np.broadcast_to(origins[0], np.broadcast_shapes(rows.shape, places[-1].shape))
    for start, end, source, next_source in zip(
        places, places[1:], origins, origins[1:], strict=False
    ):
        share = np.clip((rows - start) / np.maximum(end - start, _LEAST), 0, 1)
        found = found + share * (next_source - source)
    return found


class _Skin(NamedTuple):
    """Colours that the inside of a mouth is made of."""

    light: float
    lip: tuple[float, float]


def _skin(planes: Sequence[Plane], points: Array) -> _Skin:
    """Return how bright the cheeks are, and the colours of the lower lip."""

    def sample(plane: Plane, places: Any) -> float:
        x, y = places.T.astype(np.intp)
        height, width = plane.shape
        return float(np.median(plane[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]))

    lip = points[list(INNER_BELOW[2:-2])] + points[list(OUTER_BELOW[2:-2])]
    blue, red = (sample(plane, lip / 4) for plane in planes[1:])
    return _Skin(sample(planes[0], points[list(SKIN)]), (blue, red))


class _Inside(NamedTuple):
    """What is between the lips; brightness and shares of it for each pixel."""

    light: Any
    own: Any  # how much of it is what the picture shows there: its own teeth
    shade: Any  # what the upper lip leaves of the light
    tint: Any  # how much it has the colours of the lip
    lip: tuple[float, float]


def _inside(seen: _Fields, unit: float, wide: float, own: float, skin: _Skin) -> _Inside:
    """Return what is between the lips: dark, a tongue, teeth."""
    depth = np.maximum(seen.under_upper, 0)
    gap = np.maximum(depth + np.maximum(seen.over_lower, 0), _LEAST)
    # Nearly closed lips have a dark line between them, and hardly any teeth.
    wide_open = np.clip((gap - 0.02) / 0.06, 0, 1)
    low = depth / gap
    tongue = np.clip((low - 0.5) / 0.3, 0, 1) * wide_open
    light = (0.11 + 0.26 * tongue) * skin.light
    lower_teeth = np.clip((low - 0.86) / 0.1, 0, 1) * wide_open * max(0.0, wide)
    light += lower_teeth * (0.35 * skin.light)
    teeth = np.clip(seen.over_teeth * unit * 0.7 + 0.5, 0, 1) * (0.5 + 0.5 * wide_open)
    plain = teeth * (1 - own)
    light += (min(215.0, 90 + 0.55 * skin.light) - light) * plain
    shade = np.clip(depth / 0.03, 0, 1) * 0.45 + 0.55
    return _Inside(light, teeth * own, shade, 1 - plain * 0.85, skin.lip)


def _bend(planes: Sequence[Plane], place: _Place, bent: tuple[Array, Array]) -> None:
    """Show at each pixel of the box what the picture shows at some pixels from there."""
    for plane, (size, *to) in zip(planes, _sizes(*bent), strict=True):
        place.of_plane(plane, size)[:] = np.rint(_sample(plane, place, size, *to))


def _fill(
    planes: Sequence[Plane], place: _Place, inside: _Inside, teeth: Sequence[Array], cover: Array
) -> None:
    """Paint what is between the lips."""
    fields = _sizes(cover, *inside[:4])
    hues = (None, *inside.lip)
    for plane, kept, hue, (size, *rest) in zip(planes, teeth, hues, fields, strict=True):
        covered, light, own, shade, tint = rest
        shown = light if hue is None else 128 + (hue - 128) * tint
        shown = shown + (kept - shown) * own
        part = place.of_plane(plane, size)
        filled = part + ((shown * shade if hue is None else shown) - part) * covered
        part[:] = np.clip(np.rint(filled), 0, 255)


def _sizes(*fields: Any) -> Iterator[tuple[Any, ...]]:
    """Yield fields for each plane, after how wide and high its pixels are."""
    yield 1, *fields
    halves = tuple(map(_half, fields))
    yield 2, *halves
    yield 2, *halves


def _half(field: Any) -> Array:
    """Return the means of a field over two by two pixels."""
    rows = field[::2] + field[1::2]
    halved: Array = (rows[:, ::2] + rows[:, 1::2]) / 4
    return halved


def _sample(plane: Plane, place: _Place, size: int, to_x: Array, to_y: Array) -> Array:
    """Return what a plane shows at some pixels away from each pixel of the box."""
    rows, columns = to_x.shape
    height, width = plane.shape
    x = to_x / size + np.arange(columns, dtype=np.float32) + place.left // size
    y = to_y / size + (np.arange(rows, dtype=np.float32) + place.top // size)[:, None]
    np.clip(x, 0, width - 1, out=x)
    np.clip(y, 0, height - 1, out=y)
    column = np.minimum(x.astype(np.intp), width - 2)
    row = np.minimum(y.astype(np.intp), height - 2)
    x -= column
    y -= row
    flat, at = plane.reshape(-1), row * width + column
    upper: Any = flat.take(at) * (1 - x) + flat.take(at + 1) * x
    at += width
    lower = flat.take(at) * (1 - x) + flat.take(at + 1) * x
    lower -= upper
    lower *= y
    upper += lower
    found: Array = upper
    return found
