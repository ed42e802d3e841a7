"""Waiting for jobs: a client has one poller in each event loop, which many waits share.

A wait (`JobWait`) chooses once how it polls. While few wait it uses the long poll, which finds
the end at once. While many wait it shares the polls of all. Waiting is read-only: a wait that
stops, by timeout or cancellation, changes nothing about the job, which stays paid for.

The shared poller (`Poller`) has one list request show up to a hundred jobs. A subscriber passes
a callback and gets the job when its status has changed. The polls are made by a waiting task,
the leader of those in `run_until`: it polls the batches of the scheduler for all, by the options
of its own view (timeout, retry policy, interval, `on_response`). When few jobs are left, each is
polled as by a wait for it alone (`SoloPolls`).

Where only ends are of interest, a list is to show only the ended among its jobs. A job that it
leaves out runs, or the service fails to show it. So each is asked for in a full list from time
to time, and where a list of ended jobs fails or shows others, full lists take its place.

Jobs whose webhook is awaited are polled every 30 seconds once a poll has shown them, unless others
are polled more often anyway. An event lets its job be polled at once, and as often as others: the
event itself says nothing, and an end is always what a poll shows.

There is no background task, so nothing can be left over, crash unseen or outlive its client.
The first task that waits leads. When its own wait is over, or it is cancelled, the newest
follower leads: it will probably stay longest.

An error concerns as few as possible. A job that a list does not show, or shows in a wrong
shape, is asked for by itself, and so are all when the service accepts no list at all. An
error at a job's own poll goes to its subscribers, an error of a list, when the retry policy
has given up, to those in the list, and a dead key to all.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Generator
from copy import copy
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from lipsync_async._asyncio_tools import unexpected_cancellation
from lipsync_async._callsite import POLL_LOG, RETRY_LOG, is_from_callback, log
from lipsync_async._enums import TERMINAL, Status
from lipsync_async._logic import polling
from lipsync_async._logic.endpoints import get_generation, retry_after
from lipsync_async._logic.polling import PollResults, PollScheduler
from lipsync_async._models.http import NO_HEADERS
from lipsync_async._models.response import Generation
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionLostError,
    DecodeError,
    GenerationError,
    GenerationFailedError,
    GenerationRejectedError,
    LipsyncError,
    NotFoundError,
    ResponseError,
    ServerError,
    UnprocessableError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterable

    from lipsync_async._logic.polling import PollBatch
    from lipsync_async.webhooks import WebhookReceiver

    Webhooks = WebhookReceiver | None
    Notify = Callable[[str, Generation | LipsyncError], None]

# No more jobs, or waits, than these are polled one by one: the long poll finds an end at once,
# for 6 requests a minute each, where the shared lists make 120.
MAX_SOLO_WAITS = 4
# Seconds from one long poll of a job to the next: it is held for ten, and two are asked for
# between them.
_SECONDS_OF_A_LONG_POLL = 12.0
# Polls in flight: answers may take 2 s before that slows them down. The transport has 100
# connections, and creates need some.
_MOST_POLLS = 20
# While waiting, `RetryPolicy.give_up_after` alone ends the retries of a poll: a night's wait
# must outlast an outage that a single call need not.
_TRIES_OF_A_POLL = 1_000_000
# And it asks again after a minute at the latest, whatever pause a refusal names: a day must
# not end the waits for all jobs at once.
_LONGEST_TOLD = 60.0
# Seconds that a list of ended jobs may take, and rounds in which only full lists show ends,
# before there are full lists only; and failures in a row that may pass.
_FILTER_SECONDS, _MOST_LEFT_OUT, _MOST_STRIKES = 10.0, 3, 3
# Seconds between two polls of jobs whose webhook is awaited: so late is an end found of which no
# event comes.
SLOW_INTERVAL = 30.0
# A poll that lasted for less of the time asked for, and does not say that it was held, was
# answered by a service that is merely slow.
_HELD_SHARE = 0.9
# Seconds between the last two polls for a job that the service does not know, at least.
_LEAST_PAUSE = 0.1
# How a service that does not know a poll's parameters, or their values, refuses them.
_REFUSALS = (BadRequestError, UnprocessableError)
# Status of a job that no poll has shown yet.
_UNSEEN = Status("UNKNOWN")


def retry_until_timeout(options: RequestOptions) -> RequestOptions:
    """Give a poll all the tries that `give_up_after` allows."""
    return attrs.evolve(options, attempts=_TRIES_OF_A_POLL, most_told=_LONGEST_TOLD)


@attrs.define(slots=True, eq=False)
class Waiter:
    """One task that waits."""

    is_over: Callable[[], bool]
    wake_up: Callable[[], object] | None = None

    def wake(self) -> None:
        """Let the task go if its wait is over; otherwise it is not disturbed."""
        if self.wake_up is not None and self.is_over():
            self.wake_up()


@attrs.define(slots=True, eq=False)
class LeaderFollower:
    """Choice of the one waiting task that works for all."""

    _leader: Waiter | None = None
    _followers: dict[Waiter, anyio.Event] = attrs.field(factory=dict)

    async def wait_or_lead(self, waiter: Waiter, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until the waiter's wait is over, and work meanwhile while it leads."""
        while not waiter.is_over():
            try:
                if self._leader is None:
                    self._leader = waiter
                    with anyio.CancelScope() as scope:
                        waiter.wake_up = scope.cancel
                        await work()
                else:
                    called = self._followers[waiter] = anyio.Event()
                    waiter.wake_up = called.set
                    await called.wait()
            finally:
                waiter.wake_up = None
                self._followers.pop(waiter, None)
                if self._leader is waiter:
                    self._leader = None
                # Who was called to lead may leave instead, cancelled or done, and calls another.
                if self._leader is None and self._followers:
                    next(reversed(self._followers.values())).set()


@attrs.define(slots=True, eq=False)
class SoloPolls:
    """Polls of one job by its own path: long polls while they are honoured, else with pauses.

    Attributes:
        job: The job's id.
        deadline: The transport's time at which a request is over; `None`: no limit.
        is_honoured: Whether the service honours the long poll, as far as is known.
        last: What the last poll has shown.
        scope: Where the poller makes them.
        is_restarted: Whether they were ended for a newcomer, or began anew for that reason.
    """

    _requester: Requester
    _options: RequestOptions
    job: str
    deadline: float | None = None
    is_honoured: bool = True
    last: PollResults | None = None
    scope: anyio.CancelScope = attrs.field(init=False, factory=anyio.CancelScope)
    is_restarted: bool = False
    _schedule: Generator[polling.NextPoll, polling.LastPoll, None] | None = None
    _seen: polling.LastPoll | None = None
    # Whether the service has refused the parameters of the long poll, or of the progress.
    _is_plain: bool = False

    async def poll(self, until: float, latest: float = inf) -> Generation | None:
        """Poll after the schedule's pause; return `None` if no poll is worth making until then.

        Pauses end at `latest`.
        """
        transport = self._requester.transport
        if self._schedule is None:
            remaining = until - transport.now()
            self._schedule = polling.poll_schedule(self._options.poll, remaining=remaining)
        seen: Any = self._seen  # the first is `None`, as for any generator
        try:
            step = self._schedule.send(seen)
        except StopIteration:
            return None
        if step.pause:
            left = max(latest - transport.now(), _LEAST_PAUSE)
            await transport.sleep(min(step.pause, left))
        before, response, hold = transport.now(), None, step.hold
        try:
            while response is None:
                progress = self._options.poll.progress and not self._is_plain
                hold = None if self._is_plain else hold
                options = self._options
                if hold is not None and options.timeout is not None:
                    options = attrs.evolve(options, timeout=options.timeout + hold)
                call = get_generation(self.job, progress=progress, hold=hold)
                try:
                    shown = await self._requester.execute(call, options, deadline=self.deadline)
                    response = call.response
                except _REFUSALS:
                    if hold is None and not progress:
                        raise
                    self._is_plain = True  # and ask in the plainest way
        finally:
            now = transport.now()
            is_held = response is None or "x-sync-wait-mode" in response.headers
            is_early = step.hold is not None and now - before < step.hold * _HELD_SHARE
            self.is_honoured = not self._is_plain and (is_held or not is_early)
            pause = None if response is None else retry_after(response)
            self._seen = polling.LastPoll(now - before, until - now, self.is_honoured, pause)
        self.last = PollResults({self.job: shown.raw}, response)
        return shown


@attrs.define(slots=True, eq=False)
class Subscription:
    """Interest of one subscriber in one job, with the status as last seen.

    `shown_at` is when a poll last showed the job; at first, when it was subscribed to.
    """

    job: str
    callback: Notify
    status: str
    hears_all: bool
    shown_at: float
    webhooks: Webhooks = None


def _awaits_event(subscription: Subscription) -> bool:
    """Tell whether the job's webhook has not come yet, but may."""
    webhooks = subscription.webhooks
    return webhooks is not None and not webhooks.has_event(subscription.job)


class Poller:
    """Poller of the jobs of all subscribers in one event loop."""

    def __init__(self, requester: Requester, requests_per_minute: int | None) -> None:
        self._requester = requester
        self._transport = requester.transport
        rate = None if requests_per_minute is None else requests_per_minute / 60 * polling.SHARE
        self._scheduler = PollScheduler(rate=rate)
        self._interval = SLOW_INTERVAL  # the leader sets it
        # By the ids of the jobs that are polled.
        self.subscriptions: dict[str, tuple[Subscription, ...]] = {}
        # Those that do not leave it to a webhook to tell when a poll is worth making.
        self._eager: set[Subscription] = set()
        self._leadership = LeaderFollower()
        # When a waiter's time is over, soonest first; the number settles ties. The leader wakes
        # followers, for time belongs to the transport and may be virtual.
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._numbers = count()
        self._polls = 0
        # Polls of the jobs that are polled one by one.
        self._solo: dict[str, SoloPolls] = {}
        # Whether the service honours the long poll, as far as is known.
        self._is_honoured = True
        # Whether the service lists only ended jobs if asked to, as far as is known; and in how
        # many rounds only full lists have shown ends, when last.
        self._lists_ended = True
        self._left_out, self._left_out_at = 0, -inf
        # How often in a row such a list has failed.
        self._strikes = 0
        self._sleep_scope = anyio.CancelScope()
        self._sleep_ends = -inf
        # Waits in flight, whether or not they share polls.
        self.waits: int = 0

    def subscribe(
        self,
        job: str,
        callback: Notify,
        *,
        status: str = "",
        hears_all: bool = True,
        webhooks: WebhookReceiver | None = None,
        is_new: bool = False,
    ) -> Subscription:
        """Watch a job: from now on it is polled while any task is in `run_until`.

        A job that `is_new` has been created just now.
        """
        now = self._transport.now()
        subscription = Subscription(job, callback, status, hears_all, now, webhooks)
        if webhooks is not None:
            webhooks.connect(self.wake)
        if not (is_new and _awaits_event(subscription)):
            self._eager.add(subscription)
        self.subscriptions[job] = (*self.subscriptions.get(job, ()), subscription)
        # A newcomer is not to wait for the end of a long poll, which may take ten seconds. The
        # poll that is begun anew is left to its answer.
        polls = self._solo.get(job)
        if polls is not None and polls.last is not None:
            subscription.status = polls.last.items[job]["status"]
            if hears_all and subscription.status != status:
                callback(job, polls.last.generation(job))
        elif polls is not None and not polls.is_restarted:
            polls.is_restarted = True
            polls.scope.cancel()
            self._scheduler.leave(job)
        self._scheduler.join(job, now)
        self._wake_early()
        return subscription

    def unsubscribe(self, subscription: Subscription | None) -> None:
        """Watch a job no more; doing so twice, or after the job's end, is fine."""
        if subscription is None:
            return
        self._eager.discard(subscription)
        present = self.subscriptions.get(subscription.job, ())
        rest = tuple(each for each in present if each is not subscription)
        if rest:
            self.subscriptions[subscription.job] = rest
        else:
            self.subscriptions.pop(subscription.job, None)
            self._scheduler.leave(subscription.job)
            polls = self._solo.pop(subscription.job, None)
            if polls is not None:  # it may be held for long
                polls.scope.cancel()

    def wake(self, job: str) -> None:
        """Poll a job at once, if it is watched: its webhook has come, or its time is nearly over.

        Once the webhook has come, it is polled as often as a job without one.
        """
        self._eager.update(self.subscriptions.get(job, ()))
        self._scheduler.hurry(job)
        self._wake_early()

    async def run_until(
        self, waiter: Waiter, options: RequestOptions, *, deadline: float = inf
    ) -> None:
        """Keep the polls coming, together with all others, until the waiter's wait is over.

        The options are those of `retry_until_timeout`.
        """
        entry = (deadline, next(self._numbers), waiter)
        insort(self._deadlines, entry)
        self._wake_early()
        try:
            await self._leadership.wait_or_lead(waiter, partial(self._lead, options))
        finally:
            place = bisect_left(self._deadlines, entry)
            if self._deadlines[place : place + 1] == [entry]:  # it may have fired
                del self._deadlines[place]

    async def _lead(self, options: RequestOptions) -> None:
        """Make polls until cancelled, or until one fails in a way that concerns all."""
        self._interval = options.poll.shared_interval
        # Fields and parameters of this task's view are not for the polls of others.
        plain = attrs.evolve(options.poll, progress=False)  # which lists do not show
        options = attrs.evolve(options, headers=NO_HEADERS, query=NO_HEADERS, poll=plain)
        failures: list[Exception] = []
        async with anyio.create_task_group() as tasks:

            def stop(failure: Exception) -> None:
                failures.append(failure)
                tasks.cancel_scope.cancel()

            try:
                while True:
                    now = self._transport.now()
                    while self._deadlines and self._deadlines[0][0] <= now:
                        self._deadlines.pop(0)[2].wake()
                    batch = None
                    if self._next_moment() <= now and self._polls < _MOST_POLLS:
                        batch = self._scheduler.next_batch(now, solo=self._has_few(options))
                    if batch is None:
                        await self._sleep()
                    else:
                        self._polls += 1
                        tasks.start_soon(self._poll, options, stop, batch)
            except LipsyncError as error:  # the client was closed
                stop(error)
        raise failures[0]  # as it is, without a group around it

    def _has_few(self, options: RequestOptions) -> bool:
        """Tell whether long polls serve better than lists: there are few jobs, and they are held.

        The long polls of a small share of the account's requests would queue behind each other.
        """
        most = min(MAX_SOLO_WAITS, self._scheduler.rate * _SECONDS_OF_A_LONG_POLL)
        may_hold = self._is_honoured and options.poll.long_poll is not None
        return may_hold and bool(self._eager) and len(self.subscriptions) <= most

    async def _sleep(self) -> None:
        with anyio.CancelScope() as self._sleep_scope:
            self._sleep_ends = self._next_moment()
            if self._sleep_ends == inf:
                await anyio.sleep_forever()
            await self._transport.sleep(self._sleep_ends - self._transport.now())

    def _wake_early(self) -> None:
        """Wake the leader, if it sleeps, when something is due sooner than it believes."""
        if self._next_moment() < self._sleep_ends:
            self._sleep_scope.cancel()

    def _next_moment(self) -> float:
        """Return when something is due: soon again, or later while all webhooks are awaited."""
        slow = max(self._interval, SLOW_INTERVAL)
        self._scheduler.interval = self._interval if self._eager else slow
        poll = self._scheduler.next_time() if self._polls < _MOST_POLLS else inf
        return min(poll, self._deadlines[0][0] if self._deadlines else inf)

    async def _poll(
        self, options: RequestOptions, stop: Callable[[Exception], None], batch: PollBatch
    ) -> None:
        try:
            poll = self._poll_solo if batch.is_solo else self._poll_list
            await poll(options, batch)
        except LipsyncError as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever the view's own `on_response` raises
            self._scheduler.on_failure(batch)
            stop(error)
        except BaseException as error:
            self._scheduler.on_failure(batch)
            failure = unexpected_cancellation(error, "on_response")
            if failure is None:
                raise
            stop(failure)
        finally:
            self._polls -= 1
            self._wake_early()

    async def _poll_list(self, options: RequestOptions, batch: PollBatch) -> None:
        """Poll the jobs of a batch, at first only for those that have ended if that will do."""
        ids = batch.ids
        shown: PollResults | int = 0
        if self._wants_ended_only(batch):
            shown = await self._poll_ended(options, ids)
        if isinstance(shown, int):
            # Had this list failed as well, the filter would not be the reason.
            strikes, shown = shown, await self._requester.execute(polling.poll_jobs(ids), options)
            self._strikes += strikes
            self._lists_ended &= self._strikes < _MOST_STRIKES and self._shows_filter_works(shown)
        else:
            ids = tuple(filter(shown.items.__contains__, ids))
        missing, now = set(), self._transport.now()
        for job in ids:
            if job not in shown.items or not self._tell(job, shown, now):
                missing.add(job)
        self._scheduler.on_answer(batch, missing)

    async def _poll_ended(self, options: RequestOptions, ids: tuple[str, ...]) -> PollResults | int:
        """Poll for those jobs that have ended; or count a failure, after the pause it asks for."""
        seconds = _FILTER_SECONDS if options.timeout is None else options.timeout
        once = attrs.evolve(options, attempts=1, timeout=min(seconds, _FILTER_SECONDS))
        try:
            shown = await self._requester.execute(polling.poll_jobs(ids, ended_only=True), once)
        except LipsyncError as error:
            if is_from_callback(error) or isinstance(error, AuthenticationError):
                raise
            pause = error.retry_after if isinstance(error, ResponseError) else None
            await self._transport.sleep(min(pause or 0.0, _LONGEST_TOLD))
            may_pass = isinstance(error, ServerError | ConnectionLostError)
            return 1 if may_pass else _MOST_STRIKES
        self._strikes = 0
        ends = [has_ended for _, has_ended in shown.shown_jobs()]
        self._lists_ended &= all(ends)
        if ends:
            self._left_out = 0
        return shown

    def _shows_filter_works(self, shown: PollResults) -> bool:
        """Tell whether the full lists show few ends that the lists before them have left out.

        A job that ends between two lists may be shown first by a full one. Where the lists of
        ended jobs work, that is one end in ten; three rounds in a row are no accident.
        """
        now = self._transport.now()
        latest = now - self._scheduler.longest_unseen() / 2
        for job, has_ended in shown.shown_jobs():
            first, *_ = self.subscriptions.get(job, (None,))
            if first is None or first.webhooks is not None:  # it may not have been asked for since
                continue
            is_late = has_ended and first.shown_at <= latest
            if is_late and self._left_out_at <= latest:
                self._left_out_at, self._left_out = now, self._left_out + 1
        return self._left_out < _MOST_LEFT_OUT

    def _wants_ended_only(self, batch: PollBatch) -> bool:
        """Tell whether a list may leave out jobs that run: ends matter, all were shown lately."""
        if not (batch.is_list and self._lists_ended):
            return False
        latest = self._transport.now() - self._scheduler.longest_unseen()
        for job in batch.ids:
            for subscription in self.subscriptions.get(job, ()):
                if subscription.hears_all or subscription.shown_at <= latest:
                    return False
        return True

    async def _poll_solo(self, options: RequestOptions, batch: PollBatch) -> None:
        """Poll a job by long polls, until it has ended, there are many jobs, or none is held.

        When the job leaves, the poll is cancelled: it may be back soon, in another batch.
        """
        job = batch.ids[0]
        polls = SoloPolls(self._requester, options, job, is_restarted=job in self._solo)
        self._solo[job] = polls
        with polls.scope:
            try:
                while job in self.subscriptions and self._has_few(options):
                    # Shortly before any waiter's time is over, the schedule ends with a last poll.
                    shown = await polls.poll(self._deadlines[0][0] if self._deadlines else inf)
                    if shown is None or polls.last is None:
                        break
                    self._is_honoured = polls.is_honoured
                    self._tell(job, polls.last, self._transport.now())
                self._scheduler.on_answer(batch)
            finally:
                if not polls.scope.cancel_called:
                    self._solo.pop(job, None)

    def _tell(self, job: str, shown: PollResults, now: float) -> bool:
        """Tell a job's subscribers what is new to them; return whether it could be read."""
        status: str = shown.items[job]["status"]
        is_end = status in TERMINAL
        news: list[tuple[Subscription, Generation | None]] = []
        try:
            for each in self.subscriptions.get(job, ()):
                each.shown_at = now
                if each.status != status:  # an object of its own, for generations can be changed
                    is_heard = is_end or each.hears_all
                    news.append((each, shown.generation(job) if is_heard else None))
        except DecodeError:  # the job's own poll will tell
            return False
        patient = filter(_awaits_event, self.subscriptions.get(job, ()))
        self._eager.difference_update(patient)
        if news:
            log(POLL_LOG, logging.DEBUG, f"generation {job} is {status}")
            if is_end:
                self._eager.difference_update(self.subscriptions.pop(job))
                self._solo.pop(job, None)
                self._scheduler.leave(job)
        for each, generation in news:
            each.status = status
            if generation is not None:
                each.callback(job, generation)
        return True

    def _fail(self, batch: PollBatch, error: LipsyncError) -> None:
        """Tell those whom an error concerns, or ask in another way."""
        jobs: Iterable[str] = batch.ids
        if isinstance(error, AuthenticationError):
            self._scheduler.on_failure(batch)
            jobs = list(self.subscriptions)
        elif not batch.is_list:
            self._scheduler.on_answer(batch)
        elif polling.is_refusal(error):
            self._scheduler.on_refusal(batch)
            jobs = ()
        else:
            self._scheduler.on_failure(batch)
        for job in jobs:
            for subscription in self.subscriptions.get(job, ()):
                subscription.callback(job, error)


def as_generation(job: Generation | str) -> Generation:
    """Return the job as last seen; of a bare id nothing is known yet."""
    return job if isinstance(job, Generation) else Generation(id=str.__str__(job), status=_UNSEEN)


def error_of(generation: Generation) -> GenerationError | None:
    """Return the error that a job's end is; `None`: it is COMPLETED."""
    if generation.status == Status.COMPLETED:
        return None
    if generation.status == Status.REJECTED:
        return GenerationRejectedError(generation)
    return GenerationFailedError(generation)


@attrs.define(slots=True, eq=False)
class JobWait:
    """One wait for one job, with what it has seen.

    `timeout` is in seconds; infinite: no limit.
    """

    _requester: Requester
    _poller: Poller
    _options: RequestOptions
    last: Generation
    _timeout: float
    _webhooks: Webhooks = None
    _started: float = 0.0
    _deadline: float = inf
    # Until when it waits for polls as they come: slow ones are followed by one near the deadline.
    _until: float = inf
    _is_found: bool = False
    _is_missing_told: bool = False
    _updates: deque[Generation | LipsyncError] = attrs.field(init=False, factory=deque)

    async def changes(self) -> AsyncGenerator[Generation, None]:
        """Yield the job each time its status or progress has changed; end with its life."""
        if self.last.status in TERMINAL:
            return
        poller, transport = self._poller, self._requester.transport
        self._started = transport.now()
        self._deadline = self._started + self._timeout
        slots = self._requester.account.slots
        slot = slots.hold(self.last.id)
        poller.waits += 1
        subscription = None
        try:
            await transport.sleep(0.0)  # those that start together are counted first
            # Lists show no progress. And a wait with hardly any time makes one poll of its own.
            is_short = self._deadline - transport.now() <= polling.LAST_POLL
            is_solo = self._options.poll.progress or is_short
            has_few = max(poller.waits, len(poller.subscriptions)) <= MAX_SOLO_WAITS
            if is_solo or (has_few and self._webhooks is None):
                limit = None if self._deadline == inf else self._deadline
                polls = SoloPolls(self._requester, self._options, self.last.id, limit)
                next_change = partial(self._poll_solo, polls)
            else:
                is_slow = self._webhooks is not None
                self._until = self._deadline - polling.LAST_POLL * is_slow
                waiter = Waiter(lambda: bool(self._updates) or transport.now() >= self._until)
                next_change = partial(self._share_polls, waiter)
                callback = partial(self._on_update, waiter)
                subscription = poller.subscribe(
                    self.last.id, callback, status=self.last.status, webhooks=self._webhooks
                )
            while self.last.status not in TERMINAL:
                if await next_change():
                    yield self.last
        except WaitTimeoutError:
            raise
        except LipsyncError as error:  # a poll has failed, or the client was closed
            if transport.now() >= self._deadline:
                raise WaitTimeoutError(self.last, timeout=self._timeout) from error
            error.generation = self.last
            raise
        finally:
            slots.release(slot)
            poller.unsubscribe(subscription)
            poller.waits -= 1

    async def _poll_solo(self, polls: SoloPolls) -> bool:
        """Poll once, after the schedule's pause; tell whether the job has changed."""
        grace = self._options.poll.not_found_grace
        try:
            latest = inf if self._is_found else self._started + grace
            shown = await polls.poll(self._deadline, latest)
        except NotFoundError as error:
            if not self._is_within_grace(error):
                raise
            if not self._is_missing_told:
                self._is_missing_told = True
                told = f"does not know generation {self.last.id} (404), which may be too new"
                message = f"waiting: the service {told}; asking again for up to {grace:g} s"
                log(RETRY_LOG, logging.INFO, message)
            return False
        if shown is None:  # no poll is worth making before the time is over
            transport = self._requester.transport
            await transport.sleep(self._deadline - transport.now())
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        has_changed = self._record(shown)
        if has_changed:
            log(POLL_LOG, logging.DEBUG, f"generation {self.last.id} is {self.last.status}")
        return has_changed

    async def _share_polls(self, waiter: Waiter) -> bool:
        """Wait for an update from the poller; tell whether it has changed the job."""
        await self._poller.run_until(waiter, self._options, deadline=self._until)
        if not self._updates and self._until < self._deadline:
            self._until = self._deadline
            self._poller.wake(self.last.id)
            return False
        if not self._updates:
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        update = self._updates.popleft()
        if isinstance(update, LipsyncError):
            own = copy(update)  # each wait's own, for it names the job
            own.__cause__ = update.__cause__
            raise own
        return self._record(update)

    def _on_update(self, waiter: Waiter, _: str, update: Generation | LipsyncError) -> None:
        """Take what the poller dispatches."""
        if isinstance(update, Generation) or not self._is_within_grace(update):
            self._updates.append(update)
            waiter.wake()

    def _record(self, generation: Generation) -> bool:
        """Keep what was seen; return whether its status or progress is new."""
        last = self.last
        self._is_found = True
        if (generation.status, generation.progress_percent) == (last.status, last.progress_percent):
            return False
        generation.idempotency_key = last.idempotency_key
        self.last = generation
        return True

    def _is_within_grace(self, error: LipsyncError) -> bool:
        """Tell whether "no such generation" may only mean that its create is too fresh."""
        return (
            isinstance(error, NotFoundError)
            and not self._is_found
            and self._requester.transport.now() - self._started < self._options.poll.not_found_grace
        )
