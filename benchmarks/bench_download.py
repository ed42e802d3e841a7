"""Fetching a film of 300 MB over loopback into a file, beside raw aiohttp and httpx.

The media host and each contender have a process of their own. The contenders take turns, and
the median of the pairs counts: the disk that they share is the most moody part of a machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.bulk_runs import serving
from benchmarks.downloads import CONTENDERS, Taken
from benchmarks.media_server import FILM_BYTES
from benchmarks.ratios import Ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

_PAIRS = 9
_MEGABYTE = 1e6


def test_download(
    benchmark: BenchmarkFixture, report: Callable[[Ratio], None], tmp_path: Path
) -> None:
    """Fetch the film with each contender in turn, again and again."""
    taken: dict[str, list[Taken]] = {name: [] for name in CONTENDERS}
    with serving("benchmarks.media_server") as url, ExitStack() as processes:
        fetching = {
            name: processes.enter_context(_contender(name, f"{url}/film.mp4", tmp_path))
            for name in CONTENDERS
        }

        def play_round() -> None:
            for name, fetch in fetching.items():
                taken[name].append(fetch())

        pedantic: Any = benchmark.pedantic  # it has no types
        pedantic(play_round, rounds=_PAIRS, warmup_rounds=1)
    for ratio in _ratios({name: all_of[1:] for name, all_of in taken.items()}):
        report(ratio)


@contextmanager
def _contender(name: str, url: str, folder: Path) -> Iterator[Callable[[], Taken]]:
    """Run a contender's process, and give what has it fetch once."""
    command = [sys.executable, "-m", "benchmarks.downloads", name, url, str(folder)]
    with subprocess.Popen(  # noqa: S603 - our own words
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, asked = process.stdout, process.stdin

        def fetch() -> Taken:
            print(file=asked, flush=True)
            return Taken(**json.loads(told.readline()))

        yield fetch
        asked.close()


def _ratios(taken: dict[str, list[Taken]]) -> Iterator[Ratio]:
    """Compare each download with that of raw aiohttp in the same round."""
    for name, all_of in taken.items():
        seconds = statistics.median(each.seconds for each in all_of)
        cpu_seconds = statistics.median(each.cpu_seconds for each in all_of)
        memory = max(each.memory for each in all_of)
        yield Ratio(
            what=f"download: {name}, MB a second", measured=FILM_BYTES / seconds / _MEGABYTE
        )
        yield Ratio(what=f"download: {name}, ms of CPU", measured=cpu_seconds * 1e3)
        most = 50 if name == "ours" else None
        yield Ratio(
            what=f"download: {name}, MB above idle", measured=memory / _MEGABYTE, at_most=most
        )
    for kind in ("seconds", "cpu_seconds"):
        for name in ("ours", "httpx"):
            pairs = zip(taken[name], taken["raw"], strict=True)
            yield Ratio(
                what=f"download: {kind.replace('_', ' ')}, {name} / raw aiohttp",
                measured=statistics.median(
                    getattr(one, kind) / getattr(other, kind) for one, other in pairs
                ),
                at_most=1.2 if name == "ours" else None,
            )
