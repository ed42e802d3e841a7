"""What a run has ordered and not handed over yet, and what is said of it when the run is left.

A job is held from before its create until the caller has its outcome, wherever it is in
between: waiting for a slot, under way, running, being fetched, or an outcome that was not
taken. So whichever way a run ends, there is one place that knows all ids and keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.outcomes import Outcome
from lipsync_async._words import Status
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async._fleet.job import Job


@attrs.frozen(slots=True)
class Left:
    """Hold what a run leaves behind.

    Attributes:
        running: Ids of jobs that go on.
        ended: Ids of jobs that have ended.
        keys: Idempotency-Keys of orders that may have been accepted, by index.

    """

    running: tuple[str, ...]
    ended: tuple[str, ...]
    keys: Mapping[int, str]

    def __bool__(self) -> bool:
        return bool(self.running or self.ended or self.keys)

    def messages(self) -> list[str]:
        """Say what is left, and how to get at it."""
        told = []
        if self.running:
            told.append(
                f"The run was left while {_counted(self.running)}. They go on and are paid for; "
                f"await wait_until_complete(id) for each: {' '.join(self.running)}"
            )
        if self.ended:
            told.append(
                "The run was left before all outcomes were taken. Await get(id) or download(id) "
                f"for each of the generations: {' '.join(self.ended)}"
            )
        if self.keys:
            keys = [f"request {index} with idempotency_key={key!r}" for index, key in self._keys]
            told.append(
                "The run was left while the outcome of orders was not known; they may have been "
                f"accepted. To find out without paying twice, create again {', '.join(keys)}"
            )
        return told

    @property
    def _keys(self) -> list[tuple[int, str]]:
        return sorted(self.keys.items())

    def put_on(self, error: BaseException) -> None:
        """Put ids and keys on an error of this package."""
        if isinstance(error, LipsyncError):
            error.generation_ids = (*self.running, *self.ended)
            error.idempotency_keys = dict(self._keys)


def in_journal(path: Path) -> str:
    """Say that a journal knows what is left."""
    return (
        f"The journal {path} holds what was ordered. Run again with the same requests and this "
        "journal: nothing is ordered twice."
    )


def _counted(ids: tuple[str, ...]) -> str:
    return "1 generation runs" if len(ids) == 1 else f"{len(ids)} generations run"


class Held:
    """Hold each request of a run from its beginning until its outcome is the caller's.

    Attributes:
        is_taken_whole: Whether all outcomes are the caller's if the run now ends without an
            exception.

    """

    def __init__(self) -> None:
        self.is_taken_whole: bool = False
        self._each: dict[int, Job | Outcome] = {}

    def begin(self, job: Job) -> None:
        """Hold a request from now on."""
        self._each[job.index] = job

    def deliver(self, outcome: Outcome) -> None:
        """Hold a request's outcome in its place."""
        self._each[outcome.index] = outcome

    def hand_over(self, index: int) -> None:
        """Hold a request no more: its outcome is the caller's, or nothing was begun."""
        self._each.pop(index, None)

    def left(self) -> Left:
        """Return what would be left behind now."""
        running, ended = list[str](), list[str]()
        keys = dict[int, str]()
        for index, each in self._each.items():
            job = each.generation if isinstance(each, Outcome) else each
            if job is not None and job.id is not None:
                (ended if Status(job.status).is_terminal else running).append(job.id)
            elif (key := _key_of(each)) is not None:
                keys[index] = key
        return Left(tuple(running), tuple(ended), keys)


def _key_of(each: Job | Outcome) -> str | None:
    """Return the key of an order that may have been accepted."""
    if not isinstance(each, Outcome):
        return each.key if each.may_be_ordered else None
    error = each.error
    return error.idempotency_key if error is not None and error.may_have_worked else None
