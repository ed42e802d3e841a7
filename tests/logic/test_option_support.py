from __future__ import annotations

from typing import Any

import pytest

from lipsync_async._enums import Model
from lipsync_async._logic.validation import request_warnings
from lipsync_async._models.request import ActiveSpeaker, GenerationRequest, Options, Video
from tests.logic.requests import AUDIO, IMAGE, order, segment, with_options, with_segments

OPTION_VERDICTS = [
    (model, option, value, verdict)
    for option, value, verdicts in [  # contract section 3.1, in its order of models
        ("temperature", 0.5, "ignored used used ignored ignored"),
        ("occlusion_detection_enabled", True, "built-in used used used ignored"),
        (
            "active_speaker_detection",
            ActiveSpeaker(auto_detect=True),
            "used used used used ignored",
        ),
        ("model_mode", "lips", "ignored ignored ignored ignored used"),
        ("prompt", "sad", "ignored ignored ignored ignored used"),
        ("reasoning_enabled", True, "built-in ignored used ignored ignored"),
        ("sync_mode", "loop", "used used used used used"),
    ]
    for model, verdict in zip(Model, verdicts.split(), strict=True)
]


@pytest.mark.parametrize(("model", "option", "value", "verdict"), OPTION_VERDICTS)
def test_options_that_a_model_ignores_are_told(
    model: Model, option: str, value: Any, verdict: str
) -> None:
    """The contract's table of models and options decides who gets which warning."""
    request = GenerationRequest(**order(model=str(model), options=Options(**{option: value})))
    beginnings = {
        "used": [],
        "ignored": [f"options.{option}: ignored by {model}"],
        "built-in": [f"options.{option}: ignored by {model}, which always does this by itself"],
    }

    found = request_warnings(request)
    told = [line.partition("; only ")[0] for line in found]
    assert told == beginnings[verdict]


def test_the_warning_names_the_models_that_would_help() -> None:
    """Anyone who needs an option learns which models have it."""
    assert request_warnings(GenerationRequest(**with_options(model_mode="lips"))) == [
        "options.model_mode: ignored by lipsync-2; only react-1 heed it"
    ]


def test_options_of_a_segment_are_warned_about_too() -> None:
    """An override is judged like the options of the whole request."""
    override = Options(prompt="sad")
    fields = with_segments(segment(0, 1), segment(1, 2, options_override=override))

    (warning,) = request_warnings(GenerationRequest(**fields))
    assert warning.startswith("segments[1].options_override.prompt: ignored by lipsync-2")


def test_sync_mode_with_an_image_is_warned_about() -> None:
    """A picture has no length that could be fitted to the audio."""
    fields = order(IMAGE, AUDIO, model="sync-3", options=Options(sync_mode="loop"))

    assert request_warnings(GenerationRequest(**fields)) == [
        "options.sync_mode: ignored with an image; the result is as long as the audio"
    ]


def test_an_image_alone_is_nothing_to_warn_about() -> None:
    """Only what is really ignored is mentioned."""
    assert request_warnings(GenerationRequest(**order(IMAGE, AUDIO, model="sync-3"))) == []


def test_an_unknown_model_is_warned_about_and_its_options_are_not() -> None:
    """Nothing is known about a newer model, so nothing is said about its options."""
    fields = order(model="sync-9", options=Options(temperature=0.1, prompt="sad"))

    assert request_warnings(GenerationRequest(**fields)) == [
        f"model: 'sync-9' is unknown to this release, which knows {', '.join(Model)}"
    ]


def test_deprecated_fields_are_warned_about() -> None:
    """The older ways to give segments still work, with a hint at the newer one."""
    video = Video("https://h/v", segments_secs=[[0, 1]], segments_frames=[[0, 1]])

    assert request_warnings(GenerationRequest(**order(video, AUDIO))) == [
        "input[0].segments_secs: deprecated by the service; use the request's segments",
        "input[0].segments_frames: deprecated by the service; use the request's segments",
    ]
