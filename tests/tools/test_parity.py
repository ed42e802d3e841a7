"""The two faces, compared by introspection: what one can do, the other can.

Nothing here knows the generator; what may differ is listed below, and nothing else may.
"""

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import Any

import pytest

from lipsync_async import AsyncClient, Client, _async, _sync
from lipsync_async._tools.public_api import resources

NAMES = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
LAZY = {
    kind.__name__
    for name, kind in resources(Client).items()
    if isinstance(getattr(Client, name, None), property)
}
ITERATED = ("Asset", "bytes", "Generation", "Outcome", "Project", "UsageItem")
ANNOTATIONS = {
    "AsyncIterator[AsyncIterator[Generation]]": "AbstractContextManager[Iterator[Generation]]",
    "AsyncIterator[OutcomeIterator]": "AbstractContextManager[BlockingOutcomes]",
    **{f"Async{name}": name for name in LAZY},
    **{f"AsyncGenerator[{kind}, None]": f"Generator[{kind}, None, None]" for kind in ITERATED},
    "AsyncIterable[GenerationRequest] | Iterable[GenerationRequest]": "Iterable[GenerationRequest]",
}
ASYNC_NAMES = {"__aenter__", "__aexit__", "__aiter__", "__anext__", "__await__"}
BLOCKING_NAMES = {"__enter__", "__exit__", "__iter__", "__next__", "__len__", "__call__"}


def pairs(source: type, mirror: type) -> Iterator[tuple[type, type]]:
    """Yield a class with its twin, then those of its resources."""
    yield source, mirror
    twins = resources(mirror)
    for name, kind in resources(source).items():
        yield from pairs(kind, twins[name])


PAIRS = list(pairs(AsyncClient, Client))
of_each_pair = pytest.mark.parametrize(
    ("source", "mirror"), PAIRS, ids=[mirror.__name__ for _, mirror in PAIRS]
)


def names(kind: type) -> set[str]:
    """Return what users can reach of a class, special methods included."""
    special = ASYNC_NAMES | BLOCKING_NAMES
    return {name for name in dir(kind) if name in special or not name.startswith("_")}


def functions() -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """Yield what users can call, by its full name: the constructor, and each method."""
    yield "Client.__init__", AsyncClient.__init__, Client.__init__
    for source, mirror in PAIRS:
        for name in sorted(names(source)):
            twin = NAMES.get(name, name)
            both = [getattr(source, name), getattr(mirror, twin)]
            if isinstance(both[0], property):
                both = [each.fget for each in both]
            yield f"{mirror.__name__}.{twin}", both[0], both[1]


FUNCTIONS = list(functions())


def modules() -> Iterator[tuple[ModuleType, ModuleType]]:
    """Yield the modules of both faces, and the packages that hold them."""
    yield _async, _sync
    for name in (f"{_sync.__name__}.{each.name}" for each in pkgutil.iter_modules(_sync.__path__)):
        yield import_module(name.replace("._sync.", "._async.")), import_module(name)


# All twins that have a docstring.
ALL = [*(twin for _, twin in [*modules(), *PAIRS]), *(twin for *_, twin in FUNCTIONS)]


def test_every_class_of_the_mirror_is_compared() -> None:
    """What the blocking modules define is what users reach from the client."""
    defined = {
        thing
        for _, module in modules()
        for thing in vars(module).values()
        if getattr(thing, "__module__", None) == module.__name__
    }
    assert defined == {mirror for _, mirror in PAIRS}


@of_each_pair
def test_both_offer_the_same_names(source: type, mirror: type) -> None:
    """Methods, special ones included, and declared resources."""
    assert {NAMES.get(name, name) for name in names(source)} == names(mirror)
    declared = {name: kind.__name__ for name, kind in resources(source).items()}
    twins = {name: f"Async{kind.__name__}" for name, kind in resources(mirror).items()}
    assert twins == declared
    assert mirror.__name__ == source.__name__.removeprefix("Async")


def test_both_take_the_same_arguments() -> None:
    """Names, kinds, order, defaults and types are equal; only iterators and managers are others."""
    for name, function, twin in FUNCTIONS:
        expected, found = (
            [(each.name, each.kind, each.default) for each in signature(one).parameters.values()]
            for one in (function, twin)
        )
        assert (name, found) == (name, expected)
        types = inspect.get_annotations(function).items()
        plain = {word: text.replace("Awaitable[None] | None]", "None]") for word, text in types}
        expected_types = {word: ANNOTATIONS.get(text, text) for word, text in plain.items()}
        assert (name, inspect.get_annotations(twin)) == (name, expected_types)


def test_callbacks_of_the_mirror_are_plain() -> None:
    """What they return is not awaited; the alias is known to type checkers only."""
    pattern = r"On\w+(?:: TypeAlias)? = \"?([^\"\n]*)"
    expected, found = (
        [re.findall(pattern, inspect.getsource(module)) for module in face]
        for face in zip(*modules(), strict=True)
    )
    told = [
        [text.replace("Awaitable[None] | None]", "None]") for text in texts] for texts in expected
    ]
    assert (found, expected != found) == (told, True)


def test_every_listed_difference_exists() -> None:
    """The list above does not excuse what is gone."""
    texts = {
        text for _, function, _ in FUNCTIONS for text in inspect.get_annotations(function).values()
    }
    assert set(ANNOTATIONS) - texts == set()


@of_each_pair
def test_the_mirror_has_nothing_async(source: type, mirror: type) -> None:
    """No coroutine function, no async generator, no async protocol, nothing to await."""
    defined = inspect.getmembers(mirror, inspect.isfunction)
    asynchronous = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    assert [name for name, each in defined if any(ask(each) for ask in asynchronous)] == []
    assert ASYNC_NAMES & set(dir(mirror)) == set()


def test_the_mirror_speaks_of_nothing_async() -> None:
    """Neither its types nor its docstrings send users to asyncio."""
    types = [text for *_, twin in FUNCTIONS for text in inspect.get_annotations(twin).values()]
    told = [inspect.getdoc(twin) or "" for twin in ALL]
    words = re.compile(r"\bawait |\basync |\baclose|\basyncio\b|\bAsync|Awaitable|Coroutine")
    assert [text for text in [*types, *told] if words.search(text)] == []


def shape(thing: object) -> dict[str, Any]:
    """Return the kind of each public attribute that an object has, and of theirs."""
    return {
        name: (type(value).__name__, shape(value))
        for name, value in vars(thing).items()
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("kind", "prefix"), [(AsyncClient, "Async"), (Client, "")])
def test_instances_hold_the_same(kind: type[AsyncClient | Client], prefix: str) -> None:
    """Clients and views have the resources that their classes declare, and nothing else."""
    client = kind("key", base_url="http://127.0.0.1:9")
    nothing: dict[str, Any] = {}
    expected = {name.lower(): (f"{prefix}{name}", nothing) for name in ("Generations", "Models")}
    assert shape(client) == expected
    assert shape(client.with_options(timeout=5.0)) == expected
