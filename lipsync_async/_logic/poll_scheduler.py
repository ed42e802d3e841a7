"""Poll scheduler: which jobs to ask for next, and when.

One list request shows up to 100 jobs. The jobs stand in a queue: each batch takes those that
were polled least recently, and a job that still runs goes to the back. With N jobs, K in a
batch and B batches a second, every job is polled every

    T = max(1/B, interval, N / (B * K))

seconds. The end of a job is seen T/2 later on average and T at worst, however long it ran.
While there is room, a round is cut into equal batches, evenly spaced: 150 jobs are asked for
75 at a time, for by 100 some would be asked for too early and the others no sooner. When
there is none, batches are full and follow each other as fast as allowed. And when many jobs
have left, so that rounds get shorter, none waits for longer than before: the first in the
queue is due an interval after its last poll.

Without a rate limit, the batches of an interval are made in a few bunches: a process that is
woken for each batch alone pays more for the waking than for the poll (measured: 1.5 to 0.8
ms), and no job is polled less often.

Jobs of a batch in flight are not in the queue, so nothing is asked twice at once, however
slow the service. What a list does not show is asked for by itself, and a list that was
refused is asked for in halves, both before the next in the queue: a job that the service
cannot list, and an id for which it refuses a list, are found without harm to the others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil, inf
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Self


MOST_IDS = 100  # a list's longest page

# So many answers in a row without a refusal, and lists are tried at twice the length: where
# a server really takes no more, it costs one request in a hundred.
_ANSWERS_BEFORE_GROWTH = 100
# The part of the account's requests that batches may use: a pace of exactly the limit hits
# its edge.
_SHARE = 0.98
# Batches a second without a limit: a server that answers in a millisecond would not do more.
_FASTEST = 1000.0
_BUNCHES = 2


@attrs.frozen(slots=True)
class PollBatch:
    """Jobs to ask for in one request.

    Attributes:
        ids: The jobs; a single one is asked for by its own path, several by a list.
        time: When the batch was due, or made if that is much later.
        is_alone: Whether its one job is to be polled as by a wait for it alone.
    """

    ids: tuple[str, ...]
    time: float
    is_alone: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it takes a list."""
        return len(self.ids) > 1


class PollScheduler:
    """Scheduler of polls: each batch has the jobs that were polled least recently.

    Each batch of `next_batch` comes back once, by `on_answer`, `on_refusal` (lists only) or
    `on_failure`. Jobs join and leave at any time, each in O(1).
    """

    def __init__(
        self, *, rate: float, interval: float, most: int = MOST_IDS, bunches: int | None = None
    ) -> None:
        self.rate = rate
        self.interval = interval
        self._bunches = bunches
        self._most = most
        self._size = most
        self._largest_accepted = 0
        self._answers = 0
        # When each was polled; those of one batch share one number.
        self._queue: OrderedDict[str, float] = OrderedDict()
        self._in_flight: set[str] = set()
        self._urgent: deque[tuple[str, ...]] = deque()
        # When the last batch was due, or when the first job joined after a rest.
        self._last = -inf

    @classmethod
    def within(cls, requests_per_minute: int | None) -> Self:
        """Return one whose batches an account allows; `None`: any number."""
        if requests_per_minute is None:
            return cls(rate=_FASTEST, interval=1.0, bunches=_BUNCHES)
        return cls(rate=requests_per_minute / 60 * _SHARE, interval=1.0)

    def __len__(self) -> int:
        return len(self._queue) + len(self._in_flight)

    def __contains__(self, job: str) -> bool:
        return job in self._queue or job in self._in_flight

    @property
    def size(self) -> int:
        """Ids that one list may have (K)."""
        return self._size

    @property
    def period(self) -> float:
        """Seconds from one poll of a job to the next (T)."""
        return max(1 / self.rate, self.interval, len(self) / (self.rate * self._size))

    def join(self, job: str, now: float) -> None:
        """Schedule a job from now on; it is first polled within a period."""
        if not len(self):
            self._last = now
        if job not in self._in_flight:
            self._queue.setdefault(job, now)

    def leave(self, job: str) -> None:
        """Schedule a job no more."""
        self._queue.pop(job, None)
        self._in_flight.discard(job)

    def next_time(self) -> float | None:
        """Return when the next batch is due; `None`: not before a job joins or comes back."""
        evenly = self._next_evenly()
        return None if evenly is None else self._bunched(evenly)

    def _next_evenly(self) -> float | None:
        soonest = self._last + 1 / self.rate
        if self._urgent:
            return soonest
        for first in self._queue.values():
            evenly = self._last + self.interval / self._rounds()
            return max(soonest, min(evenly, first + self.interval))
        return None

    def _bunched(self, time: float) -> float:
        if self._bunches is None:
            return time
        distance = self.interval / self._bunches
        return ceil(time / distance) * distance

    def next_batch(self, now: float, *, alone: bool = False) -> PollBatch | None:
        """Return the batch to make now, of one job if it is to be `alone`; `None`: none is due."""
        evenly = self._next_evenly()
        if evenly is None or now < (due := self._bunched(evenly)):
            return None
        if urgent := self._next_urgent():
            ids, alone = urgent, False
        elif not (ids := self._first_in_queue(1 if alone else self._size)):
            return None
        # What was a little late is caught up with, so that the period stays; a gap is not.
        grace = 1 / self.rate if self._bunches is None else self.interval / self._bunches
        self._last = evenly if now - due < grace else now
        return PollBatch(ids, self._last, alone)

    def on_answer(self, batch: PollBatch, found: Container[str]) -> None:
        """Put the jobs of an answered batch back, and ask again for what it did not show.

        Jobs that were seen to end should leave before.
        """
        self._largest_accepted = max(self._largest_accepted, len(batch.ids))
        self._answers += 1
        if self._answers >= _ANSWERS_BEFORE_GROWTH:
            self._resize(min(self._most, 2 * self._size))
        for job in batch.ids:
            if job not in self._in_flight:  # it has left
                continue
            if job in found or not batch.is_list:
                self._in_flight.discard(job)
                self._queue[job] = batch.time
            else:
                self._urgent.append((job,))

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

    def _rounds(self) -> int:
        return max(1, ceil(len(self) / self._size))

    def _first_in_queue(self, most: int) -> tuple[str, ...]:
        """Take an equal share of a round out of the queue, or all that a batch can show."""
        rounds = self._rounds()
        is_busy = rounds > self.interval * self.rate
        count = min(most if is_busy else ceil(len(self) / rounds), most, len(self._queue))
        ids = tuple(self._queue.popitem(last=False)[0] for _ in range(count))
        self._in_flight.update(ids)
        return ids

    def _next_urgent(self) -> tuple[str, ...]:
        """Return what is asked for out of turn, without those who have left meanwhile."""
        ids: tuple[str, ...] = ()
        while self._urgent and not ids:
            ids = self._still_away(self._urgent.popleft())
        if len(ids) > self._size:
            self._urgent.appendleft(ids[self._size :])
        return ids[: self._size]

    def _still_away(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(job for job in ids if job in self._in_flight)

    def _resize(self, size: int) -> None:
        self._size = size
        self._answers = 0
