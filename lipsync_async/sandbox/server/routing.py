"""Which path is answered by what, and the way of each request to its answer."""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from lipsync_async.sandbox.api import catalogue, controls, costs, generations, hosting
from lipsync_async.sandbox.api.create import create, summary
from lipsync_async.sandbox.fault_effects import spoil_after, spoil_before
from lipsync_async.sandbox.files import FILES_PATH, INBOX_PATH, MEDIA_PATH
from lipsync_async.sandbox.server.api_errors import (
    Refusal,
    bad_request,
    live_key,
    no_key,
    no_route,
    rate_limited,
    wrong_key,
)
from lipsync_async.sandbox.server.messages import Outgoing, answer, dump
from lipsync_async.sandbox.settings import LIVE_KEY_PREFIX

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Incoming
    from lipsync_async.sandbox.state import State


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lipsync_async.sandbox.server.messages import Incoming, Outgoing
    from lipsync_async.sandbox.state import State

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
    ("POST", "/v2/analyze/cost"): (costs.analyze, Access.KEYED),
    ("POST", "/v2/generations/estimate"): (costs.estimate, Access.KEYED),
    ("POST", "/v2/generate/estimate-cost"): (costs.estimate, Access.KEYED),
    ("GET", "/v2/models"): (catalogue.models, Access.KEYED),
    ("GET", "/v2/errors"): (catalogue.errors, Access.PUBLIC),
    ("GET", "/v2/organizations/webhook/secret"): (catalogue.webhook_secret, Access.KEYED),
    ("GET", f"{MEDIA_PATH}*"): (hosting.result, Access.PUBLIC),
    ("GET", f"{FILES_PATH}*"): (hosting.hosted, Access.PUBLIC),
    ("PUT", f"{FILES_PATH}*"): (hosting.host, Access.ADMIN),
    ("GET", "/__sandbox/health"): (controls.health, Access.ADMIN),
    ("GET", "/__sandbox/faults"): (controls.list_faults, Access.ADMIN),
    ("POST", "/__sandbox/faults"): (controls.add_faults, Access.ADMIN),
    ("DELETE", "/__sandbox/faults"): (controls.clear_faults, Access.ADMIN),
    ("GET", "/__sandbox/requests"): (controls.list_requests, Access.ADMIN),
    ("DELETE", "/__sandbox/requests"): (controls.clear_requests, Access.ADMIN),
    ("GET", INBOX_PATH): (controls.list_inbox, Access.ADMIN),
    ("POST", INBOX_PATH): (controls.receive, Access.ADMIN),
    ("DELETE", INBOX_PATH): (controls.clear_inbox, Access.ADMIN),
    ("POST", "/__sandbox/jobs/*"): (controls.move, Access.ADMIN),
    ("GET", "/__sandbox/clock"): (controls.clock, Access.ADMIN),
    ("POST", "/__sandbox/clock"): (controls.advance, Access.ADMIN),
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


class Service:
    """Answer requests, whichever door they came through.

    Args:
        state: What the sandbox holds.

    """

    def __init__(self, state: State) -> None:
        """Start counting requests."""
        self._state = state
        self._numbers = count(1)

    async def handle(self, incoming: Incoming) -> Outgoing:
        """Return the answer to one request.

        Raises:
            Cut: A fault wants the connection cut instead.

        """
        found = route(incoming.method, incoming.path)
        if found.access is Access.ADMIN:
            return await self._answered(incoming, found)
        body = incoming.body if incoming.form is None else dump(summary(incoming.form))
        entry = self._state.requests.record(
            incoming.method,
            incoming.path,
            query=incoming.query,
            headers=incoming.headers,
            body=body,
            time=self._state.clock.now(),
        )
        outgoing = await self._spoiled(incoming, found)
        outgoing.headers = {"x-request-id": f"sandbox-{next(self._numbers)}", **outgoing.headers}
        entry.status = outgoing.status
        return outgoing

    async def _spoiled(self, incoming: Incoming, found: Route) -> Outgoing:
        """Let the faults that strike this request do their work around the answer."""
        header = incoming.headers.get("x-sandbox-fault")
        if header is None and not len(self._state.faults):
            return await self._answered(incoming, found)
        try:
            struck = self._state.faults.strike(incoming.method, incoming.path, header=header)
        except ValueError as error:
            return refused(bad_request(f"x-sandbox-fault: {error}"))
        incoming.faults = struck
        outgoing = await spoil_before(struck, self._state.clock)
        if outgoing is None:
            outgoing = await self._answered(incoming, found)
        return await spoil_after(struck, outgoing, self._state.clock)

    async def _answered(self, incoming: Incoming, found: Route) -> Outgoing:
        try:
            self._let_in(incoming, found.access)
            return await found.handler(self._state, incoming, found.argument)
        except Refusal as refusal:
            return refused(refusal)

    def _let_in(self, incoming: Incoming, access: Access) -> None:
        """Check the key, then the limits of the minute (contract sections 1 and 5.1)."""
        if access in {Access.PUBLIC, Access.ADMIN}:
            return
        key = incoming.headers.get("x-api-key")
        if key != self._state.settings.api_key:
            raise _stranger(key)
        window = self._state.creates if access is Access.CREATE else self._state.others
        if not window.admit(self._state.clock.now()):
            raise rate_limited()


def _stranger(key: str | None) -> Refusal:
    if key is None:
        return no_key()
    return live_key() if key.startswith(LIVE_KEY_PREFIX) else wrong_key()


def refused(refusal: Refusal) -> Outgoing:
    """Return a refusal as the answer that it stands for."""
    return answer(refusal.body, refusal.status)
