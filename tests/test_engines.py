"""Task queues make one job of each request: keys, retries, and adapters without their servers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import procrastinate
import pytest
from anyio.lowlevel import checkpoint
from celery import Celery  # type: ignore[import-untyped]
from celery.exceptions import Reject  # type: ignore[import-untyped]
from hypothesis import given, strategies as st
from procrastinate.exceptions import UniqueViolation
from procrastinate.testing import InMemoryConnector

from lipsync_async import (
    AsyncClient,
    Audio,
    Client,
    Generation,
    GenerationRequest,
    RetryPolicy,
    Status,
    Video,
    errors,
)
from lipsync_async._logic.validation import argument_problems
from lipsync_async._models.http import Response
from lipsync_async.engines import (
    MAX_RETRIES,
    celery,
    key_of,
    made_once,
    procrastinate as adapter,
    retry_delay,
    should_retry,
)
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock
from tests.foreign import FOREIGN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

REQUEST = GenerationRequest(
    model="lipsync-2",
    input=[Video("https://media.example/v.mp4"), Audio("https://media.example/a.wav")],
)
TEXT = REQUEST.to_json()
PARTS = st.text() | st.integers(-3, 30) | st.sampled_from(["a~b", "a", "b", "~", "/", "x" * 128])


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Give a sandbox in memory, whose jobs take a minute of virtual time."""
    with Sandbox(render=False, progression="time(60)", clock=VirtualClock()) as made:
        yield made


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncClient]:
    """Give an async client of the test's sandbox."""
    reach: dict[str, Any] = {"api_key": sandbox.api_key, "base_url": sandbox.url}
    async with AsyncClient(**reach, transport=sandbox.transport()) as made:
        yield made


@pytest.fixture
def blocking(sandbox: Sandbox) -> Iterator[Client]:
    """Give a blocking client of the test's sandbox."""
    reach: dict[str, Any] = {"api_key": sandbox.api_key, "base_url": sandbox.url}
    with Client(**reach, transport=sandbox.transport()) as made:
        yield made


def keys_of(sandbox: Sandbox) -> list[str]:
    """Return the keys of the creates that arrived, each once."""
    creates = [each for each in sandbox.requests if each.path == "/v2/generate"]
    return [*dict.fromkeys(each.headers["idempotency-key"] for each in creates)]


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("episode-7",), "episode-7"),
        (("airflow", "dag", "run.1", "task", -1), "airflow~dag~run.1~task~-1"),
        (("celery", UUID(int=7)), "celery~00000000-0000-0000-0000-000000000007"),
        (("x" * 128,), "x" * 128),
    ],
)
def test_a_key_is_readable_where_it_can_be(parts: tuple[str | int | UUID, ...], key: str) -> None:
    """The parts in their order, as they are."""
    assert key_of(*parts) == key


@given(st.lists(PARTS.filter(lambda part: part != ""), min_size=1, max_size=4), st.data())
def test_keys_are_right_and_tell_parts_apart(parts: list[str | int], data: Any) -> None:
    """Whatever the parts are, the service takes the key; no other parts make it."""
    others = data.draw(st.lists(PARTS.filter(lambda part: part != ""), min_size=1, max_size=4))
    assert argument_problems(idempotency_key=key_of(*parts)) == []
    assert (key_of(*parts) == key_of(*others)) == ([*map(str, parts)] == [*map(str, others)])


RIGHT = "must be text that is not empty, a whole number or a UUID"


@pytest.mark.parametrize(
    ("parts", "problems"),
    [
        ((), ("parts: must not be empty",)),
        (("a", None), (f"parts[1]: {RIGHT}, not None",)),
        (("", True), (f"parts[0]: {RIGHT}, not ''", f"parts[1]: {RIGHT}, not True")),
    ],
)
def test_what_identifies_nothing_is_refused(parts: Any, problems: tuple[str, ...]) -> None:
    """All tasks without an id would share one job."""
    with pytest.raises(errors.InvalidRequestError) as caught:
        key_of(*parts)
    assert caught.value.problems == problems


@pytest.mark.parametrize("part", FOREIGN)
def test_foreign_parts_make_a_key_or_are_refused(part: Any) -> None:
    """Nothing else is raised."""
    with suppress(errors.InvalidRequestError):
        assert argument_problems(idempotency_key=key_of(part)) == []


# --- retries ------------------------------------------------------------------------------------


def answered(status: int, **facts: Any) -> errors.ResponseError:
    """Return the error of an answer."""
    response = Response(status=status, headers={}, body=b"", method="POST", url="https://h/")
    kind = errors.STATUS_ERRORS.get(status, errors.ServerError)
    return kind(response=response, message="no", **facts)


def unknown(error: errors.LipsyncError) -> errors.LipsyncError:
    """Return an error of a create that may have worked."""
    error.may_have_worked = True
    return error


WHERE: dict[str, Any] = {"method": "POST", "url": "https://h/"}
JOB = Generation(id="g", status=Status.FAILED, error_code="internal_error")
RETRIED = [
    errors.ConnectError("down", **WHERE),
    errors.ConnectionLostError("cut", **WHERE),
    errors.RequestTimeoutError("slow", **WHERE),
    errors.AccountStoreError("down"),
    errors.WaitTimeoutError(JOB, timeout=1.0),
    answered(500),
    answered(503),
    answered(429),
    unknown(errors.LipsyncError("cut")),
    unknown(answered(400)),
]
ENDED = [
    errors.GenerationFailedError(JOB),  # although a new create may succeed
    errors.GenerationRejectedError(JOB),
    errors.SpendingLimitError("enough"),
    errors.InvalidRequestError(["model: is wrong"]),
    errors.ConfigurationError("no key"),
    errors.ConnectError("untrusted", **WHERE, is_lasting=True),
    *map(answered, [400, 401, 402, 403, 404, 409, 413, 422]),
    OSError("foreign"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", RETRIED, ids=repr)
def test_what_a_repeat_may_bring_to_an_end_is_retried(error: Exception) -> None:
    """Under the same key it costs nothing."""
    assert should_retry(error)


@pytest.mark.parametrize("error", ENDED, ids=repr)
def test_what_stays_as_it_is_is_not_retried(error: BaseException) -> None:
    """A failed job stays failed under its key; a refused request stays refused."""
    assert not should_retry(error)


def test_delays_grow_to_a_minute() -> None:
    """However many retries there were."""
    assert [retry_delay(n) for n in (0, 1, 5, 6, 7, MAX_RETRIES, 10**9)] == [1, 2, 32, *[60] * 4]


def test_a_value_is_made_once() -> None:
    """All calls return the same, and an error is no value."""
    values: list[int] = []
    get = made_once(values.pop)
    with pytest.raises(IndexError):
        get()
    values += [8, 7]
    assert (get(), get()) == (7, 7)


# --- Procrastinate ------------------------------------------------------------------------------

ONCE = RetryPolicy(attempts=1)
TASK = "lipsync_async.generate"


class Queue:
    """Queue in memory, with the task of a client."""

    def __init__(self, client: AsyncClient, connector: InMemoryConnector, **settings: Any) -> None:
        self.jobs = connector.jobs
        self.results: list[Any] = []
        # No periodic job comes by itself, whatever the time of day is.
        self.app = procrastinate.App(connector=connector, periodic_defaults={"max_delay": 0})
        view = client.with_options(retry=ONCE, timeout=None)
        self.task = adapter.generation_task(self.app, lambda: view, **settings)

    async def work(self, **settings: Any) -> None:
        """Let a worker do what is queued, whenever it is due."""
        for row in self.jobs.values():
            row["scheduled_at"] = None
        quiet = {"wait": False, "install_signal_handlers": False} | settings
        async with self.app.open_async():
            await self.app.run_worker_async(worker_middleware=[self._keep_result], **quiet)

    async def rescue(self) -> None:
        """Let a worker rescue what is stalled, and do it."""
        await self.app.tasks[f"{TASK}.rescue"].defer_async(timestamp=0)
        await self.work()

    def states(self) -> list[str]:
        """Return how the jobs are, the periodic one left out."""
        return [row["status"] for row in self.jobs.values() if row["task_name"] == TASK]

    async def _keep_result(self, call_next: Any, *_: object) -> Any:
        result = await call_next()
        self.results += [result] if result is not None else []
        return result


@pytest.fixture
def queue(client: AsyncClient) -> Queue:
    """Give a queue of the test's sandbox."""
    return Queue(client, InMemoryConnector())


async def test_procrastinate_runs_a_job(queue: Queue, sandbox: Sandbox) -> None:
    """The result is plain; the key is the given one, or made of job and request."""
    await queue.task.defer_async(request=TEXT, key="episode-7", timeout=100)
    await queue.task.defer_async(request=TEXT)
    await queue.work()
    first, second = queue.results
    assert (first["status"], first["output_url"] is None) == ("COMPLETED", False)
    assert first["id"] != second["id"]
    assert keys_of(sandbox) == ["episode-7", key_of("procrastinate", TASK, "2", TEXT)]
    assert queue.states() == ["succeeded", "succeeded"]


async def test_procrastinate_hands_the_job_on(client: AsyncClient) -> None:
    """To a function of the user's, with the client, for a download, say."""

    async def size(client: AsyncClient, job: Generation) -> int:
        return len(await client.generations.download_bytes(job))

    queue = Queue(client, InMemoryConnector(), on_complete=size, queue="videos")
    await queue.task.defer_async(request=TEXT)
    await queue.work(queues=["videos"])
    assert queue.results == [1024]


@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
async def test_procrastinate_retries_with_the_same_key(
    queue: Queue, sandbox: Sandbox, fault: str
) -> None:
    """So there is one job, whatever became of the first try."""
    sandbox.faults.add(Fault(fault, method="POST"))
    await queue.task.defer_async(request=TEXT)
    await queue.work()
    assert (queue.states(), queue.results) == (["todo"], [])
    await queue.work()
    assert (queue.states(), len(queue.results)) == (["succeeded"], 1)
    assert (len(keys_of(sandbox)), sandbox.jobs.created) == (1, 1)


@pytest.mark.parametrize("fault", ["fail_job", "reject_job", "status"])
async def test_procrastinate_ends_with_what_stays(
    queue: Queue, sandbox: Sandbox, fault: str
) -> None:
    """A job that has failed, and a request that is refused, are not tried again."""
    sandbox.faults.add(Fault(fault, status=402 if fault == "status" else None))
    await queue.task.defer_async(request=TEXT)
    await queue.work()
    await queue.work()
    assert queue.states() == ["failed"]
    assert sandbox.requests.count("POST", "/v2/generate") == 1


async def test_procrastinate_gives_up_in_the_end(queue: Queue, sandbox: Sandbox) -> None:
    """A service that is gone for hours is reported."""
    sandbox.faults.add(Fault("status", status=503, method="POST", count=None))
    await queue.task.defer_async(request=TEXT)
    for _ in range(MAX_RETRIES):
        await queue.work()
        assert queue.states() == ["todo"]
    await queue.work()
    assert queue.states() == ["failed"]


async def work_until_polled(queue: Queue, sandbox: Sandbox) -> asyncio.Task[None]:
    """Start a worker, and return when it waits for its job."""
    sandbox.faults.add(Fault("hang", method="GET"))
    await queue.task.defer_async(request=TEXT, key="k", timeout=None)
    worker = asyncio.create_task(queue.work(wait=True, shutdown_graceful_timeout=0))
    while not sandbox.requests.count("GET"):
        await checkpoint()
    return worker


async def test_a_worker_that_stops_gives_its_jobs_back(queue: Queue, sandbox: Sandbox) -> None:
    """Another one waits for the same job at the service."""
    worker = await work_until_polled(queue, sandbox)
    worker.cancel()
    await asyncio.wait([worker])
    assert queue.states() == ["todo"]
    await queue.work()
    assert (queue.states(), sandbox.jobs.created) == (["succeeded"], 1)


async def test_what_only_on_complete_cancels_ends_the_task(client: AsyncClient) -> None:
    """Again and again at once, it would use up the account's creates."""

    async def give_up(*_: object) -> None:
        raise asyncio.CancelledError

    queue = Queue(client, InMemoryConnector(), on_complete=give_up)
    await queue.task.defer_async(request=TEXT)
    await queue.work()
    assert queue.states() == ["failed"]


async def test_an_aborted_job_does_not_come_back(queue: Queue, sandbox: Sandbox) -> None:
    """The user does not want it any more."""
    worker = await work_until_polled(queue, sandbox)
    assert await queue.app.job_manager.cancel_job_by_id_async(1, abort=True)
    while queue.states() == ["doing"]:
        await checkpoint()
    worker.cancel()
    await asyncio.wait([worker])
    assert queue.states() == ["aborted"]


def lose_worker(queue: Queue, number: int) -> None:
    """Leave a job as a worker that was killed leaves it."""
    queue.jobs[number].update(status="doing", worker_id=None)


async def test_jobs_of_dead_workers_are_rescued(queue: Queue) -> None:
    """Those of other tasks are left alone: they may not be safe to repeat."""

    @queue.app.task(name="other")
    async def other() -> None: ...

    await queue.task.defer_async(request=TEXT)
    await other.defer_async()
    for number in (1, 2):
        lose_worker(queue, number)
    await queue.work()
    assert queue.states() == ["doing"]
    await queue.rescue()
    assert (queue.states(), queue.jobs[2]["status"]) == (["succeeded"], "doing")


@pytest.mark.parametrize("is_stalled", [True, False])
async def test_a_request_that_is_queued_again_ends_once(
    queue: Queue, sandbox: Sandbox, *, is_stalled: bool
) -> None:
    """PostgreSQL refuses to queue the first one beside the second, which has the same key."""
    named = queue.task.configure(queueing_lock="k", lock="k")
    await named.defer_async(request=TEXT, key="k")
    if is_stalled:
        lose_worker(queue, 1)
        await named.defer_async(request=TEXT, key="k")
        await queue.rescue()
    else:
        sandbox.faults.add(Fault("hang", method="POST", seconds=1.0))
        worker = asyncio.create_task(queue.work())
        while not sandbox.requests.count("POST"):
            await checkpoint()
        await named.defer_async(request=TEXT, key="k")
        await worker
    assert (queue.states(), len(queue.results)) == (["aborted", "succeeded"], 1)
    assert (keys_of(sandbox), sandbox.jobs.created) == (["k"], 1)


class Strict(InMemoryConnector):
    """Connector that refuses to queue a second job with a queueing lock, as PostgreSQL does."""

    async def retry_job_run(self, job_id: int, *arguments: Any, **named: Any) -> None:
        """Queue a job again."""
        lock = self.jobs[job_id]["queueing_lock"]
        if lock in [row["queueing_lock"] for row in self.jobs.values() if row["status"] == "todo"]:
            raise UniqueViolation(constraint_name="", queueing_lock=lock)
        await super().retry_job_run(job_id, *arguments, **named)


async def test_another_job_with_the_queueing_lock_delays_a_rescue(
    client: AsyncClient,
) -> None:
    """Nothing is lost: the stalled job is queued once the other has begun."""
    queue = Queue(client, Strict())
    named = queue.task.configure(queueing_lock="k")
    await named.defer_async(request=TEXT, key="first")
    lose_worker(queue, 1)
    await named.defer_async(request=TEXT, key="second")
    queue.jobs[2]["priority"] = -1
    await queue.rescue()
    assert queue.states() == ["doing", "succeeded"]
    await queue.rescue()
    assert queue.states() == ["succeeded", "succeeded"]


# --- Celery -------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Celery:
    """Give an app that runs its tasks at once."""
    made = Celery("tests", set_as_current=False)
    made.conf.update(task_always_eager=True, **celery.worker_settings(visibility_timeout=300))
    return made


def task_of(app: Celery, client: Client, **settings: Any) -> Any:
    """Return the task of a client that does not retry by itself."""
    view = client.with_options(retry=ONCE)
    return celery.generation_task(app, lambda: view, **settings)


def test_celery_runs_a_job(app: Celery, blocking: Client, sandbox: Sandbox) -> None:
    """The result is plain; the key is the given one, or the task's id."""
    task = task_of(app, blocking)
    first = task.delay(TEXT, key="episode 7", timeout=100)
    second = task.apply_async((TEXT,), task_id="t2")
    assert (first.get()["status"], second.get()["output_url"] is None) == ("COMPLETED", False)
    assert keys_of(sandbox) == [key_of("episode 7"), "celery~t2"]
    assert (task.acks_late, task.reject_on_worker_lost) == (True, True)
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.broker_transport_options["visibility_timeout"] == 300


def test_celery_hands_the_job_on(app: Celery, blocking: Client) -> None:
    """To a function of the user's, with the client."""

    def size(client: Client, job: Generation) -> int:
        return len(client.generations.download_bytes(job))

    task = task_of(app, blocking, on_complete=size, name="size", max_retries=1)
    assert (task.delay(TEXT).get(), task.name, task.max_retries) == (1024, "size", 1)


@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
def test_celery_retries_with_the_same_key(
    app: Celery, blocking: Client, sandbox: Sandbox, fault: str
) -> None:
    """So there is one job, whatever became of the first try."""
    sandbox.faults.add(Fault(fault, method="POST"))
    result = task_of(app, blocking).delay(TEXT)
    assert result.get()["status"] == "COMPLETED"
    assert (len(keys_of(sandbox)), sandbox.jobs.created) == (1, 1)
    assert sandbox.requests.count("POST", "/v2/generate") == 2


@pytest.mark.parametrize(
    "case",
    [
        (Fault("fail_job"), 1, errors.GenerationFailedError),
        (Fault("status", status=402), 1, errors.PaymentRequiredError),
        (Fault("status", status=503, count=None), 3, errors.ServerError),
    ],
)
def test_celery_ends_with_what_stays(
    app: Celery, blocking: Client, sandbox: Sandbox, case: tuple[Fault, int, type[Exception]]
) -> None:
    """The error is the client's own."""
    fault, count, kind = case
    sandbox.faults.add(fault)
    result = task_of(app, blocking, max_retries=2).delay(TEXT)
    assert (result.state, type(result.result)) == ("FAILURE", kind)
    assert sandbox.requests.count("POST", "/v2/generate") == count


def test_celery_keeps_a_task_whose_retry_it_cannot_send(blocking: Client, sandbox: Sandbox) -> None:
    """Otherwise a broker that is down or full for a moment would lose the task."""
    app = Celery("tests", set_as_current=False, broker="redis://127.0.0.1:1")
    app.conf.update(task_publish_retry=False)
    task = task_of(app, blocking)
    sandbox.faults.add(Fault("reset_after", method="POST"))
    task.push_request(id="t1", called_directly=False)
    with pytest.raises(Reject) as told:
        task.run(TEXT)
    task.pop_request()
    assert told.value.requeue
    assert isinstance(told.value.__cause__, errors.ConnectionLostError)


@pytest.mark.parametrize("error", [*RETRIED, *ENDED], ids=repr)
def test_an_error_that_celery_builds_anew_can_be_read(error: BaseException) -> None:
    """Its result store keeps the class and the message, as JSON."""
    store = Celery("tests", set_as_current=False, backend="cache+memory://").backend
    built = store.exception_to_python(store.prepare_exception(error, "json"))
    assert type(error).__name__ in repr(built)
    assert str(error.args[0] if error.args else "") in str(built).replace("\\n", "\n")


def test_a_task_without_an_id_needs_a_key(app: Celery, blocking: Client) -> None:
    """Called as a function, it has no identity, and all calls would share one job."""
    task = task_of(app, blocking)
    with pytest.raises(errors.InvalidRequestError, match="must be text that is not empty"):
        task(TEXT)
    assert task(TEXT, key="k")["status"] == "COMPLETED"
