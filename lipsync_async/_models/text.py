"""Characters that are seen by no reader: found, named, taken off, made visible.

They come along when text is copied from chats, documents and web pages. In a script they do
no harm (joiners make emoji and Persian words). In an address or an id they make another one
of it, which looks the same. In a terminal some of them change what is seen.

Sources: Unicode Standard Annex 44 (Default_Ignorable_Code_Point), UAX 9 (directions).
"""

from __future__ import annotations

import os
import re
import unicodedata
from urllib.parse import quote

# Default_Ignorable_Code_Point, interlinear annotations, and a blank that is a symbol of
# Braille.
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Control characters, halves of surrogate pairs, ends of lines and paragraphs.
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
# Blanks but for the usual one.
_BLANKS = r"\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"

_IGNORED = re.compile(f"[{_IGNORABLE}\u2028\u2029]")
_HIDDEN = re.compile(f"[{_IGNORABLE}\u2028\u2029{_BLANKS}]")
_RUN = re.compile(rf"[\s{_IGNORABLE}]*")
# What shapes letters and emoji (joiners, variation selectors) changes nothing around it.
_HARMFUL_ON_SCREEN = re.compile(
    f"[{_CONTROLS}\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff]"
)


def ignored(text: str) -> str | None:
    """Name the first character that is not seen, in words; `None` if there is none."""
    return None if text.isascii() else _told(_IGNORED.search(text))


def hidden(text: str) -> str | None:
    """Name the first character that is not seen, or is a blank but not the usual one.

    Returns:
        Words such as `U+200B (ZERO WIDTH SPACE), which is not seen, at character 7`; `None`
        if there is none.

    """
    return None if text.isascii() else _told(_HIDDEN.search(text))


def percent_encoded(text: str) -> str:
    """Return how the character that `hidden` names is written in an address."""
    return quote("".join(_HIDDEN.findall(text)[:1]), safe="")


def bare(text: str) -> str:
    """Return text without blanks and invisible characters at its ends."""
    if text.isascii():
        return text.strip()
    # Not one expression for both ends: it would look at a run of blanks once for each of them.
    rest = text[_length_of_run(text) :]
    return rest[: len(rest) - _length_of_run(rest[::-1])]


def _length_of_run(text: str) -> int:
    run = _RUN.match(text)
    assert run is not None  # noqa: S101 - it may be empty
    return run.end()


def _told(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    name = unicodedata.name(found[0], "")
    told = f"U+{ord(found[0]):04X}" + (f" ({name})" if name else "")
    looks = "looks like a space" if found[0].isspace() else "is not seen"
    return f"{told}, which {looks}, at character {found.start() + 1}"


def with_marks(text: str) -> str:
    """Return text in which invisible characters are written as Python escapes them."""
    return _IGNORED.sub(_escaped, text)


def for_screens(text: str) -> str:
    r"""Return text that moves nothing on a terminal, in a log or in a message.

    Control characters, escape sequences, line ends and marks of direction become escapes
    such as `\x1b`. Letters of any script and emoji stay.
    """
    return _HARMFUL_ON_SCREEN.sub(_escaped, text)


def for_screens_by_line(text: str) -> str:
    """Return text of several lines of which none moves anything on a terminal."""
    return "\n".join(for_screens(line) for line in text.split("\n"))


def on_one_line(text: str) -> str:
    """Return text as one line that moves nothing on a terminal."""
    return for_screens(" ".join(text.split()))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:  # noqa: PLR2004 - two digits are enough
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


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
