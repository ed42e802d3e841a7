"""Ways to break the rules about segments."""

from __future__ import annotations

from lipsync_async._models.request import Options, Segment, Text
from tests.logic.requests import (
    AUDIO,
    NAMED_AUDIO,
    VIDEO,
    VOICE,
    BadRequests,
    at,
    order,
    segment,
    with_segments,
)

BOTH = "a crop needs both times or neither"
ONE = [segment(0, 1)]
_REFERENCES: BadRequests = {
    "8-segments-kind": (order(segments="all"), "segments: must be a list, not 'all'"),
    "8-segments-empty": (order(segments=[]), "segments: must not be empty; leave it out instead"),
    "8-no-ref-id": (
        order(VIDEO, AUDIO, segments=ONE),
        "input[1].ref_id: must be given, for segments refer to audio and text by it",
    ),
    "8-same-ref-id": (
        order(VIDEO, NAMED_AUDIO, Text(VOICE, ref_id="a1"), segments=ONE),
        "input[2].ref_id: must differ from that of input[1]",
    ),
}
_FIRST: BadRequests = {
    "8-segment-kind": (with_segments({"start": 0}), ": must be Segment, not dict"),
    "8-audio-kind": (
        with_segments(Segment(start_time=0, end_time=1, audio_input="a1")),  # type: ignore[arg-type]
        ".audio_input: must be SegmentAudio, not 'a1'",
    ),
    "8-negative": (with_segments(segment(-1, 1)), ".start_time: must be 0 or more"),
    "8-nan": (with_segments(segment(0, float("nan"))), ".end_time: finite, not nan"),
    "8-no-end": (with_segments(segment(0, None)), ".end_time: must be a number, not None"),
    "8-backward": (
        with_segments(segment(2, 1)),
        ".end_time: must not be before start_time 2, but is 1",
    ),
    "8-override-kind": (
        with_segments(segment(0, 1, options_override={"sync_mode": "loop"})),
        ".options_override: must be Options, not dict",
    ),
    "8-override": (
        with_segments(segment(0, 1, options_override=Options(temperature=2))),
        ".options_override.temperature: must be 0 to 1, not 2",
    ),
}
_AUDIO: BadRequests = {
    "8-unknown-ref-id": (
        with_segments(segment(0, 1, "a2")),
        "ref_id: no input has ref_id 'a2'; audio and text have 'a1'",
    ),
    "8-nothing-to-refer-to": (
        order(VIDEO, segments=ONE),
        "ref_id: no input has ref_id 'a1'; none has one",
    ),
    "8-ref-id-kind": (with_segments(segment(0, 1, 5)), "ref_id: must be text, not 5"),
    "8-half-a-crop": (with_segments(segment(0, 1, crop=0)), f"end_time: {BOTH}"),
    "8-other-half-of-a-crop": (with_segments(segment(0, 1, to=1)), f"start_time: {BOTH}"),
    "8-crop-backward": (
        with_segments(segment(0, 1, crop=2, to=1)),
        "end_time: must not be before start_time 2, but is 1",
    ),
}
_LATER: BadRequests = {
    "8-overlap": (
        with_segments(segment(0, 2), segment(1, 3)),
        "[1].start_time: must not be before 2, where segments[0] ends",
    ),
    "8-overlap-of-an-earlier-one": (
        with_segments(segment(0, 9), segment(9, 9), segment(4, 5)),
        "[2].start_time: must not be before 9",
    ),
    "8-unsorted": (with_segments(segment(4, 5), *ONE), "[1].start_time: sort segments"),
}
BAD_SEGMENTS: BadRequests = {
    **_REFERENCES,
    **at("segments[0]", _FIRST),
    **at("segments[0].audio_input.", _AUDIO),
    **at("segments", _LATER),
}
