"""Lists of ended jobs only, where no more is of interest; and services that do not filter them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Generation,
    Limits,
    LipsyncError,
    PollPolicy,
    Progress,
    Response,
)
from lipsync_async._polling import Waiter, retry_until_timeout
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import opened, requests
from tests.client.waiters import LISTS, Planned, poller_of, remains

Filter = Callable[[str, Sequence[str]], bool] | int
HONOURED: Filter = lambda status, wanted: status in wanted  # noqa: E731
NO_LIMIT = Limits(requests_per_minute=None)
# Seconds from one poll of a job to the next, and until a full list must show it.
INTERVAL = PollPolicy().shared_interval
LONGEST_UNSEEN = 10 * INTERVAL


class Ends:
    """Watch jobs for their ends alone, as a run without a journal does."""

    def __init__(self, client: AsyncClient, service: Planned) -> None:
        self.times: dict[str, float] = {}
        self.poller = poller_of(client)
        self._client, self._service = client, service

    def watch(self, *jobs: str) -> None:
        """Watch jobs."""
        for job in jobs:
            self.poller.subscribe(job, self._hear, status="PROCESSING", hears_all=False)

    def _hear(self, job: str, news: Generation | LipsyncError) -> None:
        assert isinstance(news, Generation)
        assert job not in self.times
        self.times[job] = self._service.clock.now()

    async def run(self, seconds: float) -> None:
        """Let the polls go on for so long."""
        async with anyio.create_task_group() as tasks:
            options = retry_until_timeout(self._client._options)  # noqa: SLF001
            tasks.start_soon(self.poller.run_until, Waiter(bool), options)
            await self._service.clock.sleep(seconds)
            tasks.cancel_scope.cancel()


async def ends_of(
    service: Planned, seconds: float = 40.0, **settings: Any
) -> tuple[list[float], int]:
    """Let jobs end one after another; return how late each was seen, and the requests made."""
    planned = {job: (index + 1) * 0.1 for index, job in enumerate(service.jobs)}
    for job, after in planned.items():
        service.end(job, after)
    async with service.client(limits=NO_LIMIT, **settings) as client:
        ends = Ends(client, service)
        ends.watch(*service.jobs)
        await ends.run(seconds)
        assert remains(ends.poller) == []
    return [ends.times[job] - planned[job] for job in service.jobs], len(service.looks)


@pytest.mark.parametrize(
    ("answers", "latest", "more", "filtered"),
    [
        (HONOURED, 0.0, 0, None),
        (lambda *_: True, 0.0, 0, 1),  # it shows all, and is not asked so again
        (lambda status, wanted: status not in wanted, 0.0, 0, 1),
        (lambda *_: False, LONGEST_UNSEEN + INTERVAL, 0, None),
        (400, 0.0, 1, 1),
        (422, 0.0, 1, 1),
        (404, 0.0, 1, 1),
        (500, 0.0, None, None),  # which may pass, so it is tried each time
    ],
)
async def test_however_a_service_filters_all_ends_are_seen(
    answers: Filter, latest: float, more: int | None, filtered: int | None
) -> None:
    """A service may filter, show all or nothing or the others, or refuse: no end is missed."""
    usual = Planned(300)
    usual.filter = HONOURED
    _, requests = await ends_of(usual)
    service = Planned(300)
    service.filter = answers
    late, made = await ends_of(service)
    assert max(late) <= 2 * INTERVAL + latest
    assert len(service.filtered) == filtered or filtered is None
    assert more is None or made <= requests + more
    assert {len(ids) for ids in service.looks[:2]} <= {99, 100}  # not halved


async def test_a_service_that_begins_to_refuse_the_filter() -> None:
    """One list more is asked for, and none is halved; the filter is left out from then on."""
    service = Planned(100)
    service.filter = HONOURED
    async with service.client(limits=NO_LIMIT) as client:
        ends = Ends(client, service)
        ends.watch(*service.jobs)
        await ends.run(20.0)
        service.filter, before = 400, len(service.filtered)
        await ends.run(20.0)
        service.end_all(0.0)
        await ends.run(2.0)
    assert before == pytest.approx(40 * 0.9, abs=2)
    assert len(service.filtered) == before + 1
    assert {len(ids) for ids in service.looks} == {100}
    assert len(ends.times) == 100


@pytest.mark.parametrize("interval", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("number", [20, 100, 150, 1030])
async def test_each_job_is_shown_from_time_to_time(number: int, interval: float) -> None:
    """Every tenth list for a job is full, or that after 30 s, also as jobs change and in halves."""
    service = Planned(number)
    service.filter = HONOURED
    shown = {job: [0.0] for job in service.jobs}
    async with service.client(limits=NO_LIMIT, poll=PollPolicy(shared_interval=interval)) as client:
        ends = Ends(client, service)
        ends.watch(*service.jobs)
        for step in range(60):
            service.longest = 60 if 15 <= step < 30 else 100
            if step % 7 == 3:
                service.end(service.jobs[step % number], 0.0)
                ends.watch(new := f"job-{number + step}")
                service.statuses[new], shown[new] = "PROCESSING", [service.clock.now()]
            looks, filtered = len(service.looks), len(service.filtered)
            await ends.run(interval)
            full = {
                job
                for ids in service.looks[looks:]
                if ids not in service.filtered[filtered:]
                for job in ids
            }
            for job in full:
                shown[job].append(service.clock.now())
    running = [job for job, status in service.statuses.items() if status == "PROCESSING"]
    gaps = [
        later - earlier
        for job in running
        for earlier, later in pairwise([*shown[job], service.clock.now()])
    ]
    assert max(gaps) <= min(10 * interval, 30.0) + 2 * interval
    least = 0.8 if interval < 5 else 0.7
    assert sum(map(len, service.filtered)) >= least * sum(map(len, service.looks))


async def test_a_job_that_lists_leave_out_is_asked_for_alone() -> None:
    """Whether it runs or is not listed at all, only full lists can tell; of a word of ours, too."""
    service = Planned(10)
    service.filter = HONOURED
    service.shapes["job-3"] = {"id": "another", "status": "COMPLETED"}
    service.end("job-3", 12.0)
    service.clock.call_later(12.0, lambda: service.statuses.update({"job-4": "CANCELLED"}))
    async with service.client() as client:
        ends = Ends(client, service)
        ends.watch(*service.jobs)
        await ends.run(30.0)
        for job in ("job-3", "job-4"):
            assert 12.0 < ends.times[job] <= 12.0 + LONGEST_UNSEEN + 2 * INTERVAL
        assert service.looks.count(("job-3",)) == 3


async def test_a_list_with_one_that_hears_all_is_full() -> None:
    """Who wants each change has it at once, beside others that want only the ends."""
    service = Planned(20, status="PENDING")
    service.filter = HONOURED
    changes: list[str] = []

    def hear(_: str, news: Generation | LipsyncError) -> None:
        assert isinstance(news, Generation)
        changes.append(str(news.status))

    async with service.client() as client:
        ends = Ends(client, service)
        ends.watch(*service.jobs)
        ends.poller.subscribe("job-7", hear, status="PENDING")
        service.clock.call_later(5.0, lambda: service.statuses.update({"job-7": "PROCESSING"}))
        await ends.run(10.0)
        assert (changes, service.filtered) == (["PROCESSING"], [])
        service.end("job-7", 0.0)
        await ends.run(10.0)
    assert changes == ["PROCESSING", "COMPLETED"]
    assert service.filtered != []


@pytest.mark.parametrize("refusals", [0, 1])
async def test_a_run_asks_for_what_has_ended(tmp_path: Path, refusals: int) -> None:
    """With a journal it keeps to full lists; in both ways, and refused, it tells as much."""
    told: list[list[tuple[int, int]]] = []
    filtered: list[int] = []
    for journal in (None, tmp_path / "jobs.sqlite"):
        async with opened(NO_LIMIT, progression="time(5-30)") as (client, sandbox, _):
            sandbox.faults.add(Fault("status", method="GET", path=LISTS[1], status=400, skip=3))
            if not refusals:
                sandbox.faults.clear()
            progress: list[Progress] = []
            outcomes = await client.generations.run_all(
                requests(50), journal=journal, on_progress=progress.append
            )
            assert [outcome.is_success for outcome in outcomes] == [True] * 50
            told.append([(each.done, each.succeeded) for each in progress])
            lists = sandbox.requests.find(*LISTS)
            filtered.append(sum("status" in dict(each.query) for each in lists))
    assert filtered[1] == 0
    assert filtered[0] == 4 if refusals else filtered[0] >= 40
    assert told[0] == told[1]


async def test_an_error_of_the_callback_is_no_refusal() -> None:
    """What `on_response` raises is told as it is: no other list is asked for in its place."""
    service = Planned(10)
    service.filter = HONOURED
    mistake = LipsyncError("a mistake in on_response")
    told: list[object] = []

    def fail(_: Response) -> None:
        raise mistake

    async with service.client(on_response=fail) as client:
        ends = Ends(client, service)
        for job in service.jobs:
            ends.poller.subscribe(job, lambda _, news: told.append(news), hears_all=False)
        await ends.run(1.1 * INTERVAL)
    assert told == [mistake] * 10
    assert service.looks == service.filtered == [tuple(service.jobs)]
