"""One request on its way, from the intake to its outcome."""

from __future__ import annotations

from math import inf
from typing import TypeAlias

import attrs

from lipsync_async._rules.checks import exact
from lipsync_async._rules.endpoints import Call
from lipsync_async._rules.slots import Slot
from lipsync_async._values.inputs import GenerationRequest
from lipsync_async._values.models import Generation
from lipsync_async._watch.poller import Watcher
from lipsync_async._words import Status
from lipsync_async.errors import (
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    LipsyncError,
    PaymentRequiredError,
    SpendingLimitError,
)

# What is heard of a job: how it is, or why nothing more will be.
News: TypeAlias = Generation | LipsyncError

# What every later request would meet as well. A lack of slots ends a request only after an
# hour in which others have had them all.
FOR_ALL = (
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    PaymentRequiredError,
    SpendingLimitError,
)


@attrs.define(slots=True, eq=False)
class Job:
    """Hold a request, and what has become of it so far.

    Tens of thousands may run at once, so of a running job no more is kept than what the
    request does not tell.

    Attributes:
        index: The request's place in the input.
        request: The request.
        key: The Idempotency-Key that its create is sent with; `None`: none yet.
        cost: What was set aside for it, in US dollars.
        slot: The slot that it takes; `None`: none.
        is_doubtful: Whether an order was sent of which it is not known whether it was accepted.
        call: The create that is under way; `None`: none is.
        earlier: The order in other forms, in which an earlier run may have sent it under its
            key, the first first: with links that have been signed anew since.
        refusal: Why its order waits to be sent once more; `None`: it does not.
        id: The service's id; `None`: not accepted yet.
        status: The status when it was accepted, or its end.
        fresh_until: Transport time up to which the service may not know it everywhere.
        watcher: The poller's part of it.

    """

    index: int
    request: GenerationRequest
    key: str | None = None
    cost: float = 0.0
    slot: Slot | None = None
    is_doubtful: bool = False
    call: Call[Generation] | None = None
    earlier: tuple[GenerationRequest, ...] = ()
    refusal: LipsyncError | None = None
    id: str | None = None
    status: str = ""
    fresh_until: float = -inf
    watcher: Watcher | None = None

    @property
    def may_be_ordered(self) -> bool:
        """Whether the service may have accepted an order of which nothing is known yet."""
        return self.is_doubtful or (self.call is not None and self.call.is_sent)

    def last_seen(self) -> Generation | None:
        """Return the job as last seen; `None`: it was never accepted."""
        if self.id is None:
            return None
        request = self.request
        status = self.status if self.watcher is None else self.watcher.status
        return Generation(
            id=self.id,
            status=Status(status),
            model=str(exact(request.model)),
            input=[*request.input],
            options=request.options,
            segments=None if request.segments is None else [*request.segments],
            webhook_url=request.webhook_url,
            output_file_name=request.output_file_name,
            project_id=request.project_id,
            dub_params=request.dub_params,
            idempotency_key=self.key,
        )
