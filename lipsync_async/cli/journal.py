"""Reading a journal: how far its run is, what went wrong, and a copy for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.journal_entry import JobState, JournalEntry
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async.cli.screen import say
from lipsync_async.cli.wording import clock, plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_SHOWN = 20
_MEANINGS = {
    JobState.COMPLETED: "done",
    JobState.FAILED: "ended without a result",
    JobState.ACCEPTED: "running at the service, as far as is known",
    JobState.INTENDED: "about to be sent, or on the way",
    JobState.DOUBTFUL: "sent with unknown outcome; sent again by the next run, not paid twice",
    JobState.REFUSED: "not accepted; sent again by the next run",
}


def show_journal(path: Path, export: Path | None) -> None:
    """Print how far a journal's run is, and copy the journal if asked to.

    Args:
        path: The journal.
        export: File to write all entries to, `.jsonl` or `.csv`; `None`: none.

    Raises:
        JournalError: The journal cannot be read, or the file not be written.

    """
    with JournalView.open(path) as view:
        for line in status_lines(view, path):
            say(line)
        if export is None:
            return
        write = view.export_csv if export.suffix.lower() == ".csv" else view.export_jsonl
        write(export)
        say(f"All of it is in {export}.")


@attrs.define(slots=True)
class _Survey:
    """Hold what a walk through all entries finds.

    Attributes:
        saved: Results that were fetched.
        latest: When anything has changed last; `None`: there is no entry.
        troubled: Entries with an error.
        shown: The first of them.

    """

    saved: int = 0
    latest: datetime | None = None
    troubled: int = 0
    shown: list[JournalEntry] = attrs.field(factory=list)

    def take(self, entry: JournalEntry) -> None:
        """Take note of an entry."""
        self.saved += entry.download_path is not None
        self.latest = max(self.latest or entry.updated_at, entry.updated_at)
        if entry.error_class is not None:
            self.troubled += 1
            if len(self.shown) < _MOST_SHOWN:
                self.shown.append(entry)


def status_lines(view: JournalView, name: Path) -> Iterator[str]:
    """Yield what to say about a journal, under the name that it was given by."""
    counts, survey = view.counts(), _Survey()
    for entry in view.entries():
        survey.take(entry)
    total = sum(counts.values())
    width = len(str(total))
    yield f"{plural(total, 'request')} in {name}:"
    for state, meaning in _MEANINGS.items():
        if counts[state]:
            yield f"  {state:<10} {counts[state]:{width}}  {meaning}"
    if survey.saved:
        yield f"  {'saved':<10} {survey.saved:{width}}  of the results are on this machine"
    if survey.latest is not None:
        ago = max(0.0, (datetime.now(UTC) - survey.latest).total_seconds())
        yield f"Last change: {survey.latest.astimezone():%Y-%m-%d %H:%M:%S} ({clock(ago)} ago)"
    if survey.shown:
        yield "What went wrong, by position in the input (from 0):"
        yield from (f"  {reason(entry)}" for entry in survey.shown)
    if survey.troubled > len(survey.shown):
        yield f"  and {survey.troubled - len(survey.shown)} more; --export has them all"


def reason(entry: JournalEntry) -> str:
    """Say in a line what went wrong with a request."""
    words = " ".join((entry.error_message or entry.error_class or "").split())
    return f"{entry.position}: {entry.state}: {words}"
