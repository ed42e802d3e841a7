"""Requests and jobs for tests, each told apart by a number."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lipsync_async._bulk.journal_file import JournalFile
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async._enums import Status
from lipsync_async._models.request import Audio, GenerationRequest, Video
from lipsync_async._models.response import Generation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from lipsync_async._bulk.journal import Journal
    from lipsync_async._bulk.journal_entry import JournalEntry
    from tests.servers import PostgresServer

_runs = count()


def request(number: int, **fields: Any) -> GenerationRequest:
    """Return a good request."""
    video, audio = Video(f"https://media.example/{number}.mp4"), Audio("https://media.example/a")
    facts: dict[str, Any] = {"model": "lipsync-2", "input": [video, audio], **fields}
    return GenerationRequest(**facts)


def job(name: str, status: Status | str = Status.PENDING, **fields: Any) -> Generation:
    """Return a job as the service tells of it."""
    raw = {"id": name, "status": str(status), "model": "lipsync-2", "input": [], **fields}
    return Generation(
        id=name,
        status=Status(status),
        model="lipsync-2",
        error=fields.get("error"),
        error_code=fields.get("errorCode"),
        output_url=fields.get("outputUrl"),
        raw=raw,
    )


def record(
    journal: Journal, updates: Sequence[tuple[int, Generation | BaseException | str | Path]]
) -> None:
    """Record updates; what contradicts the journal is raised."""
    conflict = journal.record_updates(updates)
    if conflict is not None:
        raise conflict


def entries(journal: Path | str | Journal | JournalView) -> list[JournalEntry]:
    """Return all that a journal knows of requests."""
    with JournalView.open(journal if isinstance(journal, Path | str) else journal.path) as view:
        return [*view.entries()]


def connection_of(journal: Journal | JournalView) -> sqlite3.Connection:
    """Return the connection of a journal in a file."""
    store = journal._store  # noqa: SLF001
    assert isinstance(store, JournalFile)
    return store.connection


def address_of(server: PostgresServer, run: str | None = None) -> str:
    """Return the address of a journal on a server; it has no password, and a name of its own."""
    name = f"run {next(_runs)}" if run is None else run
    place = f"host={quote(str(server.folder), safe='')}&port={server.port}"
    return f"postgresql://postgres@/postgres?{place}&run={quote(name)}"


def known(journal: Path | str | Journal | JournalView, position: int = 0) -> JournalEntry:
    """Return what a journal must know of a request."""
    (entry,) = [each for each in entries(journal) if each.position == position]
    return entry
