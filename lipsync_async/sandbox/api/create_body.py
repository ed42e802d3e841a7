"""A create body: its shape, and whether it makes sense.

Source: "Create generation", sync.so API reference; "Segments" and "Speaker selection", guides.

"""

from __future__ import annotations

import re
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from lipsync_async._enums import Emotion, ModelMode, SyncMode
from lipsync_async.sandbox.api.catalogue import LEGACY_MODELS, MODELS
from lipsync_async.sandbox.outbound_http import is_loopback
from lipsync_async.sandbox.server.api_errors import MOST_PROBLEMS, ApiError, error, malformed
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
    from collections.abc import Callable, Iterable, Mapping, Sequence


# Into which a video can be dubbed. Source: "Dubbing", sync.so guides.
_CODES = """
    af ak am ar as az be bg bo bs ca ceb cs cy da de doi el en es et eu fa fi fil fr gl gu
    ha hi hr hu hy id is it ja jv ka ki kk kn ko ky lg lt lv mk ml mn mr ms my ne nl no nso
    pa pl pt rn ro ru rw sd sk sl sq ss st su sv sw ta te tg th tl tn tr ts ug uk ur uz ve
    vi war wo yo zh zu
"""
LANGUAGES = (*_CODES.split(), "h" + "e")  # the last is Hebrew; in one piece it reads as a pronoun
SCRIPT_LIMIT = 5000  # characters
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PAIR, _SIDES = 2, 4


def _are_pairs(value: Any, is_fine: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(_is_pair(pair, is_fine) for pair in value)


def _is_pair(value: Any, is_fine: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == _PAIR and all(map(is_fine, value))


def _is_box(value: Any) -> bool:
    if value is None:
        return True
    if not (isinstance(value, list) and len(value) == _SIDES and all(map(is_number, value))):
        return False
    left, top, right, bottom = value
    return bool(left < right and top < bottom)


ELEVENLABS = one_of(["elevenlabs"])
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
    },
    or_flag=True,
)
_OPTIONS = Shape(
    {
        "sync_mode": one_of(SyncMode),
        "temperature": SHARE,
        "model_mode": one_of(ModelMode),
        "prompt": one_of(Emotion),
        "occlusion_detection_enabled": FLAG,
        "reasoning_enabled": FLAG,
        "active_speaker_detection": _SPEAKER,
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
# How a script is spoken.
VOICE: Mapping[str, Rule] = {
    "voiceId": TEXT,
    "script": text(SCRIPT_LIMIT),
    "stability": SHARE,
    "similarityBoost": SHARE,
}
_TEXT_INPUT = Shape(
    {
        "refId": TEXT,
        "provider": Shape({"name": ELEVENLABS, **VOICE}, frozenset({"name", "voiceId", "script"})),
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
            Tagged(
                "type", {"video": _VIDEO, "image": _MEDIA, "audio": _MEDIA, "text": _TEXT_INPUT}
            ),
            least=1,
        ),
        "options": _OPTIONS,
        "segments": ListOf(_SEGMENT),
        "dubParams": Shape(
            {
                "providerName": ELEVENLABS,
                "targetLang": one_of(LANGUAGES),
                "sourceLang": one_of(["auto", *LANGUAGES]),
            },
            frozenset({"targetLang"}),
        ),
        "dialogueEdit": Shape({"id": TEXT}, frozenset({"id"})),
    },
    frozenset({"model", "input"}),
)


_MODEL_NAMES = frozenset(model["id"] for model in MODELS) | LEGACY_MODELS
_VISUAL = frozenset({"video", "image"})
_SPOKEN = frozenset({"audio", "text"})
_SPEAKER_WAYS = (("auto_detect",), ("coordinates",), ("bounding_boxes", "bounding_boxes_url"))


def check_generation(body: Any, *, http_hosts: Iterable[str] = ()) -> None:
    """Pass a create body that the service would accept; else raise the first `ApiError`."""
    problems = list(islice(CREATE_BODY.problems(body), MOST_PROBLEMS))
    if problems:
        raise malformed(problems)
    check_webhook(body.get("webhookUrl"), "webhookUrl", http_hosts=http_hosts)
    if body["model"] not in _MODEL_NAMES:
        raise error("generation_unsupported_model", f"There is no model {body['model']!r}.")
    _check_visuals(body)
    _check_speech(body)
    _check_segments(body)
    _check_speaker(body)


def check_webhook(url: Any, field: str, *, http_hosts: Iterable[str]) -> None:
    """Pass an address to which webhooks are sent; `None`: to none."""
    if url is None:
        return
    parts = urlsplit(url) if WEB_URL.is_fine(url) else None
    host = (parts and parts.hostname) or ""
    is_web = parts is not None and (parts.scheme == "https" or is_loopback(host))
    if not is_web and host not in http_hosts:
        raise malformed([f"{field} must be an https URL, or http to a loopback host"])


def _of(body: Mapping[str, Any], kinds: frozenset[str]) -> list[Mapping[str, Any]]:
    return [item for item in body["input"] if item["type"] in kinds]


def _check_visuals(body: Mapping[str, Any]) -> None:
    visuals = _of(body, _VISUAL)
    if not visuals:
        message = "Exactly one video or image input is required."
        raise error("generation_input_validation_failed", message, field="input")
    if len(visuals) > 1:
        message = f"Exactly one video or image input is allowed, not {len(visuals)}."
        raise error("generation_input_too_many_visual", message, field="input")
    if visuals[0]["type"] == "image" and body["model"] != "sync-3":
        message = f"Model {body['model']} takes no image input; sync-3 does."
        raise error("generation_unsupported_model", message, field="model")


def _check_speech(body: Mapping[str, Any]) -> None:
    spoken = _of(body, _SPOKEN)
    if body.get("dubParams") is not None and body.get("dialogueEdit") is not None:
        message = "Choose dubParams or dialogueEdit."
        raise error("dialogue_edit_unsupported", message, field="dialogueEdit")
    if body.get("dubParams") is not None:
        if spoken:
            message = "With dubParams there must be no audio or text input."
            raise error("generation_input_dub_audio_conflict", message, field="dubParams")
    elif body.get("dialogueEdit") is not None:
        if spoken or body.get("segments"):
            message = "With dialogueEdit there must be no audio or text input, and no segments."
            raise error("dialogue_edit_unsupported", message, field="dialogueEdit")
    elif not body.get("segments") and len(spoken) != 1:
        message = f"Exactly one audio or text input is required, not {len(spoken)}."
        raise error("generation_input_validation_failed", message, field="input")


def _check_segments(body: Mapping[str, Any]) -> None:
    segments = body.get("segments")
    if not segments:
        return
    if _of(body, frozenset({"image"})):
        raise _bad_segments("Segments apply to video inputs only.")
    names = [item.get("refId") for item in _of(body, _SPOKEN)]
    if None in names or len(set(names)) != len(names):
        raise _bad_segments("With segments every audio and text input needs a refId of its own.")
    for index, segment in enumerate(segments):
        _check_segment(index, segment, names)
    ordered = sorted(segments, key=lambda segment: (segment["startTime"], segment["endTime"]))
    for earlier, later in pairwise(ordered):
        if later["startTime"] < earlier["endTime"]:
            raise _bad_segments("Segments must not overlap.")


def _check_segment(index: int, segment: Mapping[str, Any], names: Sequence[str | None]) -> None:
    if segment["startTime"] > segment["endTime"]:
        raise _bad_segments(f"Segment {index} ends before it starts.")
    audio = segment["audioInput"]
    if audio["refId"] not in names:
        raise _bad_segments(f"Segment {index}: no audio or text input is named {audio['refId']!r}.")
    crop = (audio.get("startTime"), audio.get("endTime"))
    if (crop[0] is None) != (crop[1] is None) or (None not in crop and crop[0] > crop[1]):
        message = f"Segment {index}: crop the audio with both times, in order, or with none."
        raise error("generation_input_trim_invalid", message, field="segments")


def _bad_segments(message: str) -> ApiError:
    return error("generation_input_segments_invalid", message, field="segments")


def _check_speaker(body: Mapping[str, Any]) -> None:
    speaker = (body.get("options") or {}).get("active_speaker_detection")
    if not isinstance(speaker, dict):
        return
    ways = sum(any(speaker.get(name) for name in way) for way in _SPEAKER_WAYS)
    if ways > 1:
        raise _bad_speaker("Choose the speaker in one way: by detection, by a point or by boxes.")
    if speaker.get("frame_number") is not None and speaker.get("coordinates") is None:
        raise _bad_speaker("frame_number needs the coordinates of a point in that frame.")
    if speaker.get("coordinates") is not None and speaker.get("frame_number") is None:
        raise _bad_speaker("coordinates need the frame_number that they point into.")
    if speaker.get("auto_detect") and _of(body, frozenset({"image"})):
        raise _bad_speaker("auto_detect works with video inputs only.")


def _bad_speaker(message: str) -> ApiError:
    field = "options.active_speaker_detection"
    return error("generation_input_face_selection_invalid", message, field=field)
