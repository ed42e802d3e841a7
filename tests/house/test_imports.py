"""Who may import what, and what users pay for `import lipsync_async`."""

import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
# aiohttp alone takes 200 ms to import.
HEAVY = {"aiohttp", "av", "espeakng_loader", "numpy", "PIL", "rich", "sqlite3", "trio"}


STATEMENTS = """
import lipsync_async, lipsync_async.errors, lipsync_async.webhooks, sys
from lipsync_async import AsyncClient, GenerationRequest, Options, RetryPolicy, ServerError, Video
from lipsync_async import JobState, JournalEntry, ManifestRow, read_manifest
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_importing_loads_nothing_heavy() -> None:
    """The heavy packages wait until a client really opens a connection."""
    # Coverage itself loads SQLite.
    environment = {name: text for name, text in os.environ.items() if "COVERAGE_" not in name}
    command = [sys.executable, "-c", STATEMENTS]
    printed = subprocess.check_output(command, env=environment, text=True)  # noqa: S603 - our own
    assert set(printed.split()) & HEAVY == set()


def test_the_contracts_of_pyproject_are_kept() -> None:
    """Every import goes down, in no circle, and heavy packages stay in their places."""
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=1))"
    completed = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, ""), completed.stdout


def test_no_file_imports_itself_in_a_circle() -> None:
    """Neither inside functions nor for types."""
    graph = grimp.build_graph("lipsync_async", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imports).prepare()  # it raises a CycleError that names the circle
