"""Webhooks through the real servers of web frameworks, each in a thread, sent by real clients."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp.web
import anyio
import attrs
import fastapi
import flask
import pytest
import uvicorn
import werkzeug.serving
from django.conf import settings as django_settings  # type: ignore[import-untyped]
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from django.views.decorators.csrf import csrf_exempt  # type: ignore[import-untyped]
from django.views.decorators.http import require_POST  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route

from lipsync_async import GenerationRequest, webhooks
from lipsync_async.webhooks import (
    BatchEvent,
    GenerationEvent,
    WebhookError,
    WebhookEvent,
    WebhookReceiver,
    sign,
)
from tests.bulk.runs import slots
from tests.client.connections import ORDER, entered, opened
from tests.client.waiters import completed_of, waiting
from tests.house.code_blocks import Block, blocks
from tests.sandbox.clients import until

with suppress(RuntimeError):  # another test has done so
    django_settings.configure()

SECRET = "whsec_1f2e"
# Blanks, escapes, a name that comes twice and a line end: decoded and encoded anew it is another.
BODY = b'{"id":"1", "status": "COMPLETED","model":"a","model":"","error":"\\u00fc\xc3\x9f 1.0"}\r\n'
MIB = 1024**2


class Inbox:
    """What the routes of all servers have in common: a secret, and what became of deliveries."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        """Begin anew."""
        self.receiver = WebhookReceiver()
        self.secret = SECRET
        self.events: list[WebhookEvent] = []

    def take(self, event: WebhookEvent) -> None:
        """Take what was found right."""
        self.events.append(event)
        self.receiver.deliver(event)


INBOX = Inbox()


async def starlette_route(request: StarletteRequest) -> StarletteResponse:
    """Take a delivery; under another path, after something has read the body."""
    if request.url.path == "/read":
        async for _ in request.stream():
            pass
    try:
        event = await webhooks.from_starlette(request, INBOX.secret)
    except WebhookError as error:
        return StarletteResponse(str(error), error.status)
    INBOX.take(event)
    return StarletteResponse(status_code=204)


async def aiohttp_route(request: aiohttp.web.Request) -> aiohttp.web.Response:
    """Do the same with aiohttp."""
    if request.path == "/read":
        await request.content.read()
    try:
        event = await webhooks.from_aiohttp(request, INBOX.secret)
    except WebhookError as error:
        return aiohttp.web.Response(text=str(error), status=error.status)
    INBOX.take(event)
    return aiohttp.web.Response(status=204)


def flask_route() -> tuple[str, int]:
    """Do the same with Flask."""
    if flask.request.path == "/read":
        flask.request.stream.read()
    try:
        event = webhooks.from_flask(flask.request, INBOX.secret)
    except WebhookError as error:
        return str(error), error.status
    INBOX.take(event)
    return "", 204


@csrf_exempt  # type: ignore[untyped-decorator]
@require_POST  # type: ignore[untyped-decorator]
def django_route(request: Any) -> Any:
    """Do the same with Django."""
    if request.path == "/read":
        request.read()
    try:
        event = webhooks.from_django(request, INBOX.secret)
    except WebhookError as error:
        return HttpResponse(str(error), status=error.status)
    INBOX.take(event)
    return HttpResponse(status=204)


urlpatterns = [path("hook", django_route), path("read", django_route)]


@contextmanager
def in_uvicorn(application: Any) -> Iterator[int]:
    """Serve an ASGI application; give the port."""
    settings = uvicorn.Config(application, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(settings)

    async def serve() -> None:
        # Django's sync code runs in it. A pool that may grow starts another thread in a later
        # test: where its first one has answered, but does not count as idle yet.
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        await loop.run_in_executor(None, int)
        await server.serve([listening])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@contextmanager
def in_thread(server: Any) -> Iterator[int]:
    """Serve a WSGI application; give the port."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def starlette_server() -> AbstractContextManager[int]:
    """Serve by Starlette."""
    routes = [Route(place, starlette_route, methods=["POST"]) for place in ("/hook", "/read")]
    return in_uvicorn(Starlette(routes=routes))


def fastapi_server() -> AbstractContextManager[int]:
    """Serve by FastAPI."""
    application = fastapi.FastAPI()
    for place in ("/hook", "/read"):
        application.post(place)(starlette_route)
    return in_uvicorn(application)


@contextmanager
def aiohttp_server() -> Iterator[int]:
    """Serve by aiohttp, in a loop of its own, whose last tasks end with it."""
    application = aiohttp.web.Application()
    for place in ("/hook", "/read"):
        application.router.add_post(place, aiohttp_route)
    runner = aiohttp.web.AppRunner(application, access_log=None)
    with asyncio.Runner() as loops:
        loops.run(runner.setup())
        loops.run(aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start())
        loop = loops.get_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield runner.addresses[0][1]
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def flask_server() -> AbstractContextManager[int]:
    """Serve by Flask, in werkzeug's server."""
    application = flask.Flask(__name__)
    for place in ("/hook", "/read"):
        application.post(place, endpoint=place)(flask_route)
    return in_thread(quiet_werkzeug(application))


def quiet_werkzeug(application: Any) -> Any:
    """Return werkzeug's server of an application, which writes no log."""
    handler = type("Quiet", (werkzeug.serving.WSGIRequestHandler,), {"log": lambda *_: None})
    return werkzeug.serving.make_server("127.0.0.1", 0, application, request_handler=handler)


@contextmanager
def django_server(*, is_async: bool, urls: Any = __name__) -> Iterator[int]:
    """Serve by Django."""
    with override_settings(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], MIDDLEWARE=[]):
        if is_async:
            served = in_uvicorn(ASGIHandler())
        else:
            quiet = {"log_message": lambda *_: None}
            handler = type("Quiet", (wsgiref.simple_server.WSGIRequestHandler,), quiet)
            make = wsgiref.simple_server.make_server
            served = in_thread(make("127.0.0.1", 0, WSGIHandler(), handler_class=handler))
        with served as port:
            yield port


SERVERS: dict[str, Callable[[], AbstractContextManager[int]]] = {
    "starlette": starlette_server,
    "fastapi": fastapi_server,
    "aiohttp": aiohttp_server,
    "flask": flask_server,
    "django": lambda: django_server(is_async=False),
    "django-asgi": lambda: django_server(is_async=True),
}


@attrs.frozen
class Hook:
    """A running server's route."""

    framework: str
    port: int

    @property
    def url(self) -> str:
        """The route's address."""
        return f"http://127.0.0.1:{self.port}/hook"

    def post(
        self, body: Any, headers: dict[str, str], *, place: str = "/hook", method: str = "POST"
    ) -> tuple[int, str]:
        """Send a request; return the status and the text of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, place, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Hook]:
    """Run each server once; its threads have begun when the first test starts."""
    with SERVERS[request.param]() as port:
        hook = Hook(request.param, port)
        hook.post(b"", {})
        yield hook


@pytest.fixture
def hook(server: Hook) -> Hook:
    """Return a server whose route has taken nothing."""
    INBOX.empty()
    return server


def signature(body: bytes, *, secret: str = SECRET, age: float = 0.0) -> dict[str, str]:
    """Return the header of a delivery."""
    return {"Sync-Signature": sign(body, secret, time.time() - age)}


def test_the_raw_bytes_are_checked(hook: Hook) -> None:
    """What no decoder would give back byte for byte is found right, and then read."""
    assert hook.post(BODY, signature(BODY)) == (204, "")
    (event,) = INBOX.events
    assert isinstance(event, GenerationEvent)
    assert (event.id, event.model, event.error) == ("1", "", "üß 1.0")
    as_json = {"Content-Type": "application/json; charset=latin-1", **signature(BODY)}
    assert hook.post(BODY, as_json) == (204, "")
    as_form = {"Content-Type": "application/x-www-form-urlencoded", **signature(BODY)}
    assert hook.post(BODY, as_form) == (204, "")


@pytest.mark.parametrize(
    ("body", "signing", "reason"),
    [
        (BODY, None, "it has no Sync-Signature header"),
        (BODY, {"secret": "whsec_2"}, "its signature does not match its body"),
        (BODY, {"body": BODY + b" "}, "its signature does not match its body"),
        (BODY, {"body": json.dumps(json.loads(BODY)).encode()}, "its signature does not match"),
        (BODY, {"age": 400}, " s ago; the tolerance is 300 s"),
        (BODY, {"age": -400}, " s in the future; the tolerance is 300 s"),
        (b"", {}, "is not JSON"),
        (b"[1]", {}, "expected an object, got [1]"),
        (b"\xff", {}, "is not JSON"),
    ],
)
def test_what_is_not_to_be_trusted_is_refused(
    hook: Hook, body: bytes, signing: dict[str, Any] | None, reason: str
) -> None:
    """The answer is 400 and says why; nothing is taken."""
    headers = {} if signing is None else signature(**{"body": body, **signing})
    status, text = hook.post(body, headers)
    assert (status, reason in text) == (400, True), text
    assert INBOX.events == []


def test_other_methods_are_refused(hook: Hook) -> None:
    """A webhook is a POST."""
    status, _ = hook.post(None, {}, method="GET")
    assert (status, INBOX.events) == (405, [])


def test_a_body_that_was_read_before_is_told(hook: Hook) -> None:
    """A stream that something else has read says so, and not that the signature is wrong."""
    status, text = hook.post(BODY, signature(BODY), place="/read")
    assert (status, "its body cannot be read (" in text) == (400, True), text
    assert INBOX.events == []


def test_a_body_that_is_too_large_is_not_read(hook: Hook) -> None:
    """A long body is refused before any of it is sent; Django reads it first under ASGI."""
    size = 4 * MIB + 1
    body = b" " * size if hook.framework == "django-asgi" else None
    status, text = hook.post(body, {**signature(b""), "Content-Length": str(size)})
    assert (status, "its body is too large to be checked" in text) == (413, True), text


def test_a_large_body_is_read_as_far_as_the_framework_allows(hook: Hook) -> None:
    """Four MiB are read; aiohttp and Django have lower limits of their own."""
    limits = {"aiohttp": MIB, "django": 2_621_440, "django-asgi": 2_621_440}
    limit = limits.get(hook.framework, 4 * MIB)
    body = b'{"a":"' + b"x" * (limit - 8) + b'"}'
    status, text = hook.post(body, signature(body))
    assert (status, "id: is missing" in text) == (400, True), text
    reads = hook.framework in {"aiohttp", "django-asgi"}  # what it refuses then
    more = {**signature(body), "Content-Length": str(limit + 1)}
    status, text = hook.post(body + b" " if reads else None, more)
    assert (status, "its body is too large to be checked" in text) == (413, True), text


def test_a_body_without_a_length_is_limited_too(hook: Hook) -> None:
    """Chunks are read until they are too much."""
    piece = b" " * 65_536
    small, large = [BODY], [piece] * 64 + [b" "]
    if hook.framework != "django":  # WSGI's server of the standard library reads no chunks
        assert hook.post(iter(small), signature(BODY)) == (204, "")
        status, text = hook.post(iter(large), signature(b"".join(large)))
        assert (status, "its body is too large to be checked" in text) == (413, True), text


async def test_a_delivery_of_the_service_ends_a_wait(hook: Hook) -> None:
    """Create, delivery, route, receiver, poll, result: the wait ends long before the next poll."""
    request = GenerationRequest(**ORDER, webhook_url=hook.url)
    async with opened("sockets", progression="manual") as (client, sandbox):
        INBOX.secret = sandbox.webhook_secret
        job = await client.generations.create(request)
        with anyio.fail_after(20):
            async with waiting(client, job, webhooks=INBOX.receiver) as waits:
                await until(lambda: sandbox.requests.count("GET") >= 1)
                sandbox.jobs.move(job.id, "PROCESSING")
                sandbox.jobs.move(job.id, "COMPLETED")
            await until(lambda: INBOX.events)
    assert completed_of(waits.outcomes) == {job.id}
    assert [event.id for event in INBOX.events] == [job.id]


def test_a_limit_of_flask_is_told() -> None:
    """Flask has a limit only if one is set; then it is that one which counts."""
    sent: dict[str, Any] = {"method": "POST", "data": BODY, "headers": signature(BODY)}
    with flask.Flask(__name__).test_request_context("/hook", **sent):
        flask.request.max_content_length = len(BODY) - 1
        with pytest.raises(WebhookError, match="too large") as caught:
            webhooks.from_flask(flask.request, SECRET)
    assert caught.value.status == 413


@contextmanager
def guide_server(block: Block) -> Iterator[tuple[Hook, WebhookReceiver]]:
    """Serve the application of a guide's block."""
    names = block.run()
    application = names.get("app")
    if application is None:
        served = django_server(is_async=False, urls=tuple(names["urlpatterns"]))
    elif isinstance(application, flask.Flask):
        served = in_thread(quiet_werkzeug(application))
    else:
        served = in_uvicorn(application)
    with served as port:
        yield Hook("guide", port), names["receiver"]


GUIDE = blocks(Path(__file__).parents[1] / "docs" / "webhooks.md", "python")
ROUTES = [block for block in GUIDE if "SYNC_WEBHOOK_SECRET" in block.source]


@pytest.mark.parametrize("block", ROUTES, ids=str)
def test_the_routes_of_the_guide_take_deliveries(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader pastes works in a real server."""
    monkeypatch.setenv("SYNC_WEBHOOK_SECRET", SECRET)
    with guide_server(block) as (hook, receiver):
        assert hook.post(BODY, signature(BODY, secret="whsec_2")) == (400, "")
        assert not receiver.has_event("1")
        assert hook.post(BODY, signature(BODY)) == (204, "")
        assert receiver.has_event("1")


def test_the_guide_has_a_route_for_each_framework() -> None:
    """FastAPI, Flask and Django; aiohttp is in the program that its first block is."""
    assert len(ROUTES) == 3


async def test_deliveries_end_a_run_of_the_blocking_client() -> None:
    """New jobs would be polled after half a minute; Flask's thread tells of their ends before."""
    INBOX.empty()
    with flask_server() as port:
        async with (
            opened("sockets", progression="manual") as (_, sandbox),
            entered("blocking", sandbox, limits=slots(10)) as client,
        ):
            INBOX.secret = sandbox.webhook_secret
            rows = [GenerationRequest(**ORDER, webhook_url=Hook("flask", port).url)] * 5
            run = partial(client.generations.run_all, rows, webhooks=INBOX.receiver)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    await until(lambda: len(sandbox.jobs) == 5)
                    for job in [*sandbox.jobs]:
                        sandbox.jobs.move(job.id, "PROCESSING")
                        sandbox.jobs.move(job.id, "COMPLETED")
                await until(lambda: len(INBOX.events) == 5)
    assert sandbox.requests.count("GET") <= 5 + 5


async def test_a_delivery_about_a_batch_ends_its_wait() -> None:
    """The next poll would come after half a minute."""
    INBOX.empty()
    with starlette_server() as port:
        async with opened("sockets", progression="manual") as (client, sandbox):
            INBOX.secret = sandbox.webhook_secret
            rows, url = [GenerationRequest(**ORDER)] * 20, Hook("starlette", port).url
            batch = await client.batches.create(rows, webhook_url=url)
            wait = partial(client.batches.wait_until_complete, batch, webhooks=INBOX.receiver)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    await until(lambda: sandbox.requests.count("GET") >= 1)
                    for job in [*sandbox.jobs]:
                        sandbox.jobs.move(job.id, "PROCESSING")
                        sandbox.jobs.move(job.id, "COMPLETED")
                await until(lambda: INBOX.events)
    (event,) = INBOX.events
    assert isinstance(event, BatchEvent)
    assert (event.id, event.status) == (batch.id, "COMPLETED")


def test_no_framework_is_imported() -> None:
    """The adapters only use what a request has."""
    program = "import sys, lipsync_async.webhooks; print(*sys.modules)"
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    frameworks = {"starlette", "fastapi", "flask", "django", "aiohttp", "werkzeug"}
    assert frameworks & {name.partition(".")[0] for name in told.stdout.split()} == set()
