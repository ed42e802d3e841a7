"""HTTP: from a request's first byte to its answer's last."""

from __future__ import annotations
