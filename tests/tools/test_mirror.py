"""The generator of the blocking client: what it writes, and what it refuses."""

from textwrap import dedent, indent
from typing import Any

import pytest

from lipsync_async._tools.mirror import RefusedError, Tables, formatted, twins

TYPES = {
    "AsyncGenerator": "Generator[{}, None, None]",
    "AsyncIterable": "Iterable[{}]",
    "AsyncIterator": "Iterator[{}]",
    "Awaitable": "{}",
}

THINGS = r'''
"""The things, async."""

import builtins
import calendar
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, overload

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from lipsync_async._models.things import LIMIT, Thing

OnThing: TypeAlias = Callable[[Thing], Awaitable[None] | None]
Inner: TypeAlias = OnThing | None
Unused: TypeAlias = int
_PAUSE = 1.0


class _Unset:
    pass


class AsyncThings:
    """Things; AsyncThings are async, AsyncThingsy are others.

    `await` them.
    """

    def __init__(self, *secrets) -> None:
        pass

    @overload
    async def get(self, *, name: str) -> Thing: ...
    @overload
    async def get(self, name: str) -> Thing: ...
    async def get(self, name: str, *, size: int = LIMIT) -> Thing:
        r"""Return \d things.

        Example:
            `await things.get("a")`

        """
        return await self._get(name)

    async def delete(self, pause: float | _Unset = _PAUSE, day: int = calendar.MONDAY) -> None:
        await self._get("it")

    async def close_all(self) -> builtins.list[int]:
        await self._get("it")

    async def all(
        self,
        on_thing: Inner = None,  # a comment
        *,
        on_it: "Callable[..., int]",
    ) -> AsyncGenerator[Thing, None]:
        yield await self._get("it")

    @asynccontextmanager
    async def watched(
        self, things: AsyncIterable[int] | list[int], /, folder: str = os.curdir
    ) -> AsyncIterator[AsyncIterator[Thing]]:
        """Watch things."""
        yield self.all()

    async def _get(self, name):
        return name


def helper() -> None:
    pass
'''
TWIN = r'''# Generated from lipsync_async/_async/things.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""The things, blocking."""

from __future__ import annotations

import calendar
import os
from functools import partial
from typing import TYPE_CHECKING, overload

from lipsync_async._async.things import _PAUSE, AsyncThings, _Unset
from lipsync_async._models.things import LIMIT, Thing
from lipsync_async._portal import SyncWrapper, call_in_caller, iterate_in_caller

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Generator, Iterable, Iterator
    from contextlib import AbstractContextManager

    OnThing = Callable[[Thing], None]
    Inner = OnThing | None


class Things(SyncWrapper):
    """Things; Things are async, AsyncThingsy are others.

    `await` them.
    """

    _source: AsyncThings

    @overload
    def get(self, *, name: str) -> Thing: ...

    @overload
    def get(self, name: str) -> Thing: ...

    def get(self, name: str, *, size: int = LIMIT) -> Thing:
        """Return \\d things.

        Example:
            `things.get("a")`
        """
        return self._portal.call(partial(self._source.get, name, size=size))

    def delete(self, pause: float | _Unset = _PAUSE, day: int = calendar.MONDAY) -> None:
        self._portal.call(partial(self._source.delete, pause, day))

    def close_all(self) -> builtins.list[int]:
        return self._portal.call(self._source.close_all)

    def all(
        self, on_thing: Inner = None, *, on_it: "Callable[..., int]"
    ) -> Generator[Thing, None, None]:
        return self._portal.iterate(
            self._source.all(
                call_in_caller("on_thing", on_thing), on_it=call_in_caller("on_it", on_it)
            )
        )

    def watched(
        self, things: Iterable[int] | list[int], /, folder: str = os.curdir
    ) -> AbstractContextManager[Iterator[Thing]]:
        """Watch things."""
        return self._portal.open(self._source.watched(iterate_in_caller(things), folder))
'''

CLIENT = '''
from lipsync_async._async.things import AsyncThings

class AsyncClient:
    """Client."""

    things: AsyncThings

    def __init__(self, key: str = "") -> None:
        """Build it."""
        key = hidden(key)
        self.things = AsyncThings()

    def with_options(self, *, on_it: Callable[[int], object] | None = None) -> Self:
        """Return a view."""
        return self

    async def aclose(self) -> None:
        """Close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None) -> None:
        await self.aclose()
'''
CLIENT_TWIN = '''
class Client(SyncWrapper):
    """Client."""

    things: Things
    _source: AsyncClient
    _parts = (("things", Things),)

    def __init__(self, key: str = "") -> None:
        """Build it."""
        key = hidden(key)
        super().__init__(Portal(), AsyncClient(key))

    def with_options(self, *, on_it: Callable[[int], object] | None = None) -> Self:
        """Return a view."""
        return self._view(self._source.with_options(on_it=call_in_caller("on_it", on_it)))

    def close(self) -> None:
        """Close."""
        self._portal.close(self._source.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None) -> None:
        self.close()
'''


def twin(source: str, **words: Any) -> str:
    """Return a file's twin as it is written."""
    tables = Tables(**{"methods": {}, "types": {}, "words": {}} | words)
    return formatted("things", twins({"things": source}, tables)["things"])


def method_twin(method: str, head: str = "", **words: Any) -> str:
    """Return the signature and body of a method's twin."""
    source = f"{head}\n\nclass AsyncThings:\n{indent(dedent(method).strip(), '    ')}\n"
    return dedent(twin(source, **words).partition("    _source: AsyncThings\n\n")[2])


def test_a_file_has_a_whole_twin() -> None:
    """Calls, iterations, context managers, types, words and imports are all as expected."""
    words = {"The things, async": "The things, blocking", "await ": ""}
    assert twin(THINGS, types=TYPES, words=words) == TWIN


def test_a_client_has_a_whole_twin() -> None:
    """It builds the async client, wraps its resources, makes views, and can be closed."""
    things = "class AsyncThings:\n    '''Things.'''\n"
    sources = {"client": CLIENT, "things": things, "helpers": "LIMIT = 1"}
    texts = twins(sources, Tables(types={}, words={}))
    text = formatted("client", texts["client"])
    assert text[text.index("class Client") :] == CLIENT_TWIN.lstrip()
    assert "from lipsync_async._sync.things import Things\n" in text
    assert list(texts) == ["client", "things"]


def test_a_package_keeps_its_docstring() -> None:
    """`__init__` has no class, but the generated folder is a package as well."""
    tables = Tables(methods={}, types={}, words={"async": "blocking"})
    text = twins({"__init__": '"""The verbs, async."""'}, tables)["__init__"]
    assert text.endswith('\n\n"""The verbs, blocking."""\n')


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("tuple[int, ...]", "tuple[int, ...]"),
        ("Callable[[int, str], dict[str, int]]", "Callable[[int, str], dict[str, int]]"),
        ("Futures[Tasks, FutureWarning]", "Futures[Tasks, FutureWarning]"),
        ("type[AsyncThings] | None", "type[Things] | None"),
        ("AsyncGenerator[int, None]", "Generator[int, None, None]"),
        ("dict[str, AsyncIterator[AsyncThings]]", "dict[str, Iterator[Things]]"),
        ("AsyncIterator[Awaitable[list[AsyncThings]]]", "Iterator[list[Things]]"),
        ("Callable[[AsyncThings], Awaitable[None] | None]", "Callable[[Things], None]"),
        ("Awaitable[int] | int | None", "int | None"),
        ("None | (int | Awaitable[None]) | int", "None | int"),
        ("Awaitable[int | None] | int | str", "int | None | str"),
    ],
)
def test_types_are_translated_wherever_they_stand(annotation: str, expected: str) -> None:
    """Generic types take their first parameter along, and each alternative is named once."""
    types = {name: text for name, text in TYPES.items() if f"{name}[" in annotation}
    text = method_twin(f"async def f(self) -> {annotation}: ...", types=types)
    assert text.partition(":\n")[0] == f"def f(self) -> {expected}"


@pytest.mark.parametrize(
    "annotation",
    [
        *("AsyncThing", "Awaitable", "asyncio.Task", "asyncio.Event", "anyio.abc.Lock"),
        *("collections.abc.Awaitable", "'AsyncThings'", "AsyncThings.Inner", "Future"),
    ],
)
def test_unknown_async_types_are_refused(annotation: str) -> None:
    """Bare, dotted, quoted or inside others: the error names line and type."""
    with pytest.raises(RefusedError) as caught:
        method_twin(f"async def f(self) -> dict[str, {annotation}[int] | None]: ...")
    assert str(caught.value) == f"line 4: no rule says what {annotation} is when blocking"


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        ("async def f(self, *args: int) -> int: ...", "f takes any number of arguments"),
        ("def view(self, **options: int) -> Self: ...", "view takes any number of arguments"),
        ("async def f(self): ...", "f does not say what it returns"),
        ("async def aclose(self): ...", "aclose does not say what it returns"),
        ("def f(self) -> int: ...", "f is neither async nor returns Self"),
        ("def f(self) -> 'Self': ...", "f is neither async nor returns Self"),
        ("@property\ndef f(self) -> Self: ...", "f has a decorator that no rule covers"),
        ("@cached\nasync def f(self) -> int: ...", "f has a decorator that no rule covers"),
        (
            "@a\n@asynccontextmanager\nasync def f(self) -> int: ...",
            "f has a decorator that no rule covers",
        ),
        ("@asynccontextmanager\nasync def f(self) -> int: ...", "f gives out no async iterator"),
        (
            "@asynccontextmanager\nasync def f(self) -> AsyncIterator[int]: ...",
            "f gives out no async iterator",
        ),
        ("async def f(self, on_it: int) -> int: ...", "is on_it a callback?"),
        ("async def f(self, *, on_it=None) -> int: ...", "is on_it a callback?"),
        ("async def f(self, hook: Callable[[], int]) -> int: ...", "is hook a callback?"),
        ("async def f(self, *, hook: abc.Callable[[], int]) -> int: ...", "is hook a callback?"),
        ("async def f(self, hook: OnIt | None) -> int: ...", "is hook a callback?"),
    ],
)
def test_methods_without_a_rule_are_refused(method: str, problem: str) -> None:
    """The error names the line and what is odd about it."""
    head = "OnIt: TypeAlias = Callable[[], int]"
    words = {"methods": {"aclose": ("close", "pass")}, "types": {"AsyncIterator": "Iterator[{}]"}}
    with pytest.raises(RefusedError) as caught:
        method_twin(method, head, **words)
    line = 4 + method.partition("def ")[0].count("\n")
    assert str(caught.value) == f"line {line}: {problem}"


@pytest.mark.parametrize(
    "source",
    [
        "@final\nclass AsyncThings:\n    '''Do things.'''",
        "class AsyncThings(Base):\n    '''Do things.'''",
        "class AsyncThings(metaclass=ABCMeta):\n    '''Do things.'''",
        "class AsyncThings:\n    limit = 1",
        "class AsyncThings:\n    limit: int",
        "class AsyncThings:\n    parts: AsyncThings = AsyncThings()",
        "class AsyncThings:\n    class Inner: ...",
    ],
)
def test_what_a_class_would_lose_is_refused(source: str) -> None:
    """A class has a docstring, resources and methods; its twin would lack anything else."""
    with pytest.raises(RefusedError, match=r"^line [12]: AsyncThings has what no rule covers$"):
        twin(source)


@pytest.mark.parametrize(
    "table",
    [
        {"methods": {"agone": ("gone", "pass")}},
        {"types": {"AsyncGone": "Gone[{}]"}},
        {"words": {"of the Gone": "of the Present"}},
    ],
    ids=lambda table: next(iter(table)),
)
def test_a_word_that_does_not_occur_is_an_error(table: dict[str, Any]) -> None:
    """The tables hold nothing that the sources outgrew; the error names what is left over."""
    ((gone,),) = table.values()
    with pytest.raises(LookupError) as caught:
        twin('class AsyncThings:\n    """Do things."""\n', **table)
    assert str(caught.value) == f"these words do not occur any more: ['{gone}']"
