"""One look at several jobs: what is asked, and what is read of the answer."""

import json
from typing import Any

import pytest

from lipsync_async import ConnectError, DecodeError, LipsyncError, Response
from lipsync_async._logic import polling, responses

IDS = ("job-1", "job-2")


def shown(body: Any, *ids: str) -> polling.PollResults:
    """Read an answer to a look."""
    response = Response("GET", "http://localhost", 200, {}, json.dumps(body).encode())
    return polling.poll_jobs(ids or IDS).read(response)


def refusal(status: int) -> LipsyncError:
    """Return the error of an answer."""
    return responses.error_for(Response("GET", "http://localhost", status, {}, b"{}"))


def test_what_is_asked() -> None:
    """Several jobs are one list in the comma form, a single one is asked for by its path."""
    assert polling.poll_jobs(IDS).path == "/v2/generations?ids=job-1,job-2"
    assert polling.poll_jobs(["a/b"]).path == "/v2/generate/a%2Fb"
    assert polling.poll_jobs(IDS).is_repeatable


def test_what_is_read() -> None:
    """Statuses are read as they came; a job is structured when asked for."""
    seen = shown([{"id": "job-1", "status": "NEW"}, {"id": "job-2", "status": "FAILED"}])
    assert [seen.status_of(job) for job in (*IDS, "job-3")] == ["NEW", "FAILED", None]
    assert seen.generation("job-2").is_terminal


@pytest.mark.parametrize("item", [None, 7, [], {}, {"id": "job-1"}, {"id": 1, "status": "NEW"}])
def test_wrong_shapes_are_left_out(item: Any) -> None:
    """An item without id and status is no reason not to read the others."""
    seen = shown([item, {"id": "job-2", "status": "PENDING"}])
    assert (seen.status_of("job-1"), seen.status_of("job-2")) == (None, "PENDING")


def test_an_item_that_cannot_be_structured() -> None:
    """What is wrong inside an item is an error when the job is asked for."""
    seen = shown([{"id": "job-1", "status": "NEW", "model": 7}])
    with pytest.raises(DecodeError, match="model"):
        seen.generation("job-1")


def test_another_job_is_not_the_one_that_was_asked_for() -> None:
    """An answer about another job is not the end of this one, and may be right at the next try."""
    body = b'{"id": "job-2", "status": "COMPLETED"}'
    response = Response("GET", "http://localhost", 200, {}, body)
    with pytest.raises(DecodeError, match="about generation 'job-2', not 'job-1'") as caught:
        polling.poll_jobs(["job-1"]).read(response)
    assert caught.value.is_retryable


def test_a_single_job_keeps_the_name_it_was_asked_by() -> None:
    """However the service spells the id, it is the job that was asked for."""
    seen = shown({"id": "JOB-1", "status": "PENDING"}, "job-1")
    assert seen.generation("job-1").id == "JOB-1"


@pytest.mark.parametrize(("body", "ids"), [({}, IDS), ("[]", IDS), ({"id": "x"}, ("x",))])
def test_answers_of_another_shape(body: Any, ids: tuple[str, ...]) -> None:
    """What is no list, and a single job without a status, is an error with a path."""
    with pytest.raises(DecodeError, match=r"\$"):
        shown(body, *ids)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 414, 422, 501])
def test_refusals(status: int) -> None:
    """What would be answered again may be meant for the list."""
    assert polling.is_refusal(refusal(status))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_failures(status: int) -> None:
    """What may pass is no refusal of lists."""
    assert not polling.is_refusal(refusal(status))


def test_no_answer_is_no_refusal() -> None:
    """A list that never arrived was not refused."""
    error = ConnectError("refused", method="GET", url="http://localhost")
    assert not polling.is_refusal(error)
