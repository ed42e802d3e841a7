"""Rendering with lips that move, of the drawn face and of a photograph, beside plain rendering.

Each render has a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from math import sin
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from benchmarks.ratios import Ratio
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from lipsync_async.sandbox.media.render import RenderJob, render
from lipsync_async.sandbox.media.video_reader import FrameReader
from tests.sandbox.media.faces import filmed, photograph

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 20.0
_LINE = "Peter bought a big bottle of milk, maybe from the shop by my home. "
_ROUNDS = 3
_BICUBIC = Image.Resampling.BICUBIC
_NOISE = 4.0  # standard deviation of each of 256 levels


def _rendered(width: int, height: int, drive: str) -> tuple[float, float, float]:
    """Return frames a second, milliseconds of processor time a frame, and megabytes at most."""
    command = (sys.executable, "-m", "benchmarks.bench_lips", str(width), str(height), drive)
    runs = [
        [float(word) for word in subprocess.check_output(command, text=True).split()]  # noqa: S603
        for _ in range(_ROUNDS)
    ]
    fastest, processor, memory = zip(*runs, strict=True)
    return max(fastest), min(processor), max(memory)


@pytest.mark.parametrize(
    ("width", "height", "least"), [(512, 512, 40.0), (1280, 720, 25.0), (1920, 1080, 25.0)]
)
def test_render(width: int, height: int, least: float, report: Callable[[Ratio], None]) -> None:
    """Render twenty seconds of speech over a clip of four."""
    size = f"{width}x{height}"
    _, plain_processor, plain_memory = plain = _rendered(width, height, "plain")
    report(Ratio(what=f"render {size} plainly, frames/s", measured=plain[0]))
    report(Ratio(what=f"render {size} plainly, CPU ms a frame", measured=plain_processor))
    for drive in ("phonemes", "sound", "warped"):
        speed, processor, memory = _rendered(width, height, drive)
        what = f"render {size} with lips by {drive}"  # warped: those of a noisy photograph
        report(Ratio(what=f"{what}, frames/s", measured=speed, at_least=least))
        report(Ratio(what=f"{what}, CPU ms a frame", measured=processor))
        ratio = memory / plain_memory
        report(Ratio(what=f"{what}, peak memory / plain", measured=ratio, at_most=1.3))


def _film(path: Path, width: int, height: int) -> None:
    """Film a photograph that turns a little, with a camera's noise: a face half as high as it."""
    picture, tall = photograph(), 240.0
    wide = tall * width / height
    box = (224 - wide / 2, 130 - tall / 2, 224 + wide / 2, 130 + tall / 2)
    random = np.random.default_rng(1)

    def taken(number: int) -> Image.Image:
        turned = picture.rotate(4 * sin(number / 12), _BICUBIC, center=(224, 130))
        pixels = np.asarray(turned.resize((width, height), _BICUBIC, box))
        noisy = pixels + random.normal(0, _NOISE, pixels.shape)
        return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))

    filmed(path, map(taken, range(100)))


def test_backwards(tmp_path: Path, report: Callable[[Ratio], None]) -> None:
    """Read ten seconds of 1920x1080 with one key frame to the end, and back, as `bounce` does."""
    video = draw_talking_head(tmp_path / "face.mp4", seconds=10, width=1920, height=1080)
    with FrameReader(video) as frames:
        start = process_time()
        for number in range(frames.count):
            frames.frame(number)
        turn = process_time()
        for number in reversed(range(frames.count)):
            frames.frame(number)
        ratio = (process_time() - turn) / (turn - start)
    report(Ratio(what="read 1920x1080 backwards / forwards, CPU", measured=ratio, at_most=1.5))


def _main(width: int, height: int, drive: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "face.mp4"
        if drive == "warped":
            _film(video, width, height)
        else:
            draw_talking_head(video, seconds=4, width=width, height=height)
        line = speak_line(folder / "line.wav", text=_LINE * 6, seconds=_SECONDS)
        if drive == "plain":  # a face that is not known has no lips to move
            video.write_bytes(video.read_bytes().replace(b"SANDBOX face", b"SANDBOX FACE"))
        if drive == "sound":
            line.write_bytes(line.read_bytes().replace(b"phon", b"none"))
        job = RenderJob(
            video,
            is_image=False,
            audio=line,
            output=folder / "out.mp4",
            models=folder if drive == "plain" else None,
        )
        used = resource.getrusage(resource.RUSAGE_SELF)
        start = perf_counter()
        rendered = render(job)
        seconds = perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
    wanted = {"plain": "none", "warped": "warped (phonemes"}
    assert rendered.lips.startswith(wanted.get(drive, f"drawn ({drive}"))
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    kilobytes = after.ru_maxrss
    sys.stdout.write(
        f"{rendered.frames / seconds} {processor / rendered.frames * 1000} {kilobytes / 1024}\n"
    )


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
