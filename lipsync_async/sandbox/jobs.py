"""Generations: how they move along, the tables that keep them, and what makes their media.

Tables and lives are those of any resource of the API, of which a generation is one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import anyio
import attrs

from lipsync_async._enums import TRANSITIONS, Status
from lipsync_async.sandbox.clock import Clock
from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.files import OwnedFiles
from lipsync_async.sandbox.media.engines import engines
from lipsync_async.sandbox.server.api_errors import error as api_error, plain_error

if TYPE_CHECKING:
    from random import Random


# The share of a timed job's life that it spends waiting in the queue.
_PENDING_SHARE = 0.2
# Nine digits are thirty years; longer numbers are slips, or beyond what a float can hold.
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_SPELLING = re.compile(
    rf"(?:(?P<bare>immediate|manual|real)|polls\((?P<polls>{_NUMBER})\)"
    rf"|time\((?P<seconds>{_NUMBER})(?:-(?P<longest>{_NUMBER}))?\))"
)
_ADVICE = "use immediate, polls(n), time(s), time(a-b), manual or real."


@attrs.frozen(slots=True)
class Progression:
    """When a job takes its steps.

    It names the earliest moments: where the sandbox renders, COMPLETED also waits for
    the file.

    Attributes:
        kind: `immediate`, `polls`, `time`, `manual` or `real`.
        amount: Polls for `polls`, seconds for `time`.
        longest: Seconds for `time` where each job draws its own, from `amount` up to
            these; `None`: all take `amount`.

    """

    kind: str
    amount: float = 0.0
    longest: float | None = None

    @classmethod
    def immediate(cls) -> Progression:
        """Complete at once: the create says PENDING, the first poll COMPLETED."""
        return cls("immediate")

    @classmethod
    def polls(cls, looks: int) -> Progression:
        """Complete at the n-th poll; every GET or list that shows the job is one."""
        if looks < 1:
            raise ValueError("polls(n) needs at least 1 poll.")
        return cls("polls", looks)

    @classmethod
    def time(cls, seconds: float, longest: float | None = None) -> Progression:
        """Complete after seconds of the sandbox's clock, a fifth of them PENDING.

        With `longest` each job takes a time of its own between the two, drawn from the
        sandbox's seed.
        """
        if longest is not None and longest < seconds:
            raise ValueError(
                f"time(a-b) needs a b of at least a; {longest} is less than {seconds}."
            )
        return cls("time", seconds, longest)

    @classmethod
    def manual(cls) -> Progression:
        """Move only by hand: `sandbox.jobs.move`, or the control of that name."""
        return cls("manual")

    @classmethod
    def real(cls) -> Progression:
        """Take as long as the rendering takes; without rendering, no time."""
        return cls("real")

    @classmethod
    def parse(cls, text: str) -> Progression:
        """Return the progression that `text`, such as `polls(3)`, spells.

        Raises:
            ValueError: It spells none.

        """
        found = _SPELLING.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no progression; {_ADVICE}")
        if found["bare"]:
            return cls(found["bare"])
        if found["polls"]:
            if "." in found["polls"]:
                raise ValueError(f"{text!r}: polls(n) takes a whole number.")
            return cls.polls(int(found["polls"]))
        longest = found["longest"]
        return cls.time(float(found["seconds"]), None if longest is None else float(longest))

    @classmethod
    def of(cls, value: Any) -> Progression:
        """Return `value` if it is a progression, else what it spells."""
        return value if isinstance(value, cls) else cls.parse(value)

    def drawn(self, chance: Random) -> Progression:
        """Return one job's own: of a range of times, one of them."""
        if self.longest is None:
            return self
        return Progression(self.kind, chance.uniform(self.amount, self.longest))

    @property
    def is_instant(self) -> bool:
        """Whether nothing but the rendering takes time."""
        return self.kind in {"immediate", "real"}

    @property
    def pending_seconds(self) -> float:
        """Seconds of a timed job before it is PROCESSING."""
        return self.amount * _PENDING_SHARE

    def begins_at_look(self, looks: int) -> bool:
        """Return whether a job that was polled so often is PROCESSING."""
        return looks >= self.amount // 2

    def ends_at_look(self, looks: int) -> bool:
        """Return whether a job that was polled so often has ended."""
        return looks >= self.amount


class IllegalMoveError(ValueError):
    """Raised when a job is asked to do what no job does."""


@attrs.define(slots=True, eq=False, kw_only=True)
class Lifecycle:
    """The life of one job of any kind; a status that leads nowhere is an end."""

    id: str
    born: float  # in seconds of the sandbox's clock
    progression: Progression
    transitions: Mapping[Any, frozenset[Any]] = attrs.field(repr=False)
    status: Any
    faults: Mapping[str, Fault] = attrs.field(factory=dict)  # by kind
    history: list[tuple[float, Any]] = attrs.field(factory=list, repr=False)
    polls: int = 0  # that moved it along
    is_due: bool = False  # ends as soon as its result exists
    waiters: list[anyio.Event] = attrs.field(factory=list, repr=False)  # set at its end

    def __attrs_post_init__(self) -> None:
        self.history.append((self.born, self.status))

    @property
    def is_ended(self) -> bool:
        """Whether the job is in its last status."""
        return not self.transitions[self.status]

    def start(self, clock: Clock, begin: Callable[[], object], end: Callable[[], object]) -> None:
        """Take both steps when the progression says so; without any time, here and now."""
        if self.progression.is_instant:
            begin()
            end()
        elif self.progression.kind == "time":
            clock.call_later(self.progression.pending_seconds, begin)
            clock.call_later(self.progression.amount, end)

    def count_poll(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        """Count a poll, which is a step for a job that moves by polls."""
        if self.progression.kind != "polls" or self.is_ended:
            return
        self.polls += 1
        if self.progression.begins_at_look(self.polls):
            begin()
        if self.progression.ends_at_look(self.polls):
            end()

    def enter(self, status: Any, now: float) -> None:
        """Take a step of the table of transitions, and wake those who wait for an end."""
        if status not in self.transitions[self.status]:
            raise IllegalMoveError(f"a job that is {self.status} does not become {status}.")
        self.status = status
        self.history.append((now, status))
        if self.is_ended:
            for waiter in self.waiters:
                waiter.set()
            self.waiters.clear()


def life_to(*good_ends: str) -> Mapping[str, frozenset[str]]:
    """Return the transitions of a job that is no generation, and ends so or as FAILED."""
    ends = frozenset({*good_ends, "FAILED"})
    table = {"PENDING": frozenset({"PROCESSING"}), "PROCESSING": ends}
    return {**table, **dict.fromkeys(ends, frozenset())}


@attrs.define(slots=True, eq=False, kw_only=True)
class Work(Lifecycle):
    """A job that is no generation: what becomes of it is known when it begins."""

    NOUN: ClassVar[str]
    NOT_FOUND: ClassVar[str | None] = None

    clock: Clock = attrs.field(repr=False)
    timestamp: Callable[[], str] = attrs.field(repr=False)
    created_at: str
    end: str  # its last status
    result: Mapping[str, Any] = attrs.field(repr=False)  # shown of it once it has ended
    status: str = "PENDING"
    started_at: str | None = None
    finished_at: str | None = None

    def run(self) -> None:
        """Set it going."""
        self.start(self.clock, self._begin, self._finish)

    def poll(self) -> None:
        """Count a poll."""
        self.count_poll(self._begin, self._finish)

    def move(self, status: str) -> None:
        """Take a step by hand; a job ends as it was going to, or as FAILED."""
        ends = {self.end, "FAILED"}
        if status not in self.transitions[self.status] & {"PROCESSING", *ends}:
            reason = f"does not become {status}; it ends as {' or '.join(sorted(ends))}."
            raise IllegalMoveError(f"a job that is {self.status} {reason}")
        if status == "PROCESSING":
            self._begin()
        elif status == self.end:
            self._end(self.end, self.result)
        else:
            self._end("FAILED", {"error": {"code": _USUAL_CODE, "message": _USUAL_ERROR}})

    @property
    def shown(self) -> Mapping[str, Any]:
        """What is to be seen of the result by now."""
        return self.result if self.is_ended else {}

    def _begin(self) -> None:
        if self.status == "PENDING":
            self.started_at = self.timestamp()
            self.enter("PROCESSING", self.clock.now())

    def _finish(self) -> None:
        if self.status != "PROCESSING" or "stick_job" in self.faults:
            return
        fault = self.faults.get("fail_job")
        if fault is None:
            self._end(self.end, self.result)
        else:
            found = {"code": fault.code or _USUAL_CODE, "message": fault.message or _USUAL_ERROR}
            self._end("FAILED", {"error": found})

    def _end(self, status: str, result: Mapping[str, Any]) -> None:
        self.end, self.result, self.finished_at = status, result, self.timestamp()
        self.enter(status, self.clock.now())


_USUAL_CODE = "generation_pipeline_failed"
_USUAL_ERROR = "An unknown error occurred."  # what users of the service mostly see
_ACTIVE = (Status.PENDING, Status.PROCESSING)  # what takes a slot


@attrs.frozen(slots=True)
class Result:
    """The media that a job made: their bytes or the file that holds them, and facts of it."""

    source: bytes | Path = attrs.field(repr=False)
    size: int
    etag: str  # with its quotes
    duration: float
    lips: str = "none (a placeholder)"  # what moved them, or why nothing did


@attrs.define(slots=True, eq=False, kw_only=True)
class Job(Lifecycle):
    """One generation."""

    NOUN: ClassVar[str] = "Generation"
    NOT_FOUND: ClassVar[str | None] = "generation_not_found"

    number: int  # its place among all that were ever created, from 1
    created_at: str
    body: Mapping[str, Any] = attrs.field(repr=False)  # what every answer echoes
    transitions: Mapping[Status, frozenset[Status]] = attrs.field(default=TRANSITIONS, repr=False)
    status: Status = Status.PENDING
    speech: str | None = None  # the URL of what is to be heard in place of the video's sound
    batch_id: str | None = None  # it takes no slot then
    source: str | None = None  # what the create's `x-sync-source` said
    percent: float = 0.0  # how far its rendering is
    result: Result | None = None
    failure: tuple[str, str] | None = None  # why its media cannot be made: code and words
    error: str | None = None
    error_code: str | None = None
    speech_url: str | None = None
    link_version: int = 0  # counts the output URLs that a fault let expire
    has_broken_off: bool = False
    encoded: bytes | None = attrs.field(default=None, repr=False)  # its JSON, until it changes
    # What is deleted with it: its output, and the speech that was made for it.
    files: OwnedFiles = attrs.field(factory=OwnedFiles, repr=False)


@attrs.frozen(slots=True)
class ListFilter:
    """What a list request asks for; an empty tuple filters nothing."""

    statuses: tuple[Status, ...] = ()
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    project_id: str | None = None
    limit: int | None = None
    cursor: str | None = None

    def fits(self, job: Job) -> bool:
        """Return whether a job is among what is asked for, ids and pages aside."""
        return (
            (not self.statuses or job.status in self.statuses)
            and (not self.sources or job.source in self.sources)
            and (self.project_id is None or job.body.get("projectId") == self.project_id)
        )


# Takes what became of a job's media: a result, or the code and the words of a failure.
Finished = Callable[[Job, Result | tuple[str, str]], object]


class Row(Protocol):
    """What a table keeps."""

    NOUN: ClassVar[str]
    NOT_FOUND: ClassVar[str | None]  # the code of the error; `None`: one without a code

    @property
    def id(self) -> str:
        """Its id, in lower case."""


T = TypeVar("T", bound=Row)


@attrs.define(slots=True, eq=False, repr=False)
class Table(Generic[T]):
    """Rows in the order in which they were added."""

    _not_found: str | None
    _noun: str
    _rows: dict[str, T] = attrs.field(factory=dict, init=False)
    created: int = attrs.field(default=0, init=False)  # with those deleted since

    def __iter__(self) -> Iterator[T]:
        """Yield the rows, oldest first."""
        return iter(list(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row_id: str) -> T:
        return self._rows[row_id]

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._rows

    def get(self, row_id: str) -> T | None:
        """Return a row, or `None` where no row has the id."""
        return self._rows.get(row_id)

    def find(self, row_id: str, *, is_input: bool = False) -> T:
        """Return a row by its id in any case; `is_input`: the id came in a body."""
        row = self._rows.get(row_id.lower())
        if row is None:
            message = f"{self._noun} {row_id} was not found."
            if self._not_found is None:
                raise plain_error(404, message)
            raise api_error(self._not_found, message, is_input=is_input)
        return row

    def add(self, row: T) -> T:
        """Add a new row, and return it."""
        self.created += 1
        self._rows[row.id] = row
        return row

    def delete(self, row_id: str) -> T:
        """Remove a row, and return it."""
        return self._rows.pop(row_id)


@attrs.define(slots=True, eq=False, repr=False)
class JobTable(Table[Job]):
    """All jobs; found by id and by status without a search."""

    _clock: Clock
    on_end: Callable[[Job], object]
    _not_found: str | None = attrs.field(default=Job.NOT_FOUND, init=False)
    _noun: str = attrs.field(default=Job.NOUN, init=False)
    _by_status: dict[Status, dict[str, Job]] = attrs.field(
        factory=lambda: {status: {} for status in TRANSITIONS}, init=False
    )
    _in_batches: int = attrs.field(default=0, init=False)  # of the active ones
    run_in_loop: Callable[[Callable[[], Job]], Job] | None = attrs.field(default=None, init=False)

    def __repr__(self) -> str:
        counts = {str(status): len(jobs) for status, jobs in self._by_status.items() if jobs}
        return f"<JobTable {counts}>"

    @property
    def active(self) -> int:
        """Number of generations that take a slot now."""
        return sum(len(self._by_status[status]) for status in _ACTIVE) - self._in_batches

    def count(self, status: str | None = None) -> int:
        """Return how many jobs there are, in all or in one status."""
        return len(self) if status is None else len(self._by_status[Status(status)])

    def add(self, job: Job) -> Job:
        """Add a new job, and return it."""
        self._by_status[job.status][job.id] = job
        self._in_batches += job.batch_id is not None
        return super().add(job)

    def delete(self, job_id: str) -> Job:
        """Remove a job with its files, and return it."""
        job = super().delete(job_id)
        del self._by_status[job.status][job_id]
        job.files.delete()
        return job

    def move(
        self, job_id: str, status: str, *, error: str | None = None, error_code: str | None = None
    ) -> Job:
        """Move a job to another status, along the table of transitions only."""
        work = partial(self._move, self[job_id], Status(status), error, error_code)
        # In blocking code this is another thread than the one in which the jobs live.
        return work() if self.run_in_loop is None or _is_in_loop() else self.run_in_loop(work)

    def _move(self, job: Job, target: Status, error: str | None, error_code: str | None) -> Job:
        before = job.status
        if target is Status.COMPLETED and before is Status.PROCESSING and job.result is None:
            raise IllegalMoveError("its media do not exist yet.")
        # A task that is woken by the end finds the job as it is then.
        job.enter(target, self._clock.now())
        del self._by_status[before][job.id]
        self._by_status[target][job.id] = job
        job.error, job.error_code, job.encoded = error, error_code, None
        if job.is_ended:
            self._in_batches -= job.batch_id is not None
            self.on_end(job)
        return job

    def select(self, wanted: ListFilter) -> list[Job]:
        """Return the jobs that a list asks for: with `limit` newest first, else as made.

        Source: "List generations", sync.so API reference.
        """
        if wanted.limit is None:
            return [job for job in self._candidates(wanted) if wanted.fits(job)]
        before = self[wanted.cursor].number if wanted.cursor else self.created + 1
        newest_first: Iterable[Job] = reversed(self._rows.values())
        if wanted.ids or wanted.statuses:  # not in the order of their numbers
            newest_first = sorted(self._candidates(wanted), key=lambda job: -job.number)
        older = (job for job in newest_first if job.number < before and wanted.fits(job))
        return list(islice(older, wanted.limit))

    def _candidates(self, wanted: ListFilter) -> list[Job]:
        if wanted.ids:
            asked = dict.fromkeys(wanted.ids)
            return [job for job_id in asked if (job := self.get(job_id)) is not None]
        if wanted.statuses:
            return [job for status in wanted.statuses for job in self._by_status[status].values()]
        return list(self)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@attrs.frozen(slots=True)
class JobRunner:
    """Takes each job through its life."""

    _jobs: JobTable
    _clock: Clock
    _render: Callable[[Job, Finished], object]

    def start(self, job: Job) -> None:
        """Set a job going; one that takes no time ends here and now."""
        self._render(job, self._finished)
        job.start(self._clock, partial(self._begin, job), partial(self._end, job))

    def count_poll(self, job: Job) -> None:
        """Count a poll, which is a step for jobs that move by polls."""
        job.count_poll(partial(self._begin, job), partial(self._end, job))

    def _finished(self, job: Job, outcome: Result | tuple[str, str]) -> None:
        if isinstance(outcome, Result):
            job.result = outcome
        else:
            job.failure = outcome
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
        failure, fault = job.failure, job.faults.get("fail_job")
        if fault is not None:
            failure = (fault.code or _USUAL_CODE, fault.message or _USUAL_ERROR)
        if failure is not None:
            code, words = failure
            self._jobs.move(job.id, Status.FAILED, error=words, error_code=code)
        elif job.result is not None:
            self._jobs.move(job.id, Status.COMPLETED)


_FILE_TYPE = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
_CHARACTERS_PER_SECOND, _SILENT_RATE = 15.0, 8000
_NOTE = b"SANDBOX "
_BOX_HEADER_BYTES = 8
_SMALLEST = len(_FILE_TYPE) + _BOX_HEADER_BYTES + len(_NOTE)
# A placeholder plays nothing; clients should see a number all the same.
PLACEHOLDER_SECONDS = 1.0


def cannot_render(reason: str) -> str:
    """Say that a sandbox cannot render, and what can be done."""
    return f"The sandbox cannot render: {reason}. Or use render=False, which makes placeholders."


@attrs.define(eq=False)
class Renderer:
    """Maker of the media of jobs; this one looks at no media and makes no pictures.

    Its output is always the same small file, so ten thousand jobs cost nothing.
    """

    size: int = 0  # bytes of that file
    makes_media: ClassVar[bool] = False

    def engines(self) -> dict[str, str]:
        """Return what does the work, for people."""
        return engines()

    async def open(self) -> None:
        """See whether everything works, or raise `ConfigurationError`."""

    async def check(self, body: dict[str, Any]) -> None:
        """Pass a create body, or raise `ApiError` where its media are visibly not there."""

    async def seconds(self, body: dict[str, Any]) -> float:  # noqa: ARG002 - all are equally long
        """Return how long the output will play, or raise `ApiError` as `check` does."""
        return PLACEHOLDER_SECONDS

    async def facts(self, path: Path, kind: str) -> dict[str, Any]:  # noqa: ARG002 - none is looked at
        """Return what an asset shows of a file, or raise `ApiError` if it is no such media."""
        return {}

    async def hear(self, path: Path) -> tuple[float, list[tuple[float, float]]]:  # noqa: ARG002 - nothing is listened to
        """Return how long a file's sound is, and where something is said in it, in seconds."""
        return PLACEHOLDER_SECONDS, [(0.0, PLACEHOLDER_SECONDS)]

    async def speak(self, script: str, voice_id: str, path: Path) -> float:  # noqa: ARG002 - silence
        """Write a WAV file as long as the script might take, and return its length in seconds."""
        seconds = max(len(script) / _CHARACTERS_PER_SECOND, 0.2)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 1, _SILENT_RATE, 0, "NONE", "not compressed"))
            file.writeframes(b"\x80" * int(seconds * _SILENT_RATE))
        return seconds

    def start(self, job: Job, finished: Finished) -> None:
        """Begin to make a job's media, and call back when that has ended."""
        finished(job, placeholder(self.size))

    def close(self) -> None:
        """Let work that still runs stop soon."""


@cache
def placeholder(size: int) -> Result:
    """Return an output of `size` bytes: a file type box and a free box, no picture."""
    size = max(size, _SMALLEST)
    free_size = size - len(_FILE_TYPE)
    filler = (_NOTE * (free_size // len(_NOTE) + 1))[: free_size - _BOX_HEADER_BYTES]
    body = _FILE_TYPE + free_size.to_bytes(4) + b"free" + filler
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Result(body, len(body), etag, PLACEHOLDER_SECONDS)
