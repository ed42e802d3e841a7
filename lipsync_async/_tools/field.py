"""Run scripts, each by itself, and say which of them fail: `python -m lipsync_async._tools.field`.

A script is right when it exits with status 0 in its time. It runs in an empty folder of its
own, away from any checkout, with this Python, and without the user's key. What it started
and left running ends with it, where the system can tell.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import attrs

_SHOWN_LINES = 8  # of what a script printed before it failed
_KEPT_FROM_SCRIPTS = frozenset({"SYNC_API_KEY", "SYNC_BASE_URL"})


@attrs.frozen(slots=True)
class Ended:
    """End of a script; the status `None` means that its time was up."""

    status: int | None
    seconds: float
    printed: str


def run(script: Path, limit: float) -> Ended:
    """Run one script for at most so many seconds."""
    environment = {
        name: value for name, value in os.environ.items() if name not in _KEPT_FROM_SCRIPTS
    }
    with (
        tempfile.TemporaryDirectory(prefix="script-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as output,  # a pipe would wait for what a script left running
    ):
        began = time.monotonic()
        with subprocess.Popen(  # noqa: S603 - the user asked for it
            [sys.executable, str(script.resolve())],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                status: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end(process)
        seconds = time.monotonic() - began
        output.seek(0)
        return Ended(status, seconds, output.read().decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a script and what it started; where there are no groups of processes, the script."""
    if sys.platform == "win32":  # pragma: no cover - it has no such groups
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def scripts(places: list[Path]) -> list[Path]:
    """Return the files that are named, and those of the folders that are."""
    found: list[Path] = []
    for place in places:
        found.extend(sorted(place.glob("*.py")) if place.is_dir() else [place])
    return found


def is_named(script: Path, names: list[str]) -> bool:
    """Tell whether a script is named: by its whole name, or by how it begins, up to a `_`."""
    stem = script.stem
    return any(name in {script.name, stem} or stem.startswith(f"{name}_") for name in names)


def main(arguments: list[str]) -> int:
    """Run what the arguments name; return 0 if nothing failed but what was expected to."""
    parser = argparse.ArgumentParser("field", description="Run scripts, each by itself.")
    parser.add_argument("places", nargs="+", type=Path, metavar="PLACE", help="a folder or script")
    expected = "scripts that may fail, by name or by what is before its first `_`"
    parser.add_argument("--except", nargs="+", default=[], dest="excepted", help=expected)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each (300)")
    options = parser.parse_args(arguments)
    chosen = scripts(options.places)
    if not chosen:
        parser.error("there are no scripts")
    failed = 0
    for script in chosen:
        ended = run(script, options.limit)
        is_excepted = is_named(script, options.excepted)
        failed += ended.status != 0 and not is_excepted
        status = "time is up" if ended.status is None else f"exit {ended.status}"
        remark = " (may fail)" if is_excepted else ""
        print(f"{status:>10}  {ended.seconds:6.1f} s  {script.stem}{remark}", flush=True)  # noqa: T201
        if ended.status != 0 and not is_excepted:
            for line in ended.printed.splitlines()[-_SHOWN_LINES:]:
                print(f"{'':>10}  | {line}", flush=True)  # noqa: T201
    print(f"{len(chosen)} scripts, {failed} failed", flush=True)  # noqa: T201
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
