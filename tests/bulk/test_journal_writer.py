"""What is written together, and who learns of it."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import JournalError, LipsyncError
from lipsync_async._bulk.journal import Journal, JournalWriter, NullJournal, in_thread
from lipsync_async._bulk.results import Job, JobUpdate
from tests.bulk.jobs import connection_of, entries, job, known, request


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open a journal."""
    with Journal.open(tmp_path / "journal.sqlite") as opened:
        yield opened


@pytest.fixture
def commits(journal: Journal) -> Callable[[], int]:
    """Count the journal's commits."""
    statements: list[str] = []
    connection_of(journal).set_trace_callback(statements.append)
    return lambda: statements.count("COMMIT")


async def intended_at_once(writer: JournalWriter | NullJournal, many: int) -> list[object]:
    """Record so many intents in one turn of the loop; return what came of each, errors included."""
    intents = (writer.record_intent(number, request(number)) for number in range(many))
    return await asyncio.gather(*intents, return_exceptions=True)


async def test_those_of_one_turn_share_a_transaction(
    journal: Journal, commits: Callable[[], int]
) -> None:
    """Twenty records cost one commit, each gets its own key or place, and all are stored."""
    writer = JournalWriter(journal)
    keys = await intended_at_once(writer, 20)
    assert commits() == 1
    assert len(set(keys)) == 20
    assert [known(journal, index).idempotency_key for index in range(20)] == keys
    jobs = [Job(index, request(index)) for index in range(20)]
    await writer.record_updates([(each, job(f"g{each.index}", "COMPLETED")) for each in jobs])
    before = commits()
    paths = [Path(f"{index}.mp4") for index in range(20)]
    places = zip(jobs, paths, strict=True)
    await asyncio.gather(*(writer.record_updates([place]) for place in places))
    assert commits() == before + 1
    found = [known(journal, index).download_path for index in range(20)]
    assert found == [path.absolute() for path in paths]


async def test_one_after_another_is_written_one_by_one(
    journal: Journal, commits: Callable[[], int]
) -> None:
    """A caller goes on only when its own record is on the disk."""
    writer = JournalWriter(journal)
    for index in range(3):
        key = await writer.record_intent(index, request(index))
        assert known(journal, index).idempotency_key == key
    assert commits() == 3


async def test_an_error_reaches_everybody_on_the_page(journal: Journal) -> None:
    """Whose record was not written must not believe that it was."""
    writer = JournalWriter(journal)
    journal.close()
    found = await intended_at_once(writer, 3)
    assert [type(each) for each in found] == [JournalError] * 3


async def test_who_is_cancelled_is_written_with_the_others(journal: Journal) -> None:
    """Neither the task that writes for all nor one that waits takes a record away."""
    writer = JournalWriter(journal)
    keys: list[str] = []

    async def intend(index: int) -> None:
        keys.append(await writer.record_intent(index, request(index)))

    async def be_cancelled(index: int) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await intend(index)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(be_cancelled, 0)
        tasks.start_soon(intend, 1)
        tasks.start_soon(be_cancelled, 2)
    assert len(keys) == 1
    assert len(entries(journal)) == 3
    await intend(3)
    assert len(keys) == 2


async def test_what_comes_while_one_writes_is_written_together(
    journal: Journal, commits: Callable[[], int]
) -> None:
    """While another program holds the file the loop goes on, and all costs one more commit."""
    writer = JournalWriter(journal)
    kept: list[str] = []

    async def intend(index: int) -> None:
        kept.append(await writer.record_intent(index, request(index)))

    async with anyio.create_task_group() as tasks:
        with closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for index in range(30):
                tasks.start_soon(intend, index)
                for _ in range(10):  # turns that would not come if the loop waited
                    await checkpoint()
            assert kept == []
            other.execute("ROLLBACK")
    assert commits() == 2
    assert (len(kept), len(entries(journal))) == (30, 30)


async def test_one_try_is_for_all_that_wait(journal: Journal) -> None:
    """A server that does not answer costs its timeout once, not once for each download."""
    tries = []

    @contextmanager
    def hold() -> Iterator[None]:
        tries.append(1)
        yield

    writer, jobs = JournalWriter(journal, hold), [Job(index, request(index)) for index in range(20)]
    for each in jobs:
        each.key = await writer.record_intent(each.index, each.request)
    assert isinstance(journal.path, Path)
    away = journal.path.rename(journal.path.with_name("away"))
    tries.clear()
    updates = [[(each, job(f"g{each.index}"))] for each in jobs]
    found = await asyncio.gather(*map(writer.record_updates, updates), return_exceptions=True)
    assert [type(each) for each in found] == [JournalError] * 20
    assert len(tries) == 1
    away.rename(journal.path)
    await writer.record_updates([])
    assert [entry.generation_id for entry in entries(journal)] == [f"g{n}" for n in range(20)]


async def test_news_that_cannot_be_written_are_written_later(journal: Journal) -> None:
    """A disk that is full for a while costs no id."""
    writer, jobs = JournalWriter(journal), [Job(index, request(index)) for index in range(4)]
    for each in jobs:
        each.key = await writer.record_intent(each.index, each.request)
    assert isinstance(journal.path, Path)
    away = journal.path.rename(journal.path.with_name("away"))
    for index in (0, 1):
        with pytest.raises(JournalError, match="was moved, removed or replaced"):
            await writer.record_updates([(jobs[index], job(f"g{index}"))])
    assert [writer.has_unwritten] == [True]
    away.rename(journal.path)
    await writer.record_updates([(jobs[2], job("g2")), (jobs[3], LipsyncError("refused"))])
    assert [writer.has_unwritten] == [False]
    assert [each.generation_id for each in entries(journal)] == ["g0", "g1", "g2", None]


async def test_news_that_contradict_are_told_once(journal: Journal) -> None:
    """The others are written all the same, and nothing is tried for ever."""
    writer, jobs = JournalWriter(journal), [Job(n, request(n), key="k") for n in range(3)]
    await writer.record_intent(0, jobs[0].request)
    news: list[tuple[Job, JobUpdate]] = [(jobs[1], job("g1")), (jobs[0], job("g0"))]
    news.append((jobs[2], LipsyncError("refused")))
    with pytest.raises(JournalError, match="request 1 was never recorded") as told:
        await writer.record_updates(news)
    assert ["request 2 was never recorded" in note for note in told.value.__notes__] == [True]
    assert [writer.has_unwritten] == [False]
    await writer.record_updates([])
    assert [each.generation_id for each in entries(journal)] == ["g0"]


async def test_what_was_ordered_is_summed_up(journal: Journal) -> None:
    """Every try that may have become a job, at the price that was estimated for it."""
    writer = JournalWriter(journal)
    for index, cost in enumerate([0.5, 0.25, None, 1.0]):
        await writer.record_intent(index, request(index), cost)
    await writer.record_updates([(Job(3, request(3), key="k"), LipsyncError("refused"))])
    assert await writer.spending() == (3, 0.75, 1)


async def test_without_a_journal() -> None:
    """Keys are minted, nothing is known of the past, and nothing is written anywhere."""
    writer = NullJournal()
    keys = await intended_at_once(writer, 3)
    assert len({UUID(str(key)) for key in keys}) == 3
    first = Job(0, request(0))
    await writer.record_updates([(first, job("job-0")), (first, Path("0.mp4"))])
    assert await writer.spending() is None
    assert await writer.match([request(0), request(1)], 0) == [None, None]
    assert not writer.keeps_records


async def test_what_was_never_intended_is_not_noted(journal: Journal) -> None:
    """A request that was refused before its intent was noted can be corrected in the input."""
    writer = JournalWriter(journal)
    refused, sent = Job(0, request(0)), Job(1, request(1))
    sent.key = await writer.record_intent(1, request(1))
    await writer.record_updates(
        [(refused, LipsyncError("too dear")), (sent, LipsyncError("refused"))]
    )
    assert writer.keeps_records
    (entry,) = entries(journal)
    assert (entry.position, entry.error_message) == (1, "refused")
    found = await writer.match([request(0), request(1)], 0)
    assert [each is None for each in found] == [True, False]


@pytest.mark.parametrize("cancels", [1, 2, 5])
@pytest.mark.parametrize("turn", range(8))
async def test_the_first_on_a_page_is_cancelled(journal: Journal, turn: int, cancels: int) -> None:
    """The others, and later ones, get what they wait for, whenever asyncio cancels it."""
    writer, is_busy = JournalWriter(journal), threading.Event()

    async def keep_busy() -> None:
        async with writer.turn():
            await in_thread(nullcontext, is_busy.wait, 10)

    busy = asyncio.create_task(keep_busy())
    await checkpoint()
    first, second, third = (
        asyncio.create_task(writer.record_intent(number, request(number))) for number in range(3)
    )
    for _ in range(turn):
        await checkpoint()
    for _ in range(cancels):
        first.cancel()
        await checkpoint()
    is_busy.set()
    with anyio.fail_after(10):
        await asyncio.wait([busy, first, second, third])
        later = await writer.record_intent(3, request(3))
    assert first.cancelled()
    keys = [entry.idempotency_key for entry in entries(journal)]
    assert [second.result(), third.result(), later] == keys[-3:]
