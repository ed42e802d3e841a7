"""The API, one file a resource."""

from __future__ import annotations
