"""Answers that are broken, about another job, in a circle, or of unknown outcome with a name."""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lipsync_async import (
    AsyncClient,
    BadRequestError,
    DecodeError,
    Generation,
    LipsyncError,
    PollPolicy,
    RetryPolicy,
    ServerError,
)
from lipsync_async._models.http import Request, Response
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock
from tests.bulk.runs import requests
from tests.client.connections import ORDER, UNLIMITED
from tests.client.waiters import wait_for_all
from tests.logic.test_codec import SPOILT

A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
# An answer: its status, its body as bytes or JSON, and its headers.
Answer = tuple[int, Any, dict[str, str]]
Judge = Callable[[str, str, dict[str, list[str]]], Answer]


class Service:
    """Answer as a test has it, which is given method, path and query, on a virtual clock."""

    def __init__(self, judge: Judge) -> None:
        self.clock = VirtualClock()
        self.asked: list[str] = []
        self._judge = judge

    def client(self, **settings: Any) -> AsyncClient:
        """Return a client of this service."""
        settings = {"limits": UNLIMITED, **settings}
        return AsyncClient("key", transport=MemoryTransport(self._answer, self.clock), **settings)

    async def _answer(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        self.asked.append(f"{request.method} {parts.path}")
        await self.clock.sleep(0.01)
        status, body, headers = self._judge(request.method, parts.path, parse_qs(parts.query))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Response(request.method, request.url, status, headers, data)


def job(name: str, status: str = "COMPLETED", **facts: Any) -> dict[str, Any]:
    """Return a job's JSON."""
    return {"id": name, "status": status, **facts}


async def caught(call: Awaitable[Any]) -> LipsyncError | None:
    """Return the error of a call, if it has one."""
    try:
        await call
    except LipsyncError as error:
        return error
    return None


def named_in(error: LipsyncError | None) -> str | None:
    """Return the id of the job that an error names."""
    return error.generation.id if error and error.generation else None


def breaking(name: bytes, member: bytes) -> Judge:
    """Make jobs, and give the first a broken member in every answer that shows it."""
    made: list[str] = []

    def shown(job_id: str, looks: int) -> bytes:
        text = json.dumps(job(job_id, "COMPLETED" if looks > 1 else "PENDING")).encode()
        return text if job_id != made[0] else text[:-1] + b', "' + name + b'": ' + member + b"}"

    looks = iter(range(1_000_000))

    def judge(method: str, path: str, query: dict[str, list[str]]) -> Answer:
        if method == "POST":
            made.append(f"job-{len(made)}")
            return 201, shown(made[-1], 0), {}
        count = next(looks)
        if path != "/v2/generations":
            return 200, shown(path.rpartition("/")[2], count), {}
        ids = query["ids"][0].split(",") if "ids" in query else made
        return 200, b"[" + b",".join(shown(each, count) for each in ids) + b"]", {}

    return judge


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize(("field", "cost"), [(b"mood", 0), (b"error", 1)])
async def test_a_spoilt_item_costs_nothing_but_itself(name: str, field: bytes, cost: int) -> None:
    """Runs, waits, lists and looks of all others get through, and of itself if it can be read."""
    service = Service(breaking(field, SPOILT[name][0]))
    async with service.client() as client:
        outcomes = await client.generations.run_all(requests(8))
        assert sum(not each.is_success for each in outcomes) <= cost
        jobs = [each.generation for each in outcomes if each.generation is not None]
        done = await wait_for_all(client, [each.id for each in jobs])
        assert sum(not isinstance(each, Generation) for each in done.values()) <= cost
        page = await client.generations.list()
        assert [each.id for each in page] == [each.id for each in jobs] != []
        assert sum(not each.is_completed for each in page) <= cost


CONFUSED: dict[str, Any] = {
    "another job": job(B),
    "another job that runs": job(B, "PROCESSING"),
    "a longer id": job(A + "0"),
    "a shorter id": job(A[:-1]),
    "an empty id": job(""),
    "an id with a space": job(f"{A} "),
    "other letters": job(A.replace("a", "\u0430")),
}
CONFUSED_LISTS: dict[str, Any] = {
    "a list": [job(A)],
    "no id": {"status": "COMPLETED"},
    "a number": job(A) | {"id": 7},
}
QUICK = RetryPolicy(attempts=2, first_pause=0.01, give_up_after=5.0)


@pytest.mark.parametrize("name", CONFUSED | CONFUSED_LISTS)
async def test_another_jobs_answer_is_nobodys(name: str) -> None:
    """A look or a wait never returns another job; the error names the one that was asked for."""
    body = (CONFUSED | CONFUSED_LISTS)[name]
    service = Service(lambda *_: (200, body, {}))
    async with service.client(retry=QUICK) as client:
        for call in (client.generations.get(A), client.generations.wait_until_complete(A)):
            error = await caught(call)
            assert isinstance(error, DecodeError)
        assert named_in(error) == A


@pytest.mark.parametrize("name", CONFUSED)
async def test_a_passing_confusion_is_outlasted(name: str) -> None:
    """A cache that answers a few looks with something else costs a wait nothing but time."""
    answers = iter([CONFUSED[name]] * 5)
    service = Service(lambda *_: (200, next(answers, job(A)), {}))
    async with service.client() as client:
        assert (await client.generations.wait_until_complete(A)).id == A


async def test_an_id_may_be_written_in_capitals() -> None:
    """The same id in other letters is the same job."""
    async with Service(lambda *_: (200, job(A.upper()), {})).client() as client:
        assert (await client.generations.get(A)).id == A.upper()
        assert (await client.generations.wait_until_complete(A)).is_completed


def unsettled(shown: Answer, **facts: Any) -> Service:
    """Return a service that never settles a create but names its job."""

    def judge(method: str, _: str, __: dict[str, list[str]]) -> Answer:
        if method == "POST":
            body = {"errorCode": "IDEMPOTENCY_OUTCOME_UNKNOWN", "message": "Unknown."}
            return 503, body | facts, {}
        return shown

    return Service(judge)


async def test_a_named_job_is_taken_for_the_creates() -> None:
    """What an unknown outcome names is looked at, and is the job that was paid for."""
    service = unsettled((200, job(A, "PROCESSING"), {}), generationId=A)
    async with service.client() as client:
        created = await client.generations.create(**ORDER, idempotency_key="take-1")
    assert (created.id, created.status, created.idempotency_key) == (A, "PROCESSING", "take-1")
    assert service.asked == ["POST /v2/generate", f"GET /v2/generate/{A}"]


@pytest.mark.parametrize(
    "shown",
    [
        *((404, {"message": "There is no such generation."}, {}), (500, {}, {}), (403, {}, {})),
        *((200, job(B), {}), (200, b"<html>", {}), (200, b"", {})),
        (429, {}, {"retry-after": "1"}),
    ],
)
async def test_a_named_job_is_never_lost(shown: Answer) -> None:
    """One that cannot be looked at is on the error, with the key, and in a run's outcome."""
    service = unsettled(shown, generationId=A)
    async with service.client(retry=QUICK) as client:
        error = await caught(client.generations.create(**ORDER, idempotency_key="take-1"))
        (outcome,) = await client.generations.run_all(requests(1))
    assert isinstance(error, ServerError)
    assert (named_in(error), error.may_have_worked) == (A, True)
    assert A in str(error)
    assert "take-1" in str(error)
    assert outcome.generation is not None
    assert outcome.generation.id == A


async def test_a_name_outlives_later_tries() -> None:
    """The job that one try has named is still known when a later one gets no answer."""
    told = {"errorCode": "IDEMPOTENCY_OUTCOME_UNKNOWN", "generationId": A}
    answers: Iterator[Answer] = iter([(503, told, {})])

    def judge(method: str, _: str, __: dict[str, list[str]]) -> Answer:
        return next(answers, (502, b"<html>", {})) if method == "POST" else (404, {}, {})

    async with Service(judge).client(retry=QUICK) as client:
        error = await caught(client.generations.create(**ORDER))
    assert named_in(error) == A


@pytest.mark.parametrize("named", [None, 7, "", [], {}, True, [A]])
async def test_what_is_no_name_names_nothing(named: Any) -> None:
    """A `generationId` of another kind is no job."""
    service = unsettled((200, job(A), {}), generationId=named)
    async with service.client(retry=QUICK) as client:
        error = await caught(client.generations.create(**ORDER))
    assert isinstance(error, ServerError)
    assert error.generation is None
    assert service.asked == ["POST /v2/generate"] * 2


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("poll", [PollPolicy(), PollPolicy(progress=True)])
async def test_a_refused_long_poll_is_done_without(status: int, poll: PollPolicy) -> None:
    """Who does not know the parameters of a look is asked without them, once and for all."""
    refused: list[str] = []
    looks = iter(range(100))

    def judge(_: str, path: str, query: dict[str, list[str]]) -> Answer:
        if query:
            refused.append(path)
            return status, {"message": "Unknown parameter."}, {}
        return 200, job(A, "COMPLETED" if next(looks) == 9 else "PROCESSING"), {}

    service = Service(judge)
    async with service.client(poll=poll) as client:
        assert (await client.generations.wait_until_complete(A)).is_completed
    assert len(refused) == 1
    assert 10 <= service.clock.now() <= 100


async def test_a_plain_look_that_is_refused_is_an_error() -> None:
    """A 400 that is not about the parameters is told, and names the job."""
    service = Service(lambda *_: (400, {"message": "No."}, {}))
    async with service.client() as client:
        error = await caught(client.generations.wait_until_complete(A))
    assert isinstance(error, BadRequestError)
    assert named_in(error) == A
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    "told", ["61", "3600", "86400", "31536000", "1e9", "9" * 300, "2000000", "60.1"]
)
async def test_an_absurd_pause_between_looks(told: str) -> None:
    """A wait is not put to sleep by a day's `Retry-After`; its looks go on at their own pace."""
    looks = iter(range(100))

    def judge(*_: Any) -> Answer:
        ended = next(looks) == 5
        return 200, job(A, "COMPLETED" if ended else "PROCESSING"), {"retry-after": told}

    service = Service(judge)
    async with service.client() as client:
        await client.generations.wait_until_complete(A, timeout=None)
    assert service.clock.now() <= 50


def names(*numbers: int) -> list[dict[str, Any]]:
    """Return jobs without dates."""
    return [job(f"job-{number}") for number in numbers]


def dated(*numbers: int) -> list[dict[str, Any]]:
    """Return jobs, the higher number the newer."""
    return [
        job(f"job-{number}", createdAt=f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000Z")
        for number in numbers
    ]


CIRCLES: dict[str, tuple[Callable[[int, str | None], list[dict[str, Any]]], int]] = {
    "the same page": (lambda *_: names(2, 1), 2),
    "two pages": (lambda asked, _: names(4, 3) if asked % 2 else names(2, 1), 4),
    "five pages": (lambda asked, _: names(9 - 2 * (asked % 5), 8 - 2 * (asked % 5)), 10),
    "one new job each time": (lambda asked, _: names(asked + 2, asked + 1), 2),
    "one new job, dated": (lambda asked, _: dated(asked + 2, asked + 1), 2),
    "a page of new jobs each time": (lambda asked, _: dated(2 * asked + 2, 2 * asked + 1), 2),
    "five new jobs each time": (lambda asked, _: dated(5 * asked + 2, 5 * asked + 1), 2),
    "a circle that grows": (
        lambda asked, cursor: names(2, 1) if cursor is None or asked % 2 else names(asked + 20, 2),
        2,
    ),
    "the end again": (lambda asked, _: names(6, 5) if not asked else names(4, 3), 4),
}


@pytest.mark.parametrize("name", CIRCLES)
async def test_pages_in_a_circle_end(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """However pages repeat themselves, an iteration ends, without a job twice, and says so."""
    give, expected = CIRCLES[name]
    asked = iter(range(1000))

    def judge(_: str, __: str, query: dict[str, list[str]]) -> Answer:
        return 200, give(next(asked), query.get("cursor", [None])[0]), {}

    async with Service(judge).client() as client:
        found = [each.id async for each in client.generations.iter(page_size=2)]
    assert len(found) == len(set(found)) == expected
    assert "a page again" in caplog.text


@pytest.mark.parametrize("pages", [1, 2, 7])
async def test_pages_in_a_row_are_all_read(pages: int, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs of the same second, and pages without dates, are no circle."""
    same = {"createdAt": "2026-01-01T00:00:05Z"}
    rows = [names(90 - 2 * page, 89 - 2 * page) for page in range(pages)]
    rows[:2] = [[each | same for each in row] for row in rows[:2]]
    given = iter([*rows, []])
    async with Service(lambda *_: (200, next(given), {})).client() as client:
        found = [each.id async for each in client.generations.iter(page_size=2)]
    assert len(found) == 2 * pages
    assert "a page again" not in caplog.text
