"""The mouth of a picture moves by geometry; a plain drawn face with known points shows how far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lipsync_async.sandbox.media.mouth_shapes import REST, Mouth
from lipsync_async.sandbox.media.mouth_warp import (
    EYES,
    INNER_ABOVE,
    INNER_BELOW,
    JAW_LINE,
    NOSE_BASE,
    OUTER_ABOVE,
    OUTER_BELOW,
    move_mouth,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    Points = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

UNIT = 80.0  # pixels between the eyes
SIDE = 256
CENTRE = np.array([128.0, 120.0])  # between the corners of the mouth
SKIN, LIP, TEETH = 180, 120, 230


def points(
    parted: float = 0.0, degrees: float = 0.0, moved: tuple[float, float] = (0, 0)
) -> Points:
    """Return the points of the mesh that count, of a face with lips of 0.06 units."""
    mesh = np.zeros((468, 2))
    mesh[list(EYES)] = [(-0.5, -0.75), (0.5, -0.75)]
    mesh[NOSE_BASE] = (0, -0.25)
    turns = np.linspace(math.pi, 0, len(JAW_LINE))
    mesh[list(JAW_LINE)] = [(0.9 * math.cos(turn), 0.7 * math.sin(turn)) for turn in turns]
    for numbers, half, height in (
        (OUTER_ABOVE, 0.3, -0.06 - parted / 2),
        (OUTER_BELOW, 0.3, 0.06 + parted / 2),
        (INNER_ABOVE, 0.27, -parted / 2),
        (INNER_BELOW, 0.27, parted / 2),
    ):
        places = np.linspace(-1, 1, len(numbers))
        mesh[list(numbers)] = [(half * at, height * (1 - at**2)) for at in places]
    cheeks = [50, 280, 205, 425, 36, 266]
    mesh[cheeks] = [(0.6 * side, y) for y in (-0.1, 0.0, 0.1) for side in (-1, 1)]
    turn = math.radians(degrees)
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    placed: Points = (mesh * UNIT @ axes + CENTRE + moved).astype(np.float32)
    return placed


def picture(parted: float = 0.0, degrees: float = 0.0) -> list[Plane]:
    """Return a picture of that face: skin, lips, and teeth where the lips are apart."""
    mesh = points(parted)
    turn = math.radians(degrees)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - CENTRE[::-1, None, None]
    level_x = x * math.cos(turn) + y * math.sin(turn) + CENTRE[0]
    level_y = y * math.cos(turn) - x * math.sin(turn) + CENTRE[1]

    def line(numbers: Sequence[int]) -> Any:
        return np.interp(level_x, *mesh[list(numbers)].T.astype(np.float64))

    luma = np.full((SIDE, SIDE), SKIN, np.uint8)
    luma[(level_y > line(OUTER_ABOVE)) & (level_y < line(OUTER_BELOW))] = LIP
    luma[(level_y > line(INNER_ABOVE)) & (level_y < line(INNER_BELOW))] = TEETH
    half = SIDE // 2
    return [luma, np.full((half, half), 110, np.uint8), np.full((half, half), 150, np.uint8)]


def noise() -> list[Plane]:
    """Return a picture in which each pixel that moves shows."""
    numbers = np.random.default_rng(1)
    return [numbers.integers(0, 255, (side, side), np.uint8) for side in (SIDE, 128, 128)]


def moved(planes: list[Plane], mesh: Points, mouth: Mouth, weight: float = 1.0) -> list[Plane]:
    """Return a copy of a picture whose mouth has moved."""
    copies = [plane.copy() for plane in planes]
    move_mouth(copies, mesh, mouth, weight)
    return copies


def dark(planes: list[Plane]) -> int:
    """Count the pixels as dark as the inside of a mouth."""
    return int((planes[0] < 90).sum())


def lips(planes: list[Plane], column: int = SIDE // 2) -> tuple[int, int]:
    """Return the first and the last row of lips in a column."""
    rows = np.flatnonzero(np.abs(planes[0][:, column].astype(int) - LIP) < 25)
    return int(rows[0]), int(rows[-1])


def test_closed_lips_at_rest_stay_as_they_are() -> None:
    """A picture of closed lips changes by a few levels at most, at their edges."""
    given = picture()
    shown = moved(given, points(), REST)
    assert [
        int(np.abs(a.astype(int) - b).max()) <= 6 for a, b in zip(given, shown, strict=True)
    ] == [True] * 3


@pytest.mark.parametrize("mouth", [Mouth(jaw=1), Mouth(0.4, 1), Mouth(0.4, -1), Mouth(tuck=1)])
def test_no_weight_changes_nothing(mouth: Mouth) -> None:
    """Weight 0 leaves the picture as it is; half of it moves the lower lip half as far."""
    given = picture()
    shown = moved(given, points(), mouth, 0.0)
    assert all(np.array_equal(a, b) for a, b in zip(given, shown, strict=True))


@pytest.mark.parametrize("jaw", [0.25, 0.5, 1.0])
def test_the_jaw_lowers_the_lower_lip(jaw: float) -> None:
    """The lower lip goes down by 0.235 units, its corners by 0.12 of it; the upper one rises."""
    first, last = lips(picture())
    shown_first, shown_last = lips(moved(picture(), points(), Mouth(jaw)))
    corner = 0.12 * 0.235 * jaw * UNIT
    assert shown_last - last == pytest.approx(0.235 * jaw * UNIT + corner, abs=1.5)
    assert shown_first - first == pytest.approx(corner - 0.035 * jaw * UNIT, abs=1.5)


def test_the_mouth_is_darker_the_wider_it_opens() -> None:
    """The inside of the mouth grows with the jaw, and is dark."""
    areas = [dark(moved(picture(), points(), Mouth(jaw))) for jaw in (0, 0.3, 0.6, 1)]
    assert sorted(set(areas)) == areas
    assert areas[0] == 0


def test_half_a_weight_is_part_of_the_way() -> None:
    """A picture changes less with half the weight, and more than with none."""
    given = picture()
    whole, half = (
        int(np.abs(given[0].astype(int) - moved(given, points(), Mouth(1), weight)[0]).sum())
        for weight in (1.0, 0.5)
    )
    assert 0 < half < whole


def width(planes: list[Plane]) -> int:
    """Return how many columns hold a lip."""
    return int((np.abs(planes[0].astype(int) - LIP) < 25).any(0).sum())


def test_lips_spread_and_round() -> None:
    """The mouth is 13 % wider when spread, 24 % narrower when rounded."""
    given = width(picture())
    spread, rounded = (width(moved(picture(), points(), Mouth(wide=wide))) for wide in (1, -1))
    assert spread / given == pytest.approx(1.13, abs=0.04)
    assert rounded / given == pytest.approx(0.76, abs=0.04)


def test_pressed_lips_are_thinner() -> None:
    """Lips that are pressed lose 18 % of their height."""
    first, last = lips(picture(), SIDE // 2)
    thin_first, thin_last = lips(moved(picture(), points(), Mouth(press=1)))
    ratio = (thin_last - thin_first + 1) / (last - first + 1)
    assert ratio == pytest.approx(0.82, abs=0.12)


def test_teeth_of_the_picture_close_and_stay() -> None:
    """Lips that are apart close at rest; in an open mouth the teeth stay in their place."""
    mesh, given = points(0.1), picture(0.1)
    teeth = np.flatnonzero(given[0][:, SIDE // 2] == TEETH)
    assert int((moved(given, mesh, REST)[0] > 215).sum()) == 0
    shown = np.flatnonzero(moved(given, mesh, Mouth(0.8, 0.3))[0][:, SIDE // 2] > SKIN + 5)
    assert set(shown.tolist()) <= set(teeth.tolist())
    assert abs(int(shown[-1]) - int(teeth[-1])) <= 2


def test_plain_teeth_are_painted_where_none_are_seen() -> None:
    """A wide mouth shows upper teeth, and lower ones when it is spread."""
    column = moved(picture(), points(), Mouth(0.7))[0][:, SIDE // 2]
    assert column[120:123].max() > LIP + 15  # teeth, below the edge of the upper lip
    assert column[123:140].min() < LIP / 2  # the dark behind them
    inside = [
        moved(picture(), points(), Mouth(0.9, wide))[0][124:140, SIDE // 2].astype(int).sum()
        for wide in (0.0, 1.0)
    ]
    assert inside[1] > inside[0]


def test_all_else_stays() -> None:
    """What is above the nose, beside the jaw and below the neck is not touched."""
    given = noise()
    shown = moved(given, points(), Mouth(1))
    above, below = int(CENTRE[1] - 0.25 * UNIT) - 2, int(CENTRE[1] + 1.02 * UNIT) + 3
    left, right = int(CENTRE[0] - 0.9 * UNIT) - 2, int(CENTRE[0] + 0.9 * UNIT) + 3
    assert np.array_equal(given[0][:above], shown[0][:above])
    assert np.array_equal(given[0][below:], shown[0][below:])
    assert np.array_equal(given[0][:, :left], shown[0][:, :left])
    assert np.array_equal(given[0][:, right:], shown[0][:, right:])
    assert not np.array_equal(given[0], shown[0])


@pytest.mark.parametrize("degrees", [-30, 20])
def test_a_turned_head_moves_alike(degrees: float) -> None:
    """A face at an angle opens its mouth as far as an upright one."""
    upright = dark(moved(picture(), points(), Mouth(0.8)))
    turned = dark(moved(picture(0, degrees), points(0, degrees), Mouth(0.8)))
    assert turned == pytest.approx(upright, rel=0.08)


@pytest.mark.parametrize("away", [(SIDE, 0), (-2 * SIDE, 0), (0, SIDE), (0, -2 * SIDE)])
def test_a_face_outside_is_left_alone(away: tuple[float, float]) -> None:
    """Points beyond the picture change nothing."""
    given = picture()
    shown = moved(given, points(moved=away), Mouth(1))
    assert np.array_equal(given[0], shown[0])


@pytest.mark.parametrize("away", [(100, 0), (-100, 0), (0, 110), (0, -110)])
def test_a_face_at_the_edge_moves_what_is_seen(away: tuple[float, float]) -> None:
    """A face that leaves the picture is no error."""
    given = noise()
    shown = moved(given, points(moved=away), Mouth(1))
    assert not np.array_equal(given[0], shown[0])
