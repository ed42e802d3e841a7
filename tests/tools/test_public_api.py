"""The public face is written down in `tests/public_api.txt`, and the writer can be trusted."""

import sys
from pathlib import Path

import pytest

from lipsync_async._tools import public_api

ROOT = Path(__file__).parents[2]

# Its name begins like the package's own, so what it hides counts as ours.
WHOLE = '''\
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from typing import Any

import attrs

__all__ = ["Colour", "LIMIT", "Number", "Shown", "Value", "free"]
LIMIT = 1
Number = int | float

class Colour(StrEnum):
    RED = "red"

class _Hidden:
    def inherited(self, count: int = 1) -> None:
        """Do it.

        Raises:
            ValueError, LookupError: It cannot be done.
            OSError: The disk is full,
                or gone.

        """

class Shown(_Hidden):
    """Show every kind of member.

    Attributes:
        depth: How deep.

    """

    constant = 1
    no_getter = property()
    verbs: "Verbs"
    missing: "Callable[[], Any]"

    def __init__(self, name: str, *, hook: Callable[[], Any] | None = None) -> None: ...

    def __len__(self) -> int: ...

    def __repr__(self) -> str: ...

    @property
    def width(self) -> int:
        """The width.

        Raises:
            OSError: It is gone.

        """

    @cached_property
    def height(self) -> "Mapping[str, Any]": ...

    @classmethod
    def made(cls) -> "Shown": ...

    @staticmethod
    def plain(marker: object = print) -> None: ...

    async def later(self, untyped="x.y") -> Iterator["Colour"]: ...

class Verbs:
    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Open it.

        Raises:
            OSError: It is gone.

        """

@attrs.define
class Value:
    shown: Shown
    items: list[Shown] = attrs.field(factory=list)

def free(value: None, address: Any = lambda: None) -> None: ...
'''
PART = """\
from pathlib import Path

from lipsync_async_sample import Shown

limit: float = 1.0
_secret: int = 1
Shown.__module__ = __name__

def own(docstring: str | None) -> list[str]: ...
"""
EXPECTED = """\
module lipsync_async_sample
class Colour is StrEnum
    RED = 'red'
constant LIMIT: int
alias Number = int | float
class Shown
    (name: str, *, hook: Callable[[], Any] | None = None) -> None
    attribute depth
    attribute verbs: Verbs
    def __len__() -> int
    property height -> Mapping[str, Any]
    def inherited(count: int = 1) -> None
        raises LookupError, OSError, ValueError
    async def later(untyped='x.y') -> Iterator['Colour']
    def made() -> Shown
    def plain(marker: object = <built-in function print>) -> None
    property width -> int
        raises OSError
class Verbs
    with opened(path: str) -> Iterator[int]
        raises OSError
class Value
    (shown: Shown, items: list[Shown] = NOTHING) -> None
def free(value: None, address: Any = <function <lambda>>) -> None

module lipsync_async_sample.part
class Shown (see above)
constant limit: float
def own(docstring: str | None) -> list[str]
"""


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a package that has one of everything, and return its name."""
    name = "lipsync_async_sample"
    for module in (name, f"{name}.part"):
        # Restores the absence of what the test is about to import.
        monkeypatch.setitem(sys.modules, module, sys)
        monkeypatch.delitem(sys.modules, module)
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(WHOLE, encoding="utf-8")
    (folder / "part.py").write_text(PART, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_the_list_shows_every_kind_of_name(sample: str) -> None:
    """Classes, enums, values, functions, aliases and constants all have their line."""
    assert "\n".join(public_api.lines((sample, f"{sample}.part"))) == EXPECTED


def test_a_section_that_is_not_there_names_nothing() -> None:
    """No docstring and no section both mean no names."""
    assert public_api.section(None, "Raises") == []
    assert public_api.section("Do it.\n\nReturns:\n    word: A word.\n", "Raises") == []
