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
        cost: What they cost, those of earlier runs included.
        earlier: What those of earlier runs cost.
        why_over: Why nothing more may be ordered; `None`: more may be.
        is_money_gone: Whether that is so because the next would have cost too much.

    """

    max_jobs: int | None = None
    max_cost: float | None = None
    jobs: int = 0
    cost: float = 0.0
    earlier: float = 0.0
    why_over: str | None = None
    is_money_gone: bool = False

    @property
    def is_priced(self) -> bool:
        """Whether prices matter."""
        return self.max_cost is not None

    def begin_with(self, cost: float) -> None:
        """Count what earlier runs have ordered."""
        self.earlier = cost
        self.cost += cost

    def order(self, cost: float, *, is_counted: bool = False) -> str | None:
        """Count a job that is about to be ordered; return why it may not be, if so.

        Args:
            cost: Its price in US dollars; 0 where prices do not matter.
            is_counted: Whether its price was counted before: an earlier run may have ordered it.

        """
        if self.why_over is not None and not (is_counted and self.is_money_gone):
            return self.why_over
        problem = self._problem(None if is_counted else cost)
        if problem is None:
            self.jobs += 1
            self.cost += cost
        return problem

    def take_back(self, cost: float) -> None:
        """Count a job no more, of which it is certain that it was not made."""
        self.jobs -= 1
        self.cost -= cost

    def end(self, why: str) -> str:
        """Let nothing more be ordered, and return why."""
        self.why_over = why
        return why

    def _problem(self, cost: float | None) -> str | None:
        if self.max_jobs is not None and self.jobs >= self.max_jobs:
            return self.end(f"max_jobs={self.max_jobs} is reached")
        if self.max_cost is None or cost is None:
            return None
        # Asked this way round, a price that is no number does not fit either. A negative one
        # is no price: it would make room for others.
        fits = cost >= 0 and self.cost + cost - self.max_cost <= self.max_cost * _TOLERANCE
        if fits:
            return None
        before = f" ({self.earlier:.2f} of them in earlier runs)" if self.earlier else ""
        ordered = f"jobs for {self.cost:.2f} US dollars are ordered{before}"
        self.is_money_gone = True
        self.end(f"max_cost={self.max_cost:g} is reached: {ordered}, and the next does not fit")
        return (
            f"max_cost={self.max_cost:g} does not allow it: {ordered}, and this one would cost "
            f"{cost:.2f}"
        )
