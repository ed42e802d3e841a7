"""What each event does to a row of the journal; the journal's rules are in these statements.

| event | from | to |
|---|---|---|
| a create is about to be sent | nothing, REFUSED | INTENDED |
| it is about to be sent again | INTENDED, DOUBTFUL | DOUBTFUL |
| it failed, and nothing was made for certain | INTENDED | REFUSED |
| it failed otherwise | INTENDED | DOUBTFUL |
| the service told of the job | all without an end | ACCEPTED, COMPLETED, FAILED |

From DOUBTFUL no error leads to REFUSED: that a repeated create was refused (because the
API key was revoked meanwhile, say) tells nothing about the first.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._fleet.fingerprint import difference, identify
from lipsync_async._fleet.journal_entry import JobState, state_of
from lipsync_async._fleet.journal_rows import find, find_fingerprint
from lipsync_async._rules.caller import log
from lipsync_async._words import Status
from lipsync_async.errors import (
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
)

if TYPE_CHECKING:
    import sqlite3

    from lipsync_async._fleet.fingerprint import Identity
    from lipsync_async._fleet.journal_entry import JournalEntry
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._values.models import Generation

_INTEND = """
INSERT OR REPLACE INTO jobs
    (position, state, fingerprint, idempotency_key, attempts, intended_at, updated_at, request_json)
VALUES (:position, :state, :fingerprint, :key, 1, :moment, :moment, :document)
"""
_INTEND_AGAIN = """
UPDATE jobs SET state = :state, attempts = attempts + 1, updated_at = :moment,
    error_class = NULL, error_code = NULL, error_message = NULL
WHERE position = :position
"""
# A job is never taken from its request, nor from its end.
_SEE = """
UPDATE jobs SET state = :state, generation_id = :id, status = :status, generation_json = :answer,
    error_class = :error_class, error_code = :error_code, error_message = :error_message,
    accepted_at = coalesce(accepted_at, :moment),
    ended_at = CASE WHEN :has_ended THEN coalesce(ended_at, :moment) END, updated_at = :moment
WHERE position = :position AND coalesce(generation_id, :id) = :id
    AND (ended_at IS NULL OR status = :status)
"""
_KEEP = """
UPDATE jobs SET download_path = :path, updated_at = :moment,
    error_class = NULL, error_code = NULL, error_message = NULL
WHERE position = :position AND state = :state
"""
_FAIL = """
UPDATE jobs SET state = :state, updated_at = :moment,
    error_class = :error_class, error_code = :error_code, error_message = :error_message
WHERE position = :position
"""


def is_same(entry: JournalEntry, identity: Identity) -> bool:
    """Tell whether a request is the one that an entry is about."""
    return entry.fingerprint == identity.fingerprint


def identity_of(entry: JournalEntry, request: GenerationRequest) -> Identity:
    """Return what a request is beside its entry: once a job is there, its files may change."""
    identity = identify(request, recorded=entry.request_json)
    if is_same(entry, identity) or not entry.state.has_job:
        return identity
    sent = identify(request, recorded=entry.request_json, was_sent=True)
    if not is_same(entry, sent):
        return identity
    change = difference(entry.request_json, identity.document)
    log(
        logging.WARNING,
        f"request {entry.position}: {change}; generation {entry.generation_id} is of what was "
        "sent. To order it anew, begin a new journal.",
    )
    return sent


def is_replaceable(entry: JournalEntry) -> bool:
    """Tell whether another request may take an entry's place: nothing was ever made of it."""
    return entry.state is JobState.REFUSED


def mismatch(connection: sqlite3.Connection, entry: JournalEntry, identity: Identity) -> str:
    """Say that the journal holds another request, and what to do."""
    path = f"requests[{entry.position}]"
    elsewhere = find_fingerprint(connection, identity.fingerprint)
    if elsewhere is not None:
        return f"{path}: is at position {elsewhere} in the journal; keep the order of the input"
    reason = difference(entry.request_json, identity.document)
    return (
        f"{path}: is not the request that the journal holds there ({reason}); restore it, or "
        "begin a new journal"
    )


def intend(
    connection: sqlite3.Connection,
    position: int,
    request: GenerationRequest,
    moment: str,
) -> str:
    """Note that a create is about to be sent, and return its key.

    Raises:
        InvalidRequestError: There is another request at this position.
        JournalError: It has been accepted already.

    """
    entry = find(connection, position)
    identity = identify(request, recorded=None if entry is None else entry.request_json)
    if entry is None or (is_replaceable(entry) and not is_same(entry, identity)):
        key = str(uuid.uuid4())
        values = {
            "position": position,
            "state": JobState.INTENDED,
            "fingerprint": identity.fingerprint,
            "key": key,
            "moment": moment,
            "document": identity.document,
        }
        connection.execute(_INTEND, values)
        return key
    if not is_same(entry, identity):
        raise InvalidRequestError([mismatch(connection, entry, identity)])
    if entry.state.has_job:
        raise JournalError(
            f"request {position} has become generation {entry.generation_id} already. Wait for "
            "that one; nothing was sent.",
        )
    state = JobState.INTENDED if entry.state is JobState.REFUSED else JobState.DOUBTFUL
    connection.execute(_INTEND_AGAIN, {"state": state, "moment": moment, "position": position})
    return entry.idempotency_key


def see(
    connection: sqlite3.Connection,
    position: int,
    generation: Generation,
    moment: str,
) -> JournalError | None:
    """Note what the service says about a job, unless its end is known; return a complaint."""
    values = {
        "position": position,
        "state": state_of(generation),
        "id": _storable(generation.id),
        "status": _storable(generation.status),
        "answer": _json_of(generation),
        "has_ended": generation.is_terminal,
        "moment": moment,
        **_facts_of(_end(generation)),
    }
    if connection.execute(_SEE, values).rowcount:
        return None
    entry = find(connection, position)
    if entry is not None and entry.generation_id == values["id"]:
        return None  # an answer that was overtaken by the job's end
    if entry is None:
        error = JournalError(f"request {position} was never noted. Note its intent first.")
    else:
        error = JournalError(
            f"request {position} has become generation {entry.generation_id}, and then "
            f"{generation.id} as well. Keep both ids, and ask the service's support.",
        )
    error.generation = generation
    return error


def keep(
    connection: sqlite3.Connection,
    position: int,
    path: str | os.PathLike[str],
    moment: str,
) -> JournalError | None:
    """Note where a completed job's result is; return a complaint if it is not completed."""
    values = {
        "position": position,
        "path": _path_column(Path(path).absolute()),
        "moment": moment,
        "state": JobState.COMPLETED,
    }
    if connection.execute(_KEEP, values).rowcount:
        return None
    return JournalError(f"request {position} has no completed job. Note its end first.")


def fail(
    connection: sqlite3.Connection,
    position: int,
    error: BaseException,
    moment: str,
) -> JournalError | None:
    """Note why something was given up, and the job that the error holds; return a complaint."""
    entry = find(connection, position)
    generation = getattr(error, "generation", None)
    if generation is not None and (
        entry is None or not entry.state.has_job or generation.is_terminal
    ):
        complaint = see(connection, position, generation, moment)
        if complaint is not None:
            return complaint
        entry = find(connection, position)
    if entry is None:
        return JournalError(f"request {position} was never noted. Note its intent first.")
    state = entry.state
    if state is JobState.INTENDED:
        is_certain = isinstance(error, LipsyncError) and not error.may_have_worked
        state = JobState.REFUSED if is_certain else JobState.DOUBTFUL
    values = {"position": position, "state": state, "moment": moment, **_facts_of(error)}
    connection.execute(_FAIL, values)
    return None


def _end(generation: Generation) -> LipsyncError | None:
    """Return the error that a job's bad end is."""
    if state_of(generation) is not JobState.FAILED:
        return None
    if generation.status == Status.REJECTED:
        return GenerationRejectedError(generation)
    return GenerationFailedError(generation)


def _facts_of(error: BaseException | None) -> dict[str, str | None]:
    if error is None:
        return {"error_class": None, "error_code": None, "error_message": None}
    code = getattr(error, "code", None)
    return {
        "error_class": type(error).__name__,
        "error_code": _storable(code) if isinstance(code, str) else None,
        "error_message": _storable(str(error)),
    }


def _json_of(generation: Generation) -> str | None:
    """Return the service's JSON, if there is any: a job's id counts, not its echo."""
    with suppress(TypeError, ValueError, RecursionError):
        return json.dumps(generation.raw, allow_nan=False) if generation.raw else None
    return None


def _storable(text: str) -> str:
    """Return text that SQLite takes: half of a surrogate pair is written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _path_column(path: Path) -> str | bytes:
    """Return a path as text, or as bytes where its name is none."""
    name = os.fspath(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name
