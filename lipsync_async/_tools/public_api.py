"""Write down the public face: every name, its signature, the errors it names.

    python -m lipsync_async._tools.public_api [--check]

The list is `tests/public_api.txt`. It is reviewed as a diff, so nothing that users see
changes by accident. It is the same on every supported Python.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import re
import sys
import types
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._tools import write_or_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TARGET = Path("tests", "public_api.txt")
MODULES = (
    "lipsync_async",
    "lipsync_async.errors",
    "lipsync_async.webhooks",
    "lipsync_async.engines",
    "lipsync_async.sandbox",
)

_SPECIAL = frozenset(
    [
        "__aenter__",
        "__aexit__",
        "__aiter__",
        "__anext__",
        "__call__",
        "__contains__",
        "__enter__",
        "__exit__",
        "__getitem__",
        "__iter__",
        "__len__",
        "__next__",
    ]
)
_MODULE_PREFIX = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # it differs from run to run
_SECTION = re.compile(r"^(?P<name>[A-Z]\w+):$(?P<body>(?:\n(?: .*)?)*)", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*):", re.MULTILINE)


def lines(modules: tuple[str, ...] = MODULES) -> Iterator[str]:
    """Yield the whole list, line by line, in a stable order."""
    listed: set[object] = set()
    for module_name in modules:
        module = import_module(module_name)
        yield f"module {module_name}"
        for name in public_names(module):
            yield from _described(name, getattr(module, name), listed)
        yield ""


def public_names(module: types.ModuleType) -> list[str]:
    """Return the names that a module offers: its `__all__`, or else what it defines itself."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    defined = [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and callable(value)
    ]
    constants = inspect.get_annotations(module)
    return sorted(name for name in {*defined, *constants} if not name.startswith("_"))


def section(docstring: str | None, name: str) -> list[str]:
    """Return what a Google-style section names, such as the errors under `Raises:`."""
    for found in _SECTION.finditer(inspect.cleandoc(docstring or "")):
        if found["name"] == name:
            entries = _ENTRY.findall(found["body"])
            return [single for entry in entries for single in entry.split(", ")]
    return []


def resources(kind: type) -> dict[str, type]:
    """Return the classes that users reach only through a class's attributes and properties."""
    if attrs.has(kind):
        return {}
    namespace = vars(sys.modules[kind.__module__])
    annotated = {name: namespace.get(text) for name, text in inspect.get_annotations(kind).items()}
    for name, member in vars(kind).items():
        if isinstance(member, property):
            annotated[name] = _imported_and_returned(member)
    return {
        name: found
        for name, found in annotated.items()
        if inspect.isclass(found) and not name.startswith("_")
    }


def _imported_and_returned(member: property) -> Any:
    """Return the class that a property imports from this package and returns; or `None`."""
    getter: Any = member.fget
    names = [name for name in getter.__code__.co_names if name.startswith(f"{MODULES[0]}.")]
    return getattr(import_module(names[0]), getter.__annotations__["return"]) if names else None


def _described(
    name: str, value: object, listed: set[object], *, is_resource: bool = False
) -> Iterator[str]:
    if inspect.isclass(value):
        if value in listed:
            yield f"class {name} (see above)"
        else:
            listed.add(value)
            yield from _class_lines(name, value, is_resource=is_resource)
        for resource in resources(value).values():
            yield from _described(resource.__name__, resource, listed, is_resource=True)
    elif inspect.isfunction(value):
        yield from _function_lines(name, value)
    elif isinstance(value, types.UnionType | types.GenericAlias):
        yield f"alias {name} = {_type_text(value)}"
    else:
        yield f"constant {name}: {type(value).__name__}"


def _class_lines(name: str, kind: type, *, is_resource: bool) -> Iterator[str]:
    members = _members(kind)
    parents = [parent.__name__ for parent in kind.__bases__ if not _is_private(parent)]
    yield f"class {name}{' is ' if parents else ''}{', '.join(parents)}"
    if issubclass(kind, enum.Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in kind)
    elif "__init__" in members and not is_resource:  # users build no resources
        yield f"    {_signature(kind)}"
    yield from (f"    attribute {field}" for field in sorted(section(kind.__doc__, "Attributes")))
    for attribute, resource in sorted(resources(kind).items()):
        yield f"    attribute {attribute}: {resource.__name__}"
    for member_name, member in sorted(members.items()):
        if member_name in _SPECIAL or not member_name.startswith("_"):
            yield from (f"    {line}" for line in _member_lines(member_name, member))


def _is_private(kind: type) -> bool:
    return kind is object or kind.__name__.startswith("_") or "._" in kind.__module__


def _members(kind: type) -> dict[str, Any]:
    """Return what a class defines or inherits from private classes of this package."""
    members: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):
        if parent is kind or (_is_private(parent) and parent.__module__.startswith(MODULES[0])):
            members |= vars(parent)
    return members


def _member_lines(name: str, member: Any) -> Iterator[str]:
    if isinstance(member, property | cached_property):
        getter: Any = member.fget if isinstance(member, property) else member.func
        yield f"property {name}{_signature(getter).removeprefix('()')}"
        yield from _raised(getter)
    elif isinstance(member, staticmethod | classmethod):
        yield from _function_lines(name, member.__func__)
    elif inspect.isfunction(member):
        yield from _function_lines(name, member)


def _function_lines(name: str, function: Callable[..., object]) -> Iterator[str]:
    # The decorators of contextlib leave a wrapper that lives there.
    is_manager = getattr(function, "__globals__", None) is vars(contextlib)
    keyword = "async def" if inspect.iscoroutinefunction(function) else "def"
    yield f"{'with' if is_manager else keyword} {name}{_signature(function)}"
    yield from _raised(function)


def _raised(function: Callable[..., object]) -> Iterator[str]:
    errors = section(function.__doc__, "Raises")
    if errors:
        yield f"    raises {', '.join(sorted(errors))}"


class _Verbatim:
    """Value whose repr is a given text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(
            annotation=_verbatim(parameter.annotation, _type_text),
            default=_verbatim(parameter.default, lambda value: _ADDRESS.sub("", repr(value))),
        )
        for parameter in signature.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]
    returned = _verbatim(signature.return_annotation, _type_text)
    return str(signature.replace(parameters=parameters, return_annotation=returned))


def _verbatim(value: Any, text_of: Callable[[Any], str]) -> Any:
    return value if value is inspect.Parameter.empty else _Verbatim(text_of(value))


def _type_text(annotation: Any) -> str:
    """Write a type as the source does: without modules."""
    return _MODULE_PREFIX.sub("", annotation if isinstance(annotation, str) else repr(annotation))


def main() -> int:
    """Write the list, or check it."""
    return write_or_check({TARGET: "\n".join(lines())})


if __name__ == "__main__":
    sys.exit(main())
