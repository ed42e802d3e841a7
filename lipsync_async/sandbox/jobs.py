"""Every generation of the sandbox, and the only door through which one changes status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from lipsync_async._enums import TRANSITIONS, Status
from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.job_progress import Progression

if TYPE_CHECKING:
    from lipsync_async.sandbox.clock import Clock

_ACTIVE = (Status.PENDING, Status.PROCESSING)  # what takes a slot, contract section 5.2


class IllegalMoveError(ValueError):
    """Raised when a job is asked to do what no job does."""


@attrs.frozen(slots=True)
class Result:
    """Hold the media that a job made.

    Attributes:
        source: Its bytes, or the file that holds them.
        size: Length in bytes.
        etag: Its validator, with quotes.
        duration: Seconds that it plays.

    """

    source: bytes | Path = attrs.field(repr=False)
    size: int
    etag: str
    duration: float


@attrs.define(slots=True, eq=False)
class Job:
    """Hold one generation.

    Attributes:
        id: Its UUID.
        number: Its place among all that were ever created, from 1.
        created_at: When, as the service writes it.
        born: When, in seconds of the sandbox's clock.
        order: The create body's fields, echoed in every answer.
        progression: How it moves along.
        source: What the create's `x-sync-source` header said.
        faults: What goes wrong with it, by kind.
        status: Where it is.
        history: Every status it had, with the clock's time.
        looks: How often a look moved it along.
        percent: How far its rendering is, 0 to 100.
        is_due: Whether it ends as soon as its media exist.
        result: Its media, once they exist.
        failure: Code and words of what went wrong with making them.
        error: Why it failed, for people.
        error_code: Why it failed, for programs.
        speech_url: Where the speech made of a text input is.
        link_version: Counts the output URLs that were let expire by a fault.
        has_broken_off: Whether a truncated output was served already.

    """

    id: str
    number: int
    created_at: str
    born: float
    order: Mapping[str, Any] = attrs.field(repr=False)
    progression: Progression
    source: str | None = None
    faults: Mapping[str, Fault] = attrs.field(factory=dict)
    status: Status = Status.PENDING
    history: list[tuple[float, Status]] = attrs.field(factory=list, repr=False)
    looks: int = 0
    percent: float = 0.0
    is_due: bool = False
    result: Result | None = None
    failure: tuple[str, str] | None = None
    error: str | None = None
    error_code: str | None = None
    speech_url: str | None = None
    link_version: int = 0
    has_broken_off: bool = False
    encoded: bytes | None = attrs.field(default=None, repr=False)
    waiters: list[anyio.Event] = attrs.field(factory=list, repr=False)

    @property
    def is_ended(self) -> bool:
        """Whether the job is in its last status."""
        return not TRANSITIONS[self.status]


@attrs.frozen(slots=True)
class ListFilter:
    """Hold what a list request asks for; an empty tuple filters nothing."""

    statuses: tuple[Status, ...] = ()
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    project_id: str | None = None
    limit: int | None = None
    cursor: str | None = None


@attrs.frozen(slots=True)
class CountFilter:
    """Hold what a count request asks for; an empty tuple filters nothing."""

    statuses: tuple[Status, ...] = ()
    sources: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class JobTable:
    """Keep all jobs; found by id and by status without a search.

    Args:
        clock: Dates the moves.

    """

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._by_status: dict[Status, dict[str, Job]] = {status: {} for status in TRANSITIONS}
        self._created = 0
        self.on_end: Callable[[Job], object] = _nobody_minds

    def __iter__(self) -> Iterator[Job]:
        """Yield the jobs, oldest first."""
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, job_id: str) -> Job:
        return self._jobs[job_id]

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __repr__(self) -> str:
        counts = {str(status): len(jobs) for status, jobs in self._by_status.items() if jobs}
        return f"<JobTable {counts}>"

    @property
    def created(self) -> int:
        """Number of generations that were ever created, also those deleted since."""
        return self._created

    @property
    def active(self) -> int:
        """Number of generations that take a slot now."""
        return sum(len(self._by_status[status]) for status in _ACTIVE)

    def get(self, job_id: str) -> Job | None:
        """Return a job, or `None` where no job has the id."""
        return self._jobs.get(job_id)

    def count(self, status: str | None = None) -> int:
        """Return how many jobs there are, in all or in one status."""
        return len(self._jobs) if status is None else len(self._by_status[Status(status)])

    def add(self, job: Job) -> None:
        """Take in a new job."""
        self._created += 1
        self._jobs[job.id] = job
        self._by_status[job.status][job.id] = job
        job.history.append((self._clock.now(), job.status))

    def delete(self, job_id: str) -> None:
        """Forget a job."""
        job = self._jobs.pop(job_id)
        del self._by_status[job.status][job_id]

    def move(
        self,
        job_id: str,
        status: str,
        *,
        error: str | None = None,
        error_code: str | None = None,
    ) -> Job:
        """Move a job to another status, along the table of transitions only.

        Args:
            job_id: Which job.
            status: Where to.
            error: Why, for people; of a failure.
            error_code: Why, for programs; of a failure.

        Raises:
            KeyError: No job has the id.
            IllegalMoveError: The table has no such step, or the media do not exist yet.

        """
        job, target = self._jobs[job_id], Status(status)
        if target not in TRANSITIONS[job.status]:
            raise IllegalMoveError(f"a job that is {job.status} does not become {target}.")
        if target is Status.COMPLETED and job.result is None:
            raise IllegalMoveError("its media do not exist yet.")
        del self._by_status[job.status][job_id]
        job.status, job.encoded = target, None
        job.error, job.error_code = error, error_code
        self._by_status[target][job_id] = job
        job.history.append((self._clock.now(), target))
        if job.is_ended:
            self._tell(job)
        return job

    def select(self, wanted: ListFilter) -> list[Job]:
        """Return the jobs that a list asks for: with `limit` newest first, else as made.

        Source: contract section 2.8.
        """
        if wanted.limit is None:
            return [job for job in self._candidates(wanted) if _fits(job, wanted)]
        before = self._jobs[wanted.cursor].number if wanted.cursor else self._created + 1
        older = (
            job for job in self._newest_first(wanted) if job.number < before and _fits(job, wanted)
        )
        return list(islice(older, wanted.limit))

    def tally(self, wanted: CountFilter) -> int:
        """Return how many jobs a count asks for."""
        if wanted.origins and "api" not in wanted.origins:
            return 0  # every job here came through the API
        found = [self._by_status[status] for status in wanted.statuses or self._by_status]
        if not wanted.sources:
            return sum(map(len, found))
        return sum(job.source in wanted.sources for jobs in found for job in jobs.values())

    def _newest_first(self, wanted: ListFilter) -> Iterable[Job]:
        if not wanted.ids and not wanted.statuses:
            return reversed(self._jobs.values())  # kept in the order of their numbers
        return sorted(self._candidates(wanted), key=_number, reverse=True)

    def _candidates(self, wanted: ListFilter) -> list[Job]:
        """Narrow by the filter that an index serves best."""
        if wanted.ids:
            asked = dict.fromkeys(wanted.ids)
            return [job for job_id in asked if (job := self._jobs.get(job_id)) is not None]
        if wanted.statuses:
            return [job for status in wanted.statuses for job in self._by_status[status].values()]
        return list(self._jobs.values())

    def _tell(self, job: Job) -> None:
        for waiter in job.waiters:
            waiter.set()
        job.waiters.clear()
        self.on_end(job)


def _nobody_minds(_job: Job) -> None:
    """Stand in until somebody wants to know of ends."""


def _number(job: Job) -> int:
    return job.number


def _fits(job: Job, wanted: ListFilter) -> bool:
    return (
        (not wanted.statuses or job.status in wanted.statuses)
        and (not wanted.sources or job.source in wanted.sources)
        and (wanted.project_id is None or job.order.get("projectId") == wanted.project_id)
    )
