"""Make real media files without downloads: a talking head, speech, a tone; and show a video."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lipsync_async.sandbox.media.audio_reader import CHANNELS
from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.errors import RenderCancelledError
from lipsync_async.sandbox.media.lips import face_comment, video_frame
from lipsync_async.sandbox.media.mp4_writer import Mp4Writer
from lipsync_async.sandbox.media.open_media import THREADS
from lipsync_async.sandbox.media.speech import (
    read_phonemes,
    read_wav,
    silence,
    sine,
    speak,
    write_wav,
)
from lipsync_async.sandbox.media.timeline import SAMPLE_RATE, frame_count
from lipsync_async.sandbox.media.video_reader import FrameReader

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
    comment = face_comment(seed, width, height)
    with Mp4Writer(path, width=width, height=height, rate=rate, comment=comment) as writer:
        for number in range(frame_count(seconds, rate)):
            if is_cancelled is not None and is_cancelled():
                raise RenderCancelledError(f"the drawing stopped at frame {number}.")
            picture = video_frame(actor.draw(number / fps))
            start, end = writer.next_samples()
            room = noise.integers(-_ROOM_TONE, _ROOM_TONE, (end - start, CHANNELS), dtype=np.int16)
            writer.write(picture, room)
    return path


def speak_line(
    path: Path, *, seconds: float | None = None, text: str = _GREETING, voice: str = "sandbox"
) -> Path:
    """Write a WAV of a spoken line, cut or padded with silence to `seconds` if given."""
    spoken_seconds = speak(text, voice, path)
    if seconds is not None and seconds != spoken_seconds:
        samples, rate = read_wav(path)
        padding = silence(max(0.0, seconds - spoken_seconds) + 1 / rate, rate)
        samples = np.concatenate([samples, padding])[: round(seconds * rate)]
        end = len(samples) / rate
        said = [each for each in read_phonemes(path) if each.end <= end]
        write_wav(path, samples, rate, said)
    return path


def tone(path: Path, *, seconds: float, hertz: float, rate: int = SAMPLE_RATE) -> Path:
    """Write a WAV of a steady tone, which is easy to find again in an output."""
    write_wav(path, sine(seconds, hertz, rate), rate)
    return path


_CELL_WIDTH = 320
_GAP = 14
_HEADER = 46
_CORNER = 8
_PAGE = "#16181d"
_TEXT = "#f2f4f8"
_MUTED = "#9aa3b2"
_LABEL = "#000000b0"


def contact_sheet(video: Path, png: Path, *, columns: int = 4, rows: int = 3) -> Path:
    """Write a PNG with evenly spaced frames of a video, each with its time."""
    with FrameReader(video) as frames:
        cells = columns * rows
        # The middle of each of `cells` equal parts: neither a black start nor the end.
        numbers = [(2 * cell + 1) * frames.count // (2 * cells) for cell in range(cells)]
        pictures = [_cell(frames, number) for number in numbers]
        seconds = float(frames.count / frames.rate)
        rate = float(frames.rate)
    step_x, step_y = _CELL_WIDTH + _GAP, pictures[0].height + _GAP
    page = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _HEADER), _PAGE)
    for place, picture in enumerate(pictures):
        corner = _GAP + place % columns * step_x, _HEADER + place // columns * step_y
        mask, end = Image.new("L", picture.size, 0), (picture.width - 1, picture.height - 1)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, *end), _CORNER, fill=255)
        page.paste(picture, corner, mask)
    draw, middle, right = ImageDraw.Draw(page), _HEADER / 2, page.width - _GAP
    large, small = ImageFont.load_default(19), ImageFont.load_default(15)
    draw.text((_GAP, middle), video.name, font=large, anchor="lm", fill=_TEXT)
    facts = f"{seconds:.2f} s    {rate:g} fps"
    draw.text((right, middle), facts, font=small, anchor="rm", fill=_MUTED)
    page.save(png, format="PNG")
    return png


def _cell(frames: FrameReader, number: int) -> Image.Image:
    picture = Image.fromarray(frames.frame(number).to_ndarray(format="rgb24", threads=THREADS))
    height = max(1, round(picture.height * _CELL_WIDTH / picture.width))
    picture = picture.resize((_CELL_WIDTH, height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(15)
    text = clock_text(float(number / frames.rate))
    place = (12, height - 12)
    left, top, right, bottom = draw.textbbox(place, text, font=font, anchor="ls")
    draw.rounded_rectangle((left - 6, top - 5, right + 6, bottom + 5), 5, fill=_LABEL)
    draw.text(place, text, font=font, anchor="ls", fill=_TEXT)
    return picture


def clock_text(seconds: float) -> str:
    """Return a time as minutes, seconds and hundredths."""
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{hundredths / 100:05.2f}"
