"""Async-first client for the sync.so lip-sync API, with a sandbox that really renders.

Names are loaded when they are first used: importing the package costs next to nothing,
and never loads aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lipsync_async._enums import __version__ as __version__

if TYPE_CHECKING:
    from lipsync_async._async.client import (
        AsyncClient as AsyncClient,
    )
    from lipsync_async._bulk.journal_entry import (
        JobState as JobState,
        JournalEntry as JournalEntry,
    )
    from lipsync_async._bulk.journal_reader import (
        JournalView as JournalView,
    )
    from lipsync_async._bulk.manifest import (
        ManifestRow as ManifestRow,
        read_manifest as read_manifest,
    )
    from lipsync_async._bulk.results import (
        FailureGroup as FailureGroup,
        Outcome as Outcome,
        Progress as Progress,
        group_failures as group_failures,
    )
    from lipsync_async._enums import (
        Emotion as Emotion,
        Model as Model,
        ModelMode as ModelMode,
        Status as Status,
        SyncMode as SyncMode,
    )
    from lipsync_async._models.http import (
        Response as Response,
    )
    from lipsync_async._models.policies import (
        Limits as Limits,
        PollPolicy as PollPolicy,
        RetryPolicy as RetryPolicy,
    )
    from lipsync_async._models.request import (
        ActiveSpeaker as ActiveSpeaker,
        Audio as Audio,
        DubParams as DubParams,
        ElevenLabs as ElevenLabs,
        GenerationRequest as GenerationRequest,
        Image as Image,
        Options as Options,
        Origin as Origin,
        Segment as Segment,
        SegmentAudio as SegmentAudio,
        Text as Text,
        UnknownInput as UnknownInput,
        Video as Video,
    )
    from lipsync_async._models.response import (
        CostEstimate as CostEstimate,
        Generation as Generation,
        GenerationPage as GenerationPage,
        ModelInfo as ModelInfo,
    )
    from lipsync_async._sync.client import (
        Client as Client,
    )
    from lipsync_async.errors import (
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        ConcurrencyLimitError as ConcurrencyLimitError,
        ConfigurationError as ConfigurationError,
        ConflictError as ConflictError,
        ConnectError as ConnectError,
        ConnectionLostError as ConnectionLostError,
        DecodeError as DecodeError,
        DownloadError as DownloadError,
        GenerationError as GenerationError,
        GenerationFailedError as GenerationFailedError,
        GenerationRejectedError as GenerationRejectedError,
        IgnoredOptionWarning as IgnoredOptionWarning,
        InvalidRequestError as InvalidRequestError,
        JournalError as JournalError,
        LipsyncError as LipsyncError,
        LipsyncWarning as LipsyncWarning,
        NotFoundError as NotFoundError,
        PayloadTooLargeError as PayloadTooLargeError,
        PaymentRequiredError as PaymentRequiredError,
        PermissionDeniedError as PermissionDeniedError,
        RateLimitError as RateLimitError,
        RequestTimeoutError as RequestTimeoutError,
        ResponseError as ResponseError,
        ServerError as ServerError,
        SpendingLimitError as SpendingLimitError,
        TransportError as TransportError,
        UnexpectedError as UnexpectedError,
        UnprocessableError as UnprocessableError,
        WaitTimeoutError as WaitTimeoutError,
    )

_HOMES = {
    "AsyncClient": "_async.client",
    "JobState": "_bulk.journal_entry",
    "JournalEntry": "_bulk.journal_entry",
    "JournalView": "_bulk.journal_reader",
    "read_manifest": "_bulk.manifest",
    "ManifestRow": "_bulk.manifest",
    "FailureGroup": "_bulk.results",
    "Outcome": "_bulk.results",
    "Progress": "_bulk.results",
    "group_failures": "_bulk.results",
    "Client": "_sync.client",
    "ActiveSpeaker": "_models.request",
    "Audio": "_models.request",
    "DubParams": "_models.request",
    "ElevenLabs": "_models.request",
    "GenerationRequest": "_models.request",
    "Image": "_models.request",
    "Options": "_models.request",
    "Origin": "_models.request",
    "Segment": "_models.request",
    "SegmentAudio": "_models.request",
    "Text": "_models.request",
    "UnknownInput": "_models.request",
    "Video": "_models.request",
    "Response": "_models.http",
    "CostEstimate": "_models.response",
    "Generation": "_models.response",
    "GenerationPage": "_models.response",
    "ModelInfo": "_models.response",
    "Limits": "_models.policies",
    "PollPolicy": "_models.policies",
    "RetryPolicy": "_models.policies",
    "Emotion": "_enums",
    "Model": "_enums",
    "ModelMode": "_enums",
    "Status": "_enums",
    "SyncMode": "_enums",
    "AuthenticationError": "errors",
    "BadRequestError": "errors",
    "ConcurrencyLimitError": "errors",
    "ConfigurationError": "errors",
    "ConflictError": "errors",
    "ConnectError": "errors",
    "ConnectionLostError": "errors",
    "DecodeError": "errors",
    "DownloadError": "errors",
    "GenerationError": "errors",
    "GenerationFailedError": "errors",
    "GenerationRejectedError": "errors",
    "IgnoredOptionWarning": "errors",
    "InvalidRequestError": "errors",
    "JournalError": "errors",
    "LipsyncError": "errors",
    "LipsyncWarning": "errors",
    "NotFoundError": "errors",
    "PayloadTooLargeError": "errors",
    "PaymentRequiredError": "errors",
    "PermissionDeniedError": "errors",
    "RateLimitError": "errors",
    "RequestTimeoutError": "errors",
    "ResponseError": "errors",
    "ServerError": "errors",
    "SpendingLimitError": "errors",
    "TransportError": "errors",
    "UnexpectedError": "errors",
    "UnprocessableError": "errors",
    "WaitTimeoutError": "errors",
}

__all__ = [
    "ActiveSpeaker",
    "AsyncClient",
    "Audio",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConcurrencyLimitError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ConnectionLostError",
    "CostEstimate",
    "DecodeError",
    "DownloadError",
    "DubParams",
    "ElevenLabs",
    "Emotion",
    "FailureGroup",
    "Generation",
    "GenerationError",
    "GenerationFailedError",
    "GenerationPage",
    "GenerationRejectedError",
    "GenerationRequest",
    "IgnoredOptionWarning",
    "Image",
    "InvalidRequestError",
    "JobState",
    "JournalEntry",
    "JournalError",
    "JournalView",
    "Limits",
    "LipsyncError",
    "LipsyncWarning",
    "ManifestRow",
    "Model",
    "ModelInfo",
    "ModelMode",
    "NotFoundError",
    "Options",
    "Origin",
    "Outcome",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PollPolicy",
    "Progress",
    "RateLimitError",
    "RequestTimeoutError",
    "Response",
    "ResponseError",
    "RetryPolicy",
    "Segment",
    "SegmentAudio",
    "ServerError",
    "SpendingLimitError",
    "Status",
    "SyncMode",
    "Text",
    "TransportError",
    "UnexpectedError",
    "UnknownInput",
    "UnprocessableError",
    "Video",
    "WaitTimeoutError",
    "group_failures",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOMES})
