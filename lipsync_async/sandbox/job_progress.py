"""How a job moves along: at once, by polls, by time, by hand, or as it really renders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from lipsync_async.sandbox.faults import Fault

if TYPE_CHECKING:
    from random import Random


# The share of a timed job's life that it spends waiting in the queue.
_PENDING_SHARE = 0.2
# Nine digits are thirty years; longer numbers are slips, or beyond what a float can hold.
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_SPELLING = re.compile(
    rf"(?:(?P<bare>immediate|manual|real)|polls\((?P<polls>{_NUMBER})\)"
    rf"|time\((?P<seconds>{_NUMBER})(?:-(?P<longest>{_NUMBER}))?\))",
)
_ADVICE = "use immediate, polls(n), time(s), time(a-b), manual or real."


@attrs.frozen(slots=True)
class Progression:
    """When a job takes its steps.

    It names the earliest moments: where the sandbox renders, COMPLETED also waits for
    the file.

    Attributes:
        kind: `immediate`, `polls`, `time`, `manual` or `real`.
        amount: Polls for `polls`, seconds for `time`.
        longest: Seconds for `time` where each job draws its own, from `amount` up to
            these; `None`: all take `amount`.

    """

    kind: str
    amount: float = 0.0
    longest: float | None = None

    @classmethod
    def immediate(cls) -> Progression:
        """Complete at once: the create says PENDING, the first poll COMPLETED."""
        return cls("immediate")

    @classmethod
    def polls(cls, looks: int) -> Progression:
        """Complete at the n-th poll; every GET or list that shows the job is one."""
        if looks < 1:
            raise ValueError("polls(n) needs at least 1 poll.")
        return cls("polls", looks)

    @classmethod
    def time(cls, seconds: float, longest: float | None = None) -> Progression:
        """Complete after seconds of the sandbox's clock, a fifth of them PENDING.

        With `longest` each job takes a time of its own between the two, drawn from the
        sandbox's seed.
        """
        if longest is not None and longest < seconds:
            raise ValueError(
                f"time(a-b) needs a b of at least a; {longest} is less than {seconds}."
            )
        return cls("time", seconds, longest)

    @classmethod
    def manual(cls) -> Progression:
        """Move only by hand: `sandbox.jobs.move`, or the control of that name."""
        return cls("manual")

    @classmethod
    def real(cls) -> Progression:
        """Take as long as the rendering takes; without rendering, no time."""
        return cls("real")

    @classmethod
    def parse(cls, text: str) -> Progression:
        """Return the progression that `text`, such as `polls(3)`, spells.

        Raises:
            ValueError: It spells none.

        """
        found = _SPELLING.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no progression; {_ADVICE}")
        if found["bare"]:
            return cls(found["bare"])
        if found["polls"]:
            if "." in found["polls"]:
                raise ValueError(f"{text!r}: polls(n) takes a whole number.")
            return cls.polls(int(found["polls"]))
        longest = found["longest"]
        return cls.time(float(found["seconds"]), None if longest is None else float(longest))

    @classmethod
    def of(cls, value: Any) -> Progression:
        """Return `value` if it is a progression, else what it spells."""
        return value if isinstance(value, cls) else cls.parse(value)

    def drawn(self, chance: Random) -> Progression:
        """Return one job's own: of a range of times, one of them."""
        if self.longest is None:
            return self
        return Progression(self.kind, chance.uniform(self.amount, self.longest))

    @property
    def is_instant(self) -> bool:
        """Whether nothing but the rendering takes time."""
        return self.kind in {"immediate", "real"}

    @property
    def pending_seconds(self) -> float:
        """Seconds of a timed job before it is PROCESSING."""
        return self.amount * _PENDING_SHARE

    def begins_at_look(self, looks: int) -> bool:
        """Return whether a job that was polled so often is PROCESSING."""
        return looks >= self.amount // 2

    def ends_at_look(self, looks: int) -> bool:
        """Return whether a job that was polled so often has ended."""
        return looks >= self.amount


class IllegalMoveError(ValueError):
    """Raised when a job is asked to do what no job does."""


@attrs.define(slots=True, eq=False, kw_only=True)
class Lifecycle:
    """The life of one job of any kind; a status that leads nowhere is an end."""

    id: str
    born: float  # in seconds of the sandbox's clock
    progression: Progression
    transitions: Mapping[Any, frozenset[Any]] = attrs.field(repr=False)
    status: Any
    faults: Mapping[str, Fault] = attrs.field(factory=dict)  # by kind
    history: list[tuple[float, Any]] = attrs.field(factory=list, repr=False)
    polls: int = 0  # that moved it along
    is_due: bool = False  # ends as soon as its result exists
    waiters: list[anyio.Event] = attrs.field(factory=list, repr=False)  # set at its end

    def __attrs_post_init__(self) -> None:
        self.history.append((self.born, self.status))

    @property
    def is_ended(self) -> bool:
        """Whether the job is in its last status."""
        return not self.transitions[self.status]

    def enter(self, status: Any, now: float) -> None:
        """Take a step of the table of transitions, and wake those who wait for an end."""
        if status not in self.transitions[self.status]:
            raise IllegalMoveError(f"a job that is {self.status} does not become {status}.")
        self.status = status
        self.history.append((now, status))
        if self.is_ended:
            for waiter in self.waiters:
                waiter.set()
            self.waiters.clear()
