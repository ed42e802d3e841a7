"""A local service that speaks the whole API and really does the job.

Names are loaded when they are first used, so that its command can catch an early Ctrl-C.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipsync_async.sandbox.clock import VirtualClock
    from lipsync_async.sandbox.faults import Fault, Faults, concurrency_limited, rate_limited
    from lipsync_async.sandbox.jobs import Progression
    from lipsync_async.sandbox.sandbox import Sandbox

__all__ = [
    "Fault",
    "Faults",
    "Progression",
    "Sandbox",
    "VirtualClock",
    "concurrency_limited",
    "rate_limited",
]
_HOMES = {"Progression": "jobs", "Sandbox": "sandbox", "VirtualClock": "clock"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'faults')}"), name)
