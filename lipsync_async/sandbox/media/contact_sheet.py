"""Show a video on one page: evenly spaced frames with their times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from lipsync_async.sandbox.media.open_media import THREADS
from lipsync_async.sandbox.media.video_reader import FrameReader

if TYPE_CHECKING:
    from pathlib import Path


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
