"""The answers that every opponent reads: the thirteen fields that the API's page shows.

Source: "Create generation", sync.so API reference.
"""

import json

GENERATION_ID = "6533643b-acbe-4c40-967e-d9ba9baac39e"

GENERATION = {
    "createdAt": "2026-03-14T09:26:53.589Z",
    "id": GENERATION_ID,
    "input": [
        {"type": "video", "url": "https://assets.sync.so/docs/example-video.mp4"},
        {"type": "audio", "url": "https://assets.sync.so/docs/example-audio.wav"},
    ],
    "model": "lipsync-2",
    "status": "COMPLETED",
    "error": None,
    "error_code": None,
    "options": {"sync_mode": "cut_off", "temperature": 0.5},
    "outputDuration": 12.48,
    "outputUrl": f"https://api.sync.so/v2/generations/{GENERATION_ID}/result?token=bm90IGEgc2VjcmV0",
    "segments": None,
    "segmentOutputUrl": None,
    "webhookUrl": "https://example.com/hooks/sync",
}

ONE = json.dumps(GENERATION, separators=(",", ":")).encode()
HUNDRED = json.dumps([GENERATION] * 100, separators=(",", ":")).encode()
