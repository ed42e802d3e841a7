"""Wire names and JSON: what is written, and how strictly or tolerantly each answer is read."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._enums import Emotion, Model, ModelMode, Status, SyncMode
from lipsync_async._logic import codec
from lipsync_async._logic.codec import (
    INPUT_TYPES,
    WIRE_NAMES,
    ShapeError,
    decode,
    dumps,
    encode_request,
    loads,
)
from lipsync_async._models import request as asked, response as answered
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Origin,
    Segment,
    SegmentAudio,
    Text,
    UnknownInput,
    Video,
)
from lipsync_async._models.response import CostEstimate, Generation, ModelInfo
from tests.logic.answers import JOB, JSON

if TYPE_CHECKING:
    from collections.abc import Callable

# One request that uses every field there is, and what it must look like on the wire.
EVERY_OPTION = Options(
    sync_mode=SyncMode.CUT_OFF,
    temperature=0.7,
    model_mode=ModelMode.HEAD,
    prompt=Emotion.HAPPY,
    occlusion_detection_enabled=False,
    active_speaker_detection=ActiveSpeaker(
        auto_detect=False,
        frame_number=0,
        coordinates=[960, 540],
        bounding_boxes=[None, (1, 2, 3.5, 4)],
        bounding_boxes_url="https://h/boxes.json",
        v3=True,
    ),
    reasoning_enabled=True,
)
EVERY_OPTION_ON_THE_WIRE: dict[str, Any] = {
    "sync_mode": "cut_off",
    "temperature": 0.7,
    "model_mode": "head",
    "prompt": "happy",
    "occlusion_detection_enabled": False,
    "active_speaker_detection": {
        "auto_detect": False,
        "frame_number": 0,
        "coordinates": [960, 540],
        "bounding_boxes": [None, [1, 2, 3.5, 4]],
        "bounding_boxes_url": "https://h/boxes.json",
        "v3": True,
    },
    "reasoning_enabled": True,
}
EVERYTHING = GenerationRequest(
    model=Model.LIPSYNC_2_PRO,
    input=[
        Video(
            "https://h/v.mp4",
            asset_id="a-v",
            ref_id="v1",
            segments_secs=((0, 1.5),),
            segments_frames=((0, 30), (30, 60)),
        ),
        Image("https://h/i.png", asset_id="a-i", ref_id="i1"),
        Audio("https://h/a.wav", asset_id="a-a", ref_id="a1"),
        Text(
            ElevenLabs(voice_id="v", script="Grüße", stability=0, similarity_boost=0.75),
            ref_id="t1",
        ),
    ],
    options=EVERY_OPTION,
    segments=[
        Segment(
            start_time=0,
            end_time=4.5,
            audio_input=SegmentAudio("a1", start_time=1, end_time=5.5),
            options_override=EVERY_OPTION,
        ),
        Segment(start_time=4.5, end_time=4.5, audio_input=SegmentAudio("t1")),
    ],
    webhook_url="https://h/hook",
    output_file_name="take-1",
    project_id="p1",
    dub_params=DubParams(target_lang="de", source_lang="en"),
    dialogue_edit="e1",
    request_id="row-1",  # which is never sent
    origin=Origin(2, {"note": "my own"}),  # nor is this
)
EVERYTHING_ON_THE_WIRE: dict[str, Any] = {
    "model": "lipsync-2-pro",
    "input": [
        {
            "type": "video",
            "url": "https://h/v.mp4",
            "assetId": "a-v",
            "refId": "v1",
            "segments_secs": [[0, 1.5]],
            "segments_frames": [[0, 30], [30, 60]],
        },
        {"type": "image", "url": "https://h/i.png", "assetId": "a-i", "refId": "i1"},
        {"type": "audio", "url": "https://h/a.wav", "assetId": "a-a", "refId": "a1"},
        {
            "type": "text",
            "provider": {
                "name": "elevenlabs",
                "voiceId": "v",
                "script": "Grüße",
                "stability": 0,
                "similarityBoost": 0.75,
            },
            "refId": "t1",
        },
    ],
    "options": EVERY_OPTION_ON_THE_WIRE,
    "segments": [
        {
            "startTime": 0,
            "endTime": 4.5,
            "audioInput": {"refId": "a1", "startTime": 1, "endTime": 5.5},
            "optionsOverride": EVERY_OPTION_ON_THE_WIRE,
        },
        {"startTime": 4.5, "endTime": 4.5, "audioInput": {"refId": "t1"}},
    ],
    "webhookUrl": "https://h/hook",
    "outputFileName": "take-1",
    "projectId": "p1",
    "dubParams": {"targetLang": "de", "sourceLang": "en", "providerName": "elevenlabs"},
    "dialogueEdit": {"id": "e1"},
}


def on_the_wire(request: GenerationRequest) -> Any:
    """Return the JSON that the service would read."""
    return json.loads(json.dumps(encode_request(request)))


def job(**fields: Any) -> dict[str, Any]:
    """Return the JSON of a job with these fields."""
    return {**JOB, **fields}


def test_every_field_has_its_wire_form() -> None:
    """The mix of camelCase and snake_case is right for each field, none of which is missing."""
    assert on_the_wire(EVERYTHING) == EVERYTHING_ON_THE_WIRE
    values: list[Any] = [EVERYTHING, *EVERYTHING.input, *(EVERYTHING.segments or ())]
    values += [EVERY_OPTION, EVERY_OPTION.active_speaker_detection, EVERYTHING.dub_params]
    unused = [
        (type(value).__name__, name)
        for value in values
        for name, field in attrs.asdict(value, recurse=False).items()
        if field is None and name != "file" and value is not EVERYTHING.segments[-1]  # type: ignore[index]
    ]
    assert unused == []


def test_what_is_none_is_left_to_the_service() -> None:
    """Only what was chosen is sent; `False`, 0 and empty lists are choices."""
    request = GenerationRequest(
        model="m",
        input=[Video("v")],
        options=Options(temperature=0, reasoning_enabled=False),
        segments=[],
        dub_params=DubParams(target_lang="de"),
    )
    assert on_the_wire(request) == {
        "model": "m",
        "input": [{"type": "video", "url": "v"}],
        "options": {"temperature": 0, "reasoning_enabled": False},
        "segments": [],
        "dubParams": {"targetLang": "de", "providerName": "elevenlabs"},
    }


@pytest.mark.parametrize("odd", [object(), b"bytes", {1, 2}, 1j, Status])
def test_what_json_does_not_know_is_no_body(odd: Any) -> None:
    """A value that validation would have refused is an error, never something else on the wire."""
    request = GenerationRequest(model="m", input=(), project_id=odd)
    with pytest.raises(TypeError, match="not JSON serializable"):
        dumps(encode_request(request))


def test_what_only_python_knows_is_never_sent() -> None:
    """The bytes of a file have no place in JSON."""
    request = GenerationRequest(model="m", input=[Video("v", file=b"bytes"), Audio(file="a.wav")])
    assert on_the_wire(request)["input"] == [{"type": "video", "url": "v"}, {"type": "audio"}]


FULL_JOB: dict[str, Any] = {
    "id": "g1",
    "createdAt": "2026-08-25T10:30:00.250Z",
    "status": "COMPLETED",
    **EVERYTHING_ON_THE_WIRE,
    "outputUrl": "https://h/out.mp4",
    "outputMediaUrl": "https://h/media.mp4",
    "segmentOutputUrl": "https://h/segment.mp4",
    "outputDuration": 8.64,
    "error": "An unknown error occurred.",
    "errorCode": "generation_unknown_error",
    "synthesizedAudioUrl": "https://h/speech.mp3",
    "progress_percent": 100,
}


def test_every_field_of_a_job_is_read() -> None:
    """Nothing that the service says is lost or renamed wrongly; the example has every field."""
    assert decode(Generation, FULL_JOB) == Generation(
        id="g1",
        created_at=datetime(2026, 8, 25, 10, 30, 0, 250_000, tzinfo=UTC),
        status=Status.COMPLETED,
        model="lipsync-2-pro",
        input=list(EVERYTHING.input),
        options=EVERY_OPTION,
        segments=list(EVERYTHING.segments or ()),
        webhook_url="https://h/hook",
        output_file_name="take-1",
        project_id="p1",
        dub_params=EVERYTHING.dub_params,
        dialogue_edit="e1",
        output_url="https://h/out.mp4",
        output_media_url="https://h/media.mp4",
        segment_output_url="https://h/segment.mp4",
        output_duration=8.64,
        error="An unknown error occurred.",
        error_code="generation_unknown_error",
        synthesized_audio_url="https://h/speech.mp3",
        progress_percent=100.0,
    )
    wire = WIRE_NAMES[Generation]
    fields = {wire.get(name, name) for name in attrs.fields_dict(Generation)}
    assert fields - {"raw", "idempotency_key"} == set(FULL_JOB)


def test_a_job_needs_only_id_and_status() -> None:
    """Everything else may be absent or null."""
    bare = decode(Generation, JOB)
    nulls = dict.fromkeys(set(FULL_JOB) - {"id", "status"})
    assert decode(Generation, {**nulls, **JOB}) == bare == Generation(id="g1", status=bare.status)


def test_unknown_fields_stay_reachable() -> None:
    """What a newer service adds is in `raw`, and disturbs nothing."""
    data = job(newField={"deep": [1]}, options={"sync_mode": "loop", "newOption": 1})
    generation = decode(Generation, data)
    assert generation.raw is data
    assert generation.options == Options(sync_mode="loop")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"errorCode": "new"}, "new"),
        ({"error_code": "old"}, "old"),
        ({"errorCode": "new", "error_code": "old"}, "new"),
        ({"errorCode": None, "error_code": "old"}, "old"),
        ({"errorCode": "new", "error_code": None}, "new"),
        ({"errorCode": None, "error_code": None}, None),
        ({}, None),
    ],
)
def test_both_names_of_the_error_code_are_read(fields: dict[str, Any], code: str | None) -> None:
    """Polled jobs and webhooks spell it differently."""
    assert decode(Generation, job(**fields)).error_code == code


@given(st.text())
def test_new_words_survive(word: str) -> None:
    """Statuses, models and modes of a newer service keep their text."""
    data = job(status=word, model=word, options={"sync_mode": word, "prompt": word})
    generation = decode(Generation, data)
    assert (generation.status, generation.model) == (word, word)
    assert generation.options == Options(sync_mode=word, prompt=word)


ODD_INPUTS: list[tuple[Any, str | None]] = [
    ({"type": "hologram", "url": "u"}, "hologram"),
    ({"type": "video", "url": 5}, "video"),
    ({"type": "video", "segments_secs": [5]}, "video"),
    ({"type": "text"}, "text"),
    ({"type": "text", "provider": {"voiceId": "v"}}, "text"),
    ({"type": "text", "provider": "elevenlabs"}, "text"),
    ({"type": None}, None),
    ({"type": ["video"]}, None),
    ({"url": "u"}, None),
    ("video", None),
    (None, None),
    ([], None),
]


@pytest.mark.parametrize(("item", "kind"), ODD_INPUTS)
def test_inputs_of_another_shape_are_kept_as_they_came(item: Any, kind: str | None) -> None:
    """A job is worth more than its echo: one odd input breaks neither it nor its neighbours."""
    generation = decode(Generation, job(input=[item, {"type": "audio", "url": "a"}]))
    assert generation.input == [UnknownInput(kind, item), Audio("a")]


ODD_ECHOES: list[Any] = [5, "text", True, [5], {"sync_mode": 5}, {"startTime": "0"}]


@pytest.mark.parametrize("odd", ODD_ECHOES)
def test_an_echo_of_another_shape_is_ignored(odd: Any) -> None:
    """What cannot be read of the order is left out, and stays in `raw`."""
    data = job(options=odd, segments=odd, dubParams=odd, dialogueEdit=odd)
    generation = decode(Generation, data)
    assert (generation.options or Options()) == Options()
    assert (generation.segments, generation.dub_params, generation.dialogue_edit) == (None,) * 3
    assert generation.raw["options"] is odd


@pytest.mark.parametrize("odd", [None, 5, "video", {"type": "video"}, True])
def test_inputs_that_are_no_list_are_ignored(odd: Any) -> None:
    """A paid job is not lost because its inputs are not listed."""
    assert decode(Generation, job(input=odd)).input == []


# Moments and numbers in forms that are not the service's, and what is none.
ODD_MOMENTS: tuple[Any, ...] = (
    *(1756117800, 1756117800.5, 10**400, -1, True, [], {}, "", "yesterday", "1773480413"),
    *("Sat, 14 Mar 2026 09:26:53 GMT", "Sat Mar 14 09:26:53 2026", "14.03.2026", "03/14/2026"),
    *("2026-02-30T00:00:00Z", "2026-03-14T24:00:01Z", "2026-03-14T09:26:60Z", "0000-00-00"),
    "2026-13-01",
    *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "-2026-03-14", "2026-03-14T9Z"),
    *("2026-03-14T09:26:53\u202fZ", "\u0662\u0660\u0662\u0666-03-14", "2" * 5000, "\x00"),
)
ODD_NUMBERS: tuple[Any, ...] = (
    *("8.64", "40 %", 10**400, True, [], {}, "", "NaN", "8,64", [8.64], {"seconds": 8.64}),
)
LENIENT = [
    *(("createdAt", "created_at", odd) for odd in ODD_MOMENTS),
    *(("outputDuration", "output_duration", odd) for odd in ODD_NUMBERS),
    *(("progress_percent", "progress_percent", odd) for odd in ODD_NUMBERS),
]


@pytest.mark.parametrize(("wire", "name", "odd"), LENIENT, ids=range(len(LENIENT)))
def test_a_date_or_a_number_costs_no_job(wire: str, name: str, odd: Any) -> None:
    """A paid job is not lost because a fact on which nothing depends is written in another way."""
    generation = decode(Generation, job(outputUrl="https://x/y.mp4", **{wire: odd}))
    assert getattr(generation, name) is None
    assert (generation.output_url, generation.raw[wire]) == ("https://x/y.mp4", odd)


WRONG: dict[str, tuple[Any, str]] = {
    "id": (5, "expected text, not int 5"),
    "status": (None, "expected text, not NoneType None"),
    "model": (["sync-3"], "expected text, not list ['sync-3']"),
    **dict.fromkeys(("webhookUrl", "error"), ({}, "expected text, not dict {}")),
    **dict.fromkeys(("outputFileName", "projectId"), (1, "expected text, not int 1")),
    **dict.fromkeys(("outputMediaUrl", "segmentOutputUrl"), (1, "expected text, not int 1")),
    "outputUrl": (False, "expected text, not bool False"),
    "errorCode": (404, "expected text, not int 404"),
    "synthesizedAudioUrl": (1, "expected text, not int 1"),
}


@pytest.mark.parametrize(("field", "value", "problem"), [(f, *case) for f, case in WRONG.items()])
def test_wrong_facts_are_named_as_on_the_wire(field: str, value: Any, problem: str) -> None:
    """The path shows the name that stands in the JSON."""
    with pytest.raises(ShapeError) as caught:
        decode(Generation, job(**{field: value}))
    assert caught.value.paths == [f"{problem} @ $.{field}"]


def test_all_wrong_facts_are_named_at_once() -> None:
    """Anyone who repairs the answer sees every problem in one go."""
    with pytest.raises(ShapeError) as caught:
        decode(Generation, {field: value for field, (value, _) in WRONG.items()})
    expected = [f"{problem} @ $.{field}" for field, (_, problem) in WRONG.items()]
    assert Counter(caught.value.paths) == Counter(expected)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (job(error_code=5), "expected text, not int 5 @ $"),
        ({"status": "PENDING"}, "required field missing @ $.id"),
        ({"id": "g1"}, "required field missing @ $.status"),
        ([], "expected an object, not list [] @ $"),
        ("g1", "expected an object, not str 'g1' @ $"),
        (None, "expected an object, not NoneType None @ $"),
    ],
)
def test_what_is_no_job_is_refused(data: Any, problem: str) -> None:
    """An answer without a readable job is told as what it is."""
    with pytest.raises(ShapeError) as caught:
        decode(Generation, data)
    assert caught.value.paths == [problem]


@given(st.dictionaries(st.sampled_from(sorted(FULL_JOB)), JSON) | JSON, st.booleans())
def test_any_json_is_a_job_or_a_shape_error(data: Any, is_a_job: bool) -> None:  # noqa: FBT001
    """No answer makes the client fall over."""
    if is_a_job and isinstance(data, dict):
        data = {**data, **JOB}
    try:
        generation = decode(Generation, data)
    except ShapeError:
        return
    assert (generation.id, generation.status) == (data["id"], data["status"])


# What the constructors take and a JSON echo gives back unchanged.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(0, 10**6) | st.floats(0, 1e6)
ROWS = st.lists(NUMBERS, max_size=4).map(tuple)
SOME_ROWS = st.lists(ROWS, max_size=2).map(tuple)
FLAGS = st.booleans()


def built(kind: Any, needed: dict[str, Any], **optional: Any) -> st.SearchStrategy[Any]:
    """Build values, of which each optional field may also be `None`."""
    return st.builds(kind, **needed, **{name: st.none() | each for name, each in optional.items()})


FILES = {"url": TEXTS, "asset_id": TEXTS, "ref_id": TEXTS}
VOICE = {"voice_id": TEXTS, "script": TEXTS}
VOICES = built(ElevenLabs, VOICE, stability=NUMBERS, similarity_boost=NUMBERS)
INPUTS = st.one_of(
    built(Video, {}, **FILES, segments_secs=SOME_ROWS, segments_frames=SOME_ROWS),
    built(Image, {}, **FILES),
    built(Audio, {}, **FILES),
    built(Text, {"provider": VOICES}, ref_id=TEXTS),
)
SPEAKERS = built(
    ActiveSpeaker,
    {},
    auto_detect=FLAGS,
    frame_number=st.integers(0, 99),
    coordinates=ROWS,
    bounding_boxes=st.lists(st.none() | ROWS, max_size=3),
    bounding_boxes_url=TEXTS,
    v3=FLAGS,
)
OPTIONS = built(
    Options,
    {},
    sync_mode=st.sampled_from(SyncMode) | TEXTS,
    temperature=NUMBERS,
    model_mode=st.sampled_from(ModelMode),
    prompt=st.sampled_from(Emotion),
    occlusion_detection_enabled=FLAGS,
    active_speaker_detection=SPEAKERS,
    reasoning_enabled=FLAGS,
)
PERIOD = {"start_time": NUMBERS, "end_time": NUMBERS}
SPEECHES = built(SegmentAudio, {"ref_id": TEXTS}, **PERIOD)
SEGMENTS = built(Segment, {"audio_input": SPEECHES, **PERIOD}, options_override=OPTIONS)
REQUESTS = built(
    GenerationRequest,
    {"model": st.sampled_from(Model) | TEXTS, "input": st.lists(INPUTS, max_size=3)},
    options=OPTIONS,
    segments=st.lists(SEGMENTS, max_size=2),
    webhook_url=TEXTS,
    output_file_name=TEXTS,
    project_id=TEXTS,
    dub_params=built(DubParams, {"target_lang": TEXTS}, source_lang=TEXTS),
    dialogue_edit=TEXTS,
)


@given(REQUESTS)
def test_an_echo_is_what_was_asked_for(request: GenerationRequest) -> None:
    """Whatever is ordered comes back from the wire as it was, field by field."""
    generation = decode(Generation, job(**on_the_wire(request)))
    fields = {*attrs.fields_dict(GenerationRequest)} - {"request_id", "origin"}
    echoed = GenerationRequest(**{name: getattr(generation, name) for name in fields})
    assert echoed == request


def test_every_class_of_the_wire_has_its_table() -> None:
    """No value that crosses the wire is left to cattrs' guesses."""
    crossing = {
        kind
        for module in (asked, answered)
        for kind in vars(module).values()
        if isinstance(kind, type) and attrs.has(kind) and kind.__module__ == module.__name__
    }
    assert crossing - {UnknownInput, Origin, answered.GenerationPage} == set(WIRE_NAMES)
    assert set(INPUT_TYPES) == {"video", "image", "audio", "text"}


SAMPLES: dict[type, dict[str, Any]] = {
    **{INPUT_TYPES[item["type"]]: item for item in EVERYTHING_ON_THE_WIRE["input"]},
    ElevenLabs: EVERYTHING_ON_THE_WIRE["input"][3]["provider"],
    ActiveSpeaker: EVERY_OPTION_ON_THE_WIRE["active_speaker_detection"],
    Options: EVERY_OPTION_ON_THE_WIRE,
    SegmentAudio: {"refId": "a1", "startTime": 1, "endTime": 5.5},
    Segment: EVERYTHING_ON_THE_WIRE["segments"][0],
    DubParams: EVERYTHING_ON_THE_WIRE["dubParams"],
    Generation: FULL_JOB,
    CostEstimate: {
        "estimatedFrameCount": 250,
        "estimatedGenerationCost": 0.5,
        "estimatedCredits": 12,
    },
    ModelInfo: {
        "id": "sync-3",
        "name": "Sync 3",
        "type": "lipsync",
        "version": "3",
        "description": "Best.",
        "deprecatedAt": "2030-01-01",
    },
}


def test_every_hook_is_built() -> None:
    """Each class is read, or written, by the names of its table; the raw object is at hand."""
    assert set(SAMPLES) == set(WIRE_NAMES) - {GenerationRequest}
    assert set(on_the_wire(EVERYTHING)) >= set(WIRE_NAMES[GenerationRequest].values())
    for kind, sample in SAMPLES.items():
        value: Any = decode(kind, sample)
        assert getattr(value, "raw", sample) is sample
        fields = attrs.asdict(value, recurse=False)
        for name, wire in WIRE_NAMES[kind].items():
            assert fields[name] is not None, (kind, name)
            assert wire in sample, (kind, wire)


def test_what_is_read_is_what_its_constructor_makes() -> None:
    """No constructor takes part, yet each object has its class, its guard and its defaults."""
    for kind, sample in SAMPLES.items():
        value: Any = decode(kind, sample)
        copied = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own
        assert (type(value), attrs.evolve(value), copied) == (kind, value, value)
        if kind not in {Generation, CostEstimate, ModelInfo}:
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(value, attrs.fields(kind)[0].name, "another")


READERS: dict[Callable[..., Any], type] = {
    codec.text: str,
    codec.number: float,
    codec.whole_number: int,
    codec.flag: bool,
    codec.array: list,
}
VALUES = [None, "", "text", 0.5, -1.0, 0, 7, True, False, [], [1, "a"], {"a": 1}]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("read", READERS)
def test_nothing_is_converted(read: Callable[..., Any], value: object) -> None:
    """The right type passes unchanged, whole numbers as numbers; a wrong one is told in words."""
    if type(value) is READERS[read]:
        assert read(value) is value
    elif read is codec.number and type(value) is int:
        assert (read(value), type(read(value))) == (float(value), float)
    else:
        with pytest.raises(TypeError, match=f"^expected .*, not {type(value).__name__} ") as caught:
            read(value)
        assert repr(value) in str(caught.value)


def test_a_message_stays_short() -> None:
    """A megabyte of nonsense does not become a megabyte of message."""
    with pytest.raises(TypeError) as caught:
        codec.number("x" * 1_000_000)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "text",
    [
        *("2026-08-25T10:30:00.250Z", "2026-08-25T10:30:00.250+00:00", "2026-08-25T10:30:00.250"),
        *("2026-08-25T12:30:00.250+02:00", "2026-08-25 10:30:00.250"),
    ],
)
def test_moments_are_in_utc(text: str) -> None:
    """Every form of the service's times is the same moment, and says UTC."""
    moment = codec.moment(text)
    assert moment == datetime(2026, 8, 25, 10, 30, 0, 250_000, tzinfo=UTC)
    assert moment.tzinfo is UTC


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES)  # noqa: DTZ001


@given(TIMES)
def test_any_moment_survives_the_wire(moment: datetime) -> None:
    """The moment is the same whatever zone it was written in."""
    assert codec.moment(moment.isoformat()) == moment


@given(st.sampled_from(Status) | st.text())
def test_any_text_is_a_status(text: str) -> None:
    """Known or not, a status keeps its text; a known one is the member itself."""
    status = codec.status(str(text))
    assert (status, type(status)) == (text, Status)
    assert status.is_known is (text in set(Status))


@given(st.lists(st.none() | st.lists(st.integers(-5, 5) | st.floats(-5, 5))))
def test_rows_become_tuples(rows: list[list[float] | None]) -> None:
    """Boxes keep their numbers and their gaps; there may be none at all."""
    expected = tuple(None if row is None else tuple(row) for row in rows)
    assert codec.rows_of_numbers(rows) == expected
    assert codec.rows_of_numbers(None) is None


@pytest.mark.parametrize("value", ["12", 5, ["1"], [[1], "2"], [[None]], [True]])
def test_rows_hold_numbers_only(value: object) -> None:
    """A list of anything else is refused."""
    with pytest.raises(TypeError, match="expected"):
        codec.rows_of_numbers(value)


def test_a_shape_error_lists_every_problem() -> None:
    """All paths are there, for programs and for readers."""
    error = codec.ShapeError(["a @ $.x", "b @ $.y"])
    assert (error.paths, str(error)) == (["a @ $.x", "b @ $.y"], "a @ $.x; b @ $.y")


# What a member of a job's JSON may look like, and what is read of it: `LOST` for nothing.
LOST = object()
DEEP = b"[" * 4000 + b"]" * 4000
SPOILT: dict[str, tuple[bytes, Any]] = {
    "first half of a pair": (rb'"cut \ud83d"', "cut \ufffd"),
    "second half of a pair": (rb'"\uDE00 cut"', "\ufffd cut"),
    "second half inside": (rb'"a\ude00b"', "a\ufffdb"),
    "two first halves": (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
    "halves in the wrong order": (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
    "a whole pair": (rb'"\ud83d\ude00"', "\U0001f600"),
    "no escape at all": (rb'"\\ud83d"', r"\ud83d"),
    "an escape after a backslash": (rb'"\\\ud83d"', "\\\ufffd"),
    "half a pair as bytes": (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
    "no UTF-8": (b'"\xff"', "\ufffd"),
    "UTF-8 that is cut": (b'"\xf0\x9f\x98"', "\ufffd"),
    "Latin-1": (b'"gr\xfc\xdfe"', "gr\ufffd\ufffde"),
    "NaN": (b"NaN", None),
    "Infinity": (b"Infinity", None),
    "-Infinity": (b"-Infinity", None),
    "a float without end": (b"1e999", None),
    "too large": (b"1e309", None),
    "too large below zero": (b"-1e309", None),
    "too large for its exponent": (b"1e99999999999999999999", None),
    "too large, written out": (b"9" * 309, None),
    "the most digits": (b"9" * 308, 10**308 - 1),
    "large": (b"1e308", 1e308),
    "small": (b"1e-999", 0.0),
    "5,000 digits": (b"9" * 5000, None),
    "5,000 digits below zero": (b"-" + b"9" * 5000, None),
    "5,000 digits after the point": (b"0." + b"1" * 5000, 0.1111111111111111),
    "half a pair as a name": (rb'{"\ud83d": 1}', {"\ufffd": 1}),
    "a name that is no UTF-8": (b'{"\xff": 1}', {"\ufffd": 1}),
    "a null character": (rb'"a\u0000b"', "a\0b"),
    "a name twice": (b'{"a": 1, "a": 2}', {"a": 2}),
    "a line end in a text": (b'"a\nb"', LOST),
    "a NUL in a text": (b'"a\x00b"', LOST),
    "deep lists": (DEEP, LOST),
    "deep objects": (b'{"a":' * 1500 + b"0" + b"}" * 1500, LOST),
    "a wrong escape": (rb'"\x41"', LOST),
    "a cut escape": (rb'"\u12"', LOST),
    "single quotes": (b"'text'", LOST),
    "undefined": (b"undefined", LOST),
    "nothing": (b"", LOST),
    "a plus sign": (b"+1", LOST),
    "a leading zero": (b"01", LOST),
    "a trailing comma": (b"[1,]", LOST),
    "brackets in a wrong text": (rb'"]}[{\x"', LOST),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_member_costs_no_job(name: str) -> None:
    """Whatever breaks a member of an item: id and status of all items are read, and the rest."""
    member, expected = SPOILT[name]
    item = b'{"id": "g2", "error": ' + member + b', "status": "FAILED"}'
    body = b'[{"id": "g1", "status": "PENDING"}, ' + item + b', {"id": "g3"}]'
    first, second, third = loads(body)
    assert (first, third) == ({"id": "g1", "status": "PENDING"}, {"id": "g3"})
    assert (second["id"], second["status"]) == ("g2", "FAILED")
    assert second.get("error", LOST) == expected
    assert loads(item) == second
    json.dumps(second, ensure_ascii=False, allow_nan=False).encode()


BAD_TEXTS = {
    "empty": b"",
    "blank": b"  \n",
    "cut off": b'{"id": "g1", "sta',
    "page": b"<html><body>502 Bad Gateway</body></html>",
    "two values": b"{} {}",
    "no name of a number": b"[nan]",
    "an infinity of another language": b"[+Infinity]",
    "a number and more": b"[1.5s]",
    "no UTF-8 outside of text": b"\xff{}",
    "no UTF-8, and cut off": b'{"error": "\xff',
    "a compressed page": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "bottomless": b"[" * 100_000,
    "bottomless objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize(
    "body",
    [
        *(b'[{"id": "g1"}, {"id": "g2", "status": "x"}]'[:length] for length in range(43)),
        *(b'{"id": "g1", "status": "x"}'[:length] for length in range(27)),
        *(b'[{"id": 01}] []', b'[{"id": 01}] x', b'x [{"id": 01}]', b'"a" [{"id": 01}]'),
        *(b"]", b"}{", b"][", b"{01}", b"[01, 02]", b"[,]", b"{,}", DEEP, b"<html>{}</html>"),
        *BAD_TEXTS.values(),
    ],
)
def test_what_is_no_whole_json_is_none(body: bytes) -> None:
    """An answer that was cut off, or is something else, is not taken for a whole one."""
    with pytest.raises(ValueError, match="it is no JSON"):
        loads(body)


# Ends that make a search begin anew at each of 60,000 places, if it is not written with care.
LONG_ENDS = {
    "quotes after backslashes": b'\\"' * 60_000,
    "backslashes": b"\\" * 60_001,
    "half pairs": rb"\ud83d" * 60_000,
    "cut half pairs": rb"\ud8" * 60_000,
    "quotes": b'"' * 60_001,
    "quotes and backslashes": b'"\\' * 60_000,
    "quoted brackets": b'"["' * 60_000,
    "brackets": b"[" * 60_000,
    "braces": b'{"a":' * 60_000,
    "commas": b"," * 60_000,
    "closing ones": b"]}" * 60_000,
    "blanks": b" " * 60_000,
    "controls": b"\0" * 60_000,
    "no UTF-8": b"\xff" * 60_000,
    "digits": b"9" * 60_000 + b"x",
}


@pytest.mark.traced_once("start", "end")
@pytest.mark.parametrize("end", LONG_ENDS.values(), ids=LONG_ENDS)
@pytest.mark.parametrize("start", [b'["', b'{"id": "g1", "error": "', b"[{}, ", b""])
def test_a_long_broken_answer_is_refused_soon(start: bytes, end: bytes) -> None:
    """What is no JSON is found out in one pass: a loop is not held up for minutes."""
    with pytest.raises(ValueError, match="it is no JSON"):
        loads(start + end)


SOUND = JSON.filter(lambda value: "Infinity" not in json.dumps(value))


@given(
    SOUND,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.booleans(),
    st.none() | st.integers(0, 2),
)
def test_sound_json_is_read_as_it_is(
    value: Any,
    encoding: str,
    ascii_only: bool,  # noqa: FBT001
    indent: int | None,
) -> None:
    """Tolerance changes nothing of what the standard library reads, whatever its encoding."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert loads(text.encode(encoding, "surrogatepass")) == json.loads(text)


@given(st.binary())
@example(b"\\")
def test_no_body_is_too_odd(body: bytes) -> None:
    """Any bytes are JSON or a `ValueError`."""
    with suppress(ValueError):
        loads(body)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HALVES = st.text()  # halves of surrogate pairs included
REALS = st.floats(allow_nan=False, allow_infinity=False)
FINITE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | REALS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(FINITE, HALVES)
def test_what_is_written_is_read(value: Any, halves: str) -> None:
    """Whatever JSON can say survives, and is UTF-8 and JSON for strict parsers as well."""
    assert loads(dumps(value)) == value
    assert json.loads(dumps([value, halves]).decode()) == [value, halves]


def test_what_is_written_is_compact() -> None:
    """Text goes as it is, without spaces between."""
    value = {"a": [1, 0.5, None, True], "é": "\U0001f600 \ud83d"}
    assert dumps(value) == '{"a":[1,0.5,null,true],"é":"\U0001f600 \\ud83d"}'.encode()


@given(st.dictionaries(TEXT, FINITE, min_size=1, max_size=3), st.data())
def test_a_truncated_answer_is_never_read(value: dict[str, Any], data: st.DataObject) -> None:
    """Half of an answer is no answer."""
    whole = dumps(value)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        loads(part)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_not_written(number: float) -> None:
    """Nothing is written that no other parser reads."""
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps({"temperature": number})


class Float64(float):
    """What a data frame gives: a float of another class, with a repr of its own."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


class Count(int):
    """An integer of another class."""

    def __repr__(self) -> str:
        return f"np.int64({int(self)})"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (Float64(0.5), b"0.5"),
        (Float64(-0.0), b"-0.0"),
        (Count(7), b"7"),
        (2**63, b"9223372036854775808"),
        (2**64, b"18446744073709551616"),
        (-(2**70), b"-1180591620717411303424"),
        (10**30, b"1000000000000000000000000000000"),
        (1e308, b"1e+308"),
        (5e-324, b"5e-324"),
    ],
)
def test_numbers_of_any_size_and_class_are_written(number: float, expected: bytes) -> None:
    """A number that passes the checks is sent as the number it is."""
    assert dumps(number) == expected


# Texts, and whether they are nested too deeply. The members of a list are read by themselves, so
# that two levels more are read there.
DEPTHS = {
    "a hundred lists": (b"[" * 100 + b"]" * 100, False),
    "one more, of which the member is read": (b"[" * 101 + b"]" * 101, False),
    "three more": (b"[" * 103 + b"]" * 103, True),
    "a hundred objects": (b'{"a":' * 100 + b"0" + b"}" * 100, False),
    "two more objects": (b'{"a":' * 102 + b"0" + b"}" * 102, True),
    "both in turn": (b'[{"a":' * 50 + b"0" + b"}]" * 50, False),
    "both, once more": (b'[{"a":' * 50 + b"[]" + b"}]" * 50, False),
    "many beside each other": (b"[" + b"[]," * 5000 + b"0]", False),
    "many beside a deep one": (b"[" + b"[]," * 5000 + b"[" * 103 + b"]" * 103 + b"]", True),
    "steps": (b"[[]," * 100 + b"0" + b"]" * 100, False),
    "fewer steps": (b"[[]," * 99 + b"0" + b"]" * 99, False),
    "brackets in a text": (b'["' + b"[" * 5000 + b'"]', False),
    "brackets after an escape": (rb'["\"' + b"[" * 5000 + b'"]', False),
    "brackets after an escaped backslash": (b'["\\\\",' + b"[" * 101 + b"]" * 101 + b"]", False),
    "brackets in a name": (b'{"' + b"{" * 200 + b'": 1}', False),
    "a text in depth": (b"[" * 100 + b'"}]{["' + b"]" * 100, False),
    "a text in too much depth": (b"[" * 103 + b'"}]{["' + b"]" * 103, True),
    "300": (b"[" * 300 + b"]" * 300, True),
    "500, which is read but not pickled": (b"[" * 500 + b"]" * 500, True),
    "letters whose halves look like brackets": (
        ("[" + '"\u5b5b",' * 200 + "0]").encode("utf-16"),
        False,
    ),
    "a hundred jobs": (b"[" + b'{"input": [{}, {}], "options": {}},' * 100 + b"{}]", False),
}


@pytest.mark.parametrize(("text", "is_deep"), DEPTHS.values(), ids=DEPTHS)
def test_what_is_read_can_be_passed_on(text: bytes, is_deep: bool) -> None:  # noqa: FBT001
    """Depths that the parser reads, but `pickle` or a deep stack does not bear, are refused."""
    if is_deep:
        with pytest.raises(ValueError, match="it is no JSON"):
            loads(text)
    else:
        read = loads(text)
        assert pickle.loads(pickle.dumps(read)) == json.loads(text)  # noqa: S301 - our own bytes
