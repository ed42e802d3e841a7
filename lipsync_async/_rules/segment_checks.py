"""Judge segments: their times, their order, and the audio that they refer to.

Sources: contract sections 6 and 13 (rule 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from lipsync_async._rules.checks import (
    Check,
    fields_of,
    is_number,
    items_of,
    list_of,
    name,
    number,
    optional,
    shown,
    wrong,
)
from lipsync_async._rules.option_checks import options
from lipsync_async._values.inputs import Audio, Segment, SegmentAudio, Text

if TYPE_CHECKING:
    from collections.abc import Iterator


def segment_list(path: str, value: object) -> Iterator[str]:
    """Check every segment, then that they follow one another in time."""
    yield from list_of(_segment)(path, value)
    yield from _order_problems(path, value)


def reference_problems(inputs: object, segments: object) -> Iterator[str]:
    """Check that every audio and text has a name of its own, and every segment uses one.

    Args:
        inputs: What the request gives as `input`, good or bad.
        segments: What it gives as `segments`, good or bad.

    Yields:
        One line per problem.

    """
    known: dict[str, str] = {}
    for index, item in enumerate(items_of(inputs)):
        if isinstance(item, Audio | Text):
            yield from _name_problems(f"input[{index}]", item, known)
    for index, segment in enumerate(items_of(segments)):
        reference = _reference_of(segment)
        if reference is not None and reference not in known:
            names = (
                f"audio and text have {', '.join(map(shown, known))}" if known else "none has one"
            )
            path = f"segments[{index}].audio_input.ref_id"
            yield f"{path}: no input has ref_id {shown(reference)}; {names}"


def _name_problems(path: str, item: Audio | Text, known: dict[str, str]) -> Iterator[str]:
    """Check the name of one input and enter it into `known`, which maps it to its path."""
    if isinstance(item, Audio) and item.file is not None:
        yield f"{path}.file: cannot be used with segments, for it takes no ref_id; pass url"
    elif item.ref_id is None:
        yield f"{path}.ref_id: must be given, for segments refer to audio and text by it"
    if isinstance(item.ref_id, str):
        if item.ref_id in known:
            yield f"{path}.ref_id: must differ from that of {known[item.ref_id]}"
        known.setdefault(item.ref_id, path)


def _reference_of(segment: object) -> str | None:
    """Return a segment's reference, `None` where there is none that could be looked up."""
    audio = segment.audio_input if isinstance(segment, Segment) else None
    reference: object = audio.ref_id if isinstance(audio, SegmentAudio) else None
    return reference if isinstance(reference, str) else None


def _order_problems(path: str, value: object) -> Iterator[str]:
    latest_end, latest_index = 0.0, -1
    for index, segment in enumerate(items_of(value)):
        if not _is_timed(segment):
            continue
        if segment.start_time < latest_end:
            yield (
                f"{path}[{index}].start_time: must not be before {shown(latest_end)}, where "
                f"segments[{latest_index}] ends; sort segments and let none overlap"
            )
        latest_end, latest_index = max((latest_end, latest_index), (segment.end_time, index))


def _is_timed(segment: object) -> TypeGuard[Segment]:
    """Tell whether the times can be compared; NaN cannot, but its own problem is known."""
    return (
        isinstance(segment, Segment)
        and is_number(segment.start_time)
        and is_number(segment.end_time)
        and 0 <= segment.start_time <= segment.end_time
    )


def _forward_problems(path: str, value: Segment | SegmentAudio) -> Iterator[str]:
    start, end = value.start_time, value.end_time
    if is_number(start) and is_number(end) and start > end:
        yield f"{path}.end_time: must not be before start_time {shown(start)}, but is {shown(end)}"


def _segment(path: str, value: object) -> Iterator[str]:
    if not isinstance(value, Segment):
        yield wrong(path, "Segment", value)
        return
    yield from fields_of(path, value, _SEGMENT_FIELDS)
    yield from _forward_problems(path, value)


def _segment_audio(path: str, value: object) -> Iterator[str]:
    if not isinstance(value, SegmentAudio):
        yield wrong(path, "SegmentAudio", value)
        return
    yield from fields_of(path, value, _AUDIO_FIELDS)
    yield from _forward_problems(path, value)
    if (value.start_time is None) != (value.end_time is None):
        missing = "start_time" if value.start_time is None else "end_time"
        yield f"{path}.{missing}: must be given, too; a crop needs both times or neither"


_AUDIO_FIELDS: dict[str, Check] = {
    "ref_id": name,
    "start_time": optional(number(0)),
    "end_time": optional(number(0)),
}

_SEGMENT_FIELDS: dict[str, Check] = {
    "start_time": number(0),
    "end_time": number(0),
    "audio_input": _segment_audio,
    "options_override": optional(options),
}
