"""Jobs of known lengths: what a busy server knows of each, and how it writes them.

A job is as long as its place in line says, from a seed, so every contender meets the same
lengths. Its state is no more than two moments: nothing has to move it along.
"""

from __future__ import annotations

import json
import time
from array import array
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from benchmarks.bulk_orders import AUDIO, VIDEO
from benchmarks.payloads import GENERATION

if TYPE_CHECKING:
    from collections.abc import Callable

_PENDING_SHARE = 0.2
# An id is a UUID in form; its first part is the job's place in line.
_ID = "{:08x}-acbe-4c40-967e-d9ba9baac39e"
# URLs of stored media carry their permission: several hundred characters each.
_PERMISSION = (
    "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260314T092653Z&X-Amz-Expires=3600"
    "&X-Amz-SignedHeaders=host&X-Amz-Signature=" + "5d3f" * 16
)
_STATUSES = (b"PENDING", b"PROCESSING", b"COMPLETED")


def place_of(job_id: str) -> int:
    """Return a job's place in line."""
    return int(job_id[:8], 16)


class Jobs:
    """Keep jobs that end by themselves.

    Args:
        seed: Decides the lengths.
        shortest: Seconds of the shortest job.
        longest: Seconds of the longest.
        now: The clock that they live by.

    """

    def __init__(
        self,
        seed: int,
        shortest: float,
        longest: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._chance = Random(seed)
        self._range = (shortest, longest)
        self._ids: list[bytes] = []
        self._starts = array("d")
        self._begins = array("d")
        self.ends = array("d")
        self._by_key: dict[bytes, int] = {}
        self._parts = {status: _parts_of(status.decode()) for status in _STATUSES}

    def create(self, key: bytes | None) -> bytes:
        """Make a job, unless one was made with this Idempotency-Key, and show it."""
        place = None if key is None else self._by_key.get(key)
        if place is None:
            place = len(self._ids)
            now, seconds = self._now(), self._chance.uniform(*self._range)
            self._ids.append(_ID.format(place).encode())
            self._starts.append(now)
            self._begins.append(now + _PENDING_SHARE * seconds)
            self.ends.append(now + seconds)
            if key is not None:
                self._by_key[key] = place
        return self._shown(place, self._now())

    def show(self, job_id: bytes) -> bytes:
        """Show a job."""
        return self._shown(int(job_id[:8], 16), self._now())

    def show_all(self, query: bytes) -> bytes:
        """Show the jobs with these `ids` as a list; of them those of a `status`, if it names any.

        Raises:
            KeyError: It names no ids; or something else, which a list is not asked for.

        """
        wanted = dict(part.split(b"=") for part in query.replace(b"%2C", b",").split(b"&"))
        places = [int(job_id[:8], 16) for job_id in wanted.pop(b"ids").split(b",")]
        statuses = wanted.pop(b"status", b",".join(_STATUSES)).split(b",")
        if wanted:
            raise KeyError(*wanted)
        now = self._now()
        shown = [
            self._shown(place, now) for place in places if self._status(place, now) in statuses
        ]
        return b"[" + b",".join(shown) + b"]"

    def most_at_once(self) -> int:
        """Return how many jobs have run at once at most."""
        moves = sorted([(start, 1) for start in self._starts] + [(end, -1) for end in self.ends])
        return max(accumulate(step for _, step in moves))

    def _status(self, place: int, now: float) -> bytes:
        if now >= self.ends[place]:
            return b"COMPLETED"
        return b"PENDING" if now < self._begins[place] else b"PROCESSING"

    def _shown(self, place: int, now: float) -> bytes:
        return self._ids[place].join(self._parts[self._status(place, now)])


def _parts_of(status: str) -> list[bytes]:
    """Return a job's JSON, cut where its id belongs."""
    is_over = status == "COMPLETED"
    url = f"https://api.sync.so/v2/generations/@/result{_PERMISSION}"
    job = GENERATION | {
        "id": "@",
        "status": status,
        "input": [
            {"type": "video", "url": f"{VIDEO}{_PERMISSION}"},
            {"type": "audio", "url": f"{AUDIO}{_PERMISSION}"},
        ],
        "outputDuration": 12.48 if is_over else None,
        "outputUrl": url if is_over else None,
    }
    return json.dumps(job, separators=(",", ":")).encode().split(b"@")
