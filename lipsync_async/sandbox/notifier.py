"""Sends the webhooks of finished jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._words import Status
from lipsync_async.sandbox.links import INBOX_PATH
from lipsync_async.sandbox.picture import generation
from lipsync_async.sandbox.webhook_sender import deliveries, payload

if TYPE_CHECKING:
    from lipsync_async.sandbox.clock import Calendar, Clock
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.links import Links
    from lipsync_async.sandbox.outside import Outside
    from lipsync_async.sandbox.tasks import Tasks
    from lipsync_async.sandbox.webhook_sender import Delivery, Inbox

# A rejected job has no webhook (contract section 10).
_NOTIFIED = frozenset({Status.COMPLETED, Status.FAILED})


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

    def tell(self, job: Job) -> None:
        """Plan the deliveries of a job that has just ended."""
        if job.order.get("webhookUrl") is None or job.status not in _NOTIFIED:
            return
        event = payload(generation(job, self._links))
        planned = deliveries(
            event,
            job.faults.values(),
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
