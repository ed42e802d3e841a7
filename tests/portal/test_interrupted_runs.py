"""`run_many` without await, left in every way in the middle: the journal brings all to an end."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from textwrap import dedent

import pytest

from lipsync_async.sandbox import Sandbox
from tests.bulk.kill_loop import SLOTS, Loop
from tests.portal.programs import run, running

pytestmark = pytest.mark.usefixtures("interpreter")

COUNT = 12
BEGINNING = """
import signal

requests = [
    GenerationRequest(model="lipsync-2", input=INPUTS, output_file_name=f"take-{number}")
    for number in range(COUNT)
]
client = connect(
    retry=RetryPolicy(attempts=20, first_pause=0.001, longest_pause=0.002),
    poll=PollPolicy(long_poll=None, shared_interval=0.01),
    limits=Limits(
        creates_per_minute=None, requests_per_minute=None, concurrent_generations=SLOTS
    ),
)

def runs(requests=requests, **how):
    return client.generations.run_many(requests, journal=JOURNAL, download_to=RESULTS, **how)

def press(number):
    if number == 9:
        signal.raise_signal(signal.SIGINT)
"""
TO_THE_END = """
say("begun")
with runs() as outcomes:
    for outcome in outcomes:
        say(outcome.index, outcome.error)
say("done")
"""
# Each is left in the middle; the first two go on after that.
WAYS = {
    "break": """
        with runs() as outcomes:
            for number, outcome in enumerate(outcomes):
                if number == 4:
                    break
        say("left")
    """,
    "an exception": """
        try:
            with runs() as outcomes:
                next(outcomes)
                raise LookupError
        except LookupError:
            say("left")
    """,
    "Ctrl-C in the input": """
        with runs(press(number) or request for number, request in enumerate(requests)) as outcomes:
            list(outcomes)
    """,
    "Ctrl-C in the callback": """
        with runs(on_progress=lambda progress: press(progress.done)) as outcomes:
            list(outcomes)
    """,
    "Ctrl-C between two outcomes": """
        with runs() as outcomes:
            for number, outcome in enumerate(outcomes):
                press(number)
    """,
}


class Runs(Loop):
    """Know a run's files, and what must have come of it."""

    def program(self, body: str) -> str:
        """Return a program that may use them."""
        names = {"COUNT": self.count, "JOURNAL": str(self.journal), "RESULTS": str(self.results)}
        names["SLOTS"] = SLOTS
        facts = "\n".join(f"{name} = {value!r}" for name, value in names.items())
        return f"{facts}\n{BEGINNING}\n{body}"

    async def finish(self) -> None:
        """Run to the end; everything must be there once."""
        code, printed, errors = await run(self.program(TO_THE_END), self.sandbox)
        assert (code, errors) == (0, "")
        expected = [f"{number} None" for number in range(self.count)]
        assert sorted(printed.splitlines()) == sorted(["begun", *expected, "done"])
        self.check_all()


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """Run a sandbox that hangs up now and then, and whose jobs take a moment."""
    async with Sandbox(render=False, progression="time(0.1)") as sandbox:
        yield Runs(sandbox, tmp_path, COUNT, Random(3))


def is_interrupted(end: tuple[int | None, str, str]) -> bool:
    """Tell whether a program has ended by Ctrl-C as Python programs do, naming its journal."""
    code, _, errors = end
    # An outcome that came at that very moment is noted, and so is where to go on.
    notes = r"(The journal \S+ holds what was created.*\n|An item had come meanwhile: .*\n)*"
    usual = rf"\nKeyboardInterrupt\n{notes}$"
    return code == -2 and re.search(usual, errors) is not None and "ignored" not in errors


@pytest.mark.parametrize("way", WAYS)
async def test_left_in_the_middle(runs: Runs, way: str) -> None:
    """Whichever way a run is left, the next one brings each request to one job and one file."""
    end = await run(runs.program(dedent(WAYS[way])), runs.sandbox)
    assert is_interrupted(end) if "Ctrl-C" in way else end == (0, "left\n", "")
    runs.check_journal()
    await runs.finish()


async def test_interrupted_at_any_moment(runs: Runs) -> None:
    """Ctrl-C at moments that chance decides: each ends the process, none costs a job."""
    for least in sorted(runs.chance.sample(range(COUNT - SLOTS), 3)):

        def is_time(orders: int = least) -> bool:
            return runs.sandbox.jobs.created >= orders

        async with running(runs.program(TO_THE_END), runs.sandbox) as program:
            assert await program.line() == "begun"
            await program.until(is_time)
            program.interrupt()
            assert is_interrupted(await program.end())
        runs.check_journal()
    await runs.finish()


async def test_interrupted_while_it_is_left(runs: Runs) -> None:
    """Ctrl-C in the clean-up after a `break` ends the process as well, and nothing is lost."""
    body = """
with runs() as outcomes:
    for outcome in outcomes:
        say("leaving")
        break
time.sleep(60)
"""
    for _ in range(2):
        async with running(runs.program(body), runs.sandbox) as program:
            assert await program.line() == "leaving"
            program.interrupt()
            assert is_interrupted(await program.end())
        runs.check_journal()
    await runs.finish()
