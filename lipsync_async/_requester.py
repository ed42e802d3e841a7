"""One request end to end: limits, send, classify, retry, and raise or return.

Within one call, this is the only place that sends again: `retry` after failures, and `_create`
when the account had no free slot. `_logic/retry.py` says which failures allow it. A create of a
batch that was refused because too many run is sent again by `_async/batches.py`. A run sends
creates again as well, always under the key that it has for them (`_bulk/submitter.py`).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlencode, urlsplit
from weakref import WeakSet

import attrs
from anyio import Lock

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import HTTP_LOG, RETRY_LOG, call_back, is_from_callback, log
from lipsync_async._logic import endpoints, polling, retry
from lipsync_async._logic.config import origin, service_at
from lipsync_async._logic.endpoints import RATE_CLASSES, Call, RateClass
from lipsync_async._logic.retry import LONGEST_TOLD
from lipsync_async._logic.secrecy import Headers, Mask
from lipsync_async._models.http import NO_HEADERS, FilePart, Request, Response
from lipsync_async._models.policies import PollPolicy, RetryPolicy
from lipsync_async._models.response import Generation
from lipsync_async._rate_limits import BatchQueue, SlotQueue, Throttle
from lipsync_async._shared_limits import SharedLimits, SharedReservation, document_prefix
from lipsync_async._threads import until_done
from lipsync_async.errors import (
    AccountStoreError,
    ConcurrencyLimitError,
    ConnectError,
    LipsyncError,
    NotFoundError,
    RateLimitError,
    RequestTimeoutError,
    ResponseError,
    UnexpectedError,
    is_retryable_code,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    from lipsync_async._logic.config import Config
    from lipsync_async._models.policies import Limits
    from lipsync_async._rate_limits import AccountLimits, Reservation, SlotPool
    from lipsync_async._stores.protocol import AccountStore
    from lipsync_async._transport.protocol import Transport

T = TypeVar("T")

_MOST_REDIRECTS = 5
_UNAVAILABLE = 503
# A look at jobs that hold slots delays those who wait for a slot, so it is short.
_SECONDS_FOR_CHECKS = 10.0
# Seconds of waiting for the rate after which a create asks for its slot again.
_SECONDS_OF_A_SLOT = 60.0
# Bytes of an upload that earn it one more second: a line of 1 Mbit/s must do.
_BYTES_PER_SECOND = 125_000


@attrs.frozen(slots=True)
class RequestOptions:
    """What a view of a client may set differently.

    Attributes:
        timeout: Seconds for one try of one request; `None`: no limit.
        retry: How failed requests are tried again.
        poll: How waiting looks at a job.
        on_response: Is called with every answer, whatever its status; awaited if need be.
        attempts: Tries of one call; `None`: as many as `retry` allows.
        most_told: Seconds of a pause that the service may ask for.
        headers: Header fields of one call's own; those that the client needs come after them.
        query: Query parameters of one call's own.
    """

    timeout: float | None
    retry: RetryPolicy
    poll: PollPolicy
    on_response: Callable[[Response], object] | None = None
    attempts: int | None = None
    most_told: float = LONGEST_TOLD
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)
    query: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)


@attrs.define(slots=True)
class History:
    """What is known of a call after some of its tries.

    Attributes:
        call: The call.
        turn: Lock of the creates that were refused for the rate; `None`: it is no create.
            Hundreds of creates that are each tried again in their own time would use up the
            requests of every minute. So one asks at a time, and the others queue behind it.
        has_turn: Whether the call holds the lock.
        began: When it began.
        tries: How many so far.
        waited: Seconds that it has waited for limits, which use up no patience.
        uncertain: The last error after which it may have worked.
        named: The job that an answer has named as the call's own.
    """

    call: Call[Any] | None = None
    turn: Lock | None = None
    has_turn: bool = False
    began: float = 0.0
    tries: int = 0
    waited: float = 0.0
    uncertain: LipsyncError | None = None
    named: Generation | None = None


class Requester:
    """Sender of calls over one transport, for one account."""

    def __init__(
        self,
        transport: Transport,
        config: Config,
        account: Callable[[], AccountLimits],
        limits: Limits,
        store: AccountStore | None = None,
    ) -> None:
        self.transport = transport
        self.limits = limits
        self._find_account = account
        self.base_url: str = config.base_url
        # The service's address, in one form however it was written.
        self.service: str = service_at(config.base_url)
        self._origin = origin(config.base_url)
        self._open_headers = {"accept": "application/json", "user-agent": config.user_agent}
        self._more_headers = config.headers
        self._key = config.api_key
        self.mask: Mask = Mask(config.api_key)
        self._store = store
        self.begin_anew()
        _IN_USE.add(self)

    def begin_anew(self) -> None:
        """Forget what was in flight: at first, and in a forked child, where nothing is."""
        self.in_flight: int = 0
        self._turns = LoopLocal(Lock)
        self.batches = LoopLocal(BatchQueue)
        # What the account's clients share, in this process.
        self.account: AccountLimits = self._find_account()
        transport, account, limits = self.transport, self.account, self.limits
        self._throttles: dict[RateClass, Throttle] = {}
        for each in RATE_CLASSES:
            self._throttles[each] = Throttle(transport, account.rates, limits, each)
        self._slots = SlotQueue(transport, account.slots, limits.concurrent_generations)
        # What the processes of the account share.
        self.shared: SharedLimits | None = None
        if self._store is not None:
            name = document_prefix(self.service, self.key_digest(b"account"))
            self.shared = SharedLimits(self._store, name, transport, limits, account.slots)

    def key_digest(self, salt: bytes) -> str:
        """Return what tells this API key from others, and tells no more of it."""
        return hmac.digest(salt, self._key.revealed.encode("ascii"), "sha256").hex()

    async def execute(
        self,
        call: Call[T],
        options: RequestOptions,
        *,
        deadline: float | None = None,
        has_slot: bool = False,
    ) -> T:
        """Send a call until it succeeds or trying again is pointless, and read its answer.

        With `has_slot` the caller has taken a slot for a create, and waits for another when it
        is refused. An error carries the create's idempotency key.
        """
        slots = self.account.slots
        is_create = call.rate_class is endpoints.CREATE
        self.in_flight += 1
        turn = self._turns.get() if is_create else None
        history = History(call, turn, began=self.transport.now())
        made: T | None = None
        job: Generation | None = None
        send = partial(
            self.retry,
            partial(self._try_once, call, options, deadline, history),
            options.retry,
            is_repeatable=call.is_repeatable,
            deadline=deadline,
            history=history,
            attempts=options.attempts,
            most_told=options.most_told,
        )
        try:
            if has_slot or not is_create:
                made = await send()
            else:
                made = await self._create(send, call.slot_key, options, slots)
        except LipsyncError as error:
            if isinstance(error, NotFoundError) and error.may_have_worked and call.is_done_without:
                return call.read(error.response)
            error.idempotency_key = call.idempotency_key
            # It may come from a pause after a try that may have worked, when the client is closed.
            # Or a hook has raised it after the request was sent.
            is_sent = is_from_callback(error) and call.is_sent and call.method != "GET"
            is_unknown = history.uncertain is not None or is_sent
            error.may_have_worked = error.may_have_worked or is_unknown
            error.generation = error.generation or history.named
            job = error.generation
            raise
        except Exception as error:
            if is_from_callback(error):
                raise
            unexpected = UnexpectedError(f"{call.method} {call.path}", error)
            unexpected.idempotency_key = call.idempotency_key
            unexpected.may_have_worked = call.is_sent
            raise unexpected from error
        else:
            return made
        finally:
            self.in_flight -= 1
            if self.shared is not None:
                await self._share(self.shared, call, made, job, deadline)

    async def _share(
        self,
        shared: SharedLimits,
        call: Call[T],
        made: T | None,
        named: Generation | None,
        deadline: float | None,
    ) -> None:
        """Note in the account store what has become of a call, and which jobs it has shown."""
        if call.rate_class is endpoints.CREATE:
            job = _job_of(made) or named
            settled = shared.settle(call.slot_key, job, is_free=not call.is_sent)
            try:
                await until_done(asyncio.ensure_future(settled))
            except asyncio.CancelledError as error:
                if job is not None:
                    error.add_note(f"The create has succeeded: it made generation {job.id}.")
                raise
        elif call.shows is not None and made is not None:
            await shared.saw(call.shows(made), deadline=deadline)

    async def _create(
        self, send: Callable[[], Awaitable[T]], key: str, options: RequestOptions, slots: SlotPool
    ) -> T:
        """Send a create when the account has a slot for it, which then is the job's."""
        since = self.transport.now()
        slot_timeout = options.retry.slot_timeout
        was_refused = False
        while True:
            slot = await self._slots.acquire(
                key,
                since,
                slot_timeout,
                before=partial(self.check_unwatched_jobs, options),
                goes_first=was_refused,
            )
            job: Generation | None = None
            try:
                made = await send()
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
                job = _job_of(made)
                return made
            finally:
                if job is None:
                    slots.release(slot)
                else:
                    slots.accepted(slot, job, self.transport.now())

    async def check_unwatched_jobs(self, options: RequestOptions) -> bool:
        """Look at jobs that may have ended unseen, because a slot is wanted."""
        ids = self.account.slots.jobs_to_check(self.transport.now())
        if ids:
            await self._look_at(options, ids)
        return bool(ids)

    async def _look_at(self, options: RequestOptions, ids: list[str]) -> None:
        """Look once at jobs that hold slots; the ends that are seen give them back."""
        now = self.transport.now()
        once = attrs.evolve(
            options,
            attempts=1,
            headers=NO_HEADERS,  # what one call adds is not for others, whose jobs are shown
            query=NO_HEADERS,
        )
        try:
            gone = await self._missing(ids, once, now + _SECONDS_FOR_CHECKS)
        except LipsyncError as error:
            if is_from_callback(error):
                raise
            log(RETRY_LOG, logging.INFO, f"jobs that hold slots could not be looked at: {error}")
        else:
            over = [(job, True) for job in gone]
            self.account.slots.saw(over, self.transport.now())
            if self.shared is not None:
                await self.shared.saw(over)

    async def _missing(self, ids: list[str], options: RequestOptions, deadline: float) -> list[str]:
        """Look at jobs, or at the first where lists are refused; return what is not there."""
        try:
            shown = await self.execute(polling.poll_jobs(ids), options, deadline=deadline)
        except LipsyncError as error:
            if is_from_callback(error):
                raise
            if len(ids) > 1 and polling.is_refusal(error):
                return await self._missing(ids[:1], options, deadline)
            if isinstance(error, NotFoundError):
                return ids
            raise
        return [job for job in ids if job not in shown.items]

    async def retry(
        self,
        attempt: Callable[[], Awaitable[T]],
        policy: RetryPolicy,
        *,
        is_repeatable: bool,
        deadline: float | None = None,
        history: History | None = None,
        attempts: int | None = None,
        most_told: float = LONGEST_TOLD,
    ) -> T:
        """Make attempts, with pauses, until one succeeds or another would be pointless.

        Raises the last attempt's error; or an earlier one of unknown outcome, where the last
        only says that it was not delivered. Waiting for limits uses up no patience.
        """
        history = history or History()
        began = self.transport.now() - history.waited
        delays: Generator[float, retry.Failure, None] | None = None
        try:
            if history.turn is not None and history.turn.locked():
                await self._take_turn(history)
            while True:
                try:
                    return await attempt()
                except LipsyncError as error:
                    _note(history, error)
                    if delays is None:
                        delays = retry.backoff_delays(
                            policy, is_repeatable=is_repeatable, attempts=attempts
                        )
                        next(delays)
                    now = self.transport.now()
                    elapsed = now - began - history.waited
                    failure = retry.failure_of(error, elapsed=elapsed, most_told=most_told)
                    pause = None
                    with suppress(StopIteration):  # it is time to give up
                        pause = delays.send(failure)
                    if pause is None or (deadline is not None and now >= deadline):
                        _raise_the_worse(history.uncertain, error)
                    log(RETRY_LOG, logging.INFO, f"trying again in {pause:.1f} s: {error}")
                if failure.kind is retry.FailureKind.RATE_LIMITED:
                    pause -= await self._take_turn(history)
                await self._sleep(pause, deadline)
        finally:
            if history.turn is not None and history.has_turn:
                history.has_turn = False
                history.turn.release()

    async def _sleep(self, seconds: float, deadline: float | None) -> None:
        if deadline is not None:
            seconds = min(seconds, deadline - self.transport.now())
        await self.transport.sleep(max(seconds, 0.0))

    async def _take_turn(self, history: History) -> float:
        """Queue behind the creates that were refused for the rate; return the seconds it took."""
        if history.turn is None or history.has_turn:
            return 0.0
        joined = self.transport.now()
        if history.turn.locked():
            log(
                RETRY_LOG,
                logging.INFO,
                "a create waits behind another that the service has refused for the rate; see "
                "Limits.creates_per_minute.",
            )
        await history.turn.acquire()
        history.has_turn = True
        waited = self.transport.now() - joined
        history.waited += waited
        return waited

    async def _try_once(
        self, call: Call[T], options: RequestOptions, deadline: float | None, history: History
    ) -> T:
        """Send a call once, when its limits allow it, and read the answer."""
        reservations, waited = await self._throttles[call.rate_class].acquire(deadline)
        history.waited += waited
        shared_one: SharedReservation | None = None
        if self.shared is not None:
            shared_one = await self._admit(self.shared, call, options, deadline, history)
        history.tries += 1
        call.is_sent = True
        url = self.base_url + call.path
        if options.query:
            url += f"{'&' if '?' in call.path else '?'}{urlencode(options.query)}"
        headers = Headers(  # no traceback shows what is in them
            {
                **self._more_headers.revealed,
                **options.headers,
                **self._open_headers,
                **call.headers,
                "x-api-key": self._key.revealed,
            }
        )
        request = Request(call.method, url, headers, call.body, call.form)
        try:
            response = await self._send(request, options, deadline, history.tries)
            if not 200 <= response.status < 300:  # noqa: PLR2004 - the 2xx class of HTTP
                response = await self._redirected(
                    request, response, options, deadline, history.tries
                )
            if response.is_cut:
                raise endpoints.too_long(response)
            found, call.response = call.read(response), response
            if call.shows is not None:
                self.account.slots.saw(call.shows(found), self.transport.now())
        except ResponseError as error:
            _note_refusal(call, error)
            await self._learn(call, error, options, reservations, shared_one)
            if call.look is None or error.generation is None:
                raise
            # The outcome is unknown, but the answer names the job: the job itself will tell.
            look = call.look(error.generation)
            with suppress(LipsyncError):
                return await self._try_once(look, options, deadline, history)
            raise
        return found

    async def _admit(
        self,
        shared: SharedLimits,
        call: Call[Any],
        options: RequestOptions,
        deadline: float | None,
        history: History,
    ) -> SharedReservation | None:
        """Wait until the limits that the processes of the account share allow a try."""
        is_create = call.rate_class is endpoints.CREATE
        patience = options.retry.give_up_after
        if is_create:
            history.waited += await self._take_shared_slot(shared, call, options, history.began)
        reservation, waited = await shared.reserve(
            call.rate_class, history.began, patience, deadline
        )
        history.waited += waited
        if is_create and waited > _SECONDS_OF_A_SLOT:
            # Other processes may have freed the slot meanwhile.
            history.waited += await self._take_shared_slot(shared, call, options, history.began)
        return reservation

    async def _take_shared_slot(
        self, shared: SharedLimits, call: Call[Any], options: RequestOptions, began: float
    ) -> float:
        """Wait for one of the slots that the processes share; return the seconds it took."""
        retry, look_at = options.retry, partial(self._look_at, options)
        return await shared.take_slot(
            call.slot_key, began, retry.slot_timeout, retry.give_up_after, look_at
        )

    async def _learn(
        self,
        call: Call[Any],
        error: ResponseError,
        options: RequestOptions,
        reservations: list[Reservation] | None,
        shared_one: SharedReservation | None,
    ) -> None:
        """Lower the limits: a call was refused for the rate, or for the lack of a slot."""
        if is_from_callback(error):
            return
        rate_class, patience = call.rate_class, options.retry.give_up_after
        if isinstance(error, RateLimitError):
            is_shared = rate_class in {endpoints.CREATE, endpoints.REQUEST}
            if self.shared is not None and shared_one is not None and is_shared:
                told = error.retry_after
                await self.shared.report_refusal(rate_class, shared_one, told, patience)
            # Without reservations there is no limit; or no time left, as the error says.
            elif reservations is not None:
                throttle = self._throttles[rate_class]
                throttle.report_refusal(reservations, error.retry_after, patience)
        elif self.shared is not None and isinstance(error, ConcurrencyLimitError):
            await self.shared.refused(call.slot_key, error, options.retry.slot_timeout)

    async def _redirected(
        self,
        request: Request,
        response: Response,
        options: RequestOptions,
        deadline: float | None,
        attempt: int,
    ) -> Response:
        """Follow a GET's redirects to a success; raise the error of any other answer."""
        for _ in range(_MOST_REDIRECTS):
            target = endpoints.redirect_target(response.url, response.status, response.headers)
            if target is None or response.method != "GET":  # a paid create never follows
                break
            request = attrs.evolve(request, url=target)
            if origin(target) != self._origin:  # another server does not get the API key
                request.headers = self._open_headers
            response = await self._send(request, options, deadline, attempt)
            if 200 <= response.status < 300:  # noqa: PLR2004 - the 2xx class of HTTP
                return response
        raise endpoints.error_for(response)

    async def _send(
        self, request: Request, options: RequestOptions, deadline: float | None, attempt: int
    ) -> Response:
        """Send a request and return the answer, in which the key is not quoted any more."""
        timeout = options.timeout
        if request.form:
            seconds = _upload_seconds(request)
            timeout = None if timeout is None else timeout + seconds
        began = self.transport.now()
        if deadline is not None and deadline <= began:
            message = "there was no time left to send it."
            raise RequestTimeoutError(message, method=request.method, url=request.url)
        try:
            response = await self.transport.send(request, timeout=timeout, deadline=deadline)
        except LipsyncError as error:
            self.mask.error(error)
            self._log_try(request, type(error).__name__, began, attempt)
            raise
        response = self.mask.response(response)
        if HTTP_LOG.isEnabledFor(logging.DEBUG):
            request_id = endpoints.request_id(response)
            named = "" if request_id is None else f", request id {request_id}"
            self._log_try(request, f"{response.status}{named}", began, attempt)
        if options.on_response is not None:
            await call_back(options.on_response, response)
        return response

    def _log_try(self, request: Request, outcome: str, began: float, attempt: int) -> None:
        """Log one try, without what may be secret: query, headers and body."""
        seconds = self.transport.now() - began
        parts = urlsplit(request.url)
        place = parts.path if origin(request.url) == self._origin else f"{parts.hostname}"
        log(
            HTTP_LOG,
            logging.DEBUG,
            f"{request.method} {place}: {outcome} ({seconds:.3f} s, attempt {attempt})",
        )


_IN_USE: WeakSet[Requester] = WeakSet()


def _begin_anew_after_fork() -> None:  # pragma: no cover - forked children are not traced
    for requester in [*_IN_USE]:
        requester.begin_anew()


# Not every platform forks. The registry of accounts, which begins anew as well, comes before.
getattr(os, "register_at_fork", dict)(after_in_child=_begin_anew_after_fork)


def _job_of(made: object) -> Generation | None:
    """Return the job that a create has made, also by a raw request."""
    if isinstance(made, Response):
        return endpoints.salvage_generation(made)
    return made if isinstance(made, Generation) else None


def _note_refusal(call: Call[Any], error: ResponseError) -> None:
    """Note on a 503 that the service itself refuses the call by it, for good."""
    if call.is_refused_by_503 and error.status == _UNAVAILABLE:
        is_own = isinstance(error.body, dict)  # a proxy's is no JSON
        error.is_retryable = is_retryable_code(error.code) or not is_own


def _note(history: History, error: LipsyncError) -> None:
    """Keep what a failed try tells of the call, and tell it with the error."""
    if retry.may_have_worked(error):
        history.uncertain = error
    if history.call is not None and not is_from_callback(error):
        history.call.is_sent = history.uncertain is not None
    error.may_have_worked = history.uncertain is not None
    error.generation = history.named = error.generation or history.named


def _raise_the_worse(uncertain: LipsyncError | None, error: LipsyncError) -> NoReturn:
    """Raise a call's last error; "never delivered" must not hide a try that may have worked."""
    if uncertain is not None and isinstance(error, (ConnectError, AccountStoreError)):
        raise uncertain from error
    raise error


def _upload_seconds(request: Request) -> float:
    files = [part for part in request.form if isinstance(part, FilePart)]
    try:
        return sum(part.checked_size() for part in files) / _BYTES_PER_SECOND
    except (OSError, ValueError) as error:
        message = f"a file cannot be sent any more ({error}). Restore it."
        raise ConnectError(message, method=request.method, url=request.url) from error
