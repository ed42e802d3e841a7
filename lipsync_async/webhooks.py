"""Webhooks: verify a delivery, read its event, and let waits poll the job at once.

    try:
        event = unwrap(body, headers, secret)
    except WebhookError as error:
        ...  # answer with `error.status` and do nothing else

`from_starlette`, `from_aiohttp`, `from_flask` and `from_django` do the same with a framework's
request. A `WebhookReceiver` lets the client's waits poll a job when its event comes.

Pass the raw bytes of the request: a body that was decoded and encoded again may differ
from the one that was signed. Take an event as a hint: the service guarantees neither
order, nor a single delivery, nor any delivery at all. So tell events apart by `id`, and
poll jobs whose event does not come.

Anyone can send a request to a webhook's address, so the cheap checks come first: the
header's form, then its time. Then each secret takes one digest of the body, however many
signatures the header holds.

Source: "Webhooks", sync.so API guides.
"""

from __future__ import annotations

import hmac
import json
import logging
import math
import re
import reprlib
import sys
import time
from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from operator import attrgetter, methodcaller
from typing import Any, TypeAlias
from weakref import WeakMethod, ref

import attrs

from lipsync_async._callsite import log
from lipsync_async._enums import Status
from lipsync_async._models.batch import BatchMetrics
from lipsync_async.errors import ConfigurationError, LipsyncError, in_words

SIGNATURE_HEADER = "Sync-Signature"

# The vendor documents no tolerance; this is what signature schemes of this form use.
DEFAULT_TOLERANCE = 300.0

_MAX_TIME_DIGITS = 12  # digits; enough for 30,000 years, and no giant number is ever parsed

# The service sends one signature, and two at most while a secret is exchanged.
_MAX_PARTS = 16
_MAX_HEADER = 2048

# Bytes of a body that the adapters read; an event holds the inputs and options as sent.
_MAX_BODY = 4 * 1024**2
# What frameworks raise where a body is larger than they read by their own settings.
_TOO_LARGE = ("HTTPRequestEntityTooLarge", "RequestEntityTooLarge", "RequestDataTooBig")

# Events of one job that each wake what waits for it; the service has fewer statuses.
_MAX_STATUSES = 8

_COUNTS = attrs.fields(BatchMetrics)
_LOG = logging.getLogger("lipsync_async.webhooks")

# How secrets are shown where they are not to be read.
_MASKED = re.compile(r"[*\u2022\u25cf]{3}|\u2026|\.{3}")

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 60
_BRIEF.maxlevel = 2


class WebhookError(LipsyncError):
    """Raised when a delivery must be ignored. Base of the two errors below.

    Attributes:
        status: The HTTP status to answer with: 400, or 413 for a body that is too large.

    """

    status: int = 400


class WebhookVerificationError(WebhookError):
    """Raised when it is not certain that a delivery comes from the service, or it is too old.

    Attributes:
        reason: What is wrong with it.

    """

    def __init__(self, reason: str, next_step: str) -> None:
        self.reason = reason
        super().__init__(f"Do not trust this webhook: {reason}. {next_step}")


class WebhookPayloadError(WebhookError):
    """Raised when the body of a webhook cannot be read.

    Attributes:
        paths: Each problem with its path in the body.

    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths: tuple[str, ...] = tuple(paths)
        listed = "".join(f"\n  {path}" for path in self.paths)
        super().__init__(
            f"This webhook cannot be read:{listed}\n"
            "Get the generation or the batch by its id instead, and check that nothing between the "
            "service and you changes bodies."
        )


@attrs.define(slots=True, kw_only=True)
class GenerationEvent:
    """What a webhook says about a generation.

    Attributes:
        id: The generation's id; the same event may come twice.
        status: Its status; an unknown one keeps its text.
        model: The model's name.
        created_at: When it was created (UTC).
        output_url: Where the result is; it expires, do not store it.
        segment_output_url: Where the result of the segments alone is.
        output_duration: The result's length in seconds.
        error: Why it failed, in words.
        error_code: Why it failed, as a code; often missing, then get the generation.
        webhook_url: The URL that this was sent to.
        input: The inputs, as sent.
        options: The options, as sent.
        raw: The whole object as received, unknown fields included.

    Source: "Webhooks", sync.so API guides.
    """

    id: str
    status: Status
    model: str | None = None
    created_at: datetime | None = None
    output_url: str | None = None
    segment_output_url: str | None = None
    output_duration: float | None = None
    error: str | None = None
    error_code: str | None = None
    webhook_url: str | None = None
    input: list[Any] = attrs.field(factory=list)
    options: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class BatchEvent:
    """What a webhook says about a batch.

    Attributes:
        id: The batch's id; the same event may come twice.
        status: Its status; an unknown one keeps its text.
        created_at: When it was created (UTC).
        metrics: How many generations there are, by how they ended.
        output_url: Where the results are; it expires, do not store it.
        webhook_url: The URL that this was sent to.
        raw: The whole object as received, unknown fields included.

    Source: "Webhooks", sync.so API guides; "Batch", sync.so API reference.
    """

    id: str
    status: str
    created_at: datetime | None = None
    metrics: BatchMetrics | None = None
    output_url: str | None = None
    webhook_url: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


WebhookEvent: TypeAlias = GenerationEvent | BatchEvent


def sign(body: bytes | bytearray | memoryview | str, secret: str | bytes, at: float) -> str:
    """Return the value of the `Sync-Signature` header for a body.

    Args:
        body: The raw bytes that are sent; text stands for its UTF-8.
        secret: The signing secret as shown, its `whsec_` prefix included.
        at: Unix time in seconds, from 0; the fraction is dropped.

    Raises:
        ConfigurationError: There is no secret, or several, or it is masked, or `at` is no
            time.
        WebhookPayloadError: The body is neither bytes nor text.

    Source: "Webhooks", sync.so API guides.
    """
    try:
        return _signed(body, secret, at)
    except LipsyncError as error:
        failure = error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - arguments of any class are looked at
        failure = ConfigurationError(_UNREADABLE.format(in_words(error)))
    del secret  # a traceback that lists local variables must not show it
    raise failure


def _signed(body: object, secret: object, at: object) -> str:
    """Sign a body; tracebacks of errors do not show the frames, which hold the secret."""
    data, moment = _raw(body), str(_time(at))
    if data is None:
        raise WebhookPayloadError([f"body: {_not_raw(body)}"])
    keys = _secrets(secret)
    if len(keys) > 1:
        raise ConfigurationError("A webhook is signed with one secret; pass one, not several.")
    return f"t={moment},v1={_digest(data, keys[0], moment)}"


def verify(
    body: bytes | bytearray | memoryview | str,
    header: str | bytes | Mapping[Any, Any] | Iterable[Any] | None,
    secret: str | bytes | Iterable[str | bytes],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
    now: float | None = None,
    lenient_json: bool = False,
) -> None:
    """Return only if a body was signed with the secret, and recently.

    Signatures are compared in constant time. A header with more than 16 parts is refused.

    Args:
        body: The raw bytes of the request. Text stands for its UTF-8; a decoded object
            cannot be checked.
        header: Value of its `Sync-Signature` header, as text or bytes, or all of its headers:
            a mapping, or (name, value) pairs. `None`: there was none.
        secret: The organization's signing secret, or several while it is exchanged.
        tolerance: Seconds that the signature's time may be off; `None`: any.
        now: Unix time in seconds to judge by; `None`: the system's clock.
        lenient_json: Where the raw bytes do not match, also try the body as compact
            JSON, for a proxy that spaced or escaped it anew.

    Raises:
        WebhookVerificationError: It was not, or cannot be verified.
        ConfigurationError: There is no secret, one is empty or masked, or another
            argument of yours is wrong.

    Source: "Webhooks", sync.so API guides.
    """
    failure = _refusal(body, header, secret, tolerance, now, lenient_json=lenient_json)
    del secret  # a traceback that lists local variables must not show it
    if failure is not None:
        raise failure


def unwrap(
    body: bytes | bytearray | memoryview | str,
    headers: str | bytes | Mapping[Any, Any] | Iterable[Any] | None,
    secret: str | bytes | Iterable[str | bytes],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
    now: float | None = None,
) -> WebhookEvent:
    """Verify a webhook, and return its event: `verify`, then `parse`.

    Args:
        body: As for `verify`.
        headers: All headers of the request, or the value of `Sync-Signature`.
        secret: As for `verify`.
        tolerance: As for `verify`.
        now: As for `verify`.

    Returns:
        A `BatchEvent` if it is about a batch, otherwise a `GenerationEvent`.

    Raises:
        WebhookVerificationError: The delivery is forged or old, or cannot be verified.
        WebhookPayloadError: The body is signed, but cannot be read.
        ConfigurationError: There is no secret, one is empty or masked, or another
            argument of yours is wrong.

    Source: "Webhooks", sync.so API guides.
    """
    failure = _refusal(body, headers, secret, tolerance, now)
    del secret  # a traceback that lists local variables must not show it
    if failure is not None:
        raise failure
    return parse(body)


async def from_starlette(
    request: Any,
    secret: str | bytes | Iterable[str | bytes],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
) -> WebhookEvent:
    """Return the event of a request of Starlette or FastAPI, as `unwrap` does.

    Args:
        request: The `Request`.
        secret: As for `verify`.
        tolerance: As for `verify`.

    Raises:
        WebhookError: As for `unwrap`; or the body was read as a stream or a form before.
        ConfigurationError: As for `unwrap`.

    Source: "Webhooks", sync.so API guides.
    """
    judge = _judge(secret, tolerance)
    del secret  # a traceback that lists local variables must not show it
    taken = await _awaited(request, _starlette_body)
    return _event_of_request(taken, judge(taken))


async def from_aiohttp(
    request: Any,
    secret: str | bytes | Iterable[str | bytes],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
) -> WebhookEvent:
    """Return the event of a request of an aiohttp server, as `unwrap` does.

    Args:
        request: The `aiohttp.web.Request`.
        secret: As for `verify`.
        tolerance: As for `verify`.

    Raises:
        WebhookError: As for `unwrap`; or the body was read as a stream or a form before.
        ConfigurationError: As for `unwrap`.

    Source: "Webhooks", sync.so API guides.
    """
    judge = _judge(secret, tolerance)
    del secret  # a traceback that lists local variables must not show it
    taken = await _awaited(request, methodcaller("read"))
    return _event_of_request(taken, judge(taken))


def from_flask(
    request: Any,
    secret: str | bytes | Iterable[str | bytes],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
) -> WebhookEvent:
    """Return the event of a request of Flask or werkzeug, as `unwrap` does.

    Args:
        request: The `flask.request`.
        secret: As for `verify`.
        tolerance: As for `verify`.

    Raises:
        WebhookError: As for `unwrap`; or the body was read as a stream or a form before.
        ConfigurationError: As for `unwrap`.

    Source: "Webhooks", sync.so API guides.
    """
    judge = _judge(secret, tolerance)
    del secret  # a traceback that lists local variables must not show it
    taken = _taken(request, methodcaller("get_data"))
    return _event_of_request(taken, judge(taken))


def from_django(
    request: Any,
    secret: str | bytes | Iterable[str | bytes],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
) -> WebhookEvent:
    """Return the event of a request of Django, as `unwrap` does; the view must be `csrf_exempt`.

    Args:
        request: The `HttpRequest`.
        secret: As for `verify`.
        tolerance: As for `verify`.

    Raises:
        WebhookError: As for `unwrap`; or the body was read as a stream or a form before.
        ConfigurationError: As for `unwrap`.

    Source: "Webhooks", sync.so API guides.
    """
    judge = _judge(secret, tolerance)
    del secret  # a traceback that lists local variables must not show it
    taken = _taken(request, attrgetter("body"))
    return _event_of_request(taken, judge(taken))


# A body and headers, or why there are none.
_Taken: TypeAlias = tuple[Any, Any] | WebhookVerificationError


def _taken(request: Any, read: Callable[[Any], Any]) -> _Taken:
    """Take a request's body and headers."""
    try:
        headers = request.headers
        length = _length(headers)
        body = read(request) if length <= _MAX_BODY else b""
        return _whole(body, headers, length)
    except Exception as error:  # noqa: BLE001 - each framework has errors of its own for it
        return _unread(error)


async def _awaited(request: Any, read: Callable[[Any], Awaitable[Any]]) -> _Taken:
    """Take a request's body, which is to be awaited, and its headers."""
    try:
        headers = request.headers
        length = _length(headers)
        body = await read(request) if length <= _MAX_BODY else b""
        return _whole(body, headers, length)
    except Exception as error:  # noqa: BLE001 - each framework has errors of its own for it
        return _unread(error)


async def _starlette_body(request: Any) -> bytes:
    """Read a body; Starlette has no limit for one that comes without its length."""
    if _length(request.headers):
        body: bytes = await request.body()
        return body
    parts = bytearray()
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            parts += part
            if len(parts) > _MAX_BODY:
                break
    return bytes(parts)


def _length(headers: Any) -> int:
    """Return the length that a request announces, in bytes; 0: none."""
    announced = {str(name).lower(): value for name, value in headers.items()}
    return int(announced.get("content-length") or 0)


def _whole(body: Any, headers: Any, length: int) -> _Taken:
    """Return a body and its headers, or why it is not the whole body."""
    if max(length, len(body)) > _MAX_BODY:
        return _unchecked_for_size()
    if length and not body:
        return _unread_for("it was read before")
    return body, headers


def _unread(error: Exception) -> WebhookVerificationError:
    if type(error).__name__ in _TOO_LARGE:
        return _unchecked_for_size()
    return _unread_for(in_words(error))


def _unread_for(reason: str) -> WebhookVerificationError:
    return WebhookVerificationError(
        f"its body cannot be read ({reason})",
        "Read it nowhere else: not as a form, not as a stream, not in a middleware. Pass the "
        "framework's own request.",
    )


def _unchecked_for_size() -> WebhookVerificationError:
    error = WebhookVerificationError(
        "its body is too large to be checked",
        "Answer 413. At most 4 MiB are read, or less if the framework's own limit is lower.",
    )
    error.status = 413
    return error


def _judge(secret: object, tolerance: float | None) -> Callable[[_Taken], LipsyncError | None]:
    """Return what gives the error that a request is; it does not show the secret."""

    def judge(taken: _Taken) -> LipsyncError | None:
        if isinstance(taken, WebhookVerificationError):
            return taken
        return _refusal(*taken, secret, tolerance, None)

    return judge


def _event_of_request(taken: _Taken, failure: LipsyncError | None) -> WebhookEvent:
    if failure is not None:
        raise failure
    return parse(taken[0])  # type: ignore[index]  # otherwise it is the failure


def _refusal(
    body: object,
    header: object,
    secret: object,
    tolerance: float | None,
    now: float | None,
    *,
    lenient_json: bool = False,
) -> LipsyncError | None:
    """Return the error that a delivery, or an argument, is; `None`: it is to be believed.

    Its traceback is empty: frames hold the secret.
    """
    try:
        _verify(body, header, secret, tolerance, now, lenient_json=lenient_json)
    except LipsyncError as error:
        return error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - arguments of any class are looked at
        return WebhookVerificationError(
            f"it cannot be read ({in_words(error)})",
            "Pass the raw bytes of the request, and its headers as text, bytes or a mapping.",
        )
    return None


def _verify(
    body: object,
    header: object,
    secret: object,
    tolerance: float | None,
    now: float | None,
    *,
    lenient_json: bool,
) -> None:
    """Verify a body; tracebacks of errors do not show the frames, which hold the secret."""
    secrets = _secrets(secret)
    limit = None if tolerance is None else _seconds("tolerance", tolerance)
    today = time.time() if now is None else _seconds("now", now)
    moment, signatures = _read_header(_header_text(header))
    age = today - int(moment)
    if limit is not None and abs(age) > limit:
        direction = "ago" if age > 0 else "in the future"
        raise WebhookVerificationError(
            f"it was signed {abs(age):.0f} s {direction}; the tolerance is {limit:g} s",
            "Answer 400; it may be a replay. If all webhooks fail, check this machine's clock.",
        )
    data = _raw(body)
    if data is None:
        raise WebhookVerificationError(
            _not_raw(body),
            "Pass the bytes of the request as they came, before anything decodes them.",
        )
    bodies = [data, *_compacted(data)] if lenient_json else [data]
    digests = [_digest(each, key, moment).encode() for each in bodies for key in secrets]
    # A list, not a generator: every comparison is made whatever the others gave.
    matches = [
        hmac.compare_digest(digest, signature) for digest in digests for signature in signatures
    ]
    if not any(matches):
        texts = [key.decode(errors="replace") for key in secrets]
        advice = ""
        if any(text.strip() != text for text in texts):  # it is easily overlooked
            advice = " The secret begins or ends with a space or a line break."
        raise WebhookVerificationError(
            "its signature does not match its body",
            "Answer 400. If all webhooks fail, check the secret, and that the bytes checked are "
            f"the raw ones of the request.{advice}",
        )


def parse(body: bytes | bytearray | memoryview | str | dict[str, Any]) -> WebhookEvent:
    """Return the event of a webhook. Verify it with `verify` first, or call `unwrap`.

    Unknown fields stay reachable in `.raw`, and unknown statuses keep their text.

    Args:
        body: The body of the request, or the object that was decoded from it.

    Returns:
        A `BatchEvent` if it has a batch's `metrics`, otherwise a `GenerationEvent`.

    Raises:
        WebhookPayloadError: It is not a JSON object, or a known field has a wrong type.

    Source: "Webhooks", sync.so API guides; "Batch", sync.so API reference.
    """
    data = body if isinstance(body, dict) else _decoded(body)
    if not isinstance(data, dict):
        raise WebhookPayloadError([f"body: expected an object, got {_shown(data)}"])
    reader = _Reader(data)
    event = _batch_event(reader) if data.get("metrics") is not None else _generation_event(reader)
    needed = {name: data.get(name) for name in ("id", "status")}
    missing = [
        f"{name}: is missing"
        for name, value in needed.items()
        if value is None or (isinstance(value, str) and not value)
    ]
    if missing or reader.problems:
        raise WebhookPayloadError(missing + reader.problems)
    return event


def _generation_event(reader: _Reader) -> GenerationEvent:
    text = reader.text
    return GenerationEvent(
        id=text("id") or "",
        status=Status(text("status") or ""),
        model=text("model"),
        created_at=reader.moment("createdAt", "created_at"),
        output_url=text("outputUrl"),
        segment_output_url=text("segmentOutputUrl"),
        output_duration=reader.read(float | int, "a finite number", "outputDuration", use=_finite),
        error=text("error"),
        # The webhook's own spelling first; polled objects use the other one.
        error_code=text("error_code", "errorCode"),
        webhook_url=text("webhookUrl", "webhook_url"),
        input=reader.read(list, "a list", "input") or [],
        options=reader.read(dict, "an object", "options"),
        raw=reader.data,
    )


def _batch_event(reader: _Reader) -> BatchEvent:
    text = reader.text
    counts = _Reader(reader.read(dict, "an object", "metrics") or {})
    event = BatchEvent(
        id=text("id") or "",
        status=text("status") or "",
        created_at=reader.moment("created_at", "createdAt"),
        metrics=BatchMetrics(
            **{field.name: counts.read(int, "a number", field.name) for field in _COUNTS}
        ),
        output_url=text("outputUrl", "output_url"),
        webhook_url=text("webhookUrl", "webhook_url"),
        raw=reader.data,
    )
    reader.problems += [f"metrics.{problem}" for problem in counts.problems]
    return event


class WebhookReceiver:
    """Receiver of deliveries from your web route, which lets a wait poll when an event comes.

    Pass it as `webhooks=` to `wait_until_complete`, `run`, `run_many`, `run_all` or
    `batches.wait_until_complete`. An event only starts a poll. The result is always the service's
    answer, so a lost, late, repeated or forged delivery does not change it. A generation whose
    event does not come is polled every 30 seconds. Any thread may pass deliveries in, and any
    number of clients and event loops may wait. Events that came before a wait are remembered. The
    route must run in the same process as the wait; otherwise the wait polls.

    Args:
        secret: The organization's signing secret, or several while it is exchanged; needed by
            `handle` only.
        tolerance: As for `verify`.
        remembered: How many jobs' events are kept, the newest; at least 1.

    Raises:
        ConfigurationError: A secret is empty or masked, or another argument is wrong.

    Source: "Webhooks", sync.so API guides.
    """

    def __init__(
        self,
        secret: str | bytes | Iterable[str | bytes] | None = None,
        *,
        tolerance: float | None = DEFAULT_TOLERANCE,
        remembered: int = 10_000,
    ) -> None:
        # No lock, for a signal handler may come in between: each step is one of the interpreter's
        # own. The statuses that events have told of each job, and the jobs' ids, oldest first.
        self._events: dict[str, tuple[str, ...]] = {}
        self._ids = deque[str]()
        self._listeners: dict[WeakMethod[Callable[[str], None]], ref[AbstractEventLoop]] = {}
        self._keys, failure = ((), None) if secret is None else _kept(secret)
        del secret  # a traceback that lists local variables must not show it
        if failure is not None:
            raise failure
        self._tolerance = None if tolerance is None else _seconds("tolerance", tolerance)
        if type(remembered) is not int or remembered < 1:
            raise ConfigurationError(f"remembered must be at least 1, not {_shown(remembered)}.")
        self._most = remembered

    def __repr__(self) -> str:
        return f"<WebhookReceiver: {len(self._events)} jobs with events>"

    def handle(
        self,
        body: bytes | bytearray | memoryview | str,
        headers: str | bytes | Mapping[Any, Any] | Iterable[Any] | None,
    ) -> int:
        """Verify a delivery, wake the waits for its job, and return the HTTP status to answer with.

        That is 204, or 400 for a delivery that must be ignored; the reason goes to the log.

        Args:
            body: The raw bytes of the request.
            headers: All of its headers.

        Raises:
            ConfigurationError: The receiver has no secret.

        Source: "Webhooks", sync.so API guides.
        """
        try:
            event = unwrap(body, headers, self._keys, tolerance=self._tolerance)
        except WebhookError as error:
            log(_LOG, logging.WARNING, f"a webhook was refused: {error}")
            return error.status
        self.deliver(event)
        return 204

    def deliver(self, event: WebhookEvent) -> None:
        """Wake the waits for the job of an event that `unwrap` or an adapter has returned.

        Args:
            event: The event.

        Source: "Webhooks", sync.so API guides.
        """
        known = self._events.get(event.id, ())
        if event.status in known or len(known) >= _MAX_STATUSES:  # it came twice, or is forged
            return
        self._events[event.id] = (*known, str(event.status))
        if not known:
            self._ids.append(event.id)
            if len(self._ids) > self._most:
                self._events.pop(self._ids.popleft(), None)
        for listener, place in self._listeners.copy().items():
            wake, loop = listener(), place()
            if wake is not None and loop is not None:
                with suppress(RuntimeError):  # it has been closed
                    loop.call_soon_threadsafe(wake, event.id)

    def has_event(self, job_id: str) -> bool:
        """Tell whether an event of a generation or a batch has come and is still remembered.

        Args:
            job_id: Its id.

        """
        return job_id in self._events

    def connect(self, wake: Callable[[str], None]) -> None:
        """From now on, call a method with the id of each event's job, in the running event loop.

        The client's waits call this themselves.

        Args:
            wake: The method. The receiver does not keep its object alive.

        """
        listeners = self._listeners
        loop = ref(get_running_loop())  # a loop that was left would keep its waits alive
        listeners[WeakMethod(wake, lambda gone: listeners.pop(gone, None))] = loop


@attrs.define(slots=True)
class _Reader:
    """Reads fields of known types, and collects those that have another."""

    data: Mapping[str, Any]
    problems: list[str] = attrs.field(factory=list)

    def read(
        self, kind: Any, wanted: str, *names: str, use: Callable[[Any], Any] | None = None
    ) -> Any:
        """Return what is made of the first of the fields that is there and not null."""
        name = next((name for name in names if self.data.get(name) is not None), None)
        if name is None:
            return None
        value = self.data[name]
        with suppress(ValueError, OverflowError):  # raised by `use`
            if isinstance(value, kind) and not isinstance(value, bool):
                return value if use is None else use(value)
        self.problems.append(f"{name}: expected {wanted}, got {_shown(value)}")
        return None

    def text(self, *names: str) -> str | None:
        """Return a text, as `read` does."""
        found: str | None = self.read(str, "text", *names)
        return found

    def moment(self, *names: str) -> datetime | None:
        """Return a time, as `read` does."""
        found: datetime | None = self.read(str, "an ISO 8601 time", *names, use=_moment)
        return found


def _finite(number: float) -> float:
    if not abs(number) <= sys.float_info.max:  # or it is NaN
        raise ValueError(number)
    return number


def _moment(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def _shown(value: Any) -> str:
    try:
        return _BRIEF.repr(value)[:60]
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return type(value).__name__


def _decoded(body: object) -> Any:
    data = _raw(body)
    if data is None:
        raise WebhookPayloadError([f"body: {_not_raw(body)}"])
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WebhookPayloadError([f"body: is not JSON ({error})"]) from None


def _raw(body: object) -> bytes | None:
    """Return the bytes of a body; `None` for what has no certain ones."""
    try:
        if isinstance(body, str):
            return body.encode("utf-8", "surrogateescape")
        # A view that was released has no bytes any more.
        return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else None
    except ValueError:
        return None


def _not_raw(body: object) -> str:
    if body is None:
        return "its body is missing"
    if isinstance(body, str | memoryview):
        return "its body has no bytes that could be those of the request"
    return f"its body is neither bytes nor text, but {type(body).__name__}"


def _secrets(given: object) -> list[bytes]:
    """Return all secrets as bytes."""
    if isinstance(given, str | bytes | bytearray) or not isinstance(given, Iterable):
        given = [given]
    keys = [_key(secret) for secret in given]
    if not keys:
        raise ConfigurationError(_NONE_GIVEN)
    return keys


def _kept(given: object) -> tuple[tuple[bytes, ...], LipsyncError | None]:
    """Return all secrets as bytes, and what is wrong with them; its traceback is empty."""
    try:
        return tuple(_secrets(given)), None
    except LipsyncError as error:
        return (), error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - secrets of any class are looked at
        return (), ConfigurationError(f"The webhook secret cannot be read: {in_words(error)}.")


def _key(secret: object) -> bytes:
    if secret is None:
        raise ConfigurationError(_NONE_GIVEN)
    if not isinstance(secret, str | bytes | bytearray):
        kind = type(secret).__name__
        raise ConfigurationError(f"A webhook secret must be text or bytes, not {kind}.")
    try:
        key = secret.encode() if isinstance(secret, str) else bytes(secret)
    except UnicodeEncodeError:
        raise ConfigurationError("A webhook secret must be valid Unicode.") from None
    if not key.strip():
        raise ConfigurationError(_NONE_GIVEN)
    if _MASKED.search(key.decode(errors="replace")):
        raise ConfigurationError(
            "The webhook secret is masked, so nothing can be checked with it. Pass the whole "
            "signing secret of your organization (whsec_…)."
        )
    return key


_UNREADABLE = "The arguments cannot be read ({}). Nothing was signed."
_NONE_GIVEN = (
    "No webhook secret was given, or an empty one. Pass the signing secret of your "
    "organization (whsec_…)."
)


def _time(at: object) -> int:
    """Return a moment that `verify` reads, in whole seconds."""
    seconds = _seconds("at", at)
    if not 0 <= seconds < 10**_MAX_TIME_DIGITS:
        raise ConfigurationError(f"at must be a time in seconds since 1970, not {_shown(at)}.")
    return int(seconds)


def _seconds(name: str, value: object) -> float:
    """Return an argument that is a number of seconds."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"{name} must be a finite number of seconds, not {_shown(value)}.")
    return number


def _digest(body: bytes, secret: bytes, moment: str) -> str:
    digest = hmac.new(secret, f"{moment}.".encode(), "sha256")
    digest.update(body)  # not joined before: a large body is not copied
    return digest.hexdigest()


def _header_text(header: object) -> str | None:
    """Return the signature header's text, from itself or from all headers of a request."""
    if header is None or isinstance(header, str | bytes | bytearray):
        return _as_text(header)
    items = getattr(header, "items", None)
    try:
        found = _values(items() if callable(items) else header)
    except TypeError:
        raise _not_of_the_form(f"is {type(header).__name__}, not text") from None
    if len(found) > 1:
        raise _not_of_the_form("was sent more than once")
    return found[0] if found else None


def _values(headers: Any) -> list[str | None]:
    """Return the different values of the signature header among pairs, or among bare values.

    WSGI and CGI write its name in another way.
    """
    found: list[str | None] = []
    for each in headers:
        is_pair = isinstance(each, tuple | list)
        name, value = each if is_pair and len(each) == 2 else (SIGNATURE_HEADER, each)  # noqa: PLR2004
        values = value if isinstance(value, list | tuple) else [value]
        plain = (_as_text(name) or "").strip().lower().replace("_", "-")
        if plain.removeprefix("http-") == SIGNATURE_HEADER.lower():
            found += [text for text in map(_as_text, values) if text not in found]
    return found


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1")
    raise TypeError(value)


def _read_header(header: str | None) -> tuple[str, list[bytes]]:
    """Return the time as written and the signatures; other parts are for other versions."""
    if header is None:
        raise WebhookVerificationError(
            f"it has no {SIGNATURE_HEADER} header",
            "Answer 400; check that nothing between the service and you removes headers.",
        )
    if len(header) > _MAX_HEADER or header.count(",") >= _MAX_PARTS:
        raise _not_of_the_form("is longer than any that the service sends")
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value.encode(errors="replace") for name, _, value in pairs if name == "v1"]
    is_time = len(times) == 1 and times[0].isascii() and times[0].isdigit()
    if not is_time or len(times[0]) > _MAX_TIME_DIGITS or not signatures:
        raise _not_of_the_form("is not of the form t=<seconds>,v1=<hex>")
    return times[0], signatures


def _not_of_the_form(what: str) -> WebhookVerificationError:
    return WebhookVerificationError(
        f"its {SIGNATURE_HEADER} header {what}",
        "Answer 400; check that the whole header is passed on.",
    )


def _compacted(body: bytes) -> list[bytes]:
    """Return the body as the service would have written it, if it is JSON at all."""
    try:
        data = json.loads(body)
        return [json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()]
    except (ValueError, RecursionError):
        return []
