"""How many generations may run at once, and when to ask for one more.

A plan runs so many generations at once, and the service refuses the next create. How many
is *known* (configured), *told* (in the body of a refusal) or *learnt*:

* Below the **ceiling**, the number known to fit at present, creates go at once, so that a
  freed slot is filled in the moment in which it is freed.
* At the ceiling one create at a time is a **probe**. If it is accepted, the ceiling was
  too low by one, and the next may go.
* Every refusal lowers the ceiling to what is running. That is not a guess, as halving would
  be: whatever the rest of the account does, so many fit just now.

So one rule serves the plan's limit and the other users of the account alike. After a
refusal nothing is asked before the service's time is over or an own job has ended,
whichever is first. A known limit is never exceeded by own jobs.
"""

from __future__ import annotations

from math import inf

import attrs

# When the service names no time to wait. Jobs take minutes: asking 12 times a minute finds
# a slot that somebody else has freed soon, and a refused create counts as one of the 60 a
# minute (contract section 5.1).
_PAUSE = 5.0
_SHORTEST_PAUSE = 1.0
# While the limit is not known, the ceiling may well be it. Then each refused probe in a row
# doubles the pause, up to a refusal a minute.
_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 4


@attrs.define(slots=True, eq=False)
class Slot:
    """Stand for one create, and then for the job that it started.

    Attributes:
        is_probe: Whether it asked for more than was known to fit.
        is_accepted: Whether the service has accepted it.

    """

    is_probe: bool
    is_accepted: bool = False


class Slots:
    """Tell when a create may be sent, for one account.

    Each create goes through `started`, then `accepted` or `refused`; whatever was not
    refused is `ended` once, be it that the job has ended or that the create has failed.
    A job that already runs is `started` and `accepted` in one go.

    Args:
        limit: Generations that may run at once; `None`: learn it.

    """

    def __init__(self, limit: int | None = None) -> None:
        """Start without jobs."""
        self._configured = limit
        self._limit = limit
        # Every plan runs one (contract section 5.2).
        self._ceiling = 1 if limit is None else limit
        self._starting = 0
        self._running = 0
        self._probes = 0
        self._refused_probes = 0
        self._quiet_until = -inf

    @property
    def limit(self) -> int | None:
        """Generations that may run at once, as configured or told; `None`: not known."""
        return self._limit

    @property
    def used(self) -> int:
        """Own creates under way and own jobs running."""
        return self._starting + self._running

    @property
    def ceiling(self) -> int:
        """Own jobs that are known to fit at present."""
        return self._ceiling

    def may_start(self, now: float) -> bool:
        """Tell whether a create may be sent now."""
        return self.used < self._ceiling or (self._has_room() and now >= self._quiet_until)

    def next_try(self, now: float) -> float | None:
        """Return when a create may be sent if nothing happens; `None`: something must.

        What must happen is that an own job ends or that a create is answered. Without any
        there is always a time.
        """
        if self.may_start(now):
            return now
        return self._quiet_until if self._has_room() else None

    def started(self) -> Slot:
        """Note that a create is about to be sent."""
        is_probe = self.used >= self._ceiling
        self._starting += 1
        self._probes += is_probe
        return Slot(is_probe)

    def accepted(self, slot: Slot) -> None:
        """Note that a create has become a job."""
        slot.is_accepted = True
        self._starting -= 1
        self._running += 1
        self._ceiling = self._capped(max(self._ceiling, self._running))
        if slot.is_probe:
            self._probes -= 1
            self._refused_probes = 0

    def refused(
        self,
        slot: Slot,
        now: float,
        *,
        limit: int | None = None,
        active: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Learn from `concurrency_limit_reached`.

        Args:
            slot: The refused create.
            now: When the refusal arrived.
            limit: `concurrencyLimit` of its body; `None`: not told.
            active: `activeGenerations` of its body; `None`: not told.
            retry_after: Seconds that it asked to wait; `None`: it named none.

        """
        self._starting -= 1
        if slot.is_probe:
            self._probes -= 1
            self._refused_probes += 1
        surplus = 0
        if limit is not None:
            self._tell(limit)
            # Over the limit, so many must end before one more fits.
            surplus = max(0, (active or 0) - limit)
        self._ceiling = self._capped(max(0, self.used - surplus))
        self._quiet_until = now + self._pause(retry_after)

    def ended(self, slot: Slot) -> None:
        """Note that a job has ended, or that a create came to nothing."""
        if slot.is_accepted:
            self._running -= 1
        else:
            self._starting -= 1
            self._probes -= slot.is_probe

    def _has_room(self) -> bool:
        """Tell whether a probe is thinkable: one at a time, and never over the limit."""
        return not self._probes and (self._limit is None or self.used < self._limit)

    def _tell(self, limit: int) -> None:
        """Believe the service, but never exceed what was configured."""
        told = max(1, limit)
        self._limit = told if self._configured is None else min(told, self._configured)

    def _capped(self, ceiling: int) -> int:
        return ceiling if self._limit is None else min(ceiling, self._limit)

    def _pause(self, told: float | None) -> float:
        pause = max(_PAUSE if told is None else told, _SHORTEST_PAUSE)
        if self._limit is not None or not self._refused_probes:
            return pause
        doublings = min(self._refused_probes - 1, _MOST_DOUBLINGS)
        return max(pause, min(_PAUSE * 2.0**doublings, _LONGEST_PAUSE))
