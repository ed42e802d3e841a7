"""The table at the end of a run: each ratio with its target beside it.

Benchmarks are no tests: a target that is missed is written down and fails nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@attrs.frozen(slots=True, kw_only=True)
class Ratio:
    """Hold one figure and what it should be; without a target it is for information."""

    what: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the figure is what it should be."""
        is_enough = self.at_least is None or self.measured >= self.at_least
        is_little = self.at_most is None or self.measured <= self.at_most
        return is_enough and is_little

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def verdict(self) -> str:
        """What to say of it."""
        if not self.target:
            return ""
        return "met" if self.is_met else "BELOW TARGET"


def table(ratios: Sequence[Ratio]) -> Iterator[str]:
    """Yield the lines of the table."""
    width = max(len(ratio.what) for ratio in ratios)
    for ratio in ratios:
        line = f"{ratio.what:<{width}}  {ratio.measured:10.2f}  {ratio.target:<14}  {ratio.verdict}"
        yield line.rstrip()
