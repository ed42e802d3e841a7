import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.media.mouth_shapes import (
    REST,
    Mouth,
    MouthCurve,
    curve_of_phonemes,
    curve_of_sound,
    is_vowel,
)
from lipsync_async.sandbox.media.speech import Phoneme

Samples = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
FRAME = 0.04
RATE = 48_000


def said(*names: str) -> MouthCurve:
    """Return how a mouth says phonemes of 0.1 s each, after a pause as long."""
    names = ("_", *names)
    return curve_of_phonemes(
        [Phoneme(name, number / 10, (number + 1) / 10) for number, name in enumerate(names)]
    )


@pytest.mark.parametrize(
    ("name", "closed"), [("p", 0.06), ("b", 0.08), ("m", 0.13), ("f", 0.13), ("v", 0.13)]
)
def test_lips_are_shut_where_a_consonant_shuts_them(name: str, closed: float) -> None:
    """Before the burst of p, around that of b, during m; f and v bring the lip to the teeth."""
    curve = said("A:", name, "A:")
    mouth = curve.at(0.1 + closed, FRAME)
    meets = mouth.tuck if name in "fv" else mouth.press
    assert [mouth.jaw, meets] == pytest.approx([0.0, 1.0], abs=0.01)
    assert curve.at(0.34, FRAME).jaw > 0.7


@pytest.mark.parametrize(
    ("open_one", "closer"),
    [("A:", "i:"), ("a", "s"), ("E", "S"), ("0", "u:"), ("V", "_:"), ("V", "")],
)
def test_a_jaw_is_as_open_as_its_vowel(open_one: str, closer: str) -> None:
    """A pause closes it, a consonant nearly."""
    curve = said(open_one, closer)
    assert curve.at(0.13, FRAME).jaw > curve.at(0.25, FRAME).jaw + 0.1


def test_lips_are_spread_and_rounded() -> None:
    """Spread as in `ee`, rounded as in `oo`; a diphthong goes from one to the other."""
    spread, rounded = said("'i:", "i:").at(0.18, FRAME), said("u:", "w").at(0.18, FRAME)
    assert (spread.wide > 0.5, rounded.wide < -0.5) == (True, True)
    both = said("aU")
    assert both.at(0.12, FRAME).wide > both.at(0.17, FRAME).wide


def test_only_vowels_are_vowels() -> None:
    """Stressed or not, also those that are written with several letters."""
    vowels = [name for name in ("'i:", "a#", "@L", ",aI", "t#", "_:", "", "w") if is_vowel(name)]
    assert vowels == ["'i:", "a#", "@L", ",aI"]


def test_a_mouth_is_at_rest_before_and_after_a_sound() -> None:
    """Nothing is said there."""
    curve = said("A:")
    assert [curve.at(second, FRAME) for second in (-1.0, 9.0)] == [REST, REST]
    assert curve_of_phonemes([]).at(0.0, FRAME) == REST
    assert curve_of_sound([]).at(0.0, FRAME) == REST
    assert Mouth(0.5, -1.0, 0.25, 1.0).weighted(0.5) == Mouth(0.25, -0.5, 0.125, 0.5)


def voice(*parts: tuple[float, float]) -> Samples:
    """Return 0.3 s of each pair of a pitch in hertz and a loudness from 0 to 1."""
    moments = np.arange(round(0.3 * RATE)) / RATE
    waves = [loud * 12_000 * np.sin(2 * math.pi * hertz * moments) for hertz, loud in parts]
    return np.repeat(np.concatenate(waves).astype(np.int16)[:, None], 2, axis=1)


def in_blocks(samples: Samples, length: int) -> Iterator[Samples]:
    """Yield the samples in blocks."""
    for start in range(0, len(samples), length):
        yield samples[start : start + length]


@pytest.mark.parametrize("length", [500, 7_001, 100_000])
def test_a_mouth_follows_a_sound(length: int) -> None:
    """Loud is open, quiet and humming are shut, hisses nearly; whatever blocks it comes in."""
    sound = voice((700, 1.0), (700, 0.0), (200, 1.0), (6000, 1.0), (700, 1.0))
    curve = curve_of_sound(in_blocks(sound, length))
    loud, quiet, hum, hiss, again = (curve.at(0.15 + 0.3 * part, FRAME) for part in range(5))
    assert curve.drive == "sound"
    assert [quiet.jaw, hum.jaw] == pytest.approx([0, 0], abs=0.01)
    assert [quiet.press, hum.press] == pytest.approx([1, 1])
    assert loud.jaw == pytest.approx(again.jaw, abs=0.02)
    assert loud.jaw > 0.8
    assert hiss.jaw < 0.3


@given(
    st.lists(
        st.tuples(st.text(max_size=4), st.floats(0, 3), st.floats(0, 0.5)).map(
            lambda each: Phoneme(each[0], each[1], each[1] + each[2])
        ),
        max_size=9,
    ),
    st.floats(-1, 5),
)
def test_any_phonemes_make_a_mouth(phonemes: list[Phoneme], second: float) -> None:
    """Whatever a file says of itself, a mouth stays within its bounds."""
    mouth = curve_of_phonemes(phonemes).at(second, FRAME)
    assert -1.001 <= mouth.wide <= 1.001
    assert all(0 <= value <= 1.001 for value in (mouth.jaw, mouth.press, mouth.tuck))
