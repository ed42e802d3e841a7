"""What the generator writes for whole files, and which imports these need."""

from dataclasses import replace
from textwrap import dedent, indent
from typing import Any

import pytest

from lipsync_async._tools.mirror.modules import Module, written
from tests.mirror.small_twins import PLAIN, RESOURCE, TYPES, twin

SOURCE = '''\
"""The things, async."""

from __future__ import annotations

import calendar
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from lipsync_async._async.resource import AsyncResource
from lipsync_async._models.things import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from lipsync_async._models.things import Thing, a_type

OnThing: TypeAlias = Callable[[Thing], Awaitable[None] | None]
Unused: TypeAlias = Callable[[Thing], None]
_PAUSE = 1.0


class _Unset:
    pass


class AsyncBase(AsyncResource):
    """Stand between."""


class AsyncThings(AsyncBase):
    """Reach things; AsyncThings are `async`."""

    async def get(self, name: str, *, size: int = LIMIT, folder: str = os.curdir) -> Thing:
        """Return one thing.

        Example:
            `await things.get("a")`

        """
        return await self._get(name)

    async def delete(self, pause: float | _Unset = _PAUSE, day: int = calendar.MONDAY) -> None:
        await self._get("it")

    async def all(self, *, on_thing: OnThing | None = None) -> AsyncGenerator[Thing, None]:
        yield await self._get("it")

    @asynccontextmanager
    async def watched(self, kind: a_type, /) -> AsyncIterator[AsyncIterator[Thing]]:
        """Watch things."""
        yield self.all()

    async def _get(self, name: str) -> Thing:
        return name


def helper() -> None:
    pass
'''
TWIN = '''\
# Generated from lipsync_async/_async/things.py by lipsync_async/_tools/mirror.
# Change that file, not this one, and run `nox -s regenerate`.

"""The things, blocking."""

from __future__ import annotations

import calendar
import os
from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._async.things import _PAUSE
from lipsync_async._models.things import LIMIT
from lipsync_async._portal.portal import SyncWrapper, call_in_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from lipsync_async._async.things import AsyncBase, AsyncThings, _Unset
    from lipsync_async._models.things import Thing, a_type

    OnThing = Callable[[Thing], None]


class Base(SyncWrapper):
    """Stand between."""

    _source: AsyncBase


class Things(Base):
    """Reach things; Things are `async`."""

    _source: AsyncThings

    def get(self, name: str, *, size: int = LIMIT, folder: str = os.curdir) -> Thing:
        """Return one thing.

        Example:
            `things.get("a")`

        """
        return self._portal.call(partial(self._source.get, name, size=size, folder=folder))

    def delete(self, pause: float | _Unset = _PAUSE, day: int = calendar.MONDAY) -> None:
        self._portal.call(partial(self._source.delete, pause, day))

    def all(self, *, on_thing: OnThing | None = None) -> Generator[Thing, None, None]:
        return self._portal.iterate(self._source.all(on_thing=call_in_caller("on_thing", on_thing)))

    def watched(self, kind: a_type, /) -> AbstractContextManager[Iterator[Thing]]:
        """Watch things."""
        return self._portal.open(self._source.watched(kind))
'''
CLIENT = '''\
"""The client."""

from lipsync_async._async.things import AsyncThings


class AsyncClient:
    """Speak."""

    things: AsyncThings
    others: AsyncThings

    def __init__(self, key: str = "") -> None:
        """Begin."""
        self.things = AsyncThings()

    def with_options(self, *, on_thing: Callable[[int], object] | None = None) -> Self:
        """Return a view."""
        return self

    async def aclose(self) -> None:
        """Close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None) -> None:
        await self.aclose()
'''
CLIENT_TWIN = '''\
# Generated from lipsync_async/_async/client.py by lipsync_async/_tools/mirror.
# Change that file, not this one, and run `nox -s regenerate`.

"""The client."""

from __future__ import annotations

from lipsync_async._async.client import AsyncClient
from lipsync_async._portal.portal import Portal, SyncWrapper, call_in_caller, wrapped
from lipsync_async._sync.things import Things


class Client(SyncWrapper):
    """Speak."""

    things: Things
    others: Things
    _source: AsyncClient

    def __init__(self, key: str = "") -> None:
        """Begin."""
        portal = Portal()
        self._wrap(portal, AsyncClient(key))

    def _wrap(self, portal: Portal, source: AsyncClient) -> None:
        super()._wrap(portal, source)
        self.things = wrapped(Things, portal, source.things)
        self.others = wrapped(Things, portal, source.others)

    def with_options(self, *, on_thing: Callable[[int], object] | None = None) -> Self:
        """Return a view."""
        return wrapped(
            type(self),
            self._portal,
            self._source.with_options(on_thing=call_in_caller("on_thing", on_thing)),
        )

    def close(self) -> None:
        """Close."""
        self._portal.close(self._source.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None) -> None:
        self.close()
'''
FAREWELLS = {
    "aclose": ("close", "self._portal.close(self._source.aclose)"),
    "__aenter__": ("__enter__", "return self"),
    "__aexit__": ("__exit__", "self.close()"),
}


def test_a_file_of_resources_has_a_whole_twin() -> None:
    """Calls, iterations, context managers, types, words and imports are all as expected."""
    words = {"The things, async": "The things, blocking", "await ": ""}
    assert twin(SOURCE, types=TYPES, words=words) == TWIN


def test_a_client_has_a_whole_twin() -> None:
    """It builds the async client, reflects its resources, makes views, and can be closed."""
    modules = [
        RESOURCE,
        Module.parsed("client", CLIENT),
        Module.parsed("things", "class AsyncThings(AsyncResource):\n    '''Reach things.'''\n"),
    ]
    tables = replace(PLAIN, methods=FAREWELLS)
    texts = written(modules, tables)
    compile(texts["client"], "client.py", "exec")
    assert texts["client"] == CLIENT_TWIN
    assert list(texts) == ["client", "things"]  # and none for what is written by hand


def test_a_package_keeps_its_docstring() -> None:
    """`__init__` has no class, but the generated folder is a package as well."""
    package = Module.parsed("__init__", '"""The verbs, async."""\n')
    assert written([RESOURCE, package], replace(PLAIN, words={"async": "blocking"})) == {
        "__init__": dedent(
            """\
            # Generated from lipsync_async/_async/__init__.py by lipsync_async/_tools/mirror.
            # Change that file, not this one, and run `nox -s regenerate`.

            \"""The verbs, blocking.\"""
            """,
        ),
    }


def test_a_file_may_lack_a_docstring() -> None:
    """What stands first in a file is not taken for one."""
    text = twin(
        "import os\n\nclass AsyncThings(AsyncResource):\n    async def f(self) -> int: ...\n"
    )
    assert text.partition("\n\n")[2] == dedent(
        """\
        from __future__ import annotations

        from typing import TYPE_CHECKING

        from lipsync_async._portal.portal import SyncWrapper

        if TYPE_CHECKING:
            from lipsync_async._async.things import AsyncThings


        class Things(SyncWrapper):
            _source: AsyncThings

            def f(self) -> int:
                return self._portal.call(self._source.f)
        """,
    )


def test_only_type_aliases_that_are_used_are_taken_over() -> None:
    """They need their block even when nothing is imported for type checkers only."""
    source = """
Number: TypeAlias = int
Text: TypeAlias = str
Unused: TypeAlias = str

elsewhere.limit = 1

class AsyncThings:
    parts: AsyncThings

    def __init__(self, number: Number, text: Text) -> None:
        pass
"""
    blocks = [block for block in twin(source).split("\n\n") if block.startswith("if ")]
    assert blocks == ["if TYPE_CHECKING:\n    Number = int\n    Text = str"]


def test_a_constructor_may_be_inherited() -> None:
    """Resources are reflected anyway."""
    text = twin("class AsyncThings(AsyncResource):\n    parts: AsyncThings\n")
    assert text.partition("    _source: AsyncThings\n\n")[2] == (
        "    def _wrap(self, portal: Portal, source: AsyncThings) -> None:\n"
        "        super()._wrap(portal, source)\n"
        "        self.parts = wrapped(Things, portal, source.parts)\n"
    )


# At the margin this just fits into a line; as a part of a block it does not.
WIDE = ["LIMIT", "A" + "a" * 52, "some"]
FLAT = f"from lipsync_async._models import {', '.join(WIDE)}\n"
ROWS = f"from lipsync_async._models import (\n    {WIDE[0]},\n    {WIDE[1]},\n    {WIDE[2]},\n)\n"


@pytest.mark.parametrize(
    ("parameter", "names", "expected"),
    [
        ("x{}: int = {}", WIDE, FLAT),
        ("x{}: int = {}", [*WIDE, "thing"], ROWS.replace(")", "    thing,\n)")),
        ("x{}: {}", WIDE, indent(ROWS, "    ")),
    ],
    ids=["at the margin", "a name more", "in a block"],
)
def test_long_imports_have_a_line_for_each_name(
    parameter: str,
    names: list[str],
    expected: str,
) -> None:
    """Lines of more than 100 columns are broken as the formatter would."""
    imported = FLAT.replace(", some", f", {', '.join(names[2:])}")
    parameters = ", ".join(parameter.format(*item) for item in enumerate(names))
    source = f"{imported}\nclass AsyncThings:\n    async def f(self, {parameters}) -> int: ..."
    assert f"\n{expected}" in twin(source)


def test_a_parameter_is_not_the_module_of_its_name() -> None:
    """What a call passes on needs no import at run time; its type needs one for checkers."""
    text = twin(
        "import os\n\nclass AsyncThings(AsyncResource):\n"
        "    async def f(self, os: os.PathLike[str]) -> None: ...\n",
    )
    assert [line for line in text.splitlines() if line.endswith("import os")] == ["    import os"]


@pytest.mark.parametrize(
    "table",
    [
        {"classes": {**PLAIN.classes, "AsyncGone": ("Gone", "lipsync_async.gone")}},
        {"methods": {"agone": ("gone", "pass")}},
        {"types": {"AsyncGone": "Gone[{}]"}},
        {"words": {"of the Gone": "of the Present"}},
    ],
    ids=lambda table: next(iter(table)),
)
def test_a_rename_that_never_fires_is_an_error(table: dict[str, Any]) -> None:
    """The tables hold nothing that the sources outgrew; the error names what is left over."""
    (renames,) = table.values()
    *_, gone = renames
    with pytest.raises(LookupError) as caught:
        twin('class AsyncThings(AsyncResource):\n    """Do things."""\n', **table)
    assert str(caught.value) == f"these renames are of no use any more: ['{gone}']"


def test_all_useless_renames_are_named_at_once() -> None:
    """Nobody has to run the generator once for each."""
    with pytest.raises(LookupError, match=r"any more: \['AsyncResource', 'f', 'Awaitable', 'a'\]$"):
        written(
            [], replace(PLAIN, methods={"f": ("g", "")}, types={"Awaitable": ""}, words={"a": ""})
        )
