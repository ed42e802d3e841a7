"""Fetching the models that find faces."""

import sys
import zipfile
from pathlib import Path

import pytest

from lipsync_async.cli.main import main
from lipsync_async.sandbox.media.errors import EngineError
from lipsync_async.sandbox.media.face_models import (
    FaceModels,
    default_folder,
    fetch_models,
    find_models,
)
from tests.sandbox.media.faces import needed_models

NAME = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
INFO = "mediapipe-0.10.21.dist-info"
DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
MESH = "mediapipe/modules/face_landmark/face_landmark.tflite"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip look into a folder, and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(shelf),
        "CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return shelf


def wheel(shelf: Path, members: dict[str, bytes]) -> None:
    """Put a wheel of the name that is asked for onto the shelf."""
    with zipfile.ZipFile(shelf / NAME, "w") as file:
        file.writestr(
            f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n"
        )
        file.writestr(
            f"{INFO}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
        )
        for name, content in members.items():
            file.writestr(name, content)


def test_models_are_fetched_once_with_their_licence(shelf: Path, tmp_path: Path) -> None:
    """A file that was damaged later is fetched anew, and nothing else is left."""
    models, folder = needed_models(), tmp_path / "cache" / "models"
    wheel(
        shelf,
        {
            DETECTOR: models.detector.read_bytes(),
            MESH: models.mesh.read_bytes(),
            f"{INFO}/LICENSE": b"Apache",
        },
    )
    with pytest.raises(EngineError, match=r"^there are no models; run: lipsync-async"):
        find_models(folder)
    wanted = FaceModels(folder / Path(DETECTOR).name, folder / Path(MESH).name)
    assert fetch_models(folder) == (wanted, True)
    wanted.mesh.write_bytes(b"half")
    assert fetch_models(folder) == (wanted, True)
    (shelf / NAME).unlink()
    assert fetch_models(folder) == (wanted, False)
    assert wanted.mesh.read_bytes() == models.mesh.read_bytes()
    names = {"LICENSE", wanted.detector.name, wanted.mesh.name}
    assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (None, r"^pip cannot download mediapipe==0\.10\.21: No matching distribution found"),
        ({MESH: b"other"}, "is not as expected: There is no item named .*short_range"),
        (
            {DETECTOR: b"other", MESH: b"other"},
            "short_range.tflite of mediapipe==0.10.21 has the sha256 d9298a10.*, not bbff11ce",
        ),
    ],
    ids=["no network", "nothing in it", "another file"],
)
def test_what_cannot_be_had_is_told_and_leaves_nothing(
    shelf: Path, tmp_path: Path, members: dict[str, bytes] | None, words: str
) -> None:
    """The words are pip's own, or name the file that is another."""
    if members is not None:
        wheel(shelf, members)
    with pytest.raises(EngineError, match=words):
        fetch_models(tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_python_without_pip_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environments of other installers hold none."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{sys.executable}: No module named pip' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(EngineError, match=r"has no pip .*; run: python -m ensurepip$"):
        fetch_models(tmp_path / "models")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Nothing is downloaded then."""
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"cannot be kept in .*/file/models: Not a directory$"):
        fetch_models(tmp_path / "file" / "models")


def test_the_command_says_where_models_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one line; without the extra, it says what to install."""
    folder = needed_models().mesh.parent
    assert main(["sandbox", "models"]) == 0
    assert capsys.readouterr() == (f"The models were already in {folder}.\n", "")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert main(["sandbox", "models"]) == 1
    hint = "the extra `lips` is missing; run: pip install 'lipsync-async[lips]'"
    assert capsys.readouterr() == ("", f"lipsync_async.sandbox: {hint}\n")
    with pytest.raises(EngineError, match="the extra `lips` is missing"):
        default_folder()
