import asyncio
import gc
import json
import pickle
import re
import traceback
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import assume, given, settings, strategies as st

from lipsync_async import BatchMetrics
from lipsync_async._enums import Status
from lipsync_async.errors import ConfigurationError, LipsyncError
from lipsync_async.webhooks import (
    BatchEvent,
    GenerationEvent,
    WebhookError,
    WebhookPayloadError,
    WebhookReceiver,
    WebhookVerificationError,
    from_aiohttp,
    from_django,
    from_flask,
    from_starlette,
    parse,
    sign,
    unwrap,
    verify,
)
from tests.foreign import FOREIGN

SECRET = "whsec_secret"
NOW = 1_750_000_000.0
BODY = '{"id":"1","status":"COMPLETED","error":"Grüße, 世界"}'.encode()
HEADER = sign(BODY, SECRET, NOW)

secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda secret: secret.strip() and not re.search(r"[*\u2022\u25cf]{3}|\u2026|\.{3}", secret)
)


def kind(value: object) -> str:
    """Name a test by its argument's type: some arguments cannot be written out."""
    return type(value).__name__


def read(body: Any) -> GenerationEvent:
    """Return what a webhook says about a generation."""
    event = parse(body)
    assert isinstance(event, GenerationEvent)
    return event


def refused(header: str | None, body: bytes = BODY, **judging: Any) -> str:
    """Return why a delivery is refused."""
    with pytest.raises(WebhookVerificationError) as caught:
        verify(body, header, SECRET, **{"now": NOW, **judging})
    return caught.value.reason


def test_signature_is_the_documented_one() -> None:
    """HMAC-SHA256 over time, dot and raw body, keyed with the whole secret text."""
    # Made with: printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac whsec_secret
    assert sign(b'{"id":"1"}', SECRET, 1_700_000_000.9) == (
        "t=1700000000,v1=2fdce3d84622450ab95bc710630480e9484c3efe8046000fbbfabfb5b7ed109d"
    )


@given(body=st.binary(), secret=secrets, at=st.integers(0, 10**11))
def test_what_was_signed_is_verified(body: bytes, secret: str, at: int) -> None:
    """Any body, secret and time make a signature that holds at that time."""
    verify(body, sign(body, secret, at), secret, now=float(at))


@given(index=st.integers(0, len(BODY) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(index: int, flip: int) -> None:
    """A body that differs in one byte is refused."""
    changed = bytearray(BODY)
    changed[index] ^= flip
    assert refused(HEADER, bytes(changed)) == "its signature does not match its body"


@given(index=st.integers(0, len(HEADER) - 1), character=st.characters(codec="ascii"))
def test_any_changed_character_of_the_header_is_noticed(index: int, character: str) -> None:
    """A header that differs in one character is refused, spaces around parts aside."""
    assume(character != HEADER[index])
    changed = HEADER[:index] + character + HEADER[index + 1 :]
    assert refused(changed)


@given(other=secrets)
def test_another_secret_does_not_verify(other: str) -> None:
    """Only the secret that signed verifies."""
    assume(other != SECRET)
    assert refused(sign(BODY, other, NOW)) == "its signature does not match its body"


@given(
    header=st.text()
    | st.lists(st.sampled_from(["t=", "1", "v1=", "0f", ",", " ", "é"])).map("".join)
)
def test_no_header_text_breaks_the_check(header: str) -> None:
    """Whatever the header holds, the answer is a refusal, never another error."""
    assert refused(header)


@pytest.mark.parametrize(
    "header",
    [
        *("", "t=,v1=00", "v1=00", "t=1", "t=1,v0=00", "t=-1,v1=00", "t=1.5,v1=00", "t=1;v1=00"),
        *("t=\u0661,v1=00", "t=1,t=2,v1=00", f"t={'9' * 13},v1=00"),
    ],
)
def test_malformed_headers_are_named_as_such(header: str) -> None:
    """A header that is not of the documented form is told apart from a wrong signature."""
    assert refused(header) == "its Sync-Signature header is not of the form t=<seconds>,v1=<hex>"


def test_a_missing_header_is_named_as_such() -> None:
    """No header is a reason of its own."""
    assert refused(None) == "it has no Sync-Signature header"


def test_header_parts_may_be_spaced_ordered_and_many() -> None:
    """Spaces, another order, other versions and several signatures are taken in stride."""
    moment, signature = HEADER.split(",")
    verify(BODY, f"v0=x, v1=00 , {signature},v1=ü, {moment}", SECRET, now=NOW)


@given(age=st.floats(-1000, 1000), tolerance=st.floats(0, 1000))
def test_only_fresh_signatures_count(age: float, tolerance: float) -> None:
    """A signature counts within the tolerance, to both sides of now."""
    now = NOW + age
    if abs(now - NOW) <= tolerance:
        verify(BODY, HEADER, SECRET, tolerance=tolerance, now=now)
    else:
        assert "the tolerance is" in refused(HEADER, tolerance=tolerance, now=now)


def test_tolerance_defaults_to_five_minutes() -> None:
    """301 s old or early is not fresh; `None` takes any age; the system's clock is the default."""
    verify(BODY, HEADER, SECRET, now=NOW + 300)
    assert refused(HEADER, now=NOW + 301) == "it was signed 301 s ago; the tolerance is 300 s"
    assert "301 s in the future" in refused(HEADER, now=NOW - 301)
    verify(BODY, HEADER, SECRET, tolerance=None)
    assert "s ago" in refused(sign(BODY, SECRET, 0), now=None)


def test_several_secrets_allow_an_exchange() -> None:
    """While the secret is exchanged, either of the two verifies, in any order."""
    for pair in (["new", SECRET], (SECRET, "new")):
        verify(BODY, HEADER, pair, now=NOW)
    with pytest.raises(WebhookVerificationError):
        verify(BODY, HEADER, ["new", "newer"], now=NOW)


BAD_SECRETS: list[Any] = [
    *("", " ", "\n", b"", b" \t", bytearray(), None, [], (), set(), {}, iter(())),
    *([SECRET, ""], [SECRET, None], [None], (b"",), {SECRET, " "}, {SECRET: 1, "": 2}),
    *("whsec_****", "whsec_1f2e********9c", "whsec_…", "whsec_•••".encode()),
    *("whsec_...", [SECRET, "****"], "●●●●", 7, 1.5, True, object(), [7], [[SECRET]]),
    *("half \ud800", memoryview(b""), SECRET.encode),
]


@pytest.mark.parametrize("secret", BAD_SECRETS, ids=kind)
def test_a_secret_that_can_check_nothing_is_a_mistake(secret: Any) -> None:
    """A missing, empty or masked one is refused at once, and signs nothing."""
    with pytest.raises(ConfigurationError, match=r"[Ww]ebhook secret"):
        verify(None, "nonsense", secret, now=NOW)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"[Ww]ebhook secret"):
        sign(BODY, secret, NOW)


GOOD_SECRETS: list[Any] = [
    *(SECRET.encode(), bytearray(SECRET.encode()), [b"whsec_old", SECRET.encode()]),
    *({"whsec_old", SECRET}, frozenset({SECRET}), deque(["whsec_old", SECRET]), {SECRET: "key"}),
    (secret for secret in ("whsec_old", SECRET)),
]


@pytest.mark.parametrize("secret", GOOD_SECRETS, ids=kind)
def test_a_secret_comes_in_many_forms(secret: Any) -> None:
    """Text or bytes, one or several, in whatever holds them."""
    verify(BODY, HEADER, secret, now=NOW)


def test_a_secret_copied_with_a_line_end_is_named() -> None:
    """The advice tells what no eye sees."""
    with pytest.raises(WebhookVerificationError, match="ends with a space or a line break"):
        verify(BODY, HEADER, f"{SECRET}\n", now=NOW)


GOOD_BODIES: list[Any] = [
    *(bytearray(BODY), memoryview(BODY), BODY.decode(), memoryview(BODY[::-1])[::-1]),
    memoryview(bytearray(BODY)),
]


@pytest.mark.parametrize("body", GOOD_BODIES, ids=kind)
def test_a_body_comes_in_many_forms(body: Any) -> None:
    """Frameworks give bytes, views of them, or their text; all are the same body."""
    verify(body, HEADER, SECRET, now=NOW)
    assert sign(body, SECRET, NOW) == HEADER
    assert parse(body).id == "1"


def test_text_that_was_decoded_from_no_unicode_is_still_the_body() -> None:
    """Python's own way to keep bytes in text leads back to the bytes."""
    data = b'{"id": "\xff"}'
    verify(data.decode("utf-8", "surrogateescape"), sign(data, SECRET, NOW), SECRET, now=NOW)


released = memoryview(BODY)
released.release()
NO_BODIES: list[Any] = [
    *(None, 7, 1.5, True, [], [BODY], (BODY,), {}, set(), object(), "half \ud800", released),
    *(json.loads(BODY), iter([BODY]), BODY.decode, NOW, SECRET.split),
]


@pytest.mark.parametrize("body", NO_BODIES, ids=kind)
def test_a_body_without_its_bytes_is_refused_in_words(body: Any) -> None:
    """What was decoded, or is no body at all, is no reason for another error."""
    assert "its body" in refused(HEADER, body)
    assert "its body" in refused(HEADER, body, lenient_json=True)
    with pytest.raises(WebhookPayloadError):
        sign(body, SECRET, NOW)
    if not isinstance(body, dict):  # which is read as it is
        with pytest.raises(WebhookPayloadError, match="body: its body"):
            parse(body)


class Headers:
    """Headers like those of frameworks that have a class of their own for them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Give them one by one."""
        return [("Host", "h"), ("sync-signature", HEADER)]


GOOD_HEADERS: list[Any] = [
    *(HEADER.encode(), bytearray(HEADER.encode()), [HEADER], (HEADER,), [HEADER.encode()]),
    *({"Sync-Signature": HEADER}, {"SYNC-SIGNATURE": HEADER, "Host": "h"}),
    *({b"sync-signature": HEADER.encode()}, {"Sync-Signature": [HEADER]}),
    *({"HTTP_SYNC_SIGNATURE": HEADER, "wsgi.input": object()}, {"sync_signature": HEADER}),
    *([(b"host", b"h"), (b"sync-signature", HEADER.encode())], [["Sync-Signature", HEADER]]),
    *([("sync-signature", HEADER), ("Sync-Signature", HEADER)], Headers()),
    *(iter([("a", "b"), ("Sync-Signature", HEADER)]), f" {HEADER} "),
]


@pytest.mark.parametrize("header", GOOD_HEADERS, ids=kind)
def test_the_header_comes_in_many_forms(header: Any) -> None:
    """Its value, or all headers of the request, as each framework gives them."""
    verify(BODY, header, SECRET, now=NOW)


NO_HEADERS: list[Any] = [
    *(None, [], (), {}, set(), [None], {"Sync-Signature": None}, {"Sync-Signature": []}),
    *({"Host": "h"}, [("host", "h")], 7, 1.5, True, object(), [7], {"Sync-Signature": 7}, [[7, 8]]),
    *({7: HEADER}, [HEADER, "t=1,v1=00"], {"Sync-Signature": [HEADER, "t=1"]}, HEADER.split),
    *([("Sync-Signature", HEADER), ("sync-signature", "")], [(HEADER, HEADER)], b"\xff", "\ud800"),
    *(dict, type("Odd", (), {"items": len})(), type("Bad", (), {"items": 7})()),
]


@pytest.mark.parametrize("header", NO_HEADERS, ids=kind)
def test_a_header_that_says_nothing_is_refused_in_words(header: Any) -> None:
    """None, several, or what is no header: the documented error."""
    assert "Sync-Signature header" in refused(header)


@pytest.mark.parametrize(
    "value", ["300", b"1", "nan", float("nan"), float("inf"), [], 10**400, 1j], ids=kind
)
@pytest.mark.parametrize("name", ["tolerance", "now"])
def test_seconds_that_are_none_are_a_mistake(name: str, value: Any) -> None:
    """A wrong setting is told as one, whatever was delivered."""
    with pytest.raises(ConfigurationError, match=f"{name} must be a finite number of seconds"):
        verify(BODY, HEADER, SECRET, **{"now": NOW, name: value})


class Unread(bytes):
    """A body that must not be looked at."""

    __bytes__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "t=1", "t=1,v1=00", "t=x,v1=00", "t=1," * 1000),
        *(f"t={NOW - 301:.0f},v1=00", f"t={NOW + 301:.0f},v1=00"),
        *(f"t={NOW:.0f}" + ",v1=" * 16, f"t={NOW:.0f}" + ",v1=" * 1000),
        *(HEADER + "," * 2700, HEADER + "," + "v1=" + "0" * 3000),
    ],
)
def test_what_costs_nothing_is_checked_first(header: str | None) -> None:
    """A forged delivery of any size is refused by its header, before its body is looked at."""
    refused(header, Unread())


def test_the_most_signatures_are_compared() -> None:
    """Fifteen beside the time are more than any exchange of secrets needs."""
    moment, signature = HEADER.split(",")
    verify(BODY, ",".join([moment, *["v1=00"] * 14, signature]), SECRET, now=NOW)
    assert "longer than any" in refused(",".join([moment, *["v1=00"] * 15, signature]))


def test_a_body_written_anew_needs_leniency() -> None:
    """Spaced and escaped JSON matches its compact form only when asked."""
    rewritten = json.dumps(json.loads(BODY), indent=2).encode()
    assert refused(HEADER, rewritten) == "its signature does not match its body"
    verify(rewritten, HEADER, SECRET, now=NOW, lenient_json=True)


@pytest.mark.parametrize("body", [b"no JSON", b"\xff", b"[" * 100_000, rb'"\ud800"', b'{"id":"2"}'])
def test_leniency_forgives_only_the_form(body: bytes) -> None:
    """A body that is no JSON, or says something else, stays refused."""
    assert refused(HEADER, body, lenient_json=True) == "its signature does not match its body"


def test_errors_say_what_to_do_and_pickle() -> None:
    """The message ends with the next step, holds no secret, and survives a pickle."""
    with pytest.raises(WebhookVerificationError) as caught:
        verify(BODY, f"t={NOW:.0f},v1=00", SECRET, now=NOW)
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert str(copied) == str(caught.value)
    assert copied.reason == "its signature does not match its body"
    assert "Answer 400." in str(copied)
    assert SECRET not in repr(copied)


def test_parse_reads_every_field() -> None:
    """A full event comes typed; inputs, options and the whole stay raw."""
    data = {
        "id": "1",
        "status": "COMPLETED",
        "model": "lipsync-2",
        "createdAt": "2026-01-02T03:04:05.678Z",
        "outputUrl": "https://h/1.mp4",
        "segmentOutputUrl": "https://h/s.mp4",
        "outputDuration": 8,
        "error": None,
        "webhookUrl": "https://h/hook",
        "input": [{"type": "hologram"}],
        "options": {"sync_mode": "loop"},
        "brandNew": True,
    }
    event = read(json.dumps(data))
    assert parse(data) == event  # some frameworks decode before anybody can ask for bytes
    assert (event.id, event.status, event.model) == ("1", Status.COMPLETED, "lipsync-2")
    assert event.created_at == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert (event.output_url, event.segment_output_url) == ("https://h/1.mp4", "https://h/s.mp4")
    assert (event.output_duration, event.webhook_url) == (8, "https://h/hook")
    assert (event.error, event.error_code) == (None, None)
    assert (event.input, event.options) == ([{"type": "hologram"}], {"sync_mode": "loop"})
    assert event.raw == data


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"error_code": "a"}, "a"),
        ({"errorCode": "b"}, "b"),
        ({"error_code": "a", "errorCode": "b"}, "a"),
        ({"error_code": None, "errorCode": "b"}, "b"),
        ({}, None),
    ],
)
def test_both_spellings_of_the_code_are_read(extra: dict[str, Any], code: str | None) -> None:
    """`error_code` is the webhook's spelling, `errorCode` the polled object's."""
    assert read(json.dumps({"id": "1", "status": "FAILED", **extra})).error_code == code


def test_a_batch_event_is_read_too() -> None:
    """A batch is known by its metrics, spells them in snake case and has statuses of its own."""
    data = {
        "id": "b",
        "status": "JOBS_CREATED",
        "created_at": "2026-01-02T03:04:05",
        "metrics": {"total_generations": 20, "success_count": 1, "pending_count": 19},
        "outputUrl": "https://h/b.jsonl",
        "webhookUrl": "https://h/hook",
    }
    event = parse(data)
    assert event == BatchEvent(
        id="b",
        status="JOBS_CREATED",
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        metrics=BatchMetrics(
            total_generations=20, success_count=1, failed_count=None, pending_count=19
        ),
        output_url="https://h/b.jsonl",
        webhook_url="https://h/hook",
    )
    assert event.raw == data


def test_problems_of_a_batch_event_are_listed_with_their_paths() -> None:
    """Counts are named by their path, and metrics that are no object by themselves."""
    with pytest.raises(WebhookPayloadError) as caught:
        parse({"id": 5, "metrics": {"success_count": "all", "failed_count": True}})
    assert caught.value.paths == (
        "status: is missing",
        "id: expected text, got 5",
        "metrics.success_count: expected a number, got 'all'",
        "metrics.failed_count: expected a number, got True",
    )
    with pytest.raises(WebhookPayloadError, match=r"metrics: expected an object, got \[1\]"):
        parse({"id": "b", "status": "FAILED", "metrics": [1]})


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"\xff", b"[" * 100_000, "<html>", '{"id": ' + "9" * 5000 + "}"]
)
def test_a_body_that_is_no_json_is_refused(body: bytes | str) -> None:
    """No error of the JSON parser gets out; a list or a number is no event either."""
    with pytest.raises(WebhookPayloadError, match="body: is not JSON"):
        parse(body)
    with pytest.raises(WebhookPayloadError, match=r"body: expected an object, got \[1\]"):
        parse(b"[1]")


def test_all_problems_are_listed_with_their_paths() -> None:
    """One error names every field that cannot be read, and pickles."""
    body = (
        '{"id": "", "status": 5, "createdAt": "yesterday", "outputDuration": true,'
        ' "outputUrl": ["x"], "input": {}, "options": []}'
    )
    with pytest.raises(WebhookPayloadError) as caught:
        parse(body)
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert copied.paths == (
        "id: is missing",
        "status: expected text, got 5",
        "createdAt: expected an ISO 8601 time, got 'yesterday'",
        "outputUrl: expected text, got ['x']",
        "outputDuration: expected a finite number, got True",
        "input: expected a list, got {}",
        "options: expected an object, got []",
    )


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "-1" + "0" * 4000]
)
def test_a_duration_that_is_no_finite_number_is_a_problem(number: str) -> None:
    """Nothing that computes with it meets one."""
    with pytest.raises(WebhookPayloadError, match="outputDuration: expected a finite number, got"):
        parse(f'{{"id": "1", "status": "FAILED", "outputDuration": {number}}}')


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (10**5000, "id: expected text, got "),  # its kind, in the words of each Python
        ([[[[[]]]]], "id: expected text, got [[[...]]]"),
        ("x" * 500, "createdAt: expected an ISO 8601 time, got 'xxx"),
        ("0001-01-01T00:00:00+14:00", "createdAt: expected an ISO 8601 time, got '0001"),
        ({"a": "b" * 1000}, "id: expected text, got {'a': 'bbb"),
        (float("nan"), "id: expected text, got nan"),
        (0, "id: expected text, got 0"),
        (False, "id: expected text, got False"),
        (b"1", "id: expected text, got b'1'"),
    ],
    ids=kind,
)
def test_odd_values_are_quoted_in_few_characters(value: Any, told: str) -> None:
    """A message that quotes a delivery is short and holds no character that is not printable."""
    name = told.partition(":")[0]
    with pytest.raises(WebhookPayloadError) as caught:
        parse({"id": "1", "status": "FAILED", name: value})
    (problem,) = caught.value.paths
    assert problem.startswith(told)
    assert len(problem) < 120


@pytest.mark.parametrize("text", [r"\ud83d", r"\u001b[2J", r"\u202e", r"\u0000"])
def test_odd_texts_are_kept_and_shown_by_number(text: str) -> None:
    """A text that was cut inside an emoji, say, does not lose the event."""
    event = read(f'{{"id": "1", "status": "FAILED", "error": "{text}"}}')
    assert event.error == json.loads(f'"{text}"')
    with pytest.raises(WebhookPayloadError) as caught:
        parse(f'{{"id": "1", "status": "FAILED", "input": "{text}"}}')
    assert str(caught.value).replace("\n", "").isprintable()


def test_of_a_name_that_is_given_twice_the_last_counts() -> None:
    """As everywhere in Python; the signature is over all of it."""
    assert parse('{"id": "1", "status": "FAILED", "id": "2"}').id == "2"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "status", "createdAt", "outputDuration", "input", "metrics", "x"]
                ),
                inner,
            )
        ),
        max_leaves=5,
    )
)
def test_no_json_breaks_the_reader(data: Any) -> None:
    """Any JSON is either an event that keeps its whole, or a clear error."""
    event = None
    with suppress(WebhookPayloadError):
        event = parse(json.dumps(data))
    assert event is None or isinstance(event.raw, dict)


class Unlucky:
    """Raise when it is looked at, but not when it is shown."""

    def __bool__(self) -> bool:
        raise LookupError("asked")

    def __iter__(self) -> Iterator[str]:
        raise LookupError("iterated")


SIGNED = sign(b"{}", "SECRET", 5)


def _raising(secret: str) -> Iterator[str]:
    """Yield a secret, then raise."""
    yield secret
    raise LookupError("no more")


@pytest.mark.parametrize(
    "at",
    [
        *(None, "", "5", b"5", "nan", -1, -0.5, float("nan"), float("inf"), 10**12, 10**400, 1e300),
        *(10**5000, [], {}, 1j, ...),
        *(FOREIGN[name] for name in ("array", "no array", "signalling", "moment", "span", "loud")),
        *(FOREIGN[name] for name in ("generator", "mapping", "deep", "circle", "member", "path")),
    ],
    ids=kind,
)
def test_only_a_time_is_signed(at: Any) -> None:
    """What `verify` could not read is no time: before 1970, after the year 33,000, or odd."""
    with pytest.raises(ConfigurationError, match=r"^at must be a .{1,120}$"):
        sign(BODY, SECRET, at)


@pytest.mark.parametrize(
    "at", [0, 0.9, 5, True, 10**12 - 1, Decimal("5.5"), Fraction(11, 2), np.int64(5), np.float32(5)]
)
def test_any_number_may_be_a_time(at: Any) -> None:
    """The fraction is dropped, and what is signed is verified."""
    header = sign(BODY, SECRET, at)
    assert header.startswith(f"t={int(at)},v1=")
    verify(BODY, header, SECRET, now=int(at))


@pytest.mark.parametrize("field", ["id", "status", "model", "createdAt", "outputDuration", "input"])
def test_a_decoded_body_of_foreign_values_is_refused_in_words(field: str) -> None:
    """Arrays, decimals and what raises when it is looked at are problems with a path."""
    for name in FOREIGN.keys() - {"deep", "circle"}:
        body = {"id": "x", "status": "COMPLETED", field: FOREIGN[name]}
        with pytest.raises(WebhookPayloadError, match=f"{field}: expected "):
            parse(body)


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (verify, (b"{}", "t=1,v1=abc", "SECRET"), {}),
        (verify, (b"{}", sign(b"{}", "other", 5), "SECRET"), {"now": 5}),
        (verify, (b"{}", None, "SECRET"), {}),
        (verify, (b"{}", "x", ["SECRET", ""]), {}),
        (verify, (b"{}", "x", [b"SECRET", 5]), {}),
        (verify, (b"{}", "x", "SECRET"), {"tolerance": "soon"}),
        (verify, ({}, "t=5,v1=abc", "SECRET"), {"now": 5}),
        (sign, (b"{}", "SECRET***", 5), {}),
        (sign, ({}, "SECRET", 5), {}),
        (sign, (b"{}", "SECRET", "now"), {}),
        (sign, (b"{}", "SECRET", -1), {}),
        (sign, (b"{}", ["SECRET", "SECRET"], 5), {}),
        (verify, (b"{}", Unlucky(), "SECRET"), {}),
        (verify, (b"{}", {"Sync-Signature": Unlucky()}, "SECRET"), {}),
        (verify, (b"{}", [(Unlucky(), "t=5,v1=abc")], "SECRET"), {}),
        (verify, (b"{}", SIGNED, "SECRET"), {"now": 5, "lenient_json": Unlucky()}),
        (verify, (b"{}", SIGNED, ["SECRET", Unlucky()]), {"now": 5}),
        (sign, (b"{}", (each for each in (b"SECRET", Unlucky())), 5), {}),
        (sign, (b"{}", _raising("SECRET"), 5), {}),
        (verify, (b"{}", "t=5,v1=abc", _raising("SECRET")), {"now": 5}),
        (unwrap, (b"{}", "t=5,v1=abc", "SECRET"), {"now": 5}),
        (unwrap, (b"{}", sign(b"{}", "SECRET", 5), "SECRET"), {"now": 5}),
        (unwrap, (b"{}", SIGNED, ["SECRET", Unlucky()]), {"now": 5}),
        (WebhookReceiver, (["SECRET", ""],), {}),
        (WebhookReceiver, (_raising("SECRET"),), {}),
        (WebhookReceiver, ("SECRET",), {"tolerance": "soon"}),
        (WebhookReceiver, ("SECRET",), {"remembered": 0}),
        (WebhookReceiver, ("SECRET",), {"remembered": True}),
        (from_flask, (None, "SECRET"), {}),
        (from_django, (None, "SECRET***"), {}),
    ],
)
def test_secret_is_in_no_traceback(function: Any, arguments: Any, named: Any) -> None:
    """A traceback that lists local variables shows no secret in any frame of the package."""
    with pytest.raises(LipsyncError) as caught:
        function(*arguments, **named)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [repr(each.locals) for each in told.stack if "/tests/" not in each.filename]
    assert [frame for frame in frames if "SECRET" in frame] == []
    assert "SECRET" not in str(caught.value)


def test_unwrap_verifies_and_reads() -> None:
    """One call returns the typed event, under any of the secrets; a masked one is refused."""
    event = unwrap(BODY, {"SYNC-SIGNATURE": [HEADER]}, ["whsec_next", SECRET], now=NOW)
    assert event == GenerationEvent(id="1", status=Status.COMPLETED, error="Grüße, 世界")
    batch = b'{"id": "b", "status": "FAILED", "metrics": {}}'
    assert isinstance(unwrap(batch, sign(batch, SECRET, NOW), SECRET, now=NOW), BatchEvent)
    with pytest.raises(ConfigurationError, match="masked"):
        unwrap(BODY, HEADER, "whsec_********", now=NOW)
    for late in (301, -301):
        with pytest.raises(WebhookVerificationError, match="the tolerance is"):
            unwrap(BODY, HEADER, SECRET, now=NOW + late)
    unwrap(BODY, HEADER, SECRET, now=NOW + 301, tolerance=302)


pieces = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
odd = st.recursive(
    pieces, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner)
)


@given(
    body=odd | st.just(BODY),
    headers=odd | st.dictionaries(st.sampled_from(["Sync-Signature", b"sync-signature"]), odd),
    secret=odd | st.just(SECRET),
    is_signed=st.booleans(),
)
def test_any_delivery_is_an_event_or_our_error(
    body: Any, headers: Any, secret: Any, *, is_signed: bool
) -> None:
    """Any body and headers are an event or a `WebhookError`; any secret is one or told as wrong."""
    if is_signed and isinstance(body, bytes):
        headers = {"Sync-Signature": sign(body, SECRET, NOW)}
    event = None
    with suppress(WebhookError, ConfigurationError):
        event = unwrap(body, headers, secret, now=NOW)
    assert event is None or (body, secret) == (BODY, SECRET)
    with suppress(WebhookError):
        event = unwrap(body, headers, SECRET, now=NOW)
    assert event is None or body == BODY
    assert WebhookReceiver(SECRET).handle(body, headers) == 400  # it is as of long ago
    with suppress(ConfigurationError):
        assert WebhookReceiver(secret).handle(body, headers) == 400


class Odd:
    """A request with a body, or pieces of one, and headers of any kind."""

    def __init__(self, body: Any, headers: Any) -> None:
        self.body, self.headers = body, headers

    def get_data(self) -> Any:
        """Return the body, as Flask does."""
        return self.body

    async def read(self) -> Any:
        """Return the body, as aiohttp does."""
        return self.body

    async def stream(self) -> AsyncIterator[Any]:
        """Yield the body, as Starlette does."""
        yield self.body


@settings(max_examples=20)
@given(body=odd, headers=odd | st.dictionaries(st.just("Content-Length"), pieces, min_size=1))
async def test_any_request_is_an_event_or_our_error(body: Any, headers: Any) -> None:
    """The adapters take whatever a framework, or a mistake, hands over."""
    for request in (Odd(body, headers), headers):
        for adapter in (from_flask, from_django):
            with pytest.raises(WebhookError):
                adapter(request, SECRET)
        for awaited in (from_aiohttp, from_starlette):
            with pytest.raises(WebhookError):
                await awaited(request, SECRET)


class Stuck:
    """A request whose body never comes."""

    headers: ClassVar[dict[str, str]] = {"Content-Length": "9"}

    async def read(self) -> bytes:
        """Wait, as aiohttp does."""
        raise KeyboardInterrupt

    body = read


@pytest.mark.parametrize("adapter", [from_aiohttp, from_starlette])
async def test_a_request_that_is_left_shows_no_secret(adapter: Any) -> None:
    """A traceback of a cancellation, say, lists the adapter's frame, but not the secret."""
    with pytest.raises(KeyboardInterrupt) as caught:
        await adapter(Stuck(), "SECRET")
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [repr(each.locals) for each in told.stack if "/tests/" not in each.filename]
    assert (len(frames) > 1, [frame for frame in frames if "SECRET" in frame]) == (True, [])


@attrs.frozen(eq=False)
class Waits:
    """Waits that note which jobs they were woken for."""

    woken: list[str]

    async def begin(self, receiver: WebhookReceiver) -> None:
        """Wait in this loop, and be woken once."""
        receiver.connect(self.wake)
        receiver.deliver(GenerationEvent(id="first", status=Status.COMPLETED))
        await checkpoint()

    def wake(self, job: str) -> None:
        """Note the job."""
        self.woken.append(job)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_loop_that_was_closed_is_passed_over(is_kept: bool) -> None:  # noqa: FBT001
    """An event is taken, whatever has become of a loop that waited, and of its object."""
    receiver, waits = WebhookReceiver(), Waits([])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(waits.begin(receiver))
    loop.close()
    kept = [loop] if is_kept else []
    del loop
    gc.collect()
    receiver.deliver(GenerationEvent(id="second", status=Status.COMPLETED))
    assert receiver.has_event("second")
    assert (waits.woken, len(kept)) == (["first"], int(is_kept))
