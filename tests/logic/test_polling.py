"""The rules of waiting, over thousands of lives of a job and every kind of service."""

from __future__ import annotations

import json
from itertools import pairwise
from math import inf
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async import ConnectError, DecodeError, Response
from lipsync_async._logic import endpoints, polling
from lipsync_async._logic.polling import LastPoll, NextPoll, poll_schedule
from lipsync_async._models.policies import PollPolicy

# The last look is made a second before the time is over, so that it can be answered.
LAST_POLL = 1.0
ROUNDING = 1e-6


@attrs.frozen(slots=True)
class Service:
    """Hold how a service answers a look."""

    honours: bool  # whether it holds a request open when asked to
    tells: bool  # whether it says that it does, truly or not
    latencies: list[float]  # seconds that its answers take, in turn
    retry_after: float | None  # seconds that it asks to wait


@attrs.frozen(slots=True)
class Made:
    """Hold one look that was made, and when."""

    look: NextPoll
    start: float
    took: float


POLICIES = st.builds(
    PollPolicy,
    initial_interval=st.floats(0.5, 20),
    backoff_factor=st.floats(1, 4),
    max_interval=st.floats(0.5, 30),
    long_poll=st.none() | st.floats(1, 10),
    progress=st.booleans(),
)
SERVICES = st.builds(
    Service,
    honours=st.booleans(),
    tells=st.booleans(),
    latencies=st.lists(st.just(0.0) | st.floats(0, 15), min_size=1, max_size=5),
    retry_after=st.none() | st.floats(0, 20),
)
TIMEOUTS = st.floats(0.001, 300)
# Seconds after which a job ends; some never do.
ENDS = st.floats(0, 600)
# A clock that has run for long counts in coarser steps.
STARTS = st.sampled_from([0.0, 12_345.678, 2.0**33])


def wait(
    policy: PollPolicy, end: float, service: Service, timeout: float | None, started: float = 0.0
) -> tuple[list[Made], float]:
    """Wait for a job as a client does; return the looks made and the time at the end."""
    now = started
    made: list[Made] = []
    total = inf if timeout is None else timeout
    steps = poll_schedule(policy, remaining=total)
    look = next(steps)
    while True:
        now += look.pause
        latency = service.latencies[len(made) % len(service.latencies)]
        took = latency + held_for(look, end, service, now - started)
        made.append(Made(look, now - started, took))
        now += took
        if now - started >= end:
            return made, now - started
        seen = LastPoll(
            took=took,
            remaining=total - (now - started),
            is_honoured=service.tells or look.hold is None or took >= 0.9 * look.hold,
            retry_after=service.retry_after,
        )
        try:
            look = steps.send(seen)
        except StopIteration:
            return made, now - started


def held_for(look: NextPoll, end: float, service: Service, elapsed: float) -> float:
    """Return the seconds for which the service holds a look open."""
    if look.hold is None or not service.honours:
        return 0.0
    return min(look.hold, max(0.0, end - elapsed))


def is_last(made: Made, timeout: float | None) -> bool:
    """Tell whether it is the look that is made just before the time is over."""
    return timeout is not None and abs(made.start + LAST_POLL - timeout) < ROUNDING


@given(POLICIES, ENDS | st.just(inf), SERVICES, TIMEOUTS, STARTS)
def test_waiting_keeps_to_its_time(
    policy: PollPolicy, end: float, service: Service, timeout: float, started: float
) -> None:
    """No look is planned or held beyond the time; only `Retry-After` can forbid the last."""
    made, ended = wait(policy, end, service, timeout, started)
    latest = max(timeout - LAST_POLL, 0.0) + ROUNDING
    assert made[0].start == 0.0
    assert all(one.start <= latest for one in made)
    assert all(one.start + (one.look.hold or 0.0) <= latest for one in made)
    spared = LAST_POLL + (service.retry_after or 0.0) + ROUNDING
    assert ended >= end or ended >= timeout - spared


@given(POLICIES, ENDS, SERVICES)
def test_waiting_ends_with_the_job(policy: PollPolicy, end: float, service: Service) -> None:
    """Without a limit, looks go on until the job is seen to end."""
    _, ended = wait(policy, end, service, None)
    assert ended >= end


@given(POLICIES, SERVICES, TIMEOUTS, STARTS)
def test_waiting_is_never_a_busy_loop(
    policy: PollPolicy, service: Service, timeout: float, started: float
) -> None:
    """Whatever the service does or claims, looks keep their distance."""
    made, _ = wait(policy, inf, service, timeout, started)
    distance = min(policy.initial_interval, policy.max_interval) / 2
    spaced = [one for one in made if not is_last(one, timeout)]
    assert all(two.start - one.start >= distance - ROUNDING for one, two in pairwise(spaced))
    assert len(made) <= timeout / distance + 3


@given(POLICIES, ENDS, SERVICES, st.none() | TIMEOUTS)
def test_pauses_are_those_of_the_policy(
    policy: PollPolicy, end: float, service: Service, timeout: float | None
) -> None:
    """The service's wish is a floor, the longest interval a ceiling for the rest."""
    made, _ = wait(policy, end, service, timeout)
    asked = service.retry_after or 0.0
    ceiling = max(policy.max_interval, asked)
    assert all(one.look.pause <= ceiling + ROUNDING for one in made)
    assert all(one.look.pause >= asked for one in made[1:] if not is_last(one, timeout))


@given(POLICIES, ENDS, SERVICES, st.none() | TIMEOUTS)
def test_holding_keeps_to_the_services_rules(
    policy: PollPolicy, end: float, service: Service, timeout: float | None
) -> None:
    """Only 1 to 10 seconds are asked for, never more than chosen, never with progress."""
    made, _ = wait(policy, end, service, timeout)
    holds = [one.look.hold for one in made if one.look.hold is not None]
    assert all(1 <= hold <= (policy.long_poll or 0.0) <= 10 for hold in holds)
    assert not (policy.progress and holds)


@given(POLICIES, ENDS, st.floats(0, 0.4))
def test_a_service_that_cannot_hold_is_asked_once(
    policy: PollPolicy, end: float, latency: float
) -> None:
    """An early answer without the header ends the long poll for this wait."""
    service = Service(honours=False, tells=False, latencies=[latency], retry_after=None)
    made, _ = wait(policy, end, service, None)
    assert all(one.look.hold is None for one in made[1:])


@given(st.floats(0, 600), st.floats(0, 0.5))
def test_the_long_poll_finds_the_end_at_once(end: float, latency: float) -> None:
    """For about six requests a minute the end is known after one answer's way back."""
    service = Service(honours=True, tells=True, latencies=[latency], retry_after=None)
    made, found = wait(PollPolicy(), end, service, None)
    assert found - end <= 2 * latency + ROUNDING
    assert len(made) <= end / 10 + 1


def test_pauses_grow_to_the_longest() -> None:
    """Each pause is drawn from the upper half of a value that grows and then stays."""
    policy = PollPolicy(initial_interval=1, backoff_factor=2, max_interval=5, long_poll=None)
    service = Service(honours=False, tells=False, latencies=[0.0], retry_after=None)
    made, _ = wait(policy, inf, service, 60.0)
    values = [1.0, 2.0, 4.0, 5.0, 5.0]
    drawn = [one.look.pause for one in made[1:6]]
    assert all(value / 2 <= pause <= value for value, pause in zip(values, drawn, strict=True))


def test_rounding_never_traps_a_wait() -> None:
    """On a clock with coarse steps, the rest of the time may be too little to pass."""
    policy = PollPolicy(initial_interval=1, max_interval=1, backoff_factor=1, long_poll=None)
    service = Service(honours=False, tells=False, latencies=[0.0], retry_after=None)
    made, _ = wait(policy, inf, service, timeout=3.000_000_1, started=2.0**33)
    assert len(made) <= 6


IDS = ("job-1", "job-2")


def shown(body: Any, *ids: str) -> polling.PollResults:
    """Read an answer to a look."""
    response = Response("GET", "http://localhost", 200, {}, json.dumps(body).encode())
    return polling.poll_jobs(ids or IDS).read(response)


def test_what_is_asked() -> None:
    """Several jobs are one list in the comma form, a single one is asked for by its path."""
    assert polling.poll_jobs(IDS).path == "/v2/generations?ids=job-1,job-2"
    ended = "/v2/generations?status=COMPLETED,FAILED,REJECTED&ids=job-1,job-2"
    assert polling.poll_jobs(IDS, ended_only=True).path == ended
    assert polling.poll_jobs(["a/b"]).path == "/v2/generate/a%2Fb"
    assert polling.poll_jobs(IDS).is_repeatable
    for settings, query in (
        ({"hold": 10.0}, "wait=true&timeout=10"),
        ({"hold": 2.5, "progress": True}, "wait=true&timeout=2.5"),
        ({"progress": True}, "include=progress"),
    ):
        asked = endpoints.get_generation("job-1", **settings)
        assert asked.path == f"/v2/generate/job-1?{query}"


def test_what_is_read() -> None:
    """Statuses are read as they came; a job is structured when asked for."""
    seen = shown([{"id": "job-1", "status": "NEW"}, {"id": "job-2", "status": "FAILED"}])
    statuses = [(job, item["status"]) for job, item in seen.items.items()]
    assert statuses == [("job-1", "NEW"), ("job-2", "FAILED")]
    assert seen.generation("job-2").is_terminal


@pytest.mark.parametrize("item", [None, 7, [], {}, {"id": "job-1"}, {"id": 1, "status": "NEW"}])
def test_wrong_shapes_are_left_out(item: Any) -> None:
    """An item without id and status is no reason not to read the others."""
    seen = shown([item, {"id": "job-2", "status": "PENDING"}])
    assert list(seen.items) == ["job-2"]


def test_an_item_that_cannot_be_structured() -> None:
    """What is wrong inside an item is an error when the job is asked for."""
    seen = shown([{"id": "job-1", "status": "NEW", "model": 7}])
    with pytest.raises(DecodeError, match="model"):
        seen.generation("job-1")


def test_another_job_is_not_the_one_that_was_asked_for() -> None:
    """An answer about another job is not the end of this one, and may be right at the next try."""
    body = b'{"id": "job-2", "status": "COMPLETED"}'
    response = Response("GET", "http://localhost", 200, {}, body)
    with pytest.raises(DecodeError, match="about generation 'job-2', not 'job-1'") as caught:
        polling.poll_jobs(["job-1"]).read(response)
    assert caught.value.is_retryable


def test_a_single_job_keeps_the_name_it_was_asked_by() -> None:
    """However the service spells the id, it is the job that was asked for."""
    seen = shown({"id": "JOB-1", "status": "PENDING"}, "job-1")
    assert seen.generation("job-1").id == "JOB-1"


@pytest.mark.parametrize(("body", "ids"), [({}, IDS), ("[]", IDS), ({"id": "x"}, ("x",))])
def test_answers_of_another_shape(body: Any, ids: tuple[str, ...]) -> None:
    """What is no list, and a single job without a status, is an error with a path."""
    with pytest.raises(DecodeError, match=r"\$"):
        shown(body, *ids)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[(status, True) for status in (400, 403, 404, 405, 413, 414, 422, 501)],
        *[(status, False) for status in (408, 429, 500, 502, 503, 504)],
    ],
)
def test_refusals(status: int, expected: bool) -> None:  # noqa: FBT001
    """What would be answered again may be meant for the list; what may pass is no refusal."""
    response = Response("GET", "http://localhost", status, {}, b"{}")
    assert polling.is_refusal(endpoints.error_for(response)) is expected


def test_no_answer_is_no_refusal() -> None:
    """A list that never arrived was not refused."""
    error = ConnectError("refused", method="GET", url="http://localhost")
    assert not polling.is_refusal(error)
