"""Fixtures of the tests of many jobs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bulk.jobs import address_of
from tests.bulk.runs import Runs, opened
from tests.servers import PostgresServer


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Give the path of a journal that is not there yet."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a journal with a short name that is not there yet."""
    return tmp_path / "j.sqlite"


@pytest.fixture(scope="session", params=["file", "postgres"])
def _journal_server(request: pytest.FixtureRequest) -> PostgresServer | None:
    """Give what a journal is kept by: nothing, then a server."""
    if request.param == "file":
        return None
    server: PostgresServer = request.getfixturevalue("_postgres_server")
    return server


@pytest.fixture
def place(_journal_server: PostgresServer | None, path: Path) -> Path | str:
    """Give the place of a journal that is not there yet: a path, then an address."""
    return path if _journal_server is None else address_of(_journal_server)


@pytest.fixture
async def runs(journal: Path) -> AsyncIterator[Runs]:
    """Give a client of a sandbox in memory, and a journal for its runs."""
    async with opened() as (client, sandbox, _):
        yield Runs(client, sandbox, journal)
