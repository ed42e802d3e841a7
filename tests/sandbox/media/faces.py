"""The models, and pictures that hold faces."""

import os
from collections.abc import Iterable
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from lipsync_async.sandbox.media.errors import EngineError
from lipsync_async.sandbox.media.face_models import FaceModels, find_models
from lipsync_async.sandbox.media.lips import video_frame
from lipsync_async.sandbox.media.mp4_writer import Mp4Writer

Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


def needed_models() -> FaceModels:
    """Return the models; without them the test is skipped, but fails where `CI` is set."""
    try:
        return find_models()
    except EngineError as error:  # pragma: no cover - where coverage counts, they are there
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no faces are found: {error}")


def without_face() -> str:
    """Return what the trace says of a video without a face."""
    try:
        find_models()
    except EngineError as error:  # pragma: no cover - where coverage counts, they are there
        return f"none ({error})"
    return "none (no face is seen)"


def planes_of(picture: Image.Image) -> list[Plane]:
    """Return a picture as a decoder gives it: brightness, and both colours at half the size."""
    pixels = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    return planes_in(pixels.reformat(format="yuv420p", threads=1))


def planes_in(frame: av.VideoFrame) -> list[Plane]:
    """Return the brightness and both colours of a frame."""
    buffers: list[Any] = list(frame.planes)
    rows = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in buffers]
    return [row[: plane.height, : plane.width] for row, plane in zip(rows, buffers, strict=True)]


def photograph(side: int = 512) -> Image.Image:
    """Return the photograph of a face that a package of the tests brings along."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    # Opened by its name: to load the package would take a second, and much memory.
    return Image.open(Path(spec.origin).parent / "data" / "astronaut.png").resize((side, side))


def filmed(path: Path, pictures: Iterable[Image.Image]) -> Path:
    """Write a silent video of pictures, 25 a second."""
    each = iter(pictures)
    first = next(each)
    width, height = first.size
    with Mp4Writer(path, width=width, height=height, rate=Fraction(25), comment="") as writer:
        for picture in chain([first], each):
            start, end = writer.next_samples()
            writer.write(video_frame(picture), np.zeros((end - start, 2), np.int16))
    return path
