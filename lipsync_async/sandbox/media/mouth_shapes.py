"""Decide how a mouth looks at each moment of a sound: from phonemes, or from the sound alone.

Everything here is a function of numbers: no codec, no file, no picture. Curves have a point
every 5 ms. From phonemes the lips close exactly where p, b and m are said; from the sound
alone, where it is quiet or hums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np

from lipsync_async.sandbox.media.timeline import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lipsync_async.sandbox.media.speech import Phoneme

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    Samples = np.ndarray[tuple[int, ...], np.dtype[np.int16]]


class Mouth(NamedTuple):
    """How a mouth looks; all zeros: closed, at rest."""

    jaw: float = 0.0  # 0 to 1, how far it is open
    wide: float = 0.0  # -1 to 1, from rounded as in `oo` to spread as in `ee`
    press: float = 0.0  # 0 to 1, how hard the lips meet, as in `m`
    tuck: float = 0.0  # 0 to 1, how far the lower lip is under the upper teeth, as in `f`

    def weighted(self, weight: float) -> Mouth:
        """Return the mouth at some way from rest (0) to here (1)."""
        return Mouth(*(value * weight for value in self))


REST = Mouth()

_STEP = 0.005  # seconds from point to point of a curve
# A closed mouth may last for less than a frame: then the frame shows it nevertheless.
_NEAR_FRAME = 0.3


@attrs.frozen(slots=True, eq=False)
class MouthCurve:
    """How a mouth moves while a sound is heard."""

    drive: str  # what it is made of: `phonemes` or `sound`
    _jaw: Floats  # as if the lips never met
    _wide: Floats
    _press: Floats
    _tuck: Floats
    _lead: float  # seconds by which lips move before the sound

    def at(self, second: float, frame_seconds: float) -> Mouth:
        """Return the mouth of a frame whose middle is at a second of the sound."""
        place = round((second + self._lead) / _STEP)
        if not 0 <= place < len(self._jaw):
            return REST
        reach = round(_NEAR_FRAME * frame_seconds / _STEP)
        near = slice(max(0, place - reach), place + reach + 1)
        press, tuck = float(self._press[near].max()), float(self._tuck[near].max())
        jaw = float(self._jaw[place]) * (1 - max(press, tuck))
        return Mouth(jaw, float(self._wide[place]), press, tuck)


# Jaw and width of each vowel, by the letters that espeak-ng writes it with. Two or three
# letters are a diphthong, which moves from one to the next.
_VOWELS = {
    "a": (0.85, 0.2),
    "A": (1.0, -0.05),
    "0": (0.9, -0.1),
    "V": (0.75, 0.05),
    "E": (0.7, 0.35),
    "e": (0.6, 0.45),
    "I": (0.5, 0.5),
    "i": (0.4, 0.85),
    "3": (0.55, -0.3),
    "@": (0.5, 0.0),
    "O": (0.8, -0.6),
    "o": (0.65, -0.8),
    "U": (0.42, -0.75),
    "u": (0.38, -1.0),
    "y": (0.35, -0.9),
    "Y": (0.4, -0.7),
    "W": (0.5, -0.6),
    "&": (0.8, 0.2),
}
_CONSONANTS = {
    "w": (0.15, -0.9),
    "r": (0.28, -0.4),
    "S": (0.18, -0.5),
    "Z": (0.18, -0.5),
    "tS": (0.18, -0.5),
    "dZ": (0.18, -0.5),
    "s": (0.1, 0.35),
    "z": (0.1, 0.35),
    "j": (0.25, 0.6),
    "l": (0.3, 0.1),
    "T": (0.22, 0.1),
    "D": (0.22, 0.1),
    "p": (0.2, 0.0),
    "b": (0.2, 0.0),
    "m": (0.2, 0.0),
    "f": (0.15, 0.1),
    "v": (0.15, 0.1),
}
_OTHER_CONSONANT = (0.22, 0.05)
_STRESS = "',%=|"
# When the lips are shut, in seconds: after a phoneme's begin, and after its begin or (m, f, v)
# its end. Measured on 51 stops of four voices: the event of a stop marks its burst.
_CLOSED_FROM = {"p": -0.04, "b": -0.02, "m": 0.005, "f": 0.005, "v": 0.005}
_CLOSED_UNTIL_BEGIN = {"p": 0.0, "b": 0.015}
_CLOSED_UNTIL_END = -0.02
_TUCKED = frozenset({"f", "v"})
_CLOSING = 0.035  # seconds from open to shut
_JAW_SMOOTHING, _WIDE_SMOOTHING = 0.08, 0.13  # seconds
_PHONEME_LEAD = 0.01


def curve_of_phonemes(phonemes: Sequence[Phoneme]) -> MouthCurve:
    """Return how a mouth says phonemes."""
    points = round(max((each.end for each in phonemes), default=0.0) / _STEP) + 1
    jaw: Floats
    jaw, wide, press, tuck = np.zeros((4, points), np.float32)
    times = np.arange(points, dtype=np.float32) * np.float32(_STEP)
    for phoneme in phonemes:
        name = phoneme.name.strip(_STRESS)
        targets = _targets(name)
        edges = np.linspace(phoneme.start, phoneme.end, len(targets) + 1) / _STEP
        for number, (open_target, wide_target) in enumerate(targets):
            first, last = round(edges[number]), round(edges[number + 1])
            jaw[first:last], wide[first:last] = open_target, wide_target
        if name in _CLOSED_FROM:
            start = phoneme.start + _CLOSED_FROM[name]
            end = phoneme.start + _CLOSED_UNTIL_BEGIN.get(
                name, phoneme.end - phoneme.start + _CLOSED_UNTIL_END
            )
            middle, half = (start + end) / 2, max(0.0, end - start) / 2
            first = max(0, int((middle - half - _CLOSING) / _STEP))
            near = slice(first, int((middle + half + _CLOSING) / _STEP) + 2)
            away = np.clip((np.abs(times[near] - middle) - half) / _CLOSING, 0, 1)
            curve = tuck if name in _TUCKED else press
            curve[near] = np.maximum(curve[near], (1 + np.cos(np.pi * away)) / 2)
    jaw, wide = _smoothed(jaw, _JAW_SMOOTHING), _smoothed(wide, _WIDE_SMOOTHING)
    return MouthCurve("phonemes", jaw, wide, press, tuck, _PHONEME_LEAD)


def _targets(name: str) -> list[tuple[float, float]]:
    """Return jaw and width of a phoneme, one after the other; a pause has none."""
    if not name or name.startswith("_"):
        return [(0.0, 0.0)]
    if is_vowel(name):
        return [_VOWELS[letter] for letter in name if letter in _VOWELS]
    return [_CONSONANTS.get(name) or _CONSONANTS.get(name[0]) or _OTHER_CONSONANT]


def is_vowel(name: str) -> bool:
    """Return whether espeak-ng's name of a phoneme is one of a vowel."""
    return name.strip(_STRESS)[:1] in _VOWELS


def _smoothed(curve: Floats, seconds: float) -> Floats:
    window = np.hanning(round(seconds / _STEP) + 2).astype(np.float32)
    return np.convolve(curve, window / window.sum(), "same")[: len(curve)]


# Mouths are told apart below 8 kHz: each three samples are added up to one.
_REDUCTION = 3
_RATE = SAMPLE_RATE // _REDUCTION
_HOP = round(_STEP * _RATE)
_WINDOW = round(0.026 * _RATE)
# In hertz: the voice's hum, an open mouth, a rounded one, a spread one, hisses.
_BANDS = ((70, 400), (400, 1100), (600, 1200), (1700, 3000), (3800, 8000))
_FAINT = 1e-3  # so that silence has a logarithm
_LOUD_PERCENTILE = 92
_QUIET_DECIBELS = 30.0  # below loud speech


def curve_of_sound(blocks: Iterable[Samples]) -> MouthCurve:
    """Return how a mouth might make a sound, given in blocks of samples of 48 kHz, any long."""
    taper = np.hanning(_WINDOW).astype(np.float32)
    hertz = np.fft.rfftfreq(_WINDOW, 1 / _RATE)
    bands = [slice(*np.searchsorted(hertz, band)) for band in _BANDS]
    # The first window's middle is at 0.
    held: Floats = np.zeros(_WINDOW // 2 * _REDUCTION, np.float32)
    levels: list[Floats] = [np.zeros((0, len(_BANDS)), np.float32)]
    for block in blocks:
        mono = (block[:, 0].astype(np.float32) + block[:, 1]) / np.float32(2**16)
        held = np.concatenate([held, mono])
        reduced = held[: len(held) // _REDUCTION * _REDUCTION].reshape(-1, _REDUCTION).mean(axis=1)
        if len(reduced) < _WINDOW:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(reduced, _WINDOW)[::_HOP]
        power = np.abs(np.fft.rfft(windows * taper, axis=1)) ** 2
        sums = np.stack([power[:, band].sum(axis=1) for band in bands], axis=1)
        levels.append(10 * np.log10(sums + _FAINT, dtype=np.float32))
        held = held[len(windows) * _HOP * _REDUCTION :]
    hum, mid, back, front, hiss = np.concatenate(levels).T
    if not len(mid):
        return MouthCurve("sound", mid, mid, mid, mid, 0.0)
    loud = np.percentile(mid, _LOUD_PERCENTILE)
    jaw = np.clip(1 + (mid - loud + 2) / 26, 0, 1) ** 1.3
    # A hum through the nose has nothing above itself.
    murmur = np.clip((hum - np.maximum(mid, front) - 9) / 7, 0, 1)
    loudest = np.maximum(np.maximum(hum, mid), front)
    quiet = np.clip((loud - _QUIET_DECIBELS - loudest) / 6 + 1, 0, 1)
    is_hiss = np.clip((hiss - np.maximum(hum, mid)) / 6, 0, 1)
    jaw = jaw * (1 - is_hiss) + 0.16 * is_hiss
    press = np.maximum(murmur, quiet).astype(np.float32)
    wide = np.tanh((front - back + 9) / 9) * (1 - quiet)
    tuck = np.zeros_like(press)
    jaw, wide = _smoothed(jaw, 0.03), _smoothed(wide, _WIDE_SMOOTHING)
    return MouthCurve("sound", jaw, wide, press, tuck, 0.0)
