"""Async-first client for the sync.so lip-sync API, with a sandbox that really renders.

Names are loaded when they are first used: importing the package costs next to nothing,
and never loads aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lipsync_async._enums import __version__ as __version__

if TYPE_CHECKING:  # the same list for type checkers, which need it as imports
    from lipsync_async._async.client import AsyncClient as AsyncClient
    from lipsync_async._async.generations import OnUpdate as OnUpdate
    from lipsync_async._bulk.journal_entry import JobState as JobState, JournalEntry as JournalEntry
    from lipsync_async._bulk.journal_view import JournalView as JournalView
    from lipsync_async._bulk.manifest import (
        ManifestRow as ManifestRow,
        read_manifest as read_manifest,
    )
    from lipsync_async._bulk.results import (
        FailureGroup as FailureGroup,
        OnProgress as OnProgress,
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
    from lipsync_async._models.account import (
        Account as Account,
        ErrorInfo as ErrorInfo,
        GenerationCosts as GenerationCosts,
        SharedSlot as SharedSlot,
        SharedUse as SharedUse,
        UsageItem as UsageItem,
    )
    from lipsync_async._models.batch import (
        Batch as Batch,
        BatchMetrics as BatchMetrics,
    )
    from lipsync_async._models.http import Request as Request, Response as Response
    from lipsync_async._models.library import (
        Asset as Asset,
        Page as Page,
        Project as Project,
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
        Input as Input,
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
    from lipsync_async._models.speech import (
        DialogueEdit as DialogueEdit,
        JobFailure as JobFailure,
        RemoveWord as RemoveWord,
        ReplaceWord as ReplaceWord,
        Speech as Speech,
        SpeechJob as SpeechJob,
        Transcript as Transcript,
        Transcription as Transcription,
        TranscriptSegment as TranscriptSegment,
        Voice as Voice,
        Word as Word,
    )
    from lipsync_async._stores.memory import MemoryAccountStore as MemoryAccountStore
    from lipsync_async._stores.postgres import PostgresAccountStore as PostgresAccountStore
    from lipsync_async._stores.protocol import AccountStore as AccountStore
    from lipsync_async._stores.redis import RedisAccountStore as RedisAccountStore
    from lipsync_async._sync.client import Client as Client
    from lipsync_async._transport.aiohttp import AiohttpTransport as AiohttpTransport
    from lipsync_async._transport.memory import MemoryTransport as MemoryTransport
    from lipsync_async._transport.protocol import Stream as Stream, Transport as Transport
    from lipsync_async.errors import (
        AccountStoreError as AccountStoreError,
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        BatchLimitError as BatchLimitError,
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
        JobError as JobError,
        JobFailedError as JobFailedError,
        JobTimeoutError as JobTimeoutError,
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
        UploadError as UploadError,
        WaitTimeoutError as WaitTimeoutError,
    )

# The public names by the modules that hold them.
_HOMES = {
    name: module
    for module, names in {
        "_async.client": "AsyncClient",
        "_async.generations": "OnUpdate",
        "_bulk.journal_view": "JournalView",
        "_bulk.journal_entry": "JobState JournalEntry",
        "_bulk.manifest": "ManifestRow read_manifest",
        "_bulk.results": "FailureGroup OnProgress Outcome Progress group_failures",
        "_enums": "Emotion Model ModelMode Status SyncMode",
        "_models.account": "Account ErrorInfo GenerationCosts SharedSlot SharedUse UsageItem",
        "_models.batch": "Batch BatchMetrics",
        "_models.library": "Asset Page Project",
        "_models.speech": """
            DialogueEdit JobFailure RemoveWord ReplaceWord Speech SpeechJob
            Transcript Transcription TranscriptSegment Voice Word
        """,
        "_models.http": "Request Response",
        "_models.policies": "Limits PollPolicy RetryPolicy",
        "_models.request": """
            ActiveSpeaker Audio DubParams ElevenLabs GenerationRequest Image Input Options
            Origin Segment SegmentAudio Text UnknownInput Video
        """,
        "_models.response": "CostEstimate Generation GenerationPage ModelInfo",
        "_stores.memory": "MemoryAccountStore",
        "_stores.postgres": "PostgresAccountStore",
        "_stores.protocol": "AccountStore",
        "_stores.redis": "RedisAccountStore",
        "_sync.client": "Client",
        "_transport.aiohttp": "AiohttpTransport",
        "_transport.memory": "MemoryTransport",
        "_transport.protocol": "Stream Transport",
        "errors": """
            AccountStoreError AuthenticationError BadRequestError BatchLimitError
            ConcurrencyLimitError ConfigurationError ConflictError ConnectError
            ConnectionLostError DecodeError DownloadError
            GenerationError GenerationFailedError GenerationRejectedError
            IgnoredOptionWarning InvalidRequestError JobError JobFailedError JobTimeoutError
            JournalError LipsyncError
            LipsyncWarning NotFoundError PayloadTooLargeError PaymentRequiredError
            PermissionDeniedError RateLimitError RequestTimeoutError ResponseError
            ServerError SpendingLimitError TransportError UnexpectedError UnprocessableError
            UploadError WaitTimeoutError
        """,
    }.items()
    for name in names.split()
}

if not TYPE_CHECKING:  # pragma: no branch
    __all__ = sorted(_HOMES)  # noqa: PLE0605 - type checkers take the imports above


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
