"""One poller for all who wait: N jobs cost one request a tick, not N.

Whoever watches a job joins with a callback and gets the job when its status has changed.
What keeps the looks coming is a task that attends; one of those leads (see `shift.py`),
asks the conveyor for the next look and makes it. A look is made for all, by the settings
of the view that leads just then: its timeout, its patience with failures, its interval,
and its `on_response` sees the answer.

What goes wrong stays where it belongs. A job that a list does not show, or shows in a
wrong shape, is asked for by itself, and so are all when the service takes no list at all.
An error at a job's own look is told to those who watch it, an error of a list when the
retry policy has given up to those in the list, and a dead key to everybody.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from contextlib import contextmanager
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from lipsync_async._asyncio_tools import unexpected_cancellation
from lipsync_async._enums import Status
from lipsync_async._logic import polling
from lipsync_async._logic.poll_scheduler import PollScheduler
from lipsync_async._polling.leader import LeaderFollower, Waiter
from lipsync_async.errors import AuthenticationError, DecodeError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from anyio.abc import TaskGroup

    from lipsync_async._logic.poll_scheduler import PollBatch
    from lipsync_async._logic.polling import PollResults
    from lipsync_async._models.response import Generation
    from lipsync_async._requester import Requester, RequestOptions

    Notify = Callable[[str, Generation | LipsyncError], None]

# While no more than these wait, each looks for itself by long poll: that finds the end at
# once, for 6 requests a minute each, where looks for all would make 120.
MAX_SOLO_WAITS = 4
# Looks under way at once: answers may take 2 s before that slows the looks down. The
# transport has 100 connections, and creates need some.
_MOST_LOOKS = 20
# While waiting, `RetryPolicy.give_up_after` alone ends the retries of a look: a night's
# wait must outlast an outage that a single call need not.
_TRIES_OF_A_LOOK = 1_000_000


# And it asks again after a minute at the latest, whatever pause a refusal names: a day must
# not end the waits for all jobs at once.
_LONGEST_TOLD = 60.0


def retry_until_timeout(settings: RequestOptions) -> RequestOptions:
    """Give a look all the tries that its patience allows."""
    policy = attrs.evolve(settings.retry, attempts=_TRIES_OF_A_LOOK)
    return attrs.evolve(settings, retry=policy, most_told=_LONGEST_TOLD)


@attrs.define(slots=True, eq=False)
class Subscription:
    """Hold who watches a job, and its status as last seen."""

    job: str
    callback: Notify
    status: str
    hears_all: bool


class Poller:
    """Look at jobs for all who watch them, in one event loop.

    Args:
        requester: What performs the looks.
        requests_per_minute: Looks that the account allows; `None`: any number.

    """

    def __init__(self, requester: Requester, requests_per_minute: int | None) -> None:
        """Start with nobody and nothing to look at."""
        self._requester = requester
        self._transport = requester.transport
        self._scheduler = PollScheduler.within(requests_per_minute)  # the leader sets the interval
        self._subscriptions: dict[str, tuple[Subscription, ...]] = {}
        self._waits = 0
        self._leader = LeaderFollower()
        # When an attendant's time is over, soonest first; the number settles ties.
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._numbers = count()
        self._polls = 0
        self._sleep_scope = anyio.CancelScope()
        self._sleep_ends = -inf

    @property
    def shares_polls(self) -> bool:
        """Whether there are so many waits, or jobs joined, that one look should serve all."""
        return self._waits > MAX_SOLO_WAITS or len(self._subscriptions) > MAX_SOLO_WAITS

    def add_waiter(self) -> None:
        """Count a wait, whether or not it joins."""
        self._waits += 1

    def remove_waiter(self) -> None:
        """Count a wait no more."""
        self._waits -= 1
        self._release_if_quiet()

    def subscribe(
        self, job: str, notify: Notify, *, status: str = "", hears_all: bool = True
    ) -> Subscription:
        """Watch a job: from now on it is looked at while somebody attends.

        Args:
            job: Its id.
            notify: Called with the id and the job whenever its status has changed, or
                with an error when a look has failed for good. That error is shared: copy
                it before raising. A job is looked at again after an error until its
                watcher leaves, and no more after its end. It must not raise and not wait.
            status: The status as last seen; it is no news.
            hears_all: Whether to tell of each change, not only of the end.

        """
        watcher = Subscription(job, notify, status, hears_all)
        self._subscriptions[job] = (*self._subscriptions.get(job, ()), watcher)
        self._scheduler.join(job, self._transport.now())
        self._wake_early()
        return watcher

    def unsubscribe(self, watcher: Subscription) -> None:
        """Watch a job no more; leaving twice, or after the job's end, is fine."""
        present = self._subscriptions.get(watcher.job, ())
        rest = tuple(each for each in present if each is not watcher)
        if rest:
            self._subscriptions[watcher.job] = rest
        else:
            self._drop(watcher.job)

    async def run_until(
        self,
        attendant: Waiter,
        settings: RequestOptions,
        *,
        deadline: float = inf,
    ) -> None:
        """Keep the looks coming, together with all others, until the attendant's wait is over.

        Args:
            attendant: The task's own; its `wake` is for the task's callbacks.
            settings: How looks are made while this task leads.
            deadline: Transport time at which to wake the attendant.

        """
        alarm = (deadline, next(self._numbers), attendant)
        insort(self._deadlines, alarm)
        self._wake_early()
        try:
            await self._leader.wait_or_lead(attendant, partial(self._lead, settings))
        finally:
            place = bisect_left(self._deadlines, alarm)
            if self._deadlines[place : place + 1] == [alarm]:  # it may have rung
                del self._deadlines[place]

    async def _lead(self, settings: RequestOptions) -> None:
        """Make looks until cancelled.

        Raises:
            ConfigurationError: The client was closed.
            Exception: What the view's `on_response` has raised.

        """
        self._scheduler.interval = settings.poll.shared_interval
        settings = retry_until_timeout(settings)
        with _out_of_tasks() as mishaps:
            async with anyio.create_task_group() as tasks:

                def stop(mishap: Exception) -> None:
                    mishaps.append(mishap)
                    tasks.cancel_scope.cancel()

                try:
                    await self._keep_looking(tasks, partial(self._look, settings, stop))
                except LipsyncError as error:  # the client was closed
                    stop(error)

    async def _keep_looking(
        self, tasks: TaskGroup, make: Callable[[PollBatch], Coroutine[Any, Any, None]]
    ) -> None:
        while True:
            self._fire_deadlines()
            look = self._next_look()
            if look is None:
                await self._rest()
            else:
                self._polls += 1
                tasks.start_soon(make, look)

    def _next_look(self) -> PollBatch | None:
        if self._polls >= _MOST_LOOKS:
            return None
        return self._scheduler.next_batch(self._transport.now())

    async def _rest(self) -> None:
        """Do nothing until a look or an alarm is due."""
        with anyio.CancelScope() as self._sleep_scope:
            try:
                self._sleep_ends = self._next_moment()
                if self._sleep_ends == inf:
                    await anyio.sleep_forever()
                await self._transport.sleep(self._sleep_ends - self._transport.now())
            finally:
                self._sleep_ends = -inf

    def _wake_early(self) -> None:
        """Wake the leader if something is due sooner than it thinks."""
        if self._next_moment() < self._sleep_ends:
            self._sleep_ends = -inf
            self._sleep_scope.cancel()

    def _next_moment(self) -> float:
        look = self._scheduler.next_time() if self._polls < _MOST_LOOKS else None
        alarm = self._deadlines[0][0] if self._deadlines else inf
        return alarm if look is None else min(look, alarm)

    def _fire_deadlines(self) -> None:
        now = self._transport.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            self._deadlines.pop(0)[2].wake()

    async def _look(
        self,
        settings: RequestOptions,
        stop: Callable[[Exception], None],
        look: PollBatch,
    ) -> None:
        """Make a look and tell what it has shown."""
        try:
            shown = await self._requester.execute(polling.poll_jobs(look.ids), settings)
        except LipsyncError as error:
            self._fail(look, error)
        except Exception as error:  # noqa: BLE001 - whatever the view's own `on_response` raises
            self._scheduler.on_failure(look)
            stop(error)
        except BaseException as error:
            self._scheduler.on_failure(look)
            mishap = unexpected_cancellation(error, "on_response")
            if mishap is None:
                raise
            stop(mishap)
        else:
            self._scheduler.on_answer(look, {job for job in look.ids if self._dispatch(job, shown)})
        finally:
            self._polls -= 1
            self._wake_early()

    def _dispatch(self, job: str, shown: PollResults) -> bool:
        """Tell those who watch a job what is new to them; return whether it was shown."""
        status = shown.status_of(job)
        if status is None:
            return False
        for watcher in self._subscriptions.get(job, ()):
            if watcher.status != status:
                return self._dispatch_news(job, status, shown)
        return True

    def _dispatch_news(self, job: str, status: str, shown: PollResults) -> bool:
        is_end = Status(status).is_terminal
        behind = [each for each in self._subscriptions[job] if each.status != status]
        try:
            # Each gets an object of its own: generations can be changed.
            news = [(each, shown.generation(job)) for each in behind if is_end or each.hears_all]
        except DecodeError:  # the job's own look will tell
            return False
        if is_end:
            self._drop(job)
        for watcher in behind:
            watcher.status = status
        for watcher, generation in news:
            watcher.callback(job, generation)
        return True

    def _fail(self, look: PollBatch, error: LipsyncError) -> None:
        """Tell those whom an error concerns, or ask in another way."""
        jobs: Iterable[str] = look.ids
        if isinstance(error, AuthenticationError):
            self._scheduler.on_failure(look)
            jobs = list(self._subscriptions)
        elif not look.is_list:
            self._scheduler.on_answer(look, ())
        elif polling.is_refusal(error):
            self._scheduler.on_refusal(look)
            jobs = ()
        else:
            self._scheduler.on_failure(look)
        for job in jobs:
            for watcher in self._subscriptions.get(job, ()):
                watcher.callback(job, error)

    def _drop(self, job: str) -> None:
        self._subscriptions.pop(job, None)
        self._scheduler.leave(job)
        self._release_if_quiet()

    def _release_if_quiet(self) -> None:
        if not self.shares_polls:
            self._leader.wake_all()


@contextmanager
def _out_of_tasks() -> Iterator[list[Exception]]:
    """Raise what has stopped a task group as it is, without a group around it."""
    mishaps: list[Exception] = []
    yield mishaps
    raise mishaps[0]
