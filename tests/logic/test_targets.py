"""What is a folder, and what is a file: one rule for `download` and `run_many`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import pytest

from lipsync_async._logic.validation import expanded, folder_problems, is_folder, target_problems

FOLDERS = [
    "out",
    "out/",
    "out.d/",
    "take.mp4/",
    "deep/out",
    "deep.er/out",
    ".cache",
    ".mp4",
    "deep/.mp4",
    "v1.2",
    "2026.05",
    "take.",
    "take.123456789",
    "take.mp4 ",
    "Act 2. The end",
    "a.b-c",
    "a.mp4_",
    "ü",
    "a.ü",
    "x" * 300,
]
FILES = [
    "take.mp4",
    "take.MOV",
    "take.mp4.part",
    "take.bin",
    "take.3gp",
    "take.7z",
    "deep/take.webm",
    "v1.2.mp4",
    "..mp4",
    "a b.mp4",
    "ü.m4v",
    "-.a",
    "x" * 300 + ".mp4",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, which is the home folder as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("place", FOLDERS)
def test_what_becomes_a_folder(here: Path, place: str) -> None:
    """Where there is nothing, a slash at the end or no suffix means a folder."""
    assert is_folder(place)
    assert is_folder(f"{here}/{place}")
    if len(place) < 256:
        assert [*folder_problems("download_to", place)] == []


@pytest.mark.parametrize("place", FILES)
def test_what_becomes_a_file(here: Path, place: str) -> None:
    """A suffix means a file, which no folder for results can be called by accident."""
    assert not is_folder(place)
    assert not is_folder(f"{here}/{place}")
    (problem,) = folder_problems("download_to", place)
    assert problem.startswith("download_to: must be a folder; ")
    assert [*folder_problems("download_to", f"{place[:200]}/")] == []


@pytest.mark.parametrize("name", ["out", "out.d", "take.mp4", "..x", "~x"])
def test_what_is_there_decides(here: Path, name: str) -> None:
    """A folder is one and a file is one, whatever they are called."""
    (here / "folders" / name).mkdir(parents=True)
    (here / "files").mkdir()
    (here / "files" / name).touch()
    assert is_folder(f"folders/{name}")
    assert is_folder(f"folders/{name}/")
    assert not is_folder(f"files/{name}")
    assert is_folder(f"files/{name}/")  # as it is asked for; writing will fail
    assert [*folder_problems("x", f"folders/{name}")] == []
    assert [*folder_problems("x", f"files/{name}")] == [
        f"x: must be a folder; 'files/{name}' is none"
    ]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("~", "{home}"),
        ("~/", "{home}/"),
        ("~/out", "{home}/out"),
        ("~/out.d/", "{home}/out.d/"),
        ("~unknown-user/x", "~unknown-user/x"),
        ("./~", "./~"),
        ("a/~", "a/~"),
        ("a~", "a~"),
        ("out/", "out/"),
    ],
)
def test_home(here: Path, place: str, expected: str) -> None:
    """`~` at the beginning is the home folder, and a slash at the end stays."""
    assert expanded(place) == expected.format(home=here)
    assert expanded(Path("~/out")) == f"{here}/out"


class OddPath(PathLike[Any]):
    """Give out what a path must not be."""

    def __init__(self, path: object) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        """Give it out."""
        return self._path


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("out/", []),
        (Path("new.mp4"), []),
        (OddPath("new.mp4"), []),
        ("n" * 300, []),
        ("~", []),
        (None, ["to: must be a path, not None"]),
        (5, ["to: must be a path, not 5"]),
        (b"out", ["to: must be a path, not bytes"]),
        (["out"], ["to: must be a path, not ['out']"]),
        (OddPath(b"out"), ["to: must be a path, not OddPath"]),
        (OddPath(3), ["to: must be a path, not OddPath"]),
        ("\ud800", ["to: must be a path, not '\\ud800'"]),
        ("a\0b", ["to: must not hold a null character"]),
        ("~unknown-user/x", ["to: there is no home folder of 'unknown-user'; write the whole"]),
        ("", ["to: must not be empty; the current folder is '.'"]),
        ("  ", ["to: must not be empty; the current folder is '.'"]),
        ("/dev/null", ["to: must be a file or a folder; what is there is neither"]),
    ],
)
def test_places_for_a_download(here: Path, to: object, expected: list[str]) -> None:
    """What is no path is refused, and a device is not replaced by a file."""
    assert [problem[:60] for problem in target_problems(to)] == [line[:60] for line in expected]
