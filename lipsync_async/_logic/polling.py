"""When a waiting client polls its job again, and what one poll shows of several jobs.

`poll_schedule` is a generator without a clock: it yields how long to wait and how to poll, is
sent what was seen, and returns when the job has ended or no poll is worth making before the
time is over.

The long poll (`wait=true`) finds the end at once for about six requests a minute, so it
is tried first. A service that does not hold the request open (an old one, or a proxy in
between) answers early; from then on polls are spaced by growing pauses, so that it cannot
turn into a busy loop.

Most shared polls find that nothing has changed. So of each item only `id` and `status` are
read, and a job is structured when its status is a new one: six times cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import backoff

from lipsync_async._enums import TERMINAL, Status
from lipsync_async._logic import endpoints, retry
from lipsync_async._logic.endpoints import Call
from lipsync_async._models.http import Response
from lipsync_async._models.response import Generation
from lipsync_async.errors import DecodeError, ResponseError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from lipsync_async._models.policies import PollPolicy
    from lipsync_async.errors import LipsyncError


# The service asks for 2 seconds between two polls. More than this is a
# mistake, such as milliseconds or a wrong date, and is not believed.
_LONGEST_TOLD = 60.0
# The last poll is made this many seconds before the time is over, so that it can be answered.
LAST_POLL = 1.0
# The service refuses to hold a request open for less.
_SHORTEST_HOLD = 1.0
# A poll that lasted for less of the time asked for, and does not say that it was held, was
# answered by a service that is merely slow.
_HELD_SHARE = 0.9


@attrs.frozen(slots=True)
class NextPoll:
    """How to poll the job next.

    Attributes:
        pause: Seconds to wait before.
        hold: Seconds for which the service may hold the request open; `None`: not at all.
    """

    pause: float
    hold: float | None


@attrs.frozen(slots=True)
class LastPoll:
    """What the last poll has shown.

    Attributes:
        status: The job's status.
        elapsed: Seconds since the wait began.
        took: Seconds that the poll took.
        is_held: Whether the service said that it honours the long poll.
        is_plain: Whether it refuses the long poll, and was asked without.
        retry_after: Seconds that the service asked to wait.
    """

    status: Status
    elapsed: float
    took: float
    is_held: bool = False
    is_plain: bool = False
    retry_after: float | None = None


def poll_schedule(
    policy: PollPolicy, *, timeout: float | None
) -> Generator[NextPoll, LastPoll, None]:
    """Yield one poll after the other; the first comes at once."""
    growing = backoff.expo(
        base=policy.backoff_factor, factor=policy.initial_interval, max_value=policy.max_interval
    )
    next(growing)  # backoff's generators are primed by one step
    hold = None if policy.progress else policy.long_poll
    step = NextPoll(0.0, _clipped_hold(hold, timeout))
    seen = yield step
    while not seen.status.is_terminal:
        is_early = step.hold is not None and seen.took < step.hold * _HELD_SHARE
        if seen.is_plain or (is_early and not seen.is_held):
            hold = None
        is_quick = seen.took < policy.initial_interval
        pause = _jittered(next(growing)) if hold is None or step.hold is None or is_quick else 0.0
        told = seen.retry_after or 0.0
        told = told if told <= _LONGEST_TOLD else 0.0
        pause = max(pause, told)
        remaining = None if timeout is None else timeout - seen.elapsed - pause
        if remaining is not None and remaining <= LAST_POLL:
            spare = pause + remaining - LAST_POLL
            if spare > told:
                yield NextPoll(spare, None)
            return
        step = NextPoll(pause, _clipped_hold(hold, remaining))
        seen = yield step


def _jittered(interval: float) -> float:
    """Draw from the upper half, so that many clients do not look in step."""
    return interval / 2 + float(backoff.full_jitter(interval / 2))


def _clipped_hold(hold: float | None, remaining: float | None) -> float | None:
    if hold is None or remaining is None:
        return hold
    clipped = min(hold, remaining - LAST_POLL)
    return clipped if clipped >= _SHORTEST_HOLD else None


@attrs.define(slots=True)
class PollResults:
    """What one poll has shown of several jobs.

    Attributes:
        items: The jobs' JSON by their ids; those of a wrong shape are left out.
        response: The answer that showed them.
    """

    items: Mapping[str, Mapping[str, Any]]
    response: Response

    def status_of(self, job: str) -> str | None:
        """Return a job's status as it came; `None`: the job was not shown."""
        item = self.items.get(job)
        return None if item is None else item["status"]

    def ends(self) -> Iterator[tuple[str, bool]]:
        """Yield the jobs that were shown, and whether each has ended."""
        return ((job, item["status"] in TERMINAL) for job, item in self.items.items())

    def generation(self, job: str) -> Generation:
        """Return a job that was shown."""
        return endpoints.structure(Generation, self.items[job], self.response)


def poll_jobs(ids: Sequence[str]) -> Call[PollResults]:
    """Describe the request that shows these jobs: a list, or the one job's own path.

    Reading an answer that is no list is a DecodeError, as is one job of a wrong shape; in
    a list such a job is left out and does not harm the others.
    """
    if len(ids) == 1:
        (job,) = ids
        path = endpoints.get_generation(job).path
        return Call(
            "GET", path, partial(_read_job, job), is_repeatable=True, shows=PollResults.ends
        )
    path = endpoints.list_generations(ids=ids).path
    return Call("GET", path, _read_list, is_repeatable=True, shows=PollResults.ends)


def is_refusal(error: LipsyncError) -> bool:
    """Tell whether a list was refused for good, so that shorter ones may do better.

    The service names no limit for the ids in a list, so any answer
    that would come again may be meant for the list's length, for one of its ids, or for
    lists as such.
    """
    is_answer = isinstance(error, ResponseError | DecodeError | UnexpectedError)
    return is_answer and retry.classify(error) is retry.FailureKind.FINAL


def _read_job(job: str, response: Response) -> PollResults:
    data = endpoints.read_json(response)
    shown = endpoints.structure(Generation, data, response)
    endpoints.refuse_another(job, shown.id, response)
    return PollResults({job: data}, response)


def _read_list(response: Response) -> PollResults:
    data = endpoints.read_json(response)
    if type(data) is not list:
        raise endpoints.schema_error(response, "expected a list @ $")
    return PollResults({item["id"]: item for item in data if _is_job(item)}, response)


def _is_job(item: Any) -> bool:
    return type(item) is dict and type(item.get("id")) is str and type(item.get("status")) is str
