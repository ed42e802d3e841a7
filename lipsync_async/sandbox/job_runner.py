"""Moves generations along, step by step, as their progression and their faults have it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from lipsync_async._enums import Status
from lipsync_async.sandbox.clock import Clock
from lipsync_async.sandbox.jobs import JobTable
from lipsync_async.sandbox.renderer import Renderer

if TYPE_CHECKING:
    from lipsync_async.sandbox.jobs import Job, Result

_USUAL_CODE = "generation_pipeline_failed"
_USUAL_ERROR = "An unknown error occurred."  # what users of the service mostly see


@attrs.frozen(slots=True)
class JobRunner:
    """Takes each job through its life."""

    _jobs: JobTable
    _clock: Clock
    _renderer: Renderer

    def start(self, job: Job) -> None:
        """Set a job going; one that takes no time ends here and now."""
        self._renderer.start(job, self._produced, self._failed)
        if job.progression.is_instant:
            self._begin(job)
            self._end(job)
        elif job.progression.kind == "time":
            self._clock.call_later(job.progression.pending_seconds, partial(self._begin, job))
            self._clock.call_later(job.progression.amount, partial(self._end, job))

    def count_poll(self, job: Job) -> None:
        """Count a poll, which is a step for jobs that move by polls."""
        if job.progression.kind != "polls" or job.is_ended:
            return
        job.polls += 1
        if job.progression.begins_at_look(job.polls):
            self._begin(job)
        if job.progression.ends_at_look(job.polls):
            self._end(job)

    def _produced(self, job: Job, result: Result) -> None:
        job.result = result
        if job.is_due:
            self._end(job)

    def _failed(self, job: Job, code: str, message: str) -> None:
        job.failure = (code, message)
        if job.is_due:
            self._end(job)

    def _begin(self, job: Job) -> None:
        if job.status is not Status.PENDING or job.id not in self._jobs:
            return
        rejection = job.faults.get("reject_job")
        if rejection is None:
            self._jobs.move(job.id, Status.PROCESSING)
        else:
            words = rejection.message or "The request was rejected."
            self._jobs.move(job.id, Status.REJECTED, error=words, error_code=rejection.code)

    def _end(self, job: Job) -> None:
        job.is_due = True
        if job.status is not Status.PROCESSING or "stick_job" in job.faults:
            return
        fault = job.faults.get("fail_job")
        if fault is not None:
            self._fail(job, fault.code or _USUAL_CODE, fault.message or _USUAL_ERROR)
        elif job.failure is not None:
            self._fail(job, *job.failure)
        elif job.result is not None:
            self._jobs.move(job.id, Status.COMPLETED)

    def _fail(self, job: Job, code: str, message: str) -> None:
        self._jobs.move(job.id, Status.FAILED, error=message, error_code=code)
