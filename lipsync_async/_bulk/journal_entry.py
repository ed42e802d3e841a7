"""What a journal knows about one request, as values.

A request's life in the journal:

    (nothing) ─► SUBMITTING ─► ACCEPTED ─► COMPLETED
                  │  ▲ │       ▲  └─────► FAILED
                  │  │ └► UNKNOWN
                  ▼  │
              NOT_CREATED

SUBMITTING, UNKNOWN and NOT_CREATED have no generation id: the create is sent, or sent again,
under the key that the journal holds. They differ in what may have happened: a SUBMITTING
create may be in flight, an UNKNOWN one was tried before with an unknown outcome, and a
NOT_CREATED one certainly created nothing.

A request that ended FAILED or NOT_CREATED may get a new try, which begins at SUBMITTING under
a new key. The row of the try before it goes into the table `tries`.
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

from lipsync_async._enums import Status
from lipsync_async._logic.codec import ShapeError, decode
from lipsync_async._models.request import Origin
from lipsync_async._models.response import Generation
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence


class JobState(StrEnum):
    """How far a request with a journal has got.

    SUBMITTING: its create was about to be sent. UNKNOWN: it was sent, and its outcome is
    unknown. The next run sends both again, always under their old keys. NOT_CREATED: certainly
    no job was made; the next run sends it again, under its old key if the request is
    unchanged. ACCEPTED: the job runs. COMPLETED: it has succeeded, and no run creates it again.
    FAILED (REJECTED, too): it has failed. `retry_failed=True` creates what is FAILED or
    NOT_CREATED again under a new key; so is a request created that has a name and was changed.
    """

    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    NOT_CREATED = "not_created"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    FAILED = "failed"
    # Deprecated names.
    INTENDED = SUBMITTING
    DOUBTFUL = UNKNOWN
    REFUSED = NOT_CREATED

    @property
    def has_job(self) -> bool:
        """Whether the service has accepted the request, so that it must not be sent again."""
        return self in {JobState.ACCEPTED, JobState.COMPLETED, JobState.FAILED}

    @property
    def has_ended(self) -> bool:
        """Whether the job's life is over, well or badly."""
        return self in {JobState.COMPLETED, JobState.FAILED}

    @property
    def stored(self) -> str:
        """The word for it in a journal's file, which every release reads."""
        return STORED[self]

    @classmethod
    def _missing_(cls, value: object) -> JobState | None:
        """Read the stored words as well."""
        return next((state for state, word in STORED.items() if word == value), None)


STORED = {
    JobState.SUBMITTING: "intended",
    JobState.UNKNOWN: "doubtful",
    JobState.NOT_CREATED: "refused",
    JobState.ACCEPTED: "accepted",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
}


@attrs.frozen(slots=True, kw_only=True)
class JournalEntry:
    """What a journal knows of one request. Moments are in UTC, by this machine's clock.

    Attributes:
        position: The request's place in the input, from 0, as last seen. What has left the
            input stays behind the places of the others.
        request_id: The request's own name; `None`: it had none.
        state: How far it has got.
        fingerprint: SHA-256 of `request_json` without ids of uploads, in hexadecimal digits.
        tries: Which try this is, from 1: a request that failed may be created anew.
        cost: US dollars that this try was to cost, as estimated; `None`: not estimated.
        idempotency_key: The key under which its create is sent.
        attempts: How often this try's create was about to be sent; all tries of one call
            count once.
        generation_id: The job that the service made of it; `None`: none is known.
        status: The job's status as last seen; `None`: never seen.
        download_path: Where its result is, once that is whole; `None`: it is not.
        error_class: The class of its last error; `None`: none since.
        error_code: The service's code for that error, where it gave one.
        error_message: That error in words.
        intended_at: When its first create was about to be sent.
        accepted_at: When the service's id was noted; `None`: not yet.
        ended_at: When the job's end was noted; `None`: not yet.
        updated_at: When the row last changed.
        request_json: The request's canonical form: its wire JSON, and facts of its files.
        generation_json: The job as last seen, as the service's JSON.
        earlier_json: JSON list of forms of the request that may have been sent before under
            this key; `None`: there is no other.
        origin_json: Where it comes from, as JSON; `None`: it was not said.

    """

    position: int
    request_id: str | None
    state: JobState
    fingerprint: str
    tries: int
    cost: float | None
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
    earlier_json: str | None = attrs.field(repr=False)
    origin_json: str | None = attrs.field(repr=False)

    @property
    def request(self) -> dict[str, Any]:
        """The request's canonical form, decoded.

        Raises:
            JournalError: The journal is damaged there.

        """
        return self._object(self.request_json)

    @property
    def generation(self) -> Generation | None:
        """The job as last seen; of one whose JSON cannot be read, its id and status.

        Raises:
            JournalError: The journal is damaged there.

        """
        if self.generation_id is None:
            return None
        status = self.status or Status("UNKNOWN")
        generation = Generation(id=self.generation_id, status=status)
        if self.generation_json is not None:
            generation.raw = self._object(self.generation_json)
            with suppress(ShapeError):
                generation = decode(Generation, generation.raw)
        generation.idempotency_key = self.idempotency_key
        return generation

    @property
    def documents(self) -> list[str]:
        """Every form in which the request may have been sent under its key, the first first."""
        earlier: list[str] = [] if self.earlier_json is None else json.loads(self.earlier_json)
        return [*earlier, self.request_json]

    @property
    def origin(self) -> Origin:
        """Where the request comes from, as last seen.

        Raises:
            JournalError: The journal is damaged there.

        """
        if self.origin_json is None:
            return Origin()
        stored = self._object(self.origin_json)
        return Origin(stored.get("line"), stored.get("extra") or {})

    @property
    def place(self) -> str:
        """Where the request stands in the user's input: a line, or else the position.

        Raises:
            JournalError: The journal is damaged there.

        """
        line = self.origin.line
        where = f"position {self.position}" if line is None else f"line {line}"
        return where if self.request_id is None else f"{where} ({self.request_id})"

    def _object(self, text: str) -> dict[str, Any]:
        """Decode what was a JSON object when it was stored."""
        try:
            decoded = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise unreadable(self.position, error) from error
        if not isinstance(decoded, dict):
            raise unreadable(self.position, f"it holds {text[:20]!r}")
        return decoded


def stored_origin(origin: Origin) -> str:
    """Return where a request comes from, as a journal stores it."""
    return json.dumps({"line": origin.line, "extra": dict(origin.extra)})


def unreadable(position: object, why: object) -> JournalError:
    """Return the error of an entry that is not as it was written."""
    return JournalError(
        f"the journal's entry at position {position} cannot be read ({why}). A disk or another "
        "program has changed it; go on with an undamaged copy of the journal."
    )


# The columns of the view `entries`, with what each may hold.
FIELDS = tuple(attrs.fields_dict(JournalEntry))
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(FIELDS, (str, type(None))),
    **dict.fromkeys(("state", "fingerprint", "idempotency_key", "request_json"), (str,)),
    **dict.fromkeys(("intended_at", "updated_at"), (str,)),
    **dict.fromkeys(("position", "tries", "attempts"), (int,)),
    "cost": (float, int, type(None)),
    "download_path": (str, bytes, type(None)),  # bytes, where SQLite's text cannot hold the name
}
SELECT_ENTRIES = f"SELECT {', '.join(FIELDS)} FROM entries"  # noqa: S608 - the names are our own


def entry_of(row: Sequence[Any]) -> JournalEntry:
    """Return the entry that a row of the table holds.

    Raises:
        JournalError: The row is not as it was written.

    """
    facts = dict(zip(FIELDS, row, strict=True))
    try:
        _check_kinds(facts)
        for name in ("intended_at", "accepted_at", "ended_at", "updated_at"):
            if facts[name] is not None:
                facts[name] = _moment(facts[name])
        facts["state"] = JobState(facts["state"])
        if facts["status"] is not None:
            facts["status"] = Status(facts["status"])
        if facts["download_path"] is not None:
            facts["download_path"] = Path(os.fsdecode(facts["download_path"]))
        return JournalEntry(**facts)
    except (ValueError, OverflowError) as error:
        raise unreadable(facts["position"], error) from error


def _check_kinds(facts: dict[str, Any]) -> None:
    """Check what SQLite itself does not: what each column holds."""
    for name, kinds in _KINDS.items():
        if type(facts[name]) not in kinds:
            raise ValueError(f"{name} holds {facts[name]!r:.40}")
    if facts["ended_at"] is None and JobState(facts["state"]).has_ended:
        raise ValueError(f"{facts['state']} without an end")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
