"""What both faces of the official client do against the sandbox, unchanged.

Its two clients have the same verbs; `done` waits for an answer where the face is async.
"""

from collections.abc import AsyncIterator, Awaitable
from inspect import isawaitable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from sync import (
    AsyncSync,
    Audio,
    BadRequestError,
    ElevenLabs,
    Generation,
    GenerationNotification,
    GenerationOptions,
    GenerationSegment,
    InternalServerError,
    NotFoundError,
    SegmentAudioInput,
    Sync,
    Tts,
    UnauthorizedError,
    Video,
)
from sync.core import ApiError
from sync.core.request_options import RequestOptions
from sync.core.unchecked_base_model import construct_type

from lipsync_async.sandbox import Fault, Sandbox
from lipsync_async.webhooks import verify

pytestmark = pytest.mark.anyio

Peer = Sync | AsyncSync
Answer = TypeVar("Answer")

FRAME = 1 / 25
NOBODY = "00000000-0000-4000-8000-000000000000"
# Ends as soon as the job does; the client itself has no verb for waiting.
WAIT = RequestOptions(additional_query_parameters={"wait": "true", "timeout": "10"})
STAY = RequestOptions(additional_headers={"x-sandbox-progression": "manual"})
