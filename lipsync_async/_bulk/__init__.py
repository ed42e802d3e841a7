"""Thousands of jobs: their journal, and manifests that name them."""

from __future__ import annotations
