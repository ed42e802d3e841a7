"""Journals of the first version, which had a log beside them: read, and gone on with."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async._models.request import Audio, Video
from lipsync_async.errors import InvalidRequestError, JournalError
from tests.bulk.jobs import entries, job, known, record, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As the first version made it, to the letter.
TABLE = """
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('intended', 'doubtful', 'refused', 'accepted', 'completed', 'failed')),
    fingerprint TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    generation_id TEXT,
    status TEXT,
    download_path TEXT,
    error_class TEXT,
    error_code TEXT,
    error_message TEXT,
    intended_at TEXT NOT NULL,
    accepted_at TEXT,
    ended_at TEXT,
    updated_at TEXT NOT NULL,
    request_json TEXT NOT NULL,
    generation_json TEXT,
    CHECK ((generation_id IS NOT NULL) = (state IN ('accepted', 'completed', 'failed')))
)
"""  # noqa: E501
ROW = "INSERT INTO jobs VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?)"
MOMENT = "2026-01-31T12:00:00.000000+00:00"
STATES = ("intended", "doubtful", "refused", "accepted", "completed", "failed")
STATUSES = {"accepted": "PROCESSING", "completed": "COMPLETED", "failed": "FAILED"}


def noted(number: int, **fields: Any) -> str:
    """Return a request as the first version noted it."""
    body = {
        "input": [
            {"type": "video", "url": f"https://media.example/{number}.mp4"},
            {"type": "audio", "url": "https://media.example/a"},
        ],
        "model": "lipsync-2",
        **fields,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def row(number: int, document: str | None = None) -> tuple[object, ...]:
    """Return a row; each state comes in turn."""
    state = STATES[number % len(STATES)]
    status = STATUSES.get(state)
    has_ended = status in {"COMPLETED", "FAILED"}
    noted_as = noted(number) if document is None else document
    return (
        number,
        state,
        sha256(noted_as.encode()).hexdigest(),
        f"key-{number}",
        f"g{number}" if status else None,
        status,
        "/out/4.mp4" if state == "completed" else None,
        "GenerationFailedError" if state == "failed" else None,
        "No face" if state == "failed" else None,
        MOMENT,
        MOMENT if status else None,
        MOMENT if has_ended else None,
        MOMENT,
        noted_as,
        json.dumps({"id": f"g{number}", "status": status}) if status else None,
    )


@contextmanager
def written(path: Path, rows: int = 6) -> Iterator[sqlite3.Connection]:
    """Write a journal as the first version did, with a log beside it while it is open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(TABLE)
        connection.execute(f"PRAGMA application_id = {int.from_bytes(b'lips', 'big')}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("COMMIT")
        connection.executemany(ROW, [row(number) for number in range(rows)])
        yield connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a journal that was closed in good order."""
    path = tmp_path / "j.sqlite"
    with written(path):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["j.sqlite"]
    return path


def killed(folder: Path, rows: int = 6) -> Path:
    """Make a journal whose owner was killed: all of it is in the log."""
    with written(folder / "alive.sqlite", rows):
        for side in ("", "-wal"):
            shutil.copy(folder / f"alive.sqlite{side}", folder / f"killed.sqlite{side}")
    return folder / "killed.sqlite"


def facts(journal: Journal | JournalView) -> list[tuple[object, ...]]:
    """Return what a journal says of each request."""
    return [
        (each.position, each.state, each.idempotency_key, each.generation_id, each.tries, each.cost)
        for each in entries(journal)
    ]


EXPECTED = [
    (number, JobState(state), f"key-{number}", f"g{number}" if state in STATUSES else None, 1, None)
    for number, state in enumerate(STATES)
]


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_it_is_read_as_it_is(tmp_path: Path, path: Path, how: str) -> None:
    """A reader changes nothing of it, and leaves nothing beside it."""
    path = path if how == "closed" else killed(tmp_path)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    with JournalView.open(path) as view:
        assert facts(view) == EXPECTED
        assert view.length == 6
        assert view.counts() == dict.fromkeys(JobState, 1)
        view.export_csv(tmp_path / "j.csv")
        (tmp_path / "j.csv").unlink()
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_run_goes_on_with_it(tmp_path: Path, path: Path, how: str) -> None:
    """Keys, jobs and ends are kept, rows are known again, and nothing is left beside it."""
    path = path if how == "closed" else killed(tmp_path)
    asked = [request(number) for number in range(7)]
    with Journal.open(path) as journal:
        assert facts(journal) == EXPECTED
        found = journal.match(asked)
        assert [entry and entry.state for entry in found] == [*map(JobState, STATES), None]
        keys = journal.record_intents([(number, asked[number]) for number in (0, 1, 2, 6)])
        assert keys[:3] == ["key-0", "key-1", "key-2"]
        record(journal, [(0, job("g0")), (3, job("g3", "COMPLETED"))])
        assert journal.spending() == (7, 0.0, 7)
        with pytest.raises(InvalidRequestError, match="keep the order"):
            journal.match([asked[4]])
    with Journal.open(path, retry_failed=True) as journal:
        entry = journal.match(asked)[5]
        assert entry is None
        (key,) = journal.record_intents([(5, asked[5])])
        assert key != "key-5"
    tried = known(path, 5)
    assert (tried.tries, tried.state) == (2, JobState.SUBMITTING)
    sides = {item.name.partition("sqlite")[2] for item in tmp_path.iterdir()}
    assert sides == {"", ".lock"}


def test_names_are_given_to_rows_that_had_none(tmp_path: Path) -> None:
    """A list that gets names goes on where it was, and may be sorted from then on."""
    path = tmp_path / "j.sqlite"
    with written(path, 0) as connection:
        documents = [noted(number, outputFileName=f"take-{number}") for number in range(6)]
        connection.executemany(ROW, [row(*each) for each in enumerate(documents)])
    asked = [
        request(number, output_file_name=f"take-{number}", request_id=f"row {number}")
        for number in range(6)
    ]
    with Journal.open(path) as journal:
        assert [each and each.state for each in journal.match(asked)] == [*map(JobState, STATES)]
    with Journal.open(path) as journal:
        found = journal.match(asked[::-1])
        assert [each and each.state for each in found] == [*map(JobState, reversed(STATES))]
        assert [each and each.request_id for each in found] == [f"row {5 - n}" for n in range(6)]


def test_files_are_known_again(tmp_path: Path) -> None:
    """They were noted by path, size and time; what was sent may change."""
    path, clip = tmp_path / "j.sqlite", tmp_path / "clip.mp4"
    clip.write_bytes(b"take one")
    status = clip.stat()
    file = {"path": str(clip), "size": 8, "mtime_ns": status.st_mtime_ns}
    inputs = [{"type": "video", "file": file}, {"type": "audio", "url": "https://h/a"}]
    with written(path, 0) as connection:
        document = json.dumps({"input": inputs, "model": "lipsync-2"}, sort_keys=True)
        connection.executemany(ROW, [row(number, document) for number in (0, 4)])
    asked = request(0, input=[Video(file=clip), Audio("https://h/a")])
    with Journal.open(path) as journal:
        assert [each and each.state for each in journal.match([asked])] == ["submitting"]
        clip.write_bytes(b"take number two")
        assert [each and each.state for each in journal.match([asked], start=4)] == ["completed"]
        with pytest.raises(InvalidRequestError, match="has changed since"):
            journal.match([asked])


def test_a_part_of_it_is_refused(tmp_path: Path) -> None:
    """Moved by its one name after a kill it looks blank, and would be paid for once more."""
    path = killed(tmp_path)
    (tmp_path / "killed.sqlite-wal").rename(tmp_path / "log")
    for kind in (Journal, JournalView):
        with pytest.raises(JournalError, match="the rest is in a file of the same name with -wal"):
            kind.open(path)
    (tmp_path / "log").rename(tmp_path / "killed.sqlite-wal")
    with Journal.open(path) as journal:
        assert facts(journal) == EXPECTED


DAMAGES = [
    "UPDATE jobs SET intended_at = '2026-11-28T12:07:4' WHERE position = 1",
    "UPDATE jobs SET intended_at = 'soon' WHERE position = 1",
    "UPDATE jobs SET updated_at = '7' WHERE position = 1",
    "UPDATE jobs SET updated_at = x'ff' WHERE position = 1",
    "UPDATE jobs SET updated_at = '2026-11-28T12:00:00' WHERE position = 1",
    "UPDATE jobs SET attempts = 1.5 WHERE position = 1",
    "UPDATE jobs SET attempts = 'often' WHERE position = 1",
    "UPDATE jobs SET idempotency_key = x'00' WHERE position = 1",
    "UPDATE jobs SET fingerprint = x'03' WHERE position = 1",
    "UPDATE jobs SET status = x'03' WHERE position = 4",
    "UPDATE jobs SET accepted_at = x'03' WHERE position = 4",
    "UPDATE jobs SET ended_at = NULL WHERE position = 4",
    "UPDATE jobs SET request_json = substr(request_json, 1, 40) WHERE position = 1",
    "UPDATE jobs SET request_json = '[]' WHERE position = 1",
    "UPDATE jobs SET request_json = '' WHERE position = 1",
    "UPDATE jobs SET request_json = cast(x'ff' AS TEXT) WHERE position = 1",
    "UPDATE jobs SET request_json = replace(hex(zeroblob(50000)), '00', '[') WHERE position = 1",
    "UPDATE jobs SET generation_json = substr(generation_json, 2) WHERE position = 4",
    "UPDATE jobs SET generation_json = '3' WHERE position = 4",
    "UPDATE jobs SET generation_json = 'null' WHERE position = 4",
    "PRAGMA ignore_check_constraints = ON; UPDATE jobs SET state = 'lost' WHERE position = 1",
    "PRAGMA ignore_check_constraints = ON; UPDATE jobs SET state = 'accepted' WHERE position = 1",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_disk_has_changed_is_an_error_in_words(path: Path, damage: str) -> None:
    """Its rows had no checksums, but what cannot be read is never anything else than that."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in damage.split("; "):
            connection.execute(statement)
    with pytest.raises(JournalError), JournalView.open(path) as view:
        [entry.request and entry.generation for entry in view.entries()]
    with pytest.raises(JournalError):
        Journal.open(path)
    # It is left as it was, to be put right.
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_rows_that_a_page_has_lost_are_noticed(path: Path) -> None:
    """SQLite's own check sees that, for reader and owner."""
    lossy = bytearray(path.read_bytes())
    page = next(at for at in range(4096, len(lossy), 4096) if lossy[at] == 13)
    lossy[page + 4] = 1
    path.write_bytes(lossy)
    for kind in (Journal, JournalView):
        with pytest.raises(JournalError, match=r"is damaged \("):
            kind.open(path)


def test_a_reader_of_the_first_version_is_waited_for(path: Path) -> None:
    """While it looks, the file cannot be changed into one without a log; that is said."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM jobs").fetchone()
        with pytest.raises(JournalError, match="is locked"):
            Journal.open(path, patience=0.01)
        connection.execute("COMMIT")
    with Journal.open(path) as journal:
        assert facts(journal) == EXPECTED


def test_an_interrupted_change_of_version_changes_nothing(tmp_path: Path, path: Path) -> None:
    """All of it is one commit: what a full disk stops is as it was, and goes on later."""
    big = tmp_path / "big.sqlite"
    with written(big, 120):
        pass
    with closing(sqlite3.connect(big, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    shutil.copy(big, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("ALTER TABLE jobs RENAME TO jobs_of_the_first")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("UPDATE jobs_of_the_first SET attempts = 7")
        for side in ("", "-journal"):
            shutil.copy(f"{path}{side}", tmp_path / f"torn.sqlite{side}")
        connection.execute("ROLLBACK")
    with JournalView.open(tmp_path / "torn.sqlite") as view:
        assert sum(view.counts().values()) == 120
    with Journal.open(tmp_path / "torn.sqlite") as journal:
        assert {entry.attempts for entry in entries(journal)} == {1}
