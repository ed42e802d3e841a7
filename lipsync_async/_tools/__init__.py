"""Tools for working on this package; not part of the wheel."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write_or_check(
    expected: Mapping[Path, str | None], arguments: Sequence[str] | None = None
) -> int:
    """Write generated files; with `--check`, only compare them: 1 if they differ.

    The text `None` means that a file should not be there.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="change nothing; fail if out of date")
    if parser.parse_args(arguments).check:
        differences = [_difference(path, text) for path, text in expected.items()]
        sys.stdout.write("".join(differences))
        return 1 if any(differences) else 0
    for path, text in expected.items():
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 0


def _difference(path: Path, text: str | None) -> str:
    found = path.read_text(encoding="utf-8") if path.exists() else None
    if found == text:
        return ""
    goal = f"{path.as_posix()} ({'should not be there' if text is None else 'as it should be'})"
    before, after = ((each or "").splitlines(keepends=True) for each in (found, text))
    lines = difflib.unified_diff(before, after, path.as_posix(), goal)
    return "".join(lines) or f"+++ {goal}\n"  # an empty file has no lines to show
