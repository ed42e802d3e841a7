"""Judge options by themselves: vocabularies, ranges, and the choice of the speaker.

Whether the model uses an option at all is a question for `option_support`. Sources:
contract sections 2.4, 8 and 13 (rules 9 and 11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._rules.checks import (
    Check,
    fields_of,
    flag,
    http_url,
    instance_of,
    list_of,
    number,
    numbers_of,
    one_of,
    optional,
    whole_number,
    wrong,
)
from lipsync_async._values.inputs import ActiveSpeaker, Options
from lipsync_async._words import Emotion, ModelMode, SyncMode

if TYPE_CHECKING:
    from collections.abc import Iterator


def active_speaker(path: str, value: object) -> Iterator[str]:
    """Check the choice of the speaker: each part, and that it is one choice."""
    if not isinstance(value, ActiveSpeaker):
        yield wrong(path, "ActiveSpeaker", value)
        return
    yield from fields_of(path, value, _SPEAKER_FIELDS)
    yield from _method_problems(path, value)


def _method_problems(path: str, speaker: ActiveSpeaker) -> Iterator[str]:
    has_frame, has_point = speaker.frame_number is not None, speaker.coordinates is not None
    chosen = {
        "auto_detect": speaker.auto_detect is True,
        "frame_number with coordinates": has_frame or has_point,
        "bounding_boxes": speaker.bounding_boxes is not None,
        "bounding_boxes_url": speaker.bounding_boxes_url is not None,
    }
    methods = [method for method, is_chosen in chosen.items() if is_chosen]
    if len(methods) > 1:
        yield f"{path}: must choose one way, not {len(methods)}: {', '.join(methods)}"
    if has_point and not has_frame:
        yield f"{path}.frame_number: must say in which frame the coordinates point at the face"
    if has_frame and not has_point:
        yield f"{path}.coordinates: must point at the face in that frame, in native pixels"


def _coordinates(path: str, value: object) -> Iterator[str]:
    """Ask for one pixel; nested lists and shares of the width are the usual mistakes."""
    ends = numbers_of(value)
    if len(ends) != 2 or not all(isinstance(end, int) and end >= 0 for end in ends):  # noqa: PLR2004 - x and y
        yield wrong(path, "two whole numbers in native pixels, such as [960, 540]", value)


def _box(path: str, value: object) -> Iterator[str]:
    corners = numbers_of(value)
    is_box = len(corners) == 4 and corners[0] < corners[2] and corners[1] < corners[3]  # noqa: PLR2004 - two corners
    if not is_box:
        yield wrong(path, "None or [x1, y1, x2, y2] in native pixels, x1 < x2 and y1 < y2", value)


_SPEAKER_FIELDS: dict[str, Check] = {
    "auto_detect": optional(flag),
    "frame_number": optional(whole_number(0)),
    "coordinates": optional(_coordinates),
    "bounding_boxes": optional(list_of(optional(_box))),
    "bounding_boxes_url": optional(http_url),
    "v3": optional(flag),
}

options = instance_of(
    Options,
    {
        "sync_mode": optional(one_of(SyncMode)),
        "temperature": optional(number(0, 1)),
        "model_mode": optional(one_of(ModelMode)),
        "prompt": optional(one_of(Emotion)),
        "occlusion_detection_enabled": optional(flag),
        "active_speaker_detection": optional(active_speaker),
        "reasoning_enabled": optional(flag),
    },
)
