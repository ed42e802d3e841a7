"""The service's batches: refused before they are sent, created once, read leniently."""

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise, repeat
from typing import Any

import anyio
import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    Audio,
    Batch,
    BatchLimitError,
    BatchMetrics,
    ConnectionLostError,
    DownloadError,
    GenerationFailedError,
    GenerationRequest,
    IgnoredOptionWarning,
    InvalidRequestError,
    JobError,
    JobFailedError,
    LipsyncError,
    Options,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    Request,
    Response,
    RetryPolicy,
    ServerError,
    Video,
)
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Fault, VirtualClock
from tests.client.connections import ORDER, Door, opened
from tests.client.media_world import Says, opened_world

REQUEST = GenerationRequest(**ORDER)
ROWS = [REQUEST] * 20
HOUR = timedelta(hours=1)
NAMES = [f"r-{number:04}" for number in range(1, 21)]
WEB = "https://a.example/x"


class Fading(list[list[float]]):
    """A list that can be looked through a few times only."""

    def __iter__(self) -> Iterator[list[float]]:
        """Raise when it is looked through once too often."""
        self.append([0, 1])
        if len(self) > 2:
            raise LookupError("read already")
        return super().__iter__()


FADING = Video(WEB, segments_secs=Fading([[0, 1]]))


def named(*names: str) -> list[GenerationRequest]:
    """Return twenty requests, the first of which have names."""
    requests = [attrs.evolve(REQUEST, request_id=name) for name in names]
    return [*requests, *ROWS[len(names) :]]


@pytest.mark.parametrize(
    ("requests", "settings", "problems"),
    [
        (ROWS[:3], {}, ["requests: a batch has 20 to 500, but these are 3"]),
        ([REQUEST] * 501, {}, ["requests: a batch has 20 to 500, but these are more than 500"]),
        (ROWS, {"request_ids": ["a"]}, ["request_ids: must be 20, one for each request"]),
        (
            named("a", "b", "a"),
            {},
            ["requests[2].request_id: is the same as requests[0].request_id"],
        ),
        (named("", "b"), {}, ["requests[0].request_id: "]),
        (5, {}, ["requests: must be a list, not 5"]),
        ("x" * 20, {}, ["requests: must be a list, not 'xxx"]),
        (REQUEST, {}, ["requests: must be a list, not GenerationRequest"]),
        (dict.fromkeys(range(20), REQUEST), {}, ["requests: must be a list, not dict"]),
        ((), {}, ["requests: a batch has 20 to 500, but these are 0"]),
        (repeat(REQUEST), {}, ["requests: a batch has 20 to 500, but these are more than 500"]),
        ([*ROWS[:19], 7], {}, ["requests[19]: must be GenerationRequest, not 7"]),
        (ROWS, {"request_ids": {*NAMES}}, ["request_ids: must be a list, not set"]),
        (ROWS, {"request_ids": 5}, ["request_ids: must be a list, not 5"]),
        (ROWS, {"request_ids": (f"r{n}" for n in count())}, ["request_ids: must be 20, one for"]),
        (
            ROWS,
            {"request_ids": [*NAMES[:14], [], None, 7, "a\nb", "n" * 256, NAMES[0]]},
            [
                "request_ids[14]: must be text, not []",
                "request_ids[15]: must be text, not None",
                "request_ids[16]: must be text, not 7",
                "request_ids[17]: must not hold control characters",
                "request_ids[18]: must be 1 to 255 characters, not 256",
                "request_ids[19]: is the same as request_ids[0]",
            ],
        ),
        (
            [*ROWS[:19], attrs.evolve(REQUEST, request_id=[])],  # type: ignore[arg-type]
            {},
            ["requests[19].request_id: must be text"],
        ),
        (
            [attrs.evolve(REQUEST, input=[Video(f"{WEB}/{'v' * 12_000}"), Audio(WEB)])] * 500,
            {},
            ["requests: must be at most 5,000,000 bytes, not 6,"],
        ),
        (
            [*ROWS[:19], attrs.evolve(REQUEST, input=[FADING, Audio(WEB)])],
            {},
            ["requests[19]: cannot be written: LookupError: read already"],
        ),
        (
            [*ROWS[:19], GenerationRequest(model="", input=[Video("https://a.example/v")])],
            {"webhook_url": "ftp://a.example"},
            ["webhook_url: ", "requests[19].model: ", "requests[19].input: "],
        ),
        (
            [*ROWS[:19], attrs.evolve(REQUEST, input=[Video(file=b"x"), ORDER["input"][1]])],
            {},
            ["requests[19].input[0]"],
        ),
    ],
)
async def test_what_is_wrong_is_told_before_anything_is_sent(
    requests: Any, settings: Any, problems: list[str]
) -> None:
    """All problems at once, each with the place of its row."""
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await client.batches.create(requests, **settings)
        assert len(sandbox.requests) == 0
    found = caught.value.problems
    assert len(found) == len(problems)
    assert [text.startswith(start) for text, start in zip(found, problems, strict=True)] == [
        True for _ in problems
    ]


@pytest.mark.parametrize("verb", ["create", "validate"])
async def test_what_would_be_ignored_is_told(verb: str) -> None:
    """At the user's line, as for a request of its own; an error in its place sends nothing."""
    asked = [*ROWS[:19], attrs.evolve(REQUEST, options=Options(prompt="happy"))]
    async with opened("memory") as (client, sandbox):
        with pytest.raises(IgnoredOptionWarning):
            await getattr(client.batches, verb)(asked)
        assert len(sandbox.requests) == 0
        with pytest.warns(IgnoredOptionWarning, match=r"options\.prompt") as caught:
            await getattr(client.batches, verb)(asked)
    assert [warning.filename for warning in caught] == [__file__]


async def test_a_batch_of_megabytes_is_sent() -> None:
    """In pieces, which hold nothing up."""
    long = (Video(f"{WEB}/{'v' * 8000}"), Audio(WEB))
    async with opened("sockets", progression="manual") as (client, sandbox):
        made = await client.batches.create([attrs.evolve(REQUEST, input=long)] * 200)
        (sent,) = sandbox.requests.find("POST", "/v2/batch")
    assert made.metrics == BatchMetrics(
        total_generations=200, success_count=0, failed_count=0, pending_count=200
    )
    assert int(sent.headers["content-length"]) > 1024**2


async def test_names_tie_results_to_requests() -> None:
    """A request's own name, one that is given, or its place among the rows."""
    async with opened("memory", progression="immediate") as (client, sandbox):
        batches = [
            await client.batches.create(named("mine")),
            await client.batches.create(ROWS, request_ids=[f"take {n}" for n in range(20)]),
        ]
        found = [
            [outcome.request.request_id async for outcome in client.batches.results(batch)]
            for batch in batches
        ]
        assert [names[:2] for names in found] == [["mine", "r-0002"], ["take 0", "take 1"]]
        body = sandbox.requests.find("POST", "/v2/batch")[0].json
    assert body["rows"][0]["payload"]["input"][0]["url"] == ORDER["input"][0].url
    assert "request_id" not in body["rows"][0]["payload"]


@pytest.mark.parametrize("fault", [{"kind": "reset_after"}, {"kind": "status", "status": 502}])
async def test_a_create_is_not_repeated_when_its_outcome_is_unknown(fault: Any) -> None:
    """The error says so, and how to look; `find` names the batch that was made."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault(method="POST", path="/v2/batch", **fault))
        with pytest.raises(LipsyncError) as caught:
            await client.batches.create(ROWS)
        assert caught.value.may_have_worked
        assert "batches.find(created_after=..., rows=20)" in "".join(caught.value.__notes__)
        assert len(sandbox.requests.find("POST", "/v2/batch")) == 1
        made = await client.batches.list()
        begun = made[0].created_at if made else datetime(2026, 1, 1, tzinfo=UTC)
        assert begun is not None
        assert await client.batches.find(created_after=begun - HOUR, rows=20) == made
        assert await client.batches.find(created_after=begun - HOUR) == made
        assert await client.batches.find(created_after=begun + HOUR) == []


async def test_generations_fail_one_by_one() -> None:
    """The batch completes; each row has an outcome of its own."""
    async with opened("memory", progression="time(60)") as (client, sandbox):
        sandbox.faults.add(
            Fault("fail_job", path="/v2/generate", skip=1, code="generation_timeout")
        )
        seen: list[str] = []
        batch = await client.batches.create(ROWS)
        done = await client.batches.wait_until_complete(
            batch.id, on_update=lambda each: seen.append(each.status)
        )
        outcomes = [outcome async for outcome in client.batches.results(done.id)]
    assert (seen[-1], done.metrics and done.metrics.failed_count) == ("COMPLETED", 1)
    assert [index for index, each in enumerate(outcomes) if each.error] == [1]
    assert isinstance(outcomes[1].error, GenerationFailedError)
    assert outcomes[1].error.code == "generation_timeout"
    assert [each.index for each in outcomes] == [*range(20)]


async def test_a_batch_may_fail_as_a_whole() -> None:
    """That is an error with the batch, whose results cannot be asked for."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("fail_job", path="/v2/batch"))
        with pytest.raises(JobFailedError) as caught:
            await client.batches.wait_until_complete(await client.batches.create(ROWS))
        assert (type(caught.value.job), caught.value.job.status) == (Batch, "FAILED")


async def test_results_come_after_the_end() -> None:
    """Before, there is one clear error."""
    async with opened("memory", progression="manual") as (client, _):
        batch = await client.batches.create(ROWS)
        with pytest.raises(InvalidRequestError, match=r"^Nothing was downloaded; ") as caught:
            await anext(client.batches.results(batch))
    told = "batch: is JOBS_CREATED and has no results yet; wait until it has ended"
    assert caught.value.problems == (told,)


async def test_a_plan_may_have_no_batches() -> None:
    """The refusal has an error of its own."""
    async with opened("memory", plan="creator") as (client, _):
        with pytest.raises(PaymentRequiredError):
            await client.batches.create(ROWS)


async def test_more_than_may_run_at_once_wait() -> None:
    """Each is created once, when another has ended; one at a time looks, and is sent again."""
    clock = VirtualClock()
    settings: dict[str, Any] = {"progression": "time(3600)", "batches_at_once": 2, "clock": clock}
    made: list[Batch] = []
    async with opened("memory", **settings) as (client, sandbox):

        async def create() -> None:
            made.append(await client.batches.create(ROWS))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(create)
        ended_at = clock.now()
        assert {batch.id for batch in await client.batches.list()} == {each.id for each in made}
        assert len(made) == 5
        sent = sandbox.requests.find("POST", "/v2/batch")
        assert [each.status for each in sent].count(201) == 5
        # Three are sent with the two; then one when there is a place, or in twenty looks.
        refused = [each.time - sent[0].time for each in sent if each.status == 429]
        assert refused[:3] == [0, 0, 0]
        assert all(after - before > 1000 for before, after in pairwise(refused[2:]))
        assert 7200 <= ended_at <= 7200 + 4 * 120
        assert sandbox.requests.count("GET") <= ended_at / 60


@pytest.mark.parametrize("door", ["memory", "blocking"])
async def test_a_wait_for_the_end_of_a_batch_has_an_end(door: Door) -> None:
    """After `batch_timeout` it is sent once more, and then refused; nothing was created."""
    seconds = 0.05 if door == "blocking" else 600.0
    async with opened(door, progression="manual", batches_at_once=1) as (client, sandbox):
        await client.batches.create(ROWS)
        brief = client.with_options(retry=RetryPolicy(batch_timeout=seconds))
        with pytest.raises(BatchLimitError, match="Batch concurrency limit") as caught:
            await brief.batches.create(ROWS)
        assert not caught.value.may_have_worked
        assert len(sandbox.requests.find("POST", "/v2/batch")) == 3
        assert len(await client.batches.list()) == 1


@attrs.define
class Full:
    """A service that refuses creates of batches until a time, and shows what runs."""

    ends: float = 0.0
    told: float = 0.0
    shown: list[str] = attrs.field(factory=list)
    look: int = 200
    clock: VirtualClock = attrs.field(factory=VirtualClock)
    creates: list[float] = attrs.field(factory=list)
    looks: list[float] = attrs.field(factory=list)

    async def answer(self, request: Request) -> Response:
        """Answer a create or a look."""
        now = self.clock.now()
        (self.creates if request.method == "POST" else self.looks).append(now)
        if request.method == "GET":
            found: Any = [{"id": f"{n}", "status": each} for n, each in enumerate(self.shown)]
            status = self.look
        elif now < self.ends:
            found = {"errorCode": "concurrency_limit_reached", "retryAfterSeconds": self.told}
            status = 429
        else:
            found, status = {"id": "new", "status": "PENDING"}, 201
        return Response(request.method, request.url, status, {}, json.dumps(found).encode())

    def client(self, **retry: Any) -> AsyncClient:
        """Return a client of it."""
        transport = MemoryTransport(self.answer, self.clock)
        policy = RetryPolicy(attempts=1, give_up_after=30.0, **retry)
        return AsyncClient(
            "full", base_url="https://api.sync.so", transport=transport, retry=policy
        )


@pytest.mark.parametrize(
    ("service", "least", "most", "creates"),
    [
        # One ended before the first look, so that no end is seen.
        ({"ends": 60, "shown": ["PROCESSING"]}, 1000, 2520, 2),
        # Those that run are not shown: a try after each pause.
        ({"ends": 600, "shown": ["COMPLETED", "FAILED"]}, 600, 720, 20),
        # The service names the time of the next create.
        ({"ends": 60, "told": 900}, 900, 1020, 2),
    ],
    ids=["unseen", "not shown", "told"],
)
async def test_a_create_is_sent_again_in_any_case(
    service: dict[str, Any], least: float, most: float, creates: int
) -> None:
    """Whatever the list of batches shows, and not before the service allows it."""
    full = Full(**service)
    async with full.client() as client:
        batch = await client.batches.create(ROWS)
    assert batch.id == "new"
    assert least <= full.creates[-1] <= most
    assert 2 <= len(full.creates) <= creates
    pauses = [after - before for before, after in pairwise(full.looks) if after > before]
    assert min(pauses) >= 15
    assert min(pauses[4:], default=60) >= 60  # they grow, whatever becomes of a create


async def test_a_look_that_fails_has_created_nothing() -> None:
    """Its error says so, though a look that was lost may have arrived."""
    full = Full(ends=600, look=500)
    async with full.client() as client:
        with pytest.raises(ServerError) as caught:
            await client.batches.create(ROWS)
        assert (caught.value.may_have_worked, len(full.creates)) == (False, 1)
        brief = client.with_options(retry=RetryPolicy(batch_timeout=60.0, give_up_after=None))
        with pytest.raises(BatchLimitError):
            await brief.batches.create(ROWS)
    assert len(full.creates) == 3


async def test_a_hook_that_fails_in_a_look_keeps_its_error() -> None:
    """It is the user's own."""
    full = Full(ends=600, shown=["PROCESSING"])

    def hook(response: Response) -> None:
        if response.method == "GET":
            raise InvalidRequestError(["mine"])

    async with full.client() as client:
        with pytest.raises(InvalidRequestError, match="mine"):
            await client.with_options(on_response=hook).batches.create(ROWS)
    assert len(full.creates) == 1


async def test_a_batch_may_wait_without_end() -> None:
    """`None` is no limit; and what was accepted lets the others wait anew."""
    full = Full(ends=100_000, shown=["PROCESSING"])
    async with full.client(batch_timeout=None) as client:
        assert (await client.batches.create(ROWS)).id == "new"
    clock = VirtualClock()
    settings: dict[str, Any] = {"progression": "time(600)", "batches_at_once": 1, "clock": clock}
    async with opened("memory", **settings) as (client, _):
        patient = client.with_options(retry=RetryPolicy(batch_timeout=900.0))
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(patient.batches.create, ROWS)
        assert 1800 <= clock.now() <= 1800 + 3 * 120
        assert len(await client.batches.list()) == 4


@asynccontextmanager
async def answering(
    answer: Callable[[Request], tuple[int, dict[str, str], bytes]], **fields: Any
) -> AsyncIterator[AsyncClient]:
    """Connect to a service whose one batch has completed, and whose results are as told."""

    async def handle(request: Request) -> Response:
        shown = {"id": "b1", "status": "COMPLETED", "outputUrl": "https://media.example/results"}
        shown |= fields
        found: tuple[int, dict[str, str], bytes] = (200, {}, json.dumps(shown).encode())
        if request.url.startswith("https://api.sync.so/v2/"):
            return Response("GET", request.url, *found)
        assert "x-api-key" not in {name.lower() for name in request.headers}
        return Response("GET", request.url, *answer(request))

    once = RetryPolicy(attempts=1)
    transport = MemoryTransport(handle, VirtualClock())
    base_url = "https://api.sync.so"
    async with AsyncClient("key", base_url=base_url, transport=transport, retry=once) as client:
        yield client


GENERATION = {"id": "g1", "status": "COMPLETED", "model": "lipsync-2", "outputUrl": "https://a.b/c"}
FAILED = {"id": "g1", "status": "FAILED", "error": "No face"}
NAMELESS = "row without a name: "
LINES: list[tuple[Any, tuple[str | None, str | None, str | None]]] = [
    ({"request_id": "r1", "response": GENERATION}, ("r1", "g1", None)),
    ({"requestId": "r2", "body": GENERATION}, ("r2", "g1", None)),
    ({"request_id": "r3", "generation": FAILED}, ("r3", "g1", "generation g1 ended as FAILED")),
    ({"request_id": "r4", "error": {"message": "Bad row"}}, ("r4", None, "row r4: Bad row")),
    ({"request_id": "r5", "error": "Bad row"}, ("r5", None, "row r5: Bad row")),
    ({"request_id": "r6", "response": None}, ("r6", None, "row r6: ")),
    ({"request_id": 7, "response": {"id": "g1"}}, (None, "g1", "row 7: ")),
    ({"request_id": "r8", "response": {"body": GENERATION}}, ("r8", "g1", None)),
    ({"request_id": "r9", "generationId": "g1"}, ("r9", "g1", "row r9: ")),
    (
        {"request_id": "r10", "response": GENERATION | {"status": "PROCESSING"}},
        ("r10", "g1", "row r10: generation g1 is PROCESSING, and not known to have ended"),
    ),
    (["no", "object"], (None, None, NAMELESS)),
    ('{"request_id": "r\u2028"}', ("r\u2028", None, "row r")),
    ("{broken", (None, None, NAMELESS)),
]


async def test_a_line_of_any_shape_is_an_outcome() -> None:
    """The form of a real line is not documented: none ends the others."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line, _ in LINES]
    body = "\n\n".join([*texts, ""]).encode()
    async with answering(lambda _: (200, {}, body)) as client:
        found = [outcome async for outcome in client.batches.results("b1")]
    for outcome, (_, (name, job, error)) in zip(found, LINES, strict=True):
        assert outcome.request.request_id == name
        assert (outcome.generation and outcome.generation.id) == job
        assert str(outcome.error or "").startswith(error or "")
        assert (outcome.error is None) == (error is None)
        is_unknown = job is not None and type(outcome.error) is JobError
        assert is_unknown == ("look at generations.get('g1') before you" in str(outcome.error))
    assert [outcome.index for outcome in found] == [*range(len(LINES))]
    assert type(found[-1].error) is JobError
    assert json.loads(json.dumps(found[0].to_dict()))["request"]["request_id"] == "r1"


async def test_results_are_fetched_where_they_are() -> None:
    """Redirects are followed without the key; those without end, and refusals, are errors."""
    line = json.dumps({"request_id": "r1", "response": GENERATION}).encode()
    moved = (302, {"location": "https://other.example/x"}, b"")
    async with answering(lambda got: (200, {}, line) if "other" in got.url else moved) as client:
        assert len([outcome async for outcome in client.batches.results("b1")]) == 1
    async with answering(lambda _: moved) as client:
        with pytest.raises(DownloadError, match="more than 5 redirects"):
            await anext(client.batches.results("b1"))
    async with answering(lambda _: (403, {}, b"")) as client:
        with pytest.raises(DownloadError) as refused:
            await anext(client.batches.results("b1"))
        assert isinstance(refused.value.__cause__, PermissionDeniedError)
    async with answering(lambda _: (302, {"location": "file:///etc/passwd"}, b"")) as client:
        with pytest.raises(DownloadError):
            await anext(client.batches.results("b1"))


# --- results, line by line -----------------------------------------------------------------------


def row(name: str, **fields: Any) -> bytes:
    """Return a line of results."""
    return json.dumps({"request_id": name, "response": GENERATION, **fields}).encode() + b"\n"


THREE = [row("a"), row("b"), row("c")]
WHOLE = b"".join(THREE)
PACKED = {"content-encoding": "gzip"}
ONCE = RetryPolicy(attempts=1)


async def read(*answers: Says, retry: RetryPolicy = ONCE, **arguments: Any) -> list[Outcome]:
    """Return the outcomes of a batch whose results a host gives so."""
    async with opened_world(retry) as (client, world):
        world.plan("fresh.mp4", *answers)
        return [outcome async for outcome in client.batches.results("g1", **arguments)]


async def read_until_it_breaks(answer: Says) -> tuple[list[str | None], LipsyncError]:
    """Return the names of the rows that come before an error, and the error."""
    names: list[str | None] = []
    async with opened_world(ONCE) as (client, world):
        world.plan("fresh.mp4", answer)

        async def read_all() -> None:
            async for outcome in client.batches.results("g1"):
                names.append(outcome.request.request_id)  # noqa: PERF401 - they count if it breaks

        with pytest.raises(LipsyncError) as caught:
            await read_all()
    return names, caught.value


TORN = Says(WHOLE[:-20])
SHORT = Says(WHOLE[:-20], headers={"content-length": str(len(WHOLE))})
PACK = gzip.compress(WHOLE)
LONG = Says([THREE[0], b'{"a": "', *[b"x" * 2**20] * 17])
BOMB = Says(gzip.compress(row("a") + bytes(20_000_000)), headers=PACKED)


@pytest.mark.parametrize(
    ("answer", "names", "kind", "words"),
    [
        (TORN, "ab", ConnectionLostError, "they say that there are more"),
        (SHORT, "ab", ConnectionLostError, f"{len(WHOLE) - 20} of {len(WHOLE)} bytes came"),
        (Says(PACK[:-9], headers=PACKED), "abc", ConnectionLostError, "break off"),
        (Says([PACK[:-8], b"?" * 8], headers=PACKED), "abc", ConnectionLostError, "damaged"),
        (BOMB, "a", ConnectionLostError, "far more"),
        (LONG, "a", DownloadError, "line 2 has over 16,777,216 bytes"),
        (Says(b"<html>\n<body>Sign in\n"), "", DownloadError, "begin with '<html>"),
        (Says(PACK), "", DownloadError, "not JSON lines; they begin"),
    ],
)
async def test_results_that_break_off_are_one_error(
    answer: Says, names: str, kind: type[LipsyncError], words: str
) -> None:
    """The rows before it were given; what is half there is no row."""
    found, error = await read_until_it_breaks(answer)
    assert (found, type(error)) == ([*names], kind)
    assert words in str(error)


@pytest.mark.parametrize(
    "again",
    [
        Says(WHOLE),
        Says(WHOLE[100:], 206, {"content-range": f"bytes 100-{len(WHOLE) - 1}/{len(WHOLE)}"}),
    ],
)
async def test_results_go_on_where_they_broke(again: Says) -> None:
    """Each row is given once, however the host goes on."""
    tagged = {"etag": '"v1"', "content-length": str(len(WHOLE))}
    again = attrs.evolve(again, headers={**tagged, **again.headers})
    found = await read(Says(WHOLE[:100], headers=tagged), again, retry=RetryPolicy(attempts=2))
    assert [each.request.request_id for each in found] == ["a", "b", "c"]


async def test_results_of_any_size_need_little_memory() -> None:
    """One row is in memory at a time, and a few pieces."""
    line = row("", request_id=None, note="x" * 10**6)
    async with opened_world(ONCE) as (client, world):
        world.plan("fresh.mp4", Says([line] * 64))
        tracemalloc.start()
        try:
            count = len([None async for _ in client.batches.results("g1")])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (count, peak < 30_000_000) == (64, True)


async def test_what_is_damaged_is_its_rows_own() -> None:
    """A mark at the beginning, bytes that are no UTF-8, other line ends: every row is read."""
    odd = row("b").replace(b"lipsync-2", b"lipsync\xff").replace(b"\n", b"\r\n")
    packed = gzip.compress(b"\xef\xbb\xbf" + THREE[0] + b"\n \n" + odd + row("c").rstrip())
    pieces = [packed[at : at + 7] for at in range(0, len(packed), 7)]
    found = await read(Says(pieces, headers=PACKED))
    assert [each.unwrap().model for each in found] == ["lipsync-2", "lipsync\ufffd", "lipsync-2"]
    assert [each.request.request_id for each in found] == ["a", "b", "c"]


NO_ROW = "no result in the file of batch g1"
TWICE = "row a: an earlier row has this name"
STRANGE = "row c: batch g1 has no request of this name"


@pytest.mark.parametrize(
    ("body", "names", "expected"),
    [
        (WHOLE, "cab", [(1, "a", ""), (2, "b", ""), (0, "c", "")]),
        (WHOLE, "ab", [(0, "a", ""), (1, "b", ""), (2, "c", STRANGE)]),
        (THREE[0], "bac", [(1, "a", ""), (0, "b", NO_ROW), (2, "c", NO_ROW)]),
        (THREE[0] * 2, "ab", [(0, "a", ""), (2, "a", TWICE), (1, "b", NO_ROW)]),
        (
            THREE[0] + b"{broken\n",
            "ab",
            [(0, "a", ""), (2, None, NAMELESS), (1, "b", NO_ROW)],
        ),
        (b"", "a", [(0, "a", NO_ROW)]),
        (THREE[0] * 2, None, [(0, "a", ""), (1, "a", TWICE)]),
        (b"", None, []),
    ],
)
async def test_rows_are_held_against_the_requests(
    body: bytes, names: str | None, expected: list[tuple[int, str | None, str]]
) -> None:
    """A request without a row, a row without a request, and a second row are outcomes as well."""
    answer = Says(body, headers={"content-length": str(len(body))})
    found = await read(answer, request_ids=names and [*names])
    assert [(each.index, each.request.request_id) for each in found] == [
        (index, name) for index, name, _ in expected
    ]
    for each, (*_, words) in zip(found, expected, strict=True):
        assert (each.error is None) == (not words)
        assert str(each.error or "").startswith(words)
        assert type(each.error) in {JobError, type(None)}


async def test_requests_without_a_row_are_counted_where_they_have_no_names() -> None:
    """The batch tells how many requests it has."""
    metrics = {"total_generations": 3}
    async with answering(lambda _: (200, {}, THREE[0] * 2), metrics=metrics) as client:
        found = [outcome async for outcome in client.batches.results("b1")]
    told = [(each.index, each.request.request_id, each.is_success) for each in found]
    assert told == [(0, "a", True), (1, "a", False), (2, None, False), (3, None, False)]
    assert "no result in the file of batch b1" in str(found[-1].error)


async def test_a_batch_keeps_the_names_of_its_requests() -> None:
    """From the create through the wait; so results come at the places of the requests."""
    async with opened("memory", progression="polls(1)") as (client, sandbox):
        batch = await client.batches.create(iter(named("mine")))
        done = await client.batches.wait_until_complete(batch)
        known = ["mine", *NAMES[1:]]
        assert (batch.request_ids, done.request_ids) == (tuple(known), tuple(known))
        assert (await client.batches.get(batch.id)).request_ids is None
        await client.batches.validate(ROWS, request_ids=known)
        assert done.to_dict()["request_ids"] == known
        found = [outcome async for outcome in client.batches.results(done)]
        names = ["other", *known[:0:-1]]
        other = [outcome async for outcome in client.batches.results(batch.id, request_ids=names)]
        before = len(sandbox.requests)
        wrong: list[Any] = [["a", "a"], ["a", None], "ab", {"a"}]
        for each in wrong:
            with pytest.raises(InvalidRequestError, match="request_ids"):
                await anext(client.batches.results(batch, request_ids=each))
        assert len(sandbox.requests) == before
    assert [(each.index, each.request.request_id) for each in found] == [*enumerate(known)]
    assert sorted(each.index for each in other) == [*range(21)]
    assert [each.request.request_id for each in other if each.error] == ["mine", "other"]


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED", "EXPIRED"])
async def test_a_batch_that_ended_badly_says_so(status: str) -> None:
    """While it is waited for, and when results are asked for that it does not have."""
    async with answering(lambda _: (404, {}, b""), status=status, outputUrl=None) as client:
        with pytest.raises(JobFailedError, match=f"batch b1 ended as {status}"):
            await client.batches.wait_until_complete("b1")
        with pytest.raises(JobFailedError, match=f"batch b1 ended as {status}"):
            await anext(client.batches.results("b1"))


async def test_every_generation_may_fail() -> None:
    """The batch completes, its metrics say so, and each outcome has its error."""
    async with opened("memory", progression="time(60)") as (client, sandbox):
        sandbox.faults.add(Fault("fail_job", path="/v2/generate", count=20))
        batch = await client.batches.wait_until_complete(await client.batches.create(ROWS))
        outcomes = [outcome async for outcome in client.batches.results(batch)]
    assert (batch.status, batch.metrics and batch.metrics.failed_count) == ("COMPLETED", 20)
    assert [type(each.error) for each in outcomes] == [GenerationFailedError] * 20


@pytest.mark.parametrize("door", ["sockets", "blocking"])
async def test_results_that_are_cut_on_the_way_come_whole(door: Door) -> None:
    """Half of them is fetched again, and each row is given once."""
    async with opened(door, progression="immediate") as (client, sandbox):
        batch = await client.batches.create(ROWS)
        sandbox.faults.add(Fault("truncate", method="GET", path="/__sandbox/batches/*", skip=1))
        found = [outcome async for outcome in client.batches.results(batch)]
        assert sandbox.requests.count("GET", f"/__sandbox/batches/{batch.id}.jsonl") == 4
    assert [(each.index, each.request.request_id) for each in found] == [*enumerate(NAMES)]
