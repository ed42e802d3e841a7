"""The jobs that run, and whose news count."""

import anyio
import pytest

from lipsync_async import AuthenticationError, NotFoundError, Response
from lipsync_async._bulk.job import Job, News
from lipsync_async._bulk.runner import Roster
from lipsync_async._polling.leader import Attendant
from tests.bulk.jobs import job, request
from tests.client.crowds import Planned, poller_of, remains

pytestmark = pytest.mark.anyio

ANSWER = Response("GET", "http://localhost/v2/generate/job-0", 404, {}, b"")


async def test_a_job_from_its_first_to_its_last_day() -> None:
    """It is watched while it runs; what comes later is nobody's, and nothing is kept."""
    told: list[tuple[Job, News]] = []
    service = Planned(2)
    async with service.client() as client:
        poller = poller_of(client)
        transport = client._exchange.transport  # noqa: SLF001
        roster = Roster(poller, transport, 5.0, lambda *news: told.append(news), hears_all=True)
        running, ended = Job(0, request(0)), Job(1, request(1))
        roster.add(running, job("job-0"))
        roster.add(ended, job("job-1", "COMPLETED"))
        assert len(roster) == 2
        assert roster.jobs() == [running, ended]
        assert running.watcher is not None
        assert ended.watcher is None
        missing = NotFoundError(response=ANSWER, message="no such job")
        running.watcher.notify("job-0", missing)
        assert told == []  # it is too fresh for that to be believed
        assert remains(poller) != []
        await service.clock.sleep(5.0)
        running.watcher.notify("job-0", missing)
        assert told == [(running, missing)]
        for each in (running, ended):
            roster.remove(each)
        running.watcher.notify("job-0", missing)
        assert len(told) == 1
        assert remains(poller) == []
        roster.remove(Job(2, request(2)))
        assert len(roster) == 0


async def test_an_error_is_told_once() -> None:
    """Looks that go on failing, at once perhaps, do not fill the memory with news of a job."""
    told: list[tuple[Job, News]] = []
    service = Planned(3)
    service.failures = [401] * 100
    async with service.client() as client:
        poller, settings = poller_of(client), client._settings  # noqa: SLF001
        transport = client._exchange.transport  # noqa: SLF001
        roster = Roster(poller, transport, 5.0, lambda *news: told.append(news), hears_all=True)
        jobs = [Job(number, request(number)) for number in range(3)]
        for number, each in enumerate(jobs):
            roster.add(each, job(f"job-{number}"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poller.attend, Attendant(lambda: False), settings)
            await service.clock.sleep(60.0)
            tasks.cancel_scope.cancel()
    assert [each for each, _ in told] == jobs
    assert {type(news) for _, news in told} == {AuthenticationError}
    assert remains(poller) == []
