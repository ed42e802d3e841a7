"""A local service that speaks the whole API and really does the job."""

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
