import copy
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async import JobFailure, SpeechJob, errors
from lipsync_async._callsite import HTTP_LOG, log, tell_left
from lipsync_async._enums import Status
from lipsync_async._models.response import Generation
from lipsync_async.cli.output import error_lines
from lipsync_async.errors import STATUS_ERRORS, LipsyncError, ResponseError, ServerError
from tests.logic.answers import reply

JOB = Generation(id="g1", status=Status.PROCESSING)
FAILED = Generation(id="g1", status=Status.FAILED, error="No face found", error_code="no_face")

# "Error codes", sync.so API reference, and what the older guide and later pages add.
RETRYABLE_CODES = """
    generation_pipeline_failed generation_unknown_error generation_infra_storage_error
    generation_infra_resource_exhausted generation_infra_service_unavailable
    generation_media_probe_timeout generation_media_probe_unavailable controller_timeout
    controller_unavailable controller_dependency_error internal_error
    elevenlabs_service_unavailable usage_dependency_unavailable voice_clone_busy
    concurrency_limit_reached rate_limit_exceeded generation_timeout generation_database_error
    generation_unhandled_error IDEMPOTENCY_OUTCOME_UNKNOWN generation_infra_of_the_future
    controller_of_the_future IDEMPOTENCY_REQUEST_IN_PROGRESS
""".split()  # noqa: SIM905 - reads better

# Codes of a wrong input, of the plan and of a state, with their later companions.
FINAL_CODES = """
    generation_unsupported_model generation_input_validation_failed
    generation_input_video_inaccessible generation_input_audio_inaccessible
    generation_input_image_inaccessible generation_input_video_invalid
    generation_input_audio_invalid generation_input_segments_invalid generation_input_trim_invalid
    generation_input_face_selection_invalid generation_input_resolution_unsupported
    generation_input_duration_greater_than_max_duration generation_model_duration_exceeded
    generation_input_asset_type_mismatch generation_input_too_many_visual
    generation_input_dub_audio_conflict dubbing_duration_exceeded project_not_found
    asset_not_found asset_forbidden invalid_asset_id_format uploaded_file_not_found
    file_not_in_org_storage voice_not_found voice_sample_not_accessible
    voice_sample_type_unsupported voice_sample_upload_required voice_sample_extraction_failed
    voice_sample_source_too_large voice_sample_too_short voice_sample_invalid voice_name_conflict
    elevenlabs_api_key_invalid generation_plan_duration_exceeded free_tier_generations_exhausted
    plan_feature_unavailable account_payment_required account_on_hold voice_clone_limit_reached
    elevenlabs_quota_exceeded file_size_exceeds_plan_limit
    generation_not_deletable_while_processing invalid_generation_id
    unsupported_generation_id_format generation_not_found generation_conflict
    generation_media_metadata_missing generation_audio_length_exceeded
    generation_text_length_exceeded generation_audio_missing generation_video_missing
    generation_internal_auth batch_plan_required cost_estimate_unavailable
    dialogue_edit_retime_required INVALID_IDEMPOTENCY_KEY IDEMPOTENCY_KEY_REUSED
    generation_input_of_the_future
""".split()  # noqa: SIM905 - reads better


def answered(kind: type[ResponseError], status: int) -> ResponseError:
    """Return an error that knows everything an answer can say."""
    return kind(
        response=reply({"message": "Words"}, status, method="POST", x_request_id="r1"),
        message="Words",
        code="some_code",
        suggestion=None,
        field="input",
        request_id="r1",
        retry_after=2.5,
        body={"message": "Words"},
    )


SAMPLES: list[LipsyncError] = [
    LipsyncError("Something is wrong. Look."),
    errors.ConfigurationError("There is no API key. Pass api_key=."),
    errors.InvalidRequestError(["model: must be text, not 5", "input: must be a list, not None"]),
    errors.TransportError("no answer.", method="GET", url="https://h/x"),
    errors.ConnectError("refused.", method="GET", url="https://h/x"),
    errors.ConnectionLostError("reset.", method="POST", url="https://h/x"),
    errors.RequestTimeoutError("too slow.", method="GET", url="https://h/x"),
    answered(ResponseError, 418),
    *(answered(kind, status) for status, kind in STATUS_ERRORS.items()),
    answered(ServerError, 503),
    errors.ConcurrencyLimitError(
        response=reply(b"", 429), message="Full", concurrency_limit=3, active_generations=2
    ),
    errors.BatchLimitError(response=reply(b"", 429), message="Full"),
    errors.DecodeError("its body is empty", response=reply(), paths=["expected text @ $.id"]),
    errors.DownloadError("cut off. Download again."),
    errors.JournalError("the journal j.sqlite is in use. Wait."),
    errors.AccountStoreError("the store does not answer. Start it."),
    errors.SpendingLimitError("Request 3 has no job. Raise the limit."),
    errors.GenerationError("generation g1 is odd. Look.", generation=JOB),
    errors.GenerationFailedError(FAILED),
    errors.GenerationRejectedError(Generation(id="g1", status=Status.REJECTED)),
    errors.WaitTimeoutError(JOB, timeout=7200.0),
    errors.UploadError("clip.mp4 did not arrive whole. Upload it again."),
    errors.JobError("row r-0001: no answer. Look.", job=None),
    errors.JobFailedError(SpeechJob(id="s1", status="FAILED", error=JobFailure(code="busy"))),
    errors.JobTimeoutError("s1", SpeechJob(id="s1", status="PENDING"), timeout=600.0),
    errors.UnexpectedError("POST /v2/generate", ValueError("5,000 digits")),
]


def family(kind: type[LipsyncError]) -> Iterator[type[LipsyncError]]:
    """Yield a class and all of its module that descend from it."""
    yield kind
    children = kind.__subclasses__()
    for child in [child for child in children if child.__module__ == errors.__name__]:
        yield from family(child)


def test_there_is_a_sample_of_every_error() -> None:
    """The tests of this file leave out no class."""
    assert {type(error) for error in SAMPLES} == set(family(LipsyncError))


samples = pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)


@samples
def test_errors_pickle(error: LipsyncError) -> None:
    """An error crosses processes whole: class, words, and every fact."""
    for restored in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
        assert (type(restored), vars(restored)) == (type(error), vars(error))
        assert (str(restored), restored.args) == (str(error), error.args)


@samples
def test_what_was_attached_pickles_too(error: LipsyncError) -> None:
    """The key, the job and notes are as precious behind a process pool as before it."""
    attached = copy.copy(error)
    attached.idempotency_key = "key-1"
    attached.generation = Generation(id="g7", status=Status("NEWER"), raw={"id": "g7"})
    attached.add_note("seen on Monday")
    restored = pickle.loads(pickle.dumps(attached))  # noqa: S301 - our own
    assert str(restored) == str(attached)
    assert (restored.idempotency_key, restored.generation) == ("key-1", attached.generation)
    assert restored.__notes__ == ["seen on Monday"]
    assert error.idempotency_key is None


@samples
def test_messages_are_sentences(error: LipsyncError) -> None:
    """A message ends as a sentence, without an empty slot in it."""
    lines = str(error).splitlines()
    assert lines[-1].endswith(".") or isinstance(error, errors.InvalidRequestError)
    assert "None." not in str(error)
    assert ".." not in str(error)


@pytest.mark.parametrize(
    ("kind", "status"),
    [*((kind, status) for status, kind in STATUS_ERRORS.items()), (ServerError, 500)],
)
def test_every_status_has_its_next_step(kind: type[ResponseError], status: int) -> None:
    """The service's own advice comes first, otherwise each class has one of its own."""
    error = answered(kind, status)
    assert str(error).endswith(f": Words. {kind.next_step}")
    assert "next_step" in vars(kind)
    advised = kind(response=reply(b"", status), message="Really?", suggestion="Do that.")
    assert str(advised) == f"GET https://api.example/v2/thing answered {status}: Really? Do that."


def test_a_response_error_names_everything() -> None:
    """What support will ask for is in the message."""
    assert str(answered(errors.BadRequestError, 400)) == (
        "POST https://api.example/v2/thing answered 400 some_code (field input) "
        f"[request id r1]: Words. {errors.BadRequestError.next_step}"
    )


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidRequestError, ValueError),
        (errors.RequestTimeoutError, TimeoutError),
        (errors.WaitTimeoutError, TimeoutError),
        (errors.IgnoredOptionWarning, errors.LipsyncWarning),
        (errors.LipsyncWarning, UserWarning),
    ],
)
def test_errors_are_what_python_calls_them(kind: type, builtin: type) -> None:
    """Who catches the built-in class catches ours."""
    assert issubclass(kind, builtin)


@pytest.mark.parametrize(("number", "count"), [(1, "1 problem"), (2, "2 problems")])
def test_all_problems_are_listed(number: int, count: str) -> None:
    """One error names every problem, for readers and for programs."""
    error = errors.InvalidRequestError(["model: bad"] * number)
    first_line = f"Nothing was sent; correct {count} and call again:"
    assert str(error).splitlines() == [first_line, *["  model: bad"] * number]
    assert error.problems == ("model: bad",) * number


@pytest.mark.parametrize(
    ("number", "last"),
    [(100, "  row 99"), (101, "  ... and 1 more"), (12_345, "  ... and 12,245 more")],
)
def test_a_message_is_of_a_length_that_is_read(number: int, last: str) -> None:
    """A table may have a problem in each of many rows; the error holds all, and tells the first."""
    error = errors.InvalidRequestError([f"row {index}" for index in range(number)])
    lines = str(error).splitlines()
    assert lines[0] == f"Nothing was sent; correct {number:,} problems and call again:"
    assert (lines[1], lines[-1], len(lines) <= 102) == ("  row 0", last, True)
    assert len(pickle.loads(pickle.dumps(error)).problems) == number  # noqa: S301 - our own
    assert len(error_lines(error)) == len(lines) - 1


@pytest.mark.parametrize("code", RETRYABLE_CODES)
def test_codes_that_pass_are_retryable(code: str) -> None:
    """Trouble inside the service may be gone the next time."""
    assert passes(code) == {True}


@pytest.mark.parametrize("code", [*FINAL_CODES, None, "", "of_the_future"])
def test_codes_that_stay_are_not_retryable(code: str | None) -> None:
    """What is wrong with input, plan or state stays wrong; of the unknown nothing is promised."""
    assert passes(code) == {False}


def answered_with(code: str | None, status: int) -> ResponseError:
    """Return the error of an answer with this code."""
    kind = STATUS_ERRORS.get(status, ServerError if status >= 500 else ResponseError)
    return kind(response=reply(b"", status), message="Words", code=code)


def passes(code: str | None) -> set[bool]:
    """Return whether a code, an answer with it and a job that failed with it are retryable."""
    job = Generation(id="g1", status=Status.FAILED, error="Words.", error_code=code)
    raised = answered_with(code, 422), errors.GenerationFailedError(job)
    return {errors.is_retryable_code(code), *(error.is_retryable for error in raised)}


@pytest.mark.parametrize("status", [*STATUS_ERRORS, 405, 408, 418, 500, 502, 503, 504, 524])
def test_statuses_that_pass_are_retryable(status: int) -> None:
    """Without a code the status decides: pace, timeouts and the server's own failures."""
    assert answered_with(None, status).is_retryable is (status in {408, 429} or status >= 500)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConnectError("x", method="GET", url="u"), True),
        (errors.RequestTimeoutError("x", method="GET", url="u"), True),
        (errors.DownloadError("x"), True),
        (errors.WaitTimeoutError(JOB, timeout=1), True),
        (errors.ConcurrencyLimitError(response=reply(b"", 429), message="Full"), True),
        (errors.DecodeError("its body is empty", response=reply()), True),
        (errors.DecodeError("odd", response=reply(), paths=["odd @ $"]), False),
        (errors.GenerationRejectedError(JOB), False),
        (errors.InvalidRequestError(["x"]), False),
        (errors.ConfigurationError("x"), False),
        (errors.JournalError("x"), False),
        (errors.AccountStoreError("x"), True),
        (errors.SpendingLimitError("x"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_know_whether_they_pass(error: LipsyncError, expected: bool) -> None:  # noqa: FBT001
    """A caller's own loop may ask any error."""
    assert error.is_retryable is expected


@given(st.text())
def test_unsettled_codes_are_about_idempotency(text: str) -> None:
    """Only the service's own family of codes says that an outcome is still open."""
    assert errors.is_unsettled_code(f"IDEMPOTENCY_{text}UNKNOWN")
    assert errors.is_unsettled_code(f"IDEMPOTENCY_{text}IN_PROGRESS")
    assert not errors.is_unsettled_code(text.lower())


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (errors.ConnectionLostError("reset.", method="POST", url="u"), True),
        (errors.RequestTimeoutError("slow.", method="POST", url="u"), True),
        (errors.DecodeError("its body is empty", response=reply()), True),
        (answered_with(None, 503), True),
        (answered_with("IDEMPOTENCY_REQUEST_IN_PROGRESS", 409), True),
        (answered_with(None, 400), False),
        (answered_with("INVALID_IDEMPOTENCY_KEY", 400), False),
        (answered_with(None, 402), False),
    ],
    ids=str,
)
def test_a_failed_create_tells_how_not_to_pay_twice(error: LipsyncError, *, is_told: bool) -> None:
    """The key is in the message where the create may have worked, and on the error always."""
    plain = str(error)
    error.idempotency_key = "key-1"
    advice = " To try this create again without paying twice, pass idempotency_key='key-1'."
    assert str(error) == plain + advice * is_told


def test_a_failed_look_names_the_job() -> None:
    """Whatever goes wrong while waiting, the job's id is in the message, once."""
    error = errors.ConnectError("refused.", method="GET", url="https://h/v2")
    error.generation = JOB
    assert str(error) == "GET https://h/v2: refused. This was about generation 'g1', which goes on."
    lost = errors.NotFoundError(response=reply(b"", 404), message="No generation g1")
    lost.generation = JOB
    assert str(lost).count("g1") == 1


def test_a_failed_job_says_why() -> None:
    """Reason, code and what to do about it."""
    assert str(errors.GenerationFailedError(FAILED)) == (
        "generation g1 ended as FAILED (no_face): No face found. "
        "Correct what the reason names, then create again."
    )
    passing = Generation(id="g1", status=Status.TIMED_OUT, error_code="controller_timeout")
    assert str(errors.GenerationFailedError(passing)) == (
        "generation g1 ended as TIMED_OUT (controller_timeout): the service gave no reason. "
        "A new create with a new idempotency key may succeed (and is billed again)."
    )


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("Not allowed.", "moderated", "was rejected (moderated) and never ran: Not allowed. "),
        (None, None, "was rejected and never ran: the service gave no reason. "),
    ],
)
def test_a_rejected_job_says_why(error: str | None, code: str | None, said: str) -> None:
    """A rejection never ran; content and plan are what to look at."""
    job = Generation(id="g1", status=Status.REJECTED, error=error, error_code=code)
    raised = errors.GenerationRejectedError(job)
    assert said in str(raised)
    assert (raised.code, raised.generation) == (code, job)


@pytest.mark.parametrize("name", ["error", "error_code", "status", "request id"])
def test_long_words_make_no_long_message(name: str) -> None:
    """A text of the service is shown up to a thousand characters."""
    long = "x" * 100_000
    job = Generation(id="g1", status=Status("PAUSED"))
    if name != "request id":
        setattr(job, name, Status(long) if name == "status" else long)
    raised = (
        errors.GenerationFailedError(job),
        errors.GenerationRejectedError(job),
        errors.WaitTimeoutError(job, timeout=1.0),
        errors.DecodeError("odd", response=reply(b"", 200), request_id=long),
        ServerError(response=reply(b"", 500), message="odd", request_id=long),
    )
    assert max(len(str(error)) for error in raised) < 3000


def test_a_timeout_says_how_to_go_on() -> None:
    """Waiting can be resumed with what the message shows."""
    assert str(errors.WaitTimeoutError(JOB, timeout=7200.0)) == (
        "generation g1 is still PROCESSING after 7200 s; it goes on. "
        "Call wait_until_complete('g1') to go on waiting."
    )


def test_an_unreadable_answer_shows_its_beginning() -> None:
    """The first bytes tell who answered, the paths what is wrong, the id whom to ask."""
    response = reply(b"<html>" + b"x" * 500, 200)
    error = errors.DecodeError(
        "odd", response=response, paths=["a @ $.x", "b @ $.y"], request_id="r1"
    )
    assert "answered 200 [request id r1], but odd; it begins b'<html>xxx" in str(error)
    assert "\n  a @ $.x\n  b @ $.y Compare" in str(error)
    assert len(str(error)) < 500
    assert (error.paths, error.response) == (("a @ $.x", "b @ $.y"), response)


def test_the_numbers_of_the_account_are_kept() -> None:
    """A run of many requests can learn its limit."""
    error = errors.ConcurrencyLimitError(
        response=reply(b"", 429), message="Full", concurrency_limit=3, active_generations=2
    )
    assert (error.concurrency_limit, error.active_generations, error.status) == (3, 2, 429)
    assert not isinstance(error, errors.RateLimitError)


HOSTILE = [
    *("\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://h\x1b\\link", "\x9b31m", "\x90q", "\x00"),
    *("\x08\x08", "\r", "\x0b", "\x0c", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066"),
    *("\u200f", "\u061c", "\ufeff", "\u200b", "\U000e0041", "\ud800", "\x1b", "\x9d0;t\x9c"),
]


def said_by(words: str) -> list[LipsyncError]:
    """Return errors into which words of the service find their way."""
    job = Generation(id=words, status=Status(words), error=words, error_code=words)
    answer = reply({"message": words}, 500, method="POST")
    facts: Any = dict.fromkeys(("message", "code", "suggestion", "field", "request_id"), words)
    about = errors.ConnectionLostError(words, method="GET", url=words)
    about.generation = job
    return [
        errors.GenerationFailedError(job),
        errors.GenerationRejectedError(job),
        errors.WaitTimeoutError(job, timeout=1.0),
        ServerError(response=answer, **facts),
        errors.DecodeError(words, response=answer, paths=[words, words], request_id=words),
        errors.InvalidRequestError([words, words]),
        errors.DownloadError(words),
        about,
        errors.UnexpectedError(words, ValueError(words)),
    ]


@pytest.mark.parametrize("words", HOSTILE, ids=ascii)
def test_no_message_moves_a_terminal(words: str) -> None:
    """The service's words may hold anything; what would move a terminal is seen in a message."""
    for error in said_by(f"a{words}b"):
        shown = "".join(traceback.format_exception(error))
        assert str(error).replace("\n", "").isprintable(), type(error)
        assert shown.replace("\n", "").isprintable(), type(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


def test_other_letters_stay_as_they_are() -> None:
    """Words in any script, emoji and joiners included, are read as they were written."""
    words = "лицо не найдено, 顔がありません, 👩\u200d💻 שלום\u200cשלום ❤\ufe0f"  # noqa: RUF001
    job = Generation(id="g1", status=Status.FAILED, error=words)
    assert words in str(errors.GenerationFailedError(job))


@pytest.mark.parametrize("words", HOSTILE, ids=ascii)
def test_no_log_line_and_no_note_moves_a_terminal(
    words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is one line of a log ever two."""
    caplog.set_level(logging.INFO, "lipsync_async")
    error = ValueError("left")
    tell_left(error, f"a{words}b\nc")
    tell_left(error, f"a{words}b\nc")
    log(HTTP_LOG, logging.INFO, f"a{words}b\nc")
    (note,) = error.__notes__
    assert [record.getMessage() for record in caplog.records] == [note, note]
    assert note.isprintable()


def test_the_tree_is_drawn_whole() -> None:
    """The module's docstring shows every class."""
    drawn = errors.__doc__ or ""
    missing = [kind.__name__ for kind in family(LipsyncError) if kind.__name__ not in drawn]
    assert missing == []
