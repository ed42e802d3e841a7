"""The servers by which processes share an account."""

from collections.abc import Iterator

import pytest

from tests.servers import Server, emptied


@pytest.fixture(scope="session", params=["redis", "postgres"])
def _server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(f"_{request.param}_server")
    return server


@pytest.fixture
def store(_server: Server) -> Iterator[Server]:
    """Give a server of each kind, without data."""
    with emptied(_server):
        yield _server
