"""What an answer means, in all the forms in which answers come."""

from __future__ import annotations

import json
import math
import pickle
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._logic.codec import dumps, loads
from lipsync_async._logic.endpoints import (
    error_for,
    read,
    read_json,
    redirect_target,
    request_id,
    retry_after,
    salvage_generation,
    schema_error,
)
from lipsync_async._models.response import Generation
from lipsync_async.errors import (
    STATUS_ERRORS,
    AuthenticationError,
    BadRequestError,
    ConcurrencyLimitError,
    ConflictError,
    DecodeError,
    NotFoundError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    ServerError,
    UnprocessableError,
)
from tests.logic.answers import JOB, reply

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Everything that an error body may name, with values of any type.
FACTS = st.dictionaries(
    st.sampled_from(
        """
        statusCode errorCode error_code message error suggestion field activeGenerations
        concurrencyLimit retryAfterSeconds upgradeUrl
        """.split()  # noqa: SIM905 - reads better
    ),
    JSON,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, PayloadTooLargeError),
        (422, UnprocessableError),
        (429, RateLimitError),
        *((status, ServerError) for status in (500, 501, 502, 503, 504, 505, 520, 599)),
        *((status, ResponseError) for status in (300, 302, 304, 405, 406, 408, 410, 418, 451, 499)),
    ],
)
def test_every_status_has_its_class(status: int, kind: type[ResponseError]) -> None:
    """The status alone decides the class, whatever the body is."""
    for body in (b"", b"<html>", b"[]", {"statusCode": 200, "message": "No."}):
        error = error_for(reply(body, status))
        assert (type(error), error.status) == (kind, status)


def test_no_status_class_is_forgotten() -> None:
    """Every class of the table is one of the documented statuses."""
    assert sorted(STATUS_ERRORS) == [400, 401, 402, 403, 404, 409, 413, 422, 429]


def facts_of(error: ResponseError) -> tuple[str, str | None, str | None, str | None]:
    """Return what the service said."""
    return error.message, error.code, error.suggestion, error.field


PROXY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>"
NOTHING = ("no reason was given", None, None, None)


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (
            {
                "statusCode": 422,
                "errorCode": "generation_input_video_inaccessible",
                "message": "Cannot fetch the video.",
                "suggestion": "Make it public.",
                "field": "input[0].url",
            },
            (
                "Cannot fetch the video.",
                "generation_input_video_inaccessible",
                "Make it public.",
                "input[0].url",
            ),
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
        (None, NOTHING),
        ({}, NOTHING),
        ([], NOTHING),
        (b"", NOTHING),
        (b" \r\n ", NOTHING),
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
    assert (error.message.startswith(facts[0]), facts_of(error)[1:]) == (True, facts[1:])
    assert len(error.message) <= 200


@given(st.integers(300, 599), FACTS | JSON)
def test_no_json_is_too_odd(status: int, body: Any) -> None:
    """Any JSON with an error status is one error, whose facts are texts and sane numbers."""
    error = error_for(reply(body, status))
    assert error.status == status
    assert error.message
    kinds = {type(error.code), type(error.suggestion), type(error.field)}
    assert kinds <= {str, type(None)}
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")


@given(st.integers(300, 599), st.binary(max_size=300))
@example(429, b'{"retryAfterSeconds": 1' + b"0" * 400 + b"}")
@example(500, b"[" * 100_000)
@example(500, b'{"message": NaN}')
def test_no_bytes_are_too_odd(status: int, body: bytes) -> None:
    """Any bytes with an error status are one error, and it keeps them."""
    error = error_for(reply(body, status))
    assert (error.status, error.response.body) == (status, body)


RATE = {
    "statusCode": 429,
    "errorCode": "rate_limit_exceeded",
    "message": "Rate limit exceeded. Please try again later.",
    "error": "Too Many Requests",
}
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
        ({"errorCode": "batch_concurrency_limit_reached"}, (None, None, None)),
        ({**FULL, "concurrencyLimit": "3", "activeGenerations": True}, (None, None, 30.0)),
    ],
)
def test_a_full_account_is_told_apart(body: Any, expected: tuple[Any, ...]) -> None:
    """With and without a code, a 429 about running jobs is not one about requests."""
    error = error_for(reply(body, 429))
    assert isinstance(error, ConcurrencyLimitError)
    assert (error.concurrency_limit, error.active_generations, error.retry_after) == expected


@pytest.mark.parametrize(
    "body",
    [
        RATE,
        without(RATE, "errorCode"),
        {**FULL, "errorCode": "rate_limit_exceeded"},
        {"message": "Slow down.", "retryAfterSeconds": 3},
        {},
        [],
        b"<html>",
    ],
)
def test_too_many_requests_are_told_apart(body: Any) -> None:
    """The code decides; without one and without numbers it is the rate."""
    assert type(error_for(reply(body, 429))) is RateLimitError


def test_only_a_429_is_about_slots() -> None:
    """The same facts with another status are that status's error."""
    assert type(error_for(reply(FULL, 503))) is ServerError


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_pointer_elsewhere_is_an_error_that_names_it(status: int) -> None:
    """A redirect that no one follows says where it points and what to check."""
    error = error_for(reply(b"<html>Moved</html>", status, location="https://other/v2"))
    assert type(error) is ResponseError
    assert str(error).endswith(
        "it points to 'https://other/v2' instead. "
        "Check base_url; only a GET follows such a pointer."
    )


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
        ("ftp://other/v2", None),
        ("file:///etc", None),
        ("mailto:me@other", None),
        ("http://", None),
        ("https://[", None),
        ("https://other:port", None),
        ("https://other:99999", None),
        ("https://other:0", None),
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
        ({}, None),
        ({"x_request_id": "a"}, "a"),
        ({"request_id": "b"}, "b"),
        ({"x_amzn_requestid": "c"}, "c"),
        ({"x_amz_cf_id": "d"}, "d"),
        ({"cf_ray": "e"}, "e"),
        ({"cf_ray": "e", "x_request_id": "a"}, "a"),
        ({"server": "f"}, None),
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
    answer = reply(b"", 429, retry_after=seconds, retry_after_ms=milliseconds, date=date)
    found = retry_after(answer)
    assert found is None or 0 <= found < float("inf")


# What a member of a job's JSON may look like, and what is read of it: `LOST` for nothing.
LOST = object()
DEEP = b"[" * 100_000 + b"]" * 100_000
SPOILT: dict[str, tuple[bytes, Any]] = {
    "first half of a pair": (rb'"cut \ud83d"', "cut \ufffd"),
    "second half of a pair": (rb'"\uDE00 cut"', "\ufffd cut"),
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
    "Infinity": (b"-Infinity", None),
    "a float without end": (b"1e999", None),
    "5,000 digits": (b"9" * 5000, None),
    "5,000 digits below zero": (b"-" + b"9" * 5000, None),
    "5,000 digits after the point": (b"0." + b"1" * 5000, 0.1111111111111111),
    "a line end in a text": (b'"a\nb"', LOST),
    "a NUL in a text": (b'"a\x00b"', LOST),
    "deep lists": (DEEP, LOST),
    "deep objects": (b'{"a":' * 100_000 + b"0" + b"}" * 100_000, LOST),
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


@pytest.mark.parametrize(
    "body",
    [
        *(b'[{"id": "g1"}, {"id": "g2", "status": "x"}]'[:length] for length in range(43)),
        *(b'{"id": "g1", "status": "x"}'[:length] for length in range(27)),
        b'[{"id": 01}] []',
        b'[{"id": 01}] x',
        b'x [{"id": 01}]',
        b'"a" [{"id": 01}]',
        b"]",
        b"}{",
        b"][",
        b"{01}",
        b"[01, 02]",
        b"[,]",
        b"{,}",
        DEEP,
        b"<html>{}</html>",
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


@pytest.mark.parametrize("end", LONG_ENDS.values(), ids=LONG_ENDS)
@pytest.mark.parametrize("start", [b'["', b'{"id": "g1", "error": "', b"[{}, ", b""])
def test_a_long_broken_answer_is_refused_soon(start: bytes, end: bytes) -> None:
    """What is no JSON is found out in one pass: a loop is not held up for minutes."""
    with pytest.raises(ValueError, match="it is no JSON"):
        loads(start + end)


SOUND = JSON.filter(lambda value: "Infinity" not in json.dumps(value))


@given(SOUND, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.booleans())
def test_sound_json_is_read_as_it_is(value: Any, encoding: str, ascii_only: bool) -> None:  # noqa: FBT001
    """Tolerance changes nothing of what the standard library reads, whatever its encoding."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert loads(text.encode(encoding, "surrogatepass")) == json.loads(text)


@given(st.binary())
@example(b"\\")
def test_no_body_is_too_odd(body: bytes) -> None:
    """Any bytes are JSON or a `ValueError`."""
    with suppress(ValueError):
        loads(body)


def test_what_can_be_read_is_read() -> None:
    """A good answer is a value."""
    assert read_json(reply({"a": [1]})) == {"a": [1]}
    assert read(Generation, reply(JOB)).id == "g1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "its body is empty"),
        (b"<html>", "its body is no JSON"),
        (b'{"id": "g1"', "its body is no JSON"),
        (b"\xff", "its body is no JSON"),
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


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HALVES = st.text()  # halves of surrogate pairs included
WITHOUT_FLOATS = st.none() | st.booleans() | st.integers() | TEXT


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for JSON of these scalars."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=10,
    )


FINITE = nested(WITHOUT_FLOATS | st.floats(allow_nan=False, allow_infinity=False))

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


@given(FINITE)
def test_what_is_written_is_read(value: Any) -> None:
    """Whatever JSON can say survives."""
    assert loads(dumps(value)) == value


@given(FINITE | HALVES)
def test_what_is_written_is_read_by_strict_parsers(value: Any) -> None:
    """What is sent is UTF-8 and JSON, halves of surrogate pairs included."""
    assert json.loads(dumps(value).decode()) == value


@given(FINITE)
def test_answers_are_read_as_the_standard_library_reads_them(value: Any) -> None:
    """Spaces, escapes and indents change nothing."""
    assert loads(json.dumps(value, indent=1).encode()) == value


def test_what_is_written_is_compact() -> None:
    """Text goes as it is, without spaces between."""
    value = {"a": [1, 0.5, None, True], "é": "\U0001f600 \ud83d"}
    expected = '{"a":[1,0.5,null,true],"é":"\U0001f600 \\ud83d"}'.encode()
    assert dumps(value) == expected


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    """Whatever a proxy sends, it is refused with the same error."""
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        loads(text)


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


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_digit(number: float) -> None:
    """A float comes back as the same float."""
    assert loads(dumps(number)) == number


# What one job of a list may carry, and what is read in its place.
POISONS = {
    "NaN": (b"NaN", None),
    "Infinity": (b"Infinity", None),
    "-Infinity": (b"-Infinity", None),
    "too large": (b"1e309", None),
    "too large below zero": (b"-1e309", None),
    "too large for its exponent": (b"1e99999999999999999999", None),
    "too large, written out": (b"9" * 309, None),
    "more digits than Python reads": (b"1" * 5000, None),
    "more digits below zero": (b"-" + b"1" * 5000, None),
    "the most digits": (b"9" * 308, 10**308 - 1),
    "large": (b"1e308", 1e308),
    "small": (b"1e-999", 0.0),
    "a long fraction": (b"0." + b"3" * 5000, 1 / 3),
    "the first half of a pair": (rb'"\ud83d"', "\ufffd"),
    "the second half of a pair": (rb'"a\ude00b"', "a\ufffdb"),
    "halves in the wrong order": (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
    "half a pair as bytes": (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
    "half a pair as a name": (rb'{"\ud83d": 1}', {"\ufffd": 1}),
    "a byte that is no UTF-8": (b'"\xff"', "\ufffd"),
    "Latin-1": (b'"caf\xe9 \xe0 la carte"', "caf\ufffd \ufffd la carte"),
    "a character cut in two": (b'"\xf0\x9f\x98"', "\ufffd"),
    "a name that is no UTF-8": (b'{"\xff": 1}', {"\ufffd": 1}),
    "a null character": (rb'"a\u0000b"', "a\0b"),
    "a name twice": (b'{"a": 1, "a": 2}', {"a": 2}),
}


@pytest.mark.parametrize(("poison", "expected"), POISONS.values(), ids=POISONS)
def test_one_bad_value_costs_no_more_than_itself(poison: bytes, expected: object) -> None:
    """The other jobs of a list are read, and so is the rest of its own."""
    text = b'[{"id": "1", "x": 0.5}, {"id": "2", "x": %b, "y": 2}, {"id": "3"}]' % poison
    assert loads(text) == [{"id": "1", "x": 0.5}, {"id": "2", "x": expected, "y": 2}, {"id": "3"}]


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
