"""What comes of a run's requests, from the start of each until the caller has its outcome."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
import attrs

from lipsync_async._callsite import call_back
from lipsync_async._enums import Status
from lipsync_async._logic.endpoints import Call
from lipsync_async._logic.validation import exact
from lipsync_async._models.request import GenerationRequest, Serializable
from lipsync_async._models.response import Generation
from lipsync_async._models.text import on_one_line
from lipsync_async._polling import Subscription
from lipsync_async._rate_limits import Slot
from lipsync_async.errors import (
    ConfigurationError,
    ConnectError,
    DecodeError,
    GenerationFailedError,
    GenerationRejectedError,
    IgnoredOptionWarning,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    SpendingLimitError,
    TransportError,
    UnexpectedError,
    in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# What is heard of a job: its state, or why no more will be heard.
JobUpdate: TypeAlias = Generation | LipsyncError

# Outcomes that may wait for the caller before no more requests are started.
MAX_WAITING = 1000


@attrs.define(slots=True, kw_only=True)
class Outcome(Serializable):
    """What came of one request.

    Attributes:
        index: The request's position in the input, from 0.
        request: The request.
        generation: The job as last seen; `None` if there is none, or none is known.
        error: Why there is no result; `None`: the job is COMPLETED, and downloaded if
            that was asked for.
        path: Where the result was saved; `None` if it was not.
        resumed: Whether an earlier run with the same journal has brought the job to its end.

    """

    index: int
    request: GenerationRequest
    generation: Generation | None = None
    error: LipsyncError | None = None
    path: Path | None = None
    resumed: bool = False

    @property
    def is_success(self) -> bool:
        """Whether all went well."""
        return self.error is None

    def unwrap(self) -> Generation:
        """Return the COMPLETED generation, or raise the error.

        Raises:
            LipsyncError: Why there is no result.

        """
        if self.error is not None:
            raise self.error
        return cast("Generation", self.generation)


@attrs.frozen(slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        total: Requests in all, those that are not started, too; `None` while an input
            without `len` has not ended, or where it was not read to its end.
        running: Jobs that were accepted and have not ended.
        succeeded: Outcomes without an error.
        failed: Outcomes with one.
        elapsed: Seconds since the start.
        rate: Outcomes a second so far, those left out that are `resumed`.
        eta: Seconds until the end at that rate; `None`: not known yet.
        ended_by: Why no more requests are started: the error that a limit, a dead key,
            `stop_on_error`, the input or the journal has raised. `None`: the run goes on.

    """

    total: int | None
    running: int
    succeeded: int
    failed: int
    elapsed: float
    rate: float
    eta: float | None
    ended_by: Exception | None = None

    @property
    def done(self) -> int:
        """Outcomes so far."""
        return self.succeeded + self.failed


OnProgress: TypeAlias = Callable[[Progress], Awaitable[None] | None]


@attrs.frozen(slots=True, kw_only=True)
class FailureGroup:
    """Requests that failed for the same reason.

    Attributes:
        reason: Why, in one line; no id, key or address is in it.
        count: How many there are.
        indices: Their positions in the input, from 0, in rising order.
        error: The error of the first of them.

    """

    reason: str
    count: int
    indices: tuple[int, ...]
    error: LipsyncError


def group_failures(outcomes: Iterable[Outcome]) -> list[FailureGroup]:
    """Group the outcomes that have an error by the reason; the largest group comes first.

    Args:
        outcomes: Outcomes in any order; those without an error are passed over.

    Example:
        `for group in group_failures(outcomes): print(group.count, group.reason)`

    """
    groups: dict[str, list[tuple[int, LipsyncError]]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            failed = groups.setdefault(reason_of(outcome.error), [])
            failed.append((outcome.index, outcome.error))
    found = []
    for reason, failed in groups.items():
        indices = tuple(sorted(index for index, _ in failed))
        error = next(error for index, error in failed if index == indices[0])
        found.append(FailureGroup(reason=reason, count=len(failed), indices=indices, error=error))
    return sorted(found, key=lambda group: (-group.count, group.indices))


# --- Requests whose outcome is not with the caller yet ---


@attrs.define(slots=True, eq=False)
class Upload:
    """Upload of one request's files, which may begin before the request has a slot.

    Attributes:
        done: Is set at its end.
        error: Why it has failed.
    """

    done: anyio.Event = attrs.field(factory=anyio.Event)
    error: Exception | None = None


@attrs.define(slots=True, eq=False)
class Job:
    """A request on its way.

    Tens of thousands may run at once, so no more is kept of a running job than what its
    request does not tell.

    Attributes:
        cost: US dollars reserved for it; `None`: its price was not asked for.
        is_doubtful: Whether a create was sent of which it is not known whether it was accepted.
        call: The create that is under way.
        earlier: The request in other forms, in which an earlier run may have sent it under its
            key, the first first: with links that have been signed anew since.
        sent: The request as it is sent, with the ids of uploaded files; `None`: not known yet.
        upload: The upload of its files, while it is under way.
        refusal: Why its create waits to be sent once more.
        id: The service's id; `None`: not accepted yet.
        status: The status when it was accepted, or its end.
        path: Where its result is saved.
        resumed: Whether an earlier run has brought it to its end.
        fresh_until: Transport time up to which the service may not know it everywhere.

    """

    index: int
    request: GenerationRequest
    key: str | None = None
    cost: float | None = None
    slot: Slot | None = None
    is_doubtful: bool = False
    call: Call[Generation] | None = None
    earlier: tuple[GenerationRequest, ...] = ()
    sent: GenerationRequest | None = None
    upload: Upload | None = None
    refusal: LipsyncError | None = None
    id: str | None = None
    status: str = ""
    path: Path | None = None
    resumed: bool = False
    fresh_until: float = -inf
    subscription: Subscription | None = None

    def last_seen(self) -> Generation | None:
        """Return the job as last seen; `None`: it was never accepted."""
        if self.id is None:
            return None
        request = self.request
        status = self.status if self.subscription is None else self.subscription.status
        return Generation(
            id=self.id,
            status=Status(status),
            model=str(exact(request.model)),
            input=[*request.input],
            options=request.options,
            segments=None if request.segments is None else [*request.segments],
            webhook_url=request.webhook_url,
            output_file_name=request.output_file_name,
            project_id=request.project_id,
            dub_params=request.dub_params,
            dialogue_edit=request.dialogue_edit,
            idempotency_key=self.key,
        )


def as_ours(error: Exception, job: Job) -> LipsyncError:
    """Return what was raised for a request as an error of this package."""
    if isinstance(error, LipsyncError):
        return error
    ours: LipsyncError
    if job.id is None:
        is_warning = isinstance(error, IgnoredOptionWarning)
        words = (
            str(error) if is_warning else f"request: no job can be created of it: {in_words(error)}"
        )
        ours = InvalidRequestError([words])
    else:
        ours = UnexpectedError(
            f"Generation {job.id} is at the service, but going on with it", error
        )
        ours.generation = Generation(id=job.id, status=Status(job.status))
    ours.__cause__ = error
    return ours


@attrs.frozen(slots=True)
class LeftJobs:
    """What a run leaves behind: ids of jobs, and keys of creates that may have been accepted."""

    running: tuple[str, ...]
    ended: tuple[str, ...]
    keys: Mapping[int, str]  # by the request's index

    def __bool__(self) -> bool:
        return bool(self.running or self.ended or self.keys)

    def messages(self) -> list[str]:
        """Return what is left, and how to get at it."""
        told = []
        if self.running:
            many = len(self.running)
            counted = "1 generation runs" if many == 1 else f"{many} generations run"
            told.append(
                f"The run was left while {counted}. They go on and are paid for; "
                f"await wait_until_complete(id) for each: {' '.join(self.running)}"
            )
        if self.ended:
            told.append(
                "The run was left before all outcomes were taken. Await get(id) or download(id) "
                f"for each of the generations: {' '.join(self.ended)}"
            )
        if self.keys:
            keys = [
                f"request {index} with idempotency_key={key!r}"
                for index, key in sorted(self.keys.items())
            ]
            told.append(
                "The run was left while the outcome of creates was not known; they may have been "
                f"accepted. To find out without paying twice, create again {', '.join(keys)}"
            )
        return told


@attrs.define(slots=True, eq=False)
class OpenRequests:
    """Requests of a run, each from its start until the caller has its outcome.

    A request is here wherever it is in between: waiting for a slot, under way, running, being
    downloaded, or an outcome that was not taken. So however a run ends, one place knows all
    ids and keys.

    Attributes:
        each: The requests by their index; as soon as there is an outcome, it stands there.
        is_complete: Whether all outcomes are the caller's if the run now ends without an error.

    """

    each: dict[int, Job | Outcome] = attrs.field(factory=dict)
    is_complete: bool = False

    def left(self) -> LeftJobs:
        """Return what would be left behind now."""
        running, ended = list[str](), list[str]()
        keys = dict[int, str]()
        for index, each in self.each.items():
            job = each.generation if isinstance(each, Outcome) else each
            if job is not None and job.id is not None:
                (ended if Status(job.status).is_terminal else running).append(job.id)
            elif (key := _unknown_key(each)) is not None:
                keys[index] = key
        return LeftJobs(tuple(running), tuple(ended), keys)


def _unknown_key(request: Job | Outcome) -> str | None:
    """Return the key of a create that may have been accepted, and whose outcome is not known."""
    if isinstance(request, Outcome):
        error = request.error
        return error.idempotency_key if error is not None and error.may_have_worked else None
    is_sent = request.call is not None and request.call.is_sent
    return request.key if request.is_doubtful or is_sent else None


# --- From the run to its caller ---


@attrs.define(slots=True, eq=False, kw_only=True)
class OutcomeQueue:
    """Outcomes that wait to be taken.

    Attributes:
        is_ordered: Whether they are given out in the order of the input.
        room: Is set when there is room again.
        waiting: How many wait; from `MAX_WAITING` on the run should wait for its caller.

    """

    is_ordered: bool
    room: asyncio.Event
    waiting: int = 0
    _early: dict[int, Outcome] = attrs.field(factory=dict)
    _next: int = 0
    _ready: deque[Outcome] = attrs.field(factory=deque)
    _is_closed: bool = False
    _error: BaseException | None = None
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)

    def put(self, outcome: Outcome) -> None:
        """Give an outcome out, now or when its turn has come."""
        self.waiting += 1
        if not self.is_ordered:
            self._ready.append(outcome)
        else:
            self._early[outcome.index] = outcome
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        self._changed.set()

    def close(self, error: BaseException | None = None) -> None:
        """End the outcomes, with an error if one has ended the run; the first call counts.

        Those that have waited for a turn that never came are given out now.
        """
        for index in sorted(self._early):
            self._ready.append(self._early.pop(index))
        if not self._is_closed:
            self._is_closed, self._error = True, error
        self._changed.set()

    async def get(self) -> Outcome | None:
        """Wait for an outcome; `None`: there are no more."""
        while not self._ready:
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        self.waiting -= 1
        if self.waiting == MAX_WAITING - 1:
            self.room.set()
        return self._ready.popleft()


@attrs.define(slots=True, eq=False)
class ProgressTracker:
    """Counts of a run, and an estimate of the time that the rest will take.

    Attributes:
        succeeded: Outcomes without an error that were taken.
        failed: Outcomes with one.
        resumed: Outcomes of either kind that are `resumed`.
        length: Requests of an input that has a length.
        started: Requests that were started.
        running: Jobs that were accepted and have not ended.
        has_read_all: Whether no more will be read of the input.
        ended_by: See `Progress`.

    """

    _now: Callable[[], float]
    _began: float
    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    length: int | None = None
    started: int = 0
    running: int = 0
    has_read_all: bool = False
    ended_by: Exception | None = None

    def progress(self) -> Progress:
        """Return how far the run is."""
        is_whole = self.has_read_all and self.ended_by is None
        total = self.started if is_whole else self.length
        if total is not None:
            total = max(total, self.started)
        elapsed = self._now() - self._began
        done = self.succeeded + self.failed
        rate = (done - self.resumed) / elapsed if elapsed > 0 else 0.0
        due = self.started if self.has_read_all else total
        left = None if due is None else due - done
        eta = left / rate if left and rate > 0 else None
        return Progress(
            total=total,
            running=self.running,
            succeeded=self.succeeded,
            failed=self.failed,
            elapsed=elapsed,
            rate=rate,
            eta=0.0 if left == 0 else eta,
            ended_by=self.ended_by,
        )


@attrs.define(eq=False, repr=False)
class OutcomeIterator(AsyncIterator[Outcome]):
    """Iterator over a run's outcomes.

    It is no generator, because one that is interrupted has ended for good: here a step that
    is cancelled, or whose callback raises, loses nothing.
    """

    _queue: OutcomeQueue
    _tracker: ProgressTracker
    _open_requests: OpenRequests
    _on_progress: OnProgress | None
    _kept: deque[Outcome] = attrs.field(factory=deque, init=False)
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop, init=False)

    def progress(self) -> Progress:
        """Return how far the run is: outcomes are counted when they are taken."""
        return self._tracker.progress()

    async def __anext__(self) -> Outcome:
        outcome = self._kept.popleft() if self._kept else await self._next()
        self._open_requests.each.pop(outcome.index, None)
        return outcome

    async def take_all(self) -> list[Outcome]:
        """Return all outcomes as they have come; until the run has ended they stay open."""
        found: list[Outcome] = []
        # From Python 3.12 on, `suppress` would raise a copy of a group that a callback raises.
        try:
            while True:
                found.append(await self._next())
        except StopAsyncIteration:
            pass
        self._open_requests.is_complete = True
        return found

    async def _next(self) -> Outcome:
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "This run belongs to another event loop. Take its outcomes in the loop that "
                "run_many was entered in; its jobs go on, and no outcome is lost."
            )
        outcome = await self._queue.get()
        if outcome is None:
            raise StopAsyncIteration
        tracker = self._tracker
        tracker.succeeded += outcome.error is None
        tracker.failed += outcome.error is not None
        tracker.resumed += outcome.resumed
        if self._on_progress is not None:
            try:
                await call_back(self._on_progress, tracker.progress())
            except BaseException:
                self._kept.append(outcome)
                raise
        return outcome


# --- Why requests fail, in words that are the same for all that fail alike ---

_MAX_REASON = 200
_FIRST_SERVER_ERROR = 500
# Ids, keys and digests: a UUID, or 16 hexadecimal digits or more.
_ID = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b", re.IGNORECASE
)
_ADDRESS = re.compile(r"\bhttps?://\S+", re.IGNORECASE)
_WHICH_REQUEST = re.compile(r"^Request \d+ has no job: ")
# What a limit counts differs from request to request; the limit itself has another form.
_MONEY = re.compile(r"\d+\.\d\d\b")


def reason_of(error: BaseException) -> str:
    """Return why a request failed, in one line of at most 200 characters.

    Messages of errors name ids, keys and addresses, which differ for each request. A reason
    leaves them out, so that a thousand failures can be counted in a few lines.
    """
    text = on_one_line(_words(error))
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 3]}..."


def reason_in(message: str) -> str:
    """Return a message without what only one request has, in one line."""
    return on_one_line(_plain(message))


def _words(error: BaseException) -> str:
    if isinstance(error, InvalidRequestError):
        return "; ".join(error.problems)
    if isinstance(error, ResponseError):
        code = f" {error.code}" if error.code else ""
        return _plain(f"{error.status}{code}: {error.message}")
    if isinstance(error, DecodeError):
        status = f"an answer with status {error.response.status} cannot be read"
        return _plain("; ".join([status, *error.paths]))
    if isinstance(error, GenerationFailedError | GenerationRejectedError):
        code = f" ({error.code})" if error.code else ""
        why = error.generation.error or "the service gave no reason"
        return _plain(f"{error.generation.status}{code}: {why}")
    message = str(error.args[0]) if error.args else ""
    if isinstance(error, TransportError):
        message = message.partition(": ")[2]
    elif isinstance(error, SpendingLimitError):
        message = _MONEY.sub("...", _WHICH_REQUEST.sub("", message))
    elif isinstance(error, LipsyncError) and error.generation is not None:
        message = re.sub(rf"(?<!\w){re.escape(error.generation.id)}(?!\w)", "...", message)
    return f"{type(error).__name__}: {_plain(message)}" if message else type(error).__name__


def _plain(message: str) -> str:
    """Leave out what only one request has."""
    return _ID.sub("...", _ADDRESS.sub("...", message))


# So many in a row are no accident, and few enough to lose: a create that is refused costs
# nothing, and the next run sends it again.
MAX_SAME_REFUSALS = 5
# With these, JSON is the service's word about one request; with the others, its code tells.
_OF_ONE_REQUEST = frozenset({400, 409, 413, 422})


@attrs.define(slots=True, eq=False)
class RefusalCounter:
    """Counter of refusals in a row, all for the same reason, that every request would meet.

    A filter's page, a log-in page, a path that is not there or a certificate that is not
    trusted meets every request, and thousands would be spent on it.

    Attributes:
        limit: How many tell that all others would meet it as well.
        count: How many there were in a row; 0 again when a request is let through.
        reason: That of the last.

    """

    limit: int = MAX_SAME_REFUSALS
    count: int = 0
    reason: str = ""

    def add(self, error: BaseException, *, may_be_of_one: bool = True) -> bool:
        """Count a refusal; return whether all other requests would meet it as well.

        A server that is down and a broken line are no refusals, and count for nothing. A word
        of the service about one request shows that the service is there: the count restarts.
        """
        if not _is_refusal(error):
            return False
        if may_be_of_one and _is_of_one(error):
            self.count = 0
            return False
        reason = reason_of(error)
        self.count = self.count + 1 if reason == self.reason else 1
        self.reason = reason
        return self.count >= self.limit


def _is_refusal(error: BaseException) -> bool:
    """Tell whether something has answered, and would answer the same once more."""
    if isinstance(error, ConnectError):
        return error.is_lasting
    if isinstance(error, ResponseError):
        return error.status < _FIRST_SERVER_ERROR and not error.is_retryable
    return isinstance(error, DecodeError)


def _is_of_one(error: BaseException) -> bool:
    """Tell whether the service itself says what is wrong with one request."""
    if not isinstance(error, ResponseError) or not isinstance(error.body, dict):
        return False
    return error.status in _OF_ONE_REQUEST or error.code is not None
