"""Generated files are up to date, and `--check` finds those that are not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lipsync_async._tools import endpoints, mirror, public_api, write_or_check

ROOT = Path(__file__).parents[2]
FILES = {"__init__.py": "", "one.py": "first\nsecond\n", "old.py": None}
EDIT = ["--- out/one.py", "+++ out/one.py (as it should be)", "@@ -1,2 +1,2 @@"]
ORPHAN = ["--- out/old.py", "+++ out/old.py (should not be there)", "@@ -1 +0,0 @@", "-gone"]


@pytest.mark.parametrize(
    "fault",
    [
        ("one.py", "first\nsecond\n", []),
        ("one.py", "first\nthird\n", [*EDIT, " first", "-third", "+second"]),
        ("one.py", None, ["--- out/one.py", EDIT[1], "@@ -0,0 +1,2 @@", "+first", "+second"]),
        ("__init__.py", None, ["+++ out/__init__.py (as it should be)"]),
        ("old.py", "gone\n", ORPHAN),
        ("old.py", "", ["+++ out/old.py (should not be there)"]),
    ],
    ids=["nothing", "hand edit", "missing", "missing empty", "orphan", "empty orphan"],
)
def test_generated_files_are_compared_or_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: tuple[str, str | None, list[str]],
) -> None:
    """`--check` changes nothing and prints a diff; without it, files are written or deleted."""
    monkeypatch.chdir(tmp_path)
    name, text, printed = fault
    expected = {Path("out", name): text for name, text in FILES.items()}
    assert write_or_check(expected, []) == 0
    write_or_check({Path("out", name): text}, [])
    assert write_or_check(expected, ["--check"]) == int(printed != [])
    assert capsys.readouterr().out.splitlines() == printed
    assert Path("out", name).exists() is (text is not None)
    assert write_or_check(expected, []) == 0
    assert write_or_check(expected, ["--check"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "tool", [mirror, public_api, endpoints], ids=["mirror", "public_api", "endpoints"]
)
def test_generated_files_are_up_to_date(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m lipsync_async._tools.NAME --check` finds nothing to change."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["", "--check"])
    assert tool.main() == 0
