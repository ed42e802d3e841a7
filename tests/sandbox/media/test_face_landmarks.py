"""Faces that are found in pictures, and followed through frames."""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.errors import EngineError
from lipsync_async.sandbox.media.face_landmarks import (
    CHIN,
    NOSE_TIP,
    POINTS,
    Face,
    FaceFinder,
    FaceTrack,
    Speaker,
    follow,
    frontal,
)
from lipsync_async.sandbox.media.mouth_warp import EYES, INNER_ABOVE, INNER_BELOW
from tests.sandbox.media.faces import Plane, needed_models, photograph, planes_of

# What the models find in a drawing: the middle of the face, eyes, chin and mouth.
REFERENCE = [
    *((127.6, 143.38), (93.22, 124.62), (164.14, 125.45), (126.47, 198.53)),
    *((108.78, 165.3), (147.2, 165.46), (127.01, 167.12), (127.06, 169.42)),
]
GRAY = (128, 128, 128)
# Where the photograph shows them, read off by eye.
SHOWN = {EYES[0]: (194, 101), EYES[1]: (257, 105), NOSE_TIP: (224, 127), CHIN: (221, 176)}
MOUTH = {78: (202, 139), 308: (245, 142), 13: (223, 142), 14: (222, 150)}


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    """Load the models."""
    return FaceFinder(needed_models())


def scene(*places: tuple[int, int], side: int = 256) -> Image.Image:
    """Return a wide picture with the photograph at places."""
    picture = Image.new("RGB", (640, 360), GRAY)
    for place in places:
        picture.paste(photograph(side), place)
    return picture


def followed(
    finder: FaceFinder,
    pictures: Sequence[Image.Image],
    speaker: Speaker | None = None,
    numbers: Sequence[int] | None = None,
    look: Callable[[int], object] = lambda _: None,
) -> FaceTrack:
    """Follow a face through pictures."""

    def read(number: int) -> list[Plane]:
        look(number)
        return planes_of(pictures[number])

    every = range(len(pictures)) if numbers is None else numbers
    return follow(finder, read, every, speaker or Speaker(), lambda: None)


def middle(face: Face | None) -> list[float]:
    """Return where the middle of a mouth is."""
    assert face is not None
    above, below = face.points[INNER_ABOVE[5]], face.points[INNER_BELOW[5]]
    return [float(value) for value in (above + below) / 2]


def weights(track: FaceTrack, count: int) -> list[float]:
    """Return the weight of each frame, 0 without a face."""
    faces = [track.face(number) for number in range(count)]
    return [0.0 if face is None else face.weight for face in faces]


def test_the_models_say_of_a_drawing_what_they_said(finder: FaceFinder) -> None:
    """Other versions of the engine, and other machines, give the same points."""
    planes = planes_of(DrawnFace(256, 256, seed=1).draw(0.0))
    (box,) = finder.faces(planes)
    points = finder.points(planes, box)
    assert points is not None
    assert points.shape == (POINTS, 2)
    found = [[box.x, box.y], *points[[*EYES, CHIN, *MOUTH]].tolist()]
    assert np.abs(np.array(found) - REFERENCE).max() < 0.3
    assert (box.side, box.angle) == pytest.approx((112.1, 0.0), abs=0.3)


def test_points_are_where_the_picture_shows_them(finder: FaceFinder) -> None:
    """Eyes, nose, lips and chin of a photograph, to a few pixels."""
    face = followed(finder, [photograph()]).face(0)
    assert face is not None
    wanted = {**SHOWN, **MOUTH}
    assert np.abs(face.points[[*wanted]] - list(wanted.values())).max() < 4
    assert face.weight == 1
    assert np.isnan(face.points).any()


@pytest.mark.parametrize("degrees", [-40, 25, 60])
def test_a_head_that_is_tilted_is_found(finder: FaceFinder, degrees: float) -> None:
    """The points turn with it."""
    face = followed(finder, [photograph().rotate(degrees, center=(222, 140))]).face(0)
    assert face is not None
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    wanted = {**SHOWN, **MOUTH}
    turned = (np.array([*wanted.values()]) - (222, 140)) @ turn.T + (222, 140)
    assert np.abs(face.points[[*wanted]] - turned).max() < 5


def test_where_no_face_is_none_is_found(finder: FaceFinder) -> None:
    """It is looked for once in twelve frames."""
    looks: list[int] = []
    track = followed(finder, [Image.new("RGB", (160, 96), GRAY)] * 30, look=looks.append)
    assert (track.seen, track.face(0), track.face(99)) == (0, None, None)
    assert looks == [0, 12, 24]
    assert followed(finder, [], numbers=[]).seen == 0


def test_a_point_or_boxes_choose_the_face(finder: FaceFinder) -> None:
    """By itself, the largest is meant; a point in the middle of a video chooses for all of it."""
    pictures = [scene((20, 20), (360, 80)) for _ in range(7)]
    for picture in pictures:
        picture.paste(photograph(192), (400, 140))
    speakers = {
        "auto": Speaker(),
        "left": Speaker(3, (130.0, 90.0)),
        "right": Speaker(4, (484.0, 190.0)),
        "none": Speaker(4, (300.0, 340.0)),
        "boxes": Speaker(boxes=(None, None, *[(440.0, 140.0, 520.0, 220.0)] * 4)),
    }
    tracks = {name: followed(finder, pictures, speaker) for name, speaker in speakers.items()}
    assert middle(tracks["auto"].face(0)) == pytest.approx([131, 93], abs=3)
    assert middle(tracks["left"].face(6)) == pytest.approx([131, 93], abs=3)
    assert middle(tracks["right"].face(0)) == pytest.approx([483, 195], abs=3)
    assert middle(tracks["right"].face(6)) == pytest.approx([483, 195], abs=3)
    assert weights(tracks["none"], 7) == [0] * 7
    assert middle(tracks["boxes"].face(3)) == pytest.approx([483, 195], abs=3)
    assert weights(tracks["boxes"], 7) == [0, 0, 0.25, 0.5, 0.5, 0.25, 0]


def test_a_face_that_moves_is_followed(finder: FaceFinder) -> None:
    """Every second frame is looked at; backwards, too; points lag by less than a pixel."""
    pictures = [scene((20 + 4 * number, 20)) for number in range(16)]
    looks: list[int] = []
    track = followed(finder, pictures, look=looks.append)
    assert looks == [0, 0, 2, 4, 6, 8, 10, 12, 14, 15]
    found = [middle(track.face(number))[0] - 4 * number for number in range(16)]
    assert np.ptp(found[3:13]) < 1.5
    chosen = followed(finder, pictures, Speaker(8, (163.0, 93.0)), numbers=[2, 3, 4, 8, 12, 13])
    assert [chosen.face(5), chosen.seen] == [None, 6]
    assert middle(chosen.face(3))[0] - 12 == pytest.approx(found[3], abs=2)


@pytest.mark.parametrize("at", [7, 8])
def test_a_cut_is_sharp(finder: FaceFinder, at: int) -> None:
    """Points before it know nothing of those after it, and the effect does not fade."""
    pictures = [scene((20, 20))] * at + [scene((200, 60))] * (16 - at)
    track = followed(finder, pictures)
    found = [middle(track.face(number)) for number in range(16)]
    for number, place in enumerate(found):
        wanted = [131, 93] if number < at else [311, 133]
        assert place == pytest.approx(wanted, abs=3)
    assert weights(track, 16) == [1] * 16


@pytest.mark.parametrize(("leaves", "comes"), [(8, 20), (9, 21)])
def test_a_face_that_leaves_fades_and_comes_back(
    finder: FaceFinder, leaves: int, comes: int
) -> None:
    """Within three frames; it is searched again later."""
    pictures = [scene((20, 20))] * leaves + [scene()] * (comes - leaves) + [scene((60, 40))] * 12
    shown = weights(followed(finder, pictures), len(pictures))
    assert shown[leaves - 5 : leaves + 1] == [1, 1, 0.75, 0.5, 0.25, 0]
    assert max(shown[leaves:comes]) == 0
    assert shown[-4:] == [1] * 4


@pytest.mark.parametrize(
    ("left", "right", "share"),
    [(1.0, 1.0, 1.0), (0.4, 1.0, 1.0), (3.0, 1.0, 0.5), (1.0, 3.5, 0.0), (-0.1, 1.2, 0.0)],
)
def test_a_head_that_turns_away_fades(left: float, right: float, share: float) -> None:
    """Whichever way it turns; in profile nothing moves."""
    assert frontal(left, right) == pytest.approx(share)


def test_an_engine_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, as of every engine."""
    models = needed_models()
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(EngineError, match=r"^ai-edge-litert does not work: ModuleNotFoundError"):
        FaceFinder(models)
