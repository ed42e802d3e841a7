"""The price of an import, each time in a fresh interpreter, with bytecode as installed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.measuring import Duel, Lap, race
from benchmarks.ratios import Ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

_ROUNDS = 9

_MEASURED = """
import sys, time
cpu_started, started = time.process_time(), time.perf_counter()
{statement}
print(time.perf_counter() - started, time.process_time() - cpu_started, "aiohttp" in sys.modules)
"""

_STATEMENTS = {
    "package": "import lipsync_async",
    "class": "from lipsync_async import AsyncClient",
    "client": "from lipsync_async import AsyncClient; AsyncClient('key')",
    "peer's package": "import sync",
    "peer's class": "from sync import AsyncSync",
    "peer's client": "from sync import AsyncSync; AsyncSync(api_key='key')",
}


def test_import(benchmark: BenchmarkFixture, report: Callable[[Ratio], None]) -> None:
    """Import the package, its client class, and build a client."""
    duel = Duel({name: _fresh(statement) for name, statement in _STATEMENTS.items()})
    race(benchmark, duel, rounds=_ROUNDS)
    for name, at_most in (("package", 0.5), ("class", 0.5), ("client", None)):
        ours, peers = duel.seconds(name), duel.seconds(f"peer's {name}")
        report(Ratio(what=f"import, {name}: in ms", measured=ours * 1e3))
        report(Ratio(what=f"import, {name} / syncsdk", measured=ours / peers, at_most=at_most))
    _, _, loads_aiohttp = _run(_STATEMENTS["class"])
    count = float(loads_aiohttp == "True")
    report(Ratio(what="aiohttp loaded by importing the class", measured=count, at_most=0))


def _fresh(statement: str) -> Callable[[], Lap]:
    def lap() -> Lap:
        seconds, cpu_seconds, _ = _run(statement)
        return Lap(float(seconds), float(cpu_seconds))

    return lap


def _run(statement: str) -> list[str]:
    """Return the printed seconds, CPU seconds, and whether aiohttp was loaded."""
    command = [sys.executable, "-c", _MEASURED.format(statement=statement)]
    # An editable install may not write bytecode, which an installed package always has.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    ran = subprocess.run(  # noqa: S603 - our own words
        command,
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return ran.stdout.split()
