"""The service's error codes: which of them bear a second try."""

from __future__ import annotations

# Codes after which the same order may be placed again, from the catalogue's groups R and
# W (contract section 4.3); the two prefixes classify codes that are still unknown.
_RETRYABLE_CODES = frozenset(
    {
        "concurrency_limit_reached",
        "elevenlabs_service_unavailable",
        "generation_database_error",
        "generation_media_probe_timeout",
        "generation_media_probe_unavailable",
        "generation_pipeline_failed",
        "generation_timeout",
        "generation_unhandled_error",
        "generation_unknown_error",
        "internal_error",
        "rate_limit_exceeded",
        "usage_dependency_unavailable",
        "voice_clone_busy",
    },
)
_RETRYABLE_PREFIXES = ("generation_infra_", "controller_")
# Codes of an idempotent create that is still being settled (contract section 4.4).
_UNSETTLED_WORDS = ("UNKNOWN", "PROGRESS")


# Below the errors, only these say for certain that nothing was done: the request is to be sent
# elsewhere. "See other" (303) is said after the work.
_FIRST_ERROR_STATUS = 400
_ELSEWHERE = frozenset({301, 302, 307, 308})


def is_no_answer(status: int) -> bool:
    """Tell whether a status that is no success says neither that it worked nor that it failed."""
    return status < _FIRST_ERROR_STATUS and status not in _ELSEWHERE


def is_unsettled_code(code: str | None) -> bool:
    """Tell whether a create's outcome is still open, so that its own key must be kept.

    Source: contract section 4.4.
    """
    return (
        code is not None
        and code.startswith("IDEMPOTENCY_")
        and any(word in code for word in _UNSETTLED_WORDS)
    )


def is_reused_key_code(code: str | None) -> bool:
    """Tell whether a create was refused because its key has another body already.

    Source: contract sections 4.4 and 14 (a): the service's own word for it is not known.
    """
    return code is not None and code.startswith("IDEMPOTENCY_") and not is_unsettled_code(code)


def is_retryable_code(code: str | None) -> bool:
    """Tell whether trying again unchanged may help after this error code.

    Source: contract section 4.3.
    """
    return code is not None and (
        code in _RETRYABLE_CODES or code.startswith(_RETRYABLE_PREFIXES) or is_unsettled_code(code)
    )
