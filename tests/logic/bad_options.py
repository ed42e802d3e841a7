"""Ways to break the rules about options and the speaker."""

from __future__ import annotations

from lipsync_async import _enums as words
from tests.logic.requests import BadRequests, order, with_options, with_speaker

_SPEAKER = "options.active_speaker_detection"
_PIXELS = "two whole numbers in native pixels"
_BOX = "x1 < x2 and y1 < y2"

BAD_OPTIONS: BadRequests = {
    "9-options-kind": (order(options={"sync_mode": "loop"}), "options: must be Options, not dict"),
    "9-temperature": (with_options(temperature=3), "options.temperature: must be 0 to 1, not 3"),
    "9-temperature-bool": (
        with_options(temperature=True),
        "options.temperature: a number, not True",
    ),
    "9-temperature-text": (with_options(temperature="1"), "options.temperature: a number, not '1'"),
    **{
        f"9-{option}": (
            with_options(**{option: "other"}),
            f"options.{option}: must be one of {', '.join(vocabulary)}, not 'other'",
        )
        for option, vocabulary in {
            "sync_mode": words.SyncMode,
            "model_mode": words.ModelMode,
            "prompt": words.Emotion,
        }.items()
    },
    "9-occlusion": (
        with_options(occlusion_detection_enabled="yes"),
        "options.occlusion_detection_enabled: must be True or False, not 'yes'",
    ),
    "9-reasoning": (with_options(reasoning_enabled=1), "options.reasoning_enabled: True or False"),
    "11-kind": (with_options(active_speaker_detection=True), f"{_SPEAKER}: must be ActiveSpeaker"),
    "11-two-ways": (
        with_speaker(auto_detect=True, frame_number=0, coordinates=[1, 2]),
        f"{_SPEAKER}: must choose one way, not 2: auto_detect, frame_number with coordinates",
    ),
    "11-boxes-twice": (
        with_speaker(bounding_boxes=[None], bounding_boxes_url="https://h/b.json"),
        f"{_SPEAKER}: must choose one way, not 2: bounding_boxes, bounding_boxes_url",
    ),
    "11-no-frame": (with_speaker(coordinates=[1, 2]), f"{_SPEAKER}.frame_number: in which frame"),
    "11-no-point": (with_speaker(frame_number=0), f"{_SPEAKER}.coordinates: point at the face"),
    "11-negative-frame": (
        with_speaker(frame_number=-1, coordinates=[1, 2]),
        f"{_SPEAKER}.frame_number: must be 0 or more and finite, not -1",
    ),
    "11-broken-frame": (
        with_speaker(frame_number=1.0, coordinates=[1, 2]),
        f"{_SPEAKER}.frame_number: must be a whole number, not 1.0",
    ),
    **{
        f"11-coordinates-{mistake}": (
            with_speaker(frame_number=0, coordinates=coordinates),
            f"{_SPEAKER}.coordinates: {_PIXELS}",
        )
        for mistake, coordinates in {
            "nested": [[960, 540]],
            "normalized": [0.5, 0.5],
            "negative": [-1, 0],
            "three": [1, 2, 3],
            "flag": [True, 1],
            "text": "ab",
        }.items()
    },
    **{
        f"11-box-{mistake}": (
            with_speaker(bounding_boxes=[None, box]),
            f"{_SPEAKER}.bounding_boxes[1]: {_BOX}",
        )
        for mistake, box in {
            "flat": [3, 1, 3, 2],
            "upside-down": [1, 3, 2, 2],
            "three": [1, 2, 3],
            "nan": [0, 0, float("nan"), 1],
            "number": 7,
        }.items()
    },
    "11-no-boxes": (
        with_speaker(bounding_boxes=[]),
        f"{_SPEAKER}.bounding_boxes: must not be empty",
    ),
    "11-boxes-url": (
        with_speaker(bounding_boxes_url="boxes.json"),
        f"{_SPEAKER}.bounding_boxes_url: must be an http or https URL",
    ),
    "11-v3": (with_speaker(v3="yes"), f"{_SPEAKER}.v3: must be True or False, not 'yes'"),
}
