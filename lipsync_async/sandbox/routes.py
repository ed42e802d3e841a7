"""Which path is answered by what, and who may ask."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from lipsync_async.sandbox.endpoints import admin, estimates, generations, media_host, reference
from lipsync_async.sandbox.endpoints.create import create
from lipsync_async.sandbox.links import FILES_PATH, INBOX_PATH, MEDIA_PATH
from lipsync_async.sandbox.rules.refusals import no_route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.wire import Incoming, Outgoing

    Handler = Callable[[State, Incoming, str], Awaitable[Outgoing]]


class Access(Enum):
    """Say what a path asks of its callers."""

    CREATE = "a key, within the limit of creates"
    KEYED = "a key, within the limit of all other requests"
    PUBLIC = "nothing"
    ADMIN = "nothing; and neither faults nor the request log know of it"


# `*` stands for one piece of the path, which the handler gets as its last argument.
_ROUTES: dict[tuple[str, str], tuple[Handler, Access]] = {
    ("POST", "/v2/generate"): (create, Access.CREATE),
    ("GET", "/v2/generate/*"): (generations.get, Access.KEYED),
    ("GET", "/v2/generations"): (generations.list_all, Access.KEYED),
    ("GET", "/v2/generations/count"): (generations.count, Access.KEYED),
    ("GET", "/v2/generations/*"): (generations.get_by_scope, Access.KEYED),
    ("DELETE", "/v2/generations/*"): (generations.delete, Access.KEYED),
    ("GET", "/v2/generations/*/download"): (generations.download, Access.KEYED),
    ("POST", "/v2/analyze/cost"): (estimates.analyze, Access.KEYED),
    ("POST", "/v2/generations/estimate"): (estimates.estimate, Access.KEYED),
    ("POST", "/v2/generate/estimate-cost"): (estimates.estimate, Access.KEYED),
    ("GET", "/v2/models"): (reference.models, Access.KEYED),
    ("GET", "/v2/errors"): (reference.errors, Access.PUBLIC),
    ("GET", "/v2/organizations/webhook/secret"): (reference.webhook_secret, Access.KEYED),
    ("GET", f"{MEDIA_PATH}*"): (media_host.result, Access.PUBLIC),
    ("GET", f"{FILES_PATH}*"): (media_host.hosted, Access.PUBLIC),
    ("PUT", f"{FILES_PATH}*"): (media_host.host, Access.ADMIN),
    ("GET", "/__sandbox/health"): (admin.health, Access.ADMIN),
    ("GET", "/__sandbox/faults"): (admin.list_faults, Access.ADMIN),
    ("POST", "/__sandbox/faults"): (admin.add_faults, Access.ADMIN),
    ("DELETE", "/__sandbox/faults"): (admin.clear_faults, Access.ADMIN),
    ("GET", "/__sandbox/requests"): (admin.list_requests, Access.ADMIN),
    ("DELETE", "/__sandbox/requests"): (admin.clear_requests, Access.ADMIN),
    ("GET", INBOX_PATH): (admin.list_inbox, Access.ADMIN),
    ("POST", INBOX_PATH): (admin.receive, Access.ADMIN),
    ("DELETE", INBOX_PATH): (admin.clear_inbox, Access.ADMIN),
    ("POST", "/__sandbox/jobs/*"): (admin.move, Access.ADMIN),
    ("GET", "/__sandbox/clock"): (admin.clock, Access.ADMIN),
    ("POST", "/__sandbox/clock"): (admin.advance, Access.ADMIN),
}


@attrs.frozen(slots=True)
class Route:
    """Hold what answers one request."""

    handler: Handler
    access: Access
    argument: str = ""


async def _nowhere(_: State, incoming: Incoming, __: str) -> Outgoing:
    raise no_route(incoming.method, incoming.path)


def route(method: str, path: str) -> Route:
    """Return what answers a request; a path that does not exist is answered 404.

    A few lookups in one dict: the path itself, with its last piece as `*`, or with the
    piece before the last as `*`.
    """
    found = _ROUTES.get((method, path))
    if found is not None:
        return Route(*found)
    parent, _, last = path.rpartition("/")
    found = _ROUTES.get((method, f"{parent}/*"))
    if found is not None and last:
        return Route(*found, unquote(last))
    grandparent, _, middle = parent.rpartition("/")
    found = _ROUTES.get((method, f"{grandparent}/*/{last}"))
    if found is not None and middle:
        return Route(*found, unquote(middle))
    access = Access.ADMIN if path.startswith("/__sandbox/") else Access.KEYED
    return Route(_nowhere, access)
