"""Calls are left at every turn, in every way, whatever is wrong: the long form of the harness."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import Audio, Video
from lipsync_async.sandbox import Sandbox
from tests.bulk.runs import requests
from tests.cancellation.turns import (
    MANY,
    SCENARIOS,
    TROUBLES,
    WAYS,
    Scenario,
    TurnLoop,
    World,
    leave,
    left_over,
    opened,
)
from tests.client.connections import ORDER, connect, records_of
from tests.portal.programs import running
from tests.portal.test_interruption import true

SHORT = ("create", "run", "wait", "updates", "read", "download")
LONG = tuple(name for name in SCENARIOS if name not in SHORT)
QUICK: dict[str, Any] = {"clock": None, "progression": "polls(2)"}
KEY = "scene-12"


async def create_by_key(world: World) -> object:
    """Order one under a key of the caller's own."""
    return await world.client.generations.create(**ORDER, idempotency_key=KEY)


async def upload(world: World) -> object:
    """Order one with files of the caller's own."""
    video, audio = world.folder / "one.mp4", world.folder / "one.wav"
    for path in (video, audio):
        path.write_bytes(bytes(50_000))
    files = (Video(file=video), Audio(file=audio))
    return await world.client.generations.create(
        model="lipsync-2", input=files, idempotency_key=KEY
    )


async def delete(world: World) -> object:
    """Delete one."""
    assert world.before is not None
    await world.client.generations.delete(world.before)
    return None


MORE: dict[str, Scenario] = {"create_by_key": create_by_key, "upload": upload, "delete": delete}
ALL = SCENARIOS | MORE


async def repeated(name: str, world: World) -> list[str]:
    """Repeat what can be repeated with another client; return what is wrong then."""
    if world.sandbox.jobs.created == 0:
        return ["no job"]
    expected = 1
    async with connect(world.sandbox) as client:
        if name in {"create_by_key", "upload"}:
            world.client = client
            await ALL[name](world)
            expected += 1
        elif name == "run_with_files" or world.journal.exists():
            folder = world.results if name == "run_with_files" else None
            async with client.generations.run_many(
                requests(MANY), journal=world.journal, download_to=folder
            ) as outcomes:
                expected += len([outcome async for outcome in outcomes])
        else:
            return []
    made = world.sandbox.jobs.created
    files = len(list(world.results.glob("*.mp4"))) if name == "run_with_files" else MANY
    failed = sum(job.status == "FAILED" for job in world.sandbox.jobs)
    wrong = [] if made == expected else [f"{made} generations, not {expected}"]
    return wrong if files + failed >= MANY else [*wrong, f"{files} files"]


async def left(name: str, way: str, turn: int, trouble: str, settings: Any) -> tuple[bool, Any]:
    """Leave a call in a turn; tell whether it had ended before, and what is wrong then."""
    async with opened(trouble, **settings) as world:
        own = asyncio.all_tasks()
        has_ended = await leave(world, ALL[name], WAYS[way], turn)
        world.sandbox.faults.clear()
        over = await left_over(world, own)
        wrong = [*world.lost(), *(each for each in over if "RequestHandler" not in each)]
        if way != "by_close":
            await world.client.generations.count()
        return has_ended, [*wrong, *await repeated(name, world)]


def check(
    counts: Counter[str], name: str, way: str, trouble: str, turns: Iterator[int], **settings: Any
) -> None:
    """Leave a call at every turn, or every few, until it ends by itself."""
    has_ended = False
    while not has_ended:
        turn = next(turns)
        with asyncio.Runner(loop_factory=TurnLoop) as runner:
            has_ended, wrong = runner.run(left(name, way, turn, trouble, settings))
        assert (name, way, trouble, turn, wrong) == (name, way, trouble, turn, [])
        counts[name] += 1


@pytest.fixture
def counts(capsys: pytest.CaptureFixture[str]) -> Any:
    """Count how often each call was left, and tell at the end."""
    began, found = time.monotonic(), Counter[str]()
    yield found
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(f"\n{found.total()} times left in {seconds:.0f} s: {dict(found)}")  # noqa: T201


@pytest.mark.parametrize("trouble", TROUBLES)
def test_short_calls(trouble: str, counts: Counter[str]) -> None:
    """Each in every way, at every turn, whatever is wrong with the service."""
    for name in (*SHORT, *MORE):
        for way in WAYS:
            check(counts, name, way, trouble, count(), seed=7)


@pytest.mark.parametrize("way", WAYS)
def test_runs(way: str, counts: Counter[str]) -> None:
    """At every few turns, from another one each time, whatever is wrong with the service."""
    chance = Random(way)
    for name in LONG:
        for trouble in TROUBLES:
            check(counts, name, way, trouble, count(chance.randrange(29), 29), seed=7)


@pytest.mark.parametrize("name", ["run_all", "run_with_files", "break_off"])
def test_runs_at_every_turn(name: str, counts: Counter[str]) -> None:
    """Cancelled twice at every turn."""
    check(counts, name, "by_two_cancels", "slow", count(), seed=7)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_over_sockets(seed: int, counts: Counter[str]) -> None:
    """Each call in two ways at random, at every few turns, over real connections."""
    chance = Random(seed)
    for name in ALL:
        for way in chance.sample(list(WAYS), 2):
            trouble = chance.choice(["none", "unknown", "named", "lost", "failing"])
            step = 3 if name in SHORT or name in MORE else 23
            turns = count(chance.randrange(step), step)
            check(counts, name, way, trouble, turns, **QUICK, seed=seed)


@pytest.mark.parametrize("name", ["create", "run", "wait", "updates", "run_all", "run_with_files"])
def test_loops_that_are_dropped(name: str) -> None:
    """What is not known then is told when the program ends."""
    step = 1 if name in SHORT else 5
    program = (
        f"from tests.cancellation.turns import drop_often; drop_often({{}}, {{{name!r}: {step}}})"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own
    told = ended.stderr.decode()
    jobs = [line.split() for line in ended.stdout.decode().splitlines()]
    unknown = [(job, key) for job, key, is_known in jobs if is_known == "False"]
    assert len(jobs) > 20
    assert [names for names in unknown if not any(one in told for one in names)] == []


INTERRUPTED = """
    def create():
        return client.generations.create(**ORDER, idempotency_key="scene-12")

    def run():
        return client.generations.run(**ORDER)

    def run_all():
        return client.generations.run_all([GenerationRequest(**ORDER)] * 3)

    def run_many():
        requests = [GenerationRequest(**ORDER)] * 3
        with client.generations.run_many(requests, journal=JOURNAL) as outcomes:
            return [repr(outcome) for outcome in outcomes]

    client = connect(retry=RetryPolicy(first_pause=0.001, longest_pause=0.002))
    say("begun")
    try:
        say(CALL())
    except KeyboardInterrupt as error:
        say(*getattr(error, "__notes__", ()))
    except LipsyncError as error:
        say(repr(error), *getattr(error, "__notes__", ()))
    client.close()
"""


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("call", ["create", "run", "run_all", "run_many"])
async def test_blocking_calls_that_are_interrupted(call: str, tmp_path: Path) -> None:
    """Ctrl-C at any moment: each job is named, by its id or its key, or is in the journal."""
    chance, lost, made = Random(call), list[str](), 0
    for number in range(60):
        journal = tmp_path / f"{number}.sqlite"
        body = INTERRUPTED.replace("JOURNAL", repr(str(journal))).replace("CALL", call)
        async with Sandbox(seed=number, render=False, progression="polls(3)") as sandbox:
            for fault in TROUBLES[chance.choice(["none", "unknown", "lost"])]:
                sandbox.faults.add(fault)
            async with running(body, sandbox) as program:
                await program.line()
                arrived = chance.randint(0, 1 if call == "create" else 4)
                await true(lambda arrived=arrived: len(list(sandbox.requests)) >= arrived)  # type: ignore[misc]
                for _ in range(chance.randrange(300)):
                    await checkpoint()
                program.interrupt()
                _, printed, errors = await program.end()
            told = printed + errors + (journal.read_bytes().hex() if journal.exists() else "")
            for key, record in records_of(sandbox).items():
                made += 1
                names = [key, str(record.created)]
                names += [name.encode().hex() for name in names]
                lost += [] if any(name in told for name in names) else [f"{number} {names}"]
    assert (made > 20, lost) == (True, [])
