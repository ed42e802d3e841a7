"""Reading a journal: how far its run is, what went wrong, and a copy for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from lipsync_async._bulk.journal_entry import JobState, JournalEntry
from lipsync_async._bulk.journal_reader import JournalView
from lipsync_async._bulk.results import reason_in, reason_of
from lipsync_async._polling.wait import bad_end
from lipsync_async.cli.output import clock, plural, say
from lipsync_async.cli.run import places_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_SHOWN = 20
# What has no result, and of which it is certain that no job runs.
_FAILED = (JobState.FAILED, JobState.REFUSED)
_UNKNOWN = (JobState.INTENDED, JobState.DOUBTFUL)
_MEANINGS = {
    JobState.COMPLETED: "done",
    JobState.FAILED: "ended without a result",
    JobState.ACCEPTED: "running at the service, as far as is known",
    JobState.INTENDED: "about to be sent, or on the way",
    JobState.DOUBTFUL: "sent with unknown outcome; sent again by the next run, not paid twice",
    JobState.REFUSED: "not accepted; sent again by the next run",
}


def show_journal(path: Path, export: Path | None, *, is_of_failures: bool = False) -> None:
    """Print how far a journal's run is, and copy the journal if asked to.

    Args:
        path: The journal.
        export: File to write all entries to, `.jsonl` or `.csv`; `None`: none.
        is_of_failures: Whether only what has failed is shown, and written as a manifest.

    Raises:
        JournalError: The journal cannot be read, or the file not be written.

    """
    with JournalView.open(path) as view:
        for line in status_lines(view, path, is_of_failures=is_of_failures):
            say(line)
        if export is None:
            return
        if is_of_failures:
            for line in _written_manifest(view, export):
                say(line)
            return
        write = view.export_csv if export.suffix.lower() == ".csv" else view.export_jsonl
        write(export)
        say(f"All of it is in {export}.")


def _written_manifest(view: JournalView, export: Path) -> Iterator[str]:
    """Write what has failed as a manifest, and say what is in it and what is not."""
    counts = view.counts()
    if not any(counts[state] for state in _FAILED):
        yield f"Nothing has failed, so {export} was not written."
        return
    rows = plural(view.export_manifest(export, states=_FAILED), "row")
    yield f"{rows} of the manifest are in {export}. To order them anew, run it with a new journal."
    left = sum(counts[state] for state in _UNKNOWN)
    if left:
        yield (
            f"{plural(left, 'order')} of unknown outcome are not in it: run the whole manifest "
            "with this journal first."
        )


@attrs.define(slots=True)
class _Survey:
    """Hold what a walk through all entries finds.

    Attributes:
        saved: Results that were fetched.
        latest: When anything has changed last; `None`: there is no entry.
        troubled: Places of entries with an error, by state and reason.

    """

    saved: int = 0
    latest: datetime | None = None
    troubled: dict[tuple[JobState, str], list[str]] = attrs.field(factory=dict)

    def take(self, entry: JournalEntry) -> None:
        """Take note of an entry."""
        self.saved += entry.download_path is not None
        self.latest = max(self.latest or entry.updated_at, entry.updated_at)
        if entry.error_class is not None:
            self.troubled.setdefault((entry.state, reason(entry)), []).append(entry.place)


def status_lines(view: JournalView, name: Path, *, is_of_failures: bool = False) -> Iterator[str]:
    """Yield what to say about a journal, under the name that it was given by."""
    counts, survey = view.counts(), _Survey()
    for entry in view.entries(*(_FAILED if is_of_failures else ())):
        survey.take(entry)
    total = sum(counts.values())
    width = len(str(total))
    yield f"{plural(total, 'request')} in {name}:"
    for state, meaning in _MEANINGS.items():
        if counts[state] and (state in _FAILED or not is_of_failures):
            yield f"  {state:<10} {counts[state]:{width}}  {meaning}"
    if survey.saved and not is_of_failures:
        yield f"  {'saved':<10} {survey.saved:{width}}  of the results are on this machine"
    if survey.latest is not None and not is_of_failures:
        ago = max(0.0, (datetime.now(UTC) - survey.latest).total_seconds())
        yield f"Last change: {survey.latest.astimezone():%Y-%m-%d %H:%M:%S} ({clock(ago)} ago)"
    yield from _trouble_lines(survey)


def _trouble_lines(survey: _Survey) -> Iterator[str]:
    groups = sorted(survey.troubled.items(), key=lambda group: -len(group[1]))
    if groups:
        yield "What went wrong, by reason:"
    for (state, words), places in groups[:_MOST_SHOWN]:
        yield f"  {state}: {places_in_words(places, 'request')}: {words}"
    more = sum(len(places) for _, places in groups[_MOST_SHOWN:])
    if more:
        yield f"  and {more} more; --export has them all"


def reason(entry: JournalEntry) -> str:
    """Say in a line what went wrong with a request, without what only this one has."""
    generation = entry.generation
    error = None if generation is None else bad_end(generation)
    if error is not None:
        return reason_of(error)
    return reason_in(entry.error_message or entry.error_class or "")
