"""The generator of the blocking client: types, and what it refuses."""

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
BLOCK = "@asynccontextmanager\nasync def f(self)"


def twin(source: str, **words: Any) -> str:
    """Return a file's twin as it is written."""
    tables = Tables(**{"methods": {}, "types": {}, "words": {}} | words)
    return formatted("things", twins({"things": source}, tables)["things"])


def method_twin(method: str, head: str = "", **words: Any) -> str:
    """Return the signature and body of a method's twin."""
    source = f"{head}\n\nclass AsyncThings:\n{indent(dedent(method).strip(), '    ')}\n"
    return dedent(twin(source, **words).partition("    _source: AsyncThings\n\n")[2])


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
        (f"@a\n{BLOCK} -> int: ...", "f has a decorator that no rule covers"),
        (f"{BLOCK} -> int: ...", "f gives out no async iterator"),
        (f"{BLOCK} -> AsyncIterator[int]: ...", "f gives out no async iterator"),
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


def test_what_only_the_source_needs_is_left_out() -> None:
    """A class of attrs with private fields has the twin of one without."""
    body = "class AsyncThings:\n    '''Do things.'''\n"
    assert twin(f"@attrs.define(eq=False)\n{body}    _part: Part") == twin(body)


def test_a_resource_has_the_twin_of_a_class_without_a_base() -> None:
    """The base of all resources is private, and not for blocking code."""
    body = "    '''Do things.'''\n    async def f(self) -> int: ..."
    based = twin(f"class AsyncThings(Resource):\n{body}")
    assert based == twin(f"class AsyncThings:\n{body}")


def test_a_property_shows_the_twin_of_a_resource() -> None:
    """A resource that is loaded when it is used is loaded then by the twin as well."""
    text = method_twin(
        "@property\ndef parts(self) -> AsyncThings:\n    '''Show the parts.'''", types={}
    )
    assert text == (
        "@property\n"
        "def parts(self) -> Things:\n"
        '    """Show the parts."""\n'
        "    from lipsync_async._sync.things import Things  "
        "# noqa: PLC0415 - loaded when it is used\n"
        "\n"
        "    return Things(self._portal, self._source.parts)\n"
    )


def test_a_plain_function_may_iterate() -> None:
    """What returns an iterator needs no word `async` of its own."""
    types = {"AsyncGenerator": "Generator[{}, None, None]"}
    text = method_twin("def f(self) -> AsyncGenerator[int, None]: ...", types=types)
    assert "return self._portal.iterate(self._source.f())" in text


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
