"""Plans and the windows of their limits."""

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.settings import CREATES, OTHERS, RateClass, RateWindow, allowance

GAPS = st.lists(st.floats(0, 30, allow_nan=False), max_size=60)


@given(limit=st.integers(1, 5), gaps=GAPS)
def test_no_window_holds_more_than_the_limit(limit: int, gaps: list[float]) -> None:
    """And a request is refused only when its window is full."""
    window, now, admitted = RateWindow(limit), 0.0, list[float]()
    for gap in gaps:
        now += gap
        recent = [moment for moment in admitted if moment > now - 60]
        is_admitted = window.admit(now)
        assert is_admitted is (len(recent) < limit)
        if is_admitted:
            admitted.append(now)


@given(gaps=GAPS)
def test_without_a_limit_everything_passes(gaps: list[float]) -> None:
    """`None` means no limit."""
    window = RateWindow(None)
    assert all(window.admit(sum(gaps[:index])) for index in range(len(gaps)))


def test_plans_have_their_documented_limits() -> None:
    """Concurrency differs, the requests of a minute do not."""
    assert (allowance("scale").concurrency, allowance("scale").creates_per_minute) == (15, 60)
    assert (allowance("enterprise").concurrency, allowance(None).requests_per_minute) == (
        None,
        None,
    )


@pytest.mark.parametrize(
    ("plan", "rate", "admitted"),
    [
        (None, RateClass("voices", 2, 3600.0), 5),
        ("scale", RateClass("voices", 2, 3600.0), 2),
        (None, CREATES, 5),
        ("free", OTHERS, 5),
    ],
)
def test_a_rate_class_counts_on_a_plan_only(
    plan: str | None, rate: RateClass, admitted: int
) -> None:
    """A class of any length has its own window; without a plan there are no limits."""
    window = allowance(plan).window(rate)
    assert sum(window.admit(float(now)) for now in range(5)) == admitted
