"""Make clips that say which frame is which, and read them back.

A frame shows its own number as eight black or white bars, which survive any codec. Sounds
are steady tones, whose strength at any place the Goertzel sum tells.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs
import av
import numpy as np
import pytest

from lipsync_async.sandbox.media.errors import MediaError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

WIDTH, HEIGHT = 160, 96
_BITS = 8
_RATE = 48_000
_AMPLITUDE = 12_000


@attrs.frozen(slots=True)
class Clip:
    """Say what a test video looks like."""

    frames: int  # each shows its number
    rate: Fraction = Fraction(25)
    size: tuple[int, int] = (WIDTH, HEIGHT)
    codec: str = "libx264"
    options: dict[str, str] = attrs.field(factory=lambda: {"preset": "ultrafast", "threads": "1"})
    stamps: Sequence[int] | None = None  # of each frame, in ticks of `1 / (10 * rate)`
    hertz: float | None = None  # pitch of its own sound; without one there is no audio stream
    pixel_format: str = "yuv420p"
    is_live: bool = False  # written as a stream is recorded, with no length anywhere

    def write(self, path: Path) -> Path:
        """Write the video; the suffix chooses the container."""
        ticks = 10 if self.stamps else 1
        stamps = self.stamps or range(self.frames)
        live = {"live": "1"} if self.is_live else {}
        with av.open(str(path), "w", options=live) as container:
            video = container.add_stream(self.codec, rate=self.rate, options=self.options)
            assert isinstance(video, av.VideoStream)
            video.width, video.height = self.size
            video.pix_fmt = self.pixel_format
            video.codec_context.time_base = 1 / (self.rate * ticks)
            sound = None
            if self.hertz is not None:
                sound = container.add_stream("aac", rate=_RATE, layout="mono")
            for number in range(self.frames):
                frame = av.VideoFrame.from_ndarray(_bars(number, *self.size), format="gray")
                frame = frame.reformat(format=self.pixel_format, threads=1)
                frame.pts, frame.time_base = stamps[number], video.codec_context.time_base
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if sound is not None and self.hertz is not None:
                wave = sine(float(self.frames / self.rate), self.hertz)
                heard = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
                heard.sample_rate, heard.pts = _RATE, 0
                heard.time_base = Fraction(1, _RATE)
                container.mux(sound.encode(heard))
                container.mux(sound.encode(None))
        return path


def encoded(source: Path, path: Path, codec: str, rate: int = _RATE, **how: Any) -> Path:
    """Write the same sound with another codec; the suffix chooses the container."""
    options = how.pop("options", {})
    with av.open(str(source)) as given, av.open(str(path), "w", options=options) as target:
        stream = target.add_stream(codec, rate=rate, **how)
        assert isinstance(stream, av.AudioStream)
        for frame in given.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


def turn_clockwise(path: Path) -> Path:
    """Mark an mp4 as filmed with the camera on its side, as telephones do."""
    data = path.read_bytes()
    # The matrix lies 40 bytes behind the name of the first track's header (ISO 14496-12).
    place = data.index(b"tkhd") + 4 + 40
    one, perspective = 1 << 16, 1 << 30
    matrix = (0, one, 0, -one, 0, 0, 0, 0, perspective)
    path.write_bytes(data[:place] + struct.pack(">9i", *matrix) + data[place + 36 :])
    return path


def without_rate(path: Path) -> Path:
    """Take the frame rate out of a webm; a single frame leaves nothing to guess it from."""
    data, name = path.read_bytes(), b"\x23\xe3\x83\x84"  # DefaultDuration, of four bytes
    place = data.index(name)
    path.write_bytes(data[:place] + b"\xec\x86" + bytes(6) + data[place + 8 :])
    return path


def refused(code: str, words: str = "") -> AbstractContextManager[object]:
    """Expect the error of media that has a code and some words."""
    return pytest.raises(MediaError, match=rf"(?s)^{code}: .*(?:{words})")


def sine(seconds: float, hertz: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Return a tone at 48 kHz."""
    moments = np.arange(round(seconds * _RATE)) / _RATE
    return np.asarray(np.sin(2 * np.pi * hertz * moments) * _AMPLITUDE, np.int16)


def _bars(number: int, width: int, height: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return a picture of a number: a bright bar for each set bit."""
    picture = np.zeros((height, width), np.uint8)
    bar = width // _BITS
    for bit in range(_BITS):
        picture[:, bit * bar : (bit + 1) * bar] = 235 if number >> bit & 1 else 16
    return picture


def number_of(frame: av.VideoFrame) -> int:
    """Return the number that a frame shows."""
    grey = frame.to_ndarray(format="gray", threads=1)
    bar = frame.width // _BITS
    means = [grey[:, bit * bar + bar // 4 : (bit + 1) * bar - bar // 4].mean() for bit in range(8)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def shown_numbers(path: Path) -> list[int]:
    """Return the number on every frame of a video."""
    with av.open(str(path)) as container:
        return [number_of(frame) for frame in container.decode(video=0)]


def heard(path: Path) -> Floats:
    """Return a file's sound as one channel between -1 and 1, at 48 kHz."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    blocks: list[Floats] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            blocks.extend(part.to_ndarray()[0] / 32_768 for part in resampler.resample(frame))
    return np.concatenate(blocks)


def strength(sound: Floats, start: float, end: float, hertz: float) -> float:
    """Return how loud a pitch is between two seconds; a test tone has about 0.37."""
    part = sound[round(start * _RATE) : round(end * _RATE)]
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / _RATE)
    return float(2 * abs((part * turns).mean()))


def loudness(sound: Floats, start: float, end: float) -> float:
    """Return the root mean square between two seconds."""
    part = sound[round(start * _RATE) : round(end * _RATE)]
    return float(np.sqrt((part**2).mean()))
