"""Shapes and checks of a create body, and the codes of what is wrong with it."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._enums import Model
from lipsync_async.sandbox.api.create_body import CREATE_BODY, check_generation
from lipsync_async.sandbox.server.api_errors import ERROR_CODES, ApiError
from tests.sandbox.clients import AUDIO, VIDEO, order

TEXT = {"type": "text", "provider": {"name": "elevenlabs", "voiceId": "v", "script": "Hi."}}
SEGMENT = {"startTime": 0, "endTime": 1, "audioInput": {"refId": "a1"}}
NAMED = [VIDEO, {**AUDIO, "refId": "a1"}, {**TEXT, "refId": "t1"}]
IMAGE = {"type": "image", "url": "https://localhost/face.png"}
SEGMENTS, TRIM = "generation_input_segments_invalid", "generation_input_trim_invalid"
FACE, INVALID = "generation_input_face_selection_invalid", "generation_input_validation_failed"
DUB = {"providerName": "elevenlabs", "targetLang": "de"}


def speaker(**fields: Any) -> dict[str, Any]:
    """Return a create body with a choice of the speaker."""
    return order(options={"active_speaker_detection": fields})


def segmented(*segments: Any, **fields: Any) -> dict[str, Any]:
    """Return a create body with segments."""
    return order(**{"input": NAMED, "segments": list(segments), **fields})


@pytest.mark.parametrize(
    "body",
    [
        order(),
        order(model="lipsync-1.6.0"),
        order(input=[VIDEO, TEXT]),
        order(input=[{"type": "video", "assetId": "x"}, AUDIO]),
        order(model="sync-3", input=[IMAGE, AUDIO]),
        order(input=[VIDEO], dubParams={**DUB, "sourceLang": "en"}),
        order(options={"sync_mode": "silence", "temperature": 1, "prompt": "happy"}),
        order(options={"active_speaker_detection": True, "unheard_of": 3}),
        order(webhookUrl="http://localhost/x", outputFileName="take_1-A"),
        order(webhookUrl="https://example.com/x"),
        order(input=[{**VIDEO, "segments_secs": [[0, 1.5]], "segments_frames": [[0, 9]]}, AUDIO]),
        segmented(SEGMENT, {**SEGMENT, "startTime": 1}, {**SEGMENT, "startTime": 1}),
        segmented({**SEGMENT, "optionsOverride": {"sync_mode": "cut_off"}}),
        speaker(auto_detect=True),
        speaker(frame_number=0, coordinates=[1, 2]),
        speaker(bounding_boxes=[[0, 0, 1, 1], None], v3=True),
    ],
)
def test_good_bodies_pass(body: dict[str, Any]) -> None:
    """What the contract allows is accepted."""
    check_generation(body)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (order(input="x"), "input must be a non-empty array"),
        (order(input=[3]), "input.0 must be an object"),
        (order(input=[{"type": "sound"}]), "input.0.type must be one of"),
        (order(input=[{"type": "video"}]), "input.0.url or assetId must be given"),
        (order(input=[{"type": "video", "url": "ftp://x/y"}]), "input.0.url must be an http"),
        (order(input=[{"type": "video", "url": "http://[x"}]), "input.0.url must be an http"),
        (order(input=[{"type": "video", "url": 3}]), "input.0.url must be an http"),
        (order(input=[{"type": "text"}]), "input.0.provider should not be empty"),
        (order(input=[{**TEXT, "provider": 3}]), "input.0.provider must be an object"),
        (order(input=[{**TEXT, "provider": {}}]), "input.0.provider.voiceId should not"),
        (
            order(input=[{**TEXT, "provider": {**TEXT["provider"], "script": "x" * 5001}}]),  # type: ignore[dict-item]
            "input.0.provider.script must be 1 to 5000 characters",
        ),
        (order(options=3), "options must be an object"),
        (order(options=None), "options must be an object"),
        ({"model": "sync-3"}, "input must be a non-empty array"),
        (3, "the body must be a JSON object"),
        (order(input=[{**VIDEO, "segments_secs": [[0]]}]), "segments_secs must be pairs"),
        (order(input=[{**VIDEO, "segments_frames": [[0, 0.5]]}]), "segments_frames must be"),
        (order(options={"sync_mode": "mirror"}), "options.sync_mode must be one of"),
        (order(options={"temperature": 2}), "options.temperature must be a number"),
        (order(options={"reasoning_enabled": 1}), "options.reasoning_enabled must be a boolean"),
        (order(options={"active_speaker_detection": 1}), "must be an object"),
        (speaker(frame_number=-1), "frame_number must be an integer"),
        (speaker(coordinates=[[1, 2]]), "coordinates must be two numbers"),
        (speaker(bounding_boxes=[[1, 1, 0, 0]]), "bounding_boxes must be boxes"),
        (speaker(bounding_boxes=[3]), "bounding_boxes must be boxes"),
        (speaker(bounding_boxes=[[1, 2]]), "bounding_boxes must be boxes"),
        (order(segments=3), "segments must be an array"),
        (order(segments=[3]), "segments.0 must be an object"),
        (order(segments=[{}]), "segments.0.audioInput should not be empty"),
        (segmented({**SEGMENT, "startTime": -1}), "segments.0.startTime must not be less"),
        (segmented({**SEGMENT, "audioInput": {}}), "audioInput.refId should not be empty"),
        (order(webhookUrl="mailto:x"), "webhookUrl must be an http"),
        (order(outputFileName="a b"), "outputFileName must be 1 to 255"),
        (order(projectId="x"), "projectId must be a UUID"),
        (order(dubParams={}), "dubParams.targetLang should not be empty"),
    ],
)
def test_wrong_shapes_are_named_by_their_path(body: Any, problem: str) -> None:
    """Each problem begins with where it is."""
    found = [*CREATE_BODY.problems(body)]
    assert any(problem in each for each in found), found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (order(model="lipsync-9"), 400, "generation_unsupported_model"),
        (order(input=[AUDIO]), 400, INVALID),
        (order(input=[VIDEO, IMAGE, AUDIO]), 422, "generation_input_too_many_visual"),
        (order(input=[IMAGE, AUDIO]), 400, "generation_unsupported_model"),
        (order(input=[VIDEO]), 400, INVALID),
        (order(input=[VIDEO, AUDIO, TEXT]), 400, INVALID),
        (order(dubParams=DUB), 422, "generation_input_dub_audio_conflict"),
        (
            order(input=[VIDEO], dubParams=DUB, dialogueEdit={"id": "e"}),
            422,
            "dialogue_edit_unsupported",
        ),
        (order(dialogueEdit={"id": "e"}), 422, "dialogue_edit_unsupported"),
        (segmented(SEGMENT, model="sync-3", input=[IMAGE, NAMED[1]]), 422, SEGMENTS),
        (segmented(SEGMENT, input=[VIDEO, AUDIO]), 422, SEGMENTS),
        (segmented(SEGMENT, input=[*NAMED, NAMED[1]]), 422, SEGMENTS),
        (segmented({**SEGMENT, "audioInput": {"refId": "a2"}}), 422, SEGMENTS),
        (segmented({**SEGMENT, "startTime": 2}), 422, SEGMENTS),
        (segmented(SEGMENT, SEGMENT), 422, SEGMENTS),
        (segmented({**SEGMENT, "audioInput": {"refId": "a1", "endTime": 1}}), 422, TRIM),
        (
            segmented({**SEGMENT, "audioInput": {"refId": "a1", "startTime": 2, "endTime": 1}}),
            422,
            TRIM,
        ),
        (speaker(auto_detect=True, coordinates=[1, 1], frame_number=0), 422, FACE),
        (speaker(coordinates=[1, 1]), 422, FACE),
        (speaker(frame_number=1), 422, FACE),
        ({**speaker(auto_detect=True), "model": "sync-3", "input": [IMAGE, AUDIO]}, 422, FACE),
    ],
)
def test_wrong_combinations_are_coded(body: Any, status: int, code: str) -> None:
    """Each has the documented status and code."""
    with pytest.raises(ApiError) as caught:
        check_generation(body)
    assert (caught.value.status, caught.value.body["errorCode"]) == (status, code)


def test_a_webhook_needs_tls_but_on_this_machine() -> None:
    """Plain http reaches loopback and the hosts that were allowed by name."""
    body = order(webhookUrl="http://receiver.test/x")
    with pytest.raises(ApiError) as caught:
        check_generation(body)
    assert caught.value.body["message"] == [
        "webhookUrl must be an https URL, or http to a loopback host"
    ]
    check_generation(body, http_hosts={"receiver.test"})


def test_a_million_problems_cost_no_more_than_a_hundred() -> None:
    """The answer stops at a hundred, and so does the search."""
    seen: list[int] = []

    class Counted(list[object]):
        """Tell how far it was read."""

        def __iter__(self) -> Iterator[object]:
            return map(read, super().__iter__())

    def read(item: object) -> object:
        seen.append(1)
        return item

    with pytest.raises(ApiError) as caught:
        check_generation(order(input=Counted([3] * 1_000_000)))
    assert (len(caught.value.body["message"]), len(seen) <= 101) == (100, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "url", "provider", "refId", "audioInput", "startTime"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    body=st.fixed_dictionaries(
        {"model": st.sampled_from(Model), "input": JSON},
        optional={"options": JSON, "segments": JSON, "dubParams": JSON, "webhookUrl": JSON},
    )
)
def test_no_body_breaks_the_checks(body: Any) -> None:
    """Whatever a body holds, it passes or is refused."""
    status = None
    try:
        check_generation(body)
    except ApiError as refusal:
        status = refusal.status
    assert status in {None, 400, 422}


def test_every_documented_code_is_listed_once() -> None:
    """The catalogue covers each group of the contract."""
    assert {
        "generation_pipeline_failed",
        "rate_limit_exceeded",
        "file_size_exceeds_plan_limit",
        "generation_not_found",
        "IDEMPOTENCY_OUTCOME_UNKNOWN",
    } <= set(ERROR_CODES)
