"""Make the pictures of the guides: the demo's contact sheet, and a mouth that says a sentence.

    python -m nox -s demo && python -m lipsync_async._tools.pictures

Both come out of the sandbox, as anybody can have them: `docs/contact-sheet.png` is the one of
the demo, made smaller; `docs/lips.png` shows a face that was rendered with a spoken line.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_LINE = "Papa, who saw Bob go?"
_SIDE, _CELL, _LABEL, _COLUMNS = 360, 150, 28, 7
_PAGE, _TEXT = "#16181d", "#f2f4f8"
_SHEET = "contact-sheet.png"
_SHEET_WIDTH = 960


def main(demo: Path = Path("demo-output"), docs: Path = Path("docs")) -> None:
    """Write both pictures."""
    sheet = import_module("PIL.Image").open(demo / _SHEET).convert("RGB")
    size = _SHEET_WIDTH, _SHEET_WIDTH * sheet.height // sheet.width
    _save(sheet.resize(size), docs / _SHEET)
    with TemporaryDirectory(prefix="lipsync-pictures-") as folder:
        _save(_strip(Path(folder)), docs / "lips.png")


def _save(picture: Any, path: Path) -> None:
    picture.quantize(192, dither=0).save(path, optimize=True)


def _strip(folder: Path) -> Any:
    """Return the face for each phoneme of a line, with espeak-ng's name of it."""
    image, drawing = import_module("PIL.Image"), import_module("PIL.ImageDraw")
    media = "lipsync_async.sandbox.media."
    demo_media, rendering = import_module(f"{media}demo_media"), import_module(f"{media}render")
    face = demo_media.draw_talking_head(folder / "f.mp4", seconds=4, width=_SIDE, height=_SIDE)
    line = demo_media.speak_line(folder / "l.wav", text=_LINE, voice="a")
    job = rendering.RenderJob(face, is_image=False, audio=line, output=folder / "o.mp4")
    rendered = rendering.render(job)
    font = import_module("PIL.ImageFont").load_default(17)
    said = import_module(f"{media}speech").read_phonemes(line)
    said = [each for each in said[:-2] if each.name != "_"]
    rows = -(-len(said) // _COLUMNS)
    page = image.new("RGB", (_COLUMNS * _CELL, rows * (_CELL + _LABEL)), _PAGE)
    draw = drawing.Draw(page)
    with import_module(f"{media}video_reader").FrameReader(rendered.path) as frames:
        for place, each in enumerate(said):
            name = "pause" if each.name.startswith("_") else each.name.strip("',")
            # A stop is shut before it is heard, and lips move a little before the sound.
            middle = (each.start + (each.start if name in {"p", "b"} else each.end)) / 2
            number = max(0, round((middle - 0.01) * float(frames.rate) - 0.5))
            shown = image.fromarray(frames.frame(number).to_ndarray(format="rgb24"))
            left, top = place % _COLUMNS * _CELL, place // _COLUMNS * (_CELL + _LABEL)
            box = [round(_SIDE * share) for share in (0.19, 0.2, 0.81, 0.82)]
            page.paste(shown.crop(box).resize((_CELL, _CELL)), (left, top + _LABEL))
            place_of_text = left + _CELL / 2, top + _LABEL / 2
            draw.text(place_of_text, f"{name}   {middle:.2f} s", font=font, anchor="mm", fill=_TEXT)
    return page


if __name__ == "__main__":
    main()
