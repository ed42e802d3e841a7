"""Where a result is to go: into a folder, or to exactly one file.

One rule for `download` and `run_many`. A place is a folder if there is one; if there is
nothing yet, it is a folder if its name ends with a slash or has no suffix ("out", "2026.05"),
and otherwise a file ("take.mp4"). `~` is the home folder.
"""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._rules.checks import survived, wrong
from lipsync_async._values.paths import at_home, unknown_home, unreplaced

if TYPE_CHECKING:
    from collections.abc import Iterator

# A suffix has a letter and something before it: ".cache" and "v1.2" have none.
_SUFFIX = re.compile(r"[^/\\]\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,8}\Z")
_SEPARATORS = tuple({"/", os.sep})


def expanded(place: str | PathLike[str]) -> str:
    """Return the place with the home folder for `~`; as it is, where that is not known."""
    path = os.fspath(place)
    return at_home(path) or str.__str__(path)


def is_folder(place: str) -> bool:
    """Tell whether a place is, or is to become, a folder; one look at the disk is taken.

    Args:
        place: As `expanded` returns it.

    """
    if place.endswith(_SEPARATORS):
        return True
    path, has_suffix = Path(place), _SUFFIX.search(place) is not None
    try:
        return path.is_dir() or not (has_suffix or path.is_file())
    except OSError:  # a name that cannot be one: writing will tell
        return not has_suffix


def path_problems(name: str, value: object) -> Iterator[str]:
    """Yield what is wrong with what is to be a path."""
    try:
        path = os.fspath(value)  # type: ignore[call-overload]  # that is the question
        os.fsencode(path)
    except Exception:  # noqa: BLE001 - of a foreign class
        path = None
    if not isinstance(path, str):
        yield wrong(name, "a path", value)
    elif "\0" in path:
        yield f"{name}: must not hold a null character"
    elif not path.strip():
        yield f"{name}: must not be empty; the current folder is '.'"
    elif at_home(path) is None:
        yield f"{name}: {unknown_home(path)}"
    elif (told := unreplaced(path)) is not None:
        yield f"{name}: {told}"


@survived("to")
def target_problems(to: object) -> list[str]:
    """Return what is wrong with the place for a download; one look at the disk is taken."""
    problems = [*path_problems("to", to)]
    if problems or not isinstance(to, str | PathLike):
        return problems
    target = Path(expanded(to))
    try:
        is_odd = target.exists() and not target.is_file() and not target.is_dir()
    except OSError:  # a name too long, say: writing will tell
        return []
    return ["to: must be a file or a folder; what is there is neither"] if is_odd else []


def folder_problems(name: str, value: object) -> Iterator[str]:
    """Yield what is wrong with what is, or is to become, a folder; the disk is looked at."""
    problems = [*path_problems(name, value)]
    yield from problems
    if problems or not isinstance(value, str | PathLike):
        return
    place = expanded(value)
    if _is_no_folder(Path(place)):
        yield f"{name}: must be a folder; {place!r} is none"
    elif not is_folder(place):
        yield (
            f"{name}: must be a folder; {place!r} reads as a file's name. End it with a slash to "
            "make a folder of that name"
        )


def _is_no_folder(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # a name that cannot be one, or one may not look
        return True
