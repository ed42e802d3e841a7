"""Ordering a generation: what goes over the wire, and that it is never paid for twice."""

import json
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Audio,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectError,
    DecodeError,
    Generation,
    GenerationRequest,
    IgnoredOptionWarning,
    InvalidRequestError,
    Options,
    PollPolicy,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Status,
    Video,
)
from lipsync_async._models.http import Request, Response
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import INPUTS, ORDER, Door, opened, order

Pair = tuple[AsyncClient, Sandbox]
CREATES = ("POST", "/v2/generate")


def keys_sent(sandbox: Sandbox) -> list[str]:
    """Return the Idempotency-Key of each create that arrived."""
    return [entry.headers["idempotency-key"] for entry in sandbox.requests.find(*CREATES)]


async def test_accepted(client_and_sandbox: Pair) -> None:
    """A create returns the job as accepted, with the key that it was minted."""
    client, sandbox = client_and_sandbox
    created = await order(client)
    assert created.status == Status.PENDING
    assert created.id in sandbox.jobs
    assert created.input == list(INPUTS)
    assert created.idempotency_key == str(uuid.UUID(created.idempotency_key))
    assert keys_sent(sandbox) == [created.idempotency_key]


async def test_wire_form(client_and_sandbox: Pair) -> None:
    """Every field goes under the service's own name, and what was not given stays away."""
    client, sandbox = client_and_sandbox
    created = await client.generations.create(
        model="lipsync-2",
        input=INPUTS,
        options=Options(sync_mode="bounce", temperature=0.3),
        webhook_url="https://hooks.example/done",
        output_file_name="take-1",
    )
    (entry,) = sandbox.requests.assert_count(1, *CREATES)
    assert entry.json == {
        "model": "lipsync-2",
        "input": [
            {"type": "video", "url": "https://media.example/clip.mp4"},
            {"type": "audio", "url": "https://media.example/speech.wav"},
        ],
        "options": {"sync_mode": "bounce", "temperature": 0.3},
        "webhookUrl": "https://hooks.example/done",
        "outputFileName": "take-1",
    }
    assert entry.headers["content-type"] == "application/json"
    assert entry.headers["user-agent"].startswith("lipsync-async/")
    assert created.output_file_name == "take-1"
    assert created.webhook_url == "https://hooks.example/done"


async def test_whole_request(client_and_sandbox: Pair) -> None:
    """A `GenerationRequest` is the same order as its fields one by one."""
    client, sandbox = client_and_sandbox
    await client.generations.create(GenerationRequest(**ORDER))
    await client.generations.run(GenerationRequest(**ORDER))
    await order(client)
    bodies = [entry.json for entry in sandbox.requests.find(*CREATES)]
    assert bodies == [bodies[0]] * 3


async def test_key_is_minted_once(client_and_sandbox: Pair) -> None:
    """All tries of one create carry one key and one body; the next create has its own."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("reset_after", method="POST", count=2))
    first = await order(client)
    second = await order(client)
    assert keys_sent(sandbox) == [first.idempotency_key] * 3 + [second.idempotency_key]
    assert first.idempotency_key != second.idempotency_key
    assert len({entry.body for entry in sandbox.requests.find(*CREATES)}) == 1
    assert sandbox.jobs.created == 2


async def test_own_key(client_and_sandbox: Pair) -> None:
    """A key of the user's own is sent as it is, and repeating it orders nothing new."""
    client, sandbox = client_and_sandbox
    first = await order(client, idempotency_key="run-7.row~3")
    again = await order(client, idempotency_key="run-7.row~3")
    assert first.id == again.id
    assert keys_sent(sandbox) == ["run-7.row~3"] * 2
    assert sandbox.jobs.created == 1


async def test_key_of_another_order(client_and_sandbox: Pair) -> None:
    """A key that stood for another order is refused, and the error keeps it."""
    client, _ = client_and_sandbox
    await order(client, idempotency_key="used")
    with pytest.raises(ConflictError) as caught:
        await order(client, idempotency_key="used", output_file_name="other")
    assert (caught.value.code, caught.value.idempotency_key) == ("IDEMPOTENCY_KEY_REUSED", "used")


async def test_same_key_at_once(client_and_sandbox: Pair) -> None:
    """Twenty tasks with one key order one generation."""
    client, sandbox = client_and_sandbox
    found: list[str] = []

    async def create() -> None:
        found.append((await order(client, idempotency_key="one")).id)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(create)
    assert (len(found), len(set(found)), sandbox.jobs.created) == (20, 1, 1)


@pytest.mark.parametrize("kind", ["status", "reset_before", "reset_after"])
async def test_files_are_sent_anew_with_each_try(
    client_and_sandbox: Pair, tmp_path: Path, kind: str
) -> None:
    """Every try carries all fields and all bytes, of paths and of bytes alike."""
    client, sandbox = client_and_sandbox
    clip = tmp_path / "clip one.mp4"
    clip.write_bytes(bytes(range(256)) * 1024)
    speech = b"RIFF\0\0\0\0WAVEfmt " + bytes(5000)
    status = 503 if kind == "status" else None
    sandbox.faults.add(Fault(kind, method="POST", status=status))
    created = await client.generations.create(
        model="lipsync-2",
        input=[Video(file=clip), Audio(file=speech)],
        options=Options(temperature=0.5),
        output_file_name="take-1",
        upload="form",
    )
    entries = sandbox.requests.assert_count(2, *CREATES)
    assert [_form_of(entry.json) for entry in entries] == [
        {
            "model": "lipsync-2",
            "options": {"temperature": 0.5},
            "outputFileName": "take-1",
            "video": ("clip one.mp4", sha256(clip.read_bytes()).hexdigest()),
            "audio": ("audio.wav", sha256(speech).hexdigest()),
        }
    ] * 2
    assert keys_sent(sandbox) == [created.idempotency_key] * 2
    assert sandbox.jobs.created == 1


async def test_file_beside_a_url(client_and_sandbox: Pair) -> None:
    """A form takes the input that is no file as JSON."""
    client, sandbox = client_and_sandbox
    await order(client, input=[Video(file=b"\0\0\0\x18ftypmp42"), INPUTS[1]], upload="form")
    (entry,) = sandbox.requests.assert_count(1, *CREATES)
    expected = [{"type": "audio", "url": "https://media.example/speech.wav"}]
    assert json.loads(entry.json["input"]) == expected


def _write_another(clip: Path) -> None:
    clip.write_bytes(b"another clip")


@pytest.mark.parametrize(
    ("change", "told"),
    [(Path.unlink, "{}"), (_write_another, "{} has changed since the call began")],
)
@pytest.mark.parametrize("door", ["memory", "sockets", "blocking"])
async def test_file_that_is_another_by_the_next_try(
    door: Door, change: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    """It is not sent, for one key means one order, and does not hide that a try may have worked."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a clip")
    async with opened(door) as (client, sandbox):
        sandbox.faults.add(Fault("status", method="POST", status=503))
        hasty = client.with_options(on_response=lambda _: change(clip))
        with pytest.raises(ServerError) as caught:
            await order(hasty, input=[Video(file=clip), INPUTS[1]], upload="form")
        assert len(sandbox.requests) == 1
    assert isinstance(caught.value.__cause__, ConnectError)
    assert told.format(clip) in str(caught.value.__cause__)
    assert caught.value.may_have_worked
    assert caught.value.idempotency_key == keys_sent(sandbox)[0]


@pytest.mark.parametrize(("method", "expected"), [("POST", True), ("GET", False)])
async def test_an_error_of_a_hook_hides_no_create(
    client_and_sandbox: Pair, method: str, *, expected: bool
) -> None:
    """One of this library says that the create may have worked, and under which key."""

    def fail(answer: Response) -> None:
        if answer.method == method:
            raise BadRequestError(response=answer, message="of a hook")

    client, sandbox = client_and_sandbox
    with pytest.raises(BadRequestError, match="of a hook") as caught:
        await client.with_options(on_response=fail).generations.run(**ORDER)
    assert sandbox.jobs.created == 1
    assert caught.value.may_have_worked == expected
    assert caught.value.idempotency_key == (keys_sent(sandbox)[0] if expected else None)


@pytest.mark.parametrize("first", ["reset_before", "reset_after"])
async def test_left_while_connections_are_refused(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A create that never left this machine is not said to be doubtful; an earlier try is."""
    retry = RetryPolicy(attempts=1000, first_pause=1.0, longest_pause=1.0)

    async def order_for_a_while() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(order, client.with_options(retry=retry))
            await sandbox.transport().sleep(50.0)
            tasks.cancel_scope.cancel()

    async with opened("memory") as (client, sandbox), anyio.create_task_group() as tasks:
        sandbox.faults.add(Fault("reset_before", method="POST", skip=1, count=None))
        sandbox.faults.add(Fault(first, method="POST"))
        tasks.start_soon(order_for_a_while)
    assert sandbox.requests.count("POST", "*") > 2
    assert ("may have succeeded" in caplog.text) is (first == "reset_after")


async def test_upload_has_time() -> None:
    """A try of an upload has a second more for each 125,000 bytes."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("hang", method="POST"))
        hasty = client.with_options(timeout=5.0, retry=RetryPolicy(attempts=1))
        inputs = [Video(file=bytes(1_250_000)), INPUTS[1]]
        with pytest.raises(RequestTimeoutError, match="no answer within 15 s"):
            await order(hasty, input=inputs, upload="form")
        sandbox.faults.add(Fault("hang", method="POST"))
        with pytest.raises(RequestTimeoutError, match="no answer within 5 s"):
            await order(hasty)


async def test_upload_without_timeout(client_and_sandbox: Pair) -> None:
    """`timeout=None` leaves uploads without a limit too."""
    client, sandbox = client_and_sandbox
    patient = client.with_options(timeout=None)
    for way in ("form", "asset"):
        await order(patient, input=[Video(file=b"a clip"), INPUTS[1]], upload=way)
    assert sandbox.jobs.created == 2


async def test_ignored_option_warns_at_the_callers_line(async_client_and_sandbox: Pair) -> None:
    """What the service will ignore is a warning that shows the user's own line."""
    client, _ = async_client_and_sandbox
    request = GenerationRequest(model="sync-3", input=INPUTS, options=Options(temperature=0.2))
    for verb in ("create", "run", "estimate"):
        with pytest.warns(IgnoredOptionWarning, match="options.temperature") as caught:
            await getattr(client.generations, verb)(request)
        assert [warning.filename for warning in caught] == [__file__]


async def test_run_tells_of_the_accepted_job_first(client_and_sandbox: Pair) -> None:
    """`run` hands over the id before it waits, so that it is never lost."""
    client, _ = client_and_sandbox
    seen: list[Generation] = []
    done = await client.generations.run(**ORDER, idempotency_key="mine", on_update=seen.append)
    assert [str(each.status) for each in seen] == ["PENDING", "PROCESSING", "COMPLETED"]
    assert {each.id for each in seen} == {done.id}
    assert {each.idempotency_key for each in seen} == {"mine"}


def _form_of(logged: dict[str, Any]) -> dict[str, Any]:
    """Return what a logged form held, files as name and digest."""
    return {
        name: (value["filename"], value["sha256"])
        if isinstance(value, dict)
        else (json.loads(value) if name == "options" else value)
        for name, value in logged.items()
    }


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(("reset_after", "status"), True), (("status",), False)],
    ids=["after a lost answer", "at once"],
)
async def test_a_refusal_tells_whether_an_earlier_try_may_have_worked(
    kinds: tuple[str, ...], *, expected: bool
) -> None:
    """A final refusal after a try of unknown outcome still shows the key to go on with."""
    async with opened("sockets") as (client, sandbox):
        for position, kind in enumerate(kinds):
            status = 401 if kind == "status" else None
            sandbox.faults.add(Fault(kind, method="POST", status=status, skip=position))
        with pytest.raises(AuthenticationError) as caught:
            await order(client, idempotency_key="my-key")
        assert caught.value.idempotency_key == "my-key"
        assert caught.value.may_have_worked is expected
        assert ("idempotency_key='my-key'" in str(caught.value)) is expected
        assert sandbox.jobs.created == int(expected)


async def test_a_job_without_a_usable_id_is_no_refusal() -> None:
    """An accepted order whose id cannot be used is an unreadable answer that keeps the key."""

    async def answer(request: Request) -> Response:
        return Response("POST", request.url, 201, {}, b'{"id": "", "status": "PENDING"}')

    transport = MemoryTransport(answer, VirtualClock())
    async with AsyncClient("key", transport=transport) as client:
        with pytest.raises(DecodeError) as caught:
            await order(client, idempotency_key="mine")
    assert caught.value.may_have_worked
    assert caught.value.generation is not None
    assert "idempotency_key='mine'" in str(caught.value)


async def test_leaving_a_run_names_its_job(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever ends a run, the job that goes on is named on the exception and in the log."""

    def fail(_: Generation) -> None:
        raise LookupError("mine")

    async with opened("memory", progression="manual") as (client, sandbox):
        with pytest.raises(LookupError) as caught:
            await client.generations.run(**ORDER, on_update=fail)
        (job,) = sandbox.jobs
    assert job.id in caught.value.__notes__[0]
    assert job.id in caplog.text


async def test_an_error_of_the_callback_names_the_job(client_and_sandbox: Pair) -> None:
    """A `LipsyncError` that `on_update` itself brings about still tells of the job that goes on."""
    client, sandbox = client_and_sandbox

    def fail(_: Generation) -> None:
        raise InvalidRequestError(["mine"])

    with pytest.raises(InvalidRequestError) as caught:
        await client.generations.run(**ORDER, on_update=fail)
    (job,) = sandbox.jobs
    assert caught.value.generation is not None
    assert caught.value.generation.id == job.id


async def test_hundreds_wait_for_slots_in_line() -> None:
    """Far more creates than slots: all succeed, and refusals stay within the minute's requests."""
    world = opened("memory", progression="time(60)", concurrency=3, creates_per_minute=60)
    async with world as (client, sandbox):
        view = client.with_options(retry=RetryPolicy(), poll=PollPolicy())

        async def run(late: float) -> None:
            await client._requester.transport.sleep(late)  # noqa: SLF001
            await view.generations.run(**ORDER)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(run, 10.0 * (number % 2))
        assert sandbox.jobs.count("COMPLETED") == 50
        refused = [entry for entry in sandbox.requests if entry.status == 429]
        assert len(refused) <= 50 + 50
