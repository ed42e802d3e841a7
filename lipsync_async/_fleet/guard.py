"""Asks what a request would cost, and lets it through while the limits allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from lipsync_async._rules import endpoints, validation
from lipsync_async.errors import InvalidRequestError, SpendingLimitError

if TYPE_CHECKING:
    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._fleet.job import Job
    from lipsync_async._rules.spending import Spending
    from lipsync_async._values.inputs import GenerationRequest


class Guard:
    """Stand between the orders and the money.

    Args:
        exchange: What performs the calls.
        settings: Timeout and retries of the estimates.
        spending: What may be ordered.
        duration: Seconds of output, if they are known; `None`: the service is asked about
            each request, and looks at its media for that.

    """

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        spending: Spending,
        duration: float | None,
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._spending = spending
        self._duration = duration
        self._prices: dict[tuple[str, bool | None], float] = {}
        self._line = anyio.Lock()

    async def admit(self, job: Job) -> None:
        """Let a job be ordered, and set its price aside.

        Raises:
            SpendingLimitError: A limit does not allow it.
            LipsyncError: Its price cannot be found out.

        """
        if self._spending.is_priced:
            # One after the other, for the money is used up in the order of the input.
            async with self._line:
                if not self._spending.is_over:
                    job.cost = await self._price(job.request)
                problem = self._spending.order(job.cost)
        else:
            problem = self._spending.order(0.0)
        if problem is not None:
            raise SpendingLimitError(
                f"Request {job.index} was not ordered: {problem}. No later request is begun. "
                "To go on, run again with a higher limit, and the same journal if there is one.",
            )

    def take_back(self, job: Job) -> None:
        """Have the price back of a job of which it is certain that it was not made."""
        self._spending.take_back(job.cost)

    async def _price(self, request: GenerationRequest) -> float:
        if self._duration is not None:
            return await self._price_of_duration(request, self._duration)
        advice = "pass duration=, the seconds of the longest result"
        problems = validation.upload_problems(request, advice=advice)
        if problems:
            raise InvalidRequestError(problems)
        estimate = await self._exchange.perform(endpoints.estimate_request(request), self._settings)
        return estimate.cost

    async def _price_of_duration(self, request: GenerationRequest, duration: float) -> float:
        thinks = None if request.options is None else request.options.reasoning_enabled
        kind = (str(request.model), thinks)
        if kind not in self._prices:
            call = endpoints.estimate_duration(
                model=kind[0], duration=duration, fps=None, reasoning_enabled=thinks
            )
            estimate = await self._exchange.perform(call, self._settings)
            self._prices[kind] = estimate.cost
        return self._prices[kind]
