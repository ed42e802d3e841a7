"""Calls are left at every turn of the event loop: nothing is lost, and nothing is left open."""

import asyncio
import subprocess
import sys

import pytest

from tests.cancellation.turns import SCENARIOS, TROUBLES, WAYS, TurnLoop, leave, left_over, opened

# Short calls are left in each turn. Runs take hundreds: of those, every few.
SHORT = ("create", "run", "wait", "updates", "read", "download")
LONG = ("run_all", "run_ordered", "run_with_files", "run_and_save", "break_out", "break_off")
STEP = 19
# In every how many turns a loop is dropped: in memory, and over sockets, where there are fewer.
DROPPED = (
    dict.fromkeys(("run_with_files", "break_off", "through_a_generator"), 31),
    {"create": 3, "run": 11, "run_all": 17, "run_with_journal": 71},
)


async def left(scenario: str, way: str, turn: int, trouble: str) -> tuple[bool, list[str]]:
    """Leave a call in a turn; tell whether it had ended before, and what is wrong then."""
    async with opened(trouble, has_before=scenario in {"read", "download"}) as world:
        own = asyncio.all_tasks()
        has_ended = await leave(world, SCENARIOS[scenario], WAYS[way], turn)
        world.sandbox.faults.clear()
        wrong = [*world.lost(), *await left_over(world, own)]
        if way != "by_close":
            await world.client.generations.count()
        return has_ended, wrong


def check(scenario: str, way: str, trouble: str, step: int) -> None:
    """Leave a call at every turn, or every few, until it ends by itself."""
    turn, has_ended = 0, False
    while not has_ended:
        with asyncio.Runner(loop_factory=TurnLoop) as runner:
            has_ended, wrong = runner.run(left(scenario, way, turn, trouble))
        assert (turn, wrong) == (turn, [])
        turn += step


@pytest.mark.traced_once("scenario", "way")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", SHORT)
def test_every_turn(scenario: str, way: str) -> None:
    """However a call is left, its job is named, and the client goes on."""
    check(scenario, way, "slow", 1)


@pytest.mark.traced_once("scenario", "way")
@pytest.mark.parametrize("way", ["by_two_cancels", "by_sibling", "by_close"])
@pytest.mark.parametrize("scenario", LONG)
def test_every_few_turns(scenario: str, way: str) -> None:
    """However a run is left, its jobs are named or in the journal, and no part file is left."""
    check(scenario, way, "slow", STEP)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_run_in_trouble_whose_client_is_closed(trouble: str) -> None:
    """An order that may have been accepted is named, also when its client closes in a pause."""
    check("run_all", "by_close", trouble, STEP)


def test_a_loop_that_is_dropped() -> None:
    """What is not known then is told when the program ends, and hardly anything else."""
    program = f"from tests.cancellation.turns import drop_often; drop_often(*{DROPPED})"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own
    told = ended.stderr.decode()
    jobs = [line.split() for line in ended.stdout.decode().splitlines()]
    unknown = [(job, key) for job, key, is_known in jobs if is_known == "False"]
    assert len(unknown) > STEP
    assert [names for names in unknown if not any(name in told for name in names)] == []
    known = {name for *names, is_known in jobs if is_known == "True" for name in names}
    # Of what is in a journal only news are told whose writing was cut off.
    assert len([name for name in known if name in told]) < len(known) / 4
    # The server in the loop is aiohttp's own, and dropped as well.
    server = "Exception ignored in: <coroutine object RequestHandler."
    ignored = [line for line in told.splitlines() if "Exception ignored" in line]
    assert [line for line in ignored if not line.startswith(server)] == []
