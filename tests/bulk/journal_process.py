"""A process to be killed: it writes a journal and says what it may rely on.

Each line that it prints is about a record that had returned. What a killed process had
printed last may lack its end.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lipsync_async._bulk.journal import Journal
from lipsync_async._enums import Status
from tests.bulk.jobs import job, known, record, request
from tests.interpreter import BlockingFork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lipsync_async._models.response import Generation

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
                record(journal, seen)
                for number, generation in seen:
                    tell(status, number, generation.id)
            record(journal, [(number, f"{number}.mp4") for number in positions])
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
    (entry,) = journal.match([request(number)], number)
    return entry is None or not entry.state.has_job


def service_job(journal: Journal, number: int, status: Status) -> Generation:
    """Return the job that the service has for a request: one for each key, for ever."""
    entry = known(journal, number)
    return job(f"job-of-{entry.idempotency_key}", status)


def tell(event: str, number: int, fact: str) -> None:
    """Say what is safe from now on."""
    print(event, number, fact, flush=True)  # noqa: T201 - who started it listens


def start(verb: str, journal: Path, *count: int) -> BlockingFork:
    """Start one of the above as a process of its own."""
    words = ", ".join(map(repr, (str(journal), *count)))
    return BlockingFork(f"from tests.bulk.journal_process import {verb}\n{verb}({words})")


def told_until_killed(journal: Path, count: int, lines: int) -> Iterator[tuple[str, int, str]]:
    """Let a process write, kill it after so many lines, and yield what it had said in time."""
    with start("write", journal, count) as process:
        heard = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        heard += process.stdout.readlines()
    for line in [line for line in heard if line.endswith("\n")]:
        event, number, fact = line.split()
        yield event, int(number), fact
