"""The limits of an account that several processes share, through documents in a store.

The rules are those of one process, `SlidingWindowLimiter` and `ConcurrencyLimiter`. Their state
is a document: a process reads it, applies a rule, and writes it back as one change. A rule sees
the store's clock only, and returns for how many seconds the process is to sleep.

* **A slot belongs to a job**, and is found by the create's Idempotency-Key. A create that is
  repeated, by any process, has its slot already. Polls renew it. A job that no process has seen
  for `_LEASE` seconds is a *suspect*: a process that lacks a slot asks the service about it. Its
  slot is free only if it has ended.
* **The slot book** is the document of the slots; see `SlotBook`.
* **A lost document** is noticed, since each new document has another random id. Each process then
  writes its jobs, and how many the service allows, into the new slot book, which gives no slot out
  meanwhile. Requests begin without a burst. If any process knew the lost document, they also begin
  after a pause, since a burst may have been sent in the last minute.
* **While the store fails** nothing is created. Other requests go on, at a tenth of the limit, so
  that waits end.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import attrs

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import RETRY_LOG, log
from lipsync_async._enums import Status
from lipsync_async._logic.endpoints import CREATE, REQUEST, RateClass
from lipsync_async._models.account import SharedSlot, SharedUse
from lipsync_async._models.response import Generation
from lipsync_async._rate_limits import (
    LATEST,
    WINDOW,
    ConcurrencyLimiter,
    Reservation,
    SlidingWindowLimiter,
    Slot,
    WaitQueue,
    counted,
)
from lipsync_async.errors import (
    AccountStoreError,
    ConfigurationError,
    LipsyncError,
    in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lipsync_async._models.policies import Limits
    from lipsync_async._rate_limits import SlotPool
    from lipsync_async._stores.protocol import AccountStore
    from lipsync_async._transport.protocol import Transport
    from lipsync_async.errors import ConcurrencyLimitError

T = TypeVar("T")

_VERSION = 1
# A process that polls a job notes it in the slot book every `_RENEWAL` seconds, or at the end of
# a long poll. A job of which nothing was noted for `_LEASE` seconds is a suspect. If a process
# polls it after all, the question costs one request, and nothing else.
_RENEWAL = 10.0
_LEASE = 15.0
# A create is answered, or tried again, within a minute. After two minutes without either, its
# slot is free. If it was accepted after all, the service refuses the create that is too much.
_DOUBTFUL_FOR = 120.0
# A new slot book gives no slot out for so many seconds. If an earlier one was lost, each process
# writes its jobs in meanwhile, at its next poll.
_QUIET = 2.0
_QUIET_AFTER_LOSS = _RENEWAL + 2.0
# A create that waits for a slot asks again after so many seconds, if the store tells nothing.
_LONGEST_PAUSE = 2.0
# Seconds between a create's tries to reach a store that has failed. Other requests do not ask it
# for `_DOWN_FOR` seconds, since each try may take seconds.
_STORE_PAUSE = 1.0
_DOWN_FOR = 5.0
# Two clocks round differently: what is due in fewer seconds is due now.
_INSTANT = 1e-6
# Seconds for one change; our stores on servers have shorter limits of their own. Without a limit,
# a call might never end.
_LONGEST_CHANGE = 30.0
# Seconds of a change after which its first answer counts: a second question would be answered
# after the reserved time has lapsed, and so would each later one.
_SLOW = WINDOW * LATEST / 2
# A process sends at the limit divided by this number while the store fails.
_SHARE_WITHOUT_STORE = 10
# The `Limits` of another process count for so many seconds after it has asked.
_ASKED_FOR = 60.0
# Seconds by which the store's clock may go back, by a failover, say. Where it has gone back by
# more, a document counts as lost: otherwise processes would wait until its times come again.
_MOST_SET_BACK = 60.0
# Seconds for a note that another change makes up for, since it delays an answer that is there; and
# for one that delays a cancellation or the end of a wait.
_LONGEST_NOTE, _LATE_NOTE = 2.0, 0.5
# Ended jobs that a process remembers to have noted in the slot book.
_MOST_TOLD = 10_000
_SLOTS = "slots"
_NEW_SLOT_BOOK = (
    "the store's slot book is new or was lost, so no slot is given out for some seconds, in which "
    "the other processes write down the jobs that run."
)


def document_prefix(service: str, key_digest: str) -> str:
    """Return how the names of an account's documents begin; it does not reveal the key."""
    return f"lipsync:{sha256(f'{service} {key_digest}'.encode()).hexdigest()[:16]}"


@attrs.define(slots=True)
class Document:
    """Document of a store, as a rule sees it.

    Attributes:
        state: What it holds; empty: it is new.
        now: The store's time in seconds; no less than when the document was last changed.
        id: Random text that an earlier document, which was lost, does not have.
        since: The store's time when it was new.
    """

    state: dict[str, Any]
    now: float
    id: str
    since: float

    @classmethod
    def read(cls, content: bytes | None, now: float) -> Document:
        """Read a document.

        Raises:
            AccountStoreError: A newer version of this package has written it.

        """
        if content is None:
            return cls({}, now, uuid.uuid4().hex[:8], now)
        state = json.loads(content)
        if state["version"] > _VERSION:
            newer = AccountStoreError(
                "a newer version of this package has written the limits in the account store "
                f"(format {state['version']}, not {_VERSION}), so nothing was sent. Update the "
                "package here, or give the older processes another store."
            )
            newer.is_retryable = False
            raise newer
        if state["now"] > now + _MOST_SET_BACK:
            return cls.read(None, now)
        return cls(state, max(now, state["now"]), state["id"], state["since"])

    def written(self, state: Mapping[str, Any]) -> bytes:
        """Return the document with a new state."""
        head = {"version": _VERSION, "id": self.id, "since": self.since, "now": self.now}
        return json.dumps(head | dict(state), separators=(",", ":")).encode()


class SlotBook:
    """Slot book: the document of the account's slots, as a rule sees it.

    Attributes:
        document: What it was read from.
        now: The store's time in seconds.
        limiter: Decides whether a create may be sent.
        opens_at: The store's time from which on a new slot book gives slots out.
        asked: Each `Limits.concurrent_generations` of a process, and when it last asked.
    """

    def __init__(self, document: Document) -> None:
        state = document.state
        self.document = document
        self.now: float = document.now
        if not state:
            self.limiter = ConcurrencyLimiter()
            self.opens_at: float = self.now + _QUIET
            self.asked: dict[int, float] = {}
            return
        self.limiter = ConcurrencyLimiter.of_state(state)
        self.limiter.drop_doubtful(self.now, unseen_for=_DOUBTFUL_FOR)
        self.opens_at = state["opens_at"]
        self.asked = {most: last for most, last in state["asked"] if last + _ASKED_FOR > self.now}

    def state(self) -> dict[str, Any]:
        """Return what counts later, as JSON can hold it."""
        own = {"opens_at": self.opens_at, "asked": [*self.asked.items()]}
        return own | self.limiter.to_state()

    def take(
        self, key: str, holder: str, most: int | None, *, is_anyhow: bool = False
    ) -> Slot | None:
        """Take a slot for a create, if it may be sent now; one that has its slot keeps it."""
        slot = self.limiter.slot_of(key)
        if most is not None:
            self.asked[most] = self.now
        if slot is None and (is_anyhow or self.now > self.opens_at - _INSTANT):
            lowest = min(self.asked, default=None)
            slot = self.limiter.take(self.now, lowest, key, is_eager=True, is_anyhow=is_anyhow)
        if slot is not None:
            slot.holder, slot.seen = holder, self.now
        return slot

    def accepted(self, key: str, holder: str, job: Generation) -> None:
        """Note that a create has become a job, or that a job runs which is not in it."""
        if job.id not in self.limiter.jobs:
            slot = self.limiter.slot_of(key)
            if slot is None or slot.is_accepted:
                slot = self.limiter.take_anyhow(None, key)
            self.limiter.accepted(slot, job, self.now)
        known = self.limiter.jobs.get(job.id)
        if known is not None:  # a repeated create may find a job that has ended: it has no slot
            known.holder = holder
        self.limiter.saw([(job.id, job.is_terminal)], self.now)

    def refused(
        self, key: str, error: ConcurrencyLimitError, most: int | None, patience: float | None
    ) -> None:
        """Lower the limit: the service has refused a create for the lack of a slot."""
        slot = self.limiter.slot_of(key)
        if slot is None or slot.is_accepted:  # the job of this key runs, and keeps its slot
            slot = Slot(key=key, counts=False)
        self.limiter.refused(slot, self.now, error, most=most, patience=patience)

    def released(self, key: str, holder: str) -> None:
        """Give back the slot of a process's create that was certainly not accepted."""
        slot = self.limiter.slot_of(key)
        if slot is not None and not slot.is_accepted and slot.holder == holder:
            self.limiter.ended(slot)

    @property
    def limit(self) -> int | None:
        """How many jobs may run at once, as the service has told; `None`: not known."""
        return None if self.limiter.limit is None else int(self.limiter.limit)

    def write_in(
        self, jobs: Iterable[tuple[str, str]], holder: str, limit: int | None = None
    ) -> None:
        """Write in what a process knows of an earlier slot book, which was lost.

        Args:
            jobs: Its running jobs, with their keys.
            holder: The process.
            limit: How many jobs may run at once.
        """
        for key, job in jobs:
            self.accepted(key, holder, _running(job))
        self.limiter.seed(limit, self.now)
        self.opens_at = max(self.opens_at, self.document.since + _QUIET_AFTER_LOSS)

    def shown(self) -> list[SharedSlot]:
        """Return the slots that are in use, those whose creates are under way first."""
        now, state = self.now, self.limiter.to_state()
        return [
            SharedSlot(
                key=key,
                generation_id=job or None,
                holder=holder,
                seconds=now - (since if job else seen),
                unseen_seconds=now - seen,
            )
            for key, job, _, _, since, seen, holder in state["slots"]
        ]


@attrs.frozen(slots=True)
class SharedReservation:
    """Reservation in a document; its time means nothing in another one.

    Attributes:
        reservation: The reservation.
        document: The id of the document.
    """

    reservation: Reservation
    document: str


@attrs.define(slots=True)
class RateWait:
    """Wait of one request until it may be sent.

    Attributes:
        held: The time that is reserved for it.
        is_over: Whether it may be sent now.
    """

    _shared: SharedLimits
    _kind: RateClass
    _limit: int
    _give_up_after: float | None
    began: float
    held: SharedReservation | None = None
    is_over: bool = False
    _not_before: float = -inf
    # Until when it may be sent without another question.
    _not_after: float = -inf

    async def attempt(self, now: float) -> tuple[bool | None, float]:
        """Tell whether it may be sent (`None`: no), and after how many seconds to ask again."""
        shared, document = self._shared, self._kind.noun
        if now < self._not_before:
            return None, self._not_before - now
        if now <= self._not_after:
            self.is_over = True
            return True, 0.0
        if self._kind is REQUEST and shared.is_down(now):
            return shared.attempt_alone(now, self._limit)
        if self._kind is CREATE:
            shared.raise_if_over(document, self.began, self._give_up_after)
        try:
            self.held, seconds = await shared.ask(self._kind, self.held, self._limit)
        except AccountStoreError as error:
            if self._kind is REQUEST:
                return shared.attempt_alone(now, self._limit)
            shared.raise_if_over(document, self.began, self._give_up_after, error)
            return None, _STORE_PAUSE
        answered = shared.now()
        self._not_before = answered + seconds
        if answered - now > _SLOW:
            self._not_after = self._not_before + WINDOW * LATEST
        self.is_over = seconds < _INSTANT
        return self.is_over or None, seconds


@attrs.define(slots=True)
class SlotWait:
    """Wait of one create for a slot."""

    _shared: SharedLimits
    _key: str
    _slot_timeout: float | None
    _give_up_after: float | None
    _look_at: Callable[[list[str]], Awaitable[None]]
    began: float
    # The store's time when it began.
    _since: float | None = None
    _suspects: list[str] = attrs.field(factory=list)

    async def attempt(self, _: float) -> tuple[bool | None, float]:
        """Tell whether it has a slot (`None`: no), and after how many seconds to ask again."""
        shared, self._suspects = self._shared, []
        shared.raise_if_over(_SLOTS, self.began, self._give_up_after)
        try:
            is_taken, told, self._suspects, pause = await shared.try_slot(
                self._key, self._since, self._slot_timeout
            )
        except AccountStoreError as error:
            shared.raise_if_over(_SLOTS, self.began, self._give_up_after, error)
            return None, _STORE_PAUSE
        self._since = told if self._since is None else self._since
        return is_taken or None, pause

    async def look_at_suspects(self) -> bool:
        """Look at jobs that may have ended unseen; return whether there were any."""
        if self._suspects:
            await self._look_at(self._suspects)
        return bool(self._suspects)


class SharedLimits:
    """The limits that the processes of an account share, as one client keeps them."""

    def __init__(
        self,
        store: AccountStore,
        prefix: str,
        transport: Transport,
        limits: Limits,
        own_slots: SlotPool,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._transport = transport
        self._own_slots = own_slots
        self._limits: dict[RateClass, int | None] = {
            CREATE: limits.creates_per_minute,
            REQUEST: limits.requests_per_minute,
        }
        self._most = limits.concurrent_generations
        self._holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self._queues = {
            kind: LoopLocal(partial(WaitQueue, transport, partial(self._rate_words, kind)))
            for kind in self._limits
        }
        self._slot_queue = LoopLocal(partial(WaitQueue, transport, self._slot_words))
        self._slots_in_words = ""
        # What this process may send while the store fails.
        self._alone = SlidingWindowLimiter()
        self._down_until = -inf
        # Since when the changes of each document have failed, and what the store said last.
        self._failing: dict[str, float] = {}
        self._failure = ""
        self._lowest: dict[RateClass, int] = {}
        self._unused: list[tuple[RateClass, SharedReservation]] = []
        # The id of each document; whether the slot book may have been lost, and the limit in it.
        self._ids: dict[str, str] = {}
        self._is_lost = False
        self._known_limit: int | None = None
        # Keys of the creates that have, or may have, a slot.
        self._taken: set[str] = set()
        # When the slot book last noted that an own job runs.
        self._renewed: dict[str, float] = {}
        # Ended jobs whose end the slot book has noted, and those of which it has not.
        self._told: OrderedDict[str, None] = OrderedDict()
        self._untold: dict[str, None] = {}

    # --- Requests a minute ---

    async def reserve(
        self,
        rate_class: RateClass,
        began: float,
        give_up_after: float | None,
        deadline: float | None,
    ) -> tuple[SharedReservation | None, float]:
        """Wait until a request may be sent; return its reservation, and the seconds it took.

        There is none (`None`) without a limit, while the store fails, and when the deadline
        leaves no time for it.

        Raises:
            AccountStoreError: It is a create, and since it `began` the store has failed for
                `give_up_after`.

        """
        kind = _kind_of(rate_class)
        limit = self._limits[kind]
        if limit is None:
            return None, 0.0
        joined = self._transport.now()
        wait = RateWait(self, kind, limit, give_up_after, began)
        queue = self._queues[kind].get()
        try:
            # The store may not answer for seconds, and a deadline may come first.
            with anyio.move_on_after(None if deadline is None else max(0.0, deadline - joined)):
                # Only the first of the queue asks. Many that begin at once would each reserve a
                # time, and use it too late, while they wait for each other's changes.
                await queue.wait_for(wait.attempt, deadline=deadline)
        finally:
            if wait.held is not None and not wait.is_over:
                self._unused.append((kind, wait.held))
        return (wait.held if wait.is_over else None), self._transport.now() - joined

    async def report_refusal(
        self,
        rate_class: RateClass,
        reserved: SharedReservation,
        told: float | None,
        patience: float | None,
    ) -> None:
        """Tell all processes that what was sent from a reservation was refused for the rate."""
        kind = _kind_of(rate_class)
        limit = self._limits[kind] or 1

        def use(document: Document) -> tuple[dict[str, Any], float]:
            limiter = _limiter_of(document, limit)
            refused = _adopted(limiter, document, reserved) or attrs.evolve(reserved.reservation)
            seconds = limiter.on_429(refused, document.now, told, patience)
            return limiter.to_state(document.now), seconds

        with suppress(LipsyncError), anyio.move_on_after(_LONGEST_NOTE, shield=True):
            seconds = await self._change(kind.noun, use)
            log(
                RETRY_LOG,
                logging.INFO,
                f"the service refuses more {kind.noun}s, so no process of the account sends "
                f"one for {seconds:.1f} s; see Limits.{kind.setting}={limit}.",
            )

    async def ask(
        self, kind: RateClass, held: SharedReservation | None, limit: int
    ) -> tuple[SharedReservation, float]:
        """Reserve a time, or ask again about a reserved one; return the seconds until it."""
        await self._check_open()
        unused = [each for of, each in self._unused if of is kind]

        def use(document: Document) -> tuple[dict[str, Any], tuple[SharedReservation, float, int]]:
            limiter, now = _limiter_of(document, limit), document.now
            if self._ids.get(kind.noun, document.id) != document.id:
                limiter.pause_after_loss(now, document.since, limit)
            for each in unused:
                if (reservation := _adopted(limiter, document, each)) is not None:
                    limiter.cancel(reservation)
            mine = None if held is None else _adopted(limiter, document, held)
            mine = mine or limiter.reserve(now, limit)
            seconds = limiter.delay(mine, now)
            made = SharedReservation(mine, document.id)
            return limiter.to_state(now), (made, seconds, limiter.lowest(limit))

        mine, seconds, lowest = await self._change(kind.noun, use)
        self._unused = [pair for pair in self._unused if pair[1] not in unused]
        if lowest < limit and self._lowest.get(kind) != lowest:
            self._lowest[kind] = lowest
            log(
                RETRY_LOG,
                logging.WARNING,
                f"another process of this account has Limits.{kind.setting}={lowest}, which is "
                f"lower than {limit} here. The lowest number counts for all.",
            )
        return mine, seconds

    def attempt_alone(self, now: float, limit: int) -> tuple[bool | None, float]:
        """Tell whether a request may be sent though the store fails."""
        made = self._alone.reserve(now, max(1, limit // _SHARE_WITHOUT_STORE))
        if made.due <= now:
            return True, 0.0
        self._alone.cancel(made)
        return None, made.due - now

    # --- Jobs at once ---

    async def take_slot(
        self,
        key: str,
        began: float,
        slot_timeout: float | None,
        give_up_after: float | None,
        look_at: Callable[[list[str]], Awaitable[None]],
    ) -> float:
        """Wait for a slot for a create; return the seconds it took.

        After `slot_timeout` seconds it takes one even beyond the limit, and the service accepts or
        refuses the create. `look_at` polls jobs that may have ended unseen.

        Raises:
            AccountStoreError: Since the create `began`, the store has failed for `give_up_after`.

        """
        joined = self._transport.now()
        wait = SlotWait(self, key, slot_timeout, give_up_after, look_at, began)
        queue = self._slot_queue.get()
        if queue.places or not (await wait.attempt(joined))[0]:
            async with self._store.listen(self._name(_SLOTS), queue.wake):
                await queue.wait_for(wait.attempt, before=wait.look_at_suspects)
        return self._transport.now() - joined

    async def try_slot(
        self, key: str, since: float | None, slot_timeout: float | None
    ) -> tuple[bool, float, list[str], float]:
        """Take a slot if there is one.

        Returns whether it has one, the store's time, jobs to look at, and the seconds after
        which to ask again.
        """

        def use(document: Document) -> tuple[dict[str, Any] | None, tuple[Any, ...]]:
            book, now, most = self._book_of(document), document.now, self._most
            is_news = not document.state or self._is_book_lost(document)
            if most is not None and book.asked.get(most, -inf) + _ASKED_FOR / 2 < now:
                is_news = True
            slot = book.take(key, self._holder, most)
            ends = book.limiter.patience_ends(now if since is None else since, slot_timeout)
            if slot is None and ends <= now:
                slot = book.take(key, self._holder, most, is_anyhow=True)
            found = [] if slot else book.limiter.jobs_to_check(now, unseen_for=_LEASE)
            quiet = book.opens_at - now
            pause = min(quiet, _LONGEST_PAUSE) if quiet > _INSTANT else _LONGEST_PAUSE
            words = _NEW_SLOT_BOOK if quiet > _INSTANT else _words_of(book, most)
            state = book.state() if slot or found or is_news else None
            return state, (slot is not None, now, found, pause, words)

        await self._check_open()
        self._taken.add(key)  # also where the answer is lost
        *answer, self._slots_in_words = await self._change(_SLOTS, use)
        is_taken, told, suspects, pause = answer
        if not is_taken:
            self._taken.discard(key)
        return is_taken, told, suspects, pause

    async def accepted(self, key: str, job: Generation) -> None:
        """Note that a create has become a job. It never fails, and is not cancelled."""
        self._taken.discard(key)
        if not await self._settle(lambda book: book.accepted(key, self._holder, job)):
            # It may never be polled. The next change of the slot book writes all own jobs in.
            self._is_lost = True

    async def refused(self, key: str, error: ConcurrencyLimitError, patience: float | None) -> None:
        """Tell all processes that the service has refused a create for the lack of a slot."""
        self._taken.discard(key)
        await self._settle(lambda book: book.refused(key, error, self._most, patience))

    async def settle(self, key: str, job: Generation | None, *, is_free: bool) -> None:
        """End a create: with its job, or (`is_free`) certainly without one."""
        was_taken = key in self._taken
        self._taken.discard(key)
        if job is not None:
            await self.accepted(key, job)
        elif is_free and was_taken:
            await self._settle(lambda book: book.released(key, self._holder), seconds=_LATE_NOTE)

    async def seed(self, limit: int | None) -> None:
        """Tell all processes how many generations the account may run at once."""
        await self._settle(lambda book: book.limiter.seed(limit, book.now))

    async def saw(
        self, shown: Iterable[tuple[str, bool]], *, deadline: float | None = None
    ) -> None:
        """Note what an answer has shown: ids, and whether each job is over. It never fails.

        After the deadline of who waits for the answer, it takes half a second at most.
        """
        now = self._transport.now()
        due = self._due(shown, now)
        over = [*self._untold]
        if not (due or over or self._is_lost):
            return

        def use(book: SlotBook) -> None:
            for job, key in due.items():
                book.accepted(key, self._holder, _running(job))
            book.limiter.saw([(job, True) for job in over], book.now)

        left = inf if deadline is None else max(_LATE_NOTE, deadline - now)
        # Creates that wait for a slot need no notice of a job that goes on.
        if await self._settle(use, tells=bool(over), seconds=left):
            self._renewed.update(dict.fromkeys(due, now))
            self._told.update(dict.fromkeys(over))
            self._untold = {job: None for job in self._untold if job not in self._told}
            while len(self._told) > _MOST_TOLD:
                self._told.popitem(last=False)

    def _due(self, shown: Iterable[tuple[str, bool]], now: float) -> dict[str, str]:
        """Note what has ended; return the own jobs to renew in the slot book, with their keys."""
        due = {}
        jobs = self._own_slots.limiter.jobs
        for job, is_over in shown:
            slot = jobs.get(job)
            if is_over and job not in self._told:
                self._renewed.pop(job, None)
                self._untold[job] = None
            elif slot is not None:
                # A job of an earlier process may not be in the slot book.
                told = -inf if slot.key is None else slot.since
                if self._renewed.get(job, told) + _RENEWAL <= now:
                    due[job] = slot.key or job
        return due

    async def use(self) -> SharedUse:
        """Return what the processes use at present; nothing is changed.

        Raises:
            AccountStoreError: The store cannot be used.

        """

        def rate(document: Document) -> tuple[None, tuple[int, int | None]]:
            if not document.state:
                return None, (0, None)
            limiter, now = SlidingWindowLimiter.of_state(document.state), document.now
            asked = limiter.lowest(sys.maxsize)
            known = None if asked == sys.maxsize else limiter.limit(now, asked)
            return None, (limiter.sent(now), known)

        def slots(document: Document) -> tuple[None, tuple[list[SharedSlot], int | None]]:
            book = SlotBook(document)
            limits = [*book.asked, *([book.limit] if book.limit else [])]
            return None, (book.shown(), min(limits, default=None))

        await self._check_open()
        creates, creates_limit = await self._change(CREATE.noun, rate)
        sent, requests_limit = await self._change(REQUEST.noun, rate)
        held, slots_limit = await self._change(_SLOTS, slots)
        return SharedUse(
            creates=creates,
            creates_limit=creates_limit,
            requests=sent,
            requests_limit=requests_limit,
            slots=tuple(held),
            slots_limit=slots_limit,
        )

    async def _settle(
        self,
        use: Callable[[SlotBook], object],
        *,
        tells: bool = True,
        seconds: float = inf,
    ) -> bool:
        """Change the slot book, even if the caller is cancelled; call its listeners if it `tells`.

        Returns whether that is done within so many seconds, two at most. If not, the next poll of
        the job does it, or the process that next lacks a slot finds out.
        """

        def use_book(document: Document) -> tuple[dict[str, Any], bool]:
            book = self._book_of(document)
            use(book)
            return book.state(), True

        began = self._transport.now()
        if self.is_down(began):
            return False
        longest = min(seconds, _LONGEST_NOTE)
        with suppress(LipsyncError), anyio.move_on_after(longest, shield=True):
            return await self._change(_SLOTS, use_book, tells=tells)
        if longest == _LONGEST_NOTE and not self.is_down(began):
            slow = AccountStoreError(f"the account store has not answered for {longest:g} seconds")
            self._note_failure(_SLOTS, began, slow)
        return False

    # --- The store ---

    async def _check_open(self) -> None:
        """Raise the error of a closed client, which must not connect to the store anew."""
        await self._transport.sleep(0)

    def _is_book_lost(self, document: Document) -> bool:
        return self._is_lost or self._ids.get(_SLOTS, document.id) != document.id

    def _book_of(self, document: Document) -> SlotBook:
        """Read the slot book; if an earlier one may be lost, write in what was known of it."""
        book = SlotBook(document)
        if self._is_book_lost(document):
            own = [*self._own_slots.limiter.jobs.items()]
            jobs = [(slot.key or job, job) for job, slot in own]
            book.write_in(jobs, self._holder, self._known_limit)
        self._known_limit = book.limit
        return book

    def _name(self, document: str) -> str:
        return f"{self._prefix}:{document}"

    async def _change(
        self,
        name: str,
        use: Callable[[Document], tuple[dict[str, Any] | None, T]],
        *,
        tells: bool = False,
    ) -> T:
        """Change a document, and note whether the store has lost an earlier one."""

        def rule(content: bytes | None, now: float) -> tuple[bytes | None, tuple[T, str | None]]:
            try:
                document = Document.read(content, now)
                state, answer = use(document)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                message = (
                    f"the document {self._name(name)!r} in the account store cannot be read "
                    f"({in_words(error)}), so nothing was sent. Delete it, or use another store."
                )
                unreadable = AccountStoreError(message)
                unreadable.is_retryable = False
                raise unreadable from error
            written = None if state is None else document.written(state)
            # Only a change notes the loss of an earlier document, and makes up for it.
            return written, (answer, document.id if written else None)

        began = self._transport.now()
        try:
            with anyio.fail_after(_LONGEST_CHANGE):
                answer, document_id = await self._store.change(self._name(name), rule, tells=tells)
        except (AccountStoreError, ConfigurationError) as error:
            self._note_failure(name, began, error)
            raise
        except Exception as error:
            foreign = AccountStoreError(
                f"the account store has failed ({in_words(error)}), and nothing was sent. Its "
                "methods should raise AccountStoreError when it cannot be reached."
            )
            self._note_failure(name, began, foreign)
            raise foreign from error
        self._down_until = -inf
        self._failing.pop(name, None)
        if document_id is None:
            return answer
        if name == _SLOTS:
            self._is_lost = False
        elif self._ids.get(name, document_id) != document_id:
            self._is_lost = True
        self._ids[name] = document_id
        return answer

    def now(self) -> float:
        """Return the transport's time."""
        return self._transport.now()

    def is_down(self, now: float) -> bool:
        """Tell whether the store has failed within `_DOWN_FOR` seconds, and is not to be asked."""
        return now < self._down_until

    def _note_failure(self, name: str, began: float, error: LipsyncError) -> None:
        """Do not ask the store for `_DOWN_FOR` seconds; log the first failure in a row."""
        now = self._transport.now()
        is_news = name not in self._failing and not self.is_down(now)
        self._down_until = now + _DOWN_FOR
        self._failing.setdefault(name, began)
        self._failure = str(error)
        if is_news:
            log(
                RETRY_LOG,
                logging.WARNING,
                "while the account store fails, nothing is created, and other requests are sent "
                f"at a tenth of the limit: {error}",
            )

    def raise_if_over(
        self,
        document: str,
        began: float,
        give_up_after: float | None,
        error: AccountStoreError | None = None,
    ) -> None:
        """Raise a store's error that no later try avoids, or that has lasted for too long.

        Without `error` it is the last one of another call.
        """
        if error is not None and not error.is_retryable:
            raise error
        now = self._transport.now()
        if give_up_after is None or (error is None and not self.is_down(now)):
            return
        if now - max(began, self._failing.get(document, now)) >= give_up_after:
            raise error or AccountStoreError(self._failure)

    def _rate_words(self, kind: RateClass, count: int) -> str:
        return (
            f"{counted(count, kind.noun)} for more than a second, because all processes of the "
            f"account together send no more than Limits.{kind.setting}={self._limits[kind]} allows."
        )

    def _slot_words(self, count: int) -> str:
        waits = f"{counted(count, 'create')} for more than a second for a slot"
        return f"{waits}: {self._slots_in_words}"


def _kind_of(rate_class: RateClass) -> RateClass:
    """Return the limit that processes share: of creates, or of all other requests."""
    return CREATE if rate_class is CREATE else REQUEST


def _adopted(
    limiter: SlidingWindowLimiter, document: Document, reserved: SharedReservation
) -> Reservation | None:
    """Return a reservation of the document's log; `None`: it is not there."""
    reservation = attrs.evolve(reserved.reservation)
    is_there = reserved.document == document.id and limiter.adopt(reservation)
    return reservation if is_there else None


def _limiter_of(document: Document, limit: int) -> SlidingWindowLimiter:
    """Return a document's limiter; in a new document, the last minute is not known."""
    if document.state:
        return SlidingWindowLimiter.of_state(document.state)
    return SlidingWindowLimiter.without_burst(document.now, limit)


def _words_of(book: SlotBook, most: int | None) -> str:
    """Say why there is no slot; the lowest number that a process allows itself counts."""
    lowest = min(book.asked, default=None)
    words = book.limiter.words(lowest)
    return words if lowest == most else f"{words} Another process has set that; here it is {most}."


def _running(job: str) -> Generation:
    return Generation(id=job, status=Status.PROCESSING)
