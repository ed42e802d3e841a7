"""Fixtures of the tests of many jobs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bulk.runs import Runs, opened


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Give the path of a journal that is not there yet."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a journal with a short name that is not there yet."""
    return tmp_path / "j.sqlite"


@pytest.fixture
async def runs(journal: Path) -> AsyncIterator[Runs]:
    """Give a client of a sandbox in memory, and a journal for its runs."""
    async with opened() as (client, sandbox, _):
        yield Runs(client, sandbox, journal)
