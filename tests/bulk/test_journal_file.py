"""The journal's file: what it is, who may have it, and how its troubles are told."""

import errno
import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import chdir, closing
from pathlib import Path

import pytest

from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.journal_file import SCHEMA_VERSION, lock_failure
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async.errors import JournalError
from tests.bulk.jobs import connection_of, entries, job, record, request


def run(path: Path, *statements: str) -> None:
    """Change a file of SQLite as some other program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def foreign(path: Path) -> None:
    """Make another program's file."""
    run(path, "CREATE TABLE songs (title TEXT)", "INSERT INTO songs VALUES ('Let it be')")


def of_tomorrow(path: Path) -> None:
    """Make a journal as a newer release would."""
    Journal.open(path).close()
    run(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def text(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 50, encoding="utf-8")


def foreign_with_a_log(path: Path) -> None:
    """Make another program's file that has a log, and is closed."""
    foreign(path)
    run(path, "PRAGMA journal_mode = WAL")


def unsigned(path: Path) -> None:
    """Make a file that says it is a journal, and of no version."""
    foreign(path)
    run(path, f"PRAGMA application_id = {int.from_bytes(b'lips', 'big')}")


def socket_of(path: Path) -> None:
    """Make a socket."""
    with closing(socket.socket(socket.AF_UNIX)) as made, chdir(path.parent):
        made.bind(path.name)


NO_JOURNAL = "is no journal. Check the path; a new journal is made only where there is no file"
NO_FILE = "can be no journal, for it is no regular file"
CUT_OFF = "is empty. If it was a journal, it was cut off"


NO_JOURNALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "foreign": (foreign, NO_JOURNAL),
    "foreign with a log": (foreign_with_a_log, NO_JOURNAL),
    "unsigned": (unsigned, NO_JOURNAL),
    "newer": (of_tomorrow, "version 3, and this release reads version 2. Go on with the release"),
    "text": (text, NO_JOURNAL),
    "a letter": (lambda path: path.write_bytes(b"x"), NO_JOURNAL),
    "a beginning": (lambda path: path.write_bytes(b"SQLite format 3\0"), NO_JOURNAL),
    "zeros": (lambda path: path.write_bytes(bytes(8192)), NO_JOURNAL),
    "empty": (Path.touch, CUT_OFF),
    "folder": (Path.mkdir, NO_FILE),
    "fifo": (os.mkfifo, NO_FILE),
    "socket": (socket_of, NO_FILE),
    "null": (lambda path: path.symlink_to("/dev/null"), NO_FILE),
    "zero": (lambda path: path.symlink_to("/dev/zero"), NO_FILE),
    "link to a folder": (lambda path: path.symlink_to("."), NO_FILE),
}


@pytest.mark.parametrize(("make", "words"), NO_JOURNALS.values(), ids=NO_JOURNALS)
def test_what_is_no_journal_is_refused_and_left_alone(
    tmp_path: Path, path: Path, make: Callable[[Path], object], words: str
) -> None:
    """Neither owner nor reader takes it for one, no byte of it changes, and it can be put right."""
    make(path)
    before = path.read_bytes() if path.is_file() else None
    beside = {*tmp_path.iterdir()}
    for kind in (Journal, JournalView):
        with pytest.raises(JournalError, match=words):
            kind.open(path)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert {*tmp_path.iterdir()} - beside <= {tmp_path / "j.sqlite.lock"}
    assert not Path("/dev/null.lock").exists()
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()
    Journal.open(path).close()  # what was refused has kept no lock


def test_a_journal_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    """Who only wants to read makes no file."""
    with pytest.raises(JournalError, match=r"there is no journal at .*j.sqlite. Check the path"):
        JournalView.open(tmp_path / "j.sqlite")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["folder/j.sqlite", "circle", "nu\0ll", "n" * 300])
def test_where_no_file_can_be_there_is_no_journal(tmp_path: Path, name: str) -> None:
    """Whatever the path is, the answer is in words."""
    (tmp_path / "circle").symlink_to("circle")
    for kind in (Journal, JournalView):
        with pytest.raises(JournalError, match=r"Give a|Check the path"):
            kind.open(tmp_path / name)
    assert {item.name for item in tmp_path.iterdir()} <= {"circle", "circle.lock"}


def test_strange_names_are_names(tmp_path: Path) -> None:
    """A name that means something in a URI, or to SQLite, is a file's name here."""
    for name in ("a?mode=ro#b%20.sqlite", ":memory:"):
        Journal.open(tmp_path / name).close()
        assert (tmp_path / name).is_file()


def test_one_owner_whatever_the_name(tmp_path: Path) -> None:
    """A link to a journal is that journal; a second owner in one process is one too many."""
    path, link = tmp_path / "j.sqlite", tmp_path / "link"
    link.symlink_to(path)
    with (
        Journal.open(path),
        pytest.raises(JournalError, match=f"in use by process {os.getpid()}. Wait"),
    ):
        Journal.open(link)
    Journal.open(link).close()


def inherited_lock(journal: Path | str) -> int:
    """Return a handle of a journal's lock, as a fork inherits it."""
    lock = Path(f"{journal}.lock")
    handles = Path("/proc/self/fd").iterdir()
    return os.dup(next(int(each.name) for each in handles if each.resolve() == lock))


def test_a_forked_worker_keeps_no_lock(tmp_path: Path) -> None:
    """Closing a journal frees it, though a child forked meanwhile has the handle, too."""
    journal = Journal.open(tmp_path / "j.sqlite")
    inherited = inherited_lock(journal.path)
    journal.close()
    Journal.open(tmp_path / "j.sqlite").close()
    os.close(inherited)


def test_a_forked_worker_frees_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child closes stays its parent's."""
    journal = Journal.open(tmp_path / "j.sqlite")
    parents = inherited_lock(journal.path)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        journal.close()
    with pytest.raises(JournalError, match="is in use by"):
        Journal.open(tmp_path / "j.sqlite")
    os.close(parents)
    Journal.open(tmp_path / "j.sqlite").close()


def test_a_file_system_without_locks_is_named_as_the_reason(tmp_path: Path) -> None:
    """What cannot be owned is not said to have an owner."""
    error = OSError(errno.ENOLCK, "No locks available")
    words = lock_failure(tmp_path / "j.sqlite", error, "another process")
    assert words.endswith("No locks available). Give a path on a local disk.")


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    """Every commit survives a power cut (2 is FULL), and is in the file itself (no log)."""
    with Journal.open(tmp_path / "j.sqlite") as journal:
        connection = connection_of(journal)
        facts = ("synchronous", "fullfsync", "journal_mode")
        found = [connection.execute(f"PRAGMA {fact}").fetchone()[0] for fact in facts]
    assert found == [2, 1, "persist"]


def test_a_program_that_keeps_writing_is_named_as_the_reason(path: Path) -> None:
    """The owner waits as long as asked for another writer, then says so; nothing is stored."""
    with Journal.open(path, patience=0.01) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match=r"is locked\). Close the program that is"):
                journal.record_intents([(0, request(0))])
        assert entries(journal) == []
        assert len(journal.record_intents([(0, request(0))])) == 1


def test_a_full_disk_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    """Intents that do not fit are not stored, not even some of them; the journal goes on."""
    with Journal.open(tmp_path / "j.sqlite") as journal:
        journal.record_intents([(0, request(0))])
        connection = connection_of(journal)
        connection.execute("PRAGMA max_page_count = 10")
        many = [(number, request(number)) for number in range(1, 100)]
        with pytest.raises(JournalError, match=r"is full\). Make room on the disk, then run"):
            journal.record_intents(many)
        assert len(entries(journal)) == 1
        connection.execute("PRAGMA max_page_count = 1000")
        assert len(journal.record_intents(many)) == len(many)


def test_other_troubles_of_the_file_are_told_too(path: Path) -> None:
    """Whatever SQLite says is passed on as ours."""
    with Journal.open(path) as journal:
        run(path, "DROP TABLE jobs")
        with pytest.raises(JournalError, match=r"no such table: \S*jobs\). What was recorded"):
            entries(journal)


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    """Any thread may close it; twice is harmless; using what is closed is an error in words."""
    journal = Journal.open(tmp_path / "j.sqlite")
    journal.record_intents([(0, request(0))])
    thread = threading.Thread(target=journal.close)
    thread.start()
    thread.join()
    journal.close()
    with pytest.raises(JournalError, match="closed database"):
        journal.match([request(0)])
    Journal.open(tmp_path / "j.sqlite").close()


def test_a_view_changes_nothing(path: Path) -> None:
    """A reader beside the owner sees each commit, and cannot write."""
    with Journal.open(path) as journal, JournalView.open(path) as view:
        assert view.length == 0
        journal.record_intents([(4, request(4))])
        assert (view.length, view.counts()[JobState.SUBMITTING]) == (5, 1)
        record(journal, [(4, job("g4"))])
        assert (view.counts()[JobState.SUBMITTING], view.counts()[JobState.ACCEPTED]) == (0, 1)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection_of(view).execute("DELETE FROM jobs")
