"""What the resources share: sending, pages, and waiting for jobs that are no generations."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import anyio
import attrs

from lipsync_async._async.generations import send
from lipsync_async._callsite import HTTP_LOG, call_back, is_from_callback, log, tell_left
from lipsync_async._logic import polling
from lipsync_async._logic.endpoints import escaped, retry_after
from lipsync_async._logic.validation import argument_problems, name, problems_of, wrong
from lipsync_async._models.policies import PollPolicy
from lipsync_async._polling import retry_until_timeout
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async.errors import (
    InvalidRequestError,
    JobFailedError,
    JobTimeoutError,
    LipsyncError,
    ServerError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence

    from lipsync_async._logic.endpoints import Call
    from lipsync_async._logic.validation import Check
    from lipsync_async._models.library import Page
    from lipsync_async._transport.protocol import Transport
    from lipsync_async.webhooks import WebhookReceiver

    Clock = Transport
    Schedule = Generator[polling.NextPoll, Any, None]

_REPEATED = "A listing has ended early: the service gave a cursor that it had given before."

T = TypeVar("T")


class Job(Protocol):
    """A job that is no generation."""

    NOUN: ClassVar[str]
    GOOD_ENDS: ClassVar[frozenset[str]]
    BAD_ENDS: ClassVar[frozenset[str]]

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def status(self) -> str:
        """Its status."""


J = TypeVar("J", bound=Job)


@attrs.define(slots=False, eq=False, repr=False)
class Resource:
    """Base of the resources of a client's view."""

    _requester: Requester
    _options: RequestOptions

    async def _send(self, call: Call[T], *, advice: str | None = None) -> T:
        """Send a call; if it may have worked nevertheless, say what to do before another try."""
        try:
            return await send(self._requester, call, self._options)
        except BaseException as error:
            if advice is not None and is_left(call, error):
                tell_left(error, advice)
            raise

    async def _send_or_find(
        self, call: Call[T], find: Callable[[], Awaitable[T | None]], *, tries: int = 3
    ) -> T:
        """Send a call that is not repeatable, again only if what it makes is not found."""
        while True:
            try:
                return await self._send(call)
            except LipsyncError as error:
                is_failure = isinstance(error, TransportError | ServerError)
                if is_from_callback(error) or not (is_failure and error.may_have_worked):
                    raise
                try:
                    found = await find()
                except LipsyncError as unseen:  # without a look, no other try
                    raise error from unseen
                if found is not None:
                    return found
                tries -= 1
                if not tries:
                    raise
            call.is_sent = False

    async def _pages(
        self, fetch: Callable[[str | None], Awaitable[Page[T]]]
    ) -> AsyncGenerator[T, None]:
        """Yield the items of all pages; a cursor that was there before ends it."""
        cursor: str | None = None
        seen = set[str]()
        while True:
            page = await fetch(cursor)
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None or cursor in seen:
                break
            seen.add(cursor)
        if cursor is not None:
            log(HTTP_LOG, logging.WARNING, _REPEATED)

    async def _wait(
        self,
        job: J | str,
        describe: Callable[[str], Call[J]],
        *,
        timeout: float | None,
        on_update: Callable[[J], object] | None,
        pauses: tuple[float, float],
        webhooks: WebhookReceiver | None = None,
    ) -> J:
        """Wait until a job has ended well, and return it.

        `describe` describes a poll. `pauses` are the first and the longest between two polls, in
        seconds, where the service asks for no longer one; after an event they begin anew with
        one of a second.
        """
        job_id, last = (job, None) if isinstance(job, str) else (job.id, job)
        problems = problems_of(id=(job_id, name))
        problems += argument_problems(on_update=on_update, timeout=timeout, webhooks=webhooks)
        raise_if_invalid(problems)
        limit, transport = inf if timeout is None else timeout, self._requester.transport
        wait = _Pauses(transport, job_id, pauses, transport.now() + limit)
        wait.listen(webhooks)
        try:
            while last is None or last.status not in last.GOOD_ENDS | last.BAD_ENDS:
                if not await wait.pause():
                    break
                wait.polled_at, status = transport.now(), None if last is None else last.status
                poll = describe(job_id)
                late = JobTimeoutError(job_id, last, timeout=limit)
                last = await self._poll(poll, wait.deadline, late)
                wait.told = None if poll.response is None else retry_after(poll.response)
                if last.status != status and on_update is not None:
                    await call_back(on_update, last)
        except BaseException as error:
            # An error of a poll names the job by its address.
            if not isinstance(error, LipsyncError) or is_from_callback(error):
                words = f"Job {job_id} goes on; call wait_until_complete({job_id!r}) again."
                tell_left(error, words)
            raise
        if last is None or last.status not in last.GOOD_ENDS | last.BAD_ENDS:
            raise JobTimeoutError(job_id, last, timeout=limit)
        if last.status in last.BAD_ENDS:
            raise JobFailedError(last)
        return last

    async def _poll(self, poll: Call[J], deadline: float, late: JobTimeoutError) -> J:
        """Poll once, retries included; raise `late` when the time is over before an answer."""
        options = retry_until_timeout(self._options)
        limit = None if deadline == inf else deadline
        try:
            return await self._requester.execute(poll, options, deadline=limit)
        except LipsyncError as error:
            if self._requester.transport.now() < deadline:
                raise
            raise late from error


@attrs.define(slots=True, eq=False)
class _Pauses:
    """Pauses between the polls of one job, which its webhook ends.

    Attributes:
        deadline: The transport's time at which the wait is over.
        polled_at: When the last poll was begun; `None`: there was none by this schedule.
        told: Seconds that the service asked to wait after it.
        is_woken: Whether an event has come that no poll has followed yet.
    """

    _transport: Clock
    _job: str
    _seconds: tuple[float, float]  # the first and the longest
    deadline: float
    polled_at: float | None = None
    told: float | None = None
    is_woken: bool = False
    _schedule: Schedule | None = None
    _scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    def listen(self, webhooks: WebhookReceiver | None) -> None:
        """Let events wake it from now on; one that has come already counts."""
        if webhooks is not None:
            webhooks.connect(self.wake)
            self.is_woken = webhooks.has_event(self._job)

    def wake(self, job: str) -> None:
        """Let the next poll come at once, and those after it soon."""
        if job == self._job:
            self.is_woken = True
            self._scope.cancel()

    async def pause(self) -> bool:
        """Wait until a poll is due; return `False` once the time is over."""
        while True:
            seconds = self._next()
            with anyio.CancelScope() as self._scope:
                await self._transport.sleep(
                    self.deadline - self._transport.now() if seconds is None else seconds
                )
            if not self.is_woken:
                return seconds is not None

    def _next(self) -> float | None:
        """Return the seconds until the next poll; `None`: none is worth making any more."""
        now, schedule = self._transport.now(), self._schedule
        if self.is_woken or schedule is None:
            first, longest = self._seconds
            first, self.is_woken = 1.0 if self.is_woken else first, False
            policy = PollPolicy(long_poll=None, initial_interval=first, max_interval=longest)
            schedule = polling.poll_schedule(policy, remaining=self.deadline - now)
            self._schedule, self.polled_at = schedule, None
        seen: Any = None  # the first is `None`, as for any generator
        if self.polled_at is not None:
            seen = polling.LastPoll(
                took=now - self.polled_at,
                remaining=self.deadline - now,
                is_honoured=False,
                retry_after=self.told,
            )
        try:
            return schedule.send(seen).pause
        except StopIteration:
            return None


def is_left(call: Call[Any], error: BaseException) -> bool:
    """Tell whether a call that ended by an error may have had its effect.

    An error of a callback may be one of another call, and tells nothing of this one.
    """
    if isinstance(error, LipsyncError) and not is_from_callback(error):
        return error.may_have_worked
    return call.is_sent


def raise_if_invalid(problems: Sequence[str]) -> None:
    """Raise an error that names all problems, if there are any."""
    if problems:
        raise InvalidRequestError(problems)


def check(**arguments: tuple[object, Check]) -> None:
    """Refuse arguments that are wrong, each of which comes with its validator."""
    raise_if_invalid(problems_of(**arguments))


def path(template: str, **ids: str) -> str:
    """Return a path with ids in it, or refuse what cannot be one."""
    check(**{argument: (value, name) for argument, value in ids.items()})
    return template.format(**{argument: escaped(value) for argument, value in ids.items()})


def moment(place: str, value: object) -> Iterator[str]:
    """Ask for a moment with a time zone."""
    if not isinstance(value, datetime):
        yield wrong(place, "a datetime", value)
    elif value.tzinfo is None:
        yield f"{place}: must have a time zone"


def written_moment(value: datetime) -> str:
    """Return a moment as the service writes it."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def changes(problems: Sequence[str], **fields: object) -> dict[str, Any]:
    """Return the fields to change, or refuse them with all problems; at least one must be given."""
    told = {field: value for field, value in fields.items() if value is not None}
    none = [] if told else ["arguments: give at least one field to change"]
    raise_if_invalid([*problems, *none])
    return told
