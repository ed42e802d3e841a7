"""What one sandbox holds while it runs; the endpoints work on it."""

from __future__ import annotations

from random import Random
from uuid import UUID

import anyio
import attrs

from lipsync_async.sandbox.clock import Calendar, Clock
from lipsync_async.sandbox.faults import Faults
from lipsync_async.sandbox.files import Folder, HostedFiles, Links
from lipsync_async.sandbox.idempotency import IdempotencyBook
from lipsync_async.sandbox.job_runner import Runner
from lipsync_async.sandbox.jobs import Job, JobTable
from lipsync_async.sandbox.renderer import Renderer
from lipsync_async.sandbox.request_log import RequestLog
from lipsync_async.sandbox.settings import MinuteWindow, Settings
from lipsync_async.sandbox.webhooks import Inbox


@attrs.define(slots=True, kw_only=True)
class State:
    """Hold the parts of one sandbox.

    Attributes:
        folder: Where uploads and results are; gone when the sandbox is.
        durations: Draws how long jobs take, apart from `chance`, so that one seed gives the
            same ids however jobs move along.
        key_is_free: Wakes requests that wait for another one with their idempotency key.

    """

    settings: Settings
    folder: Folder
    clock: Clock
    calendar: Calendar
    chance: Random
    durations: Random
    jobs: JobTable
    runner: Runner
    renderer: Renderer
    links: Links
    files: HostedFiles
    faults: Faults
    requests: RequestLog
    inbox: Inbox
    creates: MinuteWindow
    others: MinuteWindow
    keys: IdempotencyBook = attrs.field(factory=IdempotencyBook)
    key_is_free: dict[str, anyio.Event] = attrs.field(factory=dict)

    def new_id(self) -> str:
        """Return the seed's next UUID."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id in any case."""
        return self.jobs.get(job_id) or self.jobs.get(job_id.lower())
