"""Reading a journal: how far its run is, what went wrong, and a copy for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lipsync_async._bulk.journal_entry import JobState, JournalEntry
from lipsync_async._bulk.journal_view import JournalView, without_password
from lipsync_async._bulk.results import reason_in, reason_of
from lipsync_async._polling import error_of
from lipsync_async.cli.output import (
    ExitStatus,
    answer,
    clock,
    is_json,
    is_read,
    plural,
    say,
    some_of,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

_MAX_LINES = 20
# States without a result, of which it is certain that no job runs.
_FAILED = (JobState.FAILED, JobState.NOT_CREATED)
_UNKNOWN = (JobState.SUBMITTING, JobState.UNKNOWN)
_MEANINGS = {
    JobState.COMPLETED: "done",
    JobState.FAILED: "ended without a result",
    JobState.ACCEPTED: "running at the service, as far as is known",
    JobState.SUBMITTING: "about to be sent, or on the way",
    JobState.UNKNOWN: "sent with unknown outcome; sent again by the next run, not paid twice",
    JobState.NOT_CREATED: "not accepted; sent again by the next run",
}


def journal(typed: argparse.Namespace) -> ExitStatus:
    """Show a journal, and export it, as the arguments say."""
    show_journal(typed.journal, typed.export, only_failed=typed.failed)
    if is_json():
        with JournalView.open(typed.journal) as view:
            for entry in view.entries(*(_FAILED if typed.failed else ())):
                answer(_facts(entry))
                if not is_read():
                    break
    return ExitStatus.SUCCESS


def _facts(entry: JournalEntry) -> dict[str, object]:
    return {
        "position": entry.position,
        "line": entry.origin.line,
        "request_id": entry.request_id,
        "state": str(entry.state),
        "generation_id": entry.generation_id,
        "idempotency_key": entry.idempotency_key,
        "request": entry.request,
        "error": entry.error_message,
        "path": None if entry.download_path is None else str(entry.download_path),
    }


def show_journal(path: Path | str, export: Path | None, *, only_failed: bool = False) -> None:
    """Print how far a journal's run is, and export all of it, or what has failed as a manifest."""
    with JournalView.open(path) as view:
        for line in _status_lines(view, without_password(path), only_failed=only_failed):
            say(line)
        if export is None:
            return
        if only_failed:
            for line in _export_failed(view, export):
                say(line)
            return
        write = view.export_csv if export.suffix.lower() == ".csv" else view.export_jsonl
        write(export)
        say(f"All of it is in {export}.")


def _export_failed(view: JournalView, export: Path) -> Iterator[str]:
    """Write what has failed as a manifest, and tell what is in it and what is not."""
    counts = view.counts()
    if not any(counts[state] for state in _FAILED):
        yield f"Nothing has failed, so {export} was not written."
        return
    rows = plural(view.export_manifest(export, states=_FAILED), "row")
    yield f"{export} holds {rows} of the manifest. To create them anew, run it with a new journal."
    left = sum(counts[state] for state in _UNKNOWN)
    if left:
        yield (
            f"Left out: {plural(left, 'create')} of unknown outcome; run the whole manifest with "
            "this journal first."
        )


def _status_lines(view: JournalView, path: Path | str, *, only_failed: bool) -> Iterator[str]:
    counts = view.counts()
    saved, latest = 0, None
    errors: dict[tuple[JobState, str], list[str]] = {}  # places by state and reason
    for entry in view.entries(*(_FAILED if only_failed else ())):
        saved += entry.download_path is not None
        latest = max(latest or entry.updated_at, entry.updated_at)
        if entry.error_class is not None:
            errors.setdefault((entry.state, _reason(entry)), []).append(entry.place)
    total = sum(counts.values())
    width = len(str(total))
    yield f"{plural(total, 'request')} in {path}:"
    for state in _FAILED if only_failed else _MEANINGS:
        if counts[state]:
            yield f"  {state:<11} {counts[state]:{width}}  {_MEANINGS[state]}"
    if not only_failed and saved:
        yield f"  {'saved':<11} {saved:{width}}  of the results are on this machine"
    if not only_failed and latest is not None:
        ago = max(0.0, (datetime.now(UTC) - latest).total_seconds())
        yield f"Last change: {latest.astimezone():%Y-%m-%d %H:%M:%S} ({clock(ago)} ago)"
    yield from _error_lines(errors)


def _error_lines(errors: dict[tuple[JobState, str], list[str]]) -> Iterator[str]:
    groups = sorted(errors.items(), key=lambda group: -len(group[1]))
    if groups:
        yield "What went wrong, by reason:"
    for (state, reason), places in groups[:_MAX_LINES]:
        yield f"  {state}: {some_of(places, 'request')}: {reason}"
    more = sum(len(places) for _, places in groups[_MAX_LINES:])
    if more:
        yield f"  and {more} more; --export has them all"


def _reason(entry: JournalEntry) -> str:
    """Return what went wrong with a request, without what only this one has."""
    generation = entry.generation
    error = None if generation is None else error_of(generation)
    if error is not None:
        return reason_of(error)
    return reason_in(entry.error_message or entry.error_class or "")
