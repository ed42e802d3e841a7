"""The service's error codes, and its error answers with the documented bodies.

Source: "Error handling", sync.so API reference; the advice is this project's own words.
"""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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


_RETRY = "Send the same request again after a pause."
_INPUT = "Correct the input that the code names, then send a new request."
_KEY = "Send the body again that the key was first sent with; a new key is a new paid order."
_PLAN = "Check the plan and the billing of your organization."
_STATE = "Check the id and the state of the generation."

_ADVICE_BY_GROUP = {
    _RETRY: (
        "generation_pipeline_failed generation_unknown_error generation_infra_storage_error "
        "generation_infra_resource_exhausted generation_infra_service_unavailable "
        "generation_media_probe_timeout generation_media_probe_unavailable controller_timeout "
        "controller_unavailable controller_dependency_error internal_error "
        "elevenlabs_service_unavailable usage_dependency_unavailable voice_clone_busy "
        "concurrency_limit_reached rate_limit_exceeded IDEMPOTENCY_OUTCOME_UNKNOWN"
    ),
    _INPUT: (
        "generation_unsupported_model generation_input_validation_failed "
        "generation_input_video_inaccessible generation_input_audio_inaccessible "
        "generation_input_image_inaccessible generation_input_video_invalid "
        "generation_input_audio_invalid generation_input_segments_invalid "
        "generation_input_trim_invalid generation_input_face_selection_invalid "
        "generation_input_resolution_unsupported "
        "generation_input_duration_greater_than_max_duration generation_model_duration_exceeded "
        "generation_input_asset_type_mismatch generation_input_too_many_visual "
        "generation_input_dub_audio_conflict generation_media_metadata_missing "
        "dubbing_duration_exceeded project_not_found asset_not_found asset_forbidden "
        "invalid_asset_id_format uploaded_file_not_found file_not_in_org_storage voice_not_found "
        "voice_sample_not_accessible voice_sample_type_unsupported voice_sample_upload_required "
        "voice_sample_extraction_failed voice_sample_source_too_large voice_sample_too_short "
        "voice_sample_invalid voice_name_conflict elevenlabs_api_key_invalid "
        "cost_estimate_unavailable INVALID_IDEMPOTENCY_KEY"
    ),
    _KEY: "IDEMPOTENCY_KEY_REUSED",
    _PLAN: (
        "generation_plan_duration_exceeded free_tier_generations_exhausted "
        "plan_feature_unavailable account_payment_required account_on_hold "
        "voice_clone_limit_reached elevenlabs_quota_exceeded file_size_exceeds_plan_limit"
    ),
    _STATE: (
        "generation_not_deletable_while_processing invalid_generation_id "
        "unsupported_generation_id_format generation_not_found generation_conflict"
    ),
}

SUGGESTIONS: Mapping[str, str] = MappingProxyType(
    {code: advice for advice, codes in _ADVICE_BY_GROUP.items() for code in codes.split()},
)


def error_catalogue() -> list[dict[str, str]]:
    """Return every code with a message and a suggestion."""
    return [
        {"code": code, "message": _sentence(code), "suggestion": advice}
        for code, advice in SUGGESTIONS.items()
    ]


def _sentence(code: str) -> str:
    return code.replace("_", " ").capitalize() + "."
