"""What an organization keeps at the service: assets, projects; and the pages of their lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

from lipsync_async._models.request import Serializable

T = TypeVar("T")

AssetType: TypeAlias = Literal["AUDIO", "VIDEO", "IMAGE"]
Visibility: TypeAlias = Literal["USER", "ORGANIZATION"]
AssetOrder: TypeAlias = Literal[
    "nameAsc",
    "nameDesc",
    "dateAsc",
    "dateDesc",
    "durationAsc",
    "durationDesc",
    "sizeAsc",
    "sizeDesc",
    "kindAsc",
    "kindDesc",
]
ProjectMode: TypeAlias = Literal["CREATOR", "DEVELOPER"]
ProjectOrder: TypeAlias = Literal["updatedAt", "name"]
Workflow: TypeAlias = Literal[
    "lipsync",
    "translate_and_dub",
    "change_appearance",
    "image_to_video",
    "edit_dialogue",
    "assistant",
    "timeline",
]


@attrs.define(slots=True)
class Page(Serializable, Generic[T]):
    """Page of a listing; iteration, index and `len` work on its items.

    Attributes:
        items: What the page shows.
        next_cursor: Pass it as `cursor` to get the next page; `None`: there is none.
        total_count: Items of all pages, where the service says it.
    """

    items: list[T]
    next_cursor: str | None = None
    total_count: int | None = None

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items."""
        return iter(self.items)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        """Return one item."""
        return self.items[index]


@attrs.define(slots=True, kw_only=True)
class Asset(Serializable):
    """File at the service, to be used as an input by its id.

    Attributes:
        id: What to pass as `asset_id`.
        type: `AUDIO`, `VIDEO` or `IMAGE`.
        created_at: When it was registered (UTC).
        updated_at: When it was changed last (UTC).
        visibility: `USER` or `ORGANIZATION`.
        name: Its display name.
        url: Where the file is.
        size: Bytes.
        format: Its format, such as `mp4`.
        input_type: How it came: `UPLOAD`, `URL`, `RECORD`, `TTS`, `EXTRACT`, `PLATFORM_IMPORT`.
        duration_seconds: Its length in seconds.
        thumbnail_url: A small picture of it.
        width: Pixels.
        height: Pixels.
        project_id: The project it was registered for.
        raw: The whole object as received, unknown fields included.

    Source: "Get asset", sync.so API reference.
    """

    id: str
    type: str
    created_at: datetime | None = None
    updated_at: datetime | None = None
    visibility: str | None = None
    name: str | None = None
    url: str | None = None
    size: int | None = None
    format: str | None = None
    input_type: str | None = None
    duration_seconds: float | None = None
    thumbnail_url: str | None = None
    width: int | None = None
    height: int | None = None
    project_id: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class Project(Serializable):
    """Folder of generations and assets.

    Attributes:
        id: What to pass as `project_id`.
        created_at: When it was created (UTC).
        updated_at: When it was changed last (UTC).
        visibility: `USER` or `ORGANIZATION`.
        mode: `CREATOR` or `DEVELOPER`.
        name: Its display name.
        description: What it is for.
        default_workflow: What the service's own editor opens first.
        generations_count: Its generations; in lists only.
        completed_generations_count: Those that are COMPLETED; in lists only.
        raw: The whole object as received, unknown fields included.

    Source: "Get project", sync.so API reference.
    """

    id: str
    created_at: datetime | None = None
    updated_at: datetime | None = None
    visibility: str | None = None
    mode: str | None = None
    name: str | None = None
    description: str | None = None
    default_workflow: str | None = None
    generations_count: int | None = None
    completed_generations_count: int | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
