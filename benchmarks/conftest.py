"""Collect `bench_*.py`, which the tests' run does not see, serve them, and print the ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.bulk_runs import serving
from benchmarks.ratios import Ratio, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_RATIOS = pytest.StashKey[list[Ratio]]()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect benchmarks of a folder; a file that was named outright pytest collects itself."""
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Start an empty table."""
    config.stash[_RATIOS] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
    config: pytest.Config,
) -> None:
    """Print the table."""
    if ratios := config.stash[_RATIOS]:
        terminalreporter.section("ratios of this run")
        for line in table(ratios):
            terminalreporter.write_line(line)


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Callable[[Ratio], None]:
    """Add a line to the table."""
    return pytestconfig.stash[_RATIOS].append


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Run the server in a process of its own."""
    with serving("benchmarks.server") as url:
        yield url
