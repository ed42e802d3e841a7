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

from lipsync_async._asyncio_tools import stray
from lipsync_async._enums import Status
from lipsync_async._logic import polling
from lipsync_async._logic.poll_scheduler import Conveyor
from lipsync_async._polling.leader import Attendant, Shift
from lipsync_async.errors import AuthenticationError, DecodeError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from anyio.abc import TaskGroup

    from lipsync_async._logic.poll_scheduler import Look
    from lipsync_async._logic.polling import Sightings
    from lipsync_async._models.response import Generation
    from lipsync_async._requester import Exchange, Settings

    Notify = Callable[[str, Generation | LipsyncError], None]

# While no more than these wait, each looks for itself by long poll: that finds the end at
# once, for 6 requests a minute each, where looks for all would make 120.
FEW = 4
# Looks under way at once: answers may take 2 s before that slows the looks down. The
# transport has 100 connections, and creates need some.
_MOST_LOOKS = 20
# While waiting, `RetryPolicy.give_up_after` alone ends the retries of a look: a night's
# wait must outlast an outage that a single call need not.
_TRIES_OF_A_LOOK = 1_000_000


# And it asks again after a minute at the latest, whatever pause a refusal names: a day must
# not end the waits for all jobs at once.
_LONGEST_TOLD = 60.0


def patient(settings: Settings) -> Settings:
    """Give a look all the tries that its patience allows."""
    policy = attrs.evolve(settings.retry, attempts=_TRIES_OF_A_LOOK)
    return attrs.evolve(settings, retry=policy, most_told=_LONGEST_TOLD)


@attrs.define(slots=True, eq=False)
class Watcher:
    """Hold who watches a job, and its status as last seen."""

    job: str
    notify: Notify
    status: str
    hears_all: bool


class Poller:
    """Look at jobs for all who watch them, in one event loop.

    Args:
        exchange: What performs the looks.
        requests_per_minute: Looks that the account allows; `None`: any number.

    """

    def __init__(self, exchange: Exchange, requests_per_minute: int | None) -> None:
        """Start with nobody and nothing to look at."""
        self._exchange = exchange
        self._transport = exchange.transport
        self._conveyor = Conveyor.within(requests_per_minute)  # the leader sets the interval
        self._watchers: dict[str, tuple[Watcher, ...]] = {}
        self._waits = 0
        self._shift = Shift()
        # When an attendant's time is over, soonest first; the number settles ties.
        self._alarms: list[tuple[float, int, Attendant]] = []
        self._numbers = count()
        self._looks = 0
        self._nap = anyio.CancelScope()
        self._nap_ends = -inf

    @property
    def is_crowded(self) -> bool:
        """Whether there are so many waits, or jobs joined, that one look should serve all."""
        return self._waits > FEW or len(self._watchers) > FEW

    def arrive(self) -> None:
        """Count a wait, whether or not it joins."""
        self._waits += 1

    def depart(self) -> None:
        """Count a wait no more."""
        self._waits -= 1
        self._let_few_go()

    def join(
        self, job: str, notify: Notify, *, status: str = "", hears_all: bool = True
    ) -> Watcher:
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
        watcher = Watcher(job, notify, status, hears_all)
        self._watchers[job] = (*self._watchers.get(job, ()), watcher)
        self._conveyor.join(job, self._transport.now())
        self._nudge()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Watch a job no more; leaving twice, or after the job's end, is fine."""
        present = self._watchers.get(watcher.job, ())
        rest = tuple(each for each in present if each is not watcher)
        if rest:
            self._watchers[watcher.job] = rest
        else:
            self._drop(watcher.job)

    async def attend(
        self,
        attendant: Attendant,
        settings: Settings,
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
        insort(self._alarms, alarm)
        self._nudge()
        try:
            await self._shift.attend(attendant, partial(self._lead, settings))
        finally:
            place = bisect_left(self._alarms, alarm)
            if self._alarms[place : place + 1] == [alarm]:  # it may have rung
                del self._alarms[place]

    async def _lead(self, settings: Settings) -> None:
        """Make looks until cancelled.

        Raises:
            ConfigurationError: The client was closed.
            Exception: What the view's `on_response` has raised.

        """
        self._conveyor.interval = settings.poll.shared_interval
        settings = patient(settings)
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
        self, tasks: TaskGroup, make: Callable[[Look], Coroutine[Any, Any, None]]
    ) -> None:
        while True:
            self._ring_alarms()
            look = self._next_look()
            if look is None:
                await self._rest()
            else:
                self._looks += 1
                tasks.start_soon(make, look)

    def _next_look(self) -> Look | None:
        if self._looks >= _MOST_LOOKS:
            return None
        return self._conveyor.take(self._transport.now())

    async def _rest(self) -> None:
        """Do nothing until a look or an alarm is due."""
        with anyio.CancelScope() as self._nap:
            try:
                self._nap_ends = self._next_moment()
                if self._nap_ends == inf:
                    await anyio.sleep_forever()
                await self._transport.sleep(self._nap_ends - self._transport.now())
            finally:
                self._nap_ends = -inf

    def _nudge(self) -> None:
        """Wake the leader if something is due sooner than it thinks."""
        if self._next_moment() < self._nap_ends:
            self._nap_ends = -inf
            self._nap.cancel()

    def _next_moment(self) -> float:
        look = self._conveyor.next_look() if self._looks < _MOST_LOOKS else None
        alarm = self._alarms[0][0] if self._alarms else inf
        return alarm if look is None else min(look, alarm)

    def _ring_alarms(self) -> None:
        now = self._transport.now()
        while self._alarms and self._alarms[0][0] <= now:
            self._alarms.pop(0)[2].wake()

    async def _look(
        self,
        settings: Settings,
        stop: Callable[[Exception], None],
        look: Look,
    ) -> None:
        """Make a look and tell what it has shown."""
        try:
            shown = await self._exchange.perform(polling.look_at(look.ids), settings)
        except LipsyncError as error:
            self._fail(look, error)
        except Exception as error:  # noqa: BLE001 - whatever the view's own `on_response` raises
            self._conveyor.failed(look)
            stop(error)
        except BaseException as error:
            self._conveyor.failed(look)
            mishap = stray(error, "on_response")
            if mishap is None:
                raise
            stop(mishap)
        else:
            self._conveyor.answered(look, {job for job in look.ids if self._tell(job, shown)})
        finally:
            self._looks -= 1
            self._nudge()

    def _tell(self, job: str, shown: Sightings) -> bool:
        """Tell those who watch a job what is new to them; return whether it was shown."""
        status = shown.status_of(job)
        if status is None:
            return False
        for watcher in self._watchers.get(job, ()):
            if watcher.status != status:
                return self._tell_news(job, status, shown)
        return True

    def _tell_news(self, job: str, status: str, shown: Sightings) -> bool:
        is_end = Status(status).is_terminal
        behind = [each for each in self._watchers[job] if each.status != status]
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
            watcher.notify(job, generation)
        return True

    def _fail(self, look: Look, error: LipsyncError) -> None:
        """Tell those whom an error concerns, or ask in another way."""
        jobs: Iterable[str] = look.ids
        if isinstance(error, AuthenticationError):
            self._conveyor.failed(look)
            jobs = list(self._watchers)
        elif not look.is_list:
            self._conveyor.answered(look, ())
        elif polling.is_refusal(error):
            self._conveyor.refused(look)
            jobs = ()
        else:
            self._conveyor.failed(look)
        for job in jobs:
            for watcher in self._watchers.get(job, ()):
                watcher.notify(job, error)

    def _drop(self, job: str) -> None:
        self._watchers.pop(job, None)
        self._conveyor.leave(job)
        self._let_few_go()

    def _let_few_go(self) -> None:
        if not self.is_crowded:
            self._shift.wake_all()


@contextmanager
def _out_of_tasks() -> Iterator[list[Exception]]:
    """Raise what has stopped a task group as it is, without a group around it."""
    mishaps: list[Exception] = []
    yield mishaps
    raise mishaps[0]
