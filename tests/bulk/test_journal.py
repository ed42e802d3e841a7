"""The journal's promises: what is stored, what is sent again, what is never done."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lipsync_async import InvalidRequestError, JournalError, JournalView, LipsyncError, errors
from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_entry import JobState, JournalEntry
from lipsync_async._enums import Status
from lipsync_async._logic.validation import argument_problems
from lipsync_async._models.request import Audio, Video
from lipsync_async._models.response import Generation
from tests.bulk.jobs import entries, job, known, record, request
from tests.logic.answers import reply

START = datetime(2026, 1, 31, 12, tzinfo=UTC)

REFUSED = errors.AuthenticationError(response=reply(b"", 401), message="Wrong key", code="bad_key")
UNDELIVERED = errors.ConnectError("refused.", method="POST", url="https://h/x")


def uncertain(error: LipsyncError) -> LipsyncError:
    """Return the error as it leaves a call of which some try may have worked."""
    error.may_have_worked = True
    return error


TIMEOUT = uncertain(errors.RequestTimeoutError("too slow.", method="POST", url="https://h/x"))


@pytest.fixture
def journal(place: Path | str) -> Iterator[Journal]:
    """Open a journal whose clock goes on by a second with each commit."""
    with opened(place) as journal:
        yield journal


@pytest.fixture
def file_journal(path: Path) -> Iterator[Journal]:
    """Open a journal in a file, which many writes do not make slow."""
    with opened(path) as journal:
        yield journal


def opened(place: Path | str) -> Journal:
    """Open a journal whose clock goes on by a second with each commit."""
    seconds = iter(range(1000))
    return Journal.open(place, now=lambda: START + timedelta(seconds=next(seconds)))


def became(journal: Journal, *news: Generation | BaseException) -> JournalEntry:
    """Record the intent of a request, and at once all that came of it; return its entry."""
    journal.record_intents([(0, request(0))])
    record(journal, [(0, each) for each in news])
    return known(journal)


def test_what_is_about_to_be_sent_is_stored(journal: Journal) -> None:
    """A row holds the request, a key that the service takes, and nothing about a job."""
    (key,) = journal.record_intents([(3, request(3, output_file_name="take-3"))])
    assert argument_problems(idempotency_key=key) == []
    entry = known(journal, 3)
    assert entry.request == {
        "model": "lipsync-2",
        "input": [
            {"type": "video", "url": "https://media.example/3.mp4"},
            {"type": "audio", "url": "https://media.example/a"},
        ],
        "outputFileName": "take-3",
    }
    facts = (entry.state, entry.idempotency_key, entry.attempts, entry.intended_at)
    assert facts == (JobState.SUBMITTING, key, 1, START)
    nothing = (entry.generation, entry.status, entry.download_path, entry.error_class)
    assert nothing == (None, None, None, None)


def test_equal_requests_are_two_jobs(journal: Journal) -> None:
    """Who asks for the same thing twice gets it twice: each position has a key of its own."""
    keys = journal.record_intents([(0, request(7)), (1, request(7))])
    assert keys[0] != keys[1]
    found = journal.match([request(7), request(7)])
    assert [entry and entry.idempotency_key for entry in found] == keys


def test_a_whole_life_is_stored(path: Path, place: Path | str, journal: Journal) -> None:
    """Each event leaves its facts, and a new process finds them all."""
    (key,) = journal.record_intents([(0, request(0))])
    record(journal, [(0, job("g1"))])
    record(journal, [(0, job("g1", "PROCESSING"))])
    record(journal, [(0, job("g1", "COMPLETED", outputUrl="https://h/v.mp4"))])
    record(journal, [(0, path.with_name("v.mp4"))])
    journal.close()
    with Journal.open(place) as reopened:
        entry = known(reopened)
    assert (entry.state, entry.status) == (JobState.COMPLETED, Status.COMPLETED)
    assert entry.download_path == path.with_name("v.mp4")
    times = (entry.intended_at, entry.accepted_at, entry.ended_at, entry.updated_at)
    assert times == tuple(START + timedelta(seconds=second) for second in (0, 1, 3, 4))
    generation = entry.generation
    assert generation is not None
    assert generation.is_completed
    assert (generation.id, generation.idempotency_key) == ("g1", key)
    assert generation.output_url == "https://h/v.mp4"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, JobState.ACCEPTED) for status in ("PENDING", "PROCESSING", "OF_TOMORROW")),
        ("COMPLETED", JobState.COMPLETED),
        *((status, JobState.FAILED) for status in ("FAILED", "REJECTED", "TIMED_OUT")),
    ],
)
def test_the_service_decides_the_state(journal: Journal, status: str, expected: JobState) -> None:
    """Its first word may be its last; whatever it is, no create for that request is sent again."""
    assert became(journal, job("g1", status)).state is expected
    assert expected.has_job
    assert expected.has_ended is (expected is not JobState.ACCEPTED)
    with pytest.raises(JournalError, match=r"request 0 has become generation g1 already. Wait"):
        journal.record_intents([(1, request(1)), (0, request(0))])
    assert len(entries(journal)) == 1


def test_a_bad_end_is_an_error_by_itself(journal: Journal) -> None:
    """A reader of the journal learns why, also if the process died right after."""
    journal.record_intents([(0, request(0)), (1, request(1))])
    failed = job("g1", "FAILED", error="No face", errorCode="no_face")
    record(journal, [(0, failed), (1, job("g2", "REJECTED"))])
    first, second = entries(journal)
    assert (first.error_class, first.error_code) == ("GenerationFailedError", "no_face")
    assert first.error_message == str(errors.GenerationFailedError(failed))
    assert second.error_class == "GenerationRejectedError"


def test_what_was_never_accepted_is_sent_again_under_its_key(journal: Journal) -> None:
    """After a crash it is unknown whether the create was sent; its key makes that harmless."""
    keys = [journal.record_intents([(0, request(0))]) for _ in range(3)]
    assert keys[0] == keys[1] == keys[2]
    entry = known(journal)
    assert (entry.state, entry.attempts, entry.intended_at) == (JobState.UNKNOWN, 3, START)
    assert not entry.state.has_job


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([REFUSED], JobState.NOT_CREATED),
        ([UNDELIVERED], JobState.NOT_CREATED),
        ([InvalidRequestError(["model: must not be empty"])], JobState.NOT_CREATED),
        ([REFUSED, REFUSED], JobState.NOT_CREATED),
        ([TIMEOUT], JobState.UNKNOWN),
        ([KeyboardInterrupt()], JobState.UNKNOWN),
        ([TIMEOUT, REFUSED], JobState.UNKNOWN),
        ([UNDELIVERED, TIMEOUT, UNDELIVERED], JobState.UNKNOWN),
        ([None, REFUSED], JobState.UNKNOWN),
    ],
    ids=lambda value: "-".join(map(str, map(type, value))) if isinstance(value, list) else value,
)
def test_only_certainty_makes_a_request_refused(
    journal: Journal, told: list[BaseException | None], expected: JobState
) -> None:
    """One try of unknown outcome is never forgotten, whatever later tries say; nor is a crash."""
    for error in told:
        journal.record_intents([(0, request(0))])
        record(journal, [(0, error)] if error else [])
    entry = known(journal)
    assert (entry.state, entry.attempts) == (expected, len(told))
    assert (entry.error_class, entry.error_message) == (type(told[-1]).__name__, str(told[-1]))


def test_a_refused_request_may_be_sent_again_or_corrected(journal: Journal) -> None:
    """Unchanged, it has its key and no error; another may take its place, under another key."""
    (key,) = journal.record_intents([(0, request(0))])
    record(journal, [(0, REFUSED)])
    entry = known(journal)
    assert (entry.error_class, entry.error_code) == ("AuthenticationError", "bad_key")
    assert journal.record_intents([(0, request(0))]) == [key]
    again = known(journal)
    assert (again.state, again.attempts, again.error_class) == (JobState.SUBMITTING, 2, None)
    record(journal, [(0, REFUSED), (0, TIMEOUT)])  # told twice, it says nothing new
    assert known(journal).state is JobState.NOT_CREATED
    assert journal.match([request(1)]) == [None]
    (other,) = journal.record_intents([(0, request(1))])
    assert other != key
    other_entry = known(journal)
    assert journal.match([request(1)]) == [other_entry]
    facts = (other_entry.state, other_entry.attempts, other_entry.error_class)
    assert facts == (JobState.SUBMITTING, 1, None)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("PROCESSING", errors.WaitTimeoutError(job("g1", "PROCESSING"), timeout=5)),
        ("COMPLETED", errors.DownloadError("cut off. Download again.")),
    ],
    ids=["of a wait", "of a download"],
)
def test_an_error_of_a_job_can_be_made_good(
    path: Path, journal: Journal, status: str, error: LipsyncError
) -> None:
    """Who stops waiting can go on later; the next update, or a later download, clears the error."""
    entry = became(journal, job("g1", status), error)
    assert (entry.status, entry.error_class) == (status, type(error).__name__)
    record(journal, [(0, job("g1", "COMPLETED"))])
    record(journal, [(0, path.with_name("v.mp4"))])
    again = known(journal)
    assert (again.state, again.error_class) == (JobState.COMPLETED, None)
    assert again.download_path == path.with_name("v.mp4")


def test_an_unreadable_answer_still_names_its_job(journal: Journal) -> None:
    """A create whose answer was odd but for its id has been accepted; the id is stored."""
    error = uncertain(
        errors.DecodeError("odd", response=reply(), paths=["expected text @ $.status"])
    )
    error.generation = Generation(id="g1", status=Status("UNKNOWN"), raw={"id": "g1", "status": 5})
    entry = became(journal, error)
    assert (entry.state, entry.generation_id) == (JobState.ACCEPTED, "g1")
    assert entry.error_class == "DecodeError"
    assert entry.generation is not None
    assert (entry.generation.id, entry.generation.status) == ("g1", "UNKNOWN")


def test_an_error_with_an_end_stores_the_end(journal: Journal) -> None:
    """Told only by its error, a job has failed all the same."""
    became(journal, job("g1"))
    record(journal, [(0, errors.GenerationFailedError(job("g1", "FAILED", error="No face")))])
    entry = known(journal)
    assert (entry.state, entry.status) == (JobState.FAILED, Status.FAILED)


def test_news_that_come_late_are_no_news(journal: Journal) -> None:
    """An answer that was overtaken never takes a job from its end."""
    became(journal, job("g1", "COMPLETED"))
    record(journal, [(0, job("g1", "PROCESSING")), (0, job("g1", "FAILED"))])
    record(journal, [(0, job("g1", "COMPLETED", outputUrl="https://h/renewed"))])
    entry = known(journal)
    assert (entry.state, entry.ended_at) == (JobState.COMPLETED, START + timedelta(seconds=1))
    assert entry.generation is not None
    assert entry.generation.output_url == "https://h/renewed"


def test_a_second_job_of_one_request_is_told(journal: Journal) -> None:
    """The first stays, the second is on the error, and the others are stored all the same."""
    journal.record_intents([(number, request(number)) for number in range(3)])
    record(journal, [(0, job("g0")), (1, job("g1"))])
    news = [(0, job("other")), (1, job("another")), (2, job("g2"))]
    with pytest.raises(JournalError, match=r"request 0 has become generation g0, and then") as told:
        record(journal, news)
    assert told.value.generation is news[0][1]
    assert ["another as well" in note for note in told.value.__notes__] == [True]
    assert [entry.generation_id for entry in entries(journal)] == ["g0", "g1", "g2"]


@pytest.mark.parametrize(
    "updates",
    [
        [(0, job("g0")), (5, job("g5"))],
        [(0, TIMEOUT), (5, TIMEOUT)],
        [(5, errors.GenerationFailedError(job("g5", "FAILED")))],
    ],
    ids=["job", "error", "error with a job"],
)
def test_nothing_is_known_of_what_was_never_intended(
    journal: Journal, updates: list[tuple[int, Generation | BaseException]]
) -> None:
    """News about a request that was never recorded are refused in words, the rest is kept."""
    journal.record_intents([(0, request(0))])
    with pytest.raises(JournalError, match=r"request 5 was never recorded. Record its intent"):
        record(journal, updates)
    assert len(entries(journal)) == 1


def test_only_a_completed_job_has_a_result(path: Path, journal: Journal) -> None:
    """A result without a good end is refused in words, the rest is kept."""
    journal.record_intents([(number, request(number)) for number in range(3)])
    record(journal, [(0, job("g0", "FAILED")), (1, job("g1", "COMPLETED"))])
    paths = [(number, path.with_name(f"{number}.mp4")) for number in (0, 1, 2)]
    with pytest.raises(JournalError, match="request 0 has no completed job"):
        record(journal, paths)
    kept = [entry.download_path for entry in entries(journal)]
    assert kept == [None, path.with_name("1.mp4"), None]


def test_a_longer_or_shorter_input_is_fine(journal: Journal) -> None:
    """Requests may be added at the end or left out there; gaps are new."""
    journal.record_intents([(0, request(0)), (2, request(2))])
    entries = journal.match([request(number) for number in range(5)])
    assert [entry is not None for entry in entries] == [True, False, True, False, False]
    (first,) = journal.match([request(0)])
    assert first == entries[0]
    assert journal.match([], start=2) == []
    assert journal.match([request(2)], start=2) == [entries[2]]


def test_a_changed_input_is_refused_with_every_change(journal: Journal) -> None:
    """The error says what is different, and where a request that has moved belongs."""
    journal.record_intents([(number, request(number)) for number in range(4)])
    changed = [request(1), request(0), request(2, model="sync-3"), request(9, project_id="p")]
    with pytest.raises(InvalidRequestError) as told:
        journal.match(changed)
    ending = "; restore it, or begin a new journal"
    other = "is not the request that the journal holds there (they differ in"
    assert told.value.problems == (
        "requests[0]: is at position 1 in the journal; keep the order of the input",
        "requests[1]: is at position 0 in the journal; keep the order of the input",
        f"requests[2]: {other} model){ending}",
        f"requests[3]: {other} input and projectId){ending}",
    )


def test_an_input_that_differs_everywhere_is_told_briefly(journal: Journal) -> None:
    """Ten changes say as much as a thousand, and finding where each belongs takes time."""
    journal.record_intents([(number, request(number)) for number in range(30)])
    with pytest.raises(InvalidRequestError) as told:
        journal.match([request(number + 1) for number in range(30)])
    assert len(told.value.problems) == 11
    assert told.value.problems[-1] == "requests: 20 more are not what the journal holds"


def test_a_changed_request_is_stopped_at_the_last_door_too(journal: Journal) -> None:
    """Without a match before, an intent of another request stores nothing at all."""
    journal.record_intents([(0, request(0))])
    with pytest.raises(InvalidRequestError, match=r"requests\[0\]: is not the request that"):
        journal.record_intents([(1, request(1)), (0, request(5))])
    assert len(entries(journal)) == 1


def test_a_file_counts_until_it_was_sent(tmp_path: Path, journal: Journal) -> None:
    """Under one key the same bytes must be sent each time; then they may be cleared away."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"take one")
    local = request(0, input=[Video(file=file), Audio("https://media.example/a")])
    journal.record_intents([(0, local)])
    file.write_bytes(b"take number two")
    with pytest.raises(InvalidRequestError, match=r"clip\.mp4 has changed since"):
        journal.match([local])
    record(journal, [(0, job("g1"))])
    file.unlink()
    (entry,) = journal.match([local])
    assert entry is not None
    assert entry.generation_id == "g1"


def test_the_view_counts_and_pages(file_journal: Journal) -> None:
    """Counts name every state, entries come in order, however many there are."""
    file_journal.record_intents([(number, request(number)) for number in reversed(range(1203))])
    record(file_journal, [(number, job(f"g{number}")) for number in range(0, 1200, 2)])
    record(file_journal, [(5, job("g5", "COMPLETED")), (7, job("g7", "FAILED"))])
    file_journal.record_intents([(9, request(9))])
    record(file_journal, [(11, REFUSED)])
    with JournalView.open(file_journal.path) as view:
        counts = [view.counts()[state] for state in JobState]
        assert counts == [599, 1, 1, 600, 1, 1]
        assert [entry.position for entry in view.entries()] == [*range(1203)]
        accepted = view.entries(JobState.ACCEPTED, JobState.FAILED)
        assert [entry.position for entry in accepted] == [0, 2, 4, 6, 7, *range(8, 1200, 2)]
        assert view.length == 1203
        assert view.entry(1203) is None


def test_writing_does_not_disturb_reading(file_journal: Journal) -> None:
    """Rows may change while they are looked through; each comes once, as it is by then."""
    file_journal.record_intents([(number, request(number)) for number in range(600)])
    seen = []
    with JournalView.open(file_journal.path) as view:
        for entry in view.entries(JobState.SUBMITTING):
            record(file_journal, [(entry.position, job(f"g{entry.position}"))])
            seen.append(entry.position)
        assert seen == [*range(600)]
        assert view.counts()[JobState.ACCEPTED] == 600


ODD: dict[str, Any] = {"error": "half \ud800", "errorCode": "code \udfff", "note": "nul\0"}


def test_text_that_is_no_unicode_is_stored(journal: Journal) -> None:
    """JSON can hold half of a surrogate pair; no answer may keep its job from being stored."""
    entry = became(journal, job("g\ud800", "FAILED", **ODD))
    assert (entry.generation_id, entry.error_code) == ("g\\ud800", "code \\udfff")
    assert entry.generation is not None
    assert entry.generation.raw["note"] == "nul\0"
    assert entry.generation.error == "half \ud800"


def test_a_job_counts_more_than_its_echo(journal: Journal) -> None:
    """What cannot be stored as JSON, or is not there, costs its facts and not its id."""
    journal.record_intents([(0, request(0)), (1, request(1))])
    odd = Generation(id="g0", status=Status.PROCESSING, raw={"id": object()})
    record(journal, [(0, odd), (1, Generation(id="g1", status=Status.PENDING))])
    generations = [entry.generation for entry in entries(journal)]
    found = [(generation.id, generation.status) for generation in generations if generation]
    assert found == [("g0", Status.PROCESSING), ("g1", Status.PENDING)]


@pytest.mark.parametrize("name", ["na\udcefve.mp4", "out/v.mp4"], ids=["odd", "relative"])
def test_any_path_is_stored_whole(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A name in another encoding comes back, and the next run may start from another folder."""
    monkeypatch.chdir(tmp_path)
    became(journal, job("g1", "COMPLETED"))
    record(journal, [(0, name)])
    assert known(journal).download_path == tmp_path / name


def test_without_exceptions_nothing_is_written(place: Path | str) -> None:
    """A failed clock, or anything else in the middle, leaves the journal as it was."""

    def broken() -> datetime:
        raise OverflowError("the clock's battery is empty")

    with Journal.open(place, now=broken) as journal:
        with pytest.raises(OverflowError):
            journal.record_intents([(0, request(0))])
        assert entries(journal) == []


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("many", [1, 2, 500])
def test_news_of_a_row_may_come_many_times_at_once(path: Path, rows: int, many: int) -> None:
    """Each row counts once in the sums, so that the journal is whole when it is opened again."""
    with Journal.open(path) as journal:
        journal.record_intents([(row, request(row)) for row in range(rows)])
        news = [(number % rows, job(f"job-{number % rows}")) for number in range(many)]
        assert journal.record_updates(news) is None
        done = [(row, job(f"job-{row}", "COMPLETED")) for row, _ in news]
        assert journal.record_updates([*news, *done]) is None
        record(journal, [(row, path.with_name(f"{row}.mp4")) for row, _ in done])
        reached = {row for row, _ in news}
    Journal.open(path).close()
    with JournalView.open(path) as view:
        completed = [entry.position for entry in view.entries(JobState.COMPLETED)]
        assert completed == sorted(reached)
        assert view.length == rows


@pytest.mark.parametrize(
    ("state", "name", "word"),
    [
        (JobState.SUBMITTING, "INTENDED", "intended"),
        (JobState.UNKNOWN, "DOUBTFUL", "doubtful"),
        (JobState.NOT_CREATED, "REFUSED", "refused"),
    ],
)
def test_earlier_names_of_states_mean_the_same(
    path: Path, state: JobState, name: str, word: str
) -> None:
    """Programs of earlier releases run on, and files hold the words that they held."""
    assert (JobState[name], JobState(word), state.stored) == (state, state, word)
    with Journal.open(path) as journal:
        journal.record_intents([(0, request(0))])
        expected = int(state is JobState.SUBMITTING)
        with JournalView.open(path) as view:
            assert len([*view.entries(word)]) == expected  # type: ignore[arg-type]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT state FROM jobs").fetchall() == [("intended",)]
