"""What each event does to a row of the journal; the journal's rules are in these statements.

| event | from | to |
|---|---|---|
| a create is about to be sent | nothing, REFUSED | INTENDED |
| it is about to be sent again | INTENDED, DOUBTFUL | DOUBTFUL |
| a new try is about to be sent | FAILED, REFUSED | INTENDED, under a new key |
| it failed, and nothing was made for certain | INTENDED | REFUSED |
| it failed otherwise | INTENDED | DOUBTFUL |
| the service told of the job | all without an end | ACCEPTED, COMPLETED, FAILED |

From DOUBTFUL no error leads to REFUSED: that a repeated create was refused (because the
API key was revoked meanwhile, say) tells nothing about the first. And what is INTENDED or
DOUBTFUL never gets a new key.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.fingerprint import Recognition, key_of
from lipsync_async._fleet.journal_entry import JobState, state_of
from lipsync_async._fleet.journal_rows import find, find_key
from lipsync_async._words import Status
from lipsync_async.errors import (
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
)

if TYPE_CHECKING:
    from lipsync_async._fleet.fingerprint import Difference, Identity
    from lipsync_async._fleet.journal_entry import JournalEntry
    from lipsync_async._fleet.journal_rows import Transaction
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._values.models import Generation

_INTEND = """
INSERT INTO jobs
    (position, row_key, state, fingerprint, tries, cost, idempotency_key, attempts, intended_at,
    updated_at, request_json, origin_json)
VALUES (:position, :row_key, :state, :fingerprint, :tries, :cost, :key, 1, :moment, :moment,
    :document, :origin)
"""
_REMOVE = "DELETE FROM jobs WHERE position = ?"
_INTEND_AGAIN = """
UPDATE jobs SET state = :state, attempts = attempts + 1, updated_at = :moment,
    cost = coalesce(cost, :cost), error_class = NULL, error_code = NULL, error_message = NULL,
    fingerprint = :fingerprint, request_json = :document, earlier_json = :earlier,
    origin_json = coalesce(:origin, origin_json)
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
UPDATE jobs SET download_path = :path, download_near = :near, updated_at = :moment,
    error_class = NULL, error_code = NULL, error_message = NULL
WHERE position = :position AND state = :state
"""
_RELOCATE = """
UPDATE jobs SET download_path = :path, download_near = :near WHERE position = :position
"""
_FAIL = """
UPDATE jobs SET state = :state, updated_at = :moment,
    error_class = :error_class, error_code = :error_code, error_message = :error_message
WHERE position = :position
"""
# Forms of a request that are kept for one key. If a form has arrived, all later ones are
# refused, so the first ones are the likely ones: they are kept, and tried first.
_MOST_EARLIER = 50


@attrs.frozen(slots=True, kw_only=True)
class Rules:
    """Hold what is the same for all requests of a run.

    Attributes:
        recognition: Tells whether a request is a recorded one.
        retries_failed: Whether what ended badly gets a new try.

    """

    recognition: Recognition
    retries_failed: bool = False

    def difference(
        self, entry: JournalEntry, row_key: str | None, request: GenerationRequest
    ) -> Difference:
        """Return what sets a request apart from an entry; false if nothing does."""
        return self.recognition.difference(
            entry.request_json,
            request,
            is_named=row_key is not None,
            was_sent=entry.state.has_job,
        )

    def may_change(self, entry: JournalEntry, *, is_named: bool) -> bool:
        """Tell whether another request may take an entry's place."""
        return is_replaceable(entry) or (is_named and entry.state is JobState.FAILED)

    def is_to_be_tried_anew(self, entry: JournalEntry, *, is_corrected: bool) -> bool:
        """Tell whether a request gets a new try: only what certainly has ended may."""
        may = entry.state in {JobState.FAILED, JobState.REFUSED}
        return may and (self.retries_failed or is_corrected)


def is_replaceable(entry: JournalEntry) -> bool:
    """Tell whether another request may take an entry's place: nothing was ever made of it."""
    return entry.state is JobState.REFUSED


def mismatch(entry: JournalEntry, difference: Difference) -> str:
    """Say that the journal holds another request at a position, and what to do."""
    return (
        f"requests[{entry.position}]: is not the request that the journal holds there "
        f"({difference}); restore it, or begin a new journal"
    )


def intend(
    transaction: Transaction,
    position: int,
    request: GenerationRequest,
    *,
    rules: Rules,
    row_key: str | None,
    cost: float | None,
) -> str:
    """Note that a create is about to be sent, and return its key.

    Raises:
        InvalidRequestError: There is another request at this position.
        JournalError: It has been accepted already.

    """
    connection = transaction.connection
    entry = find(connection, position)
    identity = rules.recognition.identify(request)
    begin = partial(
        _begin,
        transaction,
        position,
        identity,
        row_key=row_key,
        cost=cost,
        origin=origin_of(request),
    )
    named = None if row_key is None else find_key(connection, row_key)
    is_known_by_name = named == position
    if named is not None and not is_known_by_name:
        raise JournalError(
            f"request {position} is at position {named} in the journal. Nothing was sent."
        )
    if entry is None:
        return begin(tries=1)
    difference = rules.difference(entry, row_key, request)
    is_corrected = bool(difference) and is_known_by_name
    if rules.is_to_be_tried_anew(entry, is_corrected=is_corrected):
        transaction.touch(position)
        transaction.archive(position)
        connection.execute(_REMOVE, (position,))
        tries = entry.tries + 1
        return begin(tries=tries)
    if difference and is_replaceable(entry):
        transaction.touch(position)
        connection.execute(_REMOVE, (position,))
        return begin(tries=1)
    if difference:
        raise InvalidRequestError([mismatch(entry, difference)])
    if entry.state.has_job:
        raise JournalError(
            f"request {position} has become generation {entry.generation_id} already. Wait for "
            "that one; nothing was sent.",
        )
    transaction.touch(position)
    state = JobState.INTENDED if entry.state is JobState.REFUSED else JobState.DOUBTFUL
    values = {
        "state": state,
        "moment": transaction.moment,
        "position": position,
        "cost": cost,
        "fingerprint": identity.fingerprint,
        "document": identity.document,
        "earlier": None if state is JobState.INTENDED else _earlier(entry, identity),
        "origin": origin_of(request),
    }
    connection.execute(_INTEND_AGAIN, values)
    return entry.idempotency_key


def origin_of(request: GenerationRequest) -> str | None:
    """Return where a request comes from, as a journal stores it."""
    origin = request.origin
    if origin is None:
        return None
    return json.dumps({"line": origin.line, "extra": dict(origin.extra)})


def _begin(
    transaction: Transaction,
    position: int,
    identity: Identity,
    *,
    origin: str | None,
    row_key: str | None,
    cost: float | None,
    tries: int,
) -> str:
    """Note the first intent of a try, and return its key."""
    transaction.touch(position)
    anchor = row_key or f"position:{position}"
    key = key_of(transaction.secret, anchor, tries, identity)
    values = {
        "position": position,
        "row_key": row_key,
        "state": JobState.INTENDED,
        "fingerprint": identity.fingerprint,
        "tries": tries,
        "cost": cost,
        "key": key,
        "moment": transaction.moment,
        "document": identity.document,
        "origin": origin,
    }
    transaction.connection.execute(_INTEND, values)
    return key


def _earlier(entry: JournalEntry, identity: Identity) -> str | None:
    """Return the forms in which a request may have been sent before, under the same key."""
    forms = [form for form in entry.documents if form != identity.document]
    return json.dumps(forms[:_MOST_EARLIER]) if forms else None


def see(
    transaction: Transaction,
    position: int,
    generation: Generation,
) -> JournalError | None:
    """Note what the service says about a job, unless its end is known; return a complaint."""
    transaction.touch(position)
    connection = transaction.connection
    values = {
        "position": position,
        "state": state_of(generation),
        "id": _storable(generation.id),
        "status": _storable(generation.status),
        "answer": _json_of(generation),
        "has_ended": generation.is_terminal,
        "moment": transaction.moment,
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
    transaction: Transaction,
    position: int,
    path: str | os.PathLike[str],
    folder: Path,
) -> JournalError | None:
    """Note where a completed job's result is; return a complaint if it is not completed."""
    transaction.touch(position)
    values = {
        "position": position,
        **_where(Path(path).absolute(), folder),
        "moment": transaction.moment,
        "state": JobState.COMPLETED,
    }
    if transaction.connection.execute(_KEEP, values).rowcount:
        return None
    return JournalError(f"request {position} has no completed job. Note its end first.")


def relocate(transaction: Transaction, position: int, path: Path, folder: Path) -> None:
    """Note where a result is now, after it or the journal was moved."""
    transaction.touch(position)
    values = {"position": position, **_where(path, folder)}
    transaction.connection.execute(_RELOCATE, values)


def _where(path: Path, folder: Path) -> dict[str, str | bytes | None]:
    """Return where a file is, in itself and as seen from the journal's folder."""
    near: str | None = None
    with suppress(ValueError):  # on another drive of Windows
        near = os.path.relpath(os.path.realpath(path), folder)
    return {
        "path": _path_column(os.fspath(path)),
        "near": None if near is None else _path_column(near.replace(os.sep, "/")),
    }


def fail(
    transaction: Transaction,
    position: int,
    error: BaseException,
) -> JournalError | None:
    """Note why something was given up, and the job that the error holds; return a complaint."""
    transaction.touch(position)
    connection = transaction.connection
    entry = find(connection, position)
    generation = getattr(error, "generation", None)
    if generation is not None and (
        entry is None or not entry.state.has_job or generation.is_terminal
    ):
        complaint = see(transaction, position, generation)
        if complaint is not None:
            return complaint
        entry = find(connection, position)
    if entry is None:
        return JournalError(f"request {position} was never noted. Note its intent first.")
    state = entry.state
    if state is JobState.INTENDED:
        is_certain = isinstance(error, LipsyncError) and not error.may_have_worked
        state = JobState.REFUSED if is_certain else JobState.DOUBTFUL
    moment = transaction.moment
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


def _path_column(name: str) -> str | bytes:
    """Return a path as text, or as bytes where its name is none."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name
