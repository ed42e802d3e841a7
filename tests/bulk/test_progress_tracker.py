"""How far many requests are, and how long the rest will take."""

from math import isfinite

import pytest
from hypothesis import given, strategies as st

from lipsync_async import InvalidRequestError, Outcome, Progress
from lipsync_async._bulk.results import ProgressTracker
from tests.bulk.jobs import request


class Clock:
    """Tell the time that it is set to."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        """Return the time."""
        return self.time


def outcome(*, is_success: bool = True, resumed: bool = False) -> Outcome:
    """Return an outcome of a kind."""
    error = None if is_success else InvalidRequestError(["model: must be text, not None"])
    return Outcome(index=0, request=request(0), error=error, resumed=resumed)


def test_all_is_counted() -> None:
    """Successes, failures and time; the rate leaves out what an earlier run has done."""
    clock = Clock()
    tracker = ProgressTracker(clock.now)
    for each in (outcome(), outcome(is_success=False), outcome(resumed=True)):
        tracker.count(each)
    clock.time += 4.0
    tracker.length, tracker.running = 8, 5
    shown = tracker.progress()
    assert shown == Progress(
        total=8, running=5, succeeded=2, failed=1, elapsed=4.0, rate=0.5, eta=10.0
    )
    assert shown.done == 3
    tracker.started = 9
    assert tracker.progress().total == 9  # an input may be longer than its length


@pytest.mark.parametrize(
    ("resumed", "seconds", "total", "eta"),
    [
        (False, 1.0, None, None),
        (False, 0.0, 2, None),
        (True, 1.0, 2, None),
        (False, 1.0, 2, 1.0),
        (False, 1.0, 1, 0.0),
        (False, 0.0, 1, 0.0),
        (True, 1.0, 1, 0.0),
    ],
    ids=["no total", "no time", "no rate", "half", "all", "all at once", "all long ago"],
)
def test_the_rest(
    resumed: bool,  # noqa: FBT001
    seconds: float,
    total: int | None,
    eta: float | None,
) -> None:
    """It is known when there are a rate and a total, and when nothing is left."""
    clock = Clock()
    tracker = ProgressTracker(clock.now)
    tracker.count(outcome(resumed=resumed))
    clock.time += seconds
    tracker.length = total
    assert tracker.progress().eta == eta


KINDS = st.tuples(st.booleans(), st.booleans(), st.floats(0, 1e6))


@given(st.lists(KINDS, max_size=30), st.integers(0, 50))
def test_nothing_is_ever_odd(kinds: list[tuple[bool, bool, float]], more: int) -> None:
    """Whatever comes when, sums are right and no number is negative or infinite."""
    clock = Clock()
    tracker = ProgressTracker(clock.now)
    for is_success, resumed, pause in kinds:
        clock.time += pause
        tracker.count(outcome(is_success=is_success, resumed=resumed))
    tracker.started, tracker.has_read_all = len(kinds) + more, True
    shown = tracker.progress()
    assert shown.done == shown.succeeded + shown.failed == len(kinds)
    assert shown.failed == sum(not is_success for is_success, _, _ in kinds)
    assert shown.rate >= 0
    assert shown.eta is None or (isfinite(shown.eta) and shown.eta >= 0)
    assert more > 0 or shown.eta == 0
