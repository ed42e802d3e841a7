"""Whether a create body of the right shape also makes sense: one coded refusal at a time.

Source: contract sections 2.2, 2.3, 4.2, 4.3, 6 and 8.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.catalogue import LEGACY_MODELS, MODELS
from lipsync_async.sandbox.api.create_body import problems_of
from lipsync_async.sandbox.server.api_errors import coded, malformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


_MODEL_NAMES = frozenset(model["id"] for model in MODELS) | LEGACY_MODELS
_VISUAL = frozenset({"video", "image"})
_SPOKEN = frozenset({"audio", "text"})
_SPEAKER_WAYS = (("auto_detect",), ("coordinates",), ("bounding_boxes", "bounding_boxes_url"))


def check_generation(body: Any, *, projects: Iterable[str] = ()) -> None:
    """Pass a create body that the service would accept.

    Args:
        body: The decoded JSON body.
        projects: Ids of the organization's projects.

    Raises:
        Refusal: The service would not accept it.

    """
    problems = problems_of(body)
    if problems:
        raise malformed(problems)
    _check_model(body["model"])
    _check_visual(body)
    _check_speech(body)
    _check_segments(body)
    _check_speaker(body)
    if body.get("projectId") is not None and body["projectId"] not in projects:
        raise coded(422, "project_not_found", f"Project {body['projectId']} was not found.")


def _of(body: Mapping[str, Any], kinds: frozenset[str]) -> list[Mapping[str, Any]]:
    return [item for item in body["input"] if item["type"] in kinds]


def _check_model(model: str) -> None:
    if model not in _MODEL_NAMES:
        raise coded(400, "generation_unsupported_model", f"There is no model {model!r}.")


def _check_visual(body: Mapping[str, Any]) -> None:
    visuals = _of(body, _VISUAL)
    if not visuals:
        message = "Exactly one video or image input is required."
        raise coded(400, "generation_input_validation_failed", message, field="input")
    if len(visuals) > 1:
        message = f"Exactly one video or image input is allowed, not {len(visuals)}."
        raise coded(422, "generation_input_too_many_visual", message, field="input")
    if visuals[0]["type"] == "image" and body["model"] != "sync-3":
        message = f"Model {body['model']} takes no image input; sync-3 does."
        raise coded(422, "generation_unsupported_model", message, field="model")


def _check_speech(body: Mapping[str, Any]) -> None:
    spoken = _of(body, _SPOKEN)
    if body.get("dubParams") is not None:
        if spoken:
            message = "With dubParams there must be no audio or text input."
            raise coded(422, "generation_input_dub_audio_conflict", message, field="dubParams")
    elif not body.get("segments") and len(spoken) != 1:
        message = f"Exactly one audio or text input is required, not {len(spoken)}."
        raise coded(400, "generation_input_validation_failed", message, field="input")


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
    _check_order(segments)


def _check_segment(index: int, segment: Mapping[str, Any], names: Sequence[str | None]) -> None:
    if segment["startTime"] > segment["endTime"]:
        raise _bad_segments(f"Segment {index} ends before it starts.")
    audio = segment["audioInput"]
    if audio["refId"] not in names:
        raise _bad_segments(f"Segment {index}: no audio or text input is named {audio['refId']!r}.")
    crop = (audio.get("startTime"), audio.get("endTime"))
    if (crop[0] is None) != (crop[1] is None) or (None not in crop and crop[0] > crop[1]):
        message = f"Segment {index}: crop the audio with both times, in order, or with none."
        raise coded(422, "generation_input_trim_invalid", message, field="segments")


def _check_order(segments: Sequence[Mapping[str, Any]]) -> None:
    ordered = sorted(segments, key=lambda segment: (segment["startTime"], segment["endTime"]))
    for earlier, later in pairwise(ordered):
        if later["startTime"] < earlier["endTime"]:
            raise _bad_segments("Segments must not overlap.")


def _bad_segments(message: str) -> Exception:
    return coded(422, "generation_input_segments_invalid", message, field="segments")


def _check_speaker(body: Mapping[str, Any]) -> None:
    speaker = (body.get("options") or {}).get("active_speaker_detection")
    if not isinstance(speaker, dict):
        return
    ways = sum(any(speaker.get(name) for name in way) for way in _SPEAKER_WAYS)
    if ways > 1:
        raise _bad_speaker("Choose the speaker in one way: by detection, by a point or by boxes.")
    if speaker.get("coordinates") is not None and speaker.get("frame_number") is None:
        raise _bad_speaker("coordinates need the frame_number that they point into.")
    if speaker.get("auto_detect") and _of(body, frozenset({"image"})):
        raise _bad_speaker("auto_detect works with video inputs only.")


def _bad_speaker(message: str) -> Exception:
    field = "options.active_speaker_detection"
    return coded(422, "generation_input_face_selection_invalid", message, field=field)
