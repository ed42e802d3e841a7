"""The way of one request to its answer: routes as data, and what happens to a request.

Route, log entry, key, rate limit, faults, body, handler, response. What a request may cost
comes after what it must show: without a route or a key its body is not read, and every file
that it brought is deleted at its end unless a handler has taken it over.
"""

from __future__ import annotations

import errno
import logging
from enum import Enum
from inspect import isawaitable
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import attrs

from lipsync_async.sandbox.fault_effects import after_handler, before_handler
from lipsync_async.sandbox.files import OwnedFiles
from lipsync_async.sandbox.server.api_errors import (
    ApiError,
    bad_request,
    error,
    plain_error,
    rate_limit_body,
)
from lipsync_async.sandbox.server.idempotency import checked_key, fingerprint
from lipsync_async.sandbox.server.messages import (
    BodyPolicy,
    Response,
    dump,
    half_of,
    json_response,
    read_body,
)
from lipsync_async.sandbox.state import LIVE_KEY_PREFIX, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lipsync_async.sandbox.faults import Fault
    from lipsync_async.sandbox.request_log import Entry
    from lipsync_async.sandbox.server.messages import Request

    # May be async. What is no `Response` becomes one, as JSON with the route's status.
    Handler = Callable[[State, Request], Any]
    Replay = Callable[[State, str], Response]
    KeyCheck = Callable[[str], str]  # refuses an `Idempotency-Key`, or returns what counts of it

CONTROLS_PATH = "/__sandbox/"


class Access(Enum):
    """What a route asks of its callers."""

    KEY = "an API key"
    PUBLIC = "nothing"
    CONTROL = "nothing, but no web page may ask; neither faults nor the request log know of it"


@attrs.frozen(slots=True)
class Route:
    """What answers one kind of request."""

    method: str
    path: str  # `{name}` stands for one piece, which the handler finds in `params`
    handler: Handler
    access: Access = Access.KEY
    rate: str = "request"  # which limit of requests it counts in, see `state.RATES`
    body: BodyPolicy | None = None  # `None`: a body is not read
    status: int = 200  # of a value that the handler returns
    # Shows what a request created once more, to another one with the same `Idempotency-Key`;
    # `None`: the header means nothing.
    replay: Replay | None = None
    key_of: KeyCheck = checked_key


@attrs.frozen(slots=True)
class Resource:
    """The routes below one path."""

    prefix: str
    access: Access = Access.KEY
    routes: list[Route] = attrs.field(factory=list)

    def route(self, method: str, path: str = "", **options: Any) -> Callable[[Handler], Handler]:
        """Let the decorated handler answer a method below the prefix; `GET` is also `HEAD`."""

        def add(handler: Handler) -> Handler:
            full = {"access": self.access, **options}
            self.routes.append(Route(method, self.prefix + path, handler, **full))
            return handler

        return add


def _no_route(_: State, request: Request) -> Response:
    raise plain_error(404, f"Cannot {request.method} {request.path}")


_UNKNOWN = Route("", "", _no_route)
_UNKNOWN_CONTROL = Route("", "", _no_route, Access.CONTROL)


class Router:
    """Finds the route of a request; a path without named pieces comes before one with them."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._routes: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        for route in (route for resource in resources for route in resource.routes):
            pieces = route.path.split("/")
            self._routes.setdefault((route.method, len(pieces)), []).append((pieces, route))
        for found in self._routes.values():
            found.sort(key=lambda each: each[1].path.count("{"))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route with its named pieces; one that answers 404 where there is none."""
        asked = path.split("/")
        wanted = "GET" if method == "HEAD" else method
        for pieces, route in self._routes.get((wanted, len(asked)), ()):
            pairs = [*zip(pieces, asked, strict=True)]
            if all((found and piece[:1] == "{") or piece == found for piece, found in pairs):
                params = {piece[1:-1]: unquote(found) for piece, found in pairs if piece[:1] == "{"}
                return route, params
        return _UNKNOWN_CONTROL if path.startswith(CONTROLS_PATH) else _UNKNOWN, {}


_logger = logging.getLogger("lipsync_async.sandbox")

_LIVE_KEY = (
    ": this is a sandbox and the key looks like one of the real service. Use the key that the "
    "sandbox printed."
)
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@attrs.define(slots=True)
class Pipeline:
    """Answers requests, whichever server they came through."""

    _state: State
    _router: Router
    _numbers: count[int] = attrs.field(factory=lambda: count(1))

    async def handle(self, request: Request) -> Response:
        """Return the response to one request."""
        state = self._state
        route, request.params = self._router.find(request.method, request.path)
        with OwnedFiles(state.folder) as request.files:
            if route.access is Access.CONTROL:
                return await self._respond(route, request, None)
            entry = state.requests.record(
                request.method,
                request.path,
                query=request.query,
                headers=request.headers,
                time=state.clock.now(),
            )
            request.id = f"sandbox-{next(self._numbers)}"
            response = await self._respond(route, request, entry)
            response.headers = {"x-request-id": request.id, **response.headers}
            entry.status = response.status
            return response

    async def _respond(self, route: Route, request: Request, entry: Entry | None) -> Response:
        state = self._state
        try:
            _admit(state, route, request)
            if entry is not None:
                request.faults = _strike(state, request)
        except ApiError as refusal:
            return _error_response(refusal)
        refused = await self._read(route, request)
        if entry is not None:
            body = request.body if request.form is None else dump(request.form.summary())
            state.requests.keep_body(entry, body)
        response = await before_handler(request.faults, state.clock)
        if response is None:
            response = refused or await self._call(route, request)
        return await after_handler(request.faults, response, state.clock)

    async def _read(self, route: Route, request: Request) -> Response | None:
        if route.body is None:
            return None
        if any(fault.kind == "reset_upload" for fault in request.faults):
            request.source = half_of(request)
        try:
            await read_body(request, route.body, self._state.max_file_bytes)
        except ApiError as refusal:
            return _error_response(refusal)
        except OSError as problem:
            return _unforeseen(problem, request)
        return None

    async def _call(self, route: Route, request: Request) -> Response:
        try:
            if route.replay is None or "idempotency-key" not in request.headers:
                return await self._handled(route, request)
            return await self._once(route, request)
        except ApiError as refusal:
            return _error_response(refusal)
        except Exception as problem:  # noqa: BLE001 - a bug must not look like a lost connection
            return _unforeseen(problem, request)

    async def _once(self, route: Route, request: Request) -> Response:
        """Let the first of the requests with one key create, and show the others its result."""
        keys = self._state.idempotency
        key = route.key_of(request.headers["idempotency-key"])
        # A key of one route says nothing of another's.
        key = f"{route.path} {key}"
        created = await keys.claim(key, fingerprint(request))
        if created is not None:
            return route.replay(self._state, created)  # type: ignore[misc]
        try:
            response = await self._handled(route, request)
            created = response.created
        finally:
            keys.release(key, created)
        return response

    async def _handled(self, route: Route, request: Request) -> Response:
        result = route.handler(self._state, request)
        if isawaitable(result):
            result = await result
        return result if isinstance(result, Response) else json_response(result, route.status)


def _admit(state: State, route: Route, request: Request) -> None:
    origin = request.headers.get("origin") if route.access is Access.CONTROL else None
    # A browser would let web pages of others control the sandbox without asking.
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise plain_error(403, "The sandbox's controls are not for web pages of other origins.")
    if route.access is not Access.KEY:
        return
    key, own = request.headers.get("x-api-key"), state.api_key
    if key is None:
        raise plain_error(401, "Either Cookie or x-api-key header must be provided")
    if key != own:
        reason = _LIVE_KEY if key.startswith(LIVE_KEY_PREFIX) else ""
        raise ApiError(401, {"message": f"Unauthorized{reason}", "statusCode": 401})
    if not state.windows[route.rate].admit(state.clock.now()):
        raise ApiError(429, rate_limit_body())


def _strike(state: State, request: Request) -> tuple[Fault, ...]:
    header = request.headers.get("x-sandbox-fault")
    if header is None and not len(state.faults):
        return ()
    try:
        return state.faults.strike(request.method, request.path, header=header)
    except ValueError as problem:
        raise bad_request(f"x-sandbox-fault: {problem}") from None


def _error_response(refusal: ApiError) -> Response:
    return json_response(refusal.body, refusal.status)


def _unforeseen(problem: Exception, request: Request) -> Response:
    if isinstance(problem, OSError) and problem.errno in _NO_SPACE:
        message = "The sandbox's disk is full."
        return _error_response(error("generation_infra_storage_error", message))
    _logger.error("a request went wrong", exc_info=problem)
    return _error_response(error("internal_error", "Internal server error", requestId=request.id))
