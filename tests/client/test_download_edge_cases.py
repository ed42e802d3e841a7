"""Results from odd media hosts: broken off, changed, endless, elsewhere, or not at all."""

import resource
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    ConnectionLostError,
    DownloadError,
    Generation,
    LipsyncError,
    RetryPolicy,
    Status,
)
from tests.client.connections import cancel_when, opened
from tests.client.hosts import Answer, Host, hosting
from tests.client.media_world import names_in

# So much that most of a half has been read when its end breaks off.
WHOLE = bytes(range(256)) * 8192
HALF = len(WHOLE) // 2
TAG = {"ETag": '"v1"', "Content-Type": "video/mp4"}


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    """Give a client whose own service works."""
    async with opened("sockets") as (client, _):
        yield client


def job_at(url: str, **fields: Any) -> Generation:
    """Return a COMPLETED job whose result is at an address."""
    return Generation(id="job-1", status=Status.COMPLETED, output_url=url, **fields)


async def fetched(client: AsyncClient, host: Host, folder: Path) -> Path:
    """Download what the host has as the result of a job."""
    return await client.generations.download(job_at(f"{host.url}/clip.mp4"), folder)


BROKEN = Answer(WHOLE[:HALF], headers=TAG, length=len(WHOLE))


async def test_unannounced_length(client: AsyncClient, tmp_path: Path) -> None:
    """A body without a length ends where the connection does."""
    async with hosting(Answer(WHOLE, length=-1)) as host:
        path = await fetched(client, host, tmp_path)
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(Answer(b"", headers=TAG), DownloadError, id="empty"),
        pytest.param(Answer(b"", length=-1), ConnectionLostError, id="empty without length"),
        pytest.param(BROKEN, ConnectionLostError, id="always broken off"),
        pytest.param(Answer(b"<html>" * 50_000, 400), DownloadError, id="long error page"),
        pytest.param(Answer(b"", 302), DownloadError, id="pointer to nowhere"),
        pytest.param(Answer(b"", 302, {"Location": "http://[bad"}), DownloadError, id="bad url"),
        pytest.param(Answer(b"", 302, {"Location": "ftp://h/x"}), DownloadError, id="no web"),
        pytest.param(Answer(b"", 302, {"Location": "/again"}), DownloadError, id="circle"),
        pytest.param(Answer(raw=b"no HTTP\r\n\r\n"), ConnectionLostError, id="no HTTP"),
    ],
)
async def test_nothing_is_left_of_a_failure(
    client: AsyncClient, tmp_path: Path, answer: Answer, error: type[Exception]
) -> None:
    """A result that cannot be had is an error with the job; no file and no part stays."""
    hasty = client.with_options(retry=RetryPolicy(attempts=2, first_pause=0.001))
    async with hosting(answer) as host:
        with pytest.raises(error) as caught:
            await fetched(hasty, host, tmp_path)
    assert type(caught.value) is error
    assert getattr(caught.value, "generation").id == "job-1"  # noqa: B009 - of many classes
    assert names_in(tmp_path) == []


async def test_redirects_are_followed_without_the_key(client: AsyncClient, tmp_path: Path) -> None:
    """Pointers, relative or to another host, are followed; no one sees the key."""
    async with hosting(Answer(WHOLE)) as second:
        pointers = [
            Answer(b"", 302, {"Location": "/moved?a=%2Fb"}),
            Answer(b"", 307, {"Location": f"{second.url}/there.mp4"}),
        ]
        async with hosting(*pointers) as first:
            path = await fetched(client, first, tmp_path)
    assert path.read_bytes() == WHOLE
    arrivals = first.arrivals + second.arrivals
    assert [each.target for each in arrivals] == ["/clip.mp4", "/moved?a=%2Fb", "/there.mp4"]
    assert [each for each in arrivals if "x-api-key" in each.headers] == []


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 402, 403, 404, 409, 410, 416, 418])
async def test_answers_without_a_body(client: AsyncClient, tmp_path: Path, status: int) -> None:
    """However many of them have come in a process, the next one is read to its end as well."""
    async with hosting(Answer(status=status)) as host:
        for _ in range(3):
            with pytest.raises(LipsyncError):
                await fetched(client, host, tmp_path)
    assert names_in(tmp_path) == []


async def test_cancelled(client: AsyncClient, tmp_path: Path) -> None:
    """Cancelling in the middle leaves neither file nor part, and the client usable."""
    async with hosting(attrs.evolve(BROKEN, hangs=True), Answer(WHOLE)) as host:
        await cancel_when(host.has_answered.is_set, partial(fetched, client, host, tmp_path))
        assert names_in(tmp_path) == []
        path = await fetched(client, host, tmp_path)
    assert path.read_bytes() == WHOLE


@pytest.fixture
def small_disk() -> Iterator[int]:
    """Let no file grow beyond two MiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = 2 * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_full_disk(client: AsyncClient, tmp_path: Path, small_disk: int) -> None:
    """A disk that takes no more is a `DownloadError`; what had come is removed."""
    async with hosting(Answer(bytes(small_disk + 1024))) as host:
        with pytest.raises(DownloadError, match="it cannot be written"):
            await fetched(client, host, tmp_path)
    assert names_in(tmp_path) == []
