"""One call end to end: send, judge, wait, try again, and raise or return.

This is the only place that decides whether something is sent twice. The rules for it are
in `_rules/retry.py`; here they meet the transport and its clock.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import attrs
from anyio import Lock

from lipsync_async._account import Gate, Turn
from lipsync_async._rules import answers, retry
from lipsync_async._rules.caller import call_back, is_from_callback, log
from lipsync_async._rules.config import origin
from lipsync_async._values.messages import FilePart, Request, Response
from lipsync_async._values.policies import PollPolicy, RetryPolicy
from lipsync_async._words import __version__
from lipsync_async.errors import (
    ConnectError,
    LipsyncError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    UnexpectedError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping

    from lipsync_async._account import Account
    from lipsync_async._rules.budget import Place
    from lipsync_async._rules.config import Config
    from lipsync_async._rules.endpoints import Call
    from lipsync_async._transport.protocol import Transport
    from lipsync_async._values.models import Generation

T = TypeVar("T")

_MOST_REDIRECTS = 5
# What the account's limits are to blame for; see `Turn`.
_LIMITED = frozenset({retry.FailureKind.NO_SLOT, retry.FailureKind.PACED})
# Bytes of an upload that earn it one more second: a line of 1 Mbit/s must do.
_BYTES_PER_SECOND = 125_000


@attrs.frozen(slots=True)
class Settings:
    """Hold what a view of a client may set differently.

    Attributes:
        timeout: Seconds for one try of one request; `None`: no limit.
        retry: How failed requests are tried again.
        poll: How waiting looks after a job.
        on_response: Is shown every answer, whatever its status; awaited if need be.

    """

    timeout: float | None
    retry: RetryPolicy
    poll: PollPolicy
    on_response: Callable[[Response], object] | None = None


class Exchange:
    """Perform calls over one transport, for one account.

    Args:
        transport: Carries the requests and owns the time.
        config: Where requests go and what authorizes them.
        account: Returns what the account's clients share; asked anew in a forked child.

    """

    def __init__(
        self,
        transport: Transport,
        config: Config,
        account: Callable[[], Account],
    ) -> None:
        self.transport = transport
        self._account = account
        self._begin_anew()
        self.base_url: str = config.base_url
        self._origin = origin(config.base_url)
        self._open_headers = {
            "accept": "application/json",
            "user-agent": f"lipsync-async/{__version__}",
        }
        self._key = config.api_key

    def _begin_anew(self) -> None:
        """Forget what was under way: at first, and in a forked child, where nothing is."""
        self._process = os.getpid()
        self.in_flight: int = 0
        self._line = Lock()
        account = self._account()
        self._creates = Gate(account.creates, self.transport)
        self._requests = Gate(account.requests, self.transport)

    @property
    def service(self) -> str:
        """The service's address, without what a URL may say about the user."""
        parts = urlsplit(self.base_url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = "" if parts.port is None else f":{parts.port}"
        return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"

    def key_digest(self, salt: bytes) -> str:
        """Return what tells this API key from others, and tells no more of it."""
        return hmac.digest(salt, self._key.reveal().encode("ascii"), "sha256").hex()

    async def perform(
        self,
        call: Call[T],
        settings: Settings,
        *,
        deadline: float | None = None,
    ) -> T:
        """Send a call until it succeeds or trying again is pointless, and read its answer.

        Args:
            call: What to send and how to read it.
            settings: Timeout and retry policy.
            deadline: Transport time after which nothing is sent or awaited any more.

        Raises:
            LipsyncError: The last try's error, with the create's idempotency key on it.

        """
        if os.getpid() != self._process:
            self._begin_anew()
        self.in_flight += 1
        turn = Turn(None if call.idempotency_key is None else self._line, self.transport)
        try:
            return await self.insist(
                lambda: self._tried(call, settings, deadline, turn),
                settings.retry,
                is_repeatable=call.is_repeatable,
                deadline=deadline,
                turn=turn,
            )
        except LipsyncError as error:
            if isinstance(error, NotFoundError) and error.may_have_worked and call.is_done_without:
                return call.read(error.response)
            error.idempotency_key = call.idempotency_key
            raise
        except Exception as error:
            if is_from_callback(error):
                raise
            unexpected = UnexpectedError(f"{call.method} {call.path}", error)
            unexpected.idempotency_key = call.idempotency_key
            unexpected.may_have_worked = call.is_sent
            raise unexpected from error
        finally:
            self.in_flight -= 1

    async def insist(
        self,
        attempt: Callable[[], Awaitable[T]],
        policy: RetryPolicy,
        *,
        is_repeatable: bool,
        deadline: float | None = None,
        turn: Turn | None = None,
    ) -> T:
        """Make attempts, with pauses, until one succeeds or another would be pointless.

        Args:
            attempt: Makes one.
            policy: How patient to be.
            is_repeatable: Whether a second arrival of the same call does no harm.
            deadline: Transport time after which nothing is awaited any more.
            turn: The call's place in the line of those who were refused for the account's
                limits; waiting there uses up no patience.

        Raises:
            LipsyncError: The last attempt's error; or an earlier one of unknown outcome,
                where the last only says that it was not delivered.

        """
        turn = turn or Turn(None, self.transport)
        started = self.transport.now()
        steps: Generator[float, retry.Failure, None] | None = None
        uncertain: LipsyncError | None = None
        named: Generation | None = None
        try:
            await turn.wait_behind_others()
            while True:
                try:
                    return await attempt()
                except LipsyncError as error:
                    if retry.may_have_worked(error):
                        uncertain = error
                    error.may_have_worked = uncertain is not None
                    error.generation = named = error.generation or named
                    if steps is None:
                        steps = retry.pauses(policy, is_repeatable=is_repeatable)
                        next(steps)
                    now = self.transport.now()
                    failure = retry.failure_of(error, elapsed=now - started - turn.waited)
                    pause = _next_pause(steps, failure)
                    if pause is None or (deadline is not None and now >= deadline):
                        if uncertain is not None and isinstance(error, ConnectError):
                            # "Never delivered" must not hide a try that may have worked.
                            raise uncertain from error
                        raise
                    log(logging.INFO, f"trying again in {pause:.1f} s: {error}")
                if failure.kind in _LIMITED:
                    pause -= await turn.take()
                await self._sleep(pause, deadline)
        finally:
            turn.give_back()

    async def _tried(
        self,
        call: Call[T],
        settings: Settings,
        deadline: float | None,
        turn: Turn,
    ) -> T:
        """Make an attempt; where it ends unknown but names the job, the job itself will tell."""
        try:
            return await self._admitted(call, settings, deadline, turn)
        except ResponseError as error:
            if call.look is None or error.generation is None:
                raise
            try:
                look = call.look(error.generation)
                return await self._admitted(look, settings, deadline, turn)
            except LipsyncError:
                raise error from None

    async def _admitted(
        self,
        call: Call[T],
        settings: Settings,
        deadline: float | None,
        turn: Turn,
    ) -> T:
        """Make an attempt when the account's budget has room for it."""
        gate = self._requests if call.idempotency_key is None else self._creates
        place: Place | None = None
        if gate.is_limited:
            place, waited = await gate.enter(deadline)
            turn.waited += waited
        call.is_sent = True
        if place is None:  # there is no limit; or no time left, as the attempt will say
            return await self._attempt(call, settings, deadline)
        with gate.learning(place):
            return await self._attempt(call, settings, deadline)

    async def _attempt(self, call: Call[T], settings: Settings, deadline: float | None) -> T:
        """Send a call once, following a GET's redirects, and read the answer."""
        headers = {"x-api-key": self._key.reveal(), **self._open_headers, **call.headers}
        request = Request(call.method, self.base_url + call.path, headers, call.body, call.form)
        for _ in range(_MOST_REDIRECTS + 1):
            timeout = self._seconds_for(request, settings, deadline)
            response = await self.transport.send(request, timeout=timeout, deadline=deadline)
            if settings.on_response is not None:
                await call_back(settings.on_response, response)
            if answers.is_success(response):
                if response.is_cut:
                    raise answers.too_long(response)
                return call.read(response)
            target = _followed(response)
            if target is None:
                break
            request = self._redirected(request, target)
        raise answers.error_from(response)

    def _seconds_for(
        self,
        request: Request,
        settings: Settings,
        deadline: float | None,
    ) -> float | None:
        """Return how long a try may take, apart from the deadline.

        Raises:
            RequestTimeoutError: There is no time left for one.

        """
        timeout = settings.timeout
        if request.form and timeout is not None:
            timeout += _upload_seconds(request)
        if deadline is not None and deadline - self.transport.now() <= 0:
            message = "there was no time left to send it."
            raise RequestTimeoutError(message, method=request.method, url=request.url)
        return timeout

    async def _sleep(self, seconds: float, deadline: float | None) -> None:
        if deadline is not None:
            seconds = min(seconds, deadline - self.transport.now())
        await self.transport.sleep(max(seconds, 0.0))

    def _redirected(self, request: Request, url: str) -> Request:
        """Follow to the place named, without the API key if that is another server."""
        headers: Mapping[str, str] = request.headers
        if origin(url) != self._origin:
            headers = self._open_headers
        return attrs.evolve(request, url=url, headers=headers)


def _next_pause(
    steps: Generator[float, retry.Failure, None],
    failure: retry.Failure,
) -> float | None:
    """Return the seconds to wait before the next try, or `None` to give up."""
    try:
        return steps.send(failure)
    except StopIteration:
        return None


def _followed(response: Response) -> str | None:
    """Return where an answer points; only a GET follows, a paid create never."""
    if response.method != "GET":
        return None
    return answers.redirect_target(response.url, response.status, response.headers)


def _upload_seconds(request: Request) -> float:
    """Return how much longer a try may take for its files' sake.

    Raises:
        ConnectError: A file is gone since the call began.

    """
    files = [part for part in request.form if isinstance(part, FilePart)]
    try:
        return sum(part.size for part in files) / _BYTES_PER_SECOND
    except OSError as error:
        message = f"a file cannot be read any more ({error}). Restore it."
        raise ConnectError(message, method=request.method, url=request.url) from error
