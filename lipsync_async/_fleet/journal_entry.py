"""What a journal knows about one request, as values.

A request's life in the journal:

    (nothing) ─► INTENDED ─► ACCEPTED ─► COMPLETED
                  │  ▲ │      ▲  └─────► FAILED
                  │  │ └► DOUBTFUL
                  ▼  │
                 REFUSED

INTENDED, DOUBTFUL and REFUSED have no generation id: the create is to be sent, or sent
again, under the key that the journal holds. They differ in what may have happened: an
INTENDED create may be on its way, behind a DOUBTFUL one lies a try whose outcome nobody
knows, and of a REFUSED one it is certain that nothing was made.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._rules.codec import decode
from lipsync_async._rules.shapes import ShapeError
from lipsync_async._values.models import Generation
from lipsync_async._words import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class JobState(StrEnum):
    """Say how far a journaled request has got.

    INTENDED: its create was about to be sent. DOUBTFUL: it was sent, and the outcome is
    unknown. REFUSED: it is certain that no job was made. The next run sends these again,
    under their old keys. ACCEPTED: the job runs. COMPLETED; FAILED (REJECTED, too): it
    has ended, and no run orders it again.
    """

    INTENDED = "intended"
    DOUBTFUL = "doubtful"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def has_job(self) -> bool:
        """Whether the service has accepted the request, so that it must not be sent again."""
        return self in _WITH_A_JOB

    @property
    def has_ended(self) -> bool:
        """Whether the job's life is over, well or badly."""
        return self in _ENDED


_ENDED = frozenset({JobState.COMPLETED, JobState.FAILED})
_WITH_A_JOB = _ENDED | {JobState.ACCEPTED}


def state_of(generation: Generation) -> JobState:
    """Return the state that the service's word about a job puts its request into."""
    if generation.is_completed:
        return JobState.COMPLETED
    return JobState.FAILED if generation.is_terminal else JobState.ACCEPTED


@attrs.frozen(slots=True, kw_only=True)
class JournalEntry:
    """Hold what a journal knows of one request. Moments are in UTC, as this machine has them.

    Attributes:
        position: The request's place in the input, from 0.
        state: How far it has got.
        fingerprint: SHA-256 of `request_json`, in hexadecimal digits.
        idempotency_key: The key under which its create is sent.
        attempts: How often its create was about to be sent; tries of one call count once.
        generation_id: The job that the service made of it; `None`: none is known.
        status: The job's status as last seen; `None`: never seen.
        download_path: Where its result is, once that is whole; `None`: it is not.
        error_class: The class of its last error; `None`: all is well since.
        error_code: The service's code for that error, where it gave one.
        error_message: That error in words.
        intended_at: When its create was first about to be sent.
        accepted_at: When the service's id was noted; `None`: not yet.
        ended_at: When the job's end was noted; `None`: not yet.
        updated_at: When the row last changed.
        request_json: The request's canonical form: its wire JSON, and facts of its files.
        generation_json: The job as last seen, as the service's JSON.

    """

    position: int
    state: JobState
    fingerprint: str
    idempotency_key: str
    attempts: int
    generation_id: str | None
    status: Status | None
    download_path: Path | None
    error_class: str | None
    error_code: str | None
    error_message: str | None
    intended_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    request_json: str = attrs.field(repr=False)
    generation_json: str | None = attrs.field(repr=False)

    @property
    def request(self) -> dict[str, Any]:
        """The request's canonical form, decoded."""
        decoded: dict[str, Any] = json.loads(self.request_json)
        return decoded

    @property
    def generation(self) -> Generation | None:
        """The job as last seen; of one whose JSON cannot be read, its id and status."""
        if self.generation_id is None:
            return None
        status = self.status or Status("UNKNOWN")
        generation = Generation(id=self.generation_id, status=status)
        if self.generation_json is not None:
            generation.raw = json.loads(self.generation_json)
            with suppress(ShapeError):
                generation = decode(Generation, generation.raw)
        generation.idempotency_key = self.idempotency_key
        return generation


# In the order of the table's columns.
FIELDS = tuple(attrs.fields_dict(JournalEntry))


def entry_of(row: Sequence[Any]) -> JournalEntry:
    """Return the entry that a row of the table holds."""
    facts = dict(zip(FIELDS, row, strict=True))
    for name in ("intended_at", "accepted_at", "ended_at", "updated_at"):
        facts[name] = _optional(datetime.fromisoformat, facts[name])
    return JournalEntry(
        **facts
        | {
            "state": JobState(facts["state"]),
            "status": _optional(Status, facts["status"]),
            # Bytes, where SQLite's text cannot hold the name.
            "download_path": _optional(
                lambda name: Path(os.fsdecode(name)), facts["download_path"]
            ),
        },
    )


def _optional(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)
