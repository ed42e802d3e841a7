"""Random lives of requests: whatever happens in whatever order, nothing is lost or doubled."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings, strategies as st

from lipsync_async import InvalidRequestError, JournalError, JournalView, LipsyncError, errors
from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_entry import JobState, JournalEntry
from lipsync_async._enums import Status
from tests.bulk.jobs import job, record, request

if TYPE_CHECKING:
    from collections.abc import Mapping

POSITIONS = st.integers(0, 2)
# (verb, position, what it is about)
EVENTS = st.one_of(
    st.tuples(st.just("intend"), POSITIONS, st.integers(0, 3)),
    st.tuples(st.just("see"), POSITIONS, st.sampled_from([*Status, Status("ODD")])),
    st.tuples(st.just("see another"), POSITIONS, st.sampled_from([*Status])),
    st.tuples(st.just("fail"), POSITIONS, st.booleans()),
    st.tuples(st.just("fail for good"), POSITIONS, st.none()),
    st.tuples(st.just("download"), POSITIONS, st.none()),
    st.tuples(st.just("crash"), POSITIONS, st.none()),
)
# What may follow on what, a row that stays as it is aside; `None` is no row.
NEXT: Mapping[JobState | None, frozenset[JobState]] = {
    None: frozenset({JobState.SUBMITTING}),
    JobState.SUBMITTING: frozenset(JobState),
    JobState.UNKNOWN: frozenset({JobState.ACCEPTED, JobState.COMPLETED, JobState.FAILED}),
    JobState.NOT_CREATED: frozenset(JobState) - {JobState.UNKNOWN},
    JobState.ACCEPTED: frozenset({JobState.COMPLETED, JobState.FAILED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
}


def failure(*, may_have_worked: bool) -> LipsyncError:
    """Return what a create fails with."""
    error = errors.ConnectError("refused.", method="POST", url="https://h/x")
    error.may_have_worked = may_have_worked
    return error


def happen(journal: Journal, verb: str, position: int, about: object) -> None:
    """Let one event happen, or be refused in words."""
    with suppress(JournalError, InvalidRequestError):
        if verb == "intend":
            journal.record_intents([(position, request(int(str(about))))])
        elif verb in {"see", "see another"}:
            name = f"{verb} {position}"
            record(journal, [(position, job(name, str(about)))])
        elif verb == "fail":
            record(journal, [(position, failure(may_have_worked=bool(about)))])
        elif verb == "fail for good":
            ended = job(f"see {position}", "FAILED")
            record(journal, [(position, errors.GenerationFailedError(ended))])
        else:
            record(journal, [(position, f"{position}.mp4")])


def check(before: JournalEntry | None, after: JournalEntry | None) -> None:
    """Compare a row before and after one event."""
    if before == after:
        return
    assert after is not None  # no row ever goes
    state = None if before is None else before.state
    assert after.state is state or after.state in NEXT[state]
    if before is None:
        return
    if before.fingerprint != after.fingerprint or before.idempotency_key != after.idempotency_key:
        assert before.state is JobState.NOT_CREATED
        assert before.fingerprint != after.fingerprint
    if before.state.has_job:
        assert before.generation_id == after.generation_id
    if before.download_path is not None:
        assert before.download_path == after.download_path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("intend", 0, 0), ("fail", 0, False), ("intend", 0, 1), ("crash", 0, None)])
@example([("intend", 0, 0), ("see", 0, Status.COMPLETED), ("see another", 0, Status.FAILED)])
@example([("intend", 0, 0), ("fail for good", 0, None), ("download", 0, None)])
@example([("intend", 0, 0), ("see", 0, Status.COMPLETED), ("download", 0, None), ("intend", 0, 0)])
@example(
    [("intend", 0, 0), ("see", 0, "COMPLETED"), ("download", 0, None), ("see", 0, "COMPLETED")]
)
@given(st.lists(EVENTS, max_size=12))
def test_no_order_of_events_loses_or_doubles(
    tmp_path: Path, events: list[tuple[str, int, object]]
) -> None:
    """Ids and keys stay, ends are ends, doubt is never forgotten, crashes change nothing."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        path = Path(folder) / "j.sqlite"
        journal = Journal.open(path)
        view = JournalView.open(path)
        try:
            for verb, position, about in events:
                before = view.entry(position)
                if verb == "crash":
                    journal.close()
                    journal = Journal.open(path)
                else:
                    happen(journal, verb, position, about)
                check(before, view.entry(position))
        finally:
            view.close()
            journal.close()
