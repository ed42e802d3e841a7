"""A process to be killed: it writes a journal and says what it may rely on.

    python -m tests.fleet.scribe write JOURNAL COUNT
    python -m tests.fleet.scribe hold JOURNAL

Each line that it prints is about a record that had returned. What a killed process had
printed last may lack its end.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._fleet.journal import Journal
from lipsync_async._words import Status
from tests.fleet.jobs import job, request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lipsync_async._values.models import Generation

ROOT = Path(__file__).parents[2]
# Requests that share a commit: enough to be torn apart if commits could be torn.
BATCH = 7


def write(journal_path: str, count: int) -> None:
    """Take so many requests from where the journal says to their ends."""
    requests = [request(number) for number in range(count)]
    with Journal.open(journal_path) as journal:
        entries = journal.match(requests)
        left = [
            number for number, entry in enumerate(entries) if not (entry and entry.download_path)
        ]
        for first in range(0, len(left), BATCH):
            positions = left[first : first + BATCH]
            unsent = [
                (number, requests[number]) for number in positions if is_unsent(journal, number)
            ]
            for (number, _), key in zip(unsent, journal.record_intents(unsent), strict=True):
                tell("key", number, key)
            for status in (Status.PENDING, Status.COMPLETED):
                seen = [(number, service_job(journal, number, status)) for number in positions]
                journal.record_generations(seen)
                for number, generation in seen:
                    tell(status, number, generation.id)
            journal.record_downloads([(number, f"{number}.mp4") for number in positions])
            for number in positions:
                tell("download", number, f"{number}.mp4")


def hold(journal_path: str) -> None:
    """Own a journal with one request in it until standard input ends."""
    with Journal.open(journal_path) as journal:
        (key,) = journal.record_intents([(0, request(0))])
        tell("key", 0, key)
        sys.stdin.read()


def is_unsent(journal: Journal, number: int) -> bool:
    """Tell whether a create must be sent."""
    entry = journal.entry(number)
    return entry is None or not entry.state.has_job


def service_job(journal: Journal, number: int, status: Status) -> Generation:
    """Return the job that the service has for a request: one for each key, for ever."""
    entry = journal.entry(number)
    assert entry is not None
    return job(f"job-of-{entry.idempotency_key}", status)


def tell(event: str, number: int, fact: str) -> None:
    """Say what is safe from now on."""
    print(event, number, fact, flush=True)  # noqa: T201 - who started it listens


def start(*arguments: str | Path | int) -> subprocess.Popen[str]:
    """Start this file as a process of its own."""
    return subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, "-m", "tests.fleet.scribe", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_until_killed(journal: Path, count: int, lines: int) -> Iterator[tuple[str, int, str]]:
    """Let a process write, kill it after so many lines, and yield what it had said in time."""
    with start("write", journal, count) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        heard += process.stdout.readlines()
    for line in [line for line in heard if line.endswith("\n")]:
        event, number, fact = line.split()
        yield event, int(number), fact


def main(arguments: Sequence[str]) -> None:
    """Do as the command line says."""
    verb, journal, *count = arguments
    if verb == "write":
        write(journal, int(count[0]))
    else:
        hold(journal)


if __name__ == "__main__":
    main(sys.argv[1:])
