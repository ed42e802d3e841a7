"""Write generated files, or compare them with what they should be."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
    return _settle({target: content(_text(target))}, arguments)


def run_folder(
    folder: Path,
    contents: Mapping[str, str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Bring a folder up to date that holds nothing but generated Python files.

    Args:
        folder: The folder, relative to the checkout.
        contents: What each file should hold, by name; any other file is an orphan.
        arguments: The command line; `None`: the process's own.

    Returns:
        The exit code: 1 when `--check` found a difference, which is printed as a diff.

    """
    expected: dict[Path, str | None] = dict.fromkeys(sorted(folder.rglob("*.py")))
    return _settle(expected | {folder / name: text for name, text in contents.items()}, arguments)


def _settle(expected: Mapping[Path, str | None], arguments: Sequence[str] | None) -> int:
    """Write the files, and delete those that should not be; or only print what would change."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="change nothing; fail if out of date")
    if parser.parse_args(arguments).check:
        differences = [_difference(target, text) for target, text in expected.items()]
        sys.stdout.write("".join(differences))
        return 1 if any(differences) else 0
    for target, text in expected.items():
        if text is None:
            target.unlink()
        else:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return 0


def _text(target: Path) -> str:
    return target.read_text(encoding="utf-8") if target.exists() else ""


def _difference(target: Path, expected: str | None) -> str:
    name = target.as_posix()
    goal = f"{name} (as it should be)" if expected is not None else f"{name} (an orphan)"
    found = difflib.unified_diff(
        _text(target).splitlines(keepends=True),
        (expected or "").splitlines(keepends=True),
        fromfile=name,
        tofile=goal,
    )
    is_amiss = target.exists() is (expected is None)
    # An empty file that is missing, or an orphan, has no lines to show.
    return "".join(found) or (f"+++ {goal}\n" if is_amiss else "")
