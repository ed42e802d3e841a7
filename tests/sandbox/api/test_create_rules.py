"""The sandbox's pure rules: limits, keys, ranges, progressions, shapes and checks."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._enums import Model
from lipsync_async.sandbox.api.create_body import problems_of
from lipsync_async.sandbox.api.create_rules import check_generation
from lipsync_async.sandbox.api.hosting import UnsatisfiableRangeError, requested_slice
from lipsync_async.sandbox.idempotency import (
    Claim,
    IdempotencyBook,
    fingerprint,
    form_fingerprint,
    is_well_formed,
)
from lipsync_async.sandbox.server.api_errors import SUGGESTIONS, Refusal
from lipsync_async.sandbox.server.messages import Form, StoredFile
from lipsync_async.sandbox.settings import WINDOW_SECONDS, MinuteWindow, allowance
from tests.sandbox.doors import AUDIO, VIDEO, order

GAPS = st.lists(st.floats(0, 30, allow_nan=False), max_size=60)


@given(limit=st.integers(1, 5), gaps=GAPS)
def test_no_window_of_a_minute_holds_more_than_the_limit(limit: int, gaps: list[float]) -> None:
    """And a request is refused only when its window is full."""
    window, now, admitted = MinuteWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now += gap
        recent = [moment for moment in admitted if moment > now - WINDOW_SECONDS]
        is_admitted = window.admit(now)
        assert is_admitted is (len(recent) < limit)
        if is_admitted:
            admitted.append(now)


@given(gaps=GAPS)
def test_without_a_limit_everything_passes(gaps: list[float]) -> None:
    """`None` means no limit."""
    window = MinuteWindow(None)
    assert all(window.admit(sum(gaps[:index])) for index in range(len(gaps)))


def test_plans_have_their_documented_limits() -> None:
    """Concurrency differs, the requests of a minute do not."""
    assert (allowance("scale").concurrency, allowance("scale").creates_per_minute) == (15, 60)
    assert (allowance("enterprise").concurrency, allowance(None).requests_per_minute) == (
        None,
        None,
    )


BODIES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), max_size=2)
REQUESTS = st.lists(
    st.tuples(st.sampled_from(["k1", "k2"]), BODIES, st.sampled_from(["accept", "refuse"])),
    max_size=20,
)


@given(requests=REQUESTS)
def test_a_key_stands_for_one_body_and_one_generation(
    requests: list[tuple[str, dict[str, int], str]],
) -> None:
    """The first accepted body owns the key; refused ones leave it free."""
    book, owners = IdempotencyBook(), dict[str, tuple[dict[str, int], str]]()
    for number, (key, body, outcome) in enumerate(requests):
        claim = book.claim(key, fingerprint(body))
        if key in owners:
            owner, generation_id = owners[key]
            assert claim is (Claim.SETTLED if body == owner else Claim.CONFLICT)
            assert book.generation_id(key) == generation_id
            continue
        assert claim is Claim.FRESH
        assert book.claim(key, fingerprint(body)) is Claim.RUNNING
        if outcome == "accept":
            owners[key] = (body, str(number))
            book.settle(key, str(number))
        book.release(key)


def test_nobody_has_an_unused_key() -> None:
    """Asking for an unknown key changes nothing."""
    book = IdempotencyBook()
    book.release("k")
    assert book.generation_id("k") is None


@given(key=st.from_regex(r"[A-Za-z0-9._~-]{1,128}", fullmatch=True))
def test_documented_keys_are_well_formed(key: str) -> None:
    """Every key of the documented alphabet and length passes."""
    assert is_well_formed(key)


@given(key=st.text(max_size=3).filter(lambda text: not text.isascii()) | st.just(""))
def test_other_keys_are_not(key: str) -> None:
    """Empty keys and other letters do not."""
    assert not is_well_formed(key)


def test_order_and_spelling_do_not_matter_to_a_fingerprint() -> None:
    """Values decide; of files, their bytes and not their names."""
    assert fingerprint({"a": 1, "b": [1.0]}) == fingerprint({"b": [1.0], "a": 1})
    files = [{"video": StoredFile(Path(name), name, "video/mp4", 1, "same")} for name in ("a", "b")]
    prints = {form_fingerprint(Form({"model": "x"}, held)) for held in files}
    assert len(prints) == 1


@given(size=st.integers(1, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_a_range_is_the_part_that_python_would_slice(size: int, first: int, last: int) -> None:
    """Both ends of an HTTP range count."""
    whole = bytes(range(size))
    try:
        part = requested_slice(f"bytes={first}-{last}", None, size=size, etag='"e"')
    except UnsatisfiableRangeError:
        assert first >= size
        return
    start, stop = part or (0, size)
    assert whole[start:stop] == (whole[first : last + 1] if last >= first else whole)


@pytest.mark.parametrize(
    ("asked", "if_range", "expected"),
    [
        (None, None, None),
        ("bytes=-", None, None),
        ("bytes=0-1,3-4", None, None),
        ("items=0-1", None, None),
        ("bytes=2-", '"other"', None),
        ("bytes=2-", '"e"', (2, 10)),
        ("bytes=-3", None, (7, 10)),
        ("bytes=-30", None, (0, 10)),
    ],
)
def test_ranges(asked: str | None, if_range: str | None, expected: Any) -> None:
    """What cannot be served as one part is served whole."""
    assert requested_slice(asked, if_range, size=10, etag='"e"') == expected


TEXT = {"type": "text", "provider": {"name": "elevenlabs", "voiceId": "v", "script": "Hi."}}
SEGMENT = {"startTime": 0, "endTime": 1, "audioInput": {"refId": "a1"}}
NAMED = [VIDEO, {**AUDIO, "refId": "a1"}, {**TEXT, "refId": "t1"}]
IMAGE = {"type": "image", "url": "https://localhost/face.png"}
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
    assert any(problem in found for found in problems_of(body)), problems_of(body)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (order(model="lipsync-9"), 400, "generation_unsupported_model"),
        (order(input=[AUDIO]), 400, "generation_input_validation_failed"),
        (order(input=[VIDEO, IMAGE, AUDIO]), 422, "generation_input_too_many_visual"),
        (order(input=[IMAGE, AUDIO]), 422, "generation_unsupported_model"),
        (order(input=[VIDEO]), 400, "generation_input_validation_failed"),
        (order(input=[VIDEO, AUDIO, TEXT]), 400, "generation_input_validation_failed"),
        (order(dubParams=DUB), 422, "generation_input_dub_audio_conflict"),
        (
            segmented(SEGMENT, model="sync-3", input=[IMAGE, NAMED[1]]),
            422,
            "generation_input_segments_invalid",
        ),
        (segmented(SEGMENT, input=[VIDEO, AUDIO]), 422, "generation_input_segments_invalid"),
        (segmented(SEGMENT, input=[*NAMED, NAMED[1]]), 422, "generation_input_segments_invalid"),
        (
            segmented({**SEGMENT, "audioInput": {"refId": "a2"}}),
            422,
            "generation_input_segments_invalid",
        ),
        (segmented({**SEGMENT, "startTime": 2}), 422, "generation_input_segments_invalid"),
        (segmented(SEGMENT, SEGMENT), 422, "generation_input_segments_invalid"),
        (
            segmented({**SEGMENT, "audioInput": {"refId": "a1", "endTime": 1}}),
            422,
            "generation_input_trim_invalid",
        ),
        (
            segmented({**SEGMENT, "audioInput": {"refId": "a1", "startTime": 2, "endTime": 1}}),
            422,
            "generation_input_trim_invalid",
        ),
        (
            speaker(auto_detect=True, coordinates=[1, 1], frame_number=0),
            422,
            "generation_input_face_selection_invalid",
        ),
        (speaker(coordinates=[1, 1]), 422, "generation_input_face_selection_invalid"),
        (
            {**speaker(auto_detect=True), "model": "sync-3", "input": [IMAGE, AUDIO]},
            422,
            "generation_input_face_selection_invalid",
        ),
    ],
)
def test_wrong_combinations_are_coded(body: Any, status: int, code: str) -> None:
    """Each has the documented status and code."""
    with pytest.raises(Refusal) as caught:
        check_generation(body)
    assert (caught.value.status, caught.value.body["errorCode"]) == (status, code)
    assert str(status) in str(caught.value)


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
    with suppress(Refusal):
        check_generation(body)


def test_every_documented_code_is_listed_once() -> None:
    """The catalogue covers each group of the contract."""
    assert {
        "generation_pipeline_failed",
        "rate_limit_exceeded",
        "file_size_exceeds_plan_limit",
        "generation_not_found",
        "IDEMPOTENCY_OUTCOME_UNKNOWN",
    } <= set(SUGGESTIONS)
