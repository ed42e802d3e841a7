"""Async-first client for the sync.so lip-sync API, with a sandbox that really renders.

Names are loaded when they are first used: importing the package costs next to nothing,
and never loads aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipsync_async._async.client import (
        AsyncClient as AsyncClient,
    )
    from lipsync_async._values.inputs import (
        ActiveSpeaker as ActiveSpeaker,
    )
    from lipsync_async._values.inputs import (
        Audio as Audio,
    )
    from lipsync_async._values.inputs import (
        DubParams as DubParams,
    )
    from lipsync_async._values.inputs import (
        ElevenLabs as ElevenLabs,
    )
    from lipsync_async._values.inputs import (
        GenerationRequest as GenerationRequest,
    )
    from lipsync_async._values.inputs import (
        Image as Image,
    )
    from lipsync_async._values.inputs import (
        Options as Options,
    )
    from lipsync_async._values.inputs import (
        Segment as Segment,
    )
    from lipsync_async._values.inputs import (
        SegmentAudio as SegmentAudio,
    )
    from lipsync_async._values.inputs import (
        Text as Text,
    )
    from lipsync_async._values.inputs import (
        UnknownInput as UnknownInput,
    )
    from lipsync_async._values.inputs import (
        Video as Video,
    )
    from lipsync_async._values.messages import (
        Response as Response,
    )
    from lipsync_async._values.models import (
        CostEstimate as CostEstimate,
    )
    from lipsync_async._values.models import (
        Generation as Generation,
    )
    from lipsync_async._values.models import (
        GenerationPage as GenerationPage,
    )
    from lipsync_async._values.models import (
        ModelInfo as ModelInfo,
    )
    from lipsync_async._values.policies import (
        PollPolicy as PollPolicy,
    )
    from lipsync_async._values.policies import (
        RetryPolicy as RetryPolicy,
    )
    from lipsync_async._words import (
        Emotion as Emotion,
    )
    from lipsync_async._words import (
        Model as Model,
    )
    from lipsync_async._words import (
        ModelMode as ModelMode,
    )
    from lipsync_async._words import (
        Status as Status,
    )
    from lipsync_async._words import (
        SyncMode as SyncMode,
    )
    from lipsync_async.errors import (
        AuthenticationError as AuthenticationError,
    )
    from lipsync_async.errors import (
        BadRequestError as BadRequestError,
    )
    from lipsync_async.errors import (
        ConcurrencyLimitError as ConcurrencyLimitError,
    )
    from lipsync_async.errors import (
        ConfigurationError as ConfigurationError,
    )
    from lipsync_async.errors import (
        ConflictError as ConflictError,
    )
    from lipsync_async.errors import (
        ConnectError as ConnectError,
    )
    from lipsync_async.errors import (
        ConnectionLostError as ConnectionLostError,
    )
    from lipsync_async.errors import (
        DecodeError as DecodeError,
    )
    from lipsync_async.errors import (
        DownloadError as DownloadError,
    )
    from lipsync_async.errors import (
        GenerationError as GenerationError,
    )
    from lipsync_async.errors import (
        GenerationFailedError as GenerationFailedError,
    )
    from lipsync_async.errors import (
        GenerationRejectedError as GenerationRejectedError,
    )
    from lipsync_async.errors import (
        IgnoredOptionWarning as IgnoredOptionWarning,
    )
    from lipsync_async.errors import (
        InvalidRequestError as InvalidRequestError,
    )
    from lipsync_async.errors import (
        LipsyncError as LipsyncError,
    )
    from lipsync_async.errors import (
        LipsyncWarning as LipsyncWarning,
    )
    from lipsync_async.errors import (
        NotFoundError as NotFoundError,
    )
    from lipsync_async.errors import (
        PayloadTooLargeError as PayloadTooLargeError,
    )
    from lipsync_async.errors import (
        PaymentRequiredError as PaymentRequiredError,
    )
    from lipsync_async.errors import (
        PermissionDeniedError as PermissionDeniedError,
    )
    from lipsync_async.errors import (
        RateLimitError as RateLimitError,
    )
    from lipsync_async.errors import (
        RequestTimeoutError as RequestTimeoutError,
    )
    from lipsync_async.errors import (
        ResponseError as ResponseError,
    )
    from lipsync_async.errors import (
        ServerError as ServerError,
    )
    from lipsync_async.errors import (
        TransportError as TransportError,
    )
    from lipsync_async.errors import (
        UnprocessableError as UnprocessableError,
    )
    from lipsync_async.errors import (
        WaitTimeoutError as WaitTimeoutError,
    )

_HOMES = {
    "AsyncClient": "_async.client",
    "ActiveSpeaker": "_values.inputs",
    "Audio": "_values.inputs",
    "DubParams": "_values.inputs",
    "ElevenLabs": "_values.inputs",
    "GenerationRequest": "_values.inputs",
    "Image": "_values.inputs",
    "Options": "_values.inputs",
    "Segment": "_values.inputs",
    "SegmentAudio": "_values.inputs",
    "Text": "_values.inputs",
    "UnknownInput": "_values.inputs",
    "Video": "_values.inputs",
    "Response": "_values.messages",
    "CostEstimate": "_values.models",
    "Generation": "_values.models",
    "GenerationPage": "_values.models",
    "ModelInfo": "_values.models",
    "PollPolicy": "_values.policies",
    "RetryPolicy": "_values.policies",
    "Emotion": "_words",
    "Model": "_words",
    "ModelMode": "_words",
    "Status": "_words",
    "SyncMode": "_words",
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
    "TransportError": "errors",
    "UnprocessableError": "errors",
    "WaitTimeoutError": "errors",
}

__all__ = [
    "ActiveSpeaker",
    "AsyncClient",
    "Audio",
    "AuthenticationError",
    "BadRequestError",
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
    "Generation",
    "GenerationError",
    "GenerationFailedError",
    "GenerationPage",
    "GenerationRejectedError",
    "GenerationRequest",
    "IgnoredOptionWarning",
    "Image",
    "InvalidRequestError",
    "LipsyncError",
    "LipsyncWarning",
    "Model",
    "ModelInfo",
    "ModelMode",
    "NotFoundError",
    "Options",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PollPolicy",
    "RateLimitError",
    "RequestTimeoutError",
    "Response",
    "ResponseError",
    "RetryPolicy",
    "Segment",
    "SegmentAudio",
    "ServerError",
    "Status",
    "SyncMode",
    "Text",
    "TransportError",
    "UnknownInput",
    "UnprocessableError",
    "Video",
    "WaitTimeoutError",
]


def __getattr__(name: str) -> Any:
    """Load a public name, or the version, on first use."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - 10 ms that few need

        return version("lipsync-async")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOMES})
