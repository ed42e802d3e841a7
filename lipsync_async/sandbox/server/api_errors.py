"""The service's error codes, and its error answers with the documented bodies.

No place that refuses a request chooses a status: the table does, by the code.

Source: "Error handling", sync.so guides; the advice is this project's own words.
"""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RETRY = "Send the same request again after a pause."
_INPUT = "Correct the input that the code names, then send a new request."
_KEY = "Send the body again that the key was first sent with; a new key is a new paid order."
_PLAN = "Check the plan and the billing of your organization."
_STATE = "Check the id and the state of the generation."

MOST_PROBLEMS = 100  # in one answer


@attrs.frozen(slots=True)
class ErrorCode:
    """What goes with an error code."""

    status: int
    advice: str
    input_status: int = 422  # where the code is about an input in the body


_TABLE = {
    (_RETRY, 500): """
        generation_pipeline_failed generation_unknown_error generation_infra_storage_error
        controller_dependency_error internal_error
    """,
    (_RETRY, 503): """
        generation_infra_resource_exhausted generation_infra_service_unavailable
        generation_media_probe_timeout generation_media_probe_unavailable controller_timeout
        controller_unavailable usage_dependency_unavailable voice_clone_busy
        elevenlabs_service_unavailable IDEMPOTENCY_OUTCOME_UNKNOWN
    """,
    (_RETRY, 429): "concurrency_limit_reached rate_limit_exceeded",
    (_INPUT, 400): """
        generation_unsupported_model generation_input_validation_failed invalid_asset_id_format
        voice_sample_not_accessible voice_sample_type_unsupported voice_sample_upload_required
        voice_sample_extraction_failed voice_sample_source_too_large voice_sample_too_short
        voice_sample_invalid INVALID_IDEMPOTENCY_KEY
    """,
    (_INPUT, 403): "asset_forbidden",
    (_INPUT, 404): """
        project_not_found asset_not_found voice_not_found dialogue_edit_not_found
    """,
    (_INPUT, 409): "voice_name_conflict",
    (_INPUT, 422): """
        generation_input_video_inaccessible generation_input_audio_inaccessible
        generation_input_image_inaccessible generation_input_video_invalid
        generation_input_audio_invalid generation_input_segments_invalid
        generation_input_trim_invalid generation_input_face_selection_invalid
        generation_input_resolution_unsupported generation_model_duration_exceeded
        generation_input_duration_greater_than_max_duration generation_input_asset_type_mismatch
        generation_input_too_many_visual generation_input_dub_audio_conflict
        generation_media_metadata_missing dubbing_duration_exceeded uploaded_file_not_found
        file_not_in_org_storage dialogue_edit_unsupported
        dialogue_edit_removal_too_large dialogue_edit_retime_required
        elevenlabs_api_key_invalid cost_estimate_unavailable
    """,
    (_KEY, 409): "IDEMPOTENCY_KEY_REUSED",
    (_PLAN, 402): """
        generation_plan_duration_exceeded free_tier_generations_exhausted plan_feature_unavailable
        account_payment_required account_on_hold elevenlabs_quota_exceeded
    """,
    (_PLAN, 403): "voice_clone_limit_reached",
    (_PLAN, 422): "file_size_exceeds_plan_limit",
    (_STATE, 400): "invalid_generation_id unsupported_generation_id_format",
    (_STATE, 404): "generation_not_found",
    (_STATE, 409): "generation_not_deletable_while_processing generation_conflict",
}

ERROR_CODES: Mapping[str, ErrorCode] = MappingProxyType(
    {
        code: ErrorCode(status, advice)
        for (advice, status), codes in _TABLE.items()
        for code in codes.split()
    }
)


@attrs.define(slots=True, eq=False)
class ApiError(Exception):
    """An error answer on its way to where it is sent."""

    status: int
    body: dict[str, Any]


def error(code: str, message: str, *, is_input: bool = False, **extras: Any) -> ApiError:
    """Return the error of a code, with the status and the suggestion that go with it."""
    facts = ERROR_CODES[code]
    status = facts.input_status if is_input else facts.status
    body: dict[str, Any] = {
        "statusCode": status,
        "errorCode": code,
        "message": message,
        "error": HTTPStatus(status).phrase,
        "suggestion": facts.advice,
    }
    return ApiError(status, body | extras)


def malformed(problems: Sequence[str]) -> ApiError:
    """Return a 400 whose message is a list, one entry a problem, up to a hundred."""
    body = {"message": list(problems[:MOST_PROBLEMS]), "error": "Bad Request", "statusCode": 400}
    return ApiError(400, body)


def plain_error(status: int, message: str) -> ApiError:
    """Return an error without a code, whose message is one string."""
    phrase = HTTPStatus(status).phrase
    return ApiError(status, {"message": message, "error": phrase, "statusCode": status})


def bad_request(message: str) -> ApiError:
    """Return a 400 whose message is one string."""
    return plain_error(400, message)


def too_large(message: str) -> ApiError:
    """Return the 413 of a body over the parser's limits, whose code usually has another status."""
    body = error("generation_input_validation_failed", message).body
    return ApiError(413, {**body, "statusCode": 413, "error": HTTPStatus(413).phrase})


def rate_limit_body() -> dict[str, Any]:
    """Return the body of the 429 of too many requests in a minute."""
    return {
        "statusCode": 429,
        "errorCode": "rate_limit_exceeded",
        "message": "Rate limit exceeded. Please try again later.",
        "error": "Too Many Requests",
    }


def concurrency_limit_body(
    limit: int, active: int, retry_after_seconds: float | None
) -> dict[str, Any]:
    """Return the body of the 429 of too many generations at once."""
    generations = "1 generation" if limit == 1 else f"{limit} generations"
    running = "1 is" if active == 1 else f"{active} are"
    advice = {} if retry_after_seconds is None else {"retryAfterSeconds": retry_after_seconds}
    return {
        "statusCode": 429,
        "errorCode": "concurrency_limit_reached",
        "message": f"Your plan runs {generations} at once, and {running} running.",
        "activeGenerations": active,
        "concurrencyLimit": limit,
        **advice,
        "upgradeUrl": "https://sync.so/pricing",
    }
