"""Concurrency limiter: how many generations may run at once, and when to ask for one more.

A plan runs so many generations at once, and the service refuses the next create. How many
is *configured* (by each client), *told* (in the body of a refusal) or *found out*:

* Below the **ceiling**, the number known to fit at present, creates go at once, so that a
  freed slot is filled in the moment in which it is freed.
* At the ceiling one create at a time is a **probe**. If it is accepted, the ceiling was
  too low by one, and the next may go.
* Every refusal lowers the ceiling to what is running. That is not a guess, as halving would
  be: whatever the rest of the account does, so many fit just now.

So one rule serves the plan's limit and the other users of the account alike. After a
refusal nothing is asked before the service's time is over or an own job has ended,
whichever is first. A known limit is never exceeded by own jobs.

A slot belongs to a job, not to the call that has created it. It is taken by a create and
given back when a poll shows the job's end, whatever call made the poll. Runs and waits *hold*
the slots of their jobs: they poll them, and release them in the end. A job that is not held is
*unwatched*: it keeps its slot until another create lacks one, and is polled then.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from math import inf

import attrs

# When the service names no time to wait. Jobs take minutes: asking 12 times a minute finds
# a slot that somebody else has freed soon, and a refused create counts as one of the 60 a
# minute. Unwatched jobs are polled as often.
_PAUSE = 5.0
_SHORTEST_PAUSE = 1.0
# While the limit is not known, the ceiling may well be it. Then each refused probe in a row
# doubles the pause, up to a refusal a minute. What the service tells is believed up to the
# same: a day, or a year, is a mistake.
_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 4
# No plan runs more (15, or a number of an enterprise's own).
_MOST_SLOTS = 100_000
# A plan may be widened while a process runs: after this time, a limit that was told is
# checked by one probe.
_BELIEVED_FOR = 3600.0
# Creates that a client may have under way beyond the jobs that are known to fit, while
# nothing was ever refused and no limit is known: as many as run, at least these. Uploads
# take minutes, so one at a time would be too few; and a limit is exceeded by few.
_LEAST_AT_ONCE = 4
# No job takes so long, so one that was not seen for this time has ended.
LONGEST_JOB = 7200.0
_MOST_CHECKED = 100  # what one list shows
_FEW_UNWATCHED = 1000


@attrs.define(slots=True, eq=False)
class Slot:
    """Slot of one create, and then of the job that it started.

    Attributes:
        is_probe: Whether it asked for more than was known to fit.
        is_accepted: Whether the service has accepted it.
        key: The create's Idempotency-Key, where it is known.
        job: The job's id, once it is accepted; empty: not known.
        holders: How many runs and waits hold it.
        counts: Whether it is one of the account's: not if it shares the job of another, or
            was given back.
        is_over: Whether its job was seen to end.
        since: When its job was accepted.
        seen: When its job was last looked at.
    """

    is_probe: bool = False
    is_accepted: bool = False
    key: str | None = None
    job: str = ""
    holders: int = 0
    counts: bool = True
    is_over: bool = False
    since: float = -inf
    seen: float = -inf


class ConcurrencyLimiter:
    """Concurrency limiter of one account: when a create may be sent.

    Each create takes a slot, which is then `accepted` or `refused`; whatever was not
    refused is `ended` once, be it that the job has ended or that the create has failed.
    A job that already runs is `started` and `accepted` in one go.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._configured: float = inf if limit is None else limit
        self._told: float = inf
        self._told_at = -inf
        # What is known to fit, once something was refused; and before, the most that ran.
        self.ceiling: int | None = None
        self._most_running = 1  # every plan runs one
        # Own creates under way and own jobs running, and how many of them are under way.
        self.used = 0
        self.starting = 0
        self._probes = 0
        self._refused_probes = 0
        self._quiet_until = -inf
        self._by_key: dict[str, Slot] = {}
        # The slots of the jobs that run.
        self.jobs: dict[str, Slot] = {}
        # The jobs that are not held, the one that was not looked at for longest first.
        self._unwatched: OrderedDict[str, Slot] = OrderedDict()
        self._most_unwatched = _FEW_UNWATCHED
        self._asked_at = -inf

    @property
    def limit(self) -> float | None:
        """Generations that may run at once, as configured or told; `None`: not known."""
        limit = min(self._configured, self._told)
        return None if limit == inf else limit

    def next_try(self, now: float, most: int | None = None) -> float | None:
        """Return when a create may be sent if nothing happens; `None`: something must.

        What must happen is that an own job ends, is looked at, or that a create is answered.
        Without any there is always a time.
        """
        moment, _ = self._opening(now, most)
        if moment <= now:
            return now
        oldest = next(iter(self._unwatched.values()), None)
        if oldest is not None:
            moment = min(moment, max(oldest.seen, self._asked_at) + _PAUSE)
        return None if moment == inf else max(moment, now)

    def take(
        self, now: float, most: int | None = None, key: str | None = None, *, is_eager: bool = False
    ) -> Slot | None:
        """Take a slot for a create, if it may be sent now.

        A create that is repeated, under the same Idempotency-Key, while the first is in flight
        or its job runs has its slot already. `most` is what the asking client allows at once.
        `is_eager`: several may be sent at once while nothing is known.
        """
        if key is not None and key in self._by_key:
            return Slot(key=key, counts=False)
        moment, is_probe = self._opening(now, most, is_eager=is_eager)
        return self._start(key, is_probe=is_probe) if moment <= now else None

    def started(self, most: int | None = None, key: str | None = None) -> Slot:
        """Note that a create is about to be sent, whether or not it may."""
        _, is_probe = self._opening(-inf, most)
        return self._start(key, is_probe=is_probe)

    def accepted(self, slot: Slot, job: str = "", now: float = 0.0) -> Slot:
        """Note that a create has become a job; return its slot, or one that the job has already."""
        same = self.jobs.get(job)
        if same is not None:
            self.ended(slot)
            return same
        if slot.counts:
            self.starting -= 1
            self._probes -= slot.is_probe
        else:
            self.used += 1
        slot.is_accepted = slot.counts = True
        slot.job, slot.since = job, now
        running = self.used - self.starting
        self._most_running = max(self._most_running, running)
        if self.ceiling is not None:
            self.ceiling = max(self.ceiling, running)
        if slot.is_probe:
            self._refused_probes = 0
        if slot.key is not None:
            self._by_key.setdefault(slot.key, slot)
        if job:
            self.jobs[job] = self._unwatched[job] = slot
            self._unwatched.move_to_end(job, last=False)
            if len(self._unwatched) > self._most_unwatched:
                self._forget_old(now)
        return slot

    def refused(
        self,
        slot: Slot,
        now: float,
        *,
        limit: int | None = None,
        active: int | None = None,
        retry_after: float | None = None,
        most: int | None = None,
        patience: float | None = None,
    ) -> None:
        """Learn from `concurrency_limit_reached`; the create goes on asking for `patience` s."""
        self._refused_probes += slot.is_probe
        self.ended(slot)
        surplus = 0
        if limit is not None and 0 < limit <= _MOST_SLOTS:
            self._told, self._told_at = limit, now
            # Over the limit, so many must end before one more fits.
            surplus = max(0, (active or 0) - limit)
        self.ceiling = max(0, self.used - surplus)
        pause = self._pause(retry_after, most)
        self._quiet_until = now + (pause if patience is None else min(pause, patience))

    def ended(self, slot: Slot) -> None:
        """Note that a job has ended, or that a create came to nothing; once more is fine."""
        if slot.counts:
            slot.counts = False
            self.used -= 1
            if not slot.is_accepted:
                self.starting -= 1
                self._probes -= slot.is_probe
        if slot.key is not None and self._by_key.get(slot.key) is slot:
            del self._by_key[slot.key]
        if self.jobs.get(slot.job) is slot:
            del self.jobs[slot.job]
            self._unwatched.pop(slot.job, None)

    def held(self, slot: Slot) -> None:
        """Note that a run or a wait looks after a slot's job."""
        slot.holders += 1
        self._unwatched.pop(slot.job, None)

    def released(self, slot: Slot) -> None:
        """Note that one looks after it no more, or that a create came to nothing.

        A job goes on, unless it was seen to end, and is polled first among the unwatched.
        """
        slot.holders = max(0, slot.holders - 1)
        if slot.holders or not slot.counts:
            return
        if slot.is_over or not slot.is_accepted:
            self.ended(slot)
            return
        slot.seen = -inf
        self._unwatched[slot.job] = slot
        self._unwatched.move_to_end(slot.job, last=False)

    def saw(self, job: str, now: float, *, is_over: bool) -> bool:
        """Note what a look has shown of a job; return whether that has freed a slot."""
        slot = self.jobs.get(job)
        if slot is None:
            return False
        slot.seen = now
        slot.is_over |= is_over
        if slot.holders:
            return False
        if slot.is_over:
            self.ended(slot)
            return True
        self._unwatched.move_to_end(job)
        return False

    def jobs_to_check(self, now: float) -> list[str]:
        """Return jobs that may have ended unseen, to be looked at now.

        When one is due, the others go along: a list costs no more. They count as seen from
        now on, so that those who wait do not all ask at once.
        """
        oldest = next(iter(self._unwatched.values()), None)
        if oldest is None or max(oldest.seen, self._asked_at) + _PAUSE > now:
            return []
        found = [*islice(self._unwatched, _MOST_CHECKED)]
        for job in found:
            self.saw(job, now, is_over=False)
        self._asked_at = now
        return found

    def _opening(
        self, now: float, most: int | None, *, is_eager: bool = False
    ) -> tuple[float, bool]:
        """Return when one more create may be sent, and whether it is a probe.

        `inf`: something must happen first.
        """
        if now - self._told_at > _BELIEVED_FOR:
            self._told = inf
        cap = min(self._configured, self._told, inf if most is None else most)
        fits: float = self._most_running if cap == inf else cap
        if self.ceiling is not None:
            fits = min(self.ceiling, cap)
        if self.used < fits:
            return now, False
        probes = 1  # at a time
        if is_eager and self.ceiling is None:
            probes = max(_LEAST_AT_ONCE, self.used - self.starting)
        may_probe = self.used < cap and self._probes < probes
        return (self._quiet_until if may_probe else inf), True

    def _start(self, key: str | None, *, is_probe: bool) -> Slot:
        slot = Slot(is_probe=is_probe, key=key)
        self.used += 1
        self.starting += 1
        self._probes += is_probe
        if key is not None:
            self._by_key.setdefault(key, slot)
        return slot

    def _forget_old(self, now: float) -> None:
        """Drop jobs that were not looked at for longer than any job takes."""
        for slot in [*self._unwatched.values()]:
            if max(slot.since, slot.seen) < now - LONGEST_JOB:
                self.ended(slot)
        self._most_unwatched = 2 * len(self._unwatched) + _FEW_UNWATCHED

    def _pause(self, told: float | None, most: int | None) -> float:
        told = _PAUSE if told is None else min(told, _LONGEST_PAUSE)
        pause = max(told, _SHORTEST_PAUSE)
        if most is not None or self.limit is not None or not self._refused_probes:
            return pause
        doublings = min(self._refused_probes - 1, _MOST_DOUBLINGS)
        return max(pause, min(_PAUSE * 2.0**doublings, _LONGEST_PAUSE))
