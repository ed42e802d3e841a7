"""How a job moves along: at once, by looks, by time, by hand, or as it really renders."""

from __future__ import annotations

import re
from typing import Any

import attrs

# The share of a timed job's life that it spends waiting in the queue.
_PENDING_SHARE = 0.2
_SPELLING = re.compile(r"(immediate|manual|real|polls|time)(?:\((\d+(?:\.\d+)?)\))?")
_WITH_AMOUNT = frozenset({"polls", "time"})
_ADVICE = "use immediate, polls(n), time(s), manual or real."


@attrs.frozen(slots=True)
class Progression:
    """Say when a job takes its steps.

    It names the earliest moments: where the sandbox renders, COMPLETED also waits for
    the file.

    Attributes:
        kind: `immediate`, `polls`, `time`, `manual` or `real`.
        amount: Looks for `polls`, seconds for `time`.

    """

    kind: str
    amount: float = 0.0

    @classmethod
    def immediate(cls) -> Progression:
        """Complete at once: the create says PENDING, the first look COMPLETED."""
        return cls("immediate")

    @classmethod
    def polls(cls, looks: int) -> Progression:
        """Complete at the n-th look; every look by GET or list is a step."""
        if looks < 1:
            raise ValueError("polls(n) needs at least 1 look.")
        return cls("polls", looks)

    @classmethod
    def time(cls, seconds: float) -> Progression:
        """Complete after seconds of the sandbox's clock, a fifth of them PENDING."""
        return cls("time", seconds)

    @classmethod
    def manual(cls) -> Progression:
        """Move only when somebody moves it."""
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
        kind, amount = found.groups()
        if (amount is not None) != (kind in _WITH_AMOUNT):
            raise ValueError(f"{text!r} is no progression; {_ADVICE}")
        if kind == "polls":
            return cls.polls(int(float(amount)))
        return cls(kind, float(amount or 0.0))

    @classmethod
    def of(cls, value: Any) -> Progression:
        """Return `value` if it is a progression, else what it spells."""
        return value if isinstance(value, cls) else cls.parse(value)

    @property
    def is_instant(self) -> bool:
        """Whether nothing but the rendering takes time."""
        return self.kind in {"immediate", "real"}

    @property
    def pending_seconds(self) -> float:
        """Seconds of a timed job before it is PROCESSING."""
        return self.amount * _PENDING_SHARE

    def begins_at_look(self, looks: int) -> bool:
        """Return whether a job that was looked at so often is PROCESSING."""
        return looks >= self.amount // 2

    def ends_at_look(self, looks: int) -> bool:
        """Return whether a job that was looked at so often has ended."""
        return looks >= self.amount
