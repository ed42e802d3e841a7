import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async import errors
from lipsync_async._enums import Status
from lipsync_async._logic import endpoints
from lipsync_async._logic.endpoints import (
    Call,
    error_for,
    read,
    read_json,
    redirect_target,
    request_id,
    retry_after,
    salvage_generation,
    schema_error,
)
from lipsync_async._models.http import FilePart, TextPart
from lipsync_async._models.request import (
    Audio,
    DubParams,
    GenerationRequest,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Text,
    Video,
)
from lipsync_async._models.response import CostEstimate, Generation
from lipsync_async.errors import DecodeError, ResponseError
from lipsync_async.sandbox.server.api_errors import ERROR_CODES
from tests.logic.answers import JOB, JSON, reply
from tests.logic.requests import AUDIO, VIDEO, VOICE

HEADERS = {"content-type": "application/json"}
PLAIN = GenerationRequest(model="lipsync-2", input=[VIDEO, AUDIO])
PLAIN_BODY = {
    "model": "lipsync-2",
    "input": [
        {"type": "video", "url": "https://media.example/clip.mp4"},
        {"type": "audio", "url": "https://media.example/speech.wav"},
    ],
}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (endpoints.create_generation(PLAIN, idempotency_key="k"), "POST /v2/generate"),
        (endpoints.get_generation("g1"), "GET /v2/generate/g1"),
        (endpoints.get_generation("g1", progress=True), "GET /v2/generate/g1?include=progress"),
        (endpoints.list_generations(), "GET /v2/generations"),
        (endpoints.list_generations(status=["FAILED"]), "GET /v2/generations?status=FAILED"),
        (endpoints.count_generations(), "GET /v2/generations/count"),
        (
            endpoints.count_generations(status=["FAILED"], source=["api"]),
            "GET /v2/generations/count?status=FAILED&source=api",
        ),
        (endpoints.delete_generation("g1"), "DELETE /v2/generations/g1"),
        (endpoints.download_url("g1"), "GET /v2/generations/g1/download"),
        (endpoints.estimate_request(PLAIN), "POST /v2/analyze/cost"),
        (endpoints.estimate_duration(model="m", duration=1), "POST /v2/generations/estimate"),
        (endpoints.list_models(), "GET /v2/models"),
    ],
)
def test_every_call_goes_to_its_place(call: Call[Any], expected: str) -> None:
    """Method and path are the documented ones, all may go there twice; questions carry no more."""
    assert (f"{call.method} {call.path}", call.is_repeatable) == (expected, True)
    carried = (dict(call.headers), call.body, call.form, call.idempotency_key)
    assert (carried == ({}, None, (), None)) is (call.method != "POST")


def body_of(call: Call[Any]) -> Any:
    """Return the JSON that a call sends."""
    assert call.body is not None
    return json.loads(call.body)


def test_a_create_is_json_under_its_key() -> None:
    """The key goes along as a header, and stays on the call, for its errors, and on the job."""
    call = endpoints.create_generation(PLAIN, idempotency_key="key-1")
    assert body_of(call) == PLAIN_BODY
    assert dict(call.headers) == {**HEADERS, "idempotency-key": "key-1"}
    assert (call.idempotency_key, call.form) == ("key-1", ())
    created = call.read(reply(JOB, 201, method="POST"))
    assert (created.id, created.status, created.idempotency_key) == ("g1", "PENDING", "key-1")


@pytest.mark.parametrize(("body", "found"), [({"id": "g1", "status": 5}, "g1"), (b"<html>", None)])
def test_an_unreadable_create_does_not_lose_the_job(body: Any, found: str | None) -> None:
    """Where the answer still holds an id, the error does, too."""
    call = endpoints.create_generation(PLAIN, idempotency_key="key-1")
    with pytest.raises(DecodeError) as caught:
        call.read(reply(body, 201, method="POST"))
    assert getattr(caught.value.generation, "id", None) == found


def test_files_go_as_a_form(tmp_path: Path) -> None:
    """Nested fields are JSON text, plain ones plain text, and files come last."""
    path = tmp_path / "face.png"
    request = GenerationRequest(
        model="sync-3",
        input=[Image(file=path), Text(VOICE, ref_id="t1")],
        options=Options(temperature=0.5),
        segments=[Segment(start_time=0, end_time=1.5, audio_input=SegmentAudio("t1"))],
        webhook_url="https://h/hook",
        output_file_name="take-1",
        project_id="p",
        dub_params=DubParams(target_lang="de"),
        dialogue_edit="e",
    )
    call = endpoints.create_generation(request, idempotency_key="key-1")
    texts = {part.name: part.value for part in call.form if isinstance(part, TextPart)}
    assert texts == {
        "model": "sync-3",
        "input": '[{"type":"text","provider":{"name":"elevenlabs","voiceId":"voice",'
        '"script":"Hello."},"refId":"t1"}]',
        "options": '{"temperature":0.5}',
        "segments": '[{"startTime":0,"endTime":1.5,"audioInput":{"refId":"t1"}}]',
        "webhookUrl": "https://h/hook",
        "outputFileName": "take-1",
        "projectId": "p",
        "dubParams": '{"targetLang":"de","providerName":"elevenlabs"}',
        "dialogueEdit": '{"id":"e"}',
    }
    assert call.form[-1] == FilePart("image", "face.png", "image/png", path)
    assert (call.body, dict(call.headers)) == (None, {"idempotency-key": "key-1"})
    assert call.is_repeatable


def test_files_are_announced_by_how_they_begin(tmp_path: Path) -> None:
    """A wrong suffix is not believed; what cannot be looked into is not waited for."""
    (tmp_path / "face.png").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "speech").write_bytes(b"ID3\4\0\0\0\0\x10\0" + bytes(2048) + b"\xff\xf1\x50")
    os.mkfifo(tmp_path / "pipe.mp4")
    form = [
        endpoints.create_generation(
            GenerationRequest(model="sync-3", input=[item]), idempotency_key="k"
        ).form[-1]
        for item in (
            Image(file=tmp_path / "face.png"),
            Audio(file=str(tmp_path / "speech")),
            Video(file=tmp_path / "pipe.mp4"),
            Video(file=tmp_path),
        )
    ]
    assert [(part.filename, part.content_type) for part in form if isinstance(part, FilePart)] == [
        ("face.png", "image/jpeg"),
        ("speech.aac", "audio/aac"),
        ("pipe.mp4", "video/mp4"),
        (tmp_path.name, "application/octet-stream"),
    ]


def test_files_for_every_slot_leave_no_input() -> None:
    """A form with nothing but files has no `input` field, and one part for each file."""
    wave = b"RIFF\0\0\0\0WAVEfmt "
    request = GenerationRequest(model="m", input=[Audio(file=wave), Video(file=b"video")])
    form = endpoints.create_generation(request, idempotency_key="k").form
    assert [part.name for part in form] == ["model", "video", "audio"]
    assert [part.source for part in form if isinstance(part, FilePart)] == [b"video", wave]


def test_a_file_wins_over_a_url() -> None:
    """For the same slot the service takes the file, so the URL is not sent at all."""
    request = GenerationRequest(model="m", input=[Video("https://h/v", file=b"video"), AUDIO])
    form = endpoints.create_generation(request, idempotency_key="k").form
    texts = {part.name: part.value for part in form if isinstance(part, TextPart)}
    assert json.loads(texts["input"]) == [PLAIN_BODY["input"][1]]
    assert [part.name for part in form] == ["model", "input", "video"]


IDS = {"x/../y?z": "x%2F%2E%2E%2Fy%3Fz", "..": "%2E%2E", ".": "%2E", "a b": "a%20b"}
IDS |= {"a#b": "a%23b", "a%2Fb": "a%252Fb", "ä": "%C3%A4", "a+b&c=d": "a%2Bb%26c%3Dd"}


@pytest.mark.parametrize(("generation_id", "escaped"), IDS.items())
def test_ids_are_escaped(generation_id: str, escaped: str) -> None:
    """An odd id is looked up, and leads nowhere else."""
    assert paths_with(generation_id) == [
        f"/v2/generate/{escaped}",
        f"/v2/generations/{escaped}",
        f"/v2/generations/{escaped}/download",
    ]


def paths_with(generation_id: str) -> list[str]:
    """Return the path of every call about one job."""
    return [
        endpoints.get_generation(generation_id).path,
        endpoints.delete_generation(generation_id).path,
        endpoints.download_url(generation_id).path,
    ]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT)
def test_no_id_leaves_its_segment(generation_id: str) -> None:
    """Whatever the id is, it is one segment of the path, and comes out again as it was."""
    for path in paths_with(generation_id):
        parts = urlsplit(f"https://h{path}")
        segment = parts.path.split("/")[3]
        assert (parts.query, parts.fragment, unquote(segment)) == ("", "", generation_id)
        assert segment not in {"", ".", ".."}


@given(
    status=st.none() | st.lists(st.sampled_from(Status), min_size=1),
    ids=st.none() | st.lists(TEXT.filter(lambda text: "," not in text), min_size=1),
    source=st.none() | st.sets(st.sampled_from(["api", "web & more"]), min_size=1),
    project_id=st.none() | TEXT,
    limit=st.none() | st.integers(1, 100),
    cursor=st.none() | TEXT,
)
def test_filters_are_sent_in_the_comma_form(**filters: Any) -> None:
    """Lists are joined by bare commas, all else is escaped, and what is `None` is not sent."""
    path = endpoints.list_generations(**filters).path
    parts = urlsplit(f"https://h{path}")
    told = {name: value for name, value in filters.items() if value is not None}
    wire = {"project_id": "projectId"}
    expected = {
        wire.get(name, name): str(value) if isinstance(value, str | int) else ",".join(value)
        for name, value in told.items()
    }
    assert (parts.path, parts.fragment) == ("/v2/generations", "")
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == expected


def test_commas_stay_readable() -> None:
    """The documented form is sent to the letter."""
    status = ["PENDING", Status.PROCESSING]
    call = endpoints.list_generations(status=status, ids=["a", "b"], limit=2)
    assert call.path == "/v2/generations?status=PENDING,PROCESSING&ids=a,b&limit=2"


def jobs(count: int) -> list[dict[str, str]]:
    """Return a listing of so many jobs."""
    return [{"id": f"g{number}", "status": "COMPLETED"} for number in range(count)]


@pytest.mark.parametrize(
    ("limit", "count", "cursor"),
    [(None, 0, None), (None, 3, None), (3, 2, None), (3, 3, "g2"), (2, 3, "g2"), (1, 0, None)],
)
def test_a_full_page_has_a_next_one(limit: int | None, count: int, cursor: str | None) -> None:
    """The last id of a full page leads on; a short or unpaged answer is the end."""
    page = endpoints.list_generations(limit=limit).read(reply(jobs(count)))
    assert [item.id for item in page] == [f"g{number}" for number in range(count)]
    assert page.next_cursor == cursor


GOOD = {"id": "g", "status": "PENDING", "name": "n"}
LISTS: list[Call[Any]] = [endpoints.list_generations(), endpoints.list_models()]


@pytest.mark.parametrize("call", LISTS[1:])
@pytest.mark.parametrize("name", ["items", "voices"])
def test_a_list_may_have_a_name(call: Call[Any], name: str) -> None:
    """An object that holds the list under a usual name is as good."""
    assert [*call.read(reply({name: []}))] == []
    assert [item.id for item in call.read(reply({name: [GOOD]}))] == ["g"]


@pytest.mark.parametrize("call", LISTS)
@pytest.mark.parametrize("body", [{}, {"items": 5}, None, "text", 5])
def test_a_list_is_a_list(call: Call[Any], body: Any) -> None:
    """Another shape is told as such, with the request's id, so that it is not tried again."""
    with pytest.raises(DecodeError) as caught:
        call.read(reply(body, x_request_id="r1"))
    assert (caught.value.paths, caught.value.request_id) == (("expected a list @ $",), "r1")
    assert not caught.value.is_retryable


@pytest.mark.parametrize(("call", "left"), [(LISTS[0], ["g", "g", "x"]), (LISTS[1], ["g", "g"])])
def test_a_bad_item_costs_only_itself(
    call: Call[Any], left: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """In a list of a hundred, the log leads to the one that is wrong, and the others are read."""
    items = call.read(reply([GOOD, GOOD, {"id": "x", "status": 5, "name": 5}]))
    assert [item.id for item in items] == left
    assert "not int 5 @ $[2]." in caplog.text


@pytest.mark.parametrize("call", LISTS)
def test_a_list_of_nothing_useful_is_an_error(call: Call[Any]) -> None:
    """Items that cannot be told apart from anything are no list of the documented shape."""
    with pytest.raises(DecodeError) as caught:
        call.read(reply([{**GOOD, "id": 5}, "@ $"]))
    assert caught.value.paths[0] == "expected text, not int 5 @ $[0].id"
    assert caught.value.paths[-1].endswith("@ $[1]")


def test_not_every_problem_is_listed() -> None:
    """A hundred broken items do not fill the terminal."""
    with pytest.raises(DecodeError) as caught:
        endpoints.list_models().read(reply([{"id": 5, "name": "n"}] * 100))
    assert (len(caught.value.paths), caught.value.paths[-1]) == (21, "and 80 more")


def test_a_spoilt_page_leads_on() -> None:
    """What could not be read counts for the page's length."""
    page = endpoints.list_generations(limit=3).read(reply([GOOD, {"id": 5}, {"id": "x"}]))
    assert ([item.id for item in page], page.next_cursor) == (["g", "x"], "x")
    assert str(page[1].status) == "UNKNOWN"


def test_models_are_read() -> None:
    """A model is described as documented, and what is new stays reachable."""
    wire = {
        "id": "sync-3",
        "name": "Sync 3",
        "type": "lipsync",
        "version": "3",
        "description": "Best.",
        "deprecatedAt": "2030-01-01",
        "price": 1,
    }
    (model,) = endpoints.list_models().read(reply([wire]))
    facts = (model.id, model.name, model.type, model.version, model.description)
    assert facts == ("sync-3", "Sync 3", "lipsync", "3", "Best.")
    assert (model.deprecated_at, model.raw) == ("2030-01-01", wire)


@pytest.mark.parametrize(
    "body", [{}, {"count": "7"}, {"count": True}, {"count": 1.5}, [7], 7, None]
)
def test_a_count_is_a_whole_number(body: Any) -> None:
    """It is taken out of its object; anything else is another shape."""
    for count in (0, 7):
        assert endpoints.count_generations().read(reply({"count": count, "new": 1})) == count
    with pytest.raises(DecodeError) as caught:
        endpoints.count_generations().read(reply(body))
    assert caught.value.paths == ("expected a whole number @ $.count",)


def test_a_deletion_answers_nothing() -> None:
    """Whatever a success says, it is one."""
    call = endpoints.delete_generation("g1")
    for body in (b"", b"OK", b"{}"):
        call.read(reply(body, 204))


URL = "https://media.example/clip.mp4?signature=a%2Fb&x=1"


@pytest.mark.parametrize(
    "body", [URL.encode(), f'"{URL}"'.encode(), f"  {URL}\r\n".encode(), f'"{URL}"\n'.encode()]
)
def test_a_download_is_a_bare_url(body: bytes) -> None:
    """Quotes and blanks around it go; the URL itself is kept to the letter."""
    assert endpoints.download_url("g1").read(reply(body)) == URL


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"<html></html>", b'{"url": "https://h"}', b"ftp://h/x", b"file:///etc"),
        *(b"https://", b"https://h/a b", b"https://h\n<html>", b"\xff"),
    ],
)
def test_what_is_no_url_is_refused(body: bytes) -> None:
    """Nothing but http(s) is fetched, and who answered can be found out."""
    with pytest.raises(DecodeError, match="its body is no URL") as caught:
        endpoints.download_url("g1").read(reply(body, x_request_id="r1"))
    assert caught.value.request_id == "r1"


def test_an_estimate_asks_with_the_request() -> None:
    """The body is that of the create, without its key."""
    call = endpoints.estimate_request(PLAIN)
    assert (body_of(call), dict(call.headers)) == (PLAIN_BODY, HEADERS)
    assert call.idempotency_key is None


@pytest.mark.parametrize(
    ("facts", "body"),
    [
        ({"model": "sync-3", "duration": 12.5}, {"model": "sync-3", "duration": 12.5}),
        (
            {"model": "m", "duration": 1, "fps": 25, "reasoning_enabled": False},
            {"model": "m", "duration": 1, "fps": 25, "reasoningEnabled": False},
        ),
    ],
)
def test_an_estimate_asks_with_a_duration(facts: dict[str, Any], body: dict[str, Any]) -> None:
    """What is not given is left to the service."""
    call = endpoints.estimate_duration(**facts)
    assert (body_of(call), dict(call.headers)) == (body, HEADERS)


ESTIMATE = {"estimatedFrameCount": 250, "estimatedGenerationCost": 1, "estimatedCredits": None}


@pytest.mark.parametrize("body", [ESTIMATE, [ESTIMATE]])
@pytest.mark.parametrize(
    "call", [endpoints.estimate_request(PLAIN), endpoints.estimate_duration(model="m", duration=1)]
)
def test_both_forms_of_an_estimate_are_read(call: Call[CostEstimate], body: Any) -> None:
    """An object, or a list with one, whichever was asked."""
    estimate = call.read(reply(body))
    assert (estimate.frame_count, estimate.cost, estimate.credits) == (250, 1.0, None)
    assert estimate.raw == ESTIMATE


@pytest.mark.parametrize("body", [[], [ESTIMATE, ESTIMATE], {}, "free", {"estimatedFrameCount": 1}])
def test_another_form_of_estimate_is_refused(body: Any) -> None:
    """A price is not guessed."""
    with pytest.raises(DecodeError) as caught:
        endpoints.estimate_request(PLAIN).read(reply(body))
    assert caught.value.paths


# Everything that an error body may name, with values of any type.
FACT_NAMES = [
    *("statusCode", "errorCode", "error_code", "message", "error", "suggestion", "field"),
    *("activeGenerations", "concurrencyLimit", "retryAfterSeconds", "upgradeUrl"),
]
FACTS = st.dictionaries(st.sampled_from(FACT_NAMES), JSON)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, errors.BadRequestError), (401, errors.AuthenticationError)),
        *((402, errors.PaymentRequiredError), (403, errors.PermissionDeniedError)),
        *((404, errors.NotFoundError), (409, errors.ConflictError)),
        *((413, errors.PayloadTooLargeError), (422, errors.UnprocessableError)),
        (429, errors.RateLimitError),
        *((status, errors.ServerError) for status in (500, 501, 502, 503, 504, 505, 520, 599)),
        *((status, ResponseError) for status in (300, 302, 304, 405, 406, 408, 410, 418, 451, 499)),
    ],
)
def test_every_status_has_its_class(status: int, kind: type[ResponseError]) -> None:
    """The status alone decides the class, whatever the body is; each class has its own."""
    assert sorted(errors.STATUS_ERRORS) == [400, 401, 402, 403, 404, 409, 413, 422, 429]
    for body in (b"", b"<html>", b"[]", {"statusCode": 200, "message": "No."}):
        error = error_for(reply(body, status))
        assert (type(error), error.status) == (kind, status)


PROXY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>"
NOTHING = ("no reason was given", None, None, None)
EMPTY: tuple[Any, ...] = (None, {}, [], b"", b" \r\n ")


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (
            {"message": "No video.", "errorCode": "e", "suggestion": "Do.", "field": "x[0].url"},
            ("No video.", "e", "Do.", "x[0].url"),
        ),
        ({"message": "One.", "error_code": "older"}, ("One.", "older", None, None)),
        ({"message": "One.", "errorCode": "new", "error_code": "old"}, ("One.", "new", None, None)),
        ({"message": ["One", "Two"], "statusCode": 400}, ("One; Two", None, None, None)),
        ({"message": ["One", 2, None]}, ("One; 2; None", None, None, None)),
        ({"message": [], "error": "Bad Request"}, ("{'message': [], 'error':", None, None, None)),
        ({"error": "Bad Request", "statusCode": 400}, ("Bad Request", None, None, None)),
        ({"message": "", "error": "Bad Request"}, ("Bad Request", None, None, None)),
        ({"message": None, "errorCode": 7, "field": ["x"]}, ("{'message': None", None, None, None)),
        ({"message": "Unauthorized", "statusCode": 401}, ("Unauthorized", None, None, None)),
        ({"detail": "Not this"}, ("{'detail': 'Not this'}", None, None, None)),
        (["One", "Two"], ("['One', 'Two']", None, None, None)),
        ("just text", ("just text", None, None, None)),
        (502, ("502", None, None, None)),
        *((body, NOTHING) for body in EMPTY),
        (PROXY, ("<html> <head><title>502 Bad Gateway</title></head>", None, None, None)),
        (b'{"message": "cut o', ('{"message": "cut o', None, None, None)),
        (b"\xff\xfe\x00", ("\ufffd\ufffd\x00", None, None, None)),
    ],
)
def test_every_form_of_body_is_understood(
    body: Any, facts: tuple[str, str | None, str | None, str | None]
) -> None:
    """The service's own words where there are any, otherwise the beginning of what came."""
    error = error_for(reply(body, 400))
    assert error.message.startswith(facts[0])
    assert (error.code, error.suggestion, error.field) == facts[1:]
    assert len(error.message) <= 200


@given(st.integers(300, 599), FACTS | JSON)
def test_no_json_is_too_odd(status: int, body: Any) -> None:
    """Any JSON with an error status is one error, whose facts are texts and sane numbers."""
    error = error_for(reply(body, status))
    assert error.status == status
    assert error.message
    assert {type(error.code), type(error.suggestion), type(error.field)} <= {str, type(None)}
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")


@given(st.integers(300, 599), st.binary(max_size=300))
@example(429, b'{"retryAfterSeconds": 1' + b"0" * 400 + b"}")
@example(500, b"[" * 100_000)
@example(500, b'{"message": NaN}')
def test_no_bytes_are_too_odd(status: int, body: bytes) -> None:
    """Any bytes with an error status are one error, and it keeps them."""
    error = error_for(reply(body, status))
    assert (error.status, error.response.body) == (status, body)


RATE = {"errorCode": "rate_limit_exceeded", "message": "Try later.", "error": "Too Many Requests"}
FULL = {
    "statusCode": 429,
    "errorCode": "concurrency_limit_reached",
    "message": "Too many at once.",
    "activeGenerations": 2,
    "concurrencyLimit": 3,
    "retryAfterSeconds": 30,
    "upgradeUrl": "https://h/up",
}


def without(facts: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the facts but for these."""
    return {name: fact for name, fact in facts.items() if name not in names}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (FULL, (3, 2, 30.0)),
        (without(FULL, "errorCode"), (3, 2, 30.0)),
        (without(FULL, "errorCode", "activeGenerations"), (3, None, 30.0)),
        (without(FULL, "errorCode", "concurrencyLimit"), (None, 2, 30.0)),
        ({"errorCode": "concurrency_limit_reached"}, (None, None, None)),
        ({"error_code": "concurrency_limit_reached"}, (None, None, None)),
        ({**FULL, "concurrencyLimit": "3", "activeGenerations": True}, (None, None, 30.0)),
        ({**FULL, "concurrencyLimit": 3.0, "activeGenerations": 2.5}, (3, None, 30.0)),
    ],
)
def test_a_full_account_is_told_apart(body: Any, expected: tuple[Any, ...]) -> None:
    """With and without a code, a 429 about running jobs is not one about requests."""
    error = error_for(reply(body, 429))
    assert isinstance(error, errors.ConcurrencyLimitError)
    assert (error.concurrency_limit, error.active_generations, error.retry_after) == expected


@pytest.mark.parametrize(
    "body",
    [
        *(RATE, without(RATE, "errorCode"), {**FULL, "errorCode": "rate_limit_exceeded"}),
        *({"message": "Slow down.", "retryAfterSeconds": 3}, {}, [], b"<html>"),
    ],
)
def test_too_many_requests_are_told_apart(body: Any) -> None:
    """The code decides; without one and without numbers it is the rate."""
    assert type(error_for(reply(body, 429))) is errors.RateLimitError


PLAN = {
    *("account_on_hold", "account_payment_required", "elevenlabs_quota_exceeded"),
    *("file_size_exceeds_plan_limit", "free_tier_generations_exhausted"),
    *("generation_plan_duration_exceeded", "plan_feature_unavailable"),
    "voice_clone_limit_reached",
}
# By code and path: what a 429 says is full, or used up.
LIMITS: dict[tuple[str | None, str], type[errors.ResponseError]] = {
    ("batch_concurrency_limit_reached", "/v2/batch"): errors.BatchLimitError,
    ("batch_concurrency_limit_reached", "/v2/generate"): errors.BatchLimitError,
    ("concurrency_limit_reached", "/v2/batch"): errors.BatchLimitError,
    ("concurrency_limit_reached", "/prefix/v2/batch?x=1"): errors.BatchLimitError,
    ("concurrency_limit_reached", "/v2/batches"): errors.ConcurrencyLimitError,
    ("concurrency_limit_reached", "/v2/generate"): errors.ConcurrencyLimitError,
    ("concurrency_limit_reached", "/v2/tts"): errors.ConcurrencyLimitError,
    (None, "/v2/batch"): errors.BatchLimitError,  # by the numbers
    (None, "/v2/generate"): errors.ConcurrencyLimitError,
    ("rate_limit_exceeded", "/v2/batch"): errors.RateLimitError,
    ("voice_clone_busy", "/v2/voices"): errors.RateLimitError,
    ("IDEMPOTENCY_OUTCOME_UNKNOWN", "/v2/generate"): errors.RateLimitError,
    ("of_the_future", "/v2/generate"): errors.RateLimitError,
    **{(code, "/v2/generate"): errors.PaymentRequiredError for code in sorted(PLAN)},
}


@pytest.mark.parametrize(("code", "path"), LIMITS)
def test_which_limit_a_429_is_about(code: str | None, path: str) -> None:
    """A code names it; only where it says "concurrency" does the path say of what."""
    answer = reply({**FULL, "errorCode": code, "generationId": "g1"}, 429, method="POST")
    error = error_for(attrs.evolve(answer, url=f"https://api.example{path}"))
    assert type(error) is LIMITS[code, path]
    assert (error.retry_after, error.code, error.status) == (30.0, code, 429)
    assert error.is_retryable is (code not in PLAN)
    is_unsettled = code == "IDEMPOTENCY_OUTCOME_UNKNOWN"
    assert (error.generation is not None) is is_unsettled


def test_every_other_code_of_the_catalogue_is_about_the_rate() -> None:
    """With status 429 only the plan's codes and the lack of slots are about another limit."""
    found = [error_for(reply({"errorCode": code}, 429)) for code in ERROR_CODES]
    others = {error.code for error in found if type(error) is not errors.RateLimitError}
    assert others == PLAN | {"concurrency_limit_reached"}


def test_only_a_429_is_about_slots() -> None:
    """The same facts with another status are that status's error."""
    assert type(error_for(reply(FULL, 503))) is errors.ServerError


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_pointer_elsewhere_is_an_error_that_names_it(status: int) -> None:
    """A redirect that no one follows says where it points and what to check."""
    error = error_for(reply(b"<html>Moved</html>", status, location="https://other/v2"))
    assert type(error) is ResponseError
    told = "instead. Check base_url; only a GET follows such a pointer."
    assert str(error).endswith(f"it points to 'https://other/v2' {told}")


# The same moment in all forms of RFC 9110 section 5.6.7, and in those of careless servers.
MOMENTS = (
    "Wed, 21 Oct 2026 12:00:00 GMT",
    "Wednesday, 21-Oct-26 12:00:00 GMT",
    "Wed Oct 21 12:00:00 2026",
    "Wed, 21 Oct 2026 12:00:00 +0000",
    "Wed, 21 Oct 2026 14:00:00 +0200",
    "21 Oct 2026 12:00:00 -0000",
    "wed, 21 oct 2026 12:00:00 gmt",
)


@pytest.mark.parametrize("due", [moment.replace(":00:00", ":00:07") for moment in MOMENTS])
@pytest.mark.parametrize("sent", MOMENTS)
def test_a_date_in_any_form(sent: str, due: str) -> None:
    """A pause until a date is kept, whichever forms that and the answer's own date have."""
    assert retry_after(reply(b"", 503, retry_after=due, date=sent)) == 7.0


BASE = "https://api.example/v2/thing?x=1"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other/v2", "https://other/v2"),
        ("http://other:81/v2?y=2", "http://other:81/v2?y=2"),
        ("/elsewhere", "https://api.example/elsewhere"),
        ("next?y=2", "https://api.example/v2/next?y=2"),
        ("//other/v2", "https://other/v2"),
        ("", BASE),
        (None, None),
        *((each, None) for each in ("ftp://other/v2", "file:///etc", "mailto:me@other")),
        *((each, None) for each in ("http://", "https://[", "https://other:port")),
        *((each, None) for each in ("https://other:99999", "https://other:0")),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_to_a_web_address(
    status: int, location: str | None, target: str | None
) -> None:
    """Relative or not, it is resolved; to anything but http(s) it leads nowhere."""
    headers = {} if location is None else {"location": location}
    assert redirect_target(BASE, status, headers) == target


@pytest.mark.parametrize("status", [200, 201, 300, 304, 400])
def test_other_answers_lead_nowhere(status: int) -> None:
    """A `Location` alone, such as that of a created thing, is no redirect."""
    assert redirect_target(BASE, status, {"location": "https://other"}) is None


@given(st.text())
def test_no_location_is_too_odd(location: str) -> None:
    """Whatever stands there, it is a URL with a host or nothing."""
    target = redirect_target(BASE, 302, {"location": location})
    assert target is None or target.startswith(("https://", "http://"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        *(({}, None), ({"x_request_id": "a"}, "a"), ({"request_id": "b"}, "b")),
        *(({"x_amzn_requestid": "c"}, "c"), ({"x_amz_cf_id": "d"}, "d"), ({"cf_ray": "e"}, "e")),
        *(({"cf_ray": "e", "x_request_id": "a"}, "a"), ({"server": "f"}, None)),
    ],
)
def test_support_finds_the_request(headers: dict[str, str], expected: str | None) -> None:
    """The most telling id of those that came is quoted, in every kind of error."""
    assert request_id(reply(b"", 500, **headers)) == expected
    assert error_for(reply(b"", 500, **headers)).request_id == expected
    assert schema_error(reply(b"", 200, **headers), "x @ $").request_id == expected
    with pytest.raises(DecodeError) as caught:
        read_json(reply(b"", 200, **headers))
    assert caught.value.request_id == expected


ODD_NUMBERS: list[Any] = [None, -1, [], {}, 10**400]
NOON = "Wed, 21 Oct 2026 12:00:00 GMT"
LATER = "Wed, 21 Oct 2026 12:00:42 GMT"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, None, None),
        ({"retry_after": "7"}, None, 7.0),
        ({"retry_after": "1.5"}, None, 1.5),
        ({"retry_after": "0"}, None, 0.0),
        ({"retry_after_ms": "250"}, None, 0.25),
        ({"retry_after_ms": "250", "retry_after": "1"}, None, 1.0),
        ({}, {"retryAfterSeconds": 30}, 30.0),
        ({}, {"retryAfterSeconds": "30"}, 30.0),
        ({"retry_after": "60"}, {"retryAfterSeconds": 30}, 60.0),
        ({"retry_after": "5"}, {"retryAfterSeconds": 30}, 30.0),
        ({"retry_after": LATER, "date": NOON}, None, 42.0),
        ({"retry_after": NOON, "date": LATER}, None, 0.0),
        ({"retry_after": LATER}, None, None),
        ({"retry_after": LATER, "date": "yesterday"}, None, None),
        ({"retry_after": "soon", "date": NOON}, None, None),
        ({"retry_after": LATER, "date": "Wed, 21 Oct 2026 12:00:00 -0000"}, None, 42.0),
        ({"retry_after": LATER, "date": NOON[:-3] + "+9999999999999999"}, None, None),
        *(
            ({"retry_after": odd}, {"retryAfterSeconds": odd}, None)
            for odd in ("-1", "nan", "inf", "-inf", "1e999", "", "soon")
        ),
        *(({}, {"retryAfterSeconds": odd}, None) for odd in ODD_NUMBERS),
        ({}, [30], None),
        ({}, "30", None),
    ],
)
def test_the_time_to_wait_is_read(
    headers: dict[str, str], body: Any, expected: float | None
) -> None:
    """Every form is read, the longest wins, and nonsense is no wish."""
    assert retry_after(reply(b"", 429, **headers), body) == expected


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.integers(0, 10**6))  # noqa: DTZ001
def test_a_date_is_measured_by_the_services_own_clock(sent: datetime, seconds: int) -> None:
    """A wrong clock on this machine changes nothing."""
    start = sent.replace(tzinfo=UTC, microsecond=0)
    due = start + timedelta(seconds=seconds)
    headers = {"date": format_datetime(start, usegmt=True), "retry_after": format_datetime(due)}
    assert retry_after(reply(b"", 429, **headers)) == seconds


@given(st.text(), st.text(), st.text())
def test_no_header_is_too_odd(seconds: str, milliseconds: str, date: str) -> None:
    """Whatever the headers hold, it is a sane number of seconds or none."""
    told = {"retry_after": seconds, "retry_after_ms": milliseconds, "date": date}
    found = retry_after(reply(b"", 429, **told))
    assert found is None or 0 <= found < float("inf")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "its body is empty"),
        *((body, "its body is no JSON") for body in (b"<html>", b'{"id": "g1"', b"\xff")),
    ],
)
def test_what_is_no_json_is_a_decode_error(body: bytes, reason: str) -> None:
    """The parser's traceback stays inside, and no path is claimed."""
    with pytest.raises(DecodeError, match=reason) as caught:
        read(Generation, reply(body))
    assert (caught.value.paths, caught.value.__cause__) == ((), None)
    assert caught.value.__suppress_context__


def test_another_shape_is_a_decode_error_with_paths() -> None:
    """Every problem is there with its path in the body."""
    with pytest.raises(DecodeError) as caught:
        read(Generation, reply({"id": 5, "outputUrl": 7}))
    assert caught.value.paths == (
        "expected text, not int 5 @ $.id",
        "required field missing @ $.status",
        "expected text, not int 7 @ $.outputUrl",
    )


@pytest.mark.parametrize("body", [{"id": "g1"}, {"id": "g1", "status": 5, "outputUrl": [1]}])
def test_a_paid_job_is_recognized_by_its_id(body: dict[str, Any]) -> None:
    """Of an answer that cannot be read, the id is what must not be lost."""
    job = salvage_generation(reply(body))
    assert job is not None
    assert (job.id, job.is_terminal, job.raw) == ("g1", False, body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", {"id": 5}, {"id": ""}, {}, None])
def test_without_an_id_there_is_no_job(body: Any) -> None:
    """Nothing is made up."""
    assert salvage_generation(reply(body)) is None
