"""What the service calls things, where that differs from Python: tables and nothing else.

It mixes camelCase (top level, inputs, segments) with snake_case (options).
"""

from __future__ import annotations

from lipsync_async._values.inputs import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Text,
    Video,
)
from lipsync_async._values.models import CostEstimate, Generation, ModelInfo

# Wire names that differ from Python's; contract sections 2.2, 2.3, 2.7, 2.9, 3.1 and 6.
# Inner classes come before the classes that hold them.
WIRE_NAMES: dict[type, dict[str, str]] = {
    Video: {"asset_id": "assetId", "ref_id": "refId"},
    Image: {"asset_id": "assetId", "ref_id": "refId"},
    Audio: {"asset_id": "assetId", "ref_id": "refId"},
    ElevenLabs: {"voice_id": "voiceId", "similarity_boost": "similarityBoost"},
    Text: {"ref_id": "refId"},
    ActiveSpeaker: {},
    Options: {},
    SegmentAudio: {"ref_id": "refId", "start_time": "startTime", "end_time": "endTime"},
    Segment: {
        "start_time": "startTime",
        "end_time": "endTime",
        "audio_input": "audioInput",
        "options_override": "optionsOverride",
    },
    DubParams: {
        "target_lang": "targetLang",
        "source_lang": "sourceLang",
        "provider_name": "providerName",
    },
    GenerationRequest: {
        "webhook_url": "webhookUrl",
        "output_file_name": "outputFileName",
        "project_id": "projectId",
        "dub_params": "dubParams",
    },
    Generation: {
        "created_at": "createdAt",
        "webhook_url": "webhookUrl",
        "output_file_name": "outputFileName",
        "project_id": "projectId",
        "dub_params": "dubParams",
        "output_url": "outputUrl",
        "output_media_url": "outputMediaUrl",
        "segment_output_url": "segmentOutputUrl",
        "output_duration": "outputDuration",
        "error_code": "errorCode",
        "synthesized_audio_url": "synthesizedAudioUrl",
    },
    CostEstimate: {
        "frame_count": "estimatedFrameCount",
        "cost": "estimatedGenerationCost",
        "credits": "estimatedCredits",
    },
    ModelInfo: {"deprecated_at": "deprecatedAt"},
}

INPUT_TYPES: dict[str, type[Video | Image | Audio | Text]] = {
    "video": Video,
    "image": Image,
    "audio": Audio,
    "text": Text,
}

# What marks a class on the wire and is no field of it in Python.
MARKS: dict[type, dict[str, str]] = {
    **{kind: {"type": name} for name, kind in INPUT_TYPES.items()},
    ElevenLabs: {"name": "elevenlabs"},
}

# What only Python knows: neither read from the wire nor written to it.
LOCAL_FIELDS = frozenset({"file", "idempotency_key", "raw", "request_id", "origin"})

# Classes whose objects keep the JSON that they were read from.
KEEP_RAW = (Generation, CostEstimate, ModelInfo)
