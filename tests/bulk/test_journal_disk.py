"""A disk that is full and a journal that is gone: one clear error, no order without a record."""

import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from lipsync_async import AsyncClient, JournalError, JournalView, Limits, Outcome, Response
from lipsync_async._bulk.journal import Journal
from lipsync_async.sandbox import Sandbox
from tests.bulk.jobs import entries, job, record, request
from tests.bulk.runs import opened, requests

FEW = Limits(creates_per_minute=None, requests_per_minute=None, concurrent_generations=5)
MANY = 60


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Let the system refuse to write further into any file, as a full disk does."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def recorded(journal: Path) -> set[str]:
    """Return the names of the requests that the journal knows."""
    return {entry.request["outputFileName"] for entry in entries(journal)}


def ordered(sandbox: Sandbox) -> list[str]:
    """Return the names of all that was ever ordered."""
    return sorted(job.body["outputFileName"] for job in sandbox.jobs)


@pytest.mark.parametrize("room", [25_000, 40_000, 60_000, 80_000])
async def test_the_disk_fills_up(journal: Path, room: int) -> None:
    """The run ends by one error, nothing was ordered in secret, and with room it goes on."""
    async with opened(FEW) as (client, sandbox, _):
        with (
            no_file_grows_beyond(room),
            pytest.raises(JournalError, match=r"cannot be used .*run again"),
        ):
            await client.generations.run_all(requests(MANY), journal=journal)
        assert 0 < sandbox.jobs.created < MANY
        assert {*ordered(sandbox)} - recorded(journal) == set()
        found = await client.generations.run_all(requests(MANY), journal=journal)
        assert [outcome.error for outcome in found] == [None] * MANY
        assert ordered(sandbox) == sorted({f"take-{number}" for number in range(MANY)})


async def test_the_disk_is_full_from_the_start(tmp_path: Path) -> None:
    """Not even the owner's number fits: nothing is sent, and the error is the journal's."""
    async with opened(FEW) as (client, sandbox, _):
        with no_file_grows_beyond(0), pytest.raises(JournalError, match="cannot be used"):
            await client.generations.run_all(requests(MANY), journal=tmp_path / "j.sqlite")
        assert len(sandbox.requests) == 0


def replace(journal: Path) -> None:
    """Put a copy in the place of a file."""
    shutil.copy(journal, journal.with_name("away"))
    journal.with_name("away").replace(journal)


HARMS: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "replaced": replace,
    "moved": lambda journal: journal.rename(journal.with_name("away")),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_the_journal_is_gone(journal: Path, harm: str) -> None:
    """The run creates nothing more; what was moved away is whole, and good for going on."""
    async with opened(FEW) as (client, sandbox, _):
        async with client.generations.run_many(requests(MANY), journal=journal) as outcomes:
            await anext(outcomes)
            HARMS[harm](journal)
            orders = sandbox.jobs.created
            with pytest.raises(JournalError, match="was moved, removed or replaced"):
                [outcome async for outcome in outcomes]
        # What was recorded before may have been on its way.
        assert sandbox.jobs.created <= orders + 5
        if harm == "moved":
            journal.with_name("away").rename(journal)
            found = await client.generations.run_all(requests(MANY), journal=journal)
            assert [outcome.error for outcome in found] == [None] * MANY
            assert ordered(sandbox) == sorted({f"take-{number}" for number in range(MANY)})
        assert not journal.with_name("away").exists()


async def test_a_result_that_cannot_be_recorded(journal: Path, tmp_path: Path) -> None:
    """It is saved all the same, and its outcome has the error and the file."""
    found: list[Outcome] = []

    def move(response: Response) -> None:
        if response.method == "GET" and not journal.with_name("away").exists():
            HARMS["moved"](journal)

    async def see(client: AsyncClient) -> None:
        run = client.generations.run_many(
            requests(5), journal=journal, download_to=tmp_path / "out"
        )
        async with run as outcomes:
            async for outcome in outcomes:
                found.append(outcome)  # noqa: PERF401 - it raises at its end

    async with opened(client={"on_response": move}) as (client, sandbox, _):
        with pytest.raises(JournalError, match="was moved, removed or replaced"):
            await see(client)
    saved = [outcome for outcome in found if outcome.generation is not None]
    assert len(saved) == sandbox.jobs.created
    for outcome in saved:
        assert isinstance(outcome.error, JournalError)
        assert outcome.path is not None
        assert outcome.path.stat().st_size > 0


# What another program does to a journal that is in use.
MEDDLING = [
    *("PRAGMA journal_mode = WAL", "PRAGMA journal_mode = TRUNCATE"),
    *("PRAGMA journal_mode = MEMORY", "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA user_version = 3"),
    *("PRAGMA user_version = 0", "PRAGMA application_id = 1", "PRAGMA auto_vacuum = FULL"),
    *("VACUUM", "REINDEX", "ANALYZE", "DELETE FROM journal", "DELETE FROM jobs"),
    *("DELETE FROM jobs WHERE position = 1", "DROP TABLE journal", "DROP TABLE jobs"),
    *("DROP TABLE tries", "ALTER TABLE jobs RENAME COLUMN status TO state_of_job"),
    *("ALTER TABLE jobs ADD COLUMN note TEXT", "UPDATE journal SET owner = 'another'"),
    *("UPDATE journal SET secret = 'another'", "UPDATE journal SET rows = 'many'"),
    *("UPDATE journal SET total = x'00'", "UPDATE jobs SET checksum = 'none'"),
    *("UPDATE jobs SET idempotency_key = 'another'", "UPDATE jobs SET position = position + 7"),
    "CREATE TABLE notes (text)",
    "CREATE TRIGGER still BEFORE UPDATE ON jobs BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER gone AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END",
]


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("words", MEDDLING)
def test_another_program_meddles(tmp_path: Path, words: str, *, is_open: bool) -> None:
    """All that was noted is in the file by its one name, or what is wrong is said."""
    path, copy = tmp_path / "j.sqlite", tmp_path / "copy.sqlite"
    noted: dict[int, str] = {}
    with ExitStack() as stack, Journal.open(path, patience=0) as journal:
        note(journal, 0, noted)
        other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        other.execute(words).fetchall()
        if is_open:
            other.execute("SELECT count(*) FROM sqlite_master").fetchall()
        else:
            other.close()
        with suppress(JournalError):
            for number in (1, 2):
                note(journal, number, noted)
        shutil.copy(path, copy)
    with suppress(JournalError), JournalView.open(copy) as view:
        known = {entry.position: entry.idempotency_key for entry in view.entries()}
        assert noted.items() <= known.items()


def test_a_log_that_is_being_read(tmp_path: Path) -> None:
    """A program that keeps a log beside the journal is to be closed first; then all goes on."""
    path, copy = tmp_path / "j.sqlite", tmp_path / "copy.sqlite"
    noted: dict[int, str] = {}
    with Journal.open(path, patience=0) as journal:
        note(journal, 0, noted)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode = WAL").fetchall()
            other.execute("BEGIN")
            other.execute("SELECT * FROM jobs").fetchall()
            with pytest.raises(JournalError, match=r"keeps a log .* Close that program, then run"):
                note(journal, 1, noted)
        note(journal, 1, noted)
        shutil.copy(path, copy)
    assert {entry.position: entry.idempotency_key for entry in entries(copy)} == noted
    assert [*noted] == [0, 1]


def note(journal: Journal, number: int, noted: dict[int, str]) -> None:
    """Note a request and its job, and that the request was noted."""
    (key,) = journal.record_intents([(number, request(number))])
    noted[number] = key
    record(journal, [(number, job(f"g{number}"))])
