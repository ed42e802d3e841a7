"""The journal against `kill -9`, second owners and readers, with real processes."""

from pathlib import Path

import pytest

from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async.errors import JournalError
from tests.bulk import journal_process
from tests.bulk.jobs import entries, request

pytestmark = pytest.mark.usefixtures("interpreter")

COUNT = 60


def known(journal: Path) -> set[tuple[str, int, str]]:
    """Return all that a journal holds, as its process would have told it."""
    told: set[tuple[str, int, str]] = set()
    for entry in entries(journal):
        told.add(("key", entry.position, entry.idempotency_key))
        if entry.generation_id is not None:
            told.add(("PENDING", entry.position, entry.generation_id))
        if entry.state is JobState.COMPLETED:
            told.add(("COMPLETED", entry.position, str(entry.generation_id)))
        if entry.download_path is not None:
            told.add(("download", entry.position, entry.download_path.name))
    return told


@pytest.mark.parametrize("kills", [(0, 3, 25, 40, 100), (1, 14, 15, 60, 28), (29, 7, 2, 55, 80)])
def test_a_kill_loses_nothing_that_was_relied_on(path: Path, kills: tuple[int, ...]) -> None:
    """After each of many kills, the journal holds all that was told, and no second of a kind."""
    Journal.open(path).close()  # a process killed before it had begun leaves nothing to read
    told: set[tuple[str, int, str]] = set()
    for lines in kills:
        told |= {*journal_process.told_until_killed(path, COUNT, lines)}
        assert told - known(path) == set()
    journal_process.write(str(path), COUNT)
    whole = known(path)
    assert told - whole == set()
    assert len(whole) == 4 * COUNT  # one key, one job, one end and one file for each request


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "closed"])
def test_a_second_owner_is_refused_at_once(path: Path, is_killed: bool) -> None:  # noqa: FBT001
    """While a process owns the journal no other can, but all can read; its end frees it."""
    with journal_process.start("hold", path) as process:
        key = process.stdout.readline().split()[2]
        with pytest.raises(JournalError, match=f"in use by process {process.pid}. Wait"):
            Journal.open(path, patience=0)
        assert [entry.idempotency_key for entry in entries(path)] == [key]
        if is_killed:
            process.kill()
        process.stdin.close()
        process.stdout.read()
    with Journal.open(path, patience=0) as journal:
        assert journal.record_intents([(0, request(0))]) == [key]
