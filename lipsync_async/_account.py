"""What the requests of one account have in common: its limits, and who waits for them.

All clients of a process that use the same key at the same address, with the same limits,
draw on the same budgets. In a forked child they begin anew: the processes of an account
do not know of each other, and are to be given a share of the limits each.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from anyio import Lock

from lipsync_async._rules.budget import Budget
from lipsync_async._threads import new_lock
from lipsync_async.errors import RateLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lipsync_async._rules.budget import Place
    from lipsync_async._rules.config import Config
    from lipsync_async._transport.protocol import Transport
    from lipsync_async._values.policies import Limits


class Account:
    """Hold the budgets of an account, for any number of threads.

    Args:
        limits: What they allow.

    """

    def __init__(self, limits: Limits) -> None:
        self.creates = SharedBudget(limits.creates_per_minute)
        self.requests = SharedBudget(limits.requests_per_minute)


class SharedBudget:
    """Let several threads draw on one budget.

    Args:
        limit: Requests a minute; `None`: no limit, which costs nothing.

    """

    def __init__(self, limit: int | None) -> None:
        self.is_limited: bool = limit is not None
        self._budget = Budget(limit)
        self._lock = new_lock()

    def reserve(self, now: float) -> Place:
        """Take the next place."""
        with self._lock:
            return self._budget.reserve(now)

    def wait(self, place: Place, now: float) -> float:
        """Return the seconds until the place comes."""
        with self._lock:
            return self._budget.wait(place, now)

    def give_back(self, place: Place) -> None:
        """Do without a place from which nothing was sent."""
        with self._lock:
            self._budget.give_back(place)

    def refused(self, place: Place, now: float, retry_after: float | None) -> None:
        """Learn from a refusal that the budget did not expect."""
        with self._lock:
            self._budget.refused(place, now, retry_after)


class _Accounts:
    """Find the account of a client among those that other clients use."""

    def __init__(self) -> None:
        self.forget()
        register = getattr(os, "register_at_fork", dict)  # not every platform forks
        register(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew: at first, and in a forked child, where the lock may never be released."""
        self._lock = new_lock()
        self._accounts: WeakValueDictionary[tuple[str, str, Limits], Account]
        self._accounts = WeakValueDictionary()

    def find(self, config: Config, limits: Limits) -> Account:
        """Return the account, a new one if nobody uses it."""
        name = (config.base_url, config.api_key.reveal(), limits)
        with self._lock:
            account = self._accounts.get(name)
            if account is None:
                account = self._accounts[name] = Account(limits)
            return account


_ACCOUNTS = _Accounts()


def find_account(config: Config, limits: Limits) -> Account:
    """Return what this process's clients of an account share."""
    return _ACCOUNTS.find(config, limits)


class Gate:
    """Let the requests of one client pass one by one, as a budget allows.

    Only the first in line holds a place of the budget, so that the line moves up when
    somebody leaves it.

    Args:
        budget: The budget.
        transport: Owner of the time.

    """

    def __init__(self, budget: SharedBudget, transport: Transport) -> None:
        self._budget = budget
        self._transport = transport
        self._line = Lock(fast_acquire=True)

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever waits here."""
        return self._budget.is_limited

    async def enter(self, deadline: float | None) -> tuple[Place | None, float]:
        """Wait until a request may be sent.

        Args:
            deadline: Transport time after which it is not waited any more.

        Returns:
            The place that it is sent from (`None`: there is no time left for one), and the
            seconds that this took.

        """
        began = self._transport.now()
        async with self._line:
            place = await self._reached(deadline)
        return place, self._transport.now() - began

    @contextmanager
    def learning(self, place: Place) -> Iterator[None]:
        """Tell the budget if what is sent from a place is refused for its sake."""
        try:
            yield
        except RateLimitError as error:
            self._budget.refused(place, self._transport.now(), error.retry_after)
            raise

    async def _reached(self, deadline: float | None) -> Place | None:
        place = self._budget.reserve(self._transport.now())
        is_kept = False
        try:
            while (wait := self._budget.wait(place, self._transport.now())) > 0:
                remaining = _remaining(deadline, self._transport.now())
                if remaining is not None and remaining <= 0:
                    return None
                await self._transport.sleep(wait if remaining is None else min(wait, remaining))
            is_kept = True
            return place
        finally:
            if not is_kept:
                self._budget.give_back(place)


def _remaining(deadline: float | None, now: float) -> float | None:
    return None if deadline is None else deadline - now


class Turn:
    """Hold a call's place in the line of those that the account's limits hold up.

    Hundreds of creates that each ask for a slot in their own time would use up the
    requests of every minute. So one asks at a time, and the others wait behind it.

    Attributes:
        waited: Seconds that this took so far.

    """

    def __init__(self, line: Lock | None, transport: Transport) -> None:
        self.waited: float = 0.0
        self._line = line
        self._transport = transport
        self._is_mine = False

    async def wait_behind_others(self) -> None:
        """Join the line if there is one already."""
        if self._line is not None and self._line.locked():
            await self.take()

    async def take(self) -> float:
        """Wait for the turn, if it has not come yet; return the seconds that this took."""
        if self._line is None or self._is_mine:
            return 0.0
        joined = self._transport.now()
        await self._line.acquire()
        self._is_mine = True
        waited = self._transport.now() - joined
        self.waited += waited
        return waited

    def give_back(self) -> None:
        """Let the next one have its turn."""
        if self._line is not None and self._is_mine:
            self._is_mine = False
            self._line.release()
