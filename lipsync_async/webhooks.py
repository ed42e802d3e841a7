"""Webhooks: check who sent one, and read what it says.

    try:
        verify(body, headers, secret)
    except WebhookVerificationError:
        ...  # answer 400 and do nothing else
    event = parse(body)

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
import math
import re
import reprlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs

from lipsync_async._enums import Status
from lipsync_async.errors import ConfigurationError, LipsyncError, in_words

SIGNATURE_HEADER = "Sync-Signature"

# The vendor documents no tolerance; this is what signature schemes of this form use.
DEFAULT_TOLERANCE = 300.0

_MAX_TIME_DIGITS = 12  # digits; enough for 30,000 years, and no giant number is ever parsed

# The service sends one signature, and two at most while a secret is exchanged.
_MAX_PARTS = 16
_MAX_HEADER = 2048

# How secrets are shown where they are not to be read.
_MASKED = re.compile(r"[*\u2022\u25cf]{3}|\u2026|\.{3}")

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 60
_BRIEF.maxlevel = 2


class WebhookVerificationError(LipsyncError):
    """Raised when a delivery cannot be shown to come from the service, or to be fresh.

    Attributes:
        reason: What is wrong with it.

    """

    def __init__(self, reason: str, next_step: str) -> None:
        self.reason = reason
        super().__init__(f"Do not trust this webhook: {reason}. {next_step}")


class WebhookPayloadError(LipsyncError):
    """Raised when the body of a webhook cannot be read.

    Attributes:
        paths: Each problem with its path in the body.

    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths: tuple[str, ...] = tuple(paths)
        listed = "".join(f"\n  {path}" for path in self.paths)
        super().__init__(
            f"This webhook cannot be read:{listed}\n"
            "Look at the generation itself instead, and check that nothing between the "
            "service and you rewrites bodies."
        )


@attrs.define(slots=True, kw_only=True)
class WebhookEvent:
    """What a webhook says about a generation, or about a batch.

    Attributes:
        id: The generation's or the batch's id; the same event may come twice.
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

    Source: "Webhooks", sync.so API guides; "Batch", sync.so API reference.
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
        WebhookVerificationError: It was not, or cannot be told.
        ConfigurationError: There is no secret, one is empty or masked, or another
            argument of yours is wrong.

    Source: "Webhooks", sync.so API guides.
    """
    try:
        _verify(body, header, secret, tolerance, now, lenient_json=lenient_json)
    except LipsyncError as error:
        failure = error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - arguments of any class are looked at
        failure = WebhookVerificationError(
            f"looking at it raised {in_words(error)}",
            "Pass the raw bytes of the request, and its headers as text, bytes or a mapping.",
        )
    else:
        return
    del secret  # a traceback that lists local variables must not show it
    raise failure


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
            f"it was signed {abs(age):.0f} s {direction}, and {limit:g} s are tolerated",
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
            advice = " The secret begins or ends with a blank or a line end."
        raise WebhookVerificationError(
            "its signature does not match its body",
            "Answer 400. If all webhooks fail, check the secret, and that the bytes checked are "
            f"the raw ones of the request.{advice}",
        )


def parse(body: bytes | bytearray | memoryview | str | dict[str, Any]) -> WebhookEvent:
    """Return what a webhook says. Check it with `verify` first.

    Unknown fields stay reachable in `.raw`, and unknown statuses keep their text.

    Args:
        body: The body of the request, or the object that was decoded from it.

    Raises:
        WebhookPayloadError: It is no JSON object, or a known field has a wrong type.

    Source: "Webhooks", sync.so API guides; "Batch", sync.so API reference.
    """
    data = body if isinstance(body, dict) else _decoded(body)
    if not isinstance(data, dict):
        raise WebhookPayloadError([f"body: expected an object, got {_shown(data)}"])
    reader = _Reader(data)
    text = partial(reader.read, str, "text")
    event = WebhookEvent(
        id=text("id") or "",
        status=Status(text("status") or ""),
        model=text("model"),
        created_at=reader.read(str, "an ISO 8601 time", "createdAt", "created_at", use=_moment),
        output_url=text("outputUrl"),
        segment_output_url=text("segmentOutputUrl"),
        output_duration=reader.read(float | int, "a finite number", "outputDuration", use=_finite),
        error=text("error"),
        # The webhook's own spelling first; polled objects use the other one.
        error_code=text("error_code", "errorCode"),
        webhook_url=text("webhookUrl", "webhook_url"),
        input=reader.read(list, "a list", "input") or [],
        options=reader.read(dict, "an object", "options"),
        raw=data,
    )
    needed = {name: data.get(name) for name in ("id", "status")}
    missing = [
        f"{name}: is missing"
        for name, value in needed.items()
        if value is None or (isinstance(value, str) and not value)
    ]
    if missing or reader.problems:
        raise WebhookPayloadError(missing + reader.problems)
    return event


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
        raise WebhookPayloadError([f"body: no JSON ({error})"]) from None


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


_UNREADABLE = "The arguments cannot be read, for looking at one raised {}. Nothing was signed."
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
        raise _not_of_the_form(f"is {type(header).__name__}, no text") from None
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
            "Answer 400; check that nothing between the service and you drops headers.",
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
