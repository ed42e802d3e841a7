"""What comes of many requests: an outcome each, and how far they are together."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async._models.request import GenerationRequest
from lipsync_async._models.response import Generation
from lipsync_async._models.text import on_one_line
from lipsync_async.errors import (
    ConnectError,
    DecodeError,
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    SpendingLimitError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Bell:
    """Wake whoever waits; he looks for himself whether it was for him."""

    def __init__(self) -> None:
        """Start silent."""
        self._ringing: anyio.Event | None = None  # made by who waits: mostly nobody does

    async def heard(self) -> None:
        """Wait until it rings."""
        if self._ringing is None:
            self._ringing = anyio.Event()
        await self._ringing.wait()

    def ring(self) -> None:
        """Wake all who wait."""
        ringing, self._ringing = self._ringing, None
        if ringing is not None:
            ringing.set()


_LONGEST = 200
_FIRST_SERVER_ERROR = 500
# Ids, keys and digests: a UUID, or 16 hexadecimal digits or more.
_ID = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b", re.IGNORECASE
)
_ADDRESS = re.compile(r"\bhttps?://\S+", re.IGNORECASE)
_WHICH_REQUEST = re.compile(r"^Request \d+ was not ordered: ")
# What a limit counts differs from request to request; the limit itself has another form.
_MONEY = re.compile(r"\d+\.\d\d\b")


def reason_of(error: BaseException) -> str:
    """Return why a request failed, in one line of at most 200 characters.

    Two requests that failed alike have the same reason: no id, key or address is in it.

    Args:
        error: What the request ended with.

    """
    text = on_one_line(_words(error))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


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
MOST_ALIKE = 5
# With these, JSON is the service's word about one request; with the others, its code tells.
_OF_ONE_REQUEST = frozenset({400, 409, 413, 422})


class Alike:
    """Tell when a refusal that one request has met is one that all would meet.

    A filter's page, a log-in page, a path that is not there or a certificate that is not
    trusted meets every request, and thousands would be spent on it.

    Args:
        most: How many refusals in a row, all for the same reason, are enough.

    """

    def __init__(self, most: int = MOST_ALIKE) -> None:
        self._most = most
        self._reason = ""
        self._count = 0

    def accepted(self) -> None:
        """Begin anew: a request was let through."""
        self._count = 0

    def refused(self, error: BaseException, *, may_be_of_one: bool = True) -> bool:
        """Count a refusal; tell whether all others would meet it as well.

        A server that is down and a broken line are no refusals, and count for nothing. A word
        of the service about one request shows that the service is there: that begins anew.

        Args:
            error: What a request ended with.
            may_be_of_one: Whether requests differ in what was refused.

        """
        if not _is_refusal(error):
            return False
        if may_be_of_one and _is_of_one(error):
            self._count = 0
            return False
        reason = reason_of(error)
        self._count = self._count + 1 if reason == self._reason else 1
        self._reason = reason
        return self._count >= self._most


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


@attrs.define(slots=True, kw_only=True)
class Outcome:
    """Hold what came of one request.

    Attributes:
        index: The request's place in the input, from 0.
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


@attrs.frozen(slots=True, kw_only=True)
class Progress:
    """Say how far many requests are.

    Attributes:
        total: Requests in all; `None` while an input without `len` has not ended.
        running: Jobs that were accepted and have not ended.
        succeeded: Outcomes without an error.
        failed: Outcomes with one.
        elapsed: Seconds since the beginning.
        rate: Outcomes a second so far, those left out that are `resumed`.
        eta: Seconds until the end at that rate; `None`: not known yet.
        ended_by: Why nothing more is begun: the error that a limit, a dead key, `stop_on_error`,
            the input or the journal has raised. `None`: nothing has stopped the run.

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


@attrs.frozen(slots=True, kw_only=True)
class FailureGroup:
    """Hold requests that failed for the same reason.

    Attributes:
        reason: Why, in one line; no id, key or address is in it.
        count: How many there are.
        indices: Their places in the input, from 0, in rising order.
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
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            groups.setdefault(reason_of(outcome.error), []).append(outcome)
    found = [_group(reason, failed) for reason, failed in groups.items()]
    return sorted(found, key=lambda group: (-group.count, group.indices))


def _group(reason: str, failed: list[Outcome]) -> FailureGroup:
    indices = sorted(outcome.index for outcome in failed)
    first = next(outcome.error for outcome in failed if outcome.index == indices[0])
    assert first is not None  # noqa: S101 - only failures are here
    return FailureGroup(reason=reason, count=len(indices), indices=tuple(indices), error=first)


# Outcomes that may wait to be taken before no more jobs are begun.
_MOST_WAITING = 1000


class Outlet:
    """Keep outcomes until they are taken.

    Args:
        is_ordered: Whether they are given out in the order of the input.

    """

    def __init__(self, *, is_ordered: bool) -> None:
        self._is_ordered = is_ordered
        self._early: dict[int, Outcome] = {}
        self._next = 0
        self._ready: deque[Outcome] = deque()
        self._is_closed = False
        self._error: BaseException | None = None
        self._changed = Bell()

    @property
    def is_full(self) -> bool:
        """Whether so many wait that it is time to wait for their taker."""
        return len(self._ready) + len(self._early) >= _MOST_WAITING

    def put(self, outcome: Outcome) -> None:
        """Give an outcome out, now or when its turn has come."""
        if not self._is_ordered:
            self._ready.append(outcome)
        else:
            self._early[outcome.index] = outcome
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        self._changed.ring()

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come, and why, if that is an error; the first word counts.

        What has waited for a turn that never came is given out now.
        """
        self._ready.extend(self._early[index] for index in sorted(self._early))
        self._early.clear()
        if not self._is_closed:
            self._is_closed, self._error = True, error
        self._changed.ring()

    async def take(self) -> Outcome | None:
        """Wait for an outcome; `None`: there are no more.

        Raises:
            Exception: What ended the fleet.

        """
        while not self._ready:
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                return None
            await self._changed.heard()
        return self._ready.popleft()


class Meter:
    """Count outcomes as they are taken.

    Args:
        now: The transport's time.

    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Start counting, and the clock."""
        self._now = now
        self._began = now()
        self._succeeded = 0
        self._failed = 0
        self._resumed = 0

    def count(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self._succeeded += outcome.is_success
        self._failed += not outcome.is_success
        self._resumed += outcome.resumed

    def progress(
        self, *, running: int, total: int | None, ended_by: Exception | None = None
    ) -> Progress:
        """Say how far all are."""
        elapsed = self._now() - self._began
        done = self._succeeded + self._failed
        rate = (done - self._resumed) / elapsed if elapsed > 0 else 0.0
        left = None if total is None else total - done
        eta = left / rate if left and rate > 0 else None
        return Progress(
            total=total,
            running=running,
            succeeded=self._succeeded,
            failed=self._failed,
            elapsed=elapsed,
            rate=rate,
            eta=0.0 if left == 0 else eta,
            ended_by=ended_by,
        )
