"""How jobs move along: spellings, ranges of times, and what each job draws."""

from random import Random

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.job_progress import Progression
from tests.sandbox.conftest import OpenDoor
from tests.sandbox.doors import created, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("immediate", Progression.immediate()),
        ("manual", Progression.manual()),
        ("real", Progression.real()),
        (" polls(3) ", Progression.polls(3)),
        ("time(1.5)", Progression.time(1.5)),
        ("time(5-30)", Progression.time(5, 30)),
        ("time(0.5-0.5)", Progression.time(0.5, 0.5)),
    ],
)
def test_progressions_can_be_spelled(text: str, expected: Progression) -> None:
    """The text form is what headers and the command line use."""
    assert Progression.parse(text) == Progression.of(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "polls",
        "polls(0)",
        "polls(1-2)",
        "time()",
        "time(5-)",
        "time(1-2-3)",
        "manual(3)",
        "time(-1)",
        f"polls({'9' * 400})",
        f"time({'9' * 400})",
    ],
)
def test_other_texts_are_no_progression(text: str) -> None:
    """The error says what would be one."""
    with pytest.raises(ValueError, match="polls"):
        Progression.parse(text)


def test_a_range_of_times_is_in_order() -> None:
    """The shorter time comes first."""
    with pytest.raises(ValueError, match="at least a"):
        Progression.parse("time(30-5)")


@given(st.floats(0, 100), st.floats(0, 100), st.integers())
def test_a_job_draws_a_time_within_the_range(shortest: float, more: float, seed: int) -> None:
    """One seed draws one time; what is no range is drawn as it is."""
    span = Progression.time(shortest, shortest + more)
    found = span.drawn(Random(seed))
    assert found == span.drawn(Random(seed)) == found.drawn(Random())
    assert shortest <= found.amount <= shortest + more + 1e-9


@pytest.mark.anyio
async def test_each_job_takes_a_time_of_its_own(open_door: OpenDoor) -> None:
    """One seed draws the same times in every run, all within the range."""
    runs = []
    for seed in (7, 7, 8):
        async with open_door(seed=seed, progression="time(5-30)") as door:
            jobs = [door.sandbox.jobs[await created(door)] for _ in range(20)]
            runs.append([job.progression.amount for job in jobs])
            await door.sleep(30.0)
            assert all(job.is_ended for job in jobs)
    assert runs[0] == runs[1] != runs[2]
    assert all(5.0 <= seconds <= 30.0 for seconds in runs[0])
    assert len(set(runs[0])) == 20


@pytest.mark.anyio
async def test_a_header_may_ask_for_a_range(open_door: OpenDoor) -> None:
    """Durations do not take from what draws the ids."""
    found = []
    for progression in ("manual", "time(5-30)"):
        async with open_door(seed=7, progression="manual") as door:
            found.append(
                [await created(door, {"x-sandbox-progression": progression}) for _ in "ab"]
            )
    assert found[0] == found[1]


@pytest.mark.anyio
async def test_a_job_without_time_has_a_progress(open_door: OpenDoor) -> None:
    """A job of no seconds that is stuck is nearly done, not an error."""
    async with open_door(progression="time(0)") as door:
        job_id = await created(door, {"x-sandbox-fault": '{"kind": "stick_job"}'})
        await door.sleep(1.0)
        answer = await door.send("GET", f"/v2/generate/{job_id}?include=progress")
        assert (await shown(door, job_id))["status"] == "PROCESSING"
    assert (answer.status, answer.json["progress_percent"]) == (200, 99.0)
