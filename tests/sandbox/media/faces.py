"""The models, and pictures that hold faces."""

import importlib
import os
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from lipsync_async.sandbox.media.errors import EngineError
from lipsync_async.sandbox.media.face_models import FaceModels, find_models

Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


def needed_models() -> FaceModels:
    """Return the models; without them the test is skipped, but fails where `CI` is set."""
    try:
        return find_models()
    except EngineError as error:  # pragma: no cover - where coverage counts, they are there
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no faces are found: {error}")


def planes_of(picture: Image.Image) -> list[Plane]:
    """Return a picture as a decoder gives it: brightness, and both colours at half the size."""
    pixels = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    frame = pixels.reformat(format="yuv420p", threads=1)
    buffers: list[Any] = list(frame.planes)
    rows = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in buffers]
    return [row[: plane.height, : plane.width] for row, plane in zip(rows, buffers, strict=True)]


def photograph(side: int = 512) -> Image.Image:
    """Return the photograph of a face that a package of the tests brings along."""
    data: Any = importlib.import_module("skimage.data")
    return Image.fromarray(data.astronaut()).resize((side, side))
