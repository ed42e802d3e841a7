import json
from typing import Any

import pytest

from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.webhooks import Inbox, deliveries, payload, sign, signature_problem
from lipsync_async.webhooks import (
    SIGNATURE_HEADER,
    GenerationEvent,
    WebhookVerificationError,
    parse,
    verify,
)

SECRET = "whsec_test"
NOW = 1_750_000_000.0
POLLED: dict[str, Any] = {
    "id": "job-1",
    "createdAt": "2026-01-01T00:00:00.000Z",
    "status": "FAILED",
    "model": "lipsync-2",
    "input": [{"type": "text", "provider": {"script": "Grüße"}}],
    "options": {"sync_mode": "bounce"},
    "segments": [],
    "webhookUrl": "http://127.0.0.1:9/hook",
    "outputFileName": "take",
    "projectId": "project-1",
    "synthesizedAudioUrl": "http://127.0.0.1:9/speech",
    "outputDuration": None,
    "error": "no face",
    "errorCode": "generation_input_face_selection_invalid",
    "progress_percent": 50,
}
EVENT = payload(POLLED)
URL = POLLED["webhookUrl"]


def problem(body: bytes, headers: Any, now: float) -> str | None:
    """Return why a delivery would not be trusted at a time; None: it would."""
    try:
        verify(body, headers[SIGNATURE_HEADER], SECRET, now=now)
    except WebhookVerificationError as error:
        return error.reason
    return None


def test_payload_has_the_webhooks_fields_only() -> None:
    """The polled object's extra fields stay out, and the code is spelled in snake case."""
    left_out = {
        *("segments", "outputFileName", "projectId", "synthesizedAudioUrl", "progress_percent"),
        "errorCode",
    }
    kept = {name: value for name, value in POLLED.items() if name not in left_out}
    expected = {**kept, "error_code": "generation_input_face_selection_invalid"}
    assert payload(POLLED) == expected


def test_a_delivery_is_signed_json_that_the_client_reads() -> None:
    """Without faults one POST leaves at once, and the public verifier accepts it."""
    (delivery,) = deliveries(URL, EVENT, secret=SECRET, now=NOW)
    assert (delivery.url, delivery.delay) == ("http://127.0.0.1:9/hook", 0)
    assert json.loads(delivery.body) == EVENT
    assert "Grüße".encode() in delivery.body
    assert delivery.headers["Content-Type"] == "application/json"
    assert problem(delivery.body, delivery.headers, NOW) is None
    event = parse(delivery.body)
    assert isinstance(event, GenerationEvent)
    assert event.error_code == "generation_input_face_selection_invalid"


@pytest.mark.parametrize(
    ("faults", "delays"),
    [
        ([], [0]),
        ([Fault("stick_job"), Fault("latency", seconds=9)], [0]),
        ([Fault("webhook_delay", seconds=5)], [5]),
        ([Fault("webhook_drop"), Fault("webhook_twice")], []),
        ([Fault("webhook_twice")], [0, 0]),
        ([Fault("webhook_twice", seconds=3)], [0, 3]),
        ([Fault("webhook_out_of_order")], [60]),
        ([Fault("webhook_out_of_order", seconds=2), Fault("webhook_delay", seconds=5)], [7]),
        ([Fault("webhook_delay", seconds=400), Fault("webhook_twice", seconds=1)], [400, 401]),
    ],
)
def test_faults_decide_when_and_how_often(faults: list[Fault], delays: list[float]) -> None:
    """Delays add up, and every delivery is fresh when it leaves."""
    plan = deliveries(URL, EVENT, faults, secret=SECRET, now=NOW)
    assert [delivery.delay for delivery in plan] == delays
    problems = [problem(each.body, each.headers, NOW + each.delay) for each in plan]
    assert problems == [None] * len(delays)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("webhook_bad_signature"), "its signature does not match its body"),
        (Fault("webhook_stale_time"), "it was signed 3600 s ago; the tolerance is 300 s"),
        (
            Fault("webhook_stale_time", seconds=301),
            "it was signed 301 s ago; the tolerance is 300 s",
        ),
    ],
)
def test_faults_decide_what_is_signed(fault: Fault, reason: str) -> None:
    """A bad signature and a stale time are refused by the public verifier."""
    (delivery,) = deliveries(URL, EVENT, [fault], secret=SECRET, now=NOW)
    assert problem(delivery.body, delivery.headers, NOW) == reason


def test_inbox_shows_what_came_and_whether_to_trust_it() -> None:
    """The inbox lists bodies, headers and the worth of each signature."""
    inbox = Inbox(SECRET)
    (good,) = deliveries(URL, EVENT, secret=SECRET, now=NOW)
    received = inbox.add(good.body, good.headers, now=NOW)
    inbox.add(b"\xff no JSON", {"X-Other": "1"}, now=NOW + 1)
    listed = json.loads(json.dumps(inbox.to_json()))
    assert received.problem is None
    assert listed == [
        {
            "number": 1,
            "time": NOW,
            "headers": {
                "content-type": "application/json",
                "sync-signature": good.headers[SIGNATURE_HEADER],
            },
            "body": EVENT,
            "signature": "valid",
        },
        {
            "number": 2,
            "time": NOW + 1,
            "headers": {"x-other": "1"},
            "body": "\ufffd no JSON",
            "signature": "it has no Sync-Signature header",
        },
    ]


def test_inbox_is_bounded_and_clears() -> None:
    """Only the newest deliveries are kept; after `clear` numbers begin at 1."""
    inbox = Inbox(SECRET, max_entries=2)
    for _ in range(3):
        inbox.add(b"{}", {}, now=NOW)
    assert [received.number for received in inbox] == [2, 3]
    assert repr(inbox) == "<Inbox 2 of 3 deliveries>"
    inbox.clear()
    assert len(inbox) == 0
    assert inbox.add(b"{}", {}, now=NOW).number == 1


def test_a_signature_that_cannot_be_trusted_has_a_reason() -> None:
    """Up to five minutes it is good; `tests/contract` binds the recipe."""
    body, header = b"{}", sign(b"{}", SECRET, 1_700_000_000)
    assert signature_problem(body, header, SECRET, 1_700_000_300.0) is None
    assert signature_problem(body, "v1=x", SECRET, NOW) == "its header is malformed"
    assert signature_problem(body, header, SECRET, 1_700_000_301.0) == "it was signed 301 s ago"
    problem = "its signature does not match its body"
    assert signature_problem(body + b" ", header, SECRET, 1_700_000_000.0) == problem
