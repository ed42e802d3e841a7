"""Draw a friendly face: the actor that the sandbox brings along.

It portrays no real person; skin, hair, clothes and backdrop come from a seed. The head sways,
the eyes wander a little and blink, all as functions of the moment, so that any frame can
be drawn alone and equal seeds give equal pictures. The mouth is closed unless another is asked for.
"""

from __future__ import annotations

from math import pi, sin
from random import Random

import attrs
from PIL import Image, ImageDraw

from lipsync_async.sandbox.media.mouth_shapes import REST, Mouth

# Drawn this much larger and then reduced, which smooths every edge.
_OVERSAMPLING = 2

_SKINS = ("#f6d3b8", "#eab991", "#d39c72", "#a9714b", "#7d4e33")
_HAIRS = ("#2d2019", "#5a3825", "#8c5a33", "#b9803f", "#3b3b48", "#933f2c")
_CLOTHES = ("#3f6f8f", "#b5525c", "#4f8a6b", "#7a5ca8", "#d08c3a")
_BACKDROPS = (
    ("#cfe8f3", "#8fbcd4"),
    ("#fbe3cf", "#e5b48f"),
    ("#ddebd3", "#a3c48f"),
    ("#e6def5", "#b3a3d8"),
)
_EYES = ("#5b3a22", "#3d6b8c", "#4d7a4a")
_LIP, _MOUTH, _TONGUE, _TEETH = "#b3303f", "#43131c", "#d87a7e", "#fbf6ee"
_WHITE = "#ffffff"
_DARK = "#241a17"

_BLINK_SECONDS = 0.18
_BLINK_EVERY = 2.9
_FIRST_BLINK = 0.9
_SHUT = 0.2  # below this openness the lids are drawn as one line

_SEAM = 0.79  # where the lips meet, in heads below the middle
_MOUTH_DEPTH = 1.45
_COLUMNS = 24  # of a mouth, from corner to corner
_CHIN_DROP = 0.06
_SHUT_MOUTH = 0.05  # a mouth that is less open shows nothing but lips

_Point = tuple[float, float]


@attrs.frozen(slots=True)
class Palette:
    """The colours of one face."""

    skin: str
    shade: str
    blush: str
    hair: str
    clothes: str
    eyes: str
    backdrop: tuple[str, str]


def palette(seed: int) -> Palette:
    """Return the colours that a seed stands for."""
    choose = Random(seed)
    skin = choose.choice(_SKINS)
    return Palette(
        skin=skin,
        shade=_mixed(skin, "#5a2d1a", 0.16),
        blush=_mixed(skin, "#e0564f", 0.2),
        hair=choose.choice(_HAIRS),
        clothes=choose.choice(_CLOTHES),
        eyes=choose.choice(_EYES),
        backdrop=choose.choice(_BACKDROPS),
    )


class DrawnFace:
    """A face that can be drawn at any moment, with any mouth."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._palette = palette(seed)
        self._size = width, height
        self._backdrop = _backdrop(width * _OVERSAMPLING, height * _OVERSAMPLING, self._palette)

    def draw(self, moment: float, mouth: Mouth = REST) -> Image.Image:
        """Return the picture at a moment in seconds."""
        return self._draw((0, 0, *self._size), moment, mouth)

    def draw_lower_face(self, moment: float, mouth: Mouth) -> tuple[Image.Image, tuple[int, int]]:
        """Return the part of the picture that a mouth changes, and its left upper corner.

        Corner and size are even numbers of pixels.
        """
        box = _Pen(self._backdrop, self._palette, moment, mouth).lower_face
        part = [round(edge / _OVERSAMPLING / 2) * 2 for edge in box]
        width, height = self._size
        # In the smallest of pictures the face is no larger than a pixel; something is drawn there.
        left, top = min(max(0, part[0]), width - 2), min(max(0, part[1]), height - 2)
        right, bottom = max(left + 2, min(part[2], width)), max(top + 2, min(part[3], height))
        return self._draw((left, top, right, bottom), moment, mouth), (left, top)

    def _draw(self, box: tuple[int, int, int, int], moment: float, mouth: Mouth) -> Image.Image:
        left, top, right, bottom = (edge * _OVERSAMPLING for edge in box)
        canvas = self._backdrop.crop((left, top, right, bottom))
        pen = _Pen(self._backdrop, self._palette, moment, mouth)
        pen.draw_person(canvas, (left, top))
        return canvas.reduce(_OVERSAMPLING)


class _Pen:
    """Pen for the parts of one face; lengths are in heads, 1 being the head's half width."""

    def __init__(self, page: Image.Image, colours: Palette, moment: float, mouth: Mouth) -> None:
        self._palette = colours
        self._unit = min(page.height * 0.235, page.width * 0.3)
        self._middle = page.width / 2, page.height * 0.47
        self._sway = 0.07 * sin(2 * pi * 0.21 * moment), 0.025 * sin(2 * pi * 0.37 * moment + 1)
        self._glance = 0.03 * sin(2 * pi * 0.13 * moment + 2)
        self._openness = eye_openness(moment)
        self._mouth = mouth

    @property
    def lower_face(self) -> tuple[float, float, float, float]:
        """The pixels that a mouth changes: from the nose to below the chin."""
        return self._box_of((0, 0.88), (1.08, 0.56))

    def draw_person(self, canvas: Image.Image, corner: tuple[int, int]) -> None:
        """Draw all on a canvas that shows the page from a corner on."""
        self._draw = ImageDraw.Draw(canvas)
        self._middle = self._middle[0] - corner[0], self._middle[1] - corner[1]
        palette = self._palette
        self._ellipse((0, -0.25), (1.12, 1.12), palette.hair, depth=0.6)
        # The body.
        self._ellipse((0, 2.95), (2.05, 1.35), palette.clothes, depth=0.2)
        self._ellipse((0, 1.64), (0.56, 0.26), palette.shade, depth=0.3)
        neck = self._box_of((0, 1.2), (0.4, 0.52), depth=0.5)
        self._draw.rectangle(neck, fill=palette.shade)
        # The head.
        for side in (-1, 1):
            self._ellipse((side * 1.0, 0.1), (0.17, 0.26), palette.skin, depth=0.8)
            self._ellipse((side * 1.0, 0.1), (0.09, 0.15), palette.shade, depth=0.8)
        self._ellipse((0, 0.02), (1.0, 1.28), palette.skin)
        chin = self._box_of((0, 0.02), (1.0, 1.28 + _CHIN_DROP * self._mouth.jaw))
        self._draw.chord(chin, 0, 180, fill=palette.skin)
        for side in (-1, 1):
            self._ellipse((side * 0.56, 0.47), (0.21, 0.14), palette.blush, depth=1.2)
            self._draw_eye(side)
        # Nose and mouth.
        nose = [(-0.1, 0.43), (0.0, 0.49), (0.1, 0.43)]
        self._line(nose, palette.shade, 0.055, depth=1.7)
        self._draw_mouth()
        # Hair over the forehead: a cap whose lower edge is cut by the face again.
        cap = self._box_of((0, -0.18), (1.07, 1.24), depth=0.95)
        self._draw.chord(cap, 197, 343, fill=palette.hair)
        lock = self._box_of((-0.35, -0.72), (0.75, 0.36), depth=1.1)
        self._draw.ellipse(lock, fill=palette.hair)

    def _draw_mouth(self) -> None:
        """Draw lips, and what is between them, along columns from corner to corner."""
        jaw, wide, press, tuck = self._mouth
        spread, rounded = max(0.0, wide), max(0.0, -wide)
        half = 0.31 * (1 + 0.14 * spread - 0.5 * rounded) * (1 - 0.1 * jaw + 0.05 * press)
        drop = (0.32 - 0.05 * rounded) * jaw
        rise = (0.06 + 0.13 * rounded) * jaw + 0.055 * tuck
        thick = (1 - 0.3 * press) * (1 + 0.25 * rounded)
        teeth_height = 0.085 * (1 - min(1.0, 1.8 * rounded))
        # The outer edge of the upper lip, the edges of the opening, the other outer edge; and
        # the lower edge of the teeth, and the upper one of the tongue.
        edges: tuple[list[_Point], ...] = ([], [], [], [], [], [])
        for step in range(_COLUMNS + 1):
            place = sin(pi * (step / _COLUMNS - 0.5))  # closer to each other at the corners
            inner = 1 - place * place
            # The corners are higher than the middle: a smile, which no rounded mouth has.
            seam = _SEAM - 0.085 * (1 - 0.8 * rounded) * place * place + 0.12 * drop
            # From a parabola to an ellipse: a jaw that drops opens the corners, too.
            bend = inner ** (1 - 0.5 * min(1.0, jaw + rounded))
            upper, lower = seam - rise * bend, seam + drop * bend
            bow = 0.014 * max(0.0, 1 - (place / 0.3) ** 2)
            above = upper - (0.062 * inner**0.6 - bow) * thick
            below = lower + 0.085 * inner**0.6 * thick
            teeth = upper + min(lower - upper, teeth_height)
            tongue = lower - min((lower - upper) * 0.6, 0.42 * drop) * (1 - 0.5 * rounded) * (
                1 - (place / 0.8) ** 2
            )
            column = (above, upper, lower, below, teeth, max(teeth, min(lower, tongue)))
            for edge, y in zip(edges, column, strict=True):
                edge.append((place * half, y))
        above_lips, upper_edge, lower_edge, below_lips, teeth_edge, tongue_edge = edges
        lip = _mixed(self._palette.skin, _LIP, 0.5)
        self._fill(above_lips, below_lips, lip)
        if jaw + tuck > _SHUT_MOUTH:
            self._fill(upper_edge, lower_edge, _MOUTH)
            self._fill(tongue_edge, lower_edge, _TONGUE)
            self._fill(upper_edge, teeth_edge, _TEETH)
        line = [self._pixel(point) for point in upper_edge]
        width = max(1, round(0.022 * self._unit))
        self._draw.line(line, fill=_mixed(lip, _MOUTH, 0.6), width=width, joint="curve")

    def _pixel(self, point: _Point) -> _Point:
        return self._box_of(point, (0, 0), depth=_MOUTH_DEPTH)[:2]

    def _fill(self, upper: list[_Point], lower: list[_Point], colour: str) -> None:
        """Fill what is between two edges."""
        self._draw.polygon([self._pixel(point) for point in (*upper, *lower[::-1])], fill=colour)

    def _draw_eye(self, side: int) -> None:
        middle = (side * 0.4, 0.08)
        brow = [(side * 0.2, -0.27), (side * 0.4, -0.35), (side * 0.63, -0.25)]
        self._line(brow, self._palette.hair, 0.075, depth=1.35)
        if self._openness < _SHUT:
            lid = [(middle[0] - 0.17, 0.1), (middle[0], 0.16), (middle[0] + 0.17, 0.1)]
            self._line(lid, _DARK, 0.05, depth=1.4)
            return
        height = 0.19 * self._openness
        iris = (middle[0] + self._glance, middle[1])
        self._ellipse(middle, (0.19, height), _WHITE, depth=1.4)
        self._ellipse(iris, (0.115, min(0.13, height)), self._palette.eyes, depth=1.45)
        self._ellipse(iris, (0.06, min(0.07, height)), _DARK, depth=1.45)
        self._ellipse((iris[0] + 0.04, iris[1] - 0.05), (0.028, 0.028), _WHITE, depth=1.45)
        lash = [
            (middle[0] - 0.19, middle[1] - 0.02),
            (middle[0], middle[1] - height),
            (middle[0] + 0.19, middle[1] - 0.02),
        ]
        self._line(lash, _DARK, 0.05, depth=1.4)

    def _box_of(
        self, middle: _Point, radius: _Point, *, depth: float = 1.0
    ) -> tuple[float, float, float, float]:
        """Return the pixels of a box; what is nearer (`depth`) follows the head further."""
        x = self._middle[0] + (middle[0] + self._sway[0] * depth) * self._unit
        y = self._middle[1] + (middle[1] + self._sway[1] * depth) * self._unit
        half_width, half_height = radius[0] * self._unit, radius[1] * self._unit
        return x - half_width, y - half_height, x + half_width, y + half_height

    def _ellipse(self, middle: _Point, radius: _Point, colour: str, *, depth: float = 1.0) -> None:
        self._draw.ellipse(self._box_of(middle, radius, depth=depth), fill=colour)

    def _line(self, points: list[_Point], colour: str, width: float, *, depth: float) -> None:
        """Draw a soft curve through three points, with round ends."""
        start, bend, end = (self._box_of(point, (0, 0), depth=depth)[:2] for point in points)
        thickness = max(1, round(width * self._unit))
        curve = [_on_curve(start, bend, end, step / 12) for step in range(13)]
        self._draw.line(curve, fill=colour, width=thickness, joint="curve")
        for x, y in (curve[0], curve[-1]):
            half = thickness / 2
            self._draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)


def eye_openness(moment: float) -> float:
    """Return how far the eyes are open, from 0 to 1."""
    since_blink = (moment - _FIRST_BLINK) % _BLINK_EVERY
    if since_blink >= _BLINK_SECONDS:
        return 1.0
    return abs(1 - 2 * since_blink / _BLINK_SECONDS)


def _on_curve(start: _Point, bend: _Point, end: _Point, place: float) -> _Point:
    """Return a point of the quadratic curve that passes through `bend` at its middle."""
    rest = 1 - place
    x, y = (
        rest * (rest - place) * a + 4 * rest * place * b + place * (place - rest) * c
        for a, b, c in zip(start, bend, end, strict=True)
    )
    return x, y


def _backdrop(width: int, height: int, colours: Palette) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height))
    canvas = Image.new("RGB", (width, height), colours.backdrop[0])
    canvas.paste(Image.new("RGB", (width, height), colours.backdrop[1]), mask=gradient)
    spot = Image.radial_gradient("L").resize((round(height * 1.7), round(height * 1.7)))
    glow = spot.point([max(0, 110 - level // 2 - level // 8) for level in range(256)])
    corner = round(width / 2 - glow.width / 2), round(height * 0.4 - glow.height / 2)
    canvas.paste(_WHITE, (*corner, corner[0] + glow.width, corner[1] + glow.height), glow)
    return canvas


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in pairs).hex()
