"""The journal that lets a run outlive its process, and never pay for a job twice.

Every call below is one transaction that is on the disk (`synchronous=FULL`) when the call
returns; a list costs as much waiting for the disk as a single item. When to call, and what
a crash just before would cost:

* `record_intents`: before each create is sent. It stores the request and the key, and
  gives out the key, so that no create can be sent under one that is not stored. Without
  it, a create that was accepted would be placed again. So it may wait for company, but
  nothing may be sent before it has returned.
* `record_generations`: at the service's first word about a job, and whenever its status
  has changed. Without the first word, the create is sent again under its key, and the
  service answers with the job that it has made. How long it remembers a key is not known
  (contract section 4.4), so let ids wait for company for a second or so, not for an hour.
  Without a later word, the job is looked at once more, for nothing.
* `record_downloads`: when a result is whole under its final name. Without it, the result
  is fetched again, for nothing; a name that depends on the job alone makes that harmless.
* `record_errors`: when a create, a wait or a download is given up. Without it, that is
  tried again: a create under its key, a wait and a download for nothing.

Whatever is recorded, a job never leaves its request nor its end, though a new try may take
its place; the moves are in `journal_moves.py`.

A commit waits for the disk four times, because the file is whole by itself after each: on
two busy cores with a disk that syncs in 2 ms, `record_intents` stored 170 requests a second
one by one, 1,000 in tens and 3,000 in hundreds (0.7, 0.17 and 0.1 ms of CPU each). With a
log beside the file it was once, and 220, 1,150 and 8,000; but an account takes one order a
second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet import journal_moves, journal_rows
from lipsync_async._fleet.fingerprint import Recognition
from lipsync_async._fleet.journal_lock import JournalLock
from lipsync_async._fleet.journal_match import Matcher
from lipsync_async._fleet.journal_moves import Rules
from lipsync_async._fleet.journal_rows import Transaction
from lipsync_async._fleet.journal_schema import (
    begin_writing,
    connect_owner,
    finish_writing,
    located,
)
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async._values.models import Generation
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from lipsync_async._fleet.journal_entry import JournalEntry
    from lipsync_async._fleet.journal_schema import Opened
    from lipsync_async._values.inputs import GenerationRequest

# Seconds. Only a program that is not ours can be in the way, such as an editor of tables.
_PATIENCE = 10.0


@attrs.frozen(slots=True)
class Binding:
    """Hold what a journal belongs to: jobs of one account are nothing to another.

    Attributes:
        service: The service's base address.
        digest: Returns what tells the API key from others, for the journal's salt.
        is_new_key: Whether the user says that the key is a new one of the same account.

    """

    service: str
    digest: Callable[[bytes], str]
    is_new_key: bool = False


@attrs.frozen(slots=True)
class Ordered:
    """Hold what was ordered with a journal, in all runs: tries that may have become jobs.

    Attributes:
        jobs: How many.
        cost: US dollars for them together, as estimated.
        unpriced: Those whose cost was never asked.

    """

    jobs: int
    cost: float
    unpriced: int


class Journal(JournalView):
    """Own a journal: write it, and read it.

    Calls may come from any thread, one at a time. Requests must have passed validation.
    """

    def __init__(
        self,
        path: Path,
        opened: Opened,
        lock: JournalLock,
        now: Callable[[], datetime],
        rules: Rules,
    ) -> None:
        super().__init__(path, opened)
        self._ownership = lock
        self._now = now
        self._rules = rules
        self._file = path.stat()
        self._owner: str | None = None
        self._matcher = Matcher(rules, path.parent)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        binding: Binding | None = None,
        retry_failed: bool = False,
        match_query: bool = False,
        patience: float = _PATIENCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Open a journal as its only owner, or make a new one.

        Args:
            path: The file, in a folder that exists; `PATH.lock` appears beside it.
            binding: What it must belong to; `None`: it is not asked.
            retry_failed: Whether what ended FAILED or REFUSED gets a new try.
            match_query: Whether all of a query tells media apart.
            patience: Seconds to wait for another program that is writing to the file.
            now: The calendar's clock, for the times that are noted; aware, in UTC.

        Raises:
            JournalError: Another process owns it, it is no journal, or one of a newer
                release or another account, it is damaged, or it cannot be written.

        """
        resolved = located(path)
        recognition = Recognition(resolved.parent, matches_query=match_query)
        rules = Rules(recognition=recognition, retries_failed=retry_failed)
        lock = JournalLock(resolved)
        try:
            opened = connect_owner(resolved, patience=patience)
            try:
                journal = cls(resolved, opened, lock, now, rules)
                journal._take_over(binding)
            except BaseException:
                opened.close()
                raise
        except BaseException:
            lock.release()
            raise
        return journal

    def close(self) -> None:
        """Close the file and let others own it; harmless when repeated."""
        with self._lock:  # not in the midst of a transaction
            if self._ownership.is_held:
                finish_writing(self._connection)
            self._opened.close()
        self._ownership.release()

    def match(
        self,
        requests: Sequence[GenerationRequest],
        *,
        start: int = 0,
    ) -> list[JournalEntry | None]:
        """Return what is known of requests that stand one after another in the input.

        A request that has a name is known by it wherever it stands, see `journal_match.py`;
        any other is known by its place, and of those the input may have become longer or
        shorter.

        A request of which it is certain that nothing was made may have changed: it counts
        as new. So does one that has a name and whose job has failed. Local files of which a
        job was made may have changed, too, or be gone: the job stays, and a log line says
        so, unless the request has a `request_id`, by which it counts as changed.

        Args:
            requests: A piece of the input.
            start: The position of its first request.

        Returns:
            For each request its entry, or `None` if it is new or is to be tried anew.

        Raises:
            InvalidRequestError: The journal holds other requests at these positions, or
                under these names.
            JournalError: The journal cannot be used.

        """
        if not requests:
            return []
        places = self._matcher.places(requests, start)
        with self._reading() as connection:
            is_aligned = self._matcher.is_aligned(connection, places)
        problems: dict[int, str] = {}
        if not is_aligned:
            with self._transaction(is_noted=False) as transaction:
                problems = self._matcher.align(transaction, places)
        with self._reading() as connection:
            found = self._matcher.entries(connection, places, problems)
        self._describe(requests, found)
        return found

    def ordered(self) -> Ordered:
        """Return what was ordered with this journal so far, in this run and before.

        What is INTENDED or DOUBTFUL is counted, so it costs nothing more to send it again.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            return Ordered(*journal_rows.sum_orders(connection))

    def record_intents(
        self,
        requests: Sequence[tuple[int, GenerationRequest]],
        *,
        costs: Mapping[int, float] | None = None,
    ) -> list[str]:
        """Store requests whose creates are about to be sent; only then may they be sent.

        Args:
            requests: Each with its position.
            costs: What they are to cost, in US dollars, by position, where that was asked.

        Returns:
            The Idempotency-Key for each create: a new one, or the one that it had before.

        Raises:
            InvalidRequestError: The journal holds another request at a position. Nothing
                was stored.
            JournalError: A request has been accepted already, or the journal cannot be
                written. Nothing was stored.

        """
        prices = costs or {}
        with self._transaction() as transaction:
            transaction.touch(*(position for position, _ in requests))
            return [
                journal_moves.intend(
                    transaction,
                    position,
                    request,
                    rules=self._rules,
                    row_key=self._matcher.row_key(position, request),
                    cost=prices.get(position),
                )
                for position, request in requests
            ]

    def record_generations(self, generations: Sequence[tuple[int, Generation]]) -> None:
        """Store what the service has said about jobs: that they exist, or a new status.

        What comes late, after a job's end, changes nothing.

        Raises:
            JournalError: A request has become another job before (the other items are
                stored, and the error holds the job), or the journal cannot be written.

        """
        _complain(self.record_news(generations))

    def record_news(
        self, news: Sequence[tuple[int, Generation | BaseException]]
    ) -> JournalError | None:
        """Store what the service has said, and why something was given up, all at once.

        Returns:
            What contradicts the journal; the other items are stored.

        Raises:
            JournalError: The journal cannot be written. Nothing was stored.

        """
        with self._transaction() as transaction:
            transaction.touch(*(position for position, _ in news))
            complaints = [
                journal_moves.see(transaction, position, what)
                if isinstance(what, Generation)
                else journal_moves.fail(transaction, position, what)
                for position, what in news
            ]
        return _first(complaints)

    def record_downloads(self, paths: Sequence[tuple[int, str | os.PathLike[str]]]) -> None:
        """Store where the results of completed jobs are.

        Raises:
            JournalError: A job is not completed (the other items are stored), or the
                journal cannot be written.

        """
        with self._transaction() as transaction:
            transaction.touch(*(position for position, _ in paths))
            complaints = [
                journal_moves.keep(transaction, position, path, self.path.parent)
                for position, path in paths
            ]
        _complain(_first(complaints))

    def record_errors(self, errors: Sequence[tuple[int, BaseException]]) -> None:
        """Store why creates, waits or downloads were given up.

        If the error holds a job that is not stored yet, that is stored first. A failed
        create is REFUSED if it is certain that nothing was made, and DOUBTFUL otherwise.

        Raises:
            JournalError: As in `record_generations`.

        """
        _complain(self.record_news(errors))

    def _take_over(self, binding: Binding | None) -> None:
        """Become the owner, in the file as well, if it belongs to the account.

        Raises:
            JournalError: It belongs to another one.

        """
        with self._transaction(is_noted=False) as transaction:
            connection = transaction.connection
            query = "SELECT service, salt, key_digests FROM journal"
            service, salt, digests = connection.execute(query).fetchone()
            if binding is not None:
                known = json.loads(digests)
                digest = binding.digest(bytes.fromhex(salt))
                self._refuse_foreign(binding, service, is_known=not known or digest in known)
                service, known = binding.service, [*dict.fromkeys([*known, digest])]
                digests = json.dumps(known)
            owner = token_hex(8)
            connection.execute(
                "UPDATE journal SET owner = ?, service = ?, key_digests = ?",
                (owner, service, digests),
            )
        self._owner = owner

    def _refuse_foreign(self, binding: Binding, service: str | None, *, is_known: bool) -> None:
        if service is not None and service != binding.service:
            raise JournalError(
                f"the journal {self.path} is of a run at {service}, and this client talks to "
                f"{binding.service}, where its jobs are not known and would be paid for once more. "
                "Use the client that it belongs to, or begin a new journal. (A sandbox that was "
                "started anew is another one, too.)"
            )
        if not is_known and not binding.is_new_key:
            raise JournalError(
                f"the journal {self.path} is of a run with another API key. If this key belongs to "
                "the same account, run once with accept_new_key=True (--accept-new-key); the "
                "jobs of another account are not known to this one and would be paid for once "
                "more, so begin a new journal then. (A sandbox that was started anew has other "
                "jobs, too.)"
            )

    def _describe(
        self, requests: Sequence[GenerationRequest], found: Sequence[JournalEntry | None]
    ) -> None:
        """Note where requests and results are now, if that is elsewhere than was noted."""
        origins = [
            (entry.position, origin)
            for request, entry in zip(requests, found, strict=True)
            if entry is not None and (origin := journal_moves.origin_of(request)) is not None
            if origin != entry.origin_json
        ]
        relocated = self._matcher.relocated
        if origins or relocated:
            with self._transaction(is_noted=False) as transaction:
                for position, origin in origins:
                    transaction.describe(position, origin)
                for position, path in relocated:
                    journal_moves.relocate(transaction, position, path, self.path.parent)

    @contextmanager
    def _transaction(self, *, is_noted: bool = True) -> Iterator[Transaction]:
        """Give a transaction, with its moment if that is noted; commit, or keep nothing."""
        with self._reading() as connection:
            self._refuse_if_gone()
            begin_writing(connection, self.path)
            try:
                moment = self._now().isoformat(timespec="microseconds") if is_noted else ""
                transaction = Transaction(connection, moment, self._owner)
                yield transaction
                transaction.seal()
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def _refuse_if_gone(self) -> None:
        """Note nothing where it is never found: SQLite writes on into a file without a name."""
        try:
            is_here = os.path.samestat(self._file, self.path.stat())
        except OSError:
            is_here = False
        if not is_here:
            raise JournalError(
                f"the journal {self.path} was moved, removed or replaced while it was in use. Put "
                "it back, then run again; without it, what was ordered would be ordered anew.",
            )


def _first(complaints: Sequence[JournalError | None]) -> JournalError | None:
    """Return the first complaint, with the words of the others."""
    told = [complaint for complaint in complaints if complaint is not None]
    for other in told[1:]:
        told[0].add_note(str(other))
    return told[0] if told else None


def _complain(complaint: JournalError | None) -> None:
    if complaint is not None:
        raise complaint
