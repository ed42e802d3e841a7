import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._values.policies import PollPolicy, RetryPolicy

Policy = Callable[..., Any]

PATIENT: list[tuple[Policy, str]] = [(RetryPolicy, "give_up_after"), (RetryPolicy, "slot_timeout")]
STRICT: list[tuple[Policy, str]] = [
    (RetryPolicy, "first_pause"),
    (RetryPolicy, "longest_pause"),
    (PollPolicy, "first_interval"),
    (PollPolicy, "longest_interval"),
    (PollPolicy, "shared_interval"),
]
NOT_POSITIVE = st.floats(max_value=0) | st.just(math.nan)


@pytest.mark.parametrize(("policy", "name"), STRICT + PATIENT)
@given(seconds=NOT_POSITIVE)
def test_times_are_positive(policy: Policy, name: str, seconds: float) -> None:
    """Zero, negative numbers and NaN are refused by name; zero would be a busy loop."""
    with pytest.raises(ValueError, match=f"{name} must be greater than 0"):
        policy(**{name: seconds})


@pytest.mark.parametrize(("policy", "name"), STRICT + PATIENT)
@given(seconds=st.floats(min_value=0, exclude_min=True))
def test_positive_times_are_kept(policy: Policy, name: str, seconds: float) -> None:
    """Every other number of seconds is taken as it is."""
    assert getattr(policy(**{name: seconds}), name) == seconds


@pytest.mark.parametrize(("policy", "name"), STRICT)
def test_pauses_have_no_none(policy: Policy, name: str) -> None:
    """`None` means "no limit", which a pause cannot be."""
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, not None"):
        policy(**{name: None})


@pytest.mark.parametrize(("policy", "name"), PATIENT)
def test_patience_may_be_unlimited(policy: Policy, name: str) -> None:
    """`None` stands for no limit."""
    assert getattr(policy(**{name: None}), name) is None


@pytest.mark.parametrize(
    ("policy", "name", "lowest"),
    [
        (RetryPolicy, "attempts", 1),
        (PollPolicy, "growth", 1),
        (PollPolicy, "missing_grace", 0),
    ],
)
def test_counts_and_factors_have_a_lowest_value(policy: Policy, name: str, lowest: int) -> None:
    """The lowest sensible value is taken, less and NaN are refused by name."""
    assert getattr(policy(**{name: lowest}), name) == lowest
    for value in (lowest - 1, math.nan):
        with pytest.raises(ValueError, match=name):
            policy(**{name: value})


@given(st.floats())
@example(1.0)
@example(10.0)
def test_a_look_is_held_for_one_to_ten_seconds(seconds: float) -> None:
    """What the service would refuse is refused here."""
    if 1 <= seconds <= 10:
        assert PollPolicy(long_poll=seconds).long_poll == seconds
    else:
        with pytest.raises(ValueError, match="long_poll must be 1 to 10 seconds or None"):
            PollPolicy(long_poll=seconds)


def test_the_long_poll_can_be_left_out() -> None:
    """`None` never asks for it."""
    assert PollPolicy(long_poll=None).long_poll is None


@pytest.mark.parametrize("policy", [RetryPolicy(), PollPolicy()])
def test_policies_are_frozen_values(policy: Any) -> None:
    """A shared policy cannot change under a client, and equal ones are equal."""
    name = attrs.fields(type(policy))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(policy, name, 2)
    assert policy == type(policy)()
    assert hash(policy) == hash(type(policy)())


def test_changed_copies_are_checked_too() -> None:
    """`attrs.evolve` is no way around the checks."""
    with pytest.raises(ValueError, match="first_pause"):
        attrs.evolve(RetryPolicy(), first_pause=-1)
