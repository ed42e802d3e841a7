"""Numbers read well, small and large."""

import pytest

from lipsync_async.cli.output import clock, duration, plural, rate, size


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (clock(0), "0:00"),
        (clock(59.6), "1:00"),
        (clock(3599), "59:59"),
        (clock(3661), "1:01:01"),
        (clock(90_000), "25:00:00"),
        (duration(0.04), "0.0 s"),
        (duration(99.9), "99.9 s"),
        (duration(100), "1:40"),
        (size(0), "0.0 kB"),
        (size(999_900), "999.9 kB"),
        (size(2_450_000), "2.5 MB"),
        (size(3_000_000_000), "3.0 GB"),
        (rate(9.64), "9.6/s"),
        (rate(9.64, "jobs"), "9.6 jobs/s"),
        (rate(0.5, "jobs"), "30.0 jobs/min"),
        (plural(1, "job"), "1 job"),
        (plural(0, "job"), "0 jobs"),
    ],
)
def test_a_number_is_said_in_the_unit_that_fits(said: str, expected: str) -> None:
    """Nobody has to count zeros."""
    assert said == expected
