"""The journal that lets a fleet outlive its process, and never pay for a job twice.

Every call below is one transaction that is on the disk (`synchronous=FULL`) when the call
returns; a list costs as much waiting for the disk as a single item. When to call, and what
a crash just before would cost:

* `record_intents`: before each create is sent. It stores the request and the key, and
  gives out the key, so that no create can be sent under one that is not stored. Without
  it, a create that was accepted would be placed, and paid for, again. So it may wait for
  company, but nothing may be sent before it has returned.
* `record_generations`: at the service's first word about a job, and whenever its status
  has changed. Without the first word, the create is sent again under its key, and the
  service answers with the job that it has made. How long it remembers a key is not known
  (contract section 4.4), so let ids wait for company for a second or so, not for an hour.
  Without a later word, the job is looked at once more, for nothing.
* `record_downloads`: when a result is whole under its final name. Without it, the result
  is fetched again, for nothing; a name that depends on the job alone makes that harmless.
* `record_errors`: when a create, a wait or a download is given up. Without it, that is
  tried again: a create under its key, a wait and a download for nothing.

Whatever is recorded, a row never loses its generation id and a job never leaves its end;
the moves are in `journal_moves.py`. On two busy cores with a disk that syncs in 0.2 ms,
`record_intents` stored 2,000 requests a second one by one, 10,000 in tens and 20,000 in
hundreds (30 to 50 µs of CPU each); `synchronous=NORMAL` would store 30,000 one by one and
lose the last of them, keys included, in a power cut. Nobody may place that many orders.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lipsync_async._fleet import journal_moves
from lipsync_async._fleet.journal_lock import JournalLock
from lipsync_async._fleet.journal_rows import find_range
from lipsync_async._fleet.journal_schema import connect_owner, located
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async.errors import InvalidRequestError, JournalError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from lipsync_async._fleet.fingerprint import Identity
    from lipsync_async._fleet.journal_entry import JournalEntry
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._values.models import Generation

# Seconds. Only a program that is not ours can be in the way, such as an editor of tables.
_PATIENCE = 10.0
# An input that has moved by one line differs everywhere; a few lines say as much as all.
_MOST_EXPLAINED = 10


class Journal(JournalView):
    """Own a journal: write it, and read it.

    Calls may come from any thread, one at a time. Requests must have passed validation.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: JournalLock,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(path, connection)
        self._ownership = lock
        self._now = now
        self._file = path.stat()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        patience: float = _PATIENCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Open a journal as its only owner, or make a new one.

        Args:
            path: The file, in a folder that exists; `PATH.lock` appears beside it.
            patience: Seconds to wait for another program that is writing to the file.
            now: The calendar's clock, for the times that are noted; aware, in UTC.

        Raises:
            JournalError: Another process owns it, it is no journal, or one of a newer
                release, or it cannot be written.

        """
        resolved = located(path)
        lock = JournalLock(resolved)
        try:
            return cls(resolved, connect_owner(resolved, patience=patience), lock, now)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the file and let others own it; harmless when repeated."""
        super().close()
        self._ownership.release()

    def match(
        self,
        requests: Sequence[GenerationRequest],
        *,
        start: int = 0,
    ) -> list[JournalEntry | None]:
        """Return what is known of requests that stand one after another in the input.

        An input may have become longer or shorter since. A request of which it is certain
        that nothing was made may have changed: it counts as new. Local files of which a job
        was made may have changed, too, or be gone: the job stays, and a log line says so.

        Args:
            requests: A piece of the input.
            start: The position of its first request.

        Returns:
            For each request its entry, or `None` if it is new.

        Raises:
            InvalidRequestError: The journal holds other requests at these positions.

        """
        with self._reading() as connection:
            entries = find_range(connection, start, start + len(requests))
            changed: list[tuple[JournalEntry, Identity]] = []
            for position, entry in [*entries.items()]:
                identity = journal_moves.identity_of(entry, requests[position - start])
                if journal_moves.is_same(entry, identity):
                    continue
                if not journal_moves.is_replaceable(entry):
                    changed.append((entry, identity))
                del entries[position]
            problems = [
                journal_moves.mismatch(connection, entry, identity)
                for entry, identity in changed[:_MOST_EXPLAINED]
            ]
        if len(changed) > _MOST_EXPLAINED:
            more = len(changed) - _MOST_EXPLAINED
            problems.append(f"requests: {more} more are not what the journal holds")
        if problems:
            raise InvalidRequestError(problems)
        return [entries.get(start + offset) for offset in range(len(requests))]

    def record_intents(self, requests: Sequence[tuple[int, GenerationRequest]]) -> list[str]:
        """Store requests whose creates are about to be sent; only then may they be sent.

        Args:
            requests: Each with its position.

        Returns:
            The Idempotency-Key for each create: a new one, or the one that it had before.

        Raises:
            InvalidRequestError: The journal holds another request at a position. Nothing
                was stored.
            JournalError: A request has been accepted already, or the journal cannot be
                written. Nothing was stored.

        """
        with self._transaction() as (connection, moment):
            return [
                journal_moves.intend(connection, position, request, moment)
                for position, request in requests
            ]

    def record_generations(self, generations: Sequence[tuple[int, Generation]]) -> None:
        """Store what the service has said about jobs: that they exist, or a new status.

        What comes late, after a job's end, changes nothing.

        Raises:
            JournalError: A request has become another job before (the other items are
                stored, and the error holds the job), or the journal cannot be written.

        """
        with self._transaction() as (connection, moment):
            problems = [
                journal_moves.see(connection, position, job, moment)
                for position, job in generations
            ]
        _complain(problems)

    def record_downloads(self, paths: Sequence[tuple[int, str | os.PathLike[str]]]) -> None:
        """Store where the results of completed jobs are.

        Raises:
            JournalError: A job is not completed (the other items are stored), or the
                journal cannot be written.

        """
        with self._transaction() as (connection, moment):
            problems = [
                journal_moves.keep(connection, position, path, moment) for position, path in paths
            ]
        _complain(problems)

    def record_errors(self, errors: Sequence[tuple[int, BaseException]]) -> None:
        """Store why creates, waits or downloads were given up.

        If the error holds a job that is not stored yet, that is stored first. A failed
        create is REFUSED if it is certain that nothing was made, and DOUBTFUL otherwise.

        Raises:
            JournalError: As in `record_generations`.

        """
        with self._transaction() as (connection, moment):
            problems = [
                journal_moves.fail(connection, position, error, moment)
                for position, error in errors
            ]
        _complain(problems)

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, str]]:
        """Give the connection, and the moment to note; commit in the end, or keep nothing."""
        with self._reading() as connection:
            self._refuse_if_gone()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection, self._now().isoformat(timespec="microseconds")
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def _refuse_if_gone(self) -> None:
        """Note nothing where nobody will find it: SQLite writes on into a file without a name."""
        try:
            is_here = os.path.samestat(self._file, self.path.stat())
        except OSError:
            is_here = False
        if not is_here:
            raise JournalError(
                f"the journal {self.path} was moved, removed or replaced while it was in use. Put "
                "it back, then run again; without it, what was ordered would be ordered anew.",
            )


def _complain(complaints: Sequence[JournalError | None]) -> None:
    """Raise the first complaint, with the words of the others."""
    told = [complaint for complaint in complaints if complaint is not None]
    for other in told[1:]:
        told[0].add_note(str(other))
    if told:
        raise told[0]
