"""The poller as a run uses it: thousands of jobs with a callback, led by one task."""

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given, strategies as st

from lipsync_async import AsyncClient, Generation, Limits, LipsyncError
from lipsync_async._polling import LeaderFollower, Subscription, Waiter, retry_until_timeout
from tests.client.waiters import Planned, Waits, completed_of, poller_of, remains, waiting

News = Generation | LipsyncError


class Scheduler:
    """Watch jobs as a scheduler does, and write down what it is told."""

    def __init__(self, client: AsyncClient) -> None:
        self.poller = poller_of(client)
        self.told: list[tuple[str, str]] = []
        self.errors: list[LipsyncError] = []
        self._options = retry_until_timeout(client._options)  # noqa: SLF001
        self._waiter = Waiter(lambda: False)

    def hear(self, job: str, news: News) -> None:
        """Be told of a job."""
        if isinstance(news, LipsyncError):
            self.errors.append(news)
        else:
            self.told.append((job, str(news.status)))

    def watch(self, *jobs: str, status: str = "") -> list[Subscription]:
        """Watch jobs."""
        return [self.poller.subscribe(job, self.hear, status=status) for job in jobs]

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Keep the looks coming, in a task of its own."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.poller.run_until, self._waiter, self._options)
            yield
            tasks.cancel_scope.cancel()


async def test_thousands_with_one_callback() -> None:
    """Each of 2,000 jobs is told once a change, by 20 lists a round and no task of its own."""
    service = Planned(2000)
    service.end_all(10.0)
    async with service.client() as client:
        scheduler = Scheduler(client)
        scheduler.watch(*service.jobs)
        async with scheduler.leading():
            await anyio.lowlevel.checkpoint()
            assert len(asyncio.all_tasks()) <= 3
            await service.clock.sleep(20.0)
    assert Counter(scheduler.told) == Counter(
        (job, status) for job in service.jobs for status in ("PROCESSING", "COMPLETED")
    )
    assert len(service.looks) == pytest.approx(12 * 9.8, rel=0.1)
    assert remains(scheduler.poller) == []


async def test_jobs_join_while_others_are_looked_at() -> None:
    """A job that joins an idle poller is seen within an interval, and waits share it at once."""
    service = Planned(20)
    async with service.client() as client:
        scheduler = Scheduler(client)
        async with scheduler.leading():
            await service.clock.sleep(100.0)
            assert service.looks == []
            scheduler.watch(*service.jobs[:10], status="PENDING")
            await service.clock.sleep(0.7)
            assert len(scheduler.told) == 10
            async with waiting(client, *service.jobs[10:12]) as waits:
                await service.clock.sleep(1.0)
                assert {len(ids) for ids in service.looks[-2:]} == {12}
                service.end_all(1.0)
        assert len(completed_of(waits.outcomes)) == 2
    assert remains(scheduler.poller) == []


async def test_waits_go_on_without_the_scheduler() -> None:
    """When a scheduler stops, its jobs leave and those of the waits are polled on."""
    service = Planned(40)
    async with service.client() as client, anyio.create_task_group() as tasks:
        scheduler = Scheduler(client)
        watchers = scheduler.watch(*service.jobs[3:])
        waits = Waits(client, tasks)
        async with scheduler.leading():
            waits.start(*service.jobs[:3])
            await service.clock.sleep(5.0)
            assert len(service.looks[-1]) == 40
            for watcher in watchers:
                scheduler.poller.unsubscribe(watcher)
                scheduler.poller.unsubscribe(watcher)
        await service.clock.sleep(15.0)
        assert {frozenset(look) for look in service.looks[-6:]} == {frozenset(service.jobs[:3])}
        service.end_all(0.0)
    assert len(completed_of(waits.outcomes)) == 3
    assert remains(scheduler.poller) == []


async def test_a_scheduler_that_stays_after_an_error() -> None:
    """Anyone who does not leave after an error is looked after again, and told of the end."""
    service = Planned(10)
    service.failures = [501] * 4 + [418] * 10
    service.end_all(30.0)
    async with service.client() as client:
        scheduler = Scheduler(client)
        scheduler.watch(*service.jobs, status="PROCESSING")
        async with scheduler.leading():
            await service.clock.sleep(35.0)
    assert scheduler.errors != []
    assert Counter(scheduler.told) == Counter((job, "COMPLETED") for job in service.jobs)


async def test_watchers_of_one_job_are_independent() -> None:
    """One watcher of a job may leave while another stays, and each has its own last status."""
    service = Planned(10)
    service.end_all(5.0)
    async with service.client() as client:
        first, second, third = (Scheduler(client) for _ in range(3))
        (gone,) = first.watch("job-0")
        second.watch("job-0")
        third.watch("job-0", status="PROCESSING")
        first.poller.unsubscribe(gone)
        async with first.leading():
            await service.clock.sleep(15.0)
    assert (first.told, len(third.told)) == ([], 1)
    assert [status for _, status in second.told] == ["PROCESSING", "COMPLETED"]


async def test_a_job_takes_little_memory() -> None:
    """A job that is watched takes at most 300 bytes beside its id, and none once it has ended."""
    service = Planned(0)
    ids = [f"{number:036d}" for number in range(10_000)]
    async with service.client() as client:
        scheduler = Scheduler(client)
        hear = scheduler.hear
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            watchers = [scheduler.poller.subscribe(job, hear, status="PENDING") for job in ids]
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (after - before) / 10_000 <= 300
        for watcher in watchers:
            scheduler.poller.unsubscribe(watcher)
        assert remains(scheduler.poller) == []


def test_each_loop_has_a_poller_of_its_own() -> None:
    """A loop that was left with a leader in it is nothing that the next one waits for."""
    service = Planned(10)
    client = service.client()
    pollers: list[object] = []

    async def look_and_be_left() -> None:
        scheduler = Scheduler(client)
        pollers.append(scheduler.poller)
        leader = scheduler.poller._leadership  # noqa: SLF001
        leader._leader = Waiter(lambda: False)  # noqa: SLF001 - as a killed loop leaves it

    async def wait_for_all() -> None:
        assert poller_of(client) is not pollers[0]
        service.end_all(5.0)
        async with waiting(client, *service.jobs) as waits:
            pass
        assert len(completed_of(waits.outcomes)) == 10

    asyncio.run(look_and_be_left())
    asyncio.run(wait_for_all())


@pytest.mark.traced_once
@pytest.mark.parametrize(
    ("limit", "jobs", "looks"),
    [
        (60, 50, 0.98),  # one list a look, and all that the limit allows but a little
        (60, 500, 0.98),
        (600, 50, 2.0),  # a look each half second: the limit would allow more
        (600, 2000, 9.8),
        (None, 50, 2.0),
        (None, 500, 10.0),  # without a limit each is looked at twice a second
    ],
)
async def test_the_rate_follows_the_limit(limit: int | None, jobs: int, looks: float) -> None:
    """Looks use what the account allows and no more; without a limit only the interval counts."""
    service = Planned(jobs)
    async with service.client(limits=Limits(requests_per_minute=limit)) as client:
        scheduler = Scheduler(client)
        scheduler.watch(*service.jobs)
        async with scheduler.leading():
            await service.clock.sleep(30.0)
    assert len(service.looks) / 30 == pytest.approx(looks, rel=0.05)


ARRIVE, CANCEL, END, TURN = "arrive", "cancel", "end", "turn"
STEPS = st.lists(st.tuples(st.sampled_from([ARRIVE, CANCEL, END, TURN]), st.integers(0, 9)))


class Crew:
    """Attend in tasks that a test lets go one by one."""

    def __init__(self) -> None:
        self.shift = LeaderFollower()
        self.leading: list[int] = []
        self.most = 0
        self.over: set[int] = set()
        self.scopes: dict[int, anyio.CancelScope] = {}
        self.waiters: dict[int, Waiter] = {}

    async def attend(self, number: int) -> None:
        """Attend until let go."""
        self.over.discard(number)
        waiter = Waiter(lambda: number in self.over)
        with anyio.CancelScope() as scope:
            self.scopes[number], self.waiters[number] = scope, waiter
            try:
                await self.shift.wait_or_lead(waiter, lambda: self._work(number))
            finally:
                del self.scopes[number], self.waiters[number]

    async def _work(self, number: int) -> None:
        self.leading.append(number)
        self.most = max(self.most, len(self.leading))
        try:
            await anyio.sleep_forever()
        finally:
            self.leading.remove(number)

    def end(self, number: int) -> None:
        """Let one's wait be over."""
        self.over.add(number)
        self.waiters[number].wake()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(12):
        await anyio.lowlevel.checkpoint()


async def play(steps: list[tuple[str, int]]) -> None:
    """Take steps; after each turn, see that somebody leads if anybody waits."""
    crew = Crew()
    async with anyio.create_task_group() as tasks:
        for step, number in steps:
            if step == TURN:
                await settle()
                assert len(crew.leading) == min(1, len(crew.scopes))
            elif step == ARRIVE and number not in crew.scopes:
                tasks.start_soon(crew.attend, number)
                await anyio.lowlevel.checkpoint()
            elif number in crew.scopes:
                crew.scopes[number].cancel() if step == CANCEL else crew.end(number)
        await settle()
        assert len(crew.leading) == min(1, len(crew.scopes))
        tasks.cancel_scope.cancel()
    assert crew.most <= 1
    assert crew.leading == []
    assert crew.shift._leader is None  # noqa: SLF001
    assert crew.shift._followers == {}  # noqa: SLF001


@given(steps=STEPS)
def test_exactly_one_leads(steps: list[tuple[str, int]]) -> None:
    """In any order of coming, ending and being cancelled, one works for all, never two."""
    anyio.run(play, steps)


async def test_the_newest_is_next() -> None:
    """The lead goes to the one who came last, and stays there."""
    crew = Crew()
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(crew.attend, number)
        led: list[int] = []
        for number in range(3):
            await settle()
            led += crew.leading
            crew.end(number)
        assert led == [0, 3, 3]
        tasks.cancel_scope.cancel()
