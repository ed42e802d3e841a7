"""A disk that is full and a journal that is gone: one clear error, no order without a record."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from lipsync_async import JournalError, Limits
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async._transport.memory import VirtualClock
from lipsync_async.sandbox import Sandbox
from tests.client.doors import connect
from tests.fleet.campaigns import opened, requests

pytestmark = pytest.mark.anyio

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
    with JournalView.open(journal) as view:
        return {entry.request["outputFileName"] for entry in view.entries()}


def ordered(sandbox: Sandbox) -> list[str]:
    """Return the names of all that was ever ordered."""
    return sorted(job.order["outputFileName"] for job in sandbox.jobs)


@pytest.mark.parametrize("room", [25_000, 40_000, 60_000, 80_000])
async def test_the_disk_fills_up(tmp_path: Path, room: int) -> None:
    """The run ends by one error, nothing was ordered in secret, and with room it goes on."""
    journal = tmp_path / "j.sqlite"
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
    shutil.copy(journal, journal.with_name("copy"))
    journal.with_name("copy").replace(journal)


@pytest.mark.parametrize("harm", [Path.unlink, replace], ids=["removed", "replaced"])
async def test_the_journal_is_gone(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """SQLite would write on into a file that nobody finds; the run orders nothing more."""
    journal = tmp_path / "j.sqlite"
    async with opened(FEW) as (client, sandbox, _):
        async with client.generations.run_many(requests(MANY), journal=journal) as outcomes:
            await anext(outcomes)
            harm(journal)
            orders = sandbox.jobs.created
            with pytest.raises(JournalError, match="was moved, removed or replaced"):
                [outcome async for outcome in outcomes]
        # What was recorded before may have been on its way.
        assert sandbox.jobs.created <= orders + 5


async def test_a_journal_is_put_back(tmp_path: Path) -> None:
    """What was moved away in the middle of a run is whole, and good for going on."""
    journal = tmp_path / "j.sqlite"
    async with (
        Sandbox(render=False, progression="time(60)", clock=VirtualClock()) as sandbox,
        connect(sandbox, limits=FEW) as client,
    ):
        async with client.generations.run_many(requests(MANY), journal=journal) as outcomes:
            while sandbox.jobs.created < 5:
                await anyio.lowlevel.checkpoint()
            away = journal.rename(tmp_path / "away")
            with pytest.raises(JournalError):
                [outcome async for outcome in outcomes]
        away.rename(journal)
        found = await client.generations.run_all(requests(MANY), journal=journal)
        assert [outcome.error for outcome in found] == [None] * MANY
        assert ordered(sandbox) == sorted({f"take-{number}" for number in range(MANY)})
