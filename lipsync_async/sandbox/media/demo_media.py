"""Make real media files without downloads: a talking head, speech, a tone."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

from lipsync_async.sandbox.media.audio_reader import CHANNELS
from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.errors import RenderCancelledError
from lipsync_async.sandbox.media.mp4_writer import Mp4Writer
from lipsync_async.sandbox.media.open_media import THREADS
from lipsync_async.sandbox.media.speech import read_wav, silence, sine, speak, write_wav
from lipsync_async.sandbox.media.timeline import SAMPLE_RATE, frame_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# Of 32,767: about 60 dB below full scale, as quiet as a good room.
_ROOM_TONE = 30
_GREETING = "Hello! I am the sandbox. Give me a line, and I will say it."


def draw_talking_head(
    path: Path,
    *,
    seconds: float,  # rounded to whole frames, at least one
    fps: int = 25,
    width: int = 640,  # both even
    height: int = 360,
    seed: int = 1,  # equal seeds give equal bytes
    is_cancelled: Callable[[], bool] | None = None,  # asked before each frame
) -> Path:
    """Write an mp4 of a face that moves a little and blinks, with a quiet room's sound."""
    actor = DrawnFace(width, height, seed)
    noise = np.random.default_rng(seed)
    rate = Fraction(fps)
    with Mp4Writer(path, width=width, height=height, rate=rate, comment="SANDBOX actor") as writer:
        for number in range(frame_count(seconds, rate)):
            if is_cancelled is not None and is_cancelled():
                raise RenderCancelledError(f"the drawing stopped at frame {number}.")
            pixels = np.asarray(actor.draw(number / fps))
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            start, end = writer.next_samples()
            room = noise.integers(-_ROOM_TONE, _ROOM_TONE, (end - start, CHANNELS), dtype=np.int16)
            writer.write(picture.reformat(format="yuv420p", threads=THREADS), room)
    return path


def speak_line(
    path: Path, *, seconds: float | None = None, text: str = _GREETING, voice: str = "sandbox"
) -> Path:
    """Write a WAV of a spoken line, cut or padded with silence to `seconds` if given."""
    spoken_seconds = speak(text, voice, path)
    if seconds is not None and seconds != spoken_seconds:
        samples, rate = read_wav(path)
        padding = silence(max(0.0, seconds - spoken_seconds) + 1 / rate, rate)
        write_wav(path, np.concatenate([samples, padding])[: round(seconds * rate)], rate)
    return path


def tone(path: Path, *, seconds: float, hertz: float, rate: int = SAMPLE_RATE) -> Path:
    """Write a WAV of a steady tone, which is easy to find again in an output."""
    write_wav(path, sine(seconds, hertz, rate), rate)
    return path
