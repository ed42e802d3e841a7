"""Plain values: what goes over the wire, what users write, what comes back."""

from __future__ import annotations
