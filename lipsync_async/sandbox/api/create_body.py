"""The shape of a create body: types, enums and ranges, every problem in one list.

This is the service's side; the client has rules of its own, and neither knows the other.
Unknown fields pass, as the service's own older clients send some.

Source: contract sections 2.2 to 2.4, 5.4, 6 and 8.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from lipsync_async._enums import Emotion, ModelMode, SyncMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


SCRIPT_LIMIT = 5000  # characters, contract section 5.4
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")  # contract section 2.2
_MEDIA_TYPES = frozenset({"video", "image", "audio"})
_COORDINATES = 2

Rule = tuple["Callable[[Any], bool]", str]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def is_time(value: Any) -> TypeGuard[float]:
    """Return whether `value` is a number of seconds: finite, and not below zero."""
    return _is_number(value) and bool(value >= 0)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_web_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def is_uuid(value: Any) -> bool:
    """Return whether `value` is a UUID in its usual spelling."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == _COORDINATES and all(map(is_time, value))


def _is_box(value: Any) -> bool:
    if value is None:
        return True
    if not (isinstance(value, list) and all(map(_is_number, value))):
        return False
    match value:
        case [left, top, right, bottom]:
            return bool(left < right and top < bottom)
        case _:
            return False


def _are_boxes(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_box, value))


def _one_of(words: type[SyncMode | ModelMode | Emotion]) -> Rule:
    known = [str(word) for word in words]
    return (
        lambda value: isinstance(value, str) and value in known,
        f"must be one of the following values: {', '.join(known)}",
    )


_TEXT: Rule = (_is_text, "must be a non-empty string")
_FLAG: Rule = (_is_flag, "must be a boolean value")
_SHARE: Rule = (_is_share, "must be a number from 0 to 1")
_TIME: Rule = (is_time, "must not be less than 0")
_ADDRESS: Rule = (_is_web_address, "must be an http or https URL")

_SPEAKER: Mapping[str, Rule] = {
    "auto_detect": _FLAG,
    "frame_number": (_is_index, "must be an integer not less than 0"),
    "coordinates": (_is_point, "must be two numbers not less than 0"),
    "bounding_boxes": (_are_boxes, "must be boxes of four numbers (x1 < x2, y1 < y2) or null"),
    "bounding_boxes_url": _ADDRESS,
    "v3": _FLAG,
}
_OPTIONS: Mapping[str, Rule] = {
    "sync_mode": _one_of(SyncMode),
    "temperature": _SHARE,
    "model_mode": _one_of(ModelMode),
    "prompt": _one_of(Emotion),
    "occlusion_detection_enabled": _FLAG,
    "reasoning_enabled": _FLAG,
}
_VOICE: Mapping[str, Rule] = {
    "name": (lambda value: value == "elevenlabs", "must be one of: elevenlabs"),
    "voiceId": _TEXT,
    "script": (
        lambda value: _is_text(value) and len(value) <= SCRIPT_LIMIT,
        f"must be 1 to {SCRIPT_LIMIT} characters",
    ),
    "stability": _SHARE,
    "similarityBoost": _SHARE,
}
_MEDIA: Mapping[str, Rule] = {"url": _ADDRESS, "assetId": _TEXT, "refId": _TEXT}
_SEGMENT: Mapping[str, Rule] = {"startTime": _TIME, "endTime": _TIME}
_SEGMENT_AUDIO: Mapping[str, Rule] = {"refId": _TEXT, "startTime": _TIME, "endTime": _TIME}
_DUBBING: Mapping[str, Rule] = {
    "providerName": (lambda value: value == "elevenlabs", "must be one of: elevenlabs"),
    "targetLang": _TEXT,
    "sourceLang": _TEXT,
}
_TOP: Mapping[str, Rule] = {
    "model": _TEXT,
    "webhookUrl": _ADDRESS,
    "outputFileName": (
        lambda value: isinstance(value, str) and _FILE_NAME.fullmatch(value) is not None,
        "must be 1 to 255 letters, digits, underscores or hyphens",
    ),
    "projectId": (is_uuid, "must be a UUID"),
}


def problems_of(body: Any) -> list[str]:
    """Return everything that is wrong with the shape of a create body."""
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    return [
        *_fields(body, "", _TOP, needed=("model",)),
        *_list(body, "input", _input_item, is_needed=True),
        *_object(body, "", "options", _options),
        *_list(body, "segments", _segment, is_needed=False),
        *_object(body, "", "dubParams", _dubbing),
    ]


def _fields(
    value: Mapping[str, Any],
    path: str,
    rules: Mapping[str, Rule],
    needed: tuple[str, ...] = (),
) -> Iterator[str]:
    """Judge the fields that are there, and miss those that must be."""
    for name, (is_fine, demand) in rules.items():
        found = value.get(name)
        if found is None:
            if name in needed:
                yield f"{path}{name} should not be empty"
        elif not is_fine(found):
            yield f"{path}{name} {demand}"


def _object(
    value: Mapping[str, Any],
    path: str,
    name: str,
    check: Callable[[Mapping[str, Any], str], Iterator[str]],
) -> Iterator[str]:
    found = value.get(name)
    if isinstance(found, dict):
        yield from check(found, f"{path}{name}.")
    elif found is not None:
        yield f"{path}{name} must be an object"


def _list(
    body: Mapping[str, Any],
    name: str,
    check: Callable[[Mapping[str, Any], str], Iterator[str]],
    *,
    is_needed: bool,
) -> Iterator[str]:
    found = body.get(name)
    if found is None and not is_needed:
        return
    if not isinstance(found, list) or (is_needed and not found):
        yield f"{name} must be {'a non-empty' if is_needed else 'an'} array"
        return
    for index, item in enumerate(found):
        if isinstance(item, dict):
            yield from check(item, f"{name}.{index}.")
        else:
            yield f"{name}.{index} must be an object"


def _input_item(item: Mapping[str, Any], path: str) -> Iterator[str]:
    kind = item.get("type")
    if kind == "text":
        yield from _fields(item, path, {"refId": _TEXT})
        if item.get("provider") is None:
            yield f"{path}provider should not be empty"
        yield from _object(item, path, "provider", _voice)
    elif isinstance(kind, str) and kind in _MEDIA_TYPES:
        yield from _fields(item, path, _MEDIA)
        if item.get("url") is None and item.get("assetId") is None:
            yield f"{path}url or assetId must be given"
    else:
        yield f"{path}type must be one of the following values: video, image, audio, text"


def _voice(value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _fields(value, path, _VOICE, needed=("name", "voiceId", "script"))


def _dubbing(value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _fields(value, path, _DUBBING, needed=("providerName", "targetLang"))


def _options(value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _fields(value, path, _OPTIONS)
    speaker = value.get("active_speaker_detection")
    if not isinstance(speaker, bool):  # a bare boolean is allowed, contract section 8
        yield from _object(value, path, "active_speaker_detection", _speaker)


def _speaker(value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _fields(value, path, _SPEAKER)


def _segment(item: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _fields(item, path, _SEGMENT, needed=("startTime", "endTime"))
    if item.get("audioInput") is None:
        yield f"{path}audioInput should not be empty"
    yield from _object(item, path, "audioInput", _segment_audio)
    yield from _object(item, path, "optionsOverride", _options)


def _segment_audio(value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _fields(value, path, _SEGMENT_AUDIO, needed=("refId",))
