"""Lists of ended jobs only, where no more is of interest; and services that do not filter them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from lipsync_async import AuthenticationError, Limits, LipsyncError, PollPolicy, Response
from lipsync_async._polling import Waiter, retry_until_timeout
from lipsync_async.sandbox.faults import Fault, rate_limited
from tests.bulk.runs import opened, run
from tests.client.waiters import LISTS, Planned, poller_of

NO_LIMIT = Limits(requests_per_minute=None)
# Seconds from one poll of a job to the next, and until a full list must show it.
INTERVAL = PollPolicy().shared_interval
LONGEST_UNSEEN = 10 * INTERVAL
PROCESSING = "PROCESSING"


@asynccontextmanager
async def watched(
    service: Planned, **settings: Any
) -> AsyncIterator[tuple[Callable[..., object], dict[str, list[Any]]]]:
    """Poll all jobs for their ends, as a run without a journal does; give what watches more."""
    told: dict[str, list[Any]] = {}

    def hear(job: str, news: object) -> None:
        told.setdefault(job, []).append((service.clock.now(), news))

    client = service.client(limits=NO_LIMIT, **settings)
    async with client, anyio.create_task_group() as tasks:
        poller = poller_of(client)
        watch = partial(poller.subscribe, callback=hear, status=PROCESSING, hears_all=False)
        for job in service.jobs:
            watch(job)
        options = retry_until_timeout(client._options)  # noqa: SLF001
        tasks.start_soon(poller.run_until, Waiter(bool), options)
        yield watch, told
        tasks.cancel_scope.cancel()


@pytest.mark.traced_once("answers")
@pytest.mark.parametrize("since", [0.0, 10.0])
@pytest.mark.parametrize(
    ("answers", "latest", "filtered"),
    [
        (lambda status, wanted: status in wanted, 0.0, None),
        (lambda *_: True, 0.0, 1),  # it shows all, and is not asked so again
        (lambda status, wanted: status not in wanted, 0.0, 1),
        *[(status, 0.0, 1) for status in (400, 404, 422, 429)],
        *[(status, 0.0, 3) for status in (500, 503)],  # which may pass
    ],
)
async def test_however_a_service_filters_all_ends_are_seen(
    answers: Any, latest: float, filtered: int | None, since: float
) -> None:
    """It may filter, show all or nothing or others, refuse, also later on: no end is missed."""
    service = Planned(300)
    ends = {job: (index + 1) * 0.1 for index, job in enumerate(service.jobs)}
    for job, moment in ends.items():
        service.clock.call_later(moment, partial(service.statuses.update, {job: "COMPLETED"}))
    async with watched(service) as (_, told):
        await service.clock.sleep(since)
        service.filter = answers
        service.filtered.clear()
        await service.clock.sleep(40.0 - since)
    assert max(moment - ends[job] for job in ends for moment, _ in told[job]) <= latest + 1.0
    beside = answers in (500, 503)  # another list may be under way at the last strike
    assert filtered is None or 0 <= len(service.filtered) - filtered <= beside
    refused = len(service.filtered) if isinstance(answers, int) else 0
    assert len(service.looks) <= 146 + refused  # 3 lists a round, then 2, then 1
    assert min(map(len, service.looks[: 2 + int(since * 5)])) >= 66  # they are not halved


@pytest.mark.parametrize("rounds", [2, 3])
async def test_a_filter_that_leaves_ended_jobs_out_is_given_up(rounds: int) -> None:
    """Three rounds in which only full lists show ends are enough; then ends are seen at once."""
    service = Planned(150)
    service.filter = lambda *_: False
    async with watched(service) as (_, told):
        for group in range(rounds):
            ended = service.jobs[group * 10 : group * 10 + 10]
            service.statuses |= dict.fromkeys(ended, "COMPLETED")
            await service.clock.sleep(LONGEST_UNSEEN + INTERVAL)
            assert len(told) == group * 10 + 10
        service.filtered.clear()
        service.statuses |= dict.fromkeys(service.jobs, "COMPLETED")
        await service.clock.sleep(3 * INTERVAL)
    assert (len(told) == 150, service.filtered == []) == (rounds == 3, rounds == 3)


async def test_a_filter_that_is_never_answered_is_given_up() -> None:
    """Its list is waited for ten seconds, once."""
    service = Planned(10)
    service.filter = 0
    async with watched(service) as (_, told):
        await service.clock.sleep(10.0 + 3 * INTERVAL)
        service.statuses |= dict.fromkeys(service.jobs, "COMPLETED")
        await service.clock.sleep(2 * INTERVAL)
    assert (len(told), len(service.filtered)) == (10, 1)


async def test_an_outage_is_no_reason_to_give_the_filter_up() -> None:
    """Where the full list fails as well, it is asked for with the filter again later."""
    service = Planned(10)
    service.failures = [503] * 4
    async with watched(service) as (_, told):
        await service.clock.sleep(20.0)
        service.filtered.clear()
        await service.clock.sleep(5.0)
    assert (told, len(service.filtered) >= 8) == ({}, True)


@pytest.mark.traced_once("number")
@pytest.mark.parametrize("interval", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("number", [20, 150, 1030])
async def test_each_job_is_shown_from_time_to_time(number: int, interval: float) -> None:
    """Every tenth list for a job is full, or that after 30 s, also as jobs change and in halves."""
    service = Planned(number)
    shown, gaps = dict.fromkeys(service.jobs, 0.0), [0.0]
    async with watched(service, poll=PollPolicy(shared_interval=interval)) as (watch, _):
        for step in range(60):
            service.longest = 60 if 15 <= step < 30 else 100
            if step % 7 == 3:
                service.statuses[service.jobs[step % number]] = "COMPLETED"
                service.statuses[new := f"new-{step}"] = PROCESSING
                watch(new)
                shown[new] = service.clock.now()
            looks, filtered = len(service.looks), len(service.filtered)
            await service.clock.sleep(interval)
            for ids in {*service.looks[looks:]} - {*service.filtered[filtered:]}:
                gaps += [service.clock.now() - shown[job] for job in ids]
                shown |= dict.fromkeys(ids, service.clock.now())
    running = [job for job in service.jobs if service.statuses[job] == PROCESSING]
    gaps += [service.clock.now() - shown[job] for job in running]
    assert max(gaps) <= min(10 * interval, 30.0) + 2 * interval
    least = 0.8 if interval < 5 else 0.7
    assert sum(map(len, service.filtered)) >= least * sum(map(len, service.looks))


async def test_what_only_full_lists_tell() -> None:
    """A job that is not listed is asked for alone; an end in a word of ours is seen."""
    service = Planned(10)
    service.shapes["job-3"] = {"id": "another", "status": "COMPLETED"}
    async with watched(service) as (_, told):
        await service.clock.sleep(12.0)
        service.statuses |= {"job-3": "COMPLETED", "job-4": "CANCELLED"}
        await service.clock.sleep(LONGEST_UNSEEN + 2 * INTERVAL)
    assert [*told] == ["job-4", "job-3"]
    assert service.looks.count(("job-3",)) == 3


async def test_a_list_with_one_that_hears_all_is_full() -> None:
    """Who wants each change has it at once, beside others that want only the ends."""
    service = Planned(20)
    async with watched(service) as (watch, told):
        watch("job-7", status="PENDING", hears_all=True)
        await service.clock.sleep(10.0)
        assert ([*told], len(told["job-7"]), service.filtered) == (["job-7"], 1, [])
        service.statuses["job-7"] = "COMPLETED"
        await service.clock.sleep(10.0)
    assert len(told["job-7"]) == 3
    assert service.filtered != []


async def test_an_error_of_the_callback_is_no_refusal() -> None:
    """What `on_response` raises is told as it is: no other list is asked for in its place."""
    service, mistake = Planned(10), LipsyncError("a mistake in on_response")

    def fail(_: Response) -> None:
        raise mistake

    async with watched(service, on_response=fail) as (_, told):
        await service.clock.sleep(1.01 * INTERVAL)
    assert [news for (_, news), *_ in told.values()] == [mistake] * 10
    assert service.looks == service.filtered


async def test_a_dead_key_is_told_after_one_list() -> None:
    """No other list is asked for in its place either."""
    service = Planned(10)
    service.failures = [401]
    async with watched(service) as (_, told):
        await service.clock.sleep(1.01 * INTERVAL)
    assert {type(news) for (_, news), *_ in told.values()} == {AuthenticationError}
    assert len(service.looks) == 1


async def test_a_pause_that_the_service_asks_for_is_kept() -> None:
    """The full list does not follow a refused one sooner than the service allows."""
    async with opened(NO_LIMIT, progression="time(20)") as (client, sandbox, _):
        sandbox.faults.add(rate_limited(7.0, path=LISTS[1]))
        await run(client, 50)
        refused, *others = sandbox.requests.find(*LISTS)
    full = next(each for each in others if each.query == refused.query[1:])
    assert full.time - refused.time == pytest.approx(7.0)


@pytest.mark.parametrize(("refusals", "filtered"), [(0, 40), (1, 4)])
async def test_a_run_asks_for_what_has_ended(tmp_path: Path, refusals: int, filtered: int) -> None:
    """With a journal it keeps to full lists; in both ways, and refused, it tells as much."""
    told: list[list[int]] = []
    for journal in (None, tmp_path / "jobs.sqlite"):
        async with opened(NO_LIMIT, progression="time(5-30)") as (client, sandbox, _):
            for _ in range(refusals):
                sandbox.faults.add(Fault("status", method="GET", path=LISTS[1], status=400, skip=3))
            done: list[int] = []
            hear = lambda progress, done=done: done.append(progress.succeeded)  # noqa: E731
            await run(client, 50, journal=journal, on_progress=hear)
            told.append(done)
            lists = [dict(each.query) for each in sandbox.requests.find(*LISTS)]
            asked = sum("status" in query for query in lists)
            assert asked == 0 if journal else asked >= filtered
    assert told[0] == told[1]
    assert told[0][-1] == 50
