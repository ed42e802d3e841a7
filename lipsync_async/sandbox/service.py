"""One request end to end: log it, spoil it, let it in, answer it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from lipsync_async.sandbox.endpoints.forms import summary
from lipsync_async.sandbox.routes import Access, Route, route
from lipsync_async.sandbox.rules.refusals import (
    Refusal,
    bad_request,
    live_key,
    no_key,
    rate_limited,
    wrong_key,
)
from lipsync_async.sandbox.settings import LIVE_KEY_PREFIX
from lipsync_async.sandbox.spoiling import spoil_after, spoil_before
from lipsync_async.sandbox.wire import Outgoing, answer, dump

if TYPE_CHECKING:
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.wire import Incoming


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
