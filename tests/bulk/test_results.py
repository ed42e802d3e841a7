"""Outcomes of a run: why they failed, their way to the caller, how far all are."""

import asyncio
from itertools import count
from math import isfinite
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from lipsync_async import FailureGroup, Generation, Outcome, Progress, Status, group_failures
from lipsync_async._bulk import results
from lipsync_async._logic.endpoints import error_for
from lipsync_async.errors import (
    ConcurrencyLimitError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DecodeError,
    DownloadError,
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
    RequestTimeoutError,
    SpendingLimitError,
)
from lipsync_async.sandbox import VirtualClock
from tests.bulk.jobs import request
from tests.logic.answers import reply

NUMBERS = count(1)
DISK = JournalError("full")
GOOD = Generation(id="g1", status=Status.COMPLETED)


def uuid() -> str:
    """Return another id each time."""
    return f"{next(NUMBERS):08x}-aaaa-4bbb-8ccc-{next(NUMBERS):012x}"


def job(status: str, **fields: Any) -> Generation:
    """Return a job with an id of its own."""
    return Generation(id=uuid(), status=Status(status), **fields)


def refused(status: int, **body: Any) -> LipsyncError:
    """Return the error of a refusal."""
    return error_for(reply(body, status, method="POST"))


def page(status: int) -> LipsyncError:
    """Return the refusal of something between here and the service."""
    return error_for(reply(b"<html>Blocked</html>", status, method="POST"))


def about(error: LipsyncError, generation: Generation) -> LipsyncError:
    """Return an error about a job."""
    error.generation = generation
    return error


def unsent(message: str, kind: type[Any]) -> Any:
    """Return an error of the network; its address is another one each time."""
    return kind(message, method="POST", url=f"http://h/{uuid()}")


def unreadable(body: Any, status: int, **details: Any) -> LipsyncError:
    """Return the error of an answer that cannot be read."""
    return DecodeError("it is odd", response=reply(body, status), **details)


NO_SLOT = ConcurrencyLimitError(response=reply(status=429), message="5 of 5 run")
# What makes an error anew, as another request would have it; and its reason.
ALIKE: list[tuple[Any, str]] = [
    (lambda: refused(403, message="Blocked"), "403: Blocked"),
    (lambda: refused(404, message=f"no asset {uuid()}", errorCode="x"), "404 x: no asset ..."),
    (lambda: refused(422, message="too\n long ", errorCode="c"), "422 c: too long"),
    (lambda: refused(400, message=f"see https://x.example/{uuid()}"), "400: see ..."),
    (lambda: refused(500, message=f"trace {'ab' * 16}"), "500: trace ..."),
    (lambda: NO_SLOT, "429: 5 of 5 run"),
    (lambda: unsent("refused.", ConnectError), "ConnectError: refused."),
    (lambda: unsent("it broke: so", ConnectionLostError), "ConnectionLostError: it broke: so"),
    (lambda: unsent("5 s", RequestTimeoutError), "RequestTimeoutError: 5 s"),
    (lambda: unreadable(uuid().encode(), 200), "an answer with status 200 cannot be read"),
    (
        lambda: unreadable(b"{}", 201, paths=["$.id: missing"]),
        "an answer with status 201 cannot be read; $.id: missing",
    ),
    (
        lambda: GenerationFailedError(job("FAILED", error="No face", error_code="no_face")),
        "FAILED (no_face): No face",
    ),
    (lambda: GenerationFailedError(job("FAILED")), "FAILED: the service gave no reason"),
    (
        lambda: GenerationRejectedError(job("REJECTED", error=f"plan of {uuid()}")),
        "REJECTED: plan of ...",
    ),
    (lambda: InvalidRequestError(["model: text", "input: none"]), "model: text; input: none"),
    (
        lambda: SpendingLimitError(f"Request {next(NUMBERS)} has no job: max_jobs=3."),
        "SpendingLimitError: max_jobs=3.",
    ),
    (
        lambda: SpendingLimitError(f"Request 1 has no job: max_cost=5: {next(NUMBERS)}.25 $"),
        "SpendingLimitError: max_cost=5: ... $",
    ),
    (
        lambda: about(DownloadError(f"The result of {uuid()}"), job("COMPLETED")),
        "DownloadError: The result of ...",
    ),
    (
        lambda: about(DownloadError("of generation g1: no"), GOOD),
        "DownloadError: of generation ...: no",
    ),
    (lambda: JournalError("the disk is full."), "JournalError: the disk is full."),
    (lambda: ConfigurationError("closed"), "ConfigurationError: closed"),
    (LipsyncError, "LipsyncError"),
    (lambda: LookupError(uuid()), "LookupError: ..."),
    (lambda: refused(403, message="x" * 1000), f"403: {'x' * 192}..."),
]


@pytest.mark.parametrize(("make", "expected"), ALIKE)
def test_errors_alike_have_one_reason(make: Any, expected: str) -> None:
    """No id, key, address, sum of money or line break is in it, and it is short."""
    assert {expected} == {results.reason_of(make()), results.reason_of(make())}


def test_no_two_kinds_share_a_reason() -> None:
    """What is left of a message tells kinds of failure apart."""
    assert len(ALIKE) == len({results.reason_of(make()) for make, _ in ALIKE})


def test_groups() -> None:
    """The largest group comes first, and each names all of its places in rising order."""
    blocked, short, full = refused(403, message="Blocked"), refused(422, message="short"), DISK
    errors = {5: blocked, 1: short, 9: full, 4: None, 3: blocked, 7: short, 8: blocked}
    outcomes = [
        Outcome(index=index, request=request(index), error=error) for index, error in errors.items()
    ]
    assert [
        FailureGroup(reason="403: Blocked", count=3, indices=(3, 5, 8), error=blocked),
        FailureGroup(reason="422: short", count=2, indices=(1, 7), error=short),
        FailureGroup(reason="JournalError: full", count=1, indices=(9,), error=full),
    ] == group_failures(outcomes)
    assert group_failures([]) == []


# What meets all others as well, if so many requests in a row have met it.
OF_ALL: dict[str, Any] = {
    "a filter's page": lambda: page(403),
    "a page with 400": lambda: page(400),
    "a page with 422": lambda: page(422),
    "a firewall's JSON": lambda: refused(403, message="Forbidden"),
    "a dead key": lambda: refused(401, message="No"),
    "no credit": lambda: refused(402, message="Pay"),
    "no such path": lambda: refused(404, message="Cannot POST /v2/generate"),
    "no such method": lambda: page(405),
    "a proxy": lambda: page(407),
    "gone": lambda: page(410),
    "for legal reasons": lambda: page(451),
    "a redirection": lambda: page(302),
    "a log-in page": lambda: unreadable(b"<html>", 200),
    "nothing": lambda: unreadable(b"", 204),
    "another JSON": lambda: unreadable({}, 200, paths=["$.id: missing"]),
    "a certificate": lambda: ConnectError("no", method="POST", url="https://h", is_lasting=True),
}
# What says nothing about others: of the service, about one request; and no refusals.
OF_ONE: dict[str, Any] = {
    "400": lambda: refused(400, message="Bad", errorCode="generation_input_validation_failed"),
    "400 without a code": lambda: refused(400, message="Bad"),
    "403": lambda: refused(403, message="Not yours", errorCode="asset_forbidden"),
    "404": lambda: refused(404, message="No asset", errorCode="asset_not_found"),
    "409": lambda: refused(409, message="Reused", errorCode="IDEMPOTENCY_KEY_REUSED"),
    "413": lambda: refused(413, message="Too large"),
    "422": lambda: refused(422, message="Short", errorCode="generation_input_trim_invalid"),
}
NO_REFUSAL: dict[str, Any] = {
    "500": lambda: page(500),
    "502": lambda: page(502),
    "503": lambda: refused(503, message="Later"),
    "529": lambda: page(529),
    "429": lambda: page(429),
    "no slot": lambda: NO_SLOT,
    "408": lambda: page(408),
    "no network": lambda: unsent("refused", ConnectError),
    "a broken line": lambda: unsent("reset", ConnectionLostError),
    "too slow": lambda: unsent("5 s", RequestTimeoutError),
    "an invalid request": lambda: InvalidRequestError(["model: none"]),
    "a limit": lambda: SpendingLimitError("Request 1 has no job: max_jobs=1"),
}


@pytest.mark.parametrize("make", OF_ALL.values(), ids=OF_ALL)
def test_what_all_would_meet(make: Any) -> None:
    """The fifth in a row for one reason tells; an acceptance or another reason begins anew."""
    alike = results.RefusalCounter()
    assert [alike.add(make()) for _ in range(6)] == [False] * 4 + [True] * 2
    alike.count = 0
    assert [alike.add(make()) for _ in range(5)] == [False] * 4 + [True]
    alike.add(refused(403, message="another reason"))
    assert [alike.add(make()) for _ in range(4)] == [False] * 4


@pytest.mark.parametrize("make", OF_ONE.values(), ids=OF_ONE)
def test_what_the_service_says_of_one_request(make: Any) -> None:
    """It tells nothing of others, unless all are alike, and shows that the service is there."""
    alike = results.RefusalCounter()
    assert [alike.add(make()) for _ in range(50)] == [False] * 50
    for _ in range(3):
        assert [alike.add(page(403)) for _ in range(4)] == [False] * 4
        assert not alike.add(make())
    assert [alike.add(make(), may_be_of_one=False) for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize("make", NO_REFUSAL.values(), ids=NO_REFUSAL)
def test_what_is_no_refusal(make: Any) -> None:
    """A service that is down is waited for, and does not interrupt a row of refusals either."""
    alike = results.RefusalCounter()
    assert [alike.add(make()) for _ in range(50)] == [False] * 50
    told = [alike.add(error()) for _ in range(5) for error in (make, lambda: page(403))]
    assert told == [False] * 9 + [True]


def queue_of(*outcomes: Outcome, is_ordered: bool = False) -> results.OutcomeQueue:
    """Return a queue with outcomes."""
    queue = results.OutcomeQueue(is_ordered=is_ordered, room=asyncio.Event())
    for each in outcomes:
        queue.put(each)
    return queue


def outcome(index: int) -> Outcome:
    """Return the outcome of the request at an index."""
    return Outcome(index=index, request=request(index))


def take(queue: results.OutcomeQueue, tracker: results.ProgressTracker) -> list[int]:
    """Take all outcomes of a queue that is closed now; return their indexes."""

    async def take_all() -> list[int]:
        iterator = results.OutcomeIterator(queue, tracker, results.OpenRequests(), None)
        return [each.index for each in await iterator.take_all()]

    queue.close()
    return anyio.run(take_all)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_all_that_is_put_in_comes_out(order: list[int], missing: set[int]) -> None:
    """Unordered as it came, ordered by index; gaps are closed at the end, and none is lost."""
    come = [index for index in order if index not in missing]
    for is_ordered in (False, True):
        queue = queue_of(*map(outcome, come), is_ordered=is_ordered)
        tracker = results.ProgressTracker(float, 0.0)
        assert take(queue, tracker) == (sorted(come) if is_ordered else come)


@pytest.mark.parametrize("is_ordered", [True, False])
def test_it_is_full_of_what_was_not_taken(is_ordered: bool) -> None:  # noqa: FBT001
    """What waits for its turn counts like what waits for the caller; taking makes room."""
    queue = queue_of(is_ordered=is_ordered)
    for index in [*range(1, results.MAX_WAITING), 0]:
        assert queue.waiting < results.MAX_WAITING
        queue.put(outcome(index))
    assert queue.waiting == results.MAX_WAITING
    assert anyio.run(queue.get) is not None
    assert queue.waiting < results.MAX_WAITING
    assert queue.room.is_set()


def ended(*, is_success: bool = True, resumed: bool = False) -> Outcome:
    """Return an outcome of a kind."""
    error = None if is_success else InvalidRequestError(["model: must be text, not None"])
    return Outcome(index=0, request=request(0), error=error, resumed=resumed)


def test_all_is_counted() -> None:
    """Successes, failures and time; the rate leaves out what an earlier run has done."""
    clock = VirtualClock()
    tracker = results.ProgressTracker(clock.now, clock.now())
    take(queue_of(ended(), ended(is_success=False), ended(resumed=True)), tracker)
    clock.advance(4.0)
    tracker.length, tracker.running = 8, 5
    shown = tracker.progress()
    assert shown == Progress(
        total=8, running=5, succeeded=2, failed=1, elapsed=4.0, rate=0.5, eta=10.0
    )
    assert shown.done == 3
    tracker.started = 9
    assert tracker.progress().total == 9  # an input may be longer than its length


# Whether an earlier run has ended the one that has ended, seconds, how many there are, the rest.
RESTS: dict[str, tuple[bool, float, int | None, float | None]] = {
    "no total": (False, 1.0, None, None),
    "no time": (False, 0.0, 2, None),
    "no rate": (True, 1.0, 2, None),
    "half": (False, 1.0, 2, 1.0),
    "all": (False, 1.0, 1, 0.0),
    "all at once": (False, 0.0, 1, 0.0),
    "all long ago": (True, 1.0, 1, 0.0),
}


@pytest.mark.parametrize("name", RESTS)
def test_the_rest(name: str) -> None:
    """It is known when there are a rate and a total, and when nothing is left."""
    resumed, seconds, total, eta = RESTS[name]
    clock = VirtualClock()
    tracker = results.ProgressTracker(clock.now, clock.now())
    take(queue_of(ended(resumed=resumed)), tracker)
    clock.advance(seconds)
    tracker.length = total
    assert tracker.progress().eta == eta


KINDS = st.tuples(st.booleans(), st.booleans(), st.floats(0, 1e6))


@given(st.lists(KINDS, max_size=30), st.integers(0, 50))
def test_nothing_is_ever_odd(kinds: list[tuple[bool, bool, float]], more: int) -> None:
    """Whatever comes when, sums are right and no number is negative or infinite."""
    clock = VirtualClock()
    tracker = results.ProgressTracker(clock.now, clock.now())
    for is_success, resumed, pause in kinds:
        clock.advance(pause)
        take(queue_of(ended(is_success=is_success, resumed=resumed)), tracker)
    tracker.started, tracker.has_read_all = len(kinds) + more, True
    shown = tracker.progress()
    assert shown.done == shown.succeeded + shown.failed == len(kinds)
    assert shown.failed == sum(not is_success for is_success, _, _ in kinds)
    assert shown.rate >= 0
    assert shown.eta is None or (isfinite(shown.eta) and shown.eta >= 0)
    assert more > 0 or shown.eta == 0
