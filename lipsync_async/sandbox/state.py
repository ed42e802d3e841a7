"""What one sandbox holds while it runs; the handlers work on it."""

from __future__ import annotations

from random import Random
from uuid import UUID

import attrs

from lipsync_async.sandbox.clock import Calendar, Clock
from lipsync_async.sandbox.faults import Faults
from lipsync_async.sandbox.files import Folder, HostedFiles, SignedUrls
from lipsync_async.sandbox.jobs import JobRunner, JobTable
from lipsync_async.sandbox.renderer import Renderer
from lipsync_async.sandbox.request_log import RequestLog
from lipsync_async.sandbox.server.idempotency import IdempotencyKeys
from lipsync_async.sandbox.settings import RateClass, RateWindow, Settings
from lipsync_async.sandbox.webhooks import Inbox


@attrs.define(slots=True, kw_only=True)
class State:
    """The parts of one sandbox."""

    settings: Settings
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
    rates: dict[RateClass, RateWindow] = attrs.field(factory=dict)
    idempotency: IdempotencyKeys = attrs.field(factory=IdempotencyKeys)

    def new_id(self) -> str:
        """Return the seed's next UUID."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))

    def admits(self, rate: RateClass) -> bool:
        """Count a request, and return whether its rate class has room for it."""
        window = self.rates.get(rate)
        if window is None:
            window = self.rates[rate] = self.settings.allowance.window(rate)
        return window.admit(self.clock.now())
