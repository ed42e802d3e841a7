"""The service's error answers, each with the body that is documented for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.rules.catalogue import SUGGESTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence


class Refusal(Exception):  # noqa: N818 - an answer of the service, not an error of the sandbox
    """Carry an error answer up to where it is sent.

    Attributes:
        status: HTTP status code.
        body: What becomes the JSON body.

    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        """Hold on to both."""
        self.status = status
        self.body = body
        super().__init__(f"{status} {body}")


def coded(status: int, code: str, message: str, **extras: Any) -> Refusal:
    """Return an error with a code of the catalogue, and the suggestion that goes with it.

    Source: contract section 4.1.
    """
    body: dict[str, Any] = {
        "statusCode": status,
        "errorCode": code,
        "message": message,
        "error": HTTPStatus(status).phrase,
        "suggestion": SUGGESTIONS[code],
    }
    return Refusal(status, body | extras)


def malformed(problems: Sequence[str]) -> Refusal:
    """Return a 400 whose message is a list, one entry a problem (contract section 4.1)."""
    body = {"message": list(problems), "error": "Bad Request", "statusCode": 400}
    return Refusal(400, body)


def bad_request(message: str) -> Refusal:
    """Return a 400 whose message is one string (contract section 4.1)."""
    return Refusal(400, {"message": message, "error": "Bad Request", "statusCode": 400})


def no_key() -> Refusal:
    """Return the 401 of a request without a key (contract section 1)."""
    message = "Either Cookie or x-api-key header must be provided"
    return Refusal(401, {"message": message, "error": "Unauthorized", "statusCode": 401})


def wrong_key() -> Refusal:
    """Return the 401 of an unknown key (contract section 1)."""
    return Refusal(401, {"message": "Unauthorized", "statusCode": 401})


def live_key() -> Refusal:
    """Return the 401 of a key that looks as if it could cost somebody money."""
    message = (
        "Unauthorized: this is a sandbox and the key looks like one of the real service. "
        "Use the key that the sandbox printed."
    )
    return Refusal(401, {"message": message, "statusCode": 401})


def no_route(method: str, path: str) -> Refusal:
    """Return the 404 of a path that does not exist."""
    message = f"Cannot {method} {path}"
    return Refusal(404, {"message": message, "error": "Not Found", "statusCode": 404})


def unknown_generation(generation_id: str) -> Refusal:
    """Return the 404 of an id that no generation has."""
    message = f"Generation {generation_id} was not found."
    return coded(404, "generation_not_found", message)


def malformed_generation_id(generation_id: str) -> Refusal:
    """Return the 400 of an id that is no UUID."""
    return coded(400, "invalid_generation_id", f"{generation_id!r} is not a generation id.")


def rate_limited() -> Refusal:
    """Return the 429 of too many requests in a minute (contract section 4.1)."""
    body = {
        "statusCode": 429,
        "errorCode": "rate_limit_exceeded",
        "message": "Rate limit exceeded. Please try again later.",
        "error": "Too Many Requests",
    }
    return Refusal(429, body)


def concurrency_limited(active: int, limit: int, retry_seconds: float) -> Refusal:
    """Return the 429 of too many generations at once (contract section 4.1)."""
    generations = "1 generation" if limit == 1 else f"{limit} generations"
    running = "1 is" if active == 1 else f"{active} are"
    body = {
        "statusCode": 429,
        "errorCode": "concurrency_limit_reached",
        "message": f"Your plan runs {generations} at once, and {running} running.",
        "activeGenerations": active,
        "concurrencyLimit": limit,
        "retryAfterSeconds": retry_seconds,
        "upgradeUrl": "https://sync.so/pricing",
    }
    return Refusal(429, body)


def too_large(message: str) -> Refusal:
    """Return the 413 of a form over the parser's limits (contract section 2.5)."""
    return coded(413, "generation_input_validation_failed", message)
