"""Plans and the windows of their limits."""

from hypothesis import given, strategies as st

from lipsync_async.sandbox.plans import RateWindow, plan_of

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


def test_plans_have_their_documented_limits() -> None:
    """Concurrency differs, the requests of a minute do not."""
    assert (plan_of("scale").concurrency, plan_of("scale").creates_per_minute) == (15, 60)
    expected = (None, None)
    assert (plan_of("enterprise").concurrency, plan_of(None).requests_per_minute) == expected
