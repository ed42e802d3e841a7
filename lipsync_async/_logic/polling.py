"""When jobs are polled: one alone by `poll_schedule`, many together by `PollScheduler`.

`poll_schedule` is a generator without a clock: it yields how long to wait and how to poll, is
sent what was seen, and returns when no poll is worth making before the time is over.

The long poll (`wait=true`) finds the end at once for about six requests a minute, so it
is tried first. A service that does not hold the request open (an old one, or a proxy in
between) answers early; from then on polls are spaced by growing pauses, so that it cannot
turn into a busy loop.

One list request shows up to 100 jobs. `PollScheduler` has the jobs stand in a queue: each batch
takes those that were polled least recently, and a job that still runs goes to the back. With N
jobs, K in a batch and B batches a second, every job is polled every

    T = max(1/B, interval, N / (B * K))

seconds. The end of a job is seen T/2 later on average and T at worst, however long it ran.
While there is room, a round is cut into equal batches, evenly spaced: 150 jobs are asked for
75 at a time. When there is none, batches are full and follow each other as fast as allowed.
And when many jobs have left, so that rounds get shorter, none waits for longer than before:
the first in the queue is due an interval after its last poll.

Without a rate limit, the batches of an interval are made in a few bunches: to be woken for
each alone costs more than the poll, and no job is polled less often.

Jobs of a batch in flight are not in the queue, so nothing is asked twice at once, however
slow the service. What a list does not show is asked for by itself, and a list that was
refused is asked for in halves, both before the next in the queue: a job that the service
cannot list, and an id for which it refuses a list, are found without harm to the others.

Most shared polls find that nothing has changed. So of each item only `id` and `status` are
read, and a job is structured when its status is a new one: six times cheaper. Where only the
ends are wanted, a list is asked for the ended among its jobs, and is mostly empty.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from math import ceil, inf
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
    from collections.abc import Container, Generator, Iterator, Sequence

    from lipsync_async._models.policies import PollPolicy
    from lipsync_async.errors import LipsyncError


# The service asks for 2 or 3 seconds between two polls. More than this, and than the policy's
# own longest pause, is a mistake, such as milliseconds or a wrong date, and is not believed.
_LONGEST_TOLD = 60.0
# The last poll is made this many seconds before the time is over, so that it can be answered.
LAST_POLL = 1.0
# The service refuses to hold a request open for less.
_SHORTEST_HOLD = 1.0

MOST_IDS = 100  # a list's longest page
# The documented statuses; the service might refuse a filter with others.
_ENDED = (Status.COMPLETED, Status.FAILED, Status.REJECTED)
# A job that lists of ended jobs leave out is asked for in a full list after so many periods, or
# seconds if those are fewer.
_PERIODS_UNSEEN = 10
_SECONDS_UNSEEN = 30.0

# So many answers in a row without a refusal, and lists are tried at twice the length: where
# a server really takes no more, it costs one request in a hundred.
_ANSWERS_BEFORE_GROWTH = 100
# The part of the account's requests that batches may use: a pace of exactly the limit hits
# its edge.
SHARE = 0.98
# Batches a second without a limit: a server that answers in a millisecond would not do more.
_FASTEST = 1000.0
# Bunches in an interval, and seconds between two at most: some jobs are to be polled at once.
_BUNCHES, _MAX_DISTANCE = 2, 0.5


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
        is_honoured: Whether the service honours the long poll, as far as this poll has shown.
        retry_after: Seconds that the service asked to wait.
    """

    took: float
    remaining: float
    is_honoured: bool
    retry_after: float | None


def poll_schedule(
    policy: PollPolicy, *, remaining: float = inf
) -> Generator[NextPoll, LastPoll, None]:
    """Yield one poll after the other; the first comes at once."""
    growing = backoff.expo(
        base=policy.backoff_factor, factor=policy.initial_interval, max_value=policy.max_interval
    )
    next(growing)  # backoff's generators are primed by one step
    may_hold, pause = not policy.progress, 0.0
    most_told = max(_LONGEST_TOLD, policy.max_interval)
    while True:
        hold = policy.long_poll if may_hold else None
        if hold is not None:
            hold = min(hold, remaining - LAST_POLL)
            hold = hold if hold >= _SHORTEST_HOLD else None
        seen = yield NextPoll(pause, hold)
        may_hold &= seen.is_honoured
        told = seen.retry_after or 0.0
        pause = told = told if told <= most_told else 0.0
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

    def shown_jobs(self) -> Iterator[tuple[str, bool]]:
        """Yield the jobs that were shown, and whether each has ended."""
        for job, item in self.items.items():
            yield job, item["status"] in TERMINAL

    def generation(self, job: str) -> Generation:
        """Return a job that was shown."""
        return endpoints.read(Generation, self.response, self.items[job])


def poll_jobs(ids: Sequence[str], *, ended_only: bool = False) -> Call[PollResults]:
    """Describe the request that shows these jobs: a list, or the one job's own path.

    With `ended_only` the list is to leave out jobs that run. Reading what is no list is a
    DecodeError; in a list a job of a wrong shape is left out and does not harm the others.
    """
    read: Callable[[Response], PollResults] = _read_list
    if len(ids) == 1:
        path, read = endpoints.get_generation(ids[0]).path, partial(_read_job, ids[0])
    else:
        path = endpoints.list_generations(ids=ids, status=_ENDED if ended_only else None).path
    return Call("GET", path, read, is_repeatable=True, shows=PollResults.shown_jobs)


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


@attrs.frozen(slots=True)
class PollBatch:
    """Jobs to ask for in one request.

    Attributes:
        ids: The jobs; a single one is asked for by its own path, several by a list.
        time: When the batch was due, or made if that is much later.
        is_solo: Whether its one job is to be polled as by a wait for it alone.
    """

    ids: tuple[str, ...]
    time: float
    is_solo: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it takes a list."""
        return len(self.ids) > 1


class PollScheduler:
    """Scheduler of polls: each batch has the jobs that were polled least recently.

    Each batch of `next_batch` comes back once, by `on_answer`, `on_refusal` (lists only) or
    `on_failure`. Jobs join and leave at any time, each in O(1).
    """

    def __init__(self, *, rate: float | None, interval: float = 1.0, most: int = MOST_IDS) -> None:
        """Begin without jobs; `rate` is in batches a second, `None`: no limit."""
        self.rate = _FASTEST if rate is None else rate
        self.interval = interval
        self._has_bunches = rate is None
        self._most = most
        # Ids that one list may have (K).
        self.size = most
        self._largest_accepted = 0
        self._answers = 0
        # When each was polled; those of one batch share one number.
        self._queue: OrderedDict[str, float] = OrderedDict()
        self._in_flight: set[str] = set()
        self._urgent: deque[tuple[str, ...]] = deque()
        # When the last batch was due, or when the first job joined after a rest; when the next
        # would be due without bunches, and how many seconds late counts as then.
        self._last = self._evenly = -inf
        self._grace = 0.0

    def __len__(self) -> int:
        return len(self._queue) + len(self._in_flight)

    def __contains__(self, job: str) -> bool:
        return job in self._queue or job in self._in_flight

    def longest_unseen(self) -> float:
        """Return for how many seconds lists may show only those jobs that have ended."""
        period = max(self.interval, ceil(len(self) / self.size) / self.rate)
        return min(_PERIODS_UNSEEN * period, _SECONDS_UNSEEN)

    def join(self, job: str, now: float) -> None:
        """Schedule a job from now on; it is first polled within a period."""
        if not self._queue and not self._in_flight:
            self._last = now
        if job not in self._in_flight:
            self._queue.setdefault(job, now)

    def leave(self, job: str) -> None:
        """Schedule a job no more."""
        self._queue.pop(job, None)
        self._in_flight.discard(job)

    def hurry(self, job: str) -> None:
        """Poll a job next; one in flight comes back by itself."""
        if job in self._queue:
            self._queue[job] = -inf
            self._queue.move_to_end(job, last=False)

    def next_time(self) -> float:
        """Return when the next batch is due; infinite: not before a job joins or comes back."""
        due = self._last + 1 / self.rate
        if not self._urgent:
            if not self._queue:
                return inf
            first = next(iter(self._queue.values()))
            jobs = len(self._queue) + len(self._in_flight)
            evenly = self._last + self.interval / ceil(jobs / self.size)
            due = max(due, min(evenly, first + self.interval))
        self._evenly, self._grace = due, 1 / self.rate
        if self._has_bunches:
            self._grace = min(self.interval / _BUNCHES, _MAX_DISTANCE)
            due = ceil(due / self._grace) * self._grace
        return due

    def next_batch(self, now: float, *, solo: bool = False) -> PollBatch | None:
        """Return the batch to make now, of one job if it is to be `solo`; `None`: none is due."""
        due = self.next_time()
        if now < due:
            return None
        ids: tuple[str, ...] = ()
        while self._urgent and not ids:  # out of turn, without those who have left meanwhile
            solo = False
            ids = self._still_away(self._urgent.popleft())
            if len(ids) > self.size:
                self._urgent.appendleft(ids[self.size :])
                ids = ids[: self.size]
        if not ids:  # an equal share of a round, or all that a batch can show
            jobs = len(self._queue) + len(self._in_flight)
            rounds = ceil(jobs / self.size)
            is_busy = rounds > self.interval * self.rate
            share = self.size if is_busy else ceil(jobs / max(rounds, 1))
            ids = tuple(islice(self._queue, 1 if solo else share))
            if not ids:
                return None
            self._in_flight.update(ids)
            for job in ids:
                del self._queue[job]
        # What was a little late is caught up with, so that the period stays; a gap is not.
        self._last = self._evenly if now - due < self._grace else now
        return PollBatch(ids, self._last, solo)

    def on_answer(self, batch: PollBatch, missing: Container[str] = ()) -> None:
        """Put the jobs of an answered batch back, and ask again for those missing in a list.

        Jobs that were seen to end should leave before.
        """
        self._largest_accepted = max(self._largest_accepted, len(batch.ids))
        self._answers += 1
        if self._answers >= _ANSWERS_BEFORE_GROWTH:
            self._resize(min(self._most, 2 * self.size))
        for job in batch.ids:
            if job not in self._in_flight:  # it has left
                continue
            if job in missing and batch.is_list:
                self._urgent.append((job,))
            else:
                self._in_flight.discard(job)
                self._queue[job] = batch.time

    def on_refusal(self, batch: PollBatch) -> None:
        """Ask in halves for what the service did not want to list (400, 414).

        Lists become shorter only if none as long has been answered since; otherwise it is
        an id that displeases, and the halves will find it.
        """
        half = (len(batch.ids) + 1) // 2
        if len(batch.ids) > self._largest_accepted:
            self._resize(half)
        self._largest_accepted = min(self._largest_accepted, half)
        self._urgent.extendleft((batch.ids[half:], batch.ids[:half]))

    def on_failure(self, batch: PollBatch) -> None:
        """Put the jobs of a batch without an answer first in the queue again."""
        for job in reversed(self._still_away(batch.ids)):
            self._in_flight.discard(job)
            self._queue[job] = -inf
            self._queue.move_to_end(job, last=False)

    def _still_away(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(self._in_flight.__contains__, ids))

    def _resize(self, size: int) -> None:
        self.size = size
        self._answers = 0
