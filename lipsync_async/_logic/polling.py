"""When a waiting client polls its job again, and what one poll shows of several jobs.

`poll_schedule` is a generator without a clock: it yields how long to wait and how to poll, is
sent what was seen, and returns when no poll is worth making before the time is over.

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
from math import inf
from typing import TYPE_CHECKING, Any

import attrs
import backoff

from lipsync_async._enums import TERMINAL
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
    """How the last poll was answered.

    Attributes:
        took: Seconds that it took.
        remaining: Seconds until the time is over.
        is_held: Whether the service said that it honours the long poll.
        is_plain: Whether it refuses the long poll, and was asked without.
        retry_after: Seconds that the service asked to wait.
    """

    took: float
    remaining: float = inf
    is_held: bool = False
    is_plain: bool = False
    retry_after: float | None = None


def poll_schedule(
    policy: PollPolicy, *, remaining: float = inf
) -> Generator[NextPoll, LastPoll, None]:
    """Yield one poll after the other; the first comes at once."""
    growing = backoff.expo(
        base=policy.backoff_factor, factor=policy.initial_interval, max_value=policy.max_interval
    )
    next(growing)  # backoff's generators are primed by one step
    may_hold, pause = not policy.progress, 0.0
    while True:
        hold = policy.long_poll if may_hold else None
        if hold is not None:
            hold = min(hold, remaining - LAST_POLL)
            hold = hold if hold >= _SHORTEST_HOLD else None
        seen = yield NextPoll(pause, hold)
        is_early = hold is not None and seen.took < hold * _HELD_SHARE
        may_hold &= not seen.is_plain and (seen.is_held or not is_early)
        told = seen.retry_after or 0.0
        pause = told = told if told <= _LONGEST_TOLD else 0.0
        if not may_hold or hold is None or seen.took < policy.initial_interval:
            # From the upper half, so that many clients do not look in step.
            half = next(growing) / 2
            pause = max(told, half + float(backoff.full_jitter(half)))
        remaining = seen.remaining - pause
        if remaining <= LAST_POLL:
            pause = seen.remaining - LAST_POLL
            if pause > told:
                yield NextPoll(pause, None)
            return


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
        for job, item in self.items.items():
            yield job, item["status"] in TERMINAL

    def generation(self, job: str) -> Generation:
        """Return a job that was shown."""
        return endpoints.structure(Generation, self.items[job], self.response)


def poll_job(job: str, *, hold: float | None = None, progress: bool = False) -> Call[PollResults]:
    """Describe the request for a job by its own path; reading a wrong shape is a DecodeError.

    With `hold` the service may hold it open for so many seconds.
    """
    path = endpoints.get_generation(job, progress=progress and hold is None).path
    if hold is not None:
        path += f"?wait=true&timeout={hold:g}"
    return Call("GET", path, partial(_read_job, job), is_repeatable=True, shows=PollResults.ends)


def poll_jobs(ids: Sequence[str]) -> Call[PollResults]:
    """Describe the request that shows these jobs: a list, or the one job's own path.

    Reading what is no list is a DecodeError; in a list a job of a wrong shape is left out and
    does not harm the others.
    """
    if len(ids) == 1:
        return poll_job(ids[0])
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
    shown = endpoints.read(Generation, response, asked=job)
    return PollResults({job: shown.raw}, response)


def _read_list(response: Response) -> PollResults:
    data = endpoints.read_json(response)
    if type(data) is not list:
        raise endpoints.schema_error(response, "expected a list @ $")
    jobs = {
        item["id"]: item
        for item in data
        if type(item) is dict and type(item.get("id")) is type(item.get("status")) is str
    }
    return PollResults(jobs, response)
