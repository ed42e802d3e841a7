"""The service's batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

import attrs

from lipsync_async._models.request import Serializable

BatchStatus: TypeAlias = Literal["PENDING", "JOBS_CREATED", "PROCESSING", "COMPLETED", "FAILED"]


def _snake_case(name: str) -> Any:
    """Return a field that has this name on the wire as well, where most are in camelCase."""
    return attrs.field(default=None, metadata={"wire": name})


@attrs.define(slots=True, kw_only=True)
class BatchMetrics(Serializable):
    """Counts of a batch's generations.

    Attributes:
        total_generations: All.
        success_count: Those that are COMPLETED.
        failed_count: Those that have failed.
        pending_count: Those that have not ended.
    """

    total_generations: int | None = _snake_case("total_generations")
    success_count: int | None = _snake_case("success_count")
    failed_count: int | None = _snake_case("failed_count")
    pending_count: int | None = _snake_case("pending_count")


@attrs.define(slots=True, kw_only=True)
class Batch(Serializable):
    """Hundreds of generations that were created by one request.

    Attributes:
        id: The batch's id.
        status: `PENDING`, `JOBS_CREATED`, `PROCESSING`, `COMPLETED` (some or all of its
            generations may have failed) or `FAILED` (the batch as a whole).
        created_at: When it was created (UTC).
        metrics: How many generations there are, by how they ended.
        output_url: Where the results are, once it has ended.
        webhook_url: What gets a POST when it has ended.
        request_ids: The names of its requests, in their order, where this client knows them: from
            `create`, and kept by `wait_until_complete`; the service does not tell them.
        raw: The whole object as received.

    Source: "Get batch", sync.so API reference.
    """

    NOUN: ClassVar[str] = "batch"
    GOOD_ENDS: ClassVar[frozenset[str]] = frozenset({"COMPLETED"})
    # All but FAILED are not documented.
    BAD_ENDS: ClassVar[frozenset[str]] = frozenset(
        {"FAILED", "CANCELED", "CANCELLED", "EXPIRED", "REJECTED", "TIMED_OUT"}
    )

    id: str
    status: str
    created_at: datetime | None = _snake_case("created_at")  # noqa: RUF009 - a field of attrs
    metrics: BatchMetrics | None = None
    output_url: str | None = None
    webhook_url: str | None = None
    request_ids: Sequence[str] | None = attrs.field(default=None, eq=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
