"""One request on its way, from the intake to its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, TypeAlias

import attrs

from lipsync_async._bulk.results import Outcome
from lipsync_async._enums import Status
from lipsync_async._logic.concurrency import Slot
from lipsync_async._logic.endpoints import Call
from lipsync_async._logic.validators import exact
from lipsync_async._models.request import GenerationRequest
from lipsync_async._models.response import Generation
from lipsync_async._polling.poller import Watcher
from lipsync_async.errors import (
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    LipsyncError,
    PaymentRequiredError,
    SpendingLimitError,
)

if TYPE_CHECKING:
    from pathlib import Path


# What is heard of a job: how it is, or why nothing more will be.
News: TypeAlias = Generation | LipsyncError

# What every later request would meet as well. A lack of slots ends a request only after an
# hour in which others have had them all.
FOR_ALL = (
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    PaymentRequiredError,
    SpendingLimitError,
)


@attrs.define(slots=True, eq=False)
class Job:
    """Hold a request, and what has become of it so far.

    Tens of thousands may run at once, so of a running job no more is kept than what the
    request does not tell.

    Attributes:
        index: The request's place in the input.
        request: The request.
        key: The Idempotency-Key that its create is sent with; `None`: none yet.
        cost: What was set aside for it, in US dollars.
        slot: The slot that it takes; `None`: none.
        is_doubtful: Whether an order was sent of which it is not known whether it was accepted.
        call: The create that is under way; `None`: none is.
        earlier: The order in other forms, in which an earlier run may have sent it under its
            key, the first first: with links that have been signed anew since.
        refusal: Why its order waits to be sent once more; `None`: it does not.
        id: The service's id; `None`: not accepted yet.
        status: The status when it was accepted, or its end.
        fresh_until: Transport time up to which the service may not know it everywhere.
        watcher: The poller's part of it.

    """

    index: int
    request: GenerationRequest
    key: str | None = None
    cost: float = 0.0
    slot: Slot | None = None
    is_doubtful: bool = False
    call: Call[Generation] | None = None
    earlier: tuple[GenerationRequest, ...] = ()
    refusal: LipsyncError | None = None
    id: str | None = None
    status: str = ""
    fresh_until: float = -inf
    watcher: Watcher | None = None

    @property
    def may_be_ordered(self) -> bool:
        """Whether the service may have accepted an order of which nothing is known yet."""
        return self.is_doubtful or (self.call is not None and self.call.is_sent)

    def last_seen(self) -> Generation | None:
        """Return the job as last seen; `None`: it was never accepted."""
        if self.id is None:
            return None
        request = self.request
        status = self.status if self.watcher is None else self.watcher.status
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
            idempotency_key=self.key,
        )


@attrs.frozen(slots=True)
class Left:
    """Hold what a run leaves behind.

    Attributes:
        running: Ids of jobs that go on.
        ended: Ids of jobs that have ended.
        keys: Idempotency-Keys of orders that may have been accepted, by index.

    """

    running: tuple[str, ...]
    ended: tuple[str, ...]
    keys: Mapping[int, str]

    def __bool__(self) -> bool:
        return bool(self.running or self.ended or self.keys)

    def messages(self) -> list[str]:
        """Say what is left, and how to get at it."""
        told = []
        if self.running:
            told.append(
                f"The run was left while {_counted(self.running)}. They go on and are paid for; "
                f"await wait_until_complete(id) for each: {' '.join(self.running)}"
            )
        if self.ended:
            told.append(
                "The run was left before all outcomes were taken. Await get(id) or download(id) "
                f"for each of the generations: {' '.join(self.ended)}"
            )
        if self.keys:
            keys = [f"request {index} with idempotency_key={key!r}" for index, key in self._keys]
            told.append(
                "The run was left while the outcome of orders was not known; they may have been "
                f"accepted. To find out without paying twice, create again {', '.join(keys)}"
            )
        return told

    @property
    def _keys(self) -> list[tuple[int, str]]:
        return sorted(self.keys.items())

    def put_on(self, error: BaseException) -> None:
        """Put ids and keys on an error of this package."""
        if isinstance(error, LipsyncError):
            error.generation_ids = (*self.running, *self.ended)
            error.idempotency_keys = dict(self._keys)


def in_journal(path: Path) -> str:
    """Say that a journal knows what is left."""
    return (
        f"The journal {path} holds what was ordered. Run again with the same requests and this "
        "journal: nothing is ordered twice."
    )


def _counted(ids: tuple[str, ...]) -> str:
    return "1 generation runs" if len(ids) == 1 else f"{len(ids)} generations run"


class Held:
    """Hold each request of a run from its beginning until its outcome is the caller's.

    Attributes:
        is_taken_whole: Whether all outcomes are the caller's if the run now ends without an
            exception.

    """

    def __init__(self) -> None:
        self.is_taken_whole: bool = False
        self._each: dict[int, Job | Outcome] = {}

    def begin(self, job: Job) -> None:
        """Hold a request from now on."""
        self._each[job.index] = job

    def deliver(self, outcome: Outcome) -> None:
        """Hold a request's outcome in its place."""
        self._each[outcome.index] = outcome

    def hand_over(self, index: int) -> None:
        """Hold a request no more: its outcome is the caller's, or nothing was begun."""
        self._each.pop(index, None)

    def left(self) -> Left:
        """Return what would be left behind now."""
        running, ended = list[str](), list[str]()
        keys = dict[int, str]()
        for index, each in self._each.items():
            job = each.generation if isinstance(each, Outcome) else each
            if job is not None and job.id is not None:
                (ended if Status(job.status).is_terminal else running).append(job.id)
            elif (key := _key_of(each)) is not None:
                keys[index] = key
        return Left(tuple(running), tuple(ended), keys)


def _key_of(each: Job | Outcome) -> str | None:
    """Return the key of an order that may have been accepted."""
    if not isinstance(each, Outcome):
        return each.key if each.may_be_ordered else None
    error = each.error
    return error.idempotency_key if error is not None and error.may_have_worked else None
