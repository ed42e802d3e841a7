"""What can go wrong with media, in the service's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Source: "Error handling", sync.so API reference.
VIDEO_INVALID = "generation_input_video_invalid"
AUDIO_INVALID = "generation_input_audio_invalid"
SEGMENTS_INVALID = "generation_input_segments_invalid"
FACE_SELECTION_INVALID = "generation_input_face_selection_invalid"
TRIM_INVALID = "generation_input_trim_invalid"
RESOLUTION_UNSUPPORTED = "generation_input_resolution_unsupported"
DURATION_EXCEEDED = "generation_input_duration_greater_than_max_duration"
METADATA_MISSING = "generation_media_metadata_missing"
PIPELINE_FAILED = "generation_pipeline_failed"
# Also for pictures that cannot be read: the catalogue has no code of their own.
VALIDATION_FAILED = "generation_input_validation_failed"


class MediaError(Exception):
    """Raised for media that the service would refuse: its error code, and words for people.

    `words` go on from the name of a `file`, if they are about one.
    """

    def __init__(self, code: str, words: str, file: Path | None = None) -> None:
        super().__init__(code, words, file)  # all of it, so that the error pickles
        self.code = code
        self.words = words
        self.file = file
        self.message: str = words if file is None else f"{file.name} {words}"

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class RenderCancelledError(Exception):
    """Raised when a render stopped because it was asked to; nothing is left on disk."""


class EngineError(Exception):
    """Raised when an engine is installed, but does not work; its words say what to do."""


def in_words(error: Exception) -> str:
    """Return the kind of an error and what it says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
