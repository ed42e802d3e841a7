"""Say which media engines are present, without loading any; and ask them whether they work."""

from __future__ import annotations

import platform
from fractions import Fraction
from functools import cache
from importlib import metadata, util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lipsync_async.sandbox.media.errors import EngineError, in_words
from lipsync_async.sandbox.media.face_models import find_models

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALL_HINT = "missing; run: pip install 'lipsync-async[sandbox]'"
REPAIR = "run: pip install --upgrade 'lipsync-async[sandbox]'"
LIPS = "those of the drawn face"  # in any other video the mouth stays as it is
MODELS = "mouth warp (468 points)"  # the lips of any face
# What rendering, drawing and the tone voice import.
_VIDEO_MODULES = ("av", "numpy", "PIL")
_SPEECH_MODULE = "espeakng_loader"
_SIDE, _FRAMES, _RATE = 32, 2, Fraction(25)  # of the clip that the codec is asked about


def engines() -> dict[str, str]:
    """Return the name of each engine, or the command that installs it."""
    if not all(util.find_spec(name) for name in _VIDEO_MODULES):
        return {"video": INSTALL_HINT, "speech": INSTALL_HINT, "lips": "none"}
    return {
        "video": f"pyav {_version('av')}",
        "speech": "espeak-ng" if util.find_spec(_SPEECH_MODULE) else "tones",
        "lips": _lips(),
    }


def _lips() -> str:
    try:
        find_models()
    except EngineError:
        return LIPS
    return MODELS


@cache
def working_engines() -> dict[str, str]:
    """Ask each engine one small question, once in this process; a tenth of a second."""
    ask("numpy", _count, 6)
    ask("pillow", _draw, (_SIDE, _SIDE))
    ask("av", _encode, (_FRAMES, _SIDE, float(_FRAMES / _RATE)))
    from lipsync_async.sandbox.media.speech import speech_trouble  # noqa: PLC0415 - see `_count`

    trouble = speech_trouble()
    found = engines()
    return found if trouble is None else found | {"speech": f"tones, because {trouble}"}


def ask(package: str, question: Callable[[], object], answer: object) -> None:
    """Ask an engine, by the name that pip knows; `EngineError`: no answer, or a wrong one."""
    try:
        found = question()
    except Exception as error:
        raise EngineError(_refusal(package, in_words(error))) from error
    if found != answer:
        raise EngineError(_refusal(package, f"it says {found!r} instead of {answer!r}"))


def _refusal(package: str, reason: str) -> str:
    used = f"{package} {_version(package)}".strip()
    python = platform.python_version()
    return f"{used} does not work with this Python {python} ({reason}); {REPAIR}"


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _count() -> int:
    import numpy as np  # noqa: PLC0415 - nothing is loaded before it is asked

    return int(np.arange(4).sum())


def _draw() -> tuple[int, int]:
    from lipsync_async.sandbox.media.drawn_face import DrawnFace  # noqa: PLC0415 - see above

    return DrawnFace(_SIDE, _SIDE, seed=1).draw(0.0).size


def _encode() -> tuple[int, int, float]:
    """Write a clip and read it: return its frames, their width, and the seconds of its sound."""
    from lipsync_async.sandbox.media.audio_reader import sound_seconds  # noqa: PLC0415
    from lipsync_async.sandbox.media.demo_media import draw_talking_head  # noqa: PLC0415 - see above
    from lipsync_async.sandbox.media.video_reader import FrameReader  # noqa: PLC0415

    with TemporaryDirectory(prefix="lipsync-engines-") as folder:
        clip = draw_talking_head(
            Path(folder) / "clip.mp4", seconds=float(_FRAMES / _RATE), width=_SIDE, height=_SIDE
        )
        with FrameReader(clip) as frames:
            return frames.count, frames.frame(_FRAMES - 1).width, sound_seconds(clip)
