"""`aclose` ends whatever is under way, wherever that is, with one error, and never hangs."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import (
    AsyncClient,
    ConfigurationError,
    Generation,
    GenerationRequest,
    Limits,
    PollPolicy,
    RetryPolicy,
    Status,
)
from lipsync_async._asyncio_tools import OpenCall, OpenCalls
from lipsync_async._models.http import Request, Response
from lipsync_async._transport.aiohttp import AiohttpTransport
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock
from tests.client.connections import ORDER, UNLIMITED, connect, opened
from tests.client.hosts import Answer, Host, hosting, serving

_JOB = json.dumps({"id": "job-1", "status": "PROCESSING", "model": "lipsync-2"}).encode()
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_JOB)
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + _JOB[:5] + b"\r\n"
# Where an answer stops coming.
_STOPS = {
    "before the answer": b"",
    "in the status line": b"HTTP/1.1 2",
    "after the status line": b"HTTP/1.1 200 OK\r\n",
    "in a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "after the headers": _WHOLE,
    "in the body": _WHOLE + _JOB[:9],
    "one byte early": _WHOLE + _JOB[:-1],
    "in a chunk": _CHUNKED[:-3],
    "between chunks": _CHUNKED,
    "before the trailers": _CHUNKED + b"0\r\n",
    "in the trailers": _CHUNKED + b"0\r\nX-Later: 1",
    "without an end": b"HTTP/1.1 200 OK\r\n\r\n" + _JOB,
    "at an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}

Call = Callable[[AsyncClient, str, Path], Awaitable[Any]]

_CALLS: dict[str, Call] = {
    "create": lambda client, _, __: client.generations.create(**ORDER),
    "run": lambda client, _, __: client.generations.run(**ORDER),
    "get": lambda client, _, __: client.generations.get("job-1"),
    "delete": lambda client, _, __: client.generations.delete("job-1"),
    "list": lambda client, _, __: client.generations.list(),
    "wait": lambda client, _, __: client.generations.wait_until_complete("job-1"),
    "download": lambda client, url, folder: client.generations.download(
        Generation(id="job-1", status=Status.COMPLETED, output_url=f"{url}/v.mp4"), folder
    ),
}


async def _closed_under(
    client: AsyncClient, call: Awaitable[Any], is_time: Callable[[], Awaitable[object]]
) -> BaseException | None:
    """Close a client in the middle of a call; return what the call raised."""
    ends: list[BaseException | None] = []

    async def run() -> None:
        try:
            await call
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ends.append(error)
        else:
            ends.append(None)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await is_time()
            await client.aclose()
    return ends[0]


@pytest.mark.traced_once("name", "timeout")
@pytest.mark.parametrize("stop", _STOPS)
@pytest.mark.parametrize(
    ("name", "timeout"), [*((name, None) for name in _CALLS), ("get", 5.0), ("download", 5.0)]
)
async def test_closed_at_any_byte_of_an_answer(
    name: str, stop: str, timeout: float | None, tmp_path: Path
) -> None:
    """Whatever part of an answer is awaited, the call ends, and a create names its key."""
    async with hosting(Answer(raw=_STOPS[stop], hangs=True)) as host:
        client = AsyncClient("key", base_url=host.url, timeout=timeout, limits=UNLIMITED)
        call = _CALLS[name](client, host.url, tmp_path)
        error = await _closed_under(client, call, host.has_answered.wait)
    assert isinstance(error, ConfigurationError)
    assert "The client was closed while this call was under way" in str(error)
    assert error.may_have_worked
    is_paid = name in {"create", "run"}
    assert (error.idempotency_key is not None) is is_paid
    assert is_paid is ("pass idempotency_key=" in str(error))
    assert [path async for path in anyio.Path(tmp_path).iterdir()] == []
    assert len(host.arrivals) == 1


async def test_closed_while_a_connection_is_made() -> None:
    """What waits for a connection has not been sent, so a create may simply be made anew."""
    is_asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        await reader.read()
        writer.close()

    async with serving(say_nothing) as url:
        secure = url.replace("http:", "https:")
        client = AsyncClient("key", base_url=secure, timeout=None, limits=UNLIMITED)
        error = await _closed_under(client, client.generations.create(**ORDER), is_asked.wait)
    assert isinstance(error, ConfigurationError)
    assert not error.may_have_worked
    assert "idempotency_key=" not in str(error)


async def test_closed_while_a_place_is_awaited() -> None:
    """Requests beyond the pool's size end as well, and were never sent."""
    async with hosting(Answer(hangs=True, raw=b"")) as host:
        transport = AiohttpTransport(connections=1)
        errors: list[ConfigurationError] = []

        async def ask() -> None:
            with pytest.raises(ConfigurationError) as caught:
                await transport.send(Request("POST", host.url), timeout=None)
            errors.append(caught.value)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(ask)
                await host.has_answered.wait()
                await transport.aclose()
    assert sorted(error.may_have_worked for error in errors) == [False] * 4 + [True]
    assert len(host.arrivals) == 1


def _shown(status: int, /, **fields: Any) -> Response:
    return Response("GET", "http://localhost/", status, {}, json.dumps(fields).encode())


_SEEN: dict[str, Any] = {"id": "job-1", "status": "PROCESSING"}
_FULL = {"errorCode": "concurrency_limit_reached", "concurrencyLimit": 1}
_PATIENT = RetryPolicy(first_pause=1_000.0, longest_pause=1_000.0, give_up_after=None)
_RARELY = PollPolicy(long_poll=None, initial_interval=1_000.0, max_interval=1_000.0)
_FEW = Limits(creates_per_minute=1, requests_per_minute=1)

# What a client waits for, how the service answers, the client's settings, and its calls.
_WAITS: dict[str, tuple[Response | None, dict[str, Any], list[str]]] = {
    "an answer": (None, {}, ["get"]),
    "answers": (None, {}, ["create", "get", "list", "delete", "wait", "download"]),
    "the next try": (_shown(503), {"retry": _PATIENT}, ["get"]),
    "the next tries": (_shown(503), {"retry": _PATIENT}, ["create", "list", "wait", "run"]),
    "the minute of a refusal": (_shown(429, retryAfterSeconds=50), {}, ["get"]),
    "a slot": (_shown(429, **_FULL, retryAfterSeconds=900), {}, ["create"]),
    "a slot, behind others": (_shown(429, **_FULL, retryAfterSeconds=900), {}, ["create"] * 4),
    "a place in the minute": (_shown(503), {"limits": _FEW}, ["get"] * 2),
    "a place, behind others": (_shown(503), {"limits": _FEW}, ["get"] * 6),
    "a place for creates": (_shown(503), {"limits": _FEW}, ["create"] * 4),
    "the next look": (_shown(200, **_SEEN), {"poll": _RARELY}, ["wait"]),
    "the next looks": (_shown(200, **_SEEN), {"poll": _RARELY}, ["wait"] * 4),
    "looks for all": (_shown(200, **_SEEN), {"poll": _RARELY}, ["wait"] * 12),
    "looks for all, that fail": (_shown(503), {"retry": _PATIENT}, ["wait"] * 12),
    "looks for all, unanswered": (None, {}, ["wait"] * 12),
    "the end of a run": (_shown(201, **_SEEN), {"poll": _RARELY}, ["run"] * 7),
    "a change": (_shown(200, **_SEEN), {"poll": _RARELY}, ["updates"]),
    "changes": (_shown(200, **_SEEN), {"poll": _RARELY}, ["updates"] * 7),
    "a page": (None, {}, ["iter"]),
    "the same page again": (_shown(503), {"retry": _PATIENT}, ["iter"]),
}


async def _every_change(client: AsyncClient) -> None:
    async with client.generations.updates("job-1") as changes:
        async for _ in changes:
            pass


async def _every_job(client: AsyncClient) -> list[Generation]:
    return [job async for job in client.generations.iter()]


_MORE_CALLS: dict[str, Call] = {
    **_CALLS,
    "updates": lambda client, _, __: _every_change(client),
    "iter": lambda client, _, __: _every_job(client),
}


async def _half_a_minute(clock: VirtualClock) -> None:
    is_time = anyio.Event()
    clock.call_later(30.0, is_time.set)
    await is_time.wait()


@pytest.mark.parametrize("name", _WAITS)
async def test_closed_in_a_pause(name: str, tmp_path: Path) -> None:
    """Pauses, lines and shared looks end like requests, however many wait."""
    answer, settings, calls = _WAITS[name]
    clock = VirtualClock()

    async def handle(request: Request) -> Response:
        if answer is None:
            await clock.sleep(1e6)
        return answer or _shown(500)

    settings = {"timeout": None, "limits": UNLIMITED, **settings}
    client = AsyncClient("key", transport=MemoryTransport(handle, clock), **settings)
    errors: list[BaseException] = []

    async def run(call: Call) -> None:
        with pytest.raises(ConfigurationError, match=r"[Cc]lient (was|is) closed") as caught:
            await call(client, "http://localhost", tmp_path)
        errors.append(caught.value)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(run, _MORE_CALLS[call])
            await checkpoint()
            await _half_a_minute(clock)
            await client.aclose()
    assert len(errors) == len(calls)
    assert clock.now() == 30.0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 507, 530, 598, 599])
async def test_closed_between_two_creates(status: int) -> None:
    """An order that an earlier try may have placed is named, though a pause was ended."""
    clock = VirtualClock()

    async def handle(_: Request) -> Response:
        return _shown(status)

    transport = MemoryTransport(handle, clock)
    client = AsyncClient("key", transport=transport, limits=UNLIMITED, retry=_PATIENT)
    call = client.generations.create(**ORDER, idempotency_key="scene-12")
    error = await _closed_under(client, call, partial(_half_a_minute, clock))
    assert isinstance(error, ConfigurationError)
    assert (error.may_have_worked, error.idempotency_key) == (True, "scene-12")
    assert "idempotency_key='scene-12'" in str(error)


@pytest.mark.parametrize("door", ["memory", "sockets"])
async def test_closed_at_every_turn(door: Any, tmp_path: Path) -> None:
    """Between any two steps, a run ends as it would have, or with the one error."""
    kinds = set()
    for turns in [*range(60), None]:
        async with opened(door) as (_, sandbox):
            client = connect(sandbox)
            call = _run_and_fetch(client, tmp_path / str(turns))
            error = await _closed_after(turns, client, call)
            kinds.add(type(error))
            named = [getattr(error, name, None) for name in ("idempotency_key", "generation")]
            assert error is None or any(named) or not sandbox.jobs.created
    assert kinds == {ConfigurationError, type(None)}


async def test_a_run_closed_at_every_turn() -> None:
    """Whenever it is closed, a run of many ends, and names each job, or the key of its order."""
    ends = set()
    for turns in [*range(0, 120, 2), None]:
        async with opened("memory") as (_, sandbox):
            client = connect(sandbox)
            told: list[str] = []
            error = await _closed_after(turns, client, _run_all(client, told))
            ends.add(type(error))
            told += [str(error), *getattr(error, "__notes__", ())]
            text = " ".join(told)
            creates = sandbox.requests.find(method="POST")
            keys = {each.headers["idempotency-key"] for each in creates}
            named = sum(job.id in text for job in sandbox.jobs) + sum(key in text for key in keys)
            assert named >= sandbox.jobs.created
    assert ends == {ConfigurationError, type(None)}


async def _run_all(client: AsyncClient, told: list[str]) -> None:
    requests = [GenerationRequest(**ORDER) for _ in range(3)]
    outcomes = await client.generations.run_all(requests)
    told += [f"{outcome.generation} {outcome.error}" for outcome in outcomes]


async def _run_and_fetch(client: AsyncClient, folder: Path) -> None:
    done = await client.generations.run(**ORDER)
    await client.generations.download(done, f"{folder}/")


async def _closed_after(
    turns: int | None, client: AsyncClient, call: Awaitable[Any]
) -> BaseException | None:
    """Close a client after turns of the loop, or when the call is over; return what it raised."""
    is_over = anyio.Event()

    async def see_through() -> None:
        await call
        is_over.set()

    is_time = is_over.wait if turns is None else partial(_turns, turns)
    return await _closed_under(client, see_through(), is_time)


async def _turns(number: int) -> None:
    for _ in range(number):
        await checkpoint()


async def test_closed_by_many_at_once() -> None:
    """Each of those who close at the same time returns when the connections are closed."""
    async with hosting(Answer(_JOB, headers={"Connection": "keep-alive"})) as host:
        client = AsyncClient("key", base_url=host.url, limits=UNLIMITED)
        await client.generations.get("job-1")
        ends = await asyncio.gather(
            *(view.aclose() for view in [client] * 4 + [client.with_options(timeout=1.0)]),
            return_exceptions=True,
        )
        await client.aclose()
    assert ends == [None] * 5


async def test_one_that_closes_is_cancelled() -> None:
    """Who waits for another one's closing is not left waiting when that is cancelled."""
    async with hosting(Answer(_JOB, headers={"Connection": "keep-alive"})) as host:
        client = AsyncClient("key", base_url=host.url, limits=UNLIMITED)
        await client.generations.get("job-1")
        first, second = (asyncio.ensure_future(client.aclose()) for _ in range(2))
        await checkpoint()
        first.cancel()
        with anyio.fail_after(10):
            await asyncio.wait([first, second])
    assert second.exception() is None
    with pytest.raises(ConfigurationError, match="This client is closed"):
        await client.generations.get("job-1")


def test_closed_from_another_loop() -> None:
    """A client that is closed from another thread's loop ends its calls in their own."""
    ends: list[str] = []
    is_asked = threading.Event()

    async def ask(client: AsyncClient, host: Host) -> None:
        async def tell() -> None:
            await host.has_answered.wait()
            is_asked.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell)
            with pytest.raises(ConfigurationError) as caught:
                await client.generations.get("job-1")
            ends.append(str(caught.value))

    async def serve() -> None:
        async with hosting(Answer(raw=b"", hangs=True)) as host:
            clients.append(AsyncClient("key", base_url=host.url, timeout=None))
            await ask(clients[0], host)

    clients: list[AsyncClient] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_asked.wait(10)
    asyncio.run(clients[0].aclose())
    thread.join(10)
    assert ends == ["The client was closed while this call was under way."]


async def test_calls_of_a_parent_process_are_left_alone() -> None:
    """A forked child that closes what it has inherited ends nothing of its parent's."""
    calls = OpenCalls()
    parents, own = OpenCall(calls, process=-1), OpenCall(calls)  # tests of the portal fork
    with parents, suppress(ConfigurationError), own:
        calls.close()
        await checkpoint()
    assert [call.scope.cancel_called for call in (parents, own)] == [False, True]


async def test_a_call_that_was_left_in_a_closed_loop() -> None:
    """What an earlier event loop has left behind does not keep a client from closing."""
    client = AsyncClient("key", base_url="http://127.0.0.1:1", limits=UNLIMITED)
    pause = client._requester.transport.sleep  # noqa: SLF001
    loop = asyncio.new_event_loop()
    task = loop.create_task(pause(1_000))
    await asyncio.to_thread(loop.run_until_complete, _turns(0))
    loop.close()
    await client.aclose()
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
