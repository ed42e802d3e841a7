"""What may be ordered: so many jobs, so much money, and never more by mistake."""

from math import inf, isfinite, nan
from sys import float_info

import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._bulk.submitter import SpendingLimit

PRICES = st.floats(0, 1e6) | st.sampled_from([nan, inf, -inf, -1.0, -1e300, 1e300, 1e-300])
LIMITS = st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False)
# What becomes of an order: it is placed, or it is certain that nothing was made of it.
ORDERS = st.lists(st.tuples(PRICES, st.booleans()), max_size=40)


@example(3, 0.3, [(0.1, False)] * 4)
@example(None, float_info.max, [(float_info.max, False), (inf, False)])
@example(None, 1.0, [(1.0, False), (-1e300, False), (1e300, False)])
@given(st.none() | st.integers(1, 30), LIMITS, ORDERS)
def test_limits_are_kept(
    max_jobs: int | None, max_cost: float | None, orders: list[tuple[float, bool]]
) -> None:
    """Whatever prices come back, the orders that stand are within both limits."""
    spending = SpendingLimit(max_jobs=max_jobs, max_cost=max_cost)
    standing: list[float] = []
    for price, comes_to_nothing in orders:
        cost = 0.0 if max_cost is None else price
        if spending.order(cost) is not None:
            continue
        if comes_to_nothing:
            spending.refund(cost)
        else:
            standing.append(cost)
        assert len(standing) == spending.jobs <= (inf if max_jobs is None else max_jobs)
        assert all(isfinite(each) and each >= 0 for each in standing)
        if max_cost is not None:
            assert sum(standing) <= max_cost * (1 + 1e-6) or max_cost == float_info.max


@given(LIMITS.filter(lambda limit: limit is not None), ORDERS)
def test_once_over_always_over(max_cost: float, orders: list[tuple[float, bool]]) -> None:
    """After the first refusal even what costs nothing is refused, whatever is taken back."""
    spending = SpendingLimit(max_cost=max_cost)
    refused = False
    for price, _ in orders:
        problem = spending.order(price)
        assert problem is not None or not refused
        refused = problem is not None
        assert (spending.why_over is not None) is refused
    spending.order(inf)
    spending.refund(max_cost)
    assert spending.order(0.0) is not None


@given(st.lists(PRICES, max_size=20))
def test_without_limits_all_is_let_through(prices: list[float]) -> None:
    """Without a limit none is made up."""
    spending = SpendingLimit()
    assert [spending.order(price) for price in prices] == [None] * len(prices)
    assert spending.why_over is None


@pytest.mark.parametrize(("price", "shown"), [(0.51, "0.51"), (nan, "nan"), (inf, "inf")])
def test_a_refusal_says_what_would_be_needed(price: float, shown: str) -> None:
    """It names the limit, what is ordered already, and the price that does not fit."""
    spending = SpendingLimit(max_cost=1.0)
    assert spending.order(0.5) is None
    assert spending.order(price) == (
        "max_cost=1 does not allow it: jobs for 0.50 US dollars are ordered, and this one "
        f"would cost {shown}"
    )


def test_three_tenths_are_enough_for_three_times_a_tenth() -> None:
    """Sums of prices are no round numbers, and that must not matter."""
    spending = SpendingLimit(max_cost=0.3)
    assert [spending.order(0.1) for _ in range(3)] == [None] * 3
    assert spending.order(0.01) is not None
