"""Read objects faster than their constructors can make them.

Calling a frozen class of attrs costs a microsecond, most of it for stepping around its
own guard, and filling twenty keyword arguments costs another. So an answer is read into
a draft, which is an object of a subclass without the guard: it is born with all defaults
in place, cattrs sets the fields that came, and then it becomes an object of the class
itself. This halves the time that decoding takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from cattrs.gen import make_dict_structure_fn_from_attrs

if TYPE_CHECKING:
    from cattrs import Converter


def read_by_draft(kind: type, converter: Converter, **overrides: Any) -> Any:
    """Return a cattrs hook that reads `kind`; it runs no attrs converter or validator."""
    fields = [field.evolve(init=False) for field in attrs.fields(attrs.resolve_types(kind))]
    fill: Any = make_dict_structure_fn_from_attrs(
        fields,
        _draft_of(kind),
        converter,
        _cattrs_include_init_false=True,
        **overrides,
    )

    def read(value: Any, _: Any) -> Any:
        filled = fill(value)
        filled.__class__ = kind
        return filled

    return read


def _draft_of(kind: type) -> type:
    """Return a subclass of the same layout, unguarded, whose fields all have a default."""
    unguarded = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,  # both, or CPython keeps the slow path
    }
    return attrs.define(
        type(kind.__name__, (kind,), unguarded),
        eq=False,
        repr=False,
        on_setattr=attrs.setters.NO_OP,
        field_transformer=_all_optional,
    )


def _all_optional(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Let the constructor take no argument; positional defaults are the cheapest kind."""
    return [
        field.evolve(
            kw_only=False,
            validator=None,
            converter=None,
            default=None if field.default is attrs.NOTHING else field.default,
        )
        for field in fields
    ]
