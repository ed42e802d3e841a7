"""What the generator refuses, because no rule says how blocking code should do it."""

import pytest

from lipsync_async._tools.mirror.annotations import RefusedError
from tests.mirror.small_twins import method_twin, twin


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        ("async def f(self, *args: int) -> int: ...", "f takes any number of arguments"),
        ("async def f(self, **options: int) -> int: ...", "f takes any number of arguments"),
        ("def view(self, *args: int) -> Self: ...", "view takes any number of arguments"),
        ("async def f(self): ...", "f does not say what it returns"),
        ("async def f(self):\n    yield 1", "f does not say what it returns"),
        ("async def aclose(self): ...", "aclose does not say what it returns"),
        ("def f(self): ...", "f is neither async nor a view"),
        ("def f(self) -> int: ...", "f is neither async nor a view"),
        ("def f(self) -> 'Self': ...", "f is neither async nor a view"),
        ("@property\ndef f(self) -> Self: ...", "f has a decorator that no rule covers"),
        ("@cached\nasync def f(self) -> int: ...", "f has a decorator that no rule covers"),
        (
            "@a\n@asynccontextmanager\nasync def f(self) -> int: ...",
            "f has a decorator that no rule covers",
        ),
        ("@asynccontextmanager\nasync def f(self): ...", "f gives out no async iterator"),
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
    renames = {"methods": {"aclose": ("close", "pass")}, "types": {"AsyncIterator": "Iterator[{}]"}}
    with pytest.raises(RefusedError) as caught:
        method_twin(method, head, **renames)
    line = 4 + method.partition("def ")[0].count("\n")
    assert str(caught.value) == f"line {line}: {problem}"


@pytest.mark.parametrize(
    "source",
    [
        "@final\nclass AsyncThings:\n    '''Do things.'''",
        "class AsyncThings(metaclass=ABCMeta):\n    '''Do things.'''",
        "class AsyncThings:\n    limit = 1",
        "class AsyncThings:\n    limit: int",
        "class AsyncThings:\n    parts: 'AsyncThings'",
        "class AsyncThings:\n    parts: AsyncThings = AsyncThings()",
        "class AsyncThings:\n    class Inner: ...",
    ],
)
def test_what_a_class_would_lose_is_refused(source: str) -> None:
    """A class has a docstring, resources and methods; its twin would lack anything else."""
    with pytest.raises(RefusedError, match=r"^line [12]: AsyncThings has what no rule covers$"):
        twin(source)


def test_unknown_async_bases_are_refused() -> None:
    """A twin cannot inherit from something async."""
    with pytest.raises(RefusedError, match="no table says what AsyncExitStack is when blocking"):
        twin("class AsyncThings(AsyncExitStack):\n    '''Do things.'''")
