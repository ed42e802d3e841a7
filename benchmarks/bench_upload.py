"""Upload, generate and download a film of 500 MB over loopback, beside hashing and raw aiohttp.

The service and each contender have a process of their own. The contenders take turns, and the
median of the rounds counts.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.bulk_runs import serving
from benchmarks.ratios import Ratio
from benchmarks.upload_server import FILM_BYTES
from benchmarks.uploads import CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

_ROUNDS = 5
_MEGABYTE = 1e6
_HEAD = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"


def test_upload(
    benchmark: BenchmarkFixture, report: Callable[[Ratio], None], tmp_path: Path
) -> None:
    """Let each contender do its work in turn, again and again."""
    film, small = tmp_path / "film.mp4", tmp_path / "small.mp4"
    small.write_bytes(_HEAD)
    with film.open("wb") as file:
        file.write(_HEAD)
        for _ in range(FILM_BYTES // 1_000_000):
            file.write(bytes(1_000_000))
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with serving("benchmarks.upload_server") as url, ExitStack() as processes:
        work = {name: processes.enter_context(_contender(name, url, film)) for name in CONTENDERS}

        def play_round() -> None:
            for name, do in work.items():
                taken[name].append(do())

        pedantic: Any = benchmark.pedantic  # it has no types
        pedantic(play_round, rounds=_ROUNDS, warmup_rounds=1)
    rounds = {name: all_of[1:] for name, all_of in taken.items()}
    for name, all_of in rounds.items():
        seconds = statistics.median(each["seconds"] for each in all_of)
        memory = max(each["memory"] for each in all_of) / _MEGABYTE
        most = 60 if name in {"ours", "plain", "whole"} else None
        report(Ratio(what=f"upload: {name}, seconds", measured=seconds))
        report(Ratio(what=f"upload: {name}, MB above start", measured=memory, at_most=most))
    for name, bases in (("ours", ("hash", "raw")), ("plain", ("raw",))):
        ratios = [
            rounds[name][at]["seconds"] / sum(rounds[base][at]["seconds"] for base in bases)
            for at in range(_ROUNDS)
        ]
        what = f"upload: seconds, {name} / {' + '.join(bases)}"
        report(Ratio(what=what, measured=statistics.median(ratios), at_most=1.3))


@contextmanager
def _contender(name: str, url: str, film: Path) -> Iterator[Callable[[], dict[str, float]]]:
    """Run a contender's process, and give what has it do its work once."""
    command = [sys.executable, "-m", "benchmarks.uploads", name, url, str(film)]
    with subprocess.Popen(  # noqa: S603 - our own words
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, asked = process.stdout, process.stdin

        def do() -> dict[str, float]:
            print(file=asked, flush=True)
            found: dict[str, float] = json.loads(told.readline())
            return found

        yield do
        asked.close()
