"""Moves jobs along, step by step, as their progression and their faults have it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._enums import Status

if TYPE_CHECKING:
    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.jobs import Job, JobTable, Result
    from lipsync_async.sandbox.renderer import Renderer


_USUAL_CODE = "generation_pipeline_failed"
_USUAL_ERROR = "An unknown error occurred."  # contract section 4.3, what users mostly see


class Runner:
    """Take each job through its life.

    Args:
        jobs: The table in which jobs move.
        clock: Wakes timed jobs.
        renderer: Makes the media.

    """

    def __init__(self, jobs: JobTable, clock: Clock, renderer: Renderer) -> None:
        """Hold on to all of it."""
        self._jobs = jobs
        self._clock = clock
        self._renderer = renderer

    def start(self, job: Job) -> None:
        """Set a job going; one without time to take ends here and now."""
        self._renderer.start(job, self._produced, self._failed)
        if job.progression.is_instant:
            self._begin(job)
            self._end(job)
        elif job.progression.kind == "time":
            self._clock.call_later(job.progression.pending_seconds, partial(self._begin, job))
            self._clock.call_later(job.progression.amount, partial(self._end, job))

    def look(self, job: Job) -> None:
        """Count a look, which is a step for jobs that move by looks."""
        if job.progression.kind != "polls" or job.is_ended:
            return
        job.looks += 1
        if job.progression.begins_at_look(job.looks):
            self._begin(job)
        if job.progression.ends_at_look(job.looks):
            self._end(job)

    def _produced(self, job: Job, result: Result) -> None:
        """Take in a job's media."""
        job.result = result
        if job.is_due:
            self._end(job)

    def _failed(self, job: Job, code: str, message: str) -> None:
        """Take in that a job's media cannot be made."""
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
