"""Objects of the service's answers, as mutable values that are cheap to create."""
# ruff: noqa: PYI051 - beside `str`, the literals are what an editor offers

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from lipsync_async._enums import TERMINAL, Status
from lipsync_async._models.request import AnyInput, DubParams, Options, Segment, Serializable

if TYPE_CHECKING:
    StatusName: TypeAlias = (
        Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "REJECTED"] | str
    )


@attrs.define(slots=True, kw_only=True)
class Generation(Serializable):
    """Generation as the service last described it.

    Attributes:
        id: The job's id. Keep it: the job is paid for.
        status: The job's status.
        created_at: When it was created (UTC).
        model: The model's name.
        input: The inputs; unknown types come as `UnknownInput`.
        options: The options.
        segments: The segments.
        webhook_url: What gets a POST when the job has ended.
        output_file_name: Base name of the result.
        project_id: The project it belongs to.
        dub_params: The dubbing.
        dialogue_edit: Id of the dialogue edit that it renders.
        output_url: Where the result is, once COMPLETED; it expires, do not store it.
        output_media_url: The same under the service's newer name.
        segment_output_url: Where the result of the segments alone is.
        output_duration: The result's length in seconds.
        error: Why it failed, as a text.
        error_code: Why it failed, as a code of the service's catalogue.
        synthesized_audio_url: The speech made from a text input.
        progress_percent: 0 to 100; only when asked for.
        idempotency_key: The key that this create was sent with; `None` on other calls.
        raw: The whole object as received, unknown fields included.

    Source: "Get generation", sync.so API reference.
    """

    id: str
    status: Status
    created_at: datetime | None = None
    model: str | None = None
    input: list[AnyInput] = attrs.field(factory=list)
    options: Options | None = None
    segments: list[Segment] | None = None
    webhook_url: str | None = None
    output_file_name: str | None = None
    project_id: str | None = None
    dub_params: DubParams | None = None
    dialogue_edit: str | None = None
    output_url: str | None = None
    output_media_url: str | None = None
    segment_output_url: str | None = None
    output_duration: float | None = None
    error: str | None = None
    error_code: str | None = None
    synthesized_audio_url: str | None = None
    progress_percent: float | None = None
    idempotency_key: str | None = attrs.field(default=None, eq=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, well or badly."""
        return self.status in TERMINAL

    @property
    def is_completed(self) -> bool:
        """Whether the job has ended well."""
        return self.status == Status.COMPLETED


@attrs.define(slots=True)
class GenerationPage(Serializable):
    """Page of a listing; iteration, index and `len` work on its items.

    Attributes:
        items: The generations, newest first when `limit` was given.
        next_cursor: Pass it as `cursor` to get the next page; `None`: there is none.

    """

    items: list[Generation]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Generation]:
        """Iterate over the items."""
        return iter(self.items)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def __getitem__(self, index: int) -> Generation:
        """Return one item."""
        return self.items[index]


@attrs.define(slots=True, kw_only=True)
class CostEstimate(Serializable):
    """Price of a generation.

    Attributes:
        frame_count: Output frames that would be billed.
        cost: Price in US dollars.
        credits: Price in credits, on plans that have them.
        raw: The whole object as received.

    Source: "Estimate cost", sync.so API reference.
    """

    frame_count: int
    cost: float
    credits: float | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class ModelInfo(Serializable):
    """Model that the account may use.

    Attributes:
        id: What to pass as `model`.
        name: Its display name.
        type: `lipsync` or `react`.
        version: Its version.
        description: What it is for.
        deprecated_at: When it was deprecated, as the service wrote it.
        raw: The whole object as received.

    Source: "List models", sync.so API reference.
    """

    id: str
    name: str
    type: str | None = None
    version: str | None = None
    description: str | None = None
    deprecated_at: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
