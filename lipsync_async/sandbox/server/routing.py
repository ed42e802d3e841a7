"""Routes as data: which path is answered by what, who may ask, and what it may bring."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs

from lipsync_async.sandbox.server.api_errors import plain_error
from lipsync_async.sandbox.server.body_reading import BodyPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lipsync_async.sandbox.server.messages import Request, Response
    from lipsync_async.sandbox.state import State

    # May be async. What is no `Response` becomes one, as JSON with the route's status.
    Handler = Callable[[State, Request], Any]
    Replay = Callable[[State, str], Response]

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
    is_create: bool = False  # counts in the limit of creates, not in that of all others
    body: BodyPolicy | None = None  # `None`: a body is not read
    status: int = 200  # of a value that the handler returns
    # Shows what a request created once more, to another one with the same `Idempotency-Key`;
    # `None`: the header means nothing.
    replay: Replay | None = None


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
