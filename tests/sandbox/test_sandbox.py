"""The sandbox as Python users hold it, its clock, and the parts that need no requests."""

import asyncio
import importlib.util
import json
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async.cli.sandbox import main
from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.clock import RealClock
from lipsync_async.sandbox.files import FILES_PATH, on_other_host
from lipsync_async.sandbox.server.http_server import HttpServer, base_url
from lipsync_async.sandbox.server.messages import MOST_BODY_BYTES
from tests.sandbox.clients import (
    AUDIO,
    created,
    memory_client,
    order,
    presigned,
    put,
    shown,
    socket_client,
    until,
)


async def test_several_sandboxes_run_at_once() -> None:
    """Each has a port, a key and jobs of its own."""
    async with socket_client(seed=1) as one, socket_client(seed=2) as two:
        await created(one)
        assert (len(one.sandbox.jobs), len(two.sandbox.jobs)) == (1, 0)
        assert one.sandbox.url != two.sandbox.url
        assert one.sandbox.api_key != two.sandbox.api_key


HOSTS = {
    "sandbox:8765": "http://sandbox:8765",
    "host.docker.internal:8765": "http://host.docker.internal:8765",
    "SANDBOX": "http://SANDBOX",
    "my_service.default.svc.cluster.local": "http://my_service.default.svc.cluster.local",
    "172.17.0.2:8765": "http://172.17.0.2:8765",
    "[2001:db8::1]:8765": "http://[2001:db8::1]:8765",
    "localhost:1": "http://localhost:1",
    # Nothing that would break an answer is put into it.
    'a"b': None,
    "a b": None,
    "a/b": None,
    "a\\b": None,
    "": None,
}


async def _asked(url: str, method: str, path: str, **settings: Any) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{url}{path}", **settings) as answer,
    ):
        return answer.status, await answer.read()


@pytest.mark.parametrize("host", HOSTS)
async def test_links_name_the_sandbox_as_the_client_does(host: str) -> None:
    """From another container it has another name, and a result can be fetched by no other."""
    settings: Any = {"host": "0.0.0.0", "render": False, "progression": "immediate"}
    async with Sandbox(**settings) as sandbox:
        own = sandbox.url
        named = {"x-api-key": sandbox.api_key, "Host": host}
        status, put = await _asked(own, "PUT", f"{FILES_PATH}v.mp4", data=b"v", headers=named)
        seen = HOSTS[host] or own
        assert (status, json.loads(put)) == (201, {"url": f"{seen}{FILES_PATH}v.mp4"})
        # What the client was told is known again: as JSON, and as a field of a form.
        video = {"type": "video", "url": json.loads(put)["url"]}
        body: dict[str, Any] = {"json": order(input=[video, AUDIO])}
        if host == "SANDBOX":  # once as a form
            form = aiohttp.FormData({"model": "lipsync-2"})
            form.add_field("input", json.dumps([video]))
            form.add_field("audio", b"a", filename="a.wav")
            body = {"data": form}
        status, told = await _asked(own, "POST", "/v2/generate", headers=named, **body)
        assert status == 201, told
        job = json.loads(told)
        assert job["input"][0]["url"] == f"{seen}{FILES_PATH}v.mp4"
        _, told = await _asked(own, "GET", f"/v2/generate/{job['id']}", headers=named)
        link = json.loads(told)["outputUrl"]
        assert link.startswith(f"{seen}/")
        secure = {**named, "X-Forwarded-Proto": "https"}
        _, told = await _asked(own, "GET", f"/v2/generate/{job['id']}", headers=secure)
        scheme = "http:" if HOSTS[host] is None else "https:"
        assert json.loads(told)["outputUrl"] == scheme + link.removeprefix("http:")
        status, _ = await _asked(own, "GET", link.removeprefix(seen), headers={"Host": host})
        assert status == 200


async def test_links_of_a_sandbox_of_one_address() -> None:
    """A sandbox that listens on one address has one name, whatever a request says."""
    async with Sandbox(render=False) as sandbox:
        named = {"x-api-key": sandbox.api_key, "Host": "other.example"}
        _, told = await _asked(sandbox.url, "PUT", f"{FILES_PATH}v", data=b"v", headers=named)
        assert json.loads(told) == {"url": f"{sandbox.url}{FILES_PATH}v"}


def test_the_key_is_recognisable() -> None:
    """It comes from the seed, and says what it is for; tests may want a constant."""
    keys = [Sandbox(seed=seed).api_key for seed in (1, 1, 2)]
    assert keys[0].startswith("sandbox-")
    assert (keys[0] == keys[1], keys[1] == keys[2]) == (True, False)
    assert Sandbox(api_key="sandbox-mine").api_key == "sandbox-mine"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"api_key": "sk-abc"}, "looks like one of the real service"),
        ({"plan": "platinum"}, "there is no plan"),
        ({"plan": "scale:3"}, "there is no plan"),
        ({"plan": "enterprise:many"}, "there is no plan"),
        ({"progression": "someday"}, "no progression"),
        ({"speed": 0}, "above 0"),
    ],
)
def test_wrong_settings_are_refused_in_words(settings: dict[str, Any], words: str) -> None:
    """At once, and without repeating a key."""
    with pytest.raises(ValueError, match=words) as caught:
        Sandbox(**settings)
    assert "sk-abc" not in str(caught.value)


@pytest.mark.parametrize("name", ["allowed_hosts", "projects"])
def test_a_text_is_no_list_of_texts(name: str) -> None:
    """Its letters would be taken for hosts or projects, in silence."""
    odd: list[Any] = ["media.example", "", b"media.example", None, 5, [5], [None], {1: "a"}, [b"a"]]
    for given in odd:
        with pytest.raises(ValueError, match=f"{name} must be a list of texts"):
            Sandbox(**{name: given})
    fine: list[Any] = [[], (), ["a"], {"a"}, frozenset(), iter(["a", "b"]), {"a": 1}]
    for given in fine:
        Sandbox(**{name: given})


def test_a_sandbox_on_a_socket_has_no_transport() -> None:
    """The error says what to do."""
    with pytest.raises(ValueError, match="VirtualClock"):
        Sandbox().transport()


async def test_reprs_tell_where_it_is_and_what_it_holds() -> None:
    """A repr is a debugging tool, and holds no secret."""
    sandbox = Sandbox(render=False)
    before = repr(sandbox)
    async with sandbox:
        within = repr(sandbox)
    in_memory = repr(Sandbox(clock=VirtualClock()))
    assert before == "<Sandbox not entered <JobTable {}>>"
    assert within == f"<Sandbox {sandbox.url} <JobTable {{}}>>"
    assert in_memory == "<Sandbox in memory <JobTable {}>>"
    assert sandbox.api_key not in within


async def test_in_memory_dates_come_from_the_seed_too() -> None:
    """Virtual time begins at one and the same moment."""
    async with memory_client() as client:
        answer = await client.send("GET", "/__sandbox/clock")
    assert answer.body == b'{"now":0.0,"date":"2026-01-01T00:00:00.000Z"}'


async def test_ten_thousand_jobs_share_one_output() -> None:
    """Without rendering jobs cost next to nothing."""
    async with memory_client(progression="manual") as client:
        for _ in range(50):
            await created(client)
        assert len({id(job.result) for job in client.sandbox.jobs}) == 1


async def test_timers_run_in_their_order_when_time_is_skipped() -> None:
    """Cancelled ones do not run, later ones stay."""
    clock, ran = RealClock(), list[str]()
    clock.call_later(20.0, lambda: ran.append("second"))
    clock.call_later(10.0, lambda: ran.append("first"))
    clock.call_later(15.0, lambda: ran.append("never")).cancel()
    clock.call_later(9999.0, lambda: ran.append("late"))
    clock.advance(30.0)
    clock.close()
    assert ran == ["first", "second"]


async def test_a_callback_that_raises_does_not_stop_it() -> None:
    """The loop hears of the error, and later timers run: of a fast clock, at once."""
    errors, clock = list[type[BaseException]](), RealClock(1_000_000.0)
    begin, loop = clock.now(), asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(type(context["exception"])))
    clock.call_later(1.0, {}.popitem)
    await clock.sleep(3600.0)
    assert (errors, clock.now() - begin >= 3600.0) == ([KeyError], True)


async def test_a_fast_sandbox_finishes_hours_at_once() -> None:
    """`speed` counts for jobs too."""
    async with socket_client(speed=1_000_000.0, progression="time(3600)") as client:
        job_id = await created(client)
        job = client.sandbox.jobs[job_id]
        await until(lambda: job.is_ended)
        assert (await shown(client, job_id))["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_the_url_reaches_the_host(host: str, url: str) -> None:
    """An address that means all of them is no place to go; one with colons needs brackets."""
    assert base_url(host, 80) == url
    link = on_other_host(on_other_host(url))
    assert urlsplit(link).port == 80
    assert urlsplit(link).hostname == urlsplit(url).hostname


def _without_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "av" else find(name, *rest)
    )


async def test_without_codecs_outputs_are_placeholders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox without its extra runs, and its health says what is missing."""
    _without_codecs(monkeypatch)
    async with socket_client(render=True) as client:
        found = (await client.send("GET", "/__sandbox/health")).json
        job = await shown(client, await created(client))
    assert (found["renders"], job["status"]) == (False, "COMPLETED")
    assert "pip install 'lipsync-async[sandbox]'" in found["engines"]["video"]


def test_the_command_needs_codecs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear line with the pip command."""
    _without_codecs(monkeypatch)
    code = main(["--port", "0"])
    errors = capsys.readouterr().err
    assert (code, errors.count("\n")) == (1, 1)
    assert "pip install 'lipsync-async[sandbox]'" in errors


async def test_malformed_forms_are_refused() -> None:
    """A form that cannot be read is 400, and the sandbox goes on."""
    async with socket_client() as client:
        statuses = []
        for content_type, body in BROKEN_FORMS:
            headers = {"content-type": content_type}
            answer = await client.send("POST", "/v2/generate", body, headers=headers)
            statuses.append(answer.status)
        assert (statuses, len(client.sandbox.jobs)) == ([400] * len(BROKEN_FORMS), 0)


_HEAD = b"--b\r\nContent-Disposition: form-data"
FORM = "multipart/form-data; boundary=b"
BROKEN_FORMS = [
    ("multipart/form-data", b"x"),
    (FORM, b"nonsense"),
    (FORM, _HEAD + b"\r\n\r\nx\r\n--b--\r\n"),
    (FORM, b"--b\r\nX: " + b"x" * 9000 + b"\r\n\r\nx\r\n--b--\r\n"),
    (FORM, b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n"),
    (FORM, _HEAD + b'; name="model"\r\n\r\n\xff\r\n--b--\r\n'),
    (
        FORM,
        _HEAD
        + b'; name="video"; filename="v.mp4"\r\n\r\nx\r\n'
        + _HEAD
        + b"\r\n\r\nx\r\n--b--\r\n",
    ),
]


async def test_a_body_without_end_is_413() -> None:
    """A JSON body has a limit as well, so that no other request waits long while it is read."""
    boxes = [[0.5, 0.25, 1919.987654321, 1079.123456789]] * 54_000  # half an hour of frames
    assert len(json.dumps(boxes)) < MOST_BODY_BYTES - 1000
    largest = json.dumps(order()).encode().ljust(MOST_BODY_BYTES)
    async with socket_client() as client:
        answers = [
            (await client.send("POST", "/v2/generate", body)).status
            for body in (largest, largest + b" ")
        ]
        assert answers == [201, 413]


async def test_a_repeated_key_header_is_malformed() -> None:
    """Exactly one header is allowed, even if both say the same."""
    async with socket_client() as client:
        head = (
            b"POST /v2/generate HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\r\n"
            b"Idempotency-Key: a\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\n" + f"x-api-key: {client.sandbox.api_key}\r\n\r\n{{}}".encode()
        )
        async with sent(client.sandbox.url, head) as reader:
            answer = await reader.read()
    assert (answer.split()[1], b"INVALID_IDEMPOTENCY_KEY" in answer) == (b"400", True)


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Length: 9\r\n\r\nhalf", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nsound\r\n0\r\n\r\n", b"411"),
    ],
)
async def test_a_presigned_upload_that_is_not_whole_leaves_nothing(
    rest: bytes, status: bytes
) -> None:
    """It was cut in the middle, or never said how long it is; a second one is fine."""
    async with socket_client() as client:
        slot = await presigned(client)
        folder = client.sandbox._state.folder.new_path().parent  # noqa: SLF001 - to see what is left
        path, put_before = urlsplit(slot["uploadUrl"]).path, len(client.sandbox.requests)
        head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += "Content-Type: audio/wav\r\n"
        async with sent(client.sandbox.url, head.encode() + rest) as reader:
            await until(lambda: len(client.sandbox.requests) > put_before)
            answer = await reader.readline() if status else b""
        assert answer.split()[1:2] == ([status] if status else [])
        await until(lambda: not list(folder.iterdir()))
        body = {"url": slot["url"], "type": "AUDIO"}
        answers = [
            await client.send("POST", "/v2/assets", body),
            await put(client, slot["uploadUrl"]),
            await client.send("POST", "/v2/assets", body),
        ]
        assert [found.status for found in answers] == [422, 200, 201]


async def test_an_upload_that_breaks_off_leaves_nothing() -> None:
    """The connection is lost in the middle of a file."""
    async with socket_client() as client:
        folder = client.sandbox._state.folder.new_path().parent  # noqa: SLF001 - to see what is left
        head = b"PUT /__sandbox/files/a.wav HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf"
        async with sent(client.sandbox.url, head):
            await until(lambda: list(folder.iterdir()))
        assert (await client.send("GET", "/__sandbox/files/a.wav")).status == 404
        await until(lambda: not list(folder.iterdir()))


@asynccontextmanager
async def sent(url: str, data: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes to a server; give what comes back, and close the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(data)
    yield reader
    writer.close()
    await writer.wait_closed()


async def test_leaving_under_a_cancellation_leaves_nothing() -> None:
    """A test's timeout, or Ctrl-C within a task group, cancels the exit as well."""
    ended = anyio.Event()

    async def last_words() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.CancelScope() as scope:
        async with Sandbox(render=False) as sandbox:
            path = sandbox._state.folder.new_path()  # noqa: SLF001 - what is to be gone
            path.write_bytes(b"x")
            sandbox._tasks.start(last_words())  # noqa: SLF001 - as a render would
            await checkpoint()
            scope.cancel()
    assert (ended.is_set(), path.parent.exists()) == (True, False)
    with pytest.raises(OSError, match="attempts failed"):
        await anyio.connect_tcp("127.0.0.1", urlsplit(sandbox.url).port or 0)


async def test_a_sandbox_is_entered_once() -> None:
    """Its clock has stopped: jobs of a second life would never end."""
    sandbox = Sandbox(render=False)
    async with sandbox:
        pass
    with pytest.raises(ConfigurationError, match="entered once"):
        await sandbox.__aenter__()


def test_blocking_code_has_a_sandbox_too() -> None:
    """It serves from a thread, and jobs can be moved from outside of it."""
    with Sandbox(render=False, progression="manual") as sandbox:
        headers = {"x-api-key": sandbox.api_key, "Content-Type": "application/json"}

        def asked(path: str, body: Any = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(f"{sandbox.url}{path}", data, headers)  # noqa: S310
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return json.load(answer)

        job_id = asked("/v2/generate", order())["id"]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(asked, f"/v2/generate/{job_id}?wait=true&timeout=10")
            while not sandbox.jobs[job_id].waiters:  # pragma: no branch - by chance
                asked("/__sandbox/clock")  # pragma: no cover - as above
            sandbox.jobs.move(job_id, "FAILED")
            assert waiting.result()["status"] == "FAILED"
        headers["x-sandbox-progression"] = "immediate"  # moved by the sandbox's own thread
        asked("/v2/generate", order())
        assert sandbox.jobs.count("COMPLETED") == 1
    with pytest.raises(OSError, match="refused"), urllib.request.urlopen(sandbox.url):  # noqa: S310
        pass  # pragma: no cover


def test_a_blocking_sandbox_tells_of_a_port_that_is_taken() -> None:
    """And its thread ends."""
    with Sandbox(render=False) as sandbox:
        port = urlsplit(sandbox.url).port or 0
        with pytest.raises(OSError, match=str(port)), Sandbox(port=port, render=False):
            pass  # pragma: no cover


@pytest.mark.parametrize("data", [b"", b"POST /v2/generate HTTP/1.1\r\nHost"])
async def test_a_connection_without_a_request_is_closed(data: bytes) -> None:
    """Thousands of them would hold as many sockets for ever."""
    async with socket_server(read_seconds=0.01) as (url, _):
        with suppress(ConnectionResetError):  # where it was closed before what was sent was read
            async with sent(url, data) as reader:
                assert await reader.read() == b""


async def test_a_silent_connection_does_not_outlive_the_server() -> None:
    """Neither does its timer."""
    async with AsyncExitStack() as stack:
        async with socket_server(read_seconds=60) as (url, _):
            reader = await stack.enter_async_context(sent(url, b""))
            answered = await _asked(url, "GET", "/v2/errors")
        assert (answered[0], await reader.read()) == (200, b"")


@pytest.mark.parametrize(
    "head", ["Content-Type: application/json", "Content-Type: multipart/form-data; boundary=b"]
)
async def test_a_body_that_does_not_go_on_is_408(head: str) -> None:
    """A client that falls silent does not hold its request for ever."""
    async with socket_server(read_seconds=0.2) as (url, key):  # in which the head arrives
        lines = ["POST /v2/generate HTTP/1.1", "Host: x", f"x-api-key: {key}", head]
        data = "\r\n".join([*lines, "Content-Length: 99", "", "--b"]).encode()
        async with sent(url, data) as reader:
            assert await reader.readuntil(b" 408 ") == b"HTTP/1.1 408 "


@asynccontextmanager
async def socket_server(read_seconds: float) -> AsyncIterator[tuple[str, str]]:
    """Serve with a patience of one's own; yield URL and key."""
    async with Sandbox(clock=VirtualClock(), render=False) as sandbox:
        server = HttpServer(sandbox._pipeline, RealClock(), read_seconds)  # noqa: SLF001
        try:
            yield await server.start("127.0.0.1", 0), sandbox.api_key
        finally:
            await server.aclose()
