"""Waiting for jobs: one poller serves every waiter of a client."""

from __future__ import annotations
