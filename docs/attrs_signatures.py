"""Griffe extension: gives attrs classes the `__init__` that attrs writes, for the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from griffe import (
    Attribute,
    Class,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Module,
    Parameter,
    ParameterKind,
    Parameters,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DECORATORS = {"attrs.define", "attrs.frozen"}


class AttrsSignatures(Extension):
    """Builder of signatures from the fields of attrs classes."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Visit every class of the package."""
        for found in _classes(pkg):
            arguments = _decorator(found)
            if arguments is not None and "__init__" not in found.members:
                found.set_member("__init__", _init(found))


def _classes(parent: Module | Class) -> Iterator[Class]:
    for member in list(parent.members.values()):
        if isinstance(member, Module | Class):
            if isinstance(member, Class):
                yield member
            yield from _classes(member)


def _decorator(found: Class) -> dict[str, str] | None:
    for decorator in found.decorators:
        if decorator.callable_path in DECORATORS:
            return _keywords(decorator.value)
    return None


def _keywords(call: Any) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call, ExprCall) else ()
    return {each.name: each.value for each in arguments if isinstance(each, ExprKeyword)}


def _init(found: Class) -> Function:
    parameters = {}
    for parent in [*reversed(found.mro()), found]:
        arguments = _decorator(parent)
        if arguments is not None:
            is_keyword_only = str(arguments.get("kw_only")) == "True"
            for parameter in _parameters(parent, is_keyword_only=is_keyword_only):
                parameters[parameter.name] = parameter
    itself = Parameter("self", kind=ParameterKind.positional_or_keyword)
    init = Function("__init__", parent=found, returns="None")
    ordered = sorted(parameters.values(), key=lambda each: each.kind is ParameterKind.keyword_only)
    init.parameters = Parameters(itself, *ordered)
    return init


def _parameters(found: Class, *, is_keyword_only: bool) -> Iterator[Parameter]:
    for field in found.members.values():
        if isinstance(field, Attribute) and field.annotation is not None:
            keywords = _keywords(field.value)
            if "property" in field.labels or str(keywords.get("init")) == "False":
                continue
            is_named = is_keyword_only or str(keywords.get("kw_only")) == "True"
            yield Parameter(
                field.name.lstrip("_"),
                annotation=field.annotation,
                kind=ParameterKind.keyword_only
                if is_named
                else ParameterKind.positional_or_keyword,
                default=_default(field.value),
            )


def _default(value: Any) -> Any:
    """Return the default that a field states, be it by `attrs.field` or by a function of ours."""
    if not isinstance(value, ExprCall):
        return value
    keywords = _keywords(value)
    if "factory" in keywords:
        return f"{keywords['factory']}()"
    stated = [each for each in value.arguments if not isinstance(each, ExprKeyword)]
    return keywords.get("default", stated[0] if stated else None)
