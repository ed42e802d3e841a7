"""Where Python's names meet the wire's, and JSON becomes values; nowhere else.

Each class has one table of wire names (`wire_names.py`), and cattrs does the rest. Answers
are read fast and strictly; when that fails they are read once more by a slower twin that
knows the path of every problem.

Two things are forgiven: the echo of what was asked for, and dates and numbers of which nothing
depends. A job is worth more than those, so an input of an unexpected shape becomes an
`UnknownInput`, what is no list of inputs becomes an empty one, and options, segments, the
moment of creation, the length or the progress become `None`; `Generation.raw` still holds
them.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from lipsync_async._rules import shapes
from lipsync_async._rules.checks import exact, is_list
from lipsync_async._rules.drafts import read_by_draft
from lipsync_async._rules.shapes import ShapeError
from lipsync_async._rules.wire_names import INPUT_TYPES, KEEP_RAW, LOCAL_FIELDS, MARKS, WIRE_NAMES
from lipsync_async._values.inputs import (
    ActiveSpeaker,
    DubParams,
    GenerationRequest,
    Options,
    Segment,
    UnknownInput,
    Video,
)
from lipsync_async._values.models import Generation
from lipsync_async._words import Status

T = TypeVar("T")
Overrides = dict[str, Any]

_JSON_TYPES = frozenset({str, int, float, bool})
_WIRE_NAME_OF = {name: wire for names in WIRE_NAMES.values() for name, wire in names.items()}


def encode_request(request: GenerationRequest) -> dict[str, Any]:
    """Return the JSON body of a create; fields that are `None` are left out.

    Nothing is in it but what JSON knows: a number or a text of a derived class is sent as
    the number or the text that it is, and any kind of list as a list.

    Raises:
        TypeError: Something else is in the request, which validation would have refused.

    """
    try:
        encoded: dict[str, Any] = _plain(_writer().unstructure(request))
    except OSError as error:  # a foreign value's own, which is no trouble of a disk
        raise TypeError(str(error)) from error
    return encoded


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: inner if type(inner) in _JSON_TYPES else _plain(inner)  # the usual at once
            for name, inner in value.items()
        }
    if is_list(value):
        return [_plain(inner) for inner in value]
    found = exact(value)
    if found is not None and type(found) not in _JSON_TYPES:
        raise TypeError(f"JSON knows no {type(found).__name__}")
    return found


def decode(kind: type[T], data: Any) -> T:
    """Structure decoded JSON as `kind`, ignoring fields that this release does not know.

    Raises:
        ShapeError: The data are not of the documented shape; it lists every problem.

    """
    try:
        decoded: T = _fast_hook(kind)(data, kind)  # type: ignore[arg-type]  # a class is hashable
    except (TypeError, ValueError, KeyError, OverflowError):
        return _explain(kind, data)
    return decoded


def _explain(kind: type[T], data: Any) -> T:
    try:
        return _reader(explain=True).structure(data, kind)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of everything; each becomes a line
        paths = transform_error(error, format_exception=lambda problem, _: _described(problem))
        raise ShapeError([_with_wire_names(path) for path in paths]) from None


def _with_wire_names(path: str) -> str:
    """Name the fields in a path as the service does: who reads it looks at the JSON."""
    return re.sub(r"(?<=[$\]\w]\.)\w+", lambda name: _WIRE_NAME_OF.get(name[0], name[0]), path)


def _described(problem: BaseException) -> str:
    """Say one problem in words; cattrs adds the path."""
    if isinstance(problem, KeyError):
        return "required field missing"
    return str(problem)


# Converters are built on first use: three of them would be a fifth of the import time.
@cache
def _writer() -> Converter:
    """Build the converter for requests: wire names, and no field that is `None`."""
    converter = Converter(omit_if_default=True)
    for kind in WIRE_NAMES:
        overrides = _overrides(kind)
        if kind is DubParams:  # required on the wire although Python has a default
            overrides["provider_name"] = override(rename="providerName", omit_if_default=False)
        unstructure: Any = make_dict_unstructure_fn(
            kind,
            converter,
            _cattrs_omit_if_default=True,
            **overrides,
        )
        if kind in MARKS:
            unstructure = _marked(MARKS[kind], unstructure)
        converter.register_unstructure_hook(kind, unstructure)
    return converter


def _marked(marks: dict[str, str], unstructure: Any) -> Any:
    """Add what tells the service which class it has before it."""

    def unstructure_marked(value: Any) -> dict[str, Any]:
        return {**marks, **unstructure(value)}

    return unstructure_marked


@cache
def _fast_hook(kind: type) -> Any:
    return _reader(explain=False).get_structure_hook(kind)


@cache
def _reader(*, explain: bool) -> Converter:
    """Build a converter for answers: strict about types, tolerant of everything unknown."""
    converter = Converter(detailed_validation=explain)
    for primitive, hook in (
        (str, shapes.text),
        (float, shapes.number),
        (int, shapes.whole_number),
        (bool, shapes.flag),
        (datetime, shapes.moment),
        (Status, shapes.status),
    ):
        converter.register_structure_hook(primitive, hook)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    for kind in WIRE_NAMES:
        if kind is GenerationRequest:
            continue
        overrides = _overrides(kind) | _special_readers(kind, converter)
        make: Any = make_dict_structure_fn if explain else read_by_draft
        structure = make(kind, converter, **overrides)
        structure = _keeping_raw(structure) if kind in KEEP_RAW else structure
        converter.register_structure_hook(kind, structure)
    return converter


def _overrides(kind: type) -> Overrides:
    names = WIRE_NAMES[kind]
    return {
        field: override(rename=names.get(field), omit=True if field in LOCAL_FIELDS else None)
        for field in attrs.fields_dict(kind)
        if field in names or field in LOCAL_FIELDS
    }


def _special_readers(kind: type, converter: Converter) -> Overrides:
    """Name the fields that are not read by their annotation."""
    if kind is Video:
        rows = _nullable(shapes.rows_of_numbers)
        return {
            "segments_secs": override(struct_hook=rows),
            "segments_frames": override(struct_hook=rows),
        }
    if kind is ActiveSpeaker:
        return {
            "coordinates": override(struct_hook=_nullable(shapes.numbers)),
            "bounding_boxes": override(struct_hook=_nullable(shapes.rows_of_numbers)),
        }
    if kind is Generation:
        return {
            "input": override(struct_hook=_inputs_hook(converter)),
            "created_at": override(rename="createdAt", struct_hook=_forgiving(datetime, converter)),
            "output_duration": override(
                rename="outputDuration", struct_hook=_forgiving(float, converter)
            ),
            "progress_percent": override(struct_hook=_forgiving(float, converter)),
            "options": override(struct_hook=_forgiving(Options, converter)),
            "segments": override(struct_hook=_forgiving(list[Segment], converter)),
            "dub_params": override(
                rename="dubParams",
                struct_hook=_forgiving(DubParams, converter),
            ),
        }
    return {}


def _nullable(read: Any) -> Any:
    def read_nullable(value: Any, _: Any) -> Any:
        return None if value is None else read(value)

    return read_nullable


def _forgiving(kind: Any, converter: Converter) -> Any:
    """Read what a job can do without; an unexpected shape is left to `Generation.raw`."""
    structure = converter.get_structure_hook(kind)

    def read_forgiving(value: Any, _: Any) -> Any:
        if value is None:
            return None
        try:
            return structure(value, kind)
        except Exception:  # noqa: BLE001 - whatever cattrs meets: the job counts
            return None

    return read_forgiving


def _inputs_hook(converter: Converter) -> Any:
    """Choose the class of each input by its `type`."""
    hooks = {name: converter.get_structure_hook(kind) for name, kind in INPUT_TYPES.items()}

    def structure_input(value: Any) -> Any:
        try:
            return hooks[value["type"]](value, None)
        except Exception:  # noqa: BLE001 - unknown type or shape: the job counts, not its echo
            name = value.get("type") if type(value) is dict else None
            return UnknownInput(name if isinstance(name, str) else None, value)

    def structure_inputs(value: Any, _: Any) -> Any:
        return [structure_input(item) for item in value] if type(value) is list else []

    return structure_inputs


def _keeping_raw(structure: Any) -> Any:
    """Keep the JSON on the object, and read the older name of its error code."""

    def structure_keeping_raw(value: Any, kind: Any) -> Any:
        structured = structure(shapes.mapping(value), kind)
        structured.raw = value
        if kind is Generation and structured.error_code is None:
            older = value.get("error_code")
            structured.error_code = older if older is None else shapes.text(older)
        return structured

    return structure_keeping_raw


def _is_optional(kind: Any) -> bool:
    parts = get_args(kind)
    return get_origin(kind) in (Union, UnionType) and len(parts) == 2 and type(None) in parts  # noqa: PLR2004


def _optional_hook(kind: Any, converter: Converter) -> Any:
    """Bind the inner hook once, and for text look no further than its type."""
    (inner,) = (part for part in get_args(kind) if part is not type(None))
    structure = converter.get_structure_hook(inner)

    def structure_optional(value: Any, _: Any) -> Any:
        return None if value is None else structure(value, inner)

    def structure_optional_text(value: Any, _: Any) -> Any:
        return value if value is None or type(value) is str else shapes.text(value)

    return structure_optional_text if inner is str else structure_optional
