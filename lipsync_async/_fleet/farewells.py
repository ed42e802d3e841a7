"""What is said of generations that a run without a journal leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def left_running(ids: Sequence[str]) -> str:
    """Say that they go on, and how to get at them."""
    return (
        f"run_many was left while {_counted(ids)}. They go on and are paid for; await "
        f"wait_until_complete(id) for each: {' '.join(ids)}"
    )


def left_untaken(ids: Sequence[str]) -> str:
    """Say that they have ended, and how to get at them."""
    return (
        f"run_many was left before all outcomes were taken. Await get(id) or download(id) for "
        f"each of the generations: {' '.join(ids)}"
    )


def _counted(ids: Sequence[str]) -> str:
    return "1 generation runs" if len(ids) == 1 else f"{len(ids)} generations run"
