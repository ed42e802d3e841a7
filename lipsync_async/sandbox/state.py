"""What one sandbox holds while it runs; the handlers work on it."""

from __future__ import annotations

from random import Random
from uuid import UUID

import attrs

from lipsync_async.sandbox.clock import Calendar, Clock
from lipsync_async.sandbox.faults import Faults
from lipsync_async.sandbox.files import Folder, HostedFiles, SignedUrls
from lipsync_async.sandbox.job_progress import Progression
from lipsync_async.sandbox.jobs import JobRunner, JobTable
from lipsync_async.sandbox.renderer import Renderer
from lipsync_async.sandbox.request_log import RequestLog
from lipsync_async.sandbox.server.idempotency import IdempotencyKeys
from lipsync_async.sandbox.settings import Allowance, RateWindow
from lipsync_async.sandbox.webhooks import Inbox


@attrs.define(slots=True, kw_only=True)
class State:
    """The settings and the parts of one sandbox; `Sandbox` says what the settings mean."""

    api_key: str = attrs.field(repr=False)
    webhook_secret: str = attrs.field(repr=False)
    progression: Progression
    allowance: Allowance
    allowed_hosts: frozenset[str]
    max_file_bytes: int
    plan_file_bytes: int | None
    retry_after_seconds: float
    projects: frozenset[str]
    folder: Folder  # of uploads and results; gone when the sandbox is
    clock: Clock
    calendar: Calendar
    chance: Random
    durations: Random  # apart from `chance`: one seed gives the same ids however jobs move along
    jobs: JobTable
    runner: JobRunner
    renderer: Renderer
    urls: SignedUrls
    files: HostedFiles
    faults: Faults
    requests: RequestLog
    inbox: Inbox
    idempotency: IdempotencyKeys = attrs.field(factory=IdempotencyKeys)
    creates: RateWindow = attrs.field(init=False)
    others: RateWindow = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.creates = RateWindow(self.allowance.creates_per_minute)
        self.others = RateWindow(self.allowance.requests_per_minute)

    def new_id(self) -> str:
        """Return the seed's next UUID."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))
