"""Waiting for a budget, a slot or another's look: in time, told in the log, and never for ever."""

from __future__ import annotations

import asyncio
import gc
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    ConcurrencyLimitError,
    ConfigurationError,
    Generation,
    Limits,
    LipsyncError,
    RateLimitError,
    Response,
    RetryPolicy,
    WaitTimeoutError,
)
from lipsync_async._callsite import tell_under_way
from lipsync_async.sandbox.faults import Fault, concurrency_limited, rate_limited
from tests.bulk.runs import made, opened, refusals, requests, slots
from tests.client.connections import ORDER, UNLIMITED, order
from tests.client.test_malformed_answers import Service, caught, job
from tests.client.waiters import wait_for_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from lipsync_async.sandbox import Sandbox

    Situation = Callable[[AsyncClient, Sandbox, Generation], Awaitable[None]]


async def full_minute(client: AsyncClient, _: Sandbox, job: Generation) -> None:
    """Use up the requests of a minute."""
    for _turn in range(5):
        await client.generations.get(job)


async def pause(client: AsyncClient, sandbox: Sandbox, job: Generation) -> None:
    """Have a refusal stop all requests."""
    sandbox.faults.add(rate_limited(3600.0, path=None))
    await caught(client.with_options(retry=RetryPolicy(attempts=1)).generations.get(job))


LOOKS: dict[str, Any] = {"method": "GET", "count": None}
NO_ANSWER = Fault("hang", **LOOKS)
FAILURE = Fault("status", status=599, **LOOKS)
A_YEAR = rate_limited(31_536_000.0, path=None, count=None)
# What is in the way, of each look or made before the first.
SITUATIONS: dict[str, tuple[Fault | Situation | None, Limits]] = {
    "nothing": (None, UNLIMITED),
    "a full minute": (full_minute, Limits(requests_per_minute=5)),
    "a pause": (pause, Limits()),
    "pauses without end": (A_YEAR, Limits()),
    "pauses without limits": (A_YEAR, UNLIMITED),
    "no answer": (NO_ANSWER, UNLIMITED),
    "no answer, one a minute": (NO_ANSWER, Limits(requests_per_minute=1)),
    "late answers": (Fault("latency", seconds=100.0, **LOOKS), UNLIMITED),
    "failures": (FAILURE, UNLIMITED),
    "failures, one a minute": (FAILURE, Limits(requests_per_minute=1)),
    "no connection": (Fault("reset_before", **LOOKS), UNLIMITED),
    "another job": (Fault("replace_fields", fields={"id": "another"}, **LOOKS), UNLIMITED),
}
TIMEOUTS = (1e-6, 0.5, 1.0, 3.0, 29.7, 100.0)


@pytest.mark.traced_once("name", "waits")
@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("waits", [1, 6])
async def test_a_wait_is_over_in_time(name: str, waits: int) -> None:
    """Whatever stands before it, and however many wait: to the moment, as `WaitTimeoutError`."""
    situation, limits = SITUATIONS[name]
    for timeout in TIMEOUTS:
        world = opened(limits, {"timeout": 30.0}, progression="manual")
        async with world as (client, sandbox, clock):
            jobs = [await order(client) for _ in range(waits)]
            if isinstance(situation, Fault):
                sandbox.faults.add(situation)
            elif situation is not None:
                await situation(client, sandbox, jobs[0])
            begun = clock.now()
            ends = await wait_for_all(client, jobs, timeout=timeout)
            assert [type(end) for end in ends.values()] == [WaitTimeoutError] * waits
            assert clock.now() - begun == pytest.approx(timeout, abs=1e-6)


@pytest.mark.parametrize("behind", [1, 20, 200])
async def test_a_wait_leaves_the_line_in_time(behind: int) -> None:
    """With many in line before and after it, it does not wait for its turn to be late."""
    async with opened(Limits(requests_per_minute=6), progression="manual") as (client, _, clock):
        job = await order(client)
        async with anyio.create_task_group() as tasks:
            for _ in range(behind):
                tasks.start_soon(client.generations.get, job)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            with pytest.raises(WaitTimeoutError):
                await client.generations.wait_until_complete(job, timeout=3.0)
            assert clock.now() == pytest.approx(3.0)
            tasks.cancel_scope.cancel()


NOW = {"Date": "Sat, 28 Nov 2026 00:00:00 GMT"}
ABSURD: dict[str, dict[str, Any]] = {
    "a day": {"headers": {"Retry-After": "86400"}},
    "a year in the body": {"body": {"retryAfterSeconds": 31_536_000}},
    "milliseconds by mistake": {"headers": {"Retry-After": "30000"}},
    "milliseconds as such": {"headers": {"Retry-After-Ms": "90000000"}},
    "1e300": {"headers": {"Retry-After": "1e300"}},
    "a number of 5,000 digits": {"headers": {"Retry-After": "9" * 5000}},
    "5,000 digits in the body": {"body": '{"retryAfterSeconds": ' + "9" * 5000 + "}"},
    "infinity": {"headers": {"Retry-After": "inf"}},
    "minus infinity": {"headers": {"Retry-After": "-inf"}},
    "NaN": {"headers": {"Retry-After": "nan"}},
    "NaN in the body": {"body": '{"retryAfterSeconds": NaN}'},
    "below zero": {"headers": {"Retry-After": "-86400"}},
    "below zero in the body": {"body": {"retryAfterSeconds": -1e9}},
    "the year 9999": {"headers": NOW | {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}},
    "the year 1": {"headers": NOW | {"Retry-After": "Mon, 01 Jan 0001 00:00:00 GMT"}},
    "a day of no month": {"headers": {"Retry-After": "Sat, 31 Feb 2026 00:00:00 GMT"}},
    "words": {"headers": {"Retry-After": "soon"}},
    "nothing": {"headers": {"Retry-After": ""}},
    "true": {"body": {"retryAfterSeconds": True}},
    "text": {"body": {"retryAfterSeconds": "1e12"}},
    "a list": {"body": {"retryAfterSeconds": [1e12]}},
    "an object": {"body": {"retryAfterSeconds": {"seconds": 1e12}}},
    "null": {"body": {"retryAfterSeconds": None}},
    "two that differ": {"headers": {"Retry-After": "5"}, "body": {"retryAfterSeconds": 1e12}},
}


def refusal(name: str, **where: Any) -> Fault:
    """Return a 429 that asks for an absurd pause."""
    told = dict(ABSURD[name])
    if isinstance(told.get("body"), dict):
        told["body"] = {"message": "Slow down.", "errorCode": "rate_limit_exceeded", **told["body"]}
    return Fault("status", status=429, **where, **told)


@pytest.mark.traced_once("name", "method")
@pytest.mark.parametrize("name", ABSURD)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_absurd_pause_stops_nothing_for_long(
    name: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A minute at most, told in the log with the setting's name; and the other class goes on."""
    caplog.set_level("INFO")
    async with opened(Limits(), progression="manual") as (client, sandbox, clock):
        job = await order(client)
        sandbox.faults.add(refusal(name, method=method))
        generations = client.with_options(retry=RetryPolicy(attempts=1)).generations
        same, other = partial(generations.get, job), partial(order, client)
        if method == "POST":
            same, other = partial(generations.create, **ORDER), same
        assert isinstance(await caught(same()), RateLimitError)
        await other()
        assert clock.now() == 0.0
        await same()
        assert clock.now() <= 60.0
        setting = "creates_per_minute=60" if method == "POST" else "requests_per_minute=600"
        assert f"see Limits.{setting}" in caplog.text


@pytest.mark.parametrize("give_up_after", [0.5, 3.0, 20.0, 300.0, None])
async def test_a_pause_ends_when_its_call_gives_up(give_up_after: float | None) -> None:
    """Who is impatient is not held up for longer by what was told to another call."""
    retry = RetryPolicy(attempts=1, give_up_after=give_up_after)
    async with opened(Limits(), {"retry": retry}) as (client, sandbox, clock):
        sandbox.faults.add(rate_limited(86_400.0, path=None))
        assert isinstance(await caught(client.generations.count()), RateLimitError)
        await client.generations.count()
        assert clock.now() == pytest.approx(min(60.0, give_up_after or 60.0))


async def test_without_a_limit_a_told_year_is_an_hour() -> None:
    """A call that never gives up asks again within the hour, whatever it was told."""
    retry = RetryPolicy(give_up_after=None)
    async with opened(UNLIMITED, {"retry": retry}) as (client, sandbox, clock):
        sandbox.faults.add(rate_limited(31_536_000.0, path=None))
        await client.generations.count()
        assert clock.now() == 3600.0


@pytest.mark.parametrize("waits", [1, 6])
async def test_waits_outlast_an_absurd_pause(waits: int) -> None:
    """One 429 that names a year does not end the waits for jobs that are paid for."""
    async with opened(UNLIMITED, progression="time(100)") as (client, sandbox, clock):
        jobs = [await order(client) for _ in range(waits)]
        sandbox.faults.add(rate_limited(31_536_000.0, path=None))
        ends = await wait_for_all(client, jobs)
        assert all(isinstance(end, Generation) and end.is_completed for end in ends.values())
        assert clock.now() <= 200


ODD_LIMITS: list[Any] = [0, -1, 10**30, "3", True, 3.0, 2.5, None, [3], {"now": 3}]
ODD_ACTIVES: list[Any] = [0, -5, 10**30, "3", False, 7.0, None, []]
ODD_PAUSES: list[Any] = [31_536_000, 30_000, 1e300, 10**400, -1, 0, "soon", True, None, []]
ODD_REFUSALS: dict[str, dict[str, Any]] = {
    **{f"limit {value!r:.12}": {"concurrencyLimit": value} for value in ODD_LIMITS},
    **{f"active {value!r:.12}": {"activeGenerations": value} for value in ODD_ACTIVES},
    **{f"pause {value!r:.12}": {"retryAfterSeconds": value} for value in ODD_PAUSES},
    "limit and active disagree": {"concurrencyLimit": 3, "activeGenerations": 10**9},
    "less than nothing": {"concurrencyLimit": -3, "activeGenerations": -3},
}


@pytest.mark.traced_once("name", "verb")
@pytest.mark.parametrize("name", ODD_REFUSALS)
@pytest.mark.parametrize("verb", ["run", "run_many"])
async def test_an_odd_refusal_costs_a_minute_at_most(name: str, verb: str) -> None:
    """Whatever a refusal says of the account, creates are asked for again and all jobs run."""
    body = {"errorCode": "concurrency_limit_reached", "message": "Full.", **ODD_REFUSALS[name]}
    fault = Fault("status", method="POST", status=429, body=body)
    world = opened(slots(None), concurrency=3, progression="time(10)")
    async with world as (client, sandbox, clock):
        sandbox.faults.add(fault)
        if verb == "run":
            async with anyio.create_task_group() as tasks:
                for request in requests(4):
                    tasks.start_soon(client.generations.run, request)
        else:
            outcomes = await client.generations.run_all(requests(4))
            assert all(each.is_success for each in outcomes)
        assert set(made(sandbox).values()) == {1}
        assert len(made(sandbox)) == 4
        assert clock.now() <= 60 + 4 * 16


@pytest.mark.parametrize("told", [None, 0.0, 1.0, 30.0, 31_536_000.0])
@pytest.mark.parametrize("slot_timeout", [0.5, 4.0, 100.0])
@pytest.mark.parametrize("verb", ["create", "run_many"])
async def test_others_keep_all_slots(told: float | None, slot_timeout: float, verb: str) -> None:
    """A create is given up when its patience is over, and asks until then, but not in a rush."""
    retry = RetryPolicy(slot_timeout=slot_timeout)
    async with opened(UNLIMITED, {"retry": retry}) as (client, sandbox, clock):
        sandbox.faults.add(concurrency_limited(3, retry_after_seconds=told, count=None))
        if verb == "create":
            error = await caught(order(client))
        else:
            (outcome,) = await client.generations.run_all(requests(1))
            error = outcome.error
        assert isinstance(error, ConcurrencyLimitError)
        assert slot_timeout <= clock.now() <= 2 * slot_timeout + 1e-6
        assert 2 <= len(sandbox.requests) <= slot_timeout / min(1.0, slot_timeout) + 3


async def test_a_job_that_never_ends_blocks_no_create_for_ever() -> None:
    """After the time that jobs take, and `slot_timeout`, the service is asked to judge."""
    async with opened(slots(1), concurrency=1, progression="manual") as (client, sandbox, clock):
        await order(client)
        error = await caught(order(client))
        assert isinstance(error, ConcurrencyLimitError)
        assert clock.now() == pytest.approx(7200 + 3600)
        assert sandbox.requests.count("POST") == 2


async def test_a_limit_that_is_too_low_blocks_no_create_for_ever() -> None:
    """When the service accepts past what was believed, the create succeeds."""
    async with opened(slots(1), progression="manual") as (client, sandbox, clock):
        await order(client)
        assert (await order(client)).id
        assert clock.now() == pytest.approx(7200 + 3600)
        assert refusals(sandbox) == 0


def forgotten(shown: Callable[[str, int], Any]) -> Service:
    """Return a service whose looks show what a test wants, by path and number."""
    numbers: Iterator[int] = iter(range(10_000))
    made: list[str] = []

    def judge(method: str, path: str, _: dict[str, list[str]]) -> Any:
        if method == "POST":
            made.append(f"job-{len(made)}")
            return 201, job(made[-1], "PENDING"), {}
        return shown(path, next(numbers))

    return Service(judge)


FORGOTTEN: dict[str, tuple[Callable[[str, int], Any], float]] = {
    "over": (lambda *_: (200, [job("job-0"), job("job-1")], {}), 0.1),
    "gone": (lambda *_: (200, [], {}), 0.1),
    "others only": (lambda *_: (200, [job("x"), job("y")], {}), 0.1),
    "over at the third look": (
        lambda _, n: (200, [job("job-0", ["PENDING", "FAILED"][n > 1]), job("job-1", "NEW")], {}),
        11.0,
    ),
    "no list": (lambda path, _: (400, {}, {}) if path == "/v2/generations" else (404, {}, {}), 6.0),
    "no list, but the job": (
        lambda path, _: (405, {}, {}) if path == "/v2/generations" else (200, job(path[-5:]), {}),
        6.0,
    ),
    "no answer at first": (lambda _, n: (200, [], {}) if n > 2 else (599, b"", {}), 16.0),
    "no JSON at first": (lambda _, n: (200, [], {}) if n > 1 else (200, b"<html>", {}), 11.0),
}


@pytest.mark.parametrize("name", FORGOTTEN)
@pytest.mark.parametrize("verb", ["create", "run_many"])
async def test_forgotten_jobs_are_looked_at(name: str, verb: str) -> None:
    """Who lacks a slot looks after the jobs that nothing else does, in the way that works."""
    shown, latest = FORGOTTEN[name]
    service = forgotten(shown)
    async with service.client(limits=slots(2)) as client:
        for _ in range(2):
            await order(client)
        if verb == "create":
            await order(client)
        else:
            async with client.generations.run_many(requests(1)):
                await service.clock.sleep(latest - service.clock.now())
    assert service.clock.now() <= latest
    assert service.asked.count("POST /v2/generate") == 3


def said(caplog: pytest.LogCaptureFixture, setting: str) -> list[str]:
    """Return what was logged at INFO with a setting's name."""
    found = [entry for entry in caplog.records if setting in entry.getMessage()]
    assert {entry.levelno for entry in found} <= {logging.INFO}
    return [entry.getMessage() for entry in found]


@pytest.mark.parametrize(
    ("limits", "setting", "verb"),
    [
        (attrs.evolve(UNLIMITED, creates_per_minute=20), "creates_per_minute=20", "create"),
        (attrs.evolve(UNLIMITED, requests_per_minute=30), "requests_per_minute=30", "get"),
        (slots(3), "concurrent_generations=3", "create"),
        (slots(3), "concurrent_generations=3", "run_many"),
        (slots(None), "concurrent_generations=None (the service has told 3)", "create"),
    ],
)
async def test_who_waits_says_so(
    limits: Limits, setting: str, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a second, once, with the setting's name; those who wait for less say nothing."""
    caplog.set_level("INFO")
    setting = f"Limits.{setting}"
    concurrency = 3 if "concurrent" in setting else None
    world = opened(limits, concurrency=concurrency, progression="manual")
    async with world as (client, sandbox, clock):
        made = await order(client)

        async def act() -> None:
            if verb == "run_many":
                await client.generations.run_all(requests(5))
            elif verb == "create":
                await order(client)
            else:
                await client.generations.get(made)

        async with anyio.create_task_group() as tasks:
            for _ in range(1 if verb == "run_many" else 40):
                tasks.start_soon(act)
            await clock.sleep(0.9)
            assert said(caplog, setting) == []
            await clock.sleep(0.2)
            lines = said(caplog, setting)
            assert all("wait" in line for line in lines)
            # Those who wait for as long are told of together.
            assert 1 <= len(lines) <= 2
            await clock.sleep(20.0)
            assert len(said(caplog, setting)) <= 12
            tasks.cancel_scope.cancel()
        assert len(sandbox.requests) >= 4


class Left:
    """A service whose client leaves calls in a loop that is closed without their ends."""

    def __init__(self, code: str | None = None) -> None:
        self.service = Service(self._judge)
        self.code = code
        self.refusals = 8 if code else 0
        self.made = 0

    def _judge(self, method: str, path: str, _: dict[str, list[str]]) -> Any:
        if self.refusals:
            self.refusals -= 1
            return 429, {"errorCode": self.code, "concurrencyLimit": 1}, {}
        if method == "POST":
            self.made += 1
            return 201, job(f"job-{self.made}", "PENDING"), {}
        if path == "/v2/generations":
            return 200, [job(f"job-{number}") for number in range(1, self.made + 1)], {}
        return 200, job(path.rpartition("/")[2]), {}

    def leave(self, call: Coroutine[Any, Any, Any]) -> tuple[object, ...]:
        """Begin a call and close its loop in the midst of it; return what keeps both."""

        async def begin() -> asyncio.Task[Any]:
            begun = asyncio.create_task(call)
            await self.service.clock.sleep(1.5)
            return begun

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        left = loop.run_until_complete(begin())
        loop.close()
        return left, loop


async def begun_at_once(client: AsyncClient, verb: str) -> None:
    """Order, look or wait many times at once, or run many requests."""
    verbs: dict[str, Callable[[int], Coroutine[Any, Any, Any]]] = {
        "create": lambda _: order(client),
        "get": lambda _: client.generations.get("job-1"),
        "wait": lambda number: client.generations.wait_until_complete(f"job-{number}"),
        "run_many": lambda number: client.generations.run_all(requests(number)),
    }
    async with anyio.create_task_group() as tasks:
        for number in [30] if verb == "run_many" else range(30):
            tasks.start_soon(verbs[verb], number)


LEFT: dict[str, tuple[Limits, dict[str, Any], str]] = {
    "creates in line": (Limits(creates_per_minute=120), {}, "create"),
    "looks in line": (Limits(requests_per_minute=60), {}, "get"),
    "waits": (Limits(requests_per_minute=60), {}, "wait"),
    "creates without a slot": (slots(2), {}, "create"),
    "a run without a slot": (slots(2), {}, "run_many"),
    "a run": (Limits(), {}, "run_many"),
    "creates that were refused": (UNLIMITED, {"code": "rate_limit_exceeded"}, "create"),
    "creates refused a slot": (UNLIMITED, {"code": "concurrency_limit_reached"}, "create"),
}


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("is_kept", [False, True], ids=["collected", "kept"])
def test_a_closed_loop_leaves_nothing_in_the_way(name: str, is_kept: bool) -> None:  # noqa: FBT001
    """However calls were left, a new loop's get through, as soon as the limits allow."""
    limits, settings, verb = LEFT[name]
    left = Left(**settings)
    client = left.service.client(limits=limits)

    async def go_on() -> None:
        left.refusals = 0
        begun = left.service.clock.now()
        made = await order(client)
        assert (await client.generations.get(made)).id == made.id
        assert (await client.generations.wait_until_complete(made)).is_completed
        assert left.service.clock.now() - begun <= 130

    kept = left.leave(begun_at_once(client, verb))
    if not is_kept:
        del kept
        gc.collect()
    for _ in range(2):
        asyncio.run(go_on())
    tell_under_way()  # what the closed loop has left, before the end of this program does


@pytest.mark.parametrize("verb", ["create", "run", "run_many"])
async def test_closing_ends_what_waits_for_a_slot(verb: str) -> None:
    """Though the job that has it is looked at meanwhile: at once, with one clear word."""
    async with opened(slots(1), progression="manual") as (client, _, clock):
        await order(client)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "create": lambda: order(client),
            "run": lambda: client.generations.run(**ORDER),
            "run_many": lambda: client.generations.run_all(requests(5)),
        }
        errors: list[LipsyncError | None] = []

        async def act() -> None:
            errors.append(await caught(calls[verb]()))

        async with anyio.create_task_group() as tasks:
            for _ in range(1 if verb == "run_many" else 20):
                tasks.start_soon(act)
            await clock.sleep(2.0)
            await client.aclose()
        assert {type(error) for error in errors} == {ConfigurationError}
        assert clock.now() <= 3.0


@pytest.mark.parametrize("error", [LookupError("mine"), LipsyncError("mine")])
@pytest.mark.parametrize("verb", ["create", "run_many"])
async def test_what_a_callback_raises_at_a_look_for_slots_comes_out(
    error: Exception, verb: str
) -> None:
    """The look is made by the settings of the call that lacks a slot, its callback included."""
    service = forgotten(lambda *_: (200, [], {}))
    async with service.client(limits=slots(1)) as client:
        await order(client)

        def complain(_: Response) -> None:
            raise error

        view = client.with_options(on_response=complain)
        call = order(view) if verb == "create" else view.generations.run_all(requests(2))
        with pytest.raises(type(error), match="mine"):
            await call


async def test_a_refusal_that_a_callback_makes_up_pauses_nothing() -> None:
    """What a callback raises is its own, even if it is an error of this package."""
    async with opened(Limits()) as (client, sandbox, clock):
        sandbox.faults.add(rate_limited(3600.0, path=None))
        answers: list[Response] = []
        retry = RetryPolicy(attempts=1, give_up_after=0.001)
        hasty = client.with_options(on_response=answers.append, retry=retry)
        error = await caught(hasty.generations.count())
        assert isinstance(error, RateLimitError)

        def complain(_: Response) -> None:
            raise error

        with pytest.raises(RateLimitError):
            await client.with_options(on_response=complain).generations.count()
        begun = clock.now()
        await client.generations.count()
        assert clock.now() == begun


async def test_a_job_that_two_waits_look_after() -> None:
    """Its slot is held until the last of them has left, and free when its end was seen."""
    async with opened(slots(1), progression="time(10)") as (client, _, clock):
        job = await order(client)
        async with anyio.create_task_group() as tasks:
            for timeout in (3.0, 20.0, 30.0):
                wait = client.generations.wait_until_complete(job, timeout=timeout)
                tasks.start_soon(caught, wait)
            await clock.sleep(5.0)
            assert client._requester.account.slots.used == 1  # noqa: SLF001
        assert client._requester.account.slots.used == 0  # noqa: SLF001


async def test_patience_may_be_endless() -> None:
    """Without a `slot_timeout` a create waits for as long as a job takes."""
    patient = {"retry": RetryPolicy(slot_timeout=None)}
    async with opened(slots(1), patient, progression="time(11000)") as (client, sandbox, clock):
        await order(client)
        await order(client)
        assert 11_000 <= clock.now() <= 11_006  # longer than an hour, and the two of a job
        assert sandbox.jobs.created == 2
