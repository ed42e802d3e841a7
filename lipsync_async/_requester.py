"""One call end to end: send, judge, wait, try again, and raise or return.

This is the only place that decides whether something is sent twice. The rules for it are
in `_logic/retry.py`; here they meet the transport and its clock.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from anyio import Lock

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import RETRY_LOG, call_back, is_from_callback, log
from lipsync_async._logic import polling, responses, retry
from lipsync_async._logic.config import origin, service_at
from lipsync_async._logic.retry import LONGEST_TOLD
from lipsync_async._logic.secrecy import Headers, Mask
from lipsync_async._models.http import FilePart, Request, Response
from lipsync_async._models.policies import PollPolicy, RetryPolicy
from lipsync_async._models.response import Generation
from lipsync_async._rate_limits import SlotQueue, Throttle, Turn
from lipsync_async.errors import (
    ConcurrencyLimitError,
    ConnectError,
    LipsyncError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    UnexpectedError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    from lipsync_async._logic.config import Config
    from lipsync_async._logic.endpoints import Call
    from lipsync_async._models.policies import Limits
    from lipsync_async._rate_limits import AccountLimits, SlotPool
    from lipsync_async._transport.protocol import Transport


T = TypeVar("T")

_MOST_REDIRECTS = 5
# A look at suspects holds up those who wait for a slot, so it is short.
_SECONDS_FOR_SUSPECTS = 10.0
# Bytes of an upload that earn it one more second: a line of 1 Mbit/s must do.
_BYTES_PER_SECOND = 125_000


@attrs.frozen(slots=True)
class RequestOptions:
    """Hold what a view of a client may set differently.

    Attributes:
        timeout: Seconds for one try of one request; `None`: no limit.
        retry: How failed requests are tried again.
        poll: How waiting looks after a job.
        most_told: Seconds of a pause that the service may ask for.
        on_response: Is shown every answer, whatever its status; awaited if need be.

    """

    timeout: float | None
    retry: RetryPolicy
    poll: PollPolicy
    on_response: Callable[[Response], object] | None = None
    most_told: float = LONGEST_TOLD


class Requester:
    """Perform calls over one transport, for one account.

    Args:
        transport: Carries the requests and owns the time.
        config: Where requests go and what authorizes them.
        account: Returns what the account's clients share; asked anew in a forked child.
        limits: How much of it this client may ask for.

    """

    def __init__(
        self,
        transport: Transport,
        config: Config,
        account: Callable[[], AccountLimits],
        limits: Limits,
    ) -> None:
        self.transport = transport
        self.limits = limits
        self._find_account = account
        self._reset_after_fork()
        self.base_url: str = config.base_url
        self._origin = origin(config.base_url)
        self._open_headers = {
            "accept": "application/json",
            "user-agent": config.user_agent,
        }
        self._key = config.api_key
        self._more_headers = config.headers
        self.mask: Mask = Mask(config.api_key)

    def _reset_after_fork(self) -> None:
        """Forget what was under way: at first, and in a forked child, where nothing is."""
        self._process = os.getpid()
        self.in_flight: int = 0
        self._line = LoopLocal(Lock)
        self._account = account = self._find_account()
        limits = self.limits
        self._creates = Throttle(
            account.creates,
            limits.creates_per_minute,
            self.transport,
            name="create",
            setting="creates_per_minute",
        )
        self._requests = Throttle(
            account.requests,
            limits.requests_per_minute,
            self.transport,
            name="request",
            setting="requests_per_minute",
        )
        self._slot_gate = SlotQueue(account.slots, limits.concurrent_generations, self.transport)

    @property
    def account(self) -> AccountLimits:
        """What the account's clients share, in this process."""
        if os.getpid() != self._process:  # pragma: no cover - forked children are not traced
            self._reset_after_fork()
        return self._account

    @property
    def service(self) -> str:
        """The service's address, in one form however it was written."""
        return service_at(self.base_url)

    def key_digest(self, salt: bytes) -> str:
        """Return what tells this API key from others, and tells no more of it."""
        return hmac.digest(salt, self._key.reveal().encode("ascii"), "sha256").hex()

    async def execute(
        self,
        call: Call[T],
        settings: RequestOptions,
        *,
        deadline: float | None = None,
        has_slot: bool = False,
    ) -> T:
        """Send a call until it succeeds or trying again is pointless, and read its answer.

        Args:
            call: What to send and how to read it.
            settings: Timeout and retry policy.
            deadline: Transport time after which nothing is sent or awaited any more.
            has_slot: Whether the caller has taken a slot for a create, and waits for another
                when it is refused.

        Raises:
            LipsyncError: The last try's error, with the create's idempotency key on it.

        """
        slots = self.account.slots
        self.in_flight += 1
        is_create = call.idempotency_key is not None
        turn = Turn(self._line.get() if is_create else None, self.transport)
        try:
            if call.idempotency_key is None or has_slot:
                return await self._performed(call, settings, turn, deadline)
            return await self._create(call, call.idempotency_key, settings, turn, slots)
        except LipsyncError as error:
            if isinstance(error, NotFoundError) and error.may_have_worked and call.is_done_without:
                return call.read(error.response)
            error.idempotency_key = call.idempotency_key
            # It may come from a pause after a try that may have worked, when the client is closed.
            error.may_have_worked = error.may_have_worked or turn.uncertain is not None
            error.generation = error.generation or turn.named
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

    async def look_at_suspects(self, settings: RequestOptions) -> bool:
        """Look at jobs that may have ended unseen, because a slot is wanted.

        Returns:
            Whether there was anything to look at just now.

        """
        now = self.transport.now()
        slots = self.account.slots
        ids = slots.suspects(now)
        if not ids:
            return False
        once = attrs.evolve(settings, retry=attrs.evolve(settings.retry, attempts=1))
        try:
            gone = await self._missing(ids, once, now + _SECONDS_FOR_SUSPECTS)
        except LipsyncError as error:
            if is_from_callback(error):
                raise
            log(RETRY_LOG, logging.INFO, f"jobs that hold slots could not be looked at: {error}")
        else:
            slots.saw([(job, True) for job in gone], self.transport.now())
        return True

    async def _missing(
        self, ids: list[str], settings: RequestOptions, deadline: float
    ) -> list[str]:
        """Look at jobs, or at the first where lists are refused; return what is not there."""
        try:
            shown = await self.execute(polling.poll_jobs(ids), settings, deadline=deadline)
        except LipsyncError as error:
            if is_from_callback(error):
                raise
            if len(ids) > 1 and polling.is_refusal(error):
                return await self._missing(ids[:1], settings, deadline)
            if isinstance(error, NotFoundError):
                return ids
            raise
        return [job for job in ids if shown.status_of(job) is None]

    async def _create(
        self, call: Call[T], key: str, settings: RequestOptions, turn: Turn, slots: SlotPool
    ) -> T:
        """Perform a create when the account has a slot for it, which then is the job's."""
        since = self.transport.now()
        slot_timeout = settings.retry.slot_timeout
        was_refused = False
        while True:
            slot = await self._slot_gate.acquire(
                key,
                since,
                slot_timeout,
                before=partial(self.look_at_suspects, settings),
                goes_first=was_refused,
            )
            job: Generation | None = None
            try:
                made = await self._performed(call, settings, turn, None)
            except LipsyncError as error:
                if not isinstance(error, ConcurrencyLimitError) or is_from_callback(error):
                    job = None if is_from_callback(error) else error.generation
                    raise
                now = self.transport.now()
                most = self.limits.concurrent_generations
                slots.refused(slot, now, error, most=most, patience=slot_timeout)
                if now >= slots.patience_ends(since, slot_timeout):
                    raise
                log(RETRY_LOG, logging.INFO, f"waiting for a slot: {error}")
                was_refused = True
            else:
                job = made if isinstance(made, Generation) else None
                return made
            finally:
                if job is None:
                    slots.ended(slot)
                else:
                    slots.accepted(slot, job, self.transport.now())

    async def _performed(
        self, call: Call[T], settings: RequestOptions, turn: Turn, deadline: float | None
    ) -> T:
        return await self.retry(
            lambda: self._tried(call, settings, deadline, turn),
            settings.retry,
            is_repeatable=call.is_repeatable,
            deadline=deadline,
            turn=turn,
            most_told=settings.most_told,
        )

    async def retry(
        self,
        attempt: Callable[[], Awaitable[T]],
        policy: RetryPolicy,
        *,
        is_repeatable: bool,
        deadline: float | None = None,
        turn: Turn | None = None,
        most_told: float = LONGEST_TOLD,
    ) -> T:
        """Make attempts, with pauses, until one succeeds or another would be pointless.

        Args:
            attempt: Makes one.
            policy: How patient to be.
            is_repeatable: Whether a second arrival of the same call does no harm.
            deadline: Transport time after which nothing is awaited any more.
            turn: What is known of the call, and its place in the line of those that were
                refused for the account's pace; waiting there uses up no patience.
            most_told: Seconds of a pause that the service may ask for.

        Raises:
            LipsyncError: The last attempt's error; or an earlier one of unknown outcome,
                where the last only says that it was not delivered.

        """
        turn = turn or Turn(None, self.transport)
        began = self.transport.now() - turn.waited
        steps: Generator[float, retry.Failure, None] | None = None
        try:
            await turn.wait_behind_others()
            while True:
                try:
                    return await attempt()
                except LipsyncError as error:
                    if retry.may_have_worked(error):
                        turn.uncertain = error
                    error.may_have_worked = turn.uncertain is not None
                    error.generation = turn.named = error.generation or turn.named
                    if steps is None:
                        steps = retry.backoff_delays(policy, is_repeatable=is_repeatable)
                        next(steps)
                    now = self.transport.now()
                    elapsed = now - began - turn.waited
                    failure = retry.failure_of(error, elapsed=elapsed, most_told=most_told)
                    pause = _next_pause(steps, failure)
                    if pause is None or (deadline is not None and now >= deadline):
                        if turn.uncertain is not None and isinstance(error, ConnectError):
                            # "Never delivered" must not hide a try that may have worked.
                            raise turn.uncertain from error
                        raise
                    log(RETRY_LOG, logging.INFO, f"trying again in {pause:.1f} s: {error}")
                if failure.kind is retry.FailureKind.RATE_LIMITED:
                    pause -= await turn.take()
                await self._sleep(pause, deadline)
        finally:
            turn.give_back()

    async def _tried(
        self,
        call: Call[T],
        settings: RequestOptions,
        deadline: float | None,
        turn: Turn,
    ) -> T:
        """Make an attempt; where it ends unknown but names the job, the job itself will tell."""
        try:
            return await self._send_when_allowed(call, settings, deadline, turn)
        except ResponseError as error:
            if call.look is None or error.generation is None:
                raise
            try:
                look = call.look(error.generation)
                return await self._send_when_allowed(look, settings, deadline, turn)
            except LipsyncError:
                raise error from None

    async def _send_when_allowed(
        self,
        call: Call[T],
        settings: RequestOptions,
        deadline: float | None,
        turn: Turn,
    ) -> T:
        """Make an attempt when the account's budget has room for it."""
        gate = self._requests if call.idempotency_key is None else self._creates
        place, waited = await gate.acquire(deadline)
        turn.waited += waited
        call.is_sent = True
        if place is None:  # there is no limit; or no time left, as the attempt will say
            return await self._send_once(call, settings, deadline)
        with gate.report_refusals(place, settings.retry.give_up_after):
            return await self._send_once(call, settings, deadline)

    async def _send_once(
        self, call: Call[T], settings: RequestOptions, deadline: float | None
    ) -> T:
        """Send a call once, following a GET's redirects, and read the answer."""
        request = self._request(call)
        for _ in range(_MOST_REDIRECTS + 1):
            timeout = self._seconds_for(request, settings, deadline)
            response = await self._answer(request, timeout, deadline)
            if settings.on_response is not None:
                await call_back(settings.on_response, response)
            if 200 <= response.status < 300:  # noqa: PLR2004 - the 2xx class of HTTP
                if response.is_cut:
                    raise responses.too_long(response)
                found = call.read(response)
                if call.shows is not None:
                    self._account.slots.saw(call.shows(found), self.transport.now())
                return found
            target = _followed(response)
            if target is None:
                break
            request = self._redirected(request, target)
        raise responses.error_for(response)

    def _request(self, call: Call[Any]) -> Request:
        """Put the key to a call, where no traceback shows it."""
        fields = Headers(
            {
                **self._more_headers,
                **self._open_headers,
                **call.headers,
                "x-api-key": self._key.reveal(),
            },
        )
        return Request(call.method, self.base_url + call.path, fields, call.body, call.form)

    async def _answer(
        self,
        request: Request,
        timeout: float | None,
        deadline: float | None,
    ) -> Response:
        """Send a request and return the answer, in which the key is not quoted any more."""
        try:
            response = await self.transport.send(request, timeout=timeout, deadline=deadline)
        except LipsyncError as error:
            self.mask.error(error)
            raise
        return self.mask.response(response)

    def _seconds_for(
        self,
        request: Request,
        settings: RequestOptions,
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
        if origin(url) != self._origin:
            return attrs.evolve(request, url=url, headers=self._open_headers)
        return attrs.evolve(request, url=url)


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
    return responses.redirect_target(response.url, response.status, response.headers)


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
