"""Waits with a `WebhookReceiver`: an event leads to a poll, and only what a poll shows counts."""

import asyncio
import gc
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lipsync_async import (
    AsyncClient,
    GenerationFailedError,
    GenerationRequest,
    InvalidRequestError,
    JobTimeoutError,
    Limits,
    PollPolicy,
    Request,
    Response,
    Status,
    WaitTimeoutError,
)
from lipsync_async._polling import SLOW_INTERVAL
from lipsync_async.webhooks import BatchEvent, GenerationEvent, WebhookReceiver, sign
from tests.client.connections import ORDER, UNLIMITED, cancel_when, entered, opened
from tests.client.waiters import (
    Planned,
    completed_of,
    ids_of,
    poller_of,
    remains,
    wait_for_all,
    waiting,
)
from tests.sandbox.clients import until

SECRET = "whsec_1f2e"
HOUR = 3600.0


class Service(Planned):
    """A service whose jobs end when a test says so, and that sends webhooks if a test says so."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.receiver = WebhookReceiver(SECRET)
        self.way_back = 0.0  # seconds from the moment that an answer shows to its arrival

    def end(self, job: str, after: float, *, status: str = "COMPLETED") -> None:
        """Let a job end after seconds."""
        self.clock.call_later(after, lambda: self.statuses.update({job: status}))

    def tell(self, job: str, after: float, *, status: str = "COMPLETED") -> None:
        """Let an event of a job come after seconds."""
        self.clock.call_later(after, partial(self.receiver.deliver, event(job, status)))

    @asynccontextmanager
    async def waits(self, *jobs: str, **settings: Any) -> AsyncIterator[dict[str, Any]]:
        """Let jobs be waited for with the receiver; give what comes of them."""
        async with self.client(limits=UNLIMITED) as client:
            settings = {"webhooks": self.receiver, **settings}
            async with waiting(client, *jobs or self.jobs, **settings) as waits:
                yield waits.outcomes
            assert remains(poller_of(client)) == []

    async def seconds(self, **settings: Any) -> float:
        """Wait for all jobs, and return when the last wait has ended."""
        async with self.waits(**settings) as outcomes:
            pass
        assert completed_of(outcomes) == set(self.jobs)
        return self.clock.now()

    async def _handle(self, request: Request) -> Response:
        response = await super()._handle(request)
        await self.clock.sleep(self.way_back)
        return response


def event(job: str, status: str = "COMPLETED") -> GenerationEvent:
    """Return what a webhook says of a job."""
    return GenerationEvent(id=job, status=Status(status))


def signed(job: str, status: str, secret: str = SECRET, age: float = 0.0) -> tuple[bytes, str]:
    """Return a delivery's body and header."""
    body = json.dumps({"id": job, "status": status}).encode()
    return body, sign(body, secret, time.time() - age)


@pytest.mark.parametrize("number", [1, 3, 250])
async def test_an_event_leads_to_a_poll_at_once(number: int) -> None:
    """Jobs that end after an hour are seen so at once, and few polls were made until then."""
    service = Service(number)
    service.end_all(HOUR)
    for job in service.jobs:
        service.tell(job, HOUR)
    assert await service.seconds() == pytest.approx(HOUR, abs=0.5)
    rounds = -(-number // 100)
    assert len(service.looks) <= (HOUR / SLOW_INTERVAL + 3) * rounds + number


@pytest.mark.parametrize("number", [1, 250])
async def test_without_any_delivery_the_wait_ends_half_a_minute_later(number: int) -> None:
    """All deliveries may be lost: the polls 30 seconds apart see the end."""
    service = Service(number)
    service.end_all(HOUR + 1)
    ended = await service.seconds()
    assert HOUR + 1 < ended <= HOUR + 1 + SLOW_INTERVAL + 1
    assert len(service.looks) <= (HOUR / SLOW_INTERVAL + 3) * -(-number // 100)


@pytest.mark.parametrize("told", ["COMPLETED", "FAILED", "REJECTED", "PROCESSING", "of a new kind"])
async def test_the_answer_decides_not_the_event(told: str) -> None:
    """What an event says of the end is never believed; before the end it only leads to polls."""
    service = Service(1)
    service.tell("job-0", 100, status=told)
    service.end("job-0", 200, status="FAILED")
    async with service.waits() as outcomes:
        await service.clock.sleep(199)
        assert outcomes == {}
    assert isinstance(outcomes["job-0"], GenerationFailedError)
    # The event has come: from then on it is polled as often as a job without a receiver.
    assert service.clock.now() == pytest.approx(200, abs=0.6)


async def test_forged_old_and_foreign_deliveries_lead_to_no_poll(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is not signed, or not by this account, or about an unknown job, costs no request."""
    service = Service(1)
    caplog.set_level(logging.CRITICAL, "lipsync_async.webhooks")
    async with service.waits(timeout=HOUR) as outcomes:
        await service.clock.sleep(31)
        before = len(service.looks)
        for number in range(1000):
            body, header = signed("job-0", "COMPLETED", "whsec_of_another_account")
            assert service.receiver.handle(body, {"Sync-Signature": header}) == 400
            body, header = signed("job-0", f"status {number}")
            assert service.receiver.handle(body + b" ", header) == 400
            assert service.receiver.handle(*signed("job-0", "COMPLETED", age=301)) == 400
            assert service.receiver.handle(*signed(f"another-{number}", "COMPLETED")) == 204
        await service.clock.sleep(20)
        assert len(service.looks) == before
        service.end_all(0)
    assert completed_of(outcomes) == {"job-0"}


async def test_a_flood_of_signed_events_costs_few_requests() -> None:
    """Events of one job lead to the polls that a wait without a receiver makes, and to no more."""
    service = Service(1)
    async with service.waits(timeout=HOUR):
        await service.clock.sleep(40)
        before = len(service.looks)
        for number in range(2000):
            service.tell("job-0", number / 100, status=f"status {number % 50}")
        await service.clock.sleep(20)
        assert len(service.looks) - before <= 20 / PollPolicy().shared_interval + 2
        service.end_all(0)


async def test_a_flood_stays_within_the_limit_of_requests() -> None:
    """A thousand jobs that end in one second are polled no faster than the account allows."""
    service = Service(1000)
    service.end_all(100)
    for number, job in enumerate(service.jobs):
        service.tell(job, 100 + number / 1000)
    async with service.client(limits=Limits(requests_per_minute=60)) as client:
        async with waiting(client, *service.jobs, webhooks=service.receiver) as waits:
            await service.clock.sleep(100)
            before = len(service.looks)
        assert completed_of(waits.outcomes) == set(service.jobs)
    seconds = service.clock.now() - 100
    assert seconds <= 15
    assert len(service.looks) - before <= seconds + 2


@pytest.mark.parametrize("way_back", [0.4, 3.0, 40.0])
async def test_an_event_during_a_poll_leads_to_one_more(way_back: float) -> None:
    """An answer that was made before the end is followed by another poll at once."""
    service = Service(1)
    async with service.waits() as outcomes:
        await service.clock.sleep(35)
        service.way_back = way_back
        before = len(service.looks)
        while len(service.looks) == before:  # until the next poll has been answered
            await service.clock.sleep(0.1)
        asked = service.clock.now()
        service.end("job-0", 0.2)
        service.tell("job-0", 0.2)
        await service.clock.sleep(0.3)
        assert outcomes == {}
        service.way_back = 0.0
    assert completed_of(outcomes) == {"job-0"}
    assert len(service.looks) == before + 2
    assert service.clock.now() <= asked + way_back + 1.0


async def test_an_event_from_before_the_wait_counts() -> None:
    """It came before the wait has begun: the job is polled often until its end is seen."""
    service = Service(1)
    service.receiver.deliver(event("job-0"))
    service.end("job-0", 12.3)
    assert await service.seconds() == pytest.approx(12.3, abs=0.6)


async def test_late_and_doubled_events_change_nothing() -> None:
    """The end is seen by a slow poll; events that follow find no wait."""
    service = Service(2)
    service.end_all(10)
    ended = await service.seconds()
    assert 30 <= ended <= 31
    looks = len(service.looks)
    for _ in range(3):
        service.tell("job-0", 0)
        service.tell("job-1", 0, status="FAILED")
    await service.clock.sleep(100)
    assert len(service.looks) == looks


async def test_the_time_is_kept_and_a_last_poll_is_made() -> None:
    """A wait whose event never comes ends when its time is over, after one last poll."""
    service = Service(1)
    async with service.waits(timeout=50) as outcomes:
        pass
    assert isinstance(outcomes["job-0"], WaitTimeoutError)
    assert service.clock.now() == pytest.approx(50)
    looks = len(service.looks)
    service.end_all(45)  # after the poll at 30 s
    async with service.waits(timeout=50) as outcomes:
        pass
    assert completed_of(outcomes) == {"job-0"}
    assert len(service.looks) - looks <= 3


async def test_a_wait_without_a_receiver_is_as_quick_beside_one_with() -> None:
    """Two waits for one job: the one without a receiver decides how often it is polled."""
    service = Service(1)
    service.end("job-0", 100)
    async with service.client(limits=UNLIMITED) as client, anyio.create_task_group() as tasks:
        wait = client.generations.wait_until_complete
        tasks.start_soon(partial(wait, "job-0", webhooks=service.receiver))
        for _ in range(6):
            tasks.start_soon(wait, "job-0")
    assert service.clock.now() == pytest.approx(100, abs=0.6)


async def test_cancelled_waits_leave_nothing() -> None:
    """Neither the poller nor the receiver keeps anything of a wait, or keeps a client alive."""
    service = Service(20)
    async with service.client() as client:
        async with waiting(client, *service.jobs, webhooks=service.receiver) as waits:
            await service.clock.sleep(31)
            service.tell("job-1", 0)
            await service.clock.sleep(1)
            waits.cancel_all()
        assert waits.outcomes == {}
        assert remains(poller_of(client)) == []
    del client, waits
    gc.collect()
    assert service.receiver._listeners == {}  # noqa: SLF001


def test_loops_that_were_left_are_forgotten() -> None:
    """One client and one receiver may live through many event loops."""
    service = Service(1)
    client = service.client(limits=UNLIMITED)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            service.statuses["job-0"] = "PROCESSING"
            pool.submit(asyncio.run, _wait_in_a_loop(service, client)).result()
    gc.collect()
    # The clock may still know the last loop.
    assert len(service.receiver._listeners) <= 1  # noqa: SLF001


async def _wait_in_a_loop(service: Service, client: AsyncClient) -> None:
    service.end_all(100)
    service.tell("job-0", 100)
    await client.generations.wait_until_complete("job-0", webhooks=service.receiver)


async def test_what_is_remembered_is_bounded() -> None:
    """Of events that no wait asks for the newest are kept, each job once."""
    receiver = WebhookReceiver(SECRET, remembered=3)
    for number in range(100):
        receiver.deliver(event(f"job-{number}"))
        receiver.deliver(event(f"job-{number}", "FAILED"))
    assert [job for job in range(100) if receiver.has_event(f"job-{job}")] == [97, 98, 99]
    assert repr(receiver) == "<WebhookReceiver: 3 jobs with events>"


async def test_two_clients_share_a_receiver() -> None:
    """An event wakes each wait for its job, in every client."""
    service = Service(2)
    service.end_all(100)
    service.tell("job-0", 100)
    service.tell("job-1", 100)
    async with (
        service.client(limits=UNLIMITED) as one,
        service.client(limits=UNLIMITED) as two,
        waiting(one, *service.jobs, webhooks=service.receiver) as first,
        waiting(two, "job-0", webhooks=service.receiver) as second,
    ):
        pass
    assert completed_of(first.outcomes) == {"job-0", "job-1"}
    assert completed_of(second.outcomes) == {"job-0"}
    assert service.clock.now() == pytest.approx(100, abs=0.6)


@pytest.mark.parametrize("wrong", [SECRET, WebhookReceiver, object()])
async def test_what_is_no_receiver_is_refused(wrong: Any) -> None:
    """Each verb names the argument, and sends nothing."""
    service = Service(1)
    async with service.client() as client:
        calls: list[Any] = [
            lambda: client.generations.wait_until_complete("job-0", webhooks=wrong),
            lambda: client.generations.run(**ORDER, webhooks=wrong),
            lambda: client.generations.run_all([], webhooks=wrong),
            lambda: client.batches.wait_until_complete("batch-0", webhooks=wrong),
        ]
        for call in calls:
            with pytest.raises(InvalidRequestError, match="webhooks: must be a WebhookReceiver"):
                await call()
    assert service.looks == []


class Accepting(Service):
    """A service that accepts requests; each job ends after a while, and its event comes then.

    Where a delivery is lost, the job ends a little later than others.
    """

    def __init__(self, life: float, *, told: Callable[[int], bool] = lambda _: True) -> None:
        super().__init__(0)
        self.life = life
        self.told = told  # whether the delivery of the job with this number comes

    def _answer(self, request: Request) -> tuple[int, Any]:
        if request.method != "POST":
            return super()._answer(request)
        number = len(self.statuses)
        job = f"job-{number}"
        self.statuses[job] = "PROCESSING"
        is_told = self.told(number)
        self.end(job, self.life if is_told else self.life + 5)
        if is_told:
            self.tell(job, self.life)
        return 201, {
            **self._shown(job),
            "webhookUrl": json.loads(request.body or b"").get("webhookUrl"),
        }


def requests(number: int) -> list[GenerationRequest]:
    """Return requests whose ends are told to a route."""
    return [GenerationRequest(**ORDER, webhook_url="https://app.example/hook")] * number


async def test_an_event_before_the_answer_of_create_counts() -> None:
    """A job may have ended, and its event come, before the client knows its id."""
    service = Accepting(life=0.1)
    service.way_back = 5.0
    async with service.client(limits=UNLIMITED) as client:
        done = await client.generations.run(requests(1)[0], webhooks=service.receiver)
        assert done.is_completed
        assert service.clock.now() == pytest.approx(10, abs=0.6)  # a create and a poll
        service.way_back = 1.0
        (outcome,) = await client.generations.run_all(requests(1), webhooks=service.receiver)
    assert outcome.is_success
    assert service.clock.now() == pytest.approx(12, abs=1.1)
    assert len(service.looks) == 2


@pytest.mark.parametrize(("told", "late"), [(11, 0.6), (10, 5 + SLOW_INTERVAL + 1)])
async def test_a_run_polls_when_events_come(told: int, late: float) -> None:
    """A thousand jobs of ten minutes: few polls before the events; a lost one delays its own."""
    service = Accepting(613.0, told=lambda number: number % 11 < told)
    free = Limits(creates_per_minute=None, requests_per_minute=None, concurrent_generations=10_000)
    async with service.client(limits=free) as client:
        run = client.generations.run_many(requests(1000), webhooks=service.receiver)
        ends = []
        async with run as outcomes:
            async for outcome in outcomes:
                assert outcome.is_success
                ends.append(service.clock.now())
        assert remains(poller_of(client)) == []
    assert len(ends) == 1000
    assert sum(end <= 613.6 for end in ends) == sum(number % 11 < told for number in range(1000))
    assert max(ends) <= 613 + late
    # Without events they would be polled twice a second, by twelve thousand lists.
    assert len(service.looks) <= (613 / SLOW_INTERVAL + 2) * 10 + 20


async def test_jobs_without_a_webhook_are_polled_as_ever() -> None:
    """No event will come, so their ends are not found later than without a receiver."""
    service = Accepting(100.0, told=lambda _: False)
    plain = [GenerationRequest(**ORDER)] * 10
    async with service.client(limits=UNLIMITED) as client:
        jobs = [await client.generations.create(request) for request in plain]
        done = await wait_for_all(client, jobs, webhooks=service.receiver)
        assert completed_of(done) == ids_of(jobs)
        assert service.clock.now() == pytest.approx(105, abs=0.6)
        await client.generations.run_all(plain, webhooks=service.receiver)
    assert service.clock.now() == pytest.approx(210, abs=1.2)


async def test_a_run_that_goes_on_polls_what_was_left_at_once(tmp_path: Path) -> None:
    """Events may have come while no run was there to hear them."""
    service, journal = Accepting(100.0), tmp_path / "run.sqlite"
    settings: dict[str, Any] = {"journal": journal, "webhooks": service.receiver}
    async with service.client(limits=UNLIMITED) as client:
        async with client.generations.run_many(requests(10), **settings) as outcomes:
            await service.clock.sleep(50)
            assert outcomes.progress().running == 10
        service.receiver = settings["webhooks"] = WebhookReceiver(SECRET)
        await service.clock.sleep(100)
        begun = service.clock.now()
        found = await client.generations.run_all(requests(10), **settings)
    assert [outcome.is_success for outcome in found] == [True] * 10
    assert service.clock.now() <= begun + 1
    assert len(service.statuses) == 10


async def test_slots_are_refilled_when_events_come() -> None:
    """A run with few slots goes on at the pace of its jobs."""
    service = Accepting(100.0)
    limits = Limits(creates_per_minute=None, requests_per_minute=60, concurrent_generations=5)
    async with service.client(limits=limits) as client:
        found = await client.generations.run_all(requests(20), webhooks=service.receiver)
    assert [outcome.is_success for outcome in found] == [True] * 20
    assert service.clock.now() <= 4 * (100 + 3)


class Batches(Service):
    """A service with one batch."""

    def __init__(self) -> None:
        super().__init__(0)
        self.status = "PROCESSING"
        self.moments: list[float] = []

    def tell_batch(self, after: float, status: str = "COMPLETED") -> None:
        """Let an event of the batch come after seconds."""
        told = BatchEvent(id="batch-0", status=status)
        self.clock.call_later(after, partial(self.receiver.deliver, told))

    def move(self, after: float, status: str) -> None:
        """Let the batch have another status after seconds."""
        self.clock.call_later(after, lambda: setattr(self, "status", status))

    async def wait(self, **settings: Any) -> str:
        """Wait for the batch; return its last status, and make sure that nothing is left."""
        async with self.client(limits=UNLIMITED) as client:
            wait = client.batches.wait_until_complete
            ended = await wait("batch-0", webhooks=self.receiver, **settings)
        return ended.status

    def _answer(self, request: Request) -> tuple[int, Any]:
        assert request.url.endswith("/v2/batch/batch-0")
        self.moments.append(self.clock.now())
        return 200, {"id": "batch-0", "status": self.status}


async def test_an_event_ends_the_pause_of_a_batch() -> None:
    """The batch is polled at once, and soon again where the service is late to show its end."""
    service = Batches()
    service.tell_batch(1000)
    service.move(1002.5, "COMPLETED")
    assert await service.wait() == "COMPLETED"
    assert service.clock.now() <= 1005
    assert next(moment for moment in service.moments if moment >= 1000) == 1000.0
    assert len(service.moments) <= 20


async def test_an_event_during_a_poll_of_a_batch_leads_to_one_more() -> None:
    """The answer in flight was made before the end."""
    service = Batches()
    service.way_back = 5.0
    service.move(1.0, "COMPLETED")
    service.tell_batch(1.0)
    assert await service.wait() == "COMPLETED"
    assert service.moments == [0.0, 5.0]


async def test_a_batch_without_events_is_polled_as_ever() -> None:
    """Pauses grow from 30 to 120 seconds, and the time is kept."""
    service = Batches()
    service.move(1000, "COMPLETED")
    assert await service.wait() == "COMPLETED"
    assert service.clock.now() <= 1000 + 120
    service.status = "PROCESSING"
    began = service.clock.now()
    with pytest.raises(JobTimeoutError):
        await service.wait(timeout=500)
    assert service.clock.now() == pytest.approx(began + 500)


async def test_an_event_counts_shortly_before_the_time_of_a_batch_is_over() -> None:
    """No poll is due any more, but the event leads to one."""
    service = Batches()
    service.move(499.5, "COMPLETED")
    service.tell_batch(499.5)
    assert await service.wait(timeout=500) == "COMPLETED"
    assert service.clock.now() == pytest.approx(499.5)


async def test_a_flood_of_events_of_a_batch_costs_few_requests() -> None:
    """Each status leads to a poll once, and no more than eight of them do."""
    service = Batches()
    with pytest.raises(JobTimeoutError):
        await service.wait(timeout=2)
    service.moments.clear()
    for number in range(1000):
        service.tell_batch(100 + number / 100, f"status {number % 50}")
        service.tell(f"another-{number}", 100 + number / 100)
    with pytest.raises(JobTimeoutError):
        await service.wait(timeout=120)
    flood = [moment for moment in service.moments if 100 <= moment <= 111]
    assert 8 <= len(flood) <= 8 + 8


async def test_cancelled_waits_for_batches_leave_nothing() -> None:
    """The receiver forgets the wait."""
    service = Batches()
    async with service.client() as client:
        wait = client.batches.wait_until_complete
        await cancel_when(
            lambda: service.moments != [],
            lambda: wait("batch-0", webhooks=service.receiver),
        )
    gc.collect()
    assert service.receiver._listeners == {}  # noqa: SLF001


async def test_a_thread_feeds_waits_in_other_threads_and_loops() -> None:
    """A web server's thread wakes a blocking client and an async one."""
    receiver = WebhookReceiver(SECRET)
    async with (
        opened("sockets", progression="manual") as (client, sandbox),
        entered("blocking", sandbox) as blocking,
    ):
        jobs = [await client.generations.create(**ORDER) for _ in range(2)]
        sandbox.requests.clear()
        with anyio.fail_after(20):
            async with (
                waiting(client, *jobs, webhooks=receiver) as first,
                waiting(blocking, *jobs, webhooks=receiver) as second,
            ):
                await until(lambda: sandbox.requests.count("GET") >= 2)  # both have polled
                for job in jobs:
                    sandbox.jobs.move(job.id, "PROCESSING")
                    sandbox.jobs.move(job.id, "COMPLETED")
                feeder = Thread(target=feed, args=(receiver, [job.id for job in jobs]))
                feeder.start()
                feeder.join()
    assert completed_of(first.outcomes) == completed_of(second.outcomes) == ids_of(jobs)


def feed(receiver: WebhookReceiver, jobs: list[str]) -> None:
    """Hand deliveries over, as a web server does."""
    for job in jobs:
        assert receiver.handle(*signed(job, "COMPLETED")) == 204
