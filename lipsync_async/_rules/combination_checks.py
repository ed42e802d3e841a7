"""Judge how the parts of a request go together.

Sources: contract sections 2.2, 2.5, 6, 8 and 13 (rules 2 to 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._rules.checks import is_list, items_of, shown
from lipsync_async._rules.segment_checks import reference_problems
from lipsync_async._values.inputs import (
    ActiveSpeaker,
    Audio,
    GenerationRequest,
    Image,
    Options,
    Text,
    Video,
)
from lipsync_async._words import Model

if TYPE_CHECKING:
    from collections.abc import Iterator


def combination_problems(request: GenerationRequest) -> Iterator[str]:
    """Yield what is wrong between parts that may each be right."""
    yield from _count_problems(request)
    yield from _upload_problems(request)
    if any(isinstance(item, Image) for item in items_of(request.input)):
        yield from _image_problems(request)
    if request.segments is not None:
        yield from reference_problems(request.input, request.segments)
    if request.segments is not None and request.dub_params is not None:
        yield "segments: cannot be combined with dub_params"


def _count_problems(request: GenerationRequest) -> Iterator[str]:
    inputs = items_of(request.input)
    visuals = sum(isinstance(item, Video | Image) for item in inputs)
    voices = sum(isinstance(item, Audio | Text) for item in inputs)
    if not is_list(request.input) or visuals + voices < len(inputs):
        return  # what is no input may be meant for either; it has a problem of its own
    if visuals != 1:
        yield f"input: needs exactly one video or image, not {visuals}"
    if request.dub_params is not None:
        if voices:
            yield f"input: takes no audio or text with dub_params, not {voices}"
    elif request.segments is None and voices != 1:
        several = "; for several use segments" if voices else ""
        yield f"input: needs exactly one audio or text, not {voices}{several}"


def _upload_problems(request: GenerationRequest) -> Iterator[str]:
    """Allow one file per kind: the form has one part for each (contract section 2.5)."""
    first_of_kind: dict[str, str] = {}
    for index, item in enumerate(items_of(request.input)):
        if not isinstance(item, Video | Image | Audio) or item.file is None:
            continue
        kind, path = type(item).__name__, f"input[{index}]"
        if kind in first_of_kind:
            yield f"{path}.file: must be the only {kind} file, but {first_of_kind[kind]} has one"
        first_of_kind.setdefault(kind, path)


def _image_problems(request: GenerationRequest) -> Iterator[str]:
    # A model that this release does not know may take images; it is warned about already.
    if request.model in tuple(Model) and request.model != Model.SYNC_3:
        yield f"model: must be {Model.SYNC_3} with an image, not {shown(request.model)}"
    if request.segments is not None:
        yield "segments: need a video, not an image"
    if request.dub_params is not None:
        yield "dub_params: need a video, not an image"
    if isinstance(request.options, Options):
        path = "options.active_speaker_detection"
        yield from _still_speaker_problems(path, request.options.active_speaker_detection)


def _still_speaker_problems(path: str, speaker: object) -> Iterator[str]:
    """Check that a face in a picture is pointed at (contract section 8)."""
    if not isinstance(speaker, ActiveSpeaker):
        return
    if speaker.auto_detect is True:
        yield f"{path}.auto_detect: cannot be True with an image; give coordinates in frame 0"
    if isinstance(speaker.frame_number, int) and speaker.frame_number > 0:
        yield f"{path}.frame_number: must be 0 with an image, not {shown(speaker.frame_number)}"
