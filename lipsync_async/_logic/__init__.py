"""Rules without clock, loop or I/O: what to send, what an answer means, what comes next."""

from __future__ import annotations
