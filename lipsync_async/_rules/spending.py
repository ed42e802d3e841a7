"""How much a run may order: so many jobs, and so much money."""

from __future__ import annotations

import attrs

# Sums of prices are no round numbers: three times 0.1 must fit into 0.3.
_TOLERANCE = 1e-9


@attrs.define(slots=True, kw_only=True)
class Spending:
    """Count what is ordered against a limit.

    Once something did not fit nothing more does: which requests of an input are ordered
    must not depend on which of them happens to be cheap.

    Attributes:
        max_jobs: Jobs that may be ordered; `None`: no limit.
        max_cost: US dollars that they may cost together; `None`: no limit.
        jobs: Jobs ordered.
        cost: What they cost.
        is_over: Whether the limit was reached.

    """

    max_jobs: int | None = None
    max_cost: float | None = None
    jobs: int = 0
    cost: float = 0.0
    is_over: bool = False

    @property
    def is_priced(self) -> bool:
        """Whether prices matter."""
        return self.max_cost is not None

    def order(self, cost: float) -> str | None:
        """Count a job that is about to be ordered; return why it may not be, if so.

        Args:
            cost: Its price in US dollars; 0 where prices do not matter.

        """
        problem = self._problem(cost)
        if problem is None:
            self.jobs += 1
            self.cost += cost
        else:
            self.is_over = True
        return problem

    def take_back(self, cost: float) -> None:
        """Count a job no more, of which it is certain that it was not made."""
        self.jobs -= 1
        self.cost -= cost

    def _problem(self, cost: float) -> str | None:
        if self.max_jobs is not None and (self.is_over or self.jobs >= self.max_jobs):
            return f"max_jobs={self.max_jobs} is reached"
        if self.max_cost is None:
            return None
        # Asked this way round, a price that is no number does not fit either. A negative one
        # is no price: it would make room for others.
        fits = cost >= 0 and self.cost + cost - self.max_cost <= self.max_cost * _TOLERANCE
        if self.is_over or not fits:
            return (
                f"max_cost={self.max_cost:g} does not allow it: jobs for {self.cost:.2f} US "
                f"dollars are ordered, and this one would cost {cost:.2f}"
            )
        return None
