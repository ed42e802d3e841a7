"""Write and read 16-bit mono WAV files."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    Mono = np.ndarray[tuple[int, ...], np.dtype[np.int16]]

FULL_SCALE = 32_767
_BYTES_PER_SAMPLE = 2


def write_wav(path: Path, samples: Mono, rate: int) -> float:
    """Write the samples and return their length in seconds."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(_BYTES_PER_SAMPLE)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return len(samples) / rate


def read_wav(path: Path) -> tuple[Mono, int]:
    """Return the samples of a file that `write_wav` or the speech engine wrote, and their rate."""
    with wave.open(str(path), "rb") as file:
        data = file.readframes(file.getnframes())
        return np.frombuffer(data, "<i2").astype(np.int16), file.getframerate()
