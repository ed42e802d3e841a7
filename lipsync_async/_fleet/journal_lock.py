"""One owner a journal: a lock that the system itself drops when its holder dies.

The holder writes who it is into the lock's file, with the name of its machine: the file may
be on a drive that several share.

The lock is on a file of its own, `NAME.lock`, because SQLite has locks on the journal that
closing any other handle of it would drop. The file stays when the lock goes: to remove it
safely is more work than it is worth. `flock` rather than `lockf`, for that one guards
against other processes only, and any handle that the process closes would end it.

A child made by `os.fork` shares its parent's lock. The parent can release it all the same,
but a dead parent's lock lives until its children are gone, too. Programs that are started
anew (`subprocess`) share nothing.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

if sys.platform == "win32":  # pragma: no cover - the tests run on POSIX
    import msvcrt

    # Windows forbids others to read what is locked, so the lock lies far behind the text.
    _LOCKED_BYTE = 1 << 30

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


_LONGEST_NAME = 200
# What the systems say of a lock that somebody has.
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})


class JournalLock:
    """Hold a journal as its only owner, until `release` or the end of the process."""

    def __init__(self, journal: Path) -> None:
        """Take the lock at once.

        Raises:
            JournalError: Another owner has it, or the file system has no locks.

        """
        self._process = os.getpid()
        path = journal.with_name(f"{journal.name}.lock")
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise JournalError(
                f"the journal {journal} cannot be written ({error.strerror or error}). Give a path "
                "in a folder that exists and may be written to."
            ) from error
        try:
            _lock(self._file)
        except OSError as error:
            owner = _owner(self._file)
            self._file.close()
            raise JournalError(refusal(journal, error, owner)) from error
        with suppress(OSError):  # a full disk: the lock holds, and others see no number
            self._file.truncate(0)
            name = f"{os.getpid()} {platform.node()}"
            self._file.write(name.encode("ascii", "replace")[:_LONGEST_NAME])

    @property
    def is_held(self) -> bool:
        """Whether this process holds it, and not the one that it was forked from."""
        return not self._file.closed and os.getpid() == self._process

    def release(self) -> None:
        """Let others own the journal; harmless when repeated."""
        # To close it would not do: a worker that was forked meanwhile has it open as well.
        if self.is_held:
            with suppress(OSError):
                _unlock(self._file)
        self._file.close()


def _owner(file: BinaryIO) -> str:
    """Return who has written itself into the lock's file."""
    file.seek(0)
    digits, _, machine = file.read(_LONGEST_NAME).decode("ascii", "replace").partition(" ")
    if not digits.isdigit():
        return "another process"
    return f"process {digits}" if machine in {"", platform.node()} else f"a process on {machine}"


def refusal(journal: Path, error: OSError, owner: str) -> str:
    """Say why the lock was not to be had."""
    if error.errno not in _TAKEN:
        return f"the journal {journal} cannot be locked ({error}). Give a path on a local disk."
    return (
        f"the journal {journal} is in use by {owner}. Wait until that has ended, or give this "
        "run a journal of its own; the status can be read meanwhile."
    )
