import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._models.policies import Limits, PollPolicy, RetryPolicy

Policy = Callable[..., Any]

PATIENT: list[tuple[Policy, str]] = [
    (RetryPolicy, name) for name in ("give_up_after", "slot_timeout", "batch_timeout")
]
STRICT: list[tuple[Policy, str]] = [
    *((RetryPolicy, name) for name in ("first_pause", "longest_pause")),
    *((PollPolicy, name) for name in ("initial_interval", "max_interval", "shared_interval")),
]
NOT_POSITIVE = st.floats(max_value=0) | st.just(math.nan)


@pytest.mark.parametrize(("policy", "name"), STRICT + PATIENT)
@given(seconds=NOT_POSITIVE)
def test_times_are_positive(policy: Policy, name: str, seconds: float) -> None:
    """Zero, negative numbers and NaN are refused by name; zero would be a busy loop."""
    with pytest.raises(ValueError, match=f"{name} must be a .*greater than 0"):
        policy(**{name: seconds})


@pytest.mark.parametrize(("policy", "name"), STRICT + PATIENT)
@given(seconds=st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_positive_times_are_kept(policy: Policy, name: str, seconds: float) -> None:
    """Every other finite number of seconds is taken as it is."""
    assert getattr(policy(**{name: seconds}), name) == seconds


@pytest.mark.parametrize(("policy", "name"), STRICT)
def test_pauses_are_finite(policy: Policy, name: str) -> None:
    """A pause without an end is a call that hangs, and has no `None`; patience may have no end."""
    told = f"{name} must be a finite number .*, not (inf|int|None)"
    for value in (math.inf, 10**400, 10**5000, None):
        with pytest.raises(ValueError, match=told):
            policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), PATIENT)
def test_patience_may_be_unlimited(policy: Policy, name: str) -> None:
    """`None` stands for no limit, as an infinite number does."""
    for value in (None, math.inf):
        assert getattr(policy(**{name: value}), name) is value
    assert PollPolicy(long_poll=None).long_poll is None  # never asks for it


@pytest.mark.parametrize(
    ("policy", "name", "lowest"),
    [
        (RetryPolicy, "attempts", 1),
        (PollPolicy, "backoff_factor", 1),
        (PollPolicy, "not_found_grace", 0),
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


class Seconds(float):
    """As a library of units has it."""


NO_NUMBERS: dict[str, Any] = {
    "a Decimal": Decimal("1.5"),
    "a Decimal of NaN": Decimal("NaN"),
    "a Decimal that signals": Decimal("sNaN"),
    "a fraction": Fraction(3, 2),
    "a short float of NumPy": np.float32(1.5),
    "an integer of NumPy": np.int64(2),
    "a truth of NumPy": np.bool_(True),  # noqa: FBT003
    "an array without a dimension": np.array(2.0),
    "an array": np.array([1.0, 2.0]),
    "text": "3",
    "bytes": b"3",
    "truth": True,
    "untruth": False,
    "a time span": dt.timedelta(seconds=3),
    "a complex number": 3 + 0j,
    "a list": [3],
    "a mapping": {"seconds": 3},
    "an empty text": "",
    "a class": float,
    "anything": object(),
}
FLOATS = [*STRICT, *PATIENT, (PollPolicy, "backoff_factor"), (PollPolicy, "long_poll")]
NUMBERS: list[tuple[Policy, str]] = [
    *(*FLOATS, (RetryPolicy, "attempts"), (PollPolicy, "not_found_grace")),
    *((Limits, limit.name) for limit in attrs.fields(Limits)),
]


@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number_is_refused_at_birth(value: Any) -> None:
    """Else the first pause of a job that is paid for would find it out, by another error."""
    for policy, name in NUMBERS:
        with pytest.raises(ValueError, match=f"^{name} must be "):
            policy(**{name: value})


def test_numbers_of_derived_classes_are_numbers() -> None:
    """A `float` of NumPy, or of a library of units, is taken."""
    for value in (np.float64(2), Seconds(2), 2):
        for policy, name in FLOATS:
            assert getattr(policy(**{name: value}), name) == 2


@pytest.mark.parametrize("value", [1.5, 2.0, math.inf, 0, -1, 10**400])
def test_tries_are_counted_in_whole_numbers(value: float) -> None:
    """Half a try is a mistake."""
    with pytest.raises(ValueError, match="attempts must be a whole number from 1, not "):
        RetryPolicy(attempts=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 0, 1, "yes", "", np.bool_(True), object(), [True]])  # noqa: FBT003
def test_progress_is_asked_for_or_not(value: Any) -> None:
    """A text such as "no" would be taken for a yes."""
    with pytest.raises(ValueError, match=r"^progress must be True or False, not "):
        PollPolicy(progress=value)
