"""Paths as people write them: `~` is the home folder, `~name` that of another user."""

from __future__ import annotations

import os
import re

# A variable at the beginning of a path, as shells of POSIX and Windows write it.
_VARIABLE = re.compile(r"(\$\w+|\$\{\w+\}|%\w+%)(?=[/\\]|\Z)")


def at_home(path: str) -> str | None:
    """Return a path with the home folder in the place of a leading `~` or `~name`.

    Returns:
        The path as it is if it does not begin with `~`; `None` if that folder is not known.

    """
    path = str.__str__(path)  # a member of an enumeration of texts would else become its name
    if not path.startswith("~"):
        return path
    name = path[1:].partition("/")[0].partition(os.sep)[0]
    if not name and os.environ.get("HOME") == "":
        return None  # Python would take it for the root of all folders
    try:
        found = os.path.expanduser(path)  # noqa: PTH111 - Path raises, and drops a slash at the end
    except ValueError:  # no name of a user can hold a null character, or half a surrogate pair
        return None
    return found if os.path.isabs(found) else None  # noqa: PTH117 - it is text


def unknown_home(path: str) -> str:
    """Say that the folder that a leading `~` means is not known."""
    name = path[1:].partition("/")[0].partition(os.sep)[0]
    if name:
        return f"there is no home folder of {name!r}; write the whole path of a file of that name"
    return "the home folder (~) is not known here; write the whole path"


def unreplaced(path: str) -> str | None:
    """Say that a path begins with a variable that nothing has replaced; `None`: it does not.

    No shell does so behind an equals sign in a file, nor in Python. A folder called `$HOME`
    would be removed by its name some day. What is there under such a name is meant.
    """
    found = _VARIABLE.match(path)
    if found is None or os.path.lexists(found[0]):
        return None
    return (
        f"{found[0]} was not replaced by its value; pass os.path.expandvars(...), or the whole path"
    )
