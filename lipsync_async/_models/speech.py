"""Voices, speech, transcripts, and edits of what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

import attrs

from lipsync_async._models.request import Serializable

# Only FAILED is documented for these jobs; the others end generations.
_BAD_ENDS = frozenset({"FAILED", "REJECTED", "CANCELED", "CANCELLED", "TIMED_OUT"})


@attrs.define(slots=True, kw_only=True)
class Voice(Serializable):
    """Voice that speaks scripts.

    Attributes:
        id: What to pass as `voice_id`, for clones as for the provider's own voices.
        name: Its display name.
        provider: Who makes the speech: `elevenlabs`.
        preview_url: Where it is to be heard.
        raw: The whole object as received. Its `voiceId` is the provider's name for the voice;
            the service does not take it.

    Source: "List voices", sync.so API reference.
    """

    id: str
    name: str | None = None
    provider: str | None = None
    preview_url: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class Speech(Serializable):
    """Script that was spoken.

    Attributes:
        id: Its id.
        url: Where the audio is; usable as an `Audio` input.
        duration: Its length, in seconds as far as is known.
        raw: The whole object as received.

    Source: "Text to speech", sync.so API reference.
    """

    id: str
    url: str
    duration: float | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class JobFailure(Serializable):
    """Why a job that is no generation has failed.

    Attributes:
        code: The service's error code.
        message: What it says.
        raw: The whole object as received.
    """

    code: str | None = None
    message: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class SpeechJob(Serializable):
    """Script that is spoken in the background.

    Attributes:
        id: The job's id.
        status: `PENDING`, `PROCESSING`, `SUCCESS` or `FAILED`.
        created_at: When it was created (UTC).
        started_at: When it was started (UTC).
        finished_at: When it ended (UTC).
        url: Where the audio is, once SUCCESS; usable as an `Audio` input.
        duration: Its length in seconds, once SUCCESS.
        error: Why it failed; the service does not document its fields.
        idempotency_key: The key that this create was sent with; `None` on other calls.
        raw: The whole object as received.

    Source: "Text to speech jobs", sync.so API reference.
    """

    NOUN: ClassVar[str] = "speech job"
    # COMPLETED ends all other jobs well.
    GOOD_ENDS: ClassVar[frozenset[str]] = frozenset({"SUCCESS", "COMPLETED"})
    BAD_ENDS: ClassVar[frozenset[str]] = _BAD_ENDS

    id: str
    status: str
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    url: str | None = None
    duration: float | None = None
    error: JobFailure | None = None
    idempotency_key: str | None = attrs.field(default=None, eq=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class Word(Serializable):
    """Word of a transcript.

    Attributes:
        id: Its id, which an edit names.
        text: The word.
        start_ms: Where it begins, in milliseconds from the start of the source.
        end_ms: Where it ends.
        speaker_id: Who says it.
    """

    id: str
    text: str
    start_ms: int
    end_ms: int
    speaker_id: str | None = None


@attrs.define(slots=True, kw_only=True)
class TranscriptSegment(Serializable):
    """Words that belong together.

    Attributes:
        id: Its id.
        words: Its words, in their order.
    """

    id: str | None = None
    words: list[Word] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        """The words as one text."""
        return " ".join(word.text for word in self.words)


@attrs.define(slots=True, kw_only=True)
class Transcript(Serializable):
    """What is said in a video or an audio.

    Attributes:
        segments: Its parts, in their order.
        raw: The whole object as received: what a dialogue edit sends back.
    """

    segments: list[TranscriptSegment] = attrs.field(factory=list)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def text(self) -> str:
        """The whole text, a line for each segment."""
        return "\n".join(segment.text for segment in self.segments)

    @property
    def words(self) -> list[Word]:
        """All words in their order."""
        return [word for segment in self.segments for word in segment.words]

    def to_srt(self) -> str:
        """Return it as SubRip subtitles, one for each segment with words."""
        cues = [
            f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{text}\n"
            for number, (start, end, text) in enumerate(self._cues(), 1)
        ]
        return "\n".join(cues)

    def to_vtt(self) -> str:
        """Return it as WebVTT subtitles, one for each segment with words."""
        cues = [
            f"{_time(start, '.')} --> {_time(end, '.')}\n{_escaped(text)}\n"
            for start, end, text in self._cues()
        ]
        return "\n".join(["WEBVTT\n", *cues])

    def _cues(self) -> Iterator[tuple[int, int, str]]:
        for segment in self.segments:
            # A blank line would end the subtitle, and an arrow begin another.
            text = " ".join(segment.text.replace("-->", "→").split())
            if text:
                start = max(0, min(word.start_ms for word in segment.words))
                yield start, max(start, *(word.end_ms for word in segment.words)), text


def _time(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@attrs.define(slots=True, kw_only=True)
class Transcription(Serializable):
    """Job that writes down what is said.

    Attributes:
        id: The job's id.
        status: `PENDING`, `PROCESSING`, `COMPLETED` or `FAILED`.
        created_at: When it was created (UTC).
        source_video_url: The video; it may be signed anew in each answer.
        source_start_ms: Where the window begins, in milliseconds.
        source_end_ms: Where it ends; `None`: with the source.
        transcript: What is said, once COMPLETED.
        speaker_count: How many people speak.
        error: Why it failed.
        raw: The whole object as received.

    Source: "Get transcription", sync.so API reference.
    """

    NOUN: ClassVar[str] = "transcription"
    GOOD_ENDS: ClassVar[frozenset[str]] = frozenset({"COMPLETED"})
    BAD_ENDS: ClassVar[frozenset[str]] = _BAD_ENDS

    id: str
    status: str
    created_at: datetime | None = None
    source_video_url: str | None = None
    source_start_ms: int | None = None
    source_end_ms: int | None = None
    transcript: Transcript | None = None
    speaker_count: int | None = None
    error: JobFailure | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.frozen(slots=True)
class ReplaceWord(Serializable):
    """Edit that puts other words in a word's place.

    Attributes:
        word_id: The word's id in the transcript.
        replacement: What is to be said there.
    """

    word_id: str
    replacement: str


@attrs.frozen(slots=True)
class RemoveWord(Serializable):
    """Edit that removes a word; its form on the wire is assumed, not documented.

    Attributes:
        word_id: The word's id in the transcript.
    """

    word_id: str


@attrs.define(slots=True, kw_only=True)
class DialogueEdit(Serializable):
    """Job that changes what is said in a video (beta at the service).

    Attributes:
        id: What a generation that renders it names as `dialogue_edit`.
        status: `PENDING`, `PROCESSING`, `COMPLETED`, `COMPLETED_PARTIAL` or `FAILED`.
        source_video_url: The video.
        source_start_ms: Where the window begins, in milliseconds.
        voice_id: The voice that speaks the changed words.
        preview_audio_url: How the edited window sounds (WAV).
        result_transcript: What is said then.
        partial_detail: What is missing, if COMPLETED_PARTIAL.
        error: Why it failed.
        raw: The whole object as received, with `edits` and `resultSlots`.

    Source: "Dialogue edits", sync.so API reference.
    """

    NOUN: ClassVar[str] = "dialogue edit"
    GOOD_ENDS: ClassVar[frozenset[str]] = frozenset({"COMPLETED", "COMPLETED_PARTIAL"})
    BAD_ENDS: ClassVar[frozenset[str]] = _BAD_ENDS

    id: str
    status: str
    source_video_url: str | None = None
    source_start_ms: int | None = None
    voice_id: str | None = None
    preview_audio_url: str | None = None
    result_transcript: Transcript | None = None
    partial_detail: dict[str, Any] | None = None
    error: JobFailure | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def is_partial(self) -> bool:
        """Whether something of it is missing; `partial_detail` says what."""
        return self.status == "COMPLETED_PARTIAL"
