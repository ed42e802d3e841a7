"""Webhooks: check who sent one, and read what it says.

    try:
        verify(body, headers.get("Sync-Signature"), secret)
    except WebhookVerificationError:
        ...  # answer 400 and do nothing else
    event = parse(body)

Pass the raw bytes of the request: a body that was decoded and encoded again may differ
from the one that was signed. Take an event for a hint: the service promises neither
order, nor a single delivery, nor any delivery at all. So tell events apart by `id`, and
keep looking at jobs whose event does not come.

Source: contract section 10.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from lipsync_async._words import Status
from lipsync_async.errors import ConfigurationError, LipsyncError

SIGNATURE_HEADER = "Sync-Signature"

# The vendor documents no tolerance; this is what signature schemes of this form use.
DEFAULT_TOLERANCE = 300.0

_LONGEST_TIME = 12  # digits; enough for 30,000 years, and no giant number is ever parsed


class WebhookVerificationError(LipsyncError):
    """Raised when a delivery cannot be shown to come from the service, or to be fresh.

    Attributes:
        reason: What is wrong with it.

    """

    def __init__(self, reason: str, next_step: str) -> None:
        """Say what is wrong, then what to do."""
        self.reason = reason
        super().__init__(f"Do not trust this webhook: {reason}. {next_step}")


class WebhookPayloadError(LipsyncError):
    """Raised when the body of a webhook cannot be read.

    Attributes:
        paths: Each problem with its path in the body.

    """

    def __init__(self, paths: Sequence[str]) -> None:
        """List the problems, one a line."""
        self.paths: tuple[str, ...] = tuple(paths)
        listed = "".join(f"\n  {path}" for path in self.paths)
        super().__init__(
            f"This webhook cannot be read:{listed}\n"
            "Look at the generation itself instead, and check that nothing between the "
            "service and you rewrites bodies.",
        )


@attrs.define(slots=True, kw_only=True)
class WebhookEvent:
    """Hold what a webhook says about a generation, or about a batch.

    Attributes:
        id: The generation's or the batch's id; the same event may come twice.
        status: Where it is in its life; an unknown status keeps its text.
        model: The model's name.
        created_at: When it was created (UTC).
        output_url: Where the result is; it expires, do not store it.
        segment_output_url: Where the result of the segments alone is.
        output_duration: The result's length in seconds.
        error: Why it failed, in words.
        error_code: Why it failed, as a code; often missing, then ask for the generation.
        webhook_url: The URL that this was sent to.
        input: The inputs, as sent.
        options: The options, as sent.
        raw: The whole object as received, unknown fields included.

    Source: contract sections 7 and 10.
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


def sign(body: bytes, secret: str, at: float) -> str:
    """Return the value of the `Sync-Signature` header for a body.

    Args:
        body: The raw bytes that are sent.
        secret: The signing secret as shown, its `whsec_` prefix included.
        at: Unix time in seconds; the fraction is dropped.

    Source: contract section 10.
    """
    moment = str(int(at))
    return f"t={moment},v1={_digest(body, secret, moment)}"


def verify(
    body: bytes,
    header: str | None,
    secret: str | Sequence[str],
    *,
    tolerance: float | None = DEFAULT_TOLERANCE,
    now: float | None = None,
    lenient_json: bool = False,
) -> None:
    """Return only if a body was signed with the secret, and recently.

    Signatures are compared in constant time.

    Args:
        body: The raw bytes of the request.
        header: Value of its `Sync-Signature` header; `None`: there was none.
        secret: The organization's signing secret, or several while it is exchanged.
        tolerance: Seconds that the signature's time may be off; `None`: any.
        now: Unix time in seconds to judge by; `None`: the system's clock.
        lenient_json: Where the raw bytes do not match, also try the body as compact
            JSON, for a proxy that spaced or escaped it anew.

    Raises:
        WebhookVerificationError: It was not, or cannot be told.
        ConfigurationError: No secret, or an empty one, was given.

    Source: contract section 10.
    """
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets or not all(secrets):
        raise ConfigurationError(
            "No webhook secret was given, or an empty one. Pass the signing secret of your "
            "organization (whsec_…).",
        )
    moment, signatures = _read_header(header)
    bodies = [body, *_compacted(body)] if lenient_json else [body]
    # A list, not a generator: every comparison is made whatever the others gave.
    matches = [
        hmac.compare_digest(
            _digest(candidate, each, moment).encode(), signature.encode(errors="replace")
        )
        for candidate in bodies
        for each in secrets
        for signature in signatures
    ]
    if not any(matches):
        raise WebhookVerificationError(
            "its signature does not match its body",
            "Answer 400. If all webhooks fail, check the secret, and that the bytes checked are "
            "the raw ones of the request.",
        )
    _check_age(int(moment), time.time() if now is None else now, tolerance)


def parse(body: bytes | str) -> WebhookEvent:
    """Return what a webhook says. Check it with `verify` first.

    Unknown fields stay reachable in `.raw`, and unknown statuses keep their text.

    Args:
        body: The body of the request.

    Raises:
        WebhookPayloadError: It is no JSON object, or a known field has a wrong type.

    Source: contract sections 7 and 10.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WebhookPayloadError([f"body: no JSON ({error})"]) from None
    if not isinstance(data, dict):
        raise WebhookPayloadError([f"body: expected an object, got {_shown(data)}"])
    reader = _Reader(data)
    event = WebhookEvent(
        id=reader.text("id") or "",
        status=Status(reader.text("status") or ""),
        model=reader.text("model"),
        created_at=reader.moment("createdAt", "created_at"),
        output_url=reader.text("outputUrl"),
        segment_output_url=reader.text("segmentOutputUrl"),
        output_duration=reader.read(float | int, "a number", "outputDuration"),
        error=reader.text("error"),
        # The webhook's own spelling first; polled objects use the other one.
        error_code=reader.text("error_code", "errorCode"),
        webhook_url=reader.text("webhookUrl", "webhook_url"),
        input=reader.read(list, "a list", "input") or [],
        options=reader.read(dict, "an object", "options"),
        raw=data,
    )
    missing = [f"{name}: is missing" for name in ("id", "status") if not data.get(name)]
    if missing or reader.problems:
        raise WebhookPayloadError(missing + reader.problems)
    return event


@attrs.define(slots=True)
class _Reader:
    """Read fields of known types, and note every one that has another."""

    data: Mapping[str, Any]
    problems: list[str] = attrs.field(factory=list)

    def read(self, kind: Any, wanted: str, *names: str) -> Any:
        """Return the first of the fields that is there and not null."""
        name = next((name for name in names if self.data.get(name) is not None), None)
        if name is None:
            return None
        value = self.data[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.problems.append(f"{name}: expected {wanted}, got {_shown(value)}")
            return None
        return value

    def text(self, *names: str) -> str | None:
        found: str | None = self.read(str, "text", *names)
        return found

    def moment(self, *names: str) -> datetime | None:
        text = self.text(*names)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return aware.astimezone(UTC)
        except (ValueError, OverflowError):
            self.problems.append(f"{names[0]}: expected an ISO 8601 time, got {_shown(text)}")
            return None


def _shown(value: Any) -> str:
    return f"{value!r:.60}"


def _digest(body: bytes, secret: str, moment: str) -> str:
    return hmac.digest(secret.encode(), f"{moment}.".encode() + body, "sha256").hex()


def _read_header(header: str | None) -> tuple[str, list[str]]:
    """Return the time as written and the signatures; other parts are for other versions."""
    if header is None:
        raise WebhookVerificationError(
            f"it has no {SIGNATURE_HEADER} header",
            "Answer 400; check that nothing between the service and you drops headers.",
        )
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    is_time = len(times) == 1 and times[0].isascii() and times[0].isdigit()
    if not is_time or len(times[0]) > _LONGEST_TIME or not signatures:
        raise WebhookVerificationError(
            f"its {SIGNATURE_HEADER} header is not of the form t=<seconds>,v1=<hex>",
            "Answer 400; check that the whole header is passed on.",
        )
    return times[0], signatures


def _compacted(body: bytes) -> list[bytes]:
    """Return the body as the service would have written it, if it is JSON at all."""
    try:
        data = json.loads(body)
        return [json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()]
    except (ValueError, RecursionError):
        return []


def _check_age(signed_at: int, now: float, tolerance: float | None) -> None:
    age = now - signed_at
    if tolerance is None or abs(age) <= tolerance:
        return
    direction = "ago" if age > 0 else "in the future"
    raise WebhookVerificationError(
        f"it was signed {abs(age):.0f} s {direction}, and {tolerance:g} s are tolerated",
        "Answer 400; it may be a replay. If all webhooks fail, check this machine's clock.",
    )
