"""Webhooks: the payload, its signature, the deliveries, and the inbox."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async.sandbox.files import INBOX_PATH
from lipsync_async.sandbox.outbound_http import Delivery, Outside
from lipsync_async.webhooks import SIGNATURE_HEADER, WebhookVerificationError, sign, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lipsync_async.sandbox.clock import Calendar, Clock
    from lipsync_async.sandbox.faults import Fault
    from lipsync_async.sandbox.files import Links
    from lipsync_async.sandbox.tasks import Tasks


# Fields that a webhook shares with the polled object, in the order of contract section
# 10. The polled object has more, which a webhook leaves out on purpose.
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


def payload(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the webhook of a generation says, given its polled JSON.

    The error's code is called `error_code` here and `errorCode` there.

    Source: contract section 10.
    """
    shared = {name: generation[name] for name in _SHARED_FIELDS if name in generation}
    code = generation.get("errorCode")
    return shared if code is None else {**shared, "error_code": code}


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as the bytes that the service signs: compact, and not escaped."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def deliveries(
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

    Args:
        event: What `payload` returned; its `webhookUrl` says where to.
        faults: The faults that struck the job's create.
        secret: The signing secret.
        now: Unix time in seconds.
        speed: Sandbox seconds, in which delays count, in a second of Unix time.

    """
    spoiled = {fault.kind: fault for fault in faults}
    if "webhook_drop" in spoiled:
        return []
    late = _seconds(spoiled.get("webhook_delay"), 0.0)
    held_back = _seconds(spoiled.get("webhook_out_of_order"), _HELD_BACK_SECONDS)
    delays = [late + held_back]
    if "webhook_twice" in spoiled:
        delays.append(late + held_back + _seconds(spoiled["webhook_twice"], 0.0))
    age = _seconds(spoiled.get("webhook_stale_time"), _STALE_SECONDS)
    key = f"not-{secret}" if "webhook_bad_signature" in spoiled else secret
    body = encode(event)
    return [
        Delivery(event["webhookUrl"], body, _headers(body, key, now + delay / speed - age), delay)
        for delay in delays
    ]


def _headers(body: bytes, secret: str, signed_at: float) -> dict[str, str]:
    return {"Content-Type": "application/json", SIGNATURE_HEADER: sign(body, secret, signed_at)}


def _seconds(fault: Fault | None, unless_told: float) -> float:
    if fault is None:
        return 0.0
    return unless_told if fault.seconds is None else fault.seconds


@attrs.frozen(slots=True)
class Received:
    """Hold one delivery that reached the inbox.

    Attributes:
        number: Its place since the inbox was cleared, from 1.
        time: When it came, in Unix seconds.
        headers: Header fields, names in lower case.
        body: The raw bytes.
        problem: Why its signature cannot be trusted; `None`: it can.

    """

    number: int
    time: float
    headers: Mapping[str, str] = attrs.field(repr=False)
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


class Inbox:
    """Keep the newest webhooks, so that nobody needs a receiver to see one.

    Args:
        secret: The signing secret that deliveries are checked against.
        max_entries: Deliveries to keep; older ones are forgotten.

    """

    def __init__(self, secret: str, max_entries: int = 1_000) -> None:
        self._secret = secret
        self._received: deque[Received] = deque(maxlen=max_entries)
        self._count = 0

    def add(self, body: bytes, headers: Mapping[str, str], *, now: float) -> Received:
        """Store a delivery, with what its signature is worth at Unix time `now`."""
        self._count += 1
        lowered = {name.lower(): value for name, value in headers.items()}
        problem = None
        try:
            verify(body, lowered.get(SIGNATURE_HEADER.lower()), self._secret, now=now)
        except WebhookVerificationError as error:
            problem = error.reason
        received = Received(self._count, now, lowered, body, problem)
        self._received.append(received)
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


class Notifier:
    """Tell receivers how jobs ended."""

    def __init__(
        self,
        *,
        secret: str,
        clock: Clock,
        calendar: Calendar,
        speed: float,
        links: Links,
        outside: Outside,
        inbox: Inbox,
        tasks: Tasks,
    ) -> None:
        """Hold on to all of it."""
        self._secret = secret
        self._clock = clock
        self._calendar = calendar
        self._speed = speed
        self._links = links
        self._outside = outside
        self._inbox = inbox
        self._tasks = tasks

    def tell(self, event: Mapping[str, Any], faults: Iterable[Fault]) -> None:
        """Plan the deliveries of an event; its `webhookUrl` says where to."""
        planned = deliveries(
            event,
            faults,
            secret=self._secret,
            now=self._calendar.unix(),
            speed=self._speed,
        )
        for delivery in planned:
            self._clock.call_later(delivery.delay, partial(self._send, delivery))

    def _send(self, delivery: Delivery) -> None:
        """Send now; the own inbox is reached without a socket."""
        if delivery.url == f"{self._links.base_url}{INBOX_PATH}":
            self._inbox.add(delivery.body, delivery.headers, now=self._calendar.unix())
        else:
            self._tasks.start(self._deliver(delivery))

    async def _deliver(self, delivery: Delivery) -> None:
        with self._clock.hold():
            await self._outside.deliver(delivery)
