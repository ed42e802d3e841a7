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

import json
import re
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.gen import (
    make_dict_structure_fn,
    make_dict_structure_fn_from_attrs,
    make_dict_unstructure_fn,
    override,
)

from lipsync_async._enums import Status
from lipsync_async._logic.validators import exact, is_list
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Text,
    UnknownInput,
    Video,
)
from lipsync_async._models.response import CostEstimate, Generation, ModelInfo

_MOST_DIGITS = 308  # of an integer that is surely in the range of a float
_MOST_DEPTH = 100  # documented answers have 6 levels; `pickle` ends at some 300
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also one that is cut off


def loads(data: bytes) -> Any:
    """Decode JSON.

    Raises:
        ValueError: The text is no JSON: something else, empty, cut off, or nested too deeply.

    """
    encoding = json.detect_encoding(data)
    try:
        return loads_text(data.decode(encoding, errors="surrogatepass"))
    except UnicodeDecodeError:
        return loads_text(data.decode(encoding, errors="replace"))


def loads_text(data: str) -> Any:
    """Decode JSON whose encoding is known.

    Raises:
        ValueError: The text is no JSON, or nested too deeply.

    """
    if _is_deep(data):
        raise ValueError("it is nested too deeply")
    return _DECODER.decode(data)


def _is_deep(text: str) -> bool:
    """Tell whether a text is nested too deeply, in a small part of the time that reading takes."""
    if text.count("[") + text.count("{") <= _MOST_DEPTH:
        return False
    data = text.encode(errors="replace")
    brackets = data.translate(None, _NO_BRACKETS)
    for _ in range(_MOST_DEPTH // 2):
        if not brackets:
            return False
        # This takes off the innermost level; or two, where they are of both kinds.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    # It has brackets in its texts, or is cut off, or is deep.
    depth = 0
    for bracket in _TEXTS.sub(b"", data).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MOST_DEPTH:
            return True
    return False


def dumps(value: Any) -> bytes:
    """Encode as compactly as can be; half of a surrogate pair is written as its escape.

    Raises:
        ValueError: A number is not finite.

    """
    return _ENCODER.encode(value).encode(errors="backslashreplace")


def _null(_: str) -> None:
    """Stand in for NaN and the infinities."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


# `json.loads` and `json.dumps` build these anew for each call that has wishes of its own.
_DECODER = json.JSONDecoder(parse_constant=_null, parse_float=_finite, parse_int=_whole)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


# Wire names that differ from Python's; contract sections 2.2, 2.3, 2.7, 2.9, 3.1 and 6.
# Inner classes come before the classes that hold them.
WIRE_NAMES: dict[type, dict[str, str]] = {
    Video: {"asset_id": "assetId", "ref_id": "refId"},
    Image: {"asset_id": "assetId", "ref_id": "refId"},
    Audio: {"asset_id": "assetId", "ref_id": "refId"},
    ElevenLabs: {"voice_id": "voiceId", "similarity_boost": "similarityBoost"},
    Text: {"ref_id": "refId"},
    ActiveSpeaker: {},
    Options: {},
    SegmentAudio: {"ref_id": "refId", "start_time": "startTime", "end_time": "endTime"},
    Segment: {
        "start_time": "startTime",
        "end_time": "endTime",
        "audio_input": "audioInput",
        "options_override": "optionsOverride",
    },
    DubParams: {
        "target_lang": "targetLang",
        "source_lang": "sourceLang",
        "provider_name": "providerName",
    },
    GenerationRequest: {
        "webhook_url": "webhookUrl",
        "output_file_name": "outputFileName",
        "project_id": "projectId",
        "dub_params": "dubParams",
    },
    Generation: {
        "created_at": "createdAt",
        "webhook_url": "webhookUrl",
        "output_file_name": "outputFileName",
        "project_id": "projectId",
        "dub_params": "dubParams",
        "output_url": "outputUrl",
        "output_media_url": "outputMediaUrl",
        "segment_output_url": "segmentOutputUrl",
        "output_duration": "outputDuration",
        "error_code": "errorCode",
        "synthesized_audio_url": "synthesizedAudioUrl",
    },
    CostEstimate: {
        "frame_count": "estimatedFrameCount",
        "cost": "estimatedGenerationCost",
        "credits": "estimatedCredits",
    },
    ModelInfo: {"deprecated_at": "deprecatedAt"},
}

INPUT_TYPES: dict[str, type[Video | Image | Audio | Text]] = {
    "video": Video,
    "image": Image,
    "audio": Audio,
    "text": Text,
}

# What marks a class on the wire and is no field of it in Python.
MARKS: dict[type, dict[str, str]] = {
    **{kind: {"type": name} for name, kind in INPUT_TYPES.items()},
    ElevenLabs: {"name": "elevenlabs"},
}

# What only Python knows: neither read from the wire nor written to it.
LOCAL_FIELDS = frozenset({"file", "idempotency_key", "raw", "request_id", "origin"})

# Classes whose objects keep the JSON that they were read from.
KEEP_RAW = (Generation, CostEstimate, ModelInfo)


# Looking a status up is 5 times cheaper than calling the enum (0.05 against 0.25 µs).
_KNOWN_STATUSES = {status.value: status for status in Status}


class ShapeError(ValueError):
    """Raised when data are not of the documented shape.

    Attributes:
        paths: Each problem with its path.

    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        super().__init__("; ".join(paths))


def text(value: Any, _: Any = None) -> str:
    """Return `value` if it is text."""
    if type(value) is not str:
        raise TypeError(f"expected text, not {_shown(value)}")
    return value


def number(value: Any, _: Any = None) -> float:
    """Return `value` as a float if it is a number."""
    if type(value) is float:
        return value
    if type(value) is not int:
        raise TypeError(f"expected a number, not {_shown(value)}")
    return float(value)


def whole_number(value: Any, _: Any = None) -> int:
    """Return `value` if it is a whole number."""
    if type(value) is not int:
        raise TypeError(f"expected a whole number, not {_shown(value)}")
    return value


def flag(value: Any, _: Any = None) -> bool:
    """Return `value` if it is true or false."""
    if type(value) is not bool:
        raise TypeError(f"expected true or false, not {_shown(value)}")
    return value


def array(value: Any, _: Any = None) -> list[Any]:
    """Return `value` if it is a list."""
    if type(value) is not list:
        raise TypeError(f"expected a list, not {_shown(value)}")
    return value


def mapping(value: Any, _: Any = None) -> dict[str, Any]:
    """Return `value` if it is an object."""
    if type(value) is not dict:
        raise TypeError(f"expected an object, not {_shown(value)}")
    return value


def moment(value: Any, _: Any = None) -> datetime:
    """Return an ISO 8601 time in UTC; one without a zone is in UTC, as the service's are."""
    read = datetime.fromisoformat(text(value))
    if read.tzinfo is UTC:
        return read
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def status(value: Any, _: Any = None) -> Status:
    """Return a known status, or an unknown one that keeps its text."""
    try:
        return _KNOWN_STATUSES[value]
    except (KeyError, TypeError):
        return Status(text(value))


def numbers(value: Any, _: Any = None) -> tuple[float, ...]:
    """Return a list of numbers as a tuple."""
    return tuple(number(item) for item in array(value))


def rows_of_numbers(value: Any, _: Any = None) -> tuple[tuple[float, ...] | None, ...]:
    """Return a list of lists of numbers, in which `null` may stand for a list."""
    return tuple(None if row is None else numbers(row) for row in array(value))


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"[:80]


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
        (str, text),
        (float, number),
        (int, whole_number),
        (bool, flag),
        (datetime, moment),
        (Status, status),
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
        rows = _nullable(rows_of_numbers)
        return {
            "segments_secs": override(struct_hook=rows),
            "segments_frames": override(struct_hook=rows),
        }
    if kind is ActiveSpeaker:
        return {
            "coordinates": override(struct_hook=_nullable(numbers)),
            "bounding_boxes": override(struct_hook=_nullable(rows_of_numbers)),
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
        structured = structure(mapping(value), kind)
        structured.raw = value
        if kind is Generation and structured.error_code is None:
            older = value.get("error_code")
            structured.error_code = older if older is None else text(older)
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
        return value if value is None or type(value) is str else text(value)

    return structure_optional_text if inner is str else structure_optional
