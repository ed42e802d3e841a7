"""A voice made of tones, for machines without a speech engine; and test tones.

Each syllable of the script becomes one soft tone with two overtones. Vowels decide the
pitch, punctuation pauses, so that a listener hears the rhythm of the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from lipsync_async.sandbox.media.wav import FULL_SCALE

if TYPE_CHECKING:
    from lipsync_async.sandbox.media.wav import Mono

    Wave = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

RATE = 22_050  # the rate of espeak-ng, so that both voices make equal files

_SYLLABLE_SECONDS = 0.16  # six syllables a second is a calm reading pace
_WORD_GAP_SECONDS = 0.06
_PAUSE_SECONDS = {",": 0.2, ";": 0.25, ":": 0.25, ".": 0.4, "!": 0.4, "?": 0.4}
_FADE_SECONDS = 0.03
# Semitones above the voice's own pitch; the vowels' order from dark to bright.
_SEMITONES = {"u": 0, "o": 2, "a": 4, "e": 7, "i": 9, "y": 9}
_LOWEST_HERTZ = 110.0
_VOICES = 13  # an octave of voices
_OVERTONES = ((1, 0.6), (2, 0.25), (3, 0.15))
_LOUDNESS = 0.5
_PARTS = re.compile(
    r"(?P<vowels>[aeiouy]+)|(?P<pause>[,;:.!?])|(?P<gap>\s+)|(?P<other>\d)", re.IGNORECASE
)


def hum(script: str, voice: int) -> Mono:
    """Return the script as tones.

    Args:
        script: What to hum; at least one syllable is made of anything.
        voice: Any number; it chooses the pitch.

    """
    base = _LOWEST_HERTZ * 2 ** (voice % _VOICES / 12)
    parts = [_part(match, base) for match in _PARTS.finditer(script)]
    if not any(part.any() for part in parts):
        parts.append(_syllable(base))
    return _quantized(np.concatenate(parts))


def sine(seconds: float, hertz: float, rate: int) -> Mono:
    """Return a steady tone."""
    moments = np.arange(round(seconds * rate)) / rate
    return _quantized(np.sin(2 * np.pi * hertz * moments))


def silence(seconds: float, rate: int) -> Mono:
    """Return nothing to hear."""
    return np.zeros(round(seconds * rate), np.int16)


def _part(match: re.Match[str], base: float) -> Wave:
    """Return the sound of a syllable, a digit, a pause or a gap."""
    text = match.group().lower()
    if match.lastgroup == "pause":
        return np.zeros(round(_PAUSE_SECONDS[text] * RATE))
    if match.lastgroup == "gap":
        return np.zeros(round(_WORD_GAP_SECONDS * RATE))
    if match.lastgroup == "other":
        return _syllable(base * 2 ** (int(text) / 12))
    return _syllable(base * 2 ** (_SEMITONES[text[0]] / 12))


def _syllable(hertz: float) -> Wave:
    """Return one tone that swells and fades."""
    moments = np.arange(round(_SYLLABLE_SECONDS * RATE)) / RATE
    tone = sum(
        (weight * np.sin(2 * np.pi * hertz * order * moments) for order, weight in _OVERTONES),
        start=np.zeros_like(moments),
    )
    edge = np.minimum(moments, moments[::-1]) / _FADE_SECONDS
    return np.asarray(tone * np.minimum(edge, 1.0))


def _quantized(waveform: Wave) -> Mono:
    """Return 16-bit samples with some headroom."""
    return np.asarray(np.round(waveform * _LOUDNESS * FULL_SCALE), np.int16)
