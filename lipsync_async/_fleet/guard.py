"""Asks what a request would cost, and lets it through while the limits allow."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from lipsync_async._rules import endpoints, validation
from lipsync_async._rules.caller import is_from_callback, log
from lipsync_async._rules.campaign_checks import NEEDS_DURATION
from lipsync_async._rules.checks import exact
from lipsync_async._rules.reasons import Alike, reason_of
from lipsync_async.errors import (
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    SpendingLimitError,
)

if TYPE_CHECKING:
    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._fleet.job import Job
    from lipsync_async._fleet.scribe import Scribe
    from lipsync_async._rules.spending import Spending
    from lipsync_async._values.inputs import GenerationRequest

# A path that is not there, or takes no such request: a service without estimates.
_ABSENT = frozenset({404, 405, 501})


class Guard:
    """Stand between the orders and the money.

    Args:
        exchange: What performs the calls.
        settings: Timeout and retries of the estimates.
        spending: What may be ordered.
        duration: Seconds of output, if they are known; `None`: the service is asked about
            each request, and looks at its media for that.
        scribe: Knows what earlier runs have ordered with the journal.

    """

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        spending: Spending,
        duration: float | None,
        scribe: Scribe,
    ) -> None:
        self._scribe = scribe
        self._has_begun = False
        self._exchange = exchange
        self._settings = settings
        self._spending = spending
        self._duration = duration
        self._prices: dict[tuple[str, bool | None], float] = {}
        self._has_price = False
        self._alike = Alike()
        self._line = anyio.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Let nothing more be ordered, and ask for no more prices."""
        self._is_closed = True

    async def admit(self, job: Job) -> bool:
        """Let a job be ordered, and set its price aside.

        Returns:
            Whether it may be; false: nothing more is to be begun.

        Raises:
            SpendingLimitError: A limit does not allow it, or prices cannot be found out.
            LipsyncError: Its own price cannot be found out.

        """
        if not self._spending.is_priced:
            self._set_aside(job)
            return True
        # One after the other, for the money is used up in the order of the input.
        async with self._line:
            await self._count_earlier(job)
            # What an earlier run may have ordered was counted then.
            if not self._is_over and not job.is_doubtful:
                job.cost = await self._known_price(job)
            if self._is_closed and self._spending.why_over is None:
                return False
            self._set_aside(job)
        return True

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be ordered, so that no price matters."""
        return self._is_closed or self._spending.why_over is not None

    @property
    def lets_doubtful_through(self) -> bool:
        """Whether nothing new may be ordered, but what was may be sent again: it costs no more."""
        return self._spending.is_money_gone

    def _set_aside(self, job: Job) -> None:
        problem = self._spending.order(job.cost, is_counted=job.is_doubtful)
        if problem is not None:
            raise _over(job, problem)

    async def _count_earlier(self, job: Job) -> None:
        """Count, before the first order, what earlier runs have ordered with the journal.

        Raises:
            SpendingLimitError: What that costs is not known.

        """
        if self._has_begun:
            return
        ordered = await self._scribe.ordered()
        self._has_begun = True
        if ordered is None:
            return
        if ordered.unpriced:
            why = (
                f"max_cost cannot be kept, for {ordered.unpriced} of {ordered.jobs} jobs in the "
                "journal were ordered without it, and what they cost is not known"
            )
            raise _over(job, self._spending.end(why))
        self._spending.begin_with(ordered.cost)
        before = f"{ordered.jobs} jobs for {ordered.cost:.2f} US dollars"
        log(logging.INFO, f"run_many counts what the journal holds against max_cost: {before}")

    async def _known_price(self, job: Job) -> float:
        """Return a request's price; where none can be known of any, nothing is ordered at all."""
        try:
            price = await self._price(job.request)
        except LipsyncError as error:
            if is_from_callback(error) or not self._is_of_all(error):
                raise
            why = f"max_cost cannot be kept, for prices cannot be known ({reason_of(error)})"
            raise _over(job, self._spending.end(why)) from error
        self._has_price = True
        self._alike.accepted()
        return price

    def _is_of_all(self, error: LipsyncError) -> bool:
        """Tell whether no other price can be known either."""
        if isinstance(error, InvalidRequestError):  # a local file; others may have addresses
            return not self._has_price
        if isinstance(error, ResponseError) and error.status in _ABSENT and error.code is None:
            return True
        return self._alike.refused(error, may_be_of_one=self._duration is None)

    def limits(self) -> str:
        """Say what may be ordered."""
        spending = self._spending
        limits = [f"max_jobs={spending.max_jobs}"] if spending.max_jobs is not None else []
        if spending.max_cost is not None:
            limits.append(f"max_cost={spending.max_cost:g} US dollars")
        return ", ".join(limits) or "no limits"

    def price_of(self, job: Job) -> float | None:
        """Return the price that was set aside for a job; `None`: none was asked for."""
        is_asked = self._spending.is_priced and not job.is_doubtful
        return job.cost if is_asked else None

    def take_back(self, job: Job) -> None:
        """Have the price back of a job of which it is certain that it was not made."""
        self._spending.take_back(job.cost)

    async def _price(self, request: GenerationRequest) -> float:
        if self._duration is not None:
            return await self._price_of_duration(request, self._duration)
        problems = validation.upload_problems(request, advice=NEEDS_DURATION)
        if problems:
            raise InvalidRequestError(problems)
        estimate = await self._exchange.perform(endpoints.estimate_request(request), self._settings)
        return estimate.cost

    async def _price_of_duration(self, request: GenerationRequest, duration: float) -> float:
        thinks = None if request.options is None else request.options.reasoning_enabled
        kind = (str(exact(request.model)), thinks)
        if kind not in self._prices:
            call = endpoints.estimate_duration(
                model=kind[0], duration=duration, fps=None, reasoning_enabled=thinks
            )
            estimate = await self._exchange.perform(call, self._settings)
            self._prices[kind] = estimate.cost
        return self._prices[kind]


def _over(job: Job, problem: str) -> SpendingLimitError:
    return SpendingLimitError(
        f"Request {job.index} was not ordered: {problem}. No later request is begun. To go on, "
        "run again with another limit, and the same journal if there is one.",
    )
