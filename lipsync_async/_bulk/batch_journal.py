"""The journal of one batch: a file by which its create is not sent twice.

The service knows no Idempotency-Key for batches. So the intent is on the disk before anything
is sent, and the batch's id is added when it is known. A file with an intent alone means that
it is not known what became of the create: then nothing is sent. A create that was refused has
made nothing, so its intent is removed; one that waits writes it anew before it is sent again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._bulk.fingerprint import essence_of
from lipsync_async._bulk.journal_file import resolve, sync_folder
from lipsync_async.errors import InvalidRequestError, JournalError, in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

    from lipsync_async._models.batch import Batch

_EMPTY = "Another call may just be writing it: call again, and delete it if it stays empty."


@attrs.define(slots=True, kw_only=True)
class BatchJournal:
    """What the file says of its batch.

    Attributes:
        path: The file.
        digest: What tells the rows from those of another batch.
        begun: When its create was about to be sent.
        batch_id: The batch's id; `None`: it is not known.
        is_new: Whether the intent was written by this very call, so that the create may be sent.
    """

    path: Path
    digest: str
    begun: datetime
    batch_id: str | None = None
    is_new: bool = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> BatchJournal:
        """Write the intent to create a batch of these rows, or read what is kept of it."""
        digest = sha256(essence_of(rows).encode()).hexdigest()
        journal = cls(path=resolve(path), digest=digest, begun=datetime.now(UTC), is_new=True)
        is_made = False
        try:
            with journal.path.open("x", encoding="utf-8") as file:  # of two at once, one makes it
                is_made = True
                journal._write(file)
            sync_folder(journal.path.parent)
        except FileExistsError:
            return cls._read(journal.path, digest)
        except OSError as error:
            if is_made:  # the disk is full, perhaps; half an intent would stop every later call
                journal.forget()
            message = f"{journal.path} cannot be written ({error}). Nothing was sent."
            raise JournalError(f"{message} Give another path.") from error
        return journal

    @classmethod
    def _read(cls, path: Path, digest: str) -> BatchJournal:
        text = None
        try:
            text = path.read_bytes()
            kept = json.loads(text)
            begun = datetime.fromisoformat(kept["begun"])
            journal = cls(path=path, digest=kept["rows"], begun=begun, batch_id=kept["batch_id"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            message = f"{path} is not the journal of a batch ({in_words(error)}). Nothing was sent."
            # It is empty for a moment, and another path would have the batch created twice.
            advice = "Give another path." if text != b"" else _EMPTY
            raise JournalError(f"{message} {advice}") from error
        if journal.digest != digest:
            problem = f"journal: {path} belongs to a batch of other requests; give another path"
            raise InvalidRequestError([problem])
        return journal

    def finish(self, batch_id: str) -> None:
        """Add the batch's id."""
        self.batch_id = batch_id
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                self._write(file)
            part.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            message = f"Batch {batch_id} was created, but {self.path} cannot be written ({error})."
            raise JournalError(f"{message} Keep the id; do not create the batch again.") from error

    def forget(self) -> None:
        """Remove the intent of a create that has made no batch."""
        with suppress(OSError):  # then the next call finds no batch, and sends nothing
            self.path.unlink()

    def unknown_outcome(self, found: Iterable[Batch] | None, count: int) -> JournalError:
        """Return what is known of a create whose answer was lost, and what to do.

        `found` are the batches that it may have made; `None`: they could not be listed.
        """
        shown = [f"{each.id} ({each.status}, created {each.created_at})" for each in found or ()]
        seen = f"The service has these: {', '.join(shown)}" if shown else "The service has none"
        seen = "They could not be listed" if found is None else seen
        error = JournalError(
            f"{self.path} holds a create of {self.begun} whose outcome is unknown: the batch may "
            "exist, and is paid for then. Nothing was sent now. Look for a batch with "
            f"{count} requests, created since a day before. {seen}. If one is this batch, go on "
            "with its id. If none is, look again after some minutes with batches.list(). If "
            f"there is still none, delete {self.path}, and create the batch."
        )
        error.may_have_worked = True  # the create that was sent then
        return error

    def _write(self, file: TextIO) -> None:
        """Write the file so that it survives a power cut."""
        facts = {"rows": self.digest, "begun": self.begun.isoformat(), "batch_id": self.batch_id}
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
