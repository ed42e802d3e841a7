"""Write a generated file, or compare it with what it should be."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def run(
    target: Path,
    content: Callable[[str], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Bring a file up to date; with `--check` only say whether it is.

    Args:
        target: The file, relative to the checkout.
        content: Turns the file's present text into the right one.
        arguments: The command line; `None`: the process's own.

    Returns:
        The exit code: 1 when `--check` found a difference, which is printed as a diff.

    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="change nothing; fail if out of date")
    is_check = parser.parse_args(arguments).check
    present = target.read_text(encoding="utf-8") if target.exists() else ""
    expected = content(present)
    if not is_check:
        target.write_text(expected, encoding="utf-8")
        return 0
    difference = _difference(target.as_posix(), present, expected)
    sys.stdout.write(difference)
    return 1 if difference else 0


def _difference(name: str, present: str, expected: str) -> str:
    found = difflib.unified_diff(
        present.splitlines(keepends=True),
        expected.splitlines(keepends=True),
        fromfile=name,
        tofile=f"{name} (as it should be)",
    )
    return "".join(found)
