"""Types in blocking code: which the generator translates, and which it leaves alone."""

import ast

import pytest

from lipsync_async._tools.mirror.annotations import RefusedError, segment
from tests.mirror.small_twins import TYPES, method_twin


def translated(annotation: str) -> str:
    """Return what a verb of the twin returns."""
    used = {name: twin for name, twin in TYPES.items() if f"{name}[" in annotation}
    text = method_twin(f"async def f(self) -> {annotation}: ...", types=used)
    return text.removeprefix("def f(self) -> ").partition(":\n    return ")[0]


@pytest.mark.parametrize(
    "annotation",
    [
        "int",
        "int | str | None",
        "tuple[()]",
        "tuple[int, ...]",
        "os.PathLike[str]",
        "Literal['async', 'asyncio_mode', 1, None]",
        "Callable[[int, str], dict[str, int]]",
        "Futures[Tasks, FutureWarning, TaskParams]",
        "dict[\n        str,\n        int,\n    ]",
    ],
)
def test_types_of_blocking_code_are_kept(annotation: str) -> None:
    """They are the source's own text, layout included."""
    assert translated(annotation) == annotation


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("AsyncThings", "Things"),
        ("AsyncResource", "SyncWrapper"),
        ("type[AsyncThings] | None", "type[Things] | None"),
        ("AsyncIterator[int]", "Iterator[int]"),
        ("AsyncGenerator[int, None]", "Generator[int, None, None]"),
        ("dict[str, AsyncIterator[AsyncThings]]", "dict[str, Iterator[Things]]"),
        ("AsyncIterator[Awaitable[list[AsyncThings]]]", "Iterator[list[Things]]"),
        ("Callable[[AsyncThings], Awaitable[None] | None]", "Callable[[Things], None]"),
        ("Callable[[Awaitable[int], AsyncThings], int]", "Callable[[int, Things], int]"),
        ("Awaitable[int] | int | None", "int | None"),
        ("None | (int | Awaitable[None]) | int", "None | int"),
        ("Awaitable[int | None] | int | str", "int | None | str"),
        ("Awaitable[list[int | None]] | list[int | None] | None", "list[int | None] | None"),
        ("dict[Literal['é', 'ü'], AsyncThings]", "dict[Literal['é', 'ü'], Things]"),
        (
            "dict[\n        AsyncThings, AsyncIterator[int]\n    ]",
            "dict[\n        Things, Iterator[int]\n    ]",
        ),
    ],
)
def test_async_types_are_translated_wherever_they_stand(annotation: str, expected: str) -> None:
    """Generic types take their first parameter along, and each alternative is named once."""
    assert translated(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "refused"),
    [
        ("AsyncThing", "AsyncThing"),
        ("AsyncIterable[int]", "AsyncIterable"),
        ("Awaitable", "Awaitable"),
        ("Coroutine[Any, Any, int]", "Coroutine"),
        ("Task[int] | None", "Task"),
        ("list[Future[int]]", "Future"),
        ("asyncio.Task[int]", "asyncio.Task"),
        ("asyncio.Event", "asyncio.Event"),
        ("anyio.abc.Lock", "anyio.abc.Lock"),
        ("collections.abc.Awaitable[int]", "collections.abc.Awaitable"),
        ("'AsyncThings'", "'AsyncThings'"),
        ("Callable[[], 'asyncio.Task[int]']", "'asyncio.Task[int]'"),
        ("AsyncThings.Inner", "AsyncThings.Inner"),
    ],
)
def test_unknown_async_types_are_refused(annotation: str, refused: str) -> None:
    """Bare, dotted, quoted or inside others: the error names line and type."""
    with pytest.raises(RefusedError) as caught:
        translated(annotation)
    assert str(caught.value) == f"line 4: no table says what {refused} is when blocking"


def test_what_was_not_read_from_a_source_is_refused() -> None:
    """An expression without a place has no text of its own."""
    with pytest.raises(RefusedError, match=r"^line 7: its text cannot be found$"):
        segment("", ast.Name("x", lineno=7, col_offset=0))
