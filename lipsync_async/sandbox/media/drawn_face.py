"""Draw a friendly face: the actor that the sandbox brings along.

It portrays no real person; skin, hair, clothes and backdrop come from a seed. The head sways,
the eyes wander a little and blink, all as functions of the moment, so that any frame can
be drawn alone and equal seeds give equal pictures.
"""

from __future__ import annotations

from math import pi, sin
from random import Random

import attrs
from PIL import Image, ImageDraw

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
_MOUTH = "#8f3a3f"
_WHITE = "#ffffff"
_DARK = "#241a17"

_BLINK_SECONDS = 0.18
_BLINK_EVERY = 2.9
_FIRST_BLINK = 0.9
_SHUT = 0.2  # below this openness the lids are drawn as one line

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
    """A face that can be drawn at any moment."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._palette = palette(seed)
        self._backdrop = _backdrop(width * _OVERSAMPLING, height * _OVERSAMPLING, self._palette)

    def draw(self, moment: float) -> Image.Image:
        """Return the picture at a moment in seconds."""
        canvas = self._backdrop.copy()
        _Pen(canvas, self._palette, moment).draw_person()
        return canvas.reduce(_OVERSAMPLING)


class _Pen:
    """Pen for the parts of one face; lengths are in heads, 1 being the head's half width."""

    def __init__(self, canvas: Image.Image, colours: Palette, moment: float) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._palette = colours
        self._unit = min(canvas.height * 0.235, canvas.width * 0.3)
        self._middle = canvas.width / 2, canvas.height * 0.47
        self._sway = 0.07 * sin(2 * pi * 0.21 * moment), 0.025 * sin(2 * pi * 0.37 * moment + 1)
        self._glance = 0.03 * sin(2 * pi * 0.13 * moment + 2)
        self._openness = eye_openness(moment)

    def draw_person(self) -> None:
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
        for side in (-1, 1):
            self._ellipse((side * 0.56, 0.47), (0.21, 0.14), palette.blush, depth=1.2)
            self._draw_eye(side)
        # Nose and mouth.
        nose = [(-0.1, 0.43), (0.0, 0.49), (0.1, 0.43)]
        self._line(nose, palette.shade, 0.055, depth=1.7)
        corners = self._box_of((0, 0.68), (0.33, 0.27), depth=1.45)
        self._draw.chord(corners, 12, 168, fill=_MOUTH)
        teeth = self._box_of((0, 0.685), (0.27, 0.15), depth=1.45)
        self._draw.chord(teeth, 22, 158, fill=_WHITE)
        # Hair over the forehead: a cap whose lower edge is cut by the face again.
        cap = self._box_of((0, -0.18), (1.07, 1.24), depth=0.95)
        self._draw.chord(cap, 197, 343, fill=palette.hair)
        lock = self._box_of((-0.35, -0.72), (0.75, 0.36), depth=1.1)
        self._draw.ellipse(lock, fill=palette.hair)

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
