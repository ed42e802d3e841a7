"""Generated files are written, compared, and only compared when nothing may change."""

import subprocess
import sys
from pathlib import Path

import pytest

from lipsync_async._tools.generated import run, run_folder

ROOT = Path(__file__).parents[2]


def test_a_missing_file_is_written(tmp_path: Path) -> None:
    """The first run creates the file, from nothing."""
    target = tmp_path / "list.txt"
    assert run(target, lambda present: f"{present}one\n", []) == 0
    assert target.read_text(encoding="utf-8") == "one\n"


def test_check_is_silent_about_a_file_that_is_up_to_date(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing to do: exit code 0, no output."""
    target = tmp_path / "list.txt"
    target.write_text("one\n", encoding="utf-8")
    assert run(target, lambda present: present, ["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_check_prints_the_difference_and_changes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file that is out of date fails the check with a unified diff."""
    target = tmp_path / "list.txt"
    target.write_text("one\ntwo\n", encoding="utf-8")
    assert run(target, lambda _: "one\nthree\n", ["--check"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:] == ["@@ -1,2 +1,2 @@", " one", "-two", "+three"]
    assert target.read_text(encoding="utf-8") == "one\ntwo\n"


FOLDER = {"__init__.py": "", "one.py": "first\nsecond\n", "two.py": "only\n"}

# A file, what it holds instead (`None`: it is missing), and the lines that `--check` prints.
Fault = tuple[str, str | None, list[str]]
EDIT = ["--- out/one.py", "+++ out/one.py (as it should be)", "@@ -1,2 +1,2 @@"]
TAIL = ["--- out/two.py", "+++ out/two.py (as it should be)", "@@ -1,2 +1 @@"]
ORPHAN = ["--- out/in/old.py", "+++ out/in/old.py (an orphan)", "@@ -1 +0,0 @@"]
MISSING = ["--- out/two.py", "+++ out/two.py (as it should be)", "@@ -0,0 +1 @@"]
FAULTS: dict[str, Fault] = {
    "nothing": ("two.py", "only\n", []),
    "no Python": ("__pycache__/old.pyc", "", []),
    "hand edit": ("one.py", "first\nthird\n", [*EDIT, " first", "-third", "+second"]),
    "appended tail": ("two.py", "only\nmore\n", [*TAIL, " only", "-more"]),
    "orphan": ("in/old.py", "gone\n", [*ORPHAN, "-gone"]),
    "empty orphan": ("old.py", "", ["+++ out/old.py (an orphan)"]),
    "missing file": ("two.py", None, [*MISSING, "+only"]),
    "missing empty file": ("__init__.py", None, ["+++ out/__init__.py (as it should be)"]),
}


def texts(folder: Path) -> dict[str, str]:
    """Return what the Python files of a folder hold."""
    found = folder.rglob("*.py")
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in found}


@pytest.fixture(params=list(FAULTS.values()), ids=list(FAULTS))
def spoiled(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Path, list[str]]:
    """Write a folder with one fault; return it and what the check should print."""
    fault: Fault = request.param
    name, text, printed = fault
    monkeypatch.chdir(tmp_path)
    folder = Path("out")
    assert run_folder(folder, FOLDER, []) == 0
    target = folder / name
    if text is None:
        target.unlink()
    else:
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder, printed


def test_a_folder_is_compared_and_left_alone(
    spoiled: tuple[Path, list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`--check` fails with a diff of what is wrong, missing or too much."""
    folder, printed = spoiled
    before = texts(folder)
    assert run_folder(folder, FOLDER, ["--check"]) == int(printed != [])
    assert capsys.readouterr().out.splitlines() == printed
    assert texts(folder) == before


def test_a_folder_is_brought_up_to_date(
    spoiled: tuple[Path, list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Files are written or deleted without a word, and then the check is content."""
    folder, _ = spoiled
    assert run_folder(folder, FOLDER, []) == 0
    assert texts(folder) == FOLDER
    assert run_folder(folder, FOLDER, ["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_missing_folder_is_out_of_date(tmp_path: Path) -> None:
    """The check does not take nothing for everything."""
    assert run_folder(tmp_path / "out", FOLDER, ["--check"]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mirror", "public_api"])
def test_generated_files_are_up_to_date(name: str) -> None:
    """`python -m lipsync_async._tools.NAME --check` finds nothing to change."""
    command = [sys.executable, "-m", f"lipsync_async._tools.{name}", "--check"]
    done = subprocess.run(  # noqa: S603 - our own words
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
