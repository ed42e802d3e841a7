from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._enums import Status
from lipsync_async._logic import codec

GOOD: dict[Callable[..., Any], list[Any]] = {
    codec.text: ["", "text"],
    codec.number: [0.5, -1.0],
    codec.whole_number: [0, -7],
    codec.flag: [True, False],
    codec.array: [[], [1, "a"]],
}
EVERYTHING = [None, "text", 0.5, 7, True, [1], {"a": 1}]
FITTING: dict[Callable[..., Any], tuple[type, ...]] = {
    codec.text: (str,),
    codec.number: (int, float),
    codec.whole_number: (int,),
    codec.flag: (bool,),
    codec.array: (list,),
}


@pytest.mark.parametrize(
    ("read", "value"), [(read, value) for read, values in GOOD.items() for value in values]
)
def test_the_right_type_passes_unchanged(read: Callable[..., Any], value: object) -> None:
    """What is right is neither copied nor converted."""
    assert read(value) is value


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (read, value)
        for read, types in FITTING.items()
        for value in EVERYTHING
        if type(value) not in types
    ],
)
def test_nothing_else_is_converted(read: Callable[..., Any], value: object) -> None:
    """A wrong type is told in words, with the value: no `5` for "5", no `True` for 1."""
    with pytest.raises(TypeError, match=f"^expected .*, not {type(value).__name__} ") as caught:
        read(value)
    assert repr(value) in str(caught.value)


def test_whole_numbers_are_numbers() -> None:
    """JSON knows one kind of number; a duration of `10` is ten seconds."""
    number = codec.number(10)
    assert (number, type(number)) == (10.0, float)


def test_a_message_stays_short() -> None:
    """A megabyte of nonsense does not become a megabyte of message."""
    with pytest.raises(TypeError) as caught:
        codec.number("x" * 1_000_000)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "text",
    [
        "2026-08-25T10:30:00.250Z",
        "2026-08-25T10:30:00.250+00:00",
        "2026-08-25T12:30:00.250+02:00",
        "2026-08-25T10:30:00.250",
        "2026-08-25 10:30:00.250",
    ],
)
def test_moments_are_in_utc(text: str) -> None:
    """Every form of the service's times is the same moment, and says UTC."""
    moment = codec.moment(text)
    assert moment == datetime(2026, 8, 25, 10, 30, 0, 250_000, tzinfo=UTC)
    assert moment.tzinfo is UTC


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES)  # noqa: DTZ001


@given(TIMES)
def test_any_moment_survives_the_wire(moment: datetime) -> None:
    """The moment is the same whatever zone it was written in."""
    assert codec.moment(moment.isoformat()) == moment


@pytest.mark.parametrize("value", ["", "yesterday", "2026-13-01", 1756117800, None])
def test_what_is_no_moment_is_refused(value: object) -> None:
    """A time that cannot be read is an error and not a guess."""
    with pytest.raises((TypeError, ValueError)):
        codec.moment(value)


@given(st.sampled_from(Status) | st.text())
def test_any_text_is_a_status(text: str) -> None:
    """Known or not, a status keeps its text; a known one is the member itself."""
    status = codec.status(str(text))
    assert (status, type(status)) == (text, Status)
    assert status.is_known is (text in set(Status))


@pytest.mark.parametrize("value", [None, 3, True, ["PENDING"]])
def test_only_text_is_a_status(value: object) -> None:
    """A job without a readable status is no job."""
    with pytest.raises(TypeError, match="expected text"):
        codec.status(value)


@given(st.lists(st.none() | st.lists(st.integers(-5, 5) | st.floats(-5, 5))))
def test_rows_become_tuples(rows: list[list[float] | None]) -> None:
    """Boxes keep their numbers and their gaps."""
    expected = tuple(None if row is None else tuple(row) for row in rows)
    assert codec.rows_of_numbers(rows) == expected


@pytest.mark.parametrize("value", [None, "12", 5, ["1"], [[1], "2"], [[None]], [True]])
def test_rows_hold_numbers_only(value: object) -> None:
    """A list of anything else is refused."""
    with pytest.raises(TypeError, match="expected"):
        codec.rows_of_numbers(value)


def test_a_shape_error_lists_every_problem() -> None:
    """All paths are there, for programs and for readers."""
    error = codec.ShapeError(["a @ $.x", "b @ $.y"])
    assert (error.paths, str(error)) == (["a @ $.x", "b @ $.y"], "a @ $.x; b @ $.y")
