"""Plans, the windows of their limits, and what is left of a month."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.plans import RateWindow, plan_of
from lipsync_async.sandbox.server.api_errors import ApiError
from tests.sandbox.api.test_assets import refusal
from tests.sandbox.clients import NOW, Answer, memory_client, order
from tests.sandbox.media.clips import Clip

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


@pytest.mark.parametrize(
    ("name", "concurrency", "seconds", "has_batches"),
    [
        ("free", 1, 20, False),
        ("hobbyist", 1, 60, False),
        ("creator", 3, 300, False),
        ("growth", 6, 600, False),
        ("scale", 15, 1800, True),
        ("enterprise", None, None, True),
        ("enterprise:40", 40, None, True),
        (None, None, None, True),
    ],
)
def test_plans_have_their_documented_limits(
    name: str | None, concurrency: int | None, seconds: float | None, *, has_batches: bool
) -> None:
    """Slots, seconds of output and batches differ."""
    plan = plan_of(name)
    expected = (concurrency, seconds, has_batches)
    assert (plan.concurrency, plan.seconds, plan.has_batches) == expected


@pytest.mark.parametrize(
    ("rate", "most", "seconds"),
    [
        ("create", 60, 60),
        ("request", 600, 60),
        ("upload", 120, 60),
        ("speech", 60, 60),
        ("speech job", 60, 60),
        ("voice", 10, 3600),
        ("feedback", 30, 60),
    ],
)
@pytest.mark.parametrize("name", ["free", "scale", "enterprise", None])
def test_rates_are_the_same_on_every_plan(
    name: str | None, rate: str, most: int, seconds: float
) -> None:
    """So many requests of a kind in its window; without a plan there is no limit."""
    window = plan_of(name).window(rate)
    assert all(window.admit(0.0) for _ in range(most))
    assert [window.admit(now) for now in (seconds - 0.1, seconds)] == [name is None, True]


@pytest.mark.parametrize(
    ("plan", "model", "seconds", "code"),
    [
        ("free", "lipsync-2", 20.0, None),
        ("free", "lipsync-2", 20.1, "generation_plan_duration_exceeded"),
        ("free", "sync-3", 15.0, None),
        ("free", "sync-3", 15.1, "generation_plan_duration_exceeded"),
        ("hobbyist", "sync-3", 60.0, None),
        ("scale", "lipsync-2", 1800.1, "generation_plan_duration_exceeded"),
        ("enterprise", "lipsync-2", 9000.0, None),
        (None, "react-1", 15.0, None),
        (None, "react-1", 15.1, "generation_model_duration_exceeded"),
    ],
)
def test_outputs_have_a_longest_duration(
    plan: str | None, model: str, seconds: float, code: str | None
) -> None:
    """By the plan, and for some models by themselves."""
    found = None
    try:
        plan_of(plan).check_seconds(model, seconds)
    except ApiError as refused:
        found = refused.body["errorCode"]
    assert found == code


async def test_creates_at_once_do_not_pass_the_limit_together(tmp_path: Path) -> None:
    """Also where each waits for speech of its own; those that are refused use no quota."""
    video = Clip(frames=10, hertz=440.0).write(tmp_path / "clip.mp4")
    async with memory_client(plan="free", render=True, progression="manual") as client:
        item = {"type": "video", "url": client.sandbox.host_file(video)}
        body = {"model": "lipsync-2", "input": [item], "dubParams": {"targetLang": "de"}}
        answers: list[Answer] = []

        async def create() -> None:
            answers.append(await client.send("POST", "/v2/generate", body))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(create)
        used = client.sandbox._state.quota.count("generations")  # noqa: SLF001 - what it counts
    found = sorted((answer.status, answer.json.get("errorCode") or "") for answer in answers)
    assert found == [(201, ""), *[(429, "concurrency_limit_reached")] * 2]
    assert used == 1


@pytest.mark.parametrize(
    ("model", "most", "what"),
    [("lipsync-2", 3, "generations"), ("sync-3", 1, "sync-3 generations")],
)
async def test_the_free_plan_has_a_monthly_quota(model: str, most: int, what: str) -> None:
    """What is over it is 402, takes nothing, and works again in the next month."""
    async with memory_client(plan="free", progression="manual") as client:

        async def create() -> Any:
            body = order(model=model, input=order()["input"])
            return await client.send("POST", "/v2/generate", body, headers=NOW)

        fine = [(await create()).status for _ in range(most)]
        over = await create()
        others = await client.send("POST", "/v2/generate", order(), headers=NOW)
        await client.sleep(31 * 86_400.0)
        again = await create()
    assert (fine, refusal(over)) == ([201] * most, (402, "free_tier_generations_exhausted"))
    assert over.json["message"] == f"The plan's {most} {what} of this month are used up."
    assert (others.status, again.status) == (402 if most == 3 else 201, 201)
