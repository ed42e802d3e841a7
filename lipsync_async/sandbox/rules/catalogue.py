"""The service's error codes and its models, as it publishes them.

Source: contract sections 3.1 and 4.3; the advice is this project's own words.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def _model(name: str, kind: str, version: str, description: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "type": kind,
        "version": version,
        "description": f"{description} In this sandbox every model renders alike.",
    }


MODELS: tuple[Mapping[str, Any], ...] = (
    _model("sync-3", "lipsync", "3.0.0", "Takes videos and images."),
    _model("lipsync-2", "lipsync", "2.0.0", "Takes videos."),
    _model("lipsync-2-pro", "lipsync", "2.0.0", "Takes videos; finer detail."),
    _model("lipsync-1.9.0-beta", "lipsync", "1.9.0-beta", "Takes videos; the fastest."),
    _model("react-1", "react", "1.0.0", "Takes short videos; directs the expression."),
)

# Accepted though not listed: names seen in older code (contract section 3.1).
LEGACY_MODELS = frozenset(
    {
        "appearence-1",
        "lipsync-1.6.0",
        "lipsync-1.7.1",
        "lipsync-1.8.0",
        "lipsync-1.8.0-beta",
        "lipsync-2-mini",
    },
)

# Price of one second at 25 frames, in US dollars (contract section 2.9, the lower ends).
PRICES_PER_SECOND: Mapping[str, float] = MappingProxyType(
    {
        "sync-3": 0.107,
        "lipsync-2": 0.04,
        "lipsync-2-pro": 0.067,
        "lipsync-1.9.0-beta": 0.02,
        "react-1": 0.167,
    },
)
