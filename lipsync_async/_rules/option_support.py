"""Know what the service accepts and then ignores, model by model.

An option that a model does not support is dropped without a word (contract section
2.4), so whoever paid for a generation would never learn why it had no effect.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from lipsync_async._rules.checks import items_of, shown
from lipsync_async._values.inputs import GenerationRequest, Image, Options, Segment, Video
from lipsync_async._words import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Which models use an option; one that is not listed is used by all. Contract sections 2.4
# and 3.1, where "not listed" counts as no.
SUPPORTING_MODELS: Mapping[str, tuple[Model, ...]] = MappingProxyType(
    {
        "temperature": (Model.LIPSYNC_2, Model.LIPSYNC_2_PRO),
        "model_mode": (Model.REACT_1,),
        "prompt": (Model.REACT_1,),
        "occlusion_detection_enabled": (
            Model.LIPSYNC_2,
            Model.LIPSYNC_2_PRO,
            Model.LIPSYNC_1_9_0_BETA,
        ),
        "active_speaker_detection": (
            Model.SYNC_3,
            Model.LIPSYNC_2,
            Model.LIPSYNC_2_PRO,
            Model.LIPSYNC_1_9_0_BETA,
        ),
        "reasoning_enabled": (Model.LIPSYNC_2_PRO,),
    },
)

# What a model does anyway, whatever the option says. Contract section 3.1.
BUILT_IN = frozenset(
    {
        (Model.SYNC_3, "occlusion_detection_enabled"),
        (Model.SYNC_3, "reasoning_enabled"),
    },
)

_KNOWN_MODELS = frozenset(model.value for model in Model)


def ignored_parts(request: GenerationRequest) -> Iterator[str]:
    """Yield each part of the request that the service will ignore or discourages."""
    yield from _model_warnings(request.model)
    for path, options in _all_options(request):
        yield from _option_warnings(path, options, request.model)
    inputs = items_of(request.input)
    if any(isinstance(item, Image) for item in inputs):
        yield from _image_warnings(request.options)
    for index, item in enumerate(inputs):
        if isinstance(item, Video):
            yield from _video_warnings(f"input[{index}]", item)


def _model_warnings(model: object) -> Iterator[str]:
    if isinstance(model, str) and model not in _KNOWN_MODELS:
        known = ", ".join(member.value for member in Model)
        yield f"model: {shown(model)} is unknown to this release, which knows {known}"


def _all_options(request: GenerationRequest) -> Iterator[tuple[str, Options]]:
    if isinstance(request.options, Options):
        yield "options", request.options
    for index, segment in enumerate(items_of(request.segments)):
        if isinstance(segment, Segment) and isinstance(segment.options_override, Options):
            yield f"segments[{index}].options_override", segment.options_override


def _option_warnings(path: str, options: Options, model: object) -> Iterator[str]:
    if not isinstance(model, str) or model not in _KNOWN_MODELS:
        return
    for option, models in SUPPORTING_MODELS.items():
        if getattr(options, option) is None or model in models:
            continue
        if (model, option) in BUILT_IN:
            yield f"{path}.{option}: ignored by {model}, which always does this by itself"
        else:
            yield f"{path}.{option}: ignored by {model}; only {', '.join(models)} heed it"


def _image_warnings(options: object) -> Iterator[str]:
    if isinstance(options, Options) and options.sync_mode is not None:
        yield "options.sync_mode: ignored with an image; the result is as long as the audio"


def _video_warnings(path: str, video: Video) -> Iterator[str]:
    for field in ("segments_secs", "segments_frames"):
        if getattr(video, field) is not None:
            yield f"{path}.{field}: deprecated by the service; use the request's segments"
