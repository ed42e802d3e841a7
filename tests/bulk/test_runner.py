"""The jobs of a run that are polled, and whose updates count."""

from collections.abc import AsyncIterator

import anyio
from anyio.lowlevel import checkpoint

from lipsync_async import (
    AsyncClient,
    AuthenticationError,
    GenerationRequest,
    NotFoundError,
    Response,
)
from lipsync_async._bulk.journal import NullJournal
from lipsync_async._bulk.results import Job
from lipsync_async._bulk.runner import BulkRunner, RunOptions
from lipsync_async._callsite import CallSite
from lipsync_async._polling import Waiter
from tests.bulk.jobs import job, request
from tests.bulk.runs import opened
from tests.client.waiters import Planned, poller_of, remains

ANSWER = Response("GET", "http://localhost/v2/generate/job-0", 404, {}, b"")


def runner_of(client: AsyncClient) -> BulkRunner:
    """Return a runner that was not started."""
    return BulkRunner(
        client._requester,  # noqa: SLF001
        client._options,  # noqa: SLF001
        RunOptions(),
        poller=poller_of(client),
        journal=NullJournal(),
        upload_inputs=client.generations._upload_inputs,  # noqa: SLF001
    )


async def test_a_job_is_watched_while_it_runs() -> None:
    """What comes after its end is ignored, nothing is kept, and a fresh job may be unknown."""
    service = Planned(2)
    async with service.client() as client:
        runner = runner_of(client)
        updates = runner._updates  # noqa: SLF001
        running, ended = Job(0, request(0)), Job(1, request(1))
        runner._accept(running, job("job-0"))  # noqa: SLF001
        runner._accept(ended, job("job-1", "COMPLETED"), is_new=False)  # noqa: SLF001
        assert runner.tracker.running == 2
        assert running.subscription is not None
        assert ended.subscription is None
        missing = NotFoundError(response=ANSWER, message="no such job")
        running.subscription.callback("job-0", missing)
        assert updates == []
        assert remains(poller_of(client)) != []
        await service.clock.sleep(client._options.poll.not_found_grace)  # noqa: SLF001
        running.subscription.callback("job-0", missing)
        assert updates == [(running, missing)]
        for each in (running, ended, Job(2, request(2))):
            runner._end(each)  # noqa: SLF001
        running.subscription.callback("job-0", missing)
        assert len(updates) == 1
        assert remains(poller_of(client)) == []
        assert runner.tracker.running == 0


async def test_an_error_is_reported_once() -> None:
    """Polls that go on failing, at once perhaps, do not fill the memory with updates of a job."""
    service = Planned(3)
    service.failures = [401] * 100
    async with service.client() as client:
        runner, poller = runner_of(client), poller_of(client)
        jobs = [Job(number, request(number)) for number in range(3)]
        for number, each in enumerate(jobs):
            runner._accept(each, job(f"job-{number}"))  # noqa: SLF001
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poller.run_until, Waiter(bool), client._options)  # noqa: SLF001
            await service.clock.sleep(60.0)
            tasks.cancel_scope.cancel()
    assert [each for each, _ in runner._updates] == jobs  # noqa: SLF001
    assert {type(update) for _, update in runner._updates} == {AuthenticationError}  # noqa: SLF001
    assert remains(poller) == []


async def test_a_create_that_comes_as_the_run_is_cancelled() -> None:
    """It is not sent: the tasks that could send it were cancelled. It takes no slot either."""
    async with opened(progression="manual") as (client, sandbox, _):
        runner = runner_of(client)

        async def rows() -> AsyncIterator[GenerationRequest]:
            yield request(0)
            while not runner._submitter._idle:  # noqa: SLF001
                await checkpoint()
            runner._tasks.cancel_scope.cancel()  # noqa: SLF001
            yield request(1)

        await runner.run(rows(), CallSite.here())
        assert sandbox.jobs.created == client._requester.account.slots.used == 1  # noqa: SLF001
        assert list(runner.open_requests.each) == [0, 1]
