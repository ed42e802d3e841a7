"""Webhooks: their payload, their signature, their deliveries, and an inbox.

A delivery takes a URL and a payload of any kind. The signature is written here once more, so
that signer and verifier are two pieces of code.

Source: "Webhooks", sync.so guides.
"""

from __future__ import annotations

import hmac
import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async.sandbox.clock import Calendar
from lipsync_async.sandbox.files import INBOX_PATH, SignedUrls
from lipsync_async.sandbox.outbound_http import Delivery, OutboundHttp
from lipsync_async.sandbox.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lipsync_async.sandbox.faults import Fault

SIGNATURE_HEADER = "Sync-Signature"

# Fields that a webhook shares with the polled object, in the documented order. The polled
# object has more, which a webhook leaves out on purpose.
_SHARED_FIELDS = (
    "status",
    "createdAt",
    "id",
    "input",
    "model",
    "error",
    "options",
    "outputDuration",
    "outputUrl",
    "segmentOutputUrl",
    "webhookUrl",
)

_STALE_SECONDS = 3_600.0  # far beyond any sensible tolerance
_HELD_BACK_SECONDS = 60.0  # long enough for other jobs to overtake
_TOLERANCE_SECONDS = 300.0  # the vendor documents none; schemes of this form use it
_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def payload(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the webhook of a polled generation, whose `errorCode` is `error_code` there."""
    shared = {name: generation[name] for name in _SHARED_FIELDS if name in generation}
    code = generation.get("errorCode")
    return shared if code is None else {**shared, "error_code": code}


def sign(body: bytes, secret: str, at: int) -> str:
    """Return the value of the `Sync-Signature` header.

    The key is the whole secret as text, its `whsec_` included; signed are the time, a dot, and
    the raw body.
    """
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256")
    return f"t={at},v1={digest.hex()}"


def signature_problem(body: bytes, header: str | None, secret: str, now: float) -> str | None:
    """Return why a signature cannot be trusted at a Unix time; `None`: it can."""
    found = _SIGNATURE.fullmatch(header or "")
    if found is None:
        return "it has no Sync-Signature header" if header is None else "its header is malformed"
    if abs(now - int(found[1])) > _TOLERANCE_SECONDS:
        return f"it was signed {now - int(found[1]):.0f} s ago"
    if not hmac.compare_digest(sign(body, secret, int(found[1])), found[0]):
        return "its signature does not match its body"
    return None


def deliveries(
    url: str,
    event: Mapping[str, Any],
    faults: Iterable[Fault] = (),
    *,
    secret: str,
    now: float,
    speed: float = 1.0,
) -> list[Delivery]:
    """Return the POSTs to make for one event, in the order in which they leave.

    Without faults that is one POST at once. Faults of different kinds add up, of one kind
    the last counts, and those that are not about webhooks are passed over. A delivery is
    signed for the time at which it leaves, so that lateness alone does not make it stale.
    """
    struck = {fault.kind: fault for fault in faults}
    if "webhook_drop" in struck:
        return []
    held_back = _seconds(struck.get("webhook_out_of_order"), _HELD_BACK_SECONDS)
    delays = [_seconds(struck.get("webhook_delay"), 0.0) + held_back]
    if "webhook_twice" in struck:
        delays.append(delays[0] + _seconds(struck["webhook_twice"], 0.0))
    age = _seconds(struck.get("webhook_stale_time"), _STALE_SECONDS)
    key = f"not-{secret}" if "webhook_bad_signature" in struck else secret
    # Compact and not escaped: the bytes that the service signs.
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    planned = []
    for delay in delays:
        signature = sign(body, key, int(now + delay / speed - age))
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature}
        planned.append(Delivery(url, body, headers, delay))
    return planned


def _seconds(fault: Fault | None, unless_told: float) -> float:
    if fault is None:
        return 0.0
    return unless_told if fault.seconds is None else fault.seconds


@attrs.frozen(slots=True)
class Received:
    """One delivery that reached the inbox; `problem` is why its signature cannot be trusted."""

    number: int  # since the inbox was cleared, from 1
    time: float  # Unix seconds
    headers: Mapping[str, str] = attrs.field(repr=False)  # by lower-case name
    body: bytes = attrs.field(repr=False)
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the delivery as JSON data; a body that is no JSON comes as text."""
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            body = self.body.decode(errors="replace")
        return {
            "number": self.number,
            "time": self.time,
            "headers": dict(self.headers),
            "body": body,
            "signature": self.problem or "valid",
        }


@attrs.define(slots=True, repr=False)
class Inbox:
    """The newest webhooks, so that no receiver is needed to see one."""

    _secret: str
    _max_entries: int = 1_000
    _count: int = attrs.field(default=0, init=False)
    _received: deque[Received] = attrs.field(factory=deque, init=False)

    def add(self, body: bytes, headers: Mapping[str, str], *, now: float) -> Received:
        """Store a delivery, with what its signature is worth at Unix time `now`."""
        self._count += 1
        lowered = {name.lower(): value for name, value in headers.items()}
        signature = lowered.get(SIGNATURE_HEADER.lower())
        problem = signature_problem(body, signature, self._secret, now)
        received = Received(self._count, now, lowered, body, problem)
        self._received.append(received)
        if len(self._received) > self._max_entries:
            self._received.popleft()
        return received

    def clear(self) -> None:
        """Forget every delivery and number the next one 1."""
        self._received.clear()
        self._count = 0

    def __iter__(self) -> Iterator[Received]:
        return iter(list(self._received))

    def __len__(self) -> int:
        return len(self._received)

    def __repr__(self) -> str:
        return f"<Inbox {len(self)} of {self._count} deliveries>"

    def to_json(self) -> list[dict[str, Any]]:
        """Return all deliveries as JSON data, oldest first."""
        return [received.to_json() for received in self._received]


@attrs.frozen(slots=True)
class WebhookSender:
    """Signs payloads and posts them; the sandbox's own inbox is reached without a socket."""

    _secret: str = attrs.field(repr=False)
    _calendar: Calendar
    _inbox: Inbox
    _outbound: OutboundHttp
    _tasks: Tasks
    _urls: SignedUrls

    def send(self, url: str, event: Mapping[str, Any], faults: Iterable[Fault] = ()) -> None:
        """Post a payload, as the faults have it."""
        now, speed = self._calendar.unix(), self._calendar.speed
        for delivery in deliveries(url, event, faults, secret=self._secret, now=now, speed=speed):
            self._calendar.clock.call_later(delivery.delay, partial(self._send, delivery))

    def _send(self, delivery: Delivery) -> None:
        if delivery.url == f"{self._urls.base_url}{INBOX_PATH}":
            self._inbox.add(delivery.body, delivery.headers, now=self._calendar.unix())
        else:
            self._tasks.start(self._deliver(delivery))

    async def _deliver(self, delivery: Delivery) -> None:
        with self._calendar.clock.hold():
            await self._outbound.deliver(delivery)
