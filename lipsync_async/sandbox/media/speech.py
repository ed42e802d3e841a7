"""Speak a script: espeak-ng when it is installed, else a voice made of tones.

Both are deterministic: the same script and voice give the same bytes. Voice ids are the
service's and mean nothing here; each simply gets one of the voices, always the same. Tones: each
syllable becomes one soft tone with two overtones; vowels decide the pitch, punctuation
pauses, so that a listener hears the rhythm of the text. Numpy is needed, so `engines`
imports this module only when it asks.

A file that espeak-ng spoke also holds its phonemes, in a chunk that players skip. So they are
there wherever the file is used: as a text input, as speech that was made before, uploaded again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import wave
import zlib
from functools import cache
from hashlib import sha256
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lipsync_async.sandbox.media import espeak_child
from lipsync_async.sandbox.media.errors import PIPELINE_FAILED, MediaError, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    Mono = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
    Wave = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

TONES = "tones"

_LOADER = "espeakng_loader"
# Variants that are easy to understand; the others imitate robots, whispers and croaks.
VARIANTS = ("f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m7", "Andy", "Annie", "Gene")
# The longest script, 5,000 characters, takes under a second.
_CHILD_SECONDS = 20.0
# A script of nothing but punctuation says nothing; the output still needs a length.
_LEAST_SECONDS = 0.2


class Phoneme(NamedTuple):
    """One sound of a spoken text."""

    name: str  # as espeak-ng writes it: `_` is a pause, `'` before a vowel stresses it
    start: float  # seconds
    end: float


def speech_engine() -> str:
    """Return `espeak-ng` when it is installed, else `tones`."""
    return "espeak-ng" if util.find_spec(_LOADER) else TONES


@cache
def speech_trouble() -> str | None:
    """Return why espeak-ng says no syllable; `None`: it does, or is not installed. Asked once."""
    if speech_engine() == TONES:
        return None
    try:
        _spoken("a", VARIANTS[0], _CHILD_SECONDS)
    except Exception as error:  # noqa: BLE001 - a package that is broken may raise anything
        return f"espeak-ng does not work ({in_words(error)})"
    return None


def speak(
    script: str,
    voice_id: str,
    output: Path,
    *,
    engine: str | None = None,  # `espeak-ng` or `tones`; `None`: the best that works
    timeout: float = _CHILD_SECONDS,  # then the process that speaks is ended
) -> float:
    """Speak a script into a WAV file, 16 bit and mono, and return its length in seconds."""
    digest = sha256(voice_id.encode()).digest()
    if (engine or (TONES if speech_trouble() else speech_engine())) == TONES:
        return write_wav(output, hum(script, digest[0]), RATE)
    samples, rate, phonemes = _spoken(script, VARIANTS[digest[0] % len(VARIANTS)], timeout)
    if len(samples) < _LEAST_SECONDS * rate:
        samples, phonemes = silence(_LEAST_SECONDS, rate), ()
    return write_wav(output, samples, rate, phonemes)


def _spoken(script: str, variant: str, timeout: float) -> tuple[Mono, int, tuple[Phoneme, ...]]:
    loader = import_module(_LOADER)
    place = Path(loader.get_data_path())
    command = [
        *(sys.executable, "-I", "-S", espeak_child.__file__),
        # The library cuts long paths off, so the child starts beside the data.
        *(loader.get_library_path(), place.name, f"en-us+{variant}"),
    ]
    try:
        child = subprocess.run(  # noqa: S603 - our own script, no shell, and the text goes by pipe
            command,
            cwd=place.parent,
            input=script.encode(),
            capture_output=True,
            check=True,
            timeout=timeout,
        )
    except subprocess.SubprocessError as error:
        detail = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        # The last line, or what the error says behind the child's command.
        reason = detail.rpartition("\n")[2] or str(error).rpartition("]' ")[2]
        raise MediaError(PIPELINE_FAILED, f"espeak-ng failed: {reason}") from error
    head, _, data = child.stdout.partition(b"\n")
    told = json.loads(head)
    samples, rate = np.frombuffer(data, np.int16), int(told["rate"])
    seconds = len(samples) / rate
    starts = [min(start, seconds) for _, start in told["phonemes"]]
    ends = [*starts[1:], seconds]
    names = (name for name, _ in told["phonemes"])
    return samples, rate, tuple(map(Phoneme, names, starts, ends))


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
    """Return the script as tones, at least one; any number as `voice` chooses the pitch."""
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
    text = match.group().lower()
    if match.lastgroup in {"pause", "gap"}:
        return np.zeros(round(_PAUSE_SECONDS.get(text, _WORD_GAP_SECONDS) * RATE))
    semitones = int(text) if match.lastgroup == "other" else _SEMITONES[text[0]]
    return _syllable(base * 2 ** (semitones / 12))


def _syllable(hertz: float) -> Wave:
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


FULL_SCALE = 32_767
_BYTES_PER_SAMPLE = 2


_HEADER_BYTES = 44  # of a file that the `wave` module wrote
_CHUNK = b"phon"
_MOST_CHUNK_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 20


def write_wav(path: Path, samples: Mono, rate: int, phonemes: Sequence[Phoneme] = ()) -> float:
    """Write the samples, and what is said in them; return their length in seconds."""
    data = samples.astype("<i2").tobytes()
    with path.open("wb") as raw:
        with wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(_BYTES_PER_SAMPLE)
            file.setframerate(rate)
            file.writeframes(data)
        if phonemes:
            # With a checksum of the samples: a program that cuts them may keep the chunk.
            text = json.dumps({"crc": zlib.crc32(data), "phonemes": phonemes})
            text += " " * (len(text) % 2)  # chunks begin at even positions
            raw.write(_CHUNK + len(text).to_bytes(4, "little") + text.encode())
            size = raw.tell() - 8
            raw.seek(4)
            raw.write(size.to_bytes(4, "little"))
    return len(samples) / rate


def read_phonemes(path: Path) -> tuple[Phoneme, ...]:
    """Return what is said in a file of `write_wav`; empty: not known, or the samples changed."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if header[:4] != b"RIFF" or header[36:40] != b"data":
            return ()
        size, crc = int.from_bytes(header[40:], "little"), 0
        for start in range(0, size, _BLOCK_BYTES):
            crc = zlib.crc32(file.read(min(_BLOCK_BYTES, size - start)), crc)
        chunk = file.read(8)
        text = file.read(min(int.from_bytes(chunk[4:], "little"), _MOST_CHUNK_BYTES))
    if chunk[:4] != _CHUNK:
        return ()
    try:
        # From a file that anybody may have written.
        told: Any = json.loads(text)
        found = tuple(Phoneme(str(name), start, end) for name, start, end in told["phonemes"])
        seconds = size / _BYTES_PER_SAMPLE / int.from_bytes(header[24:28], "little")
        is_good = all(0 <= each.start <= each.end <= seconds for each in found)
        return found if is_good and told["crc"] == crc else ()
    except (ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError):
        return ()


def read_wav(path: Path) -> tuple[Mono, int]:
    """Return the samples of a file that `write_wav` or the speech engine wrote, and their rate."""
    with wave.open(str(path), "rb") as file:
        data = file.readframes(file.getnframes())
        return np.frombuffer(data, "<i2").astype(np.int16), file.getframerate()
