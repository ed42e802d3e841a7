"""The shape of a create body.

Source: "Create generation", sync.so API reference.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._enums import Emotion, ModelMode, SyncMode
from lipsync_async.sandbox.server.shapes import (
    FLAG,
    INDEX,
    SHARE,
    TEXT,
    TIME,
    UUID,
    WEB_URL,
    ListOf,
    Rule,
    Shape,
    Tagged,
    is_number,
    is_time,
    one_of,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPT_LIMIT = 5000  # characters
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PAIR = 2


def _are_pairs(value: Any, is_fine: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(_is_pair(pair, is_fine) for pair in value)


def _is_pair(value: Any, is_fine: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == _PAIR and all(map(is_fine, value))


def _is_box(value: Any) -> bool:
    if value is None:
        return True
    if not (isinstance(value, list) and all(map(is_number, value))):
        return False
    match value:
        case [left, top, right, bottom]:
            return bool(left < right and top < bottom)
        case _:
            return False


_ELEVENLABS = one_of(["elevenlabs"])
_SPEAKER = Shape(
    {
        "auto_detect": FLAG,
        "frame_number": INDEX,
        "coordinates": Rule(
            lambda value: _is_pair(value, is_time), "must be two numbers not less than 0"
        ),
        "bounding_boxes": Rule(
            lambda value: isinstance(value, list) and all(map(_is_box, value)),
            "must be boxes of four numbers (x1 < x2, y1 < y2) or null",
        ),
        "bounding_boxes_url": WEB_URL,
        "v3": FLAG,
    }
)


@attrs.frozen(slots=True)
class _SpeakerOrFlag:
    """A speaker choice; a bare boolean is allowed in its place."""

    def problems(self, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, bool):
            yield from _SPEAKER.problems(value, path)


_OPTIONS = Shape(
    {
        "sync_mode": one_of(SyncMode),
        "temperature": SHARE,
        "model_mode": one_of(ModelMode),
        "prompt": one_of(Emotion),
        "occlusion_detection_enabled": FLAG,
        "reasoning_enabled": FLAG,
        "active_speaker_detection": _SpeakerOrFlag(),  # type: ignore[dict-item]
    }
)
_MEDIA = Shape({"url": WEB_URL, "assetId": TEXT, "refId": TEXT}, any_of=("url", "assetId"))
_VIDEO = attrs.evolve(
    _MEDIA,
    fields={
        **_MEDIA.fields,
        "segments_secs": Rule(
            lambda value: _are_pairs(value, is_time), "must be pairs of numbers not less than 0"
        ),
        "segments_frames": Rule(
            lambda value: _are_pairs(value, INDEX.is_fine),
            "must be pairs of integers not less than 0",
        ),
    },
)
_SPOKEN = Shape(
    {
        "refId": TEXT,
        "provider": Shape(
            {
                "name": _ELEVENLABS,
                "voiceId": TEXT,
                "script": text(SCRIPT_LIMIT),
                "stability": SHARE,
                "similarityBoost": SHARE,
            },
            frozenset({"name", "voiceId", "script"}),
        ),
    },
    frozenset({"provider"}),
)
_SEGMENT = Shape(
    {
        "startTime": TIME,
        "endTime": TIME,
        "audioInput": Shape(
            {"refId": TEXT, "startTime": TIME, "endTime": TIME}, frozenset({"refId"})
        ),
        "optionsOverride": _OPTIONS,
    },
    frozenset({"startTime", "endTime", "audioInput"}),
)
CREATE_BODY = Shape(
    {
        "model": TEXT,
        "webhookUrl": WEB_URL,
        "outputFileName": Rule(
            lambda value: isinstance(value, str) and _FILE_NAME.fullmatch(value) is not None,
            "must be 1 to 255 letters, digits, underscores or hyphens",
        ),
        "projectId": UUID,
        "input": ListOf(
            Tagged("type", {"video": _VIDEO, "image": _MEDIA, "audio": _MEDIA, "text": _SPOKEN}),
            least=1,
        ),
        "options": _OPTIONS,
        "segments": ListOf(_SEGMENT),
        "dubParams": Shape(
            {"providerName": _ELEVENLABS, "targetLang": TEXT, "sourceLang": TEXT},
            frozenset({"providerName", "targetLang"}),
        ),
    },
    frozenset({"model", "input"}),
)
