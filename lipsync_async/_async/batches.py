"""The service's batches: hundreds of requests in one, done within a day: `client.batches`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from lipsync_async._async.resource import (
    Resource,
    check,
    moment,
    path,
    raise_if_invalid,
    written_moment,
)
from lipsync_async._bulk.results import Outcome
from lipsync_async._download import fetch_text
from lipsync_async._enums import Status
from lipsync_async._logic import codec, validation
from lipsync_async._logic.endpoints import list_of, one, resource
from lipsync_async._logic.validation import OrNone, webhook_url, word_of
from lipsync_async._models.batch import Batch, BatchStatus
from lipsync_async._models.request import GenerationRequest, UnknownInput
from lipsync_async._models.response import Generation
from lipsync_async._polling import error_of
from lipsync_async.errors import InvalidRequestError, JobError

if TYPE_CHECKING:
    import builtins
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from lipsync_async._logic.endpoints import Call
    from lipsync_async._requester import RequestOptions
    from lipsync_async.errors import LipsyncError
    from lipsync_async.webhooks import WebhookReceiver

_LEAST, _MOST = 20, 500  # rows
_MOST_BYTES = 5_000_000
_PAUSES = (30.0, 120.0)  # seconds between two polls
_CREATED = (
    "The batch may have been created, and is paid for then. batches.find(created_after=..., "
    "rows={rows}) names the candidates; do not create it again before you have looked."
)


class AsyncBatches(Resource):
    """Batches of 20 to 500 requests, on plans that have them. Reached as `client.batches`."""

    async def create(
        self,
        requests: Iterable[GenerationRequest],
        *,
        request_ids: Sequence[str] | None = None,
        webhook_url: str | None = None,
    ) -> Batch:
        """Create a batch.

        Wire: `POST /v2/batch`, as JSON

        All rows are checked before anything is sent. The service knows no Idempotency-Key for
        batches: a try whose outcome is unknown is not repeated, and `find` names the candidates.

        Args:
            requests: 20 to 500 requests with inputs of at most 30 s, at addresses or assets.
            request_ids: A name for each request, to know its result by; `None`: the requests'
                own `request_id`, or `r-0001` and so on.
            webhook_url: Gets a POST when the batch has ended.

        Raises:
            InvalidRequestError: Rows or arguments are wrong; nothing was sent.
            PaymentRequiredError: The plan has no batches.
            BatchLimitError: Too many batches run; wait for the end of one.
            ResponseError: The service refused.
            TransportError: No answer came; `.may_have_worked` says whether it may be created.
            DecodeError: The answer cannot be read.

        Source: "Create batch", sync.so API reference.
        """
        rows = _rows(requests, request_ids, webhook_url)
        body = {"rows": rows, "webhook_url": webhook_url}
        call = resource("POST", "/v2/batch", one(Batch), body=body, is_repeatable=False)
        return await self._send(call, advice=_CREATED.format(rows=len(rows)))

    async def validate(
        self, requests: Iterable[GenerationRequest], *, request_ids: Sequence[str] | None = None
    ) -> None:
        """Let the service check a batch; nothing is created, and nothing costs.

        Wire: `POST /v2/batch` with `dry_run`

        Args:
            requests: As for `create`.
            request_ids: As for `create`.

        Raises:
            InvalidRequestError: Rows are wrong; nothing was sent.
            BadRequestError: The service refuses rows; the message names their lines.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Create batch", sync.so API reference.
        """
        body = {"rows": _rows(requests, request_ids, None), "dry_run": True}
        await self._send(resource("POST", "/v2/batch", lambda _: None, body=body))

    async def get(self, batch_id: str) -> Batch:
        """Return a batch as it is now.

        Wire: `GET /v2/batch/{id}`

        Args:
            batch_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such batch.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get batch", sync.so API reference.
        """
        return await self._send(_get(batch_id))

    async def list(
        self,
        *,
        status: BatchStatus | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> list[Batch]:
        """Return all batches, newest first.

        Wire: `GET /v2/batch`

        Args:
            status: Only this status.
            created_after: Only those created later; with a time zone.
            created_before: Only those created earlier; with a time zone.

        Raises:
            InvalidRequestError: A filter is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List batches", sync.so API reference.
        """
        check(
            status=(status, OrNone(word_of(get_args(BatchStatus)))),
            created_after=(created_after, OrNone(moment)),
            created_before=(created_before, OrNone(moment)),
        )
        query = {
            "status": status,
            "created_after": None if created_after is None else written_moment(created_after),
            "created_before": None if created_before is None else written_moment(created_before),
        }
        return await self._send(resource("GET", "/v2/batch", list_of(Batch), query=query))

    async def find(
        self, *, created_after: datetime, rows: int | None = None
    ) -> builtins.list[Batch]:
        """Return the batches that a create of unknown outcome may have made, newest first.

        Wire: `GET /v2/batch`

        Args:
            created_after: When the create was begun, or a little earlier; with a time zone.
            rows: How many requests it had; `None`: any number.

        Raises:
            LipsyncError: As `list` says.

        Source: "List batches", sync.so API reference.
        """
        found = await self.list(created_after=created_after)
        return [
            batch
            for batch in found
            if rows is None
            or batch.metrics is None
            or batch.metrics.total_generations in {None, rows}
        ]

    async def wait_until_complete(
        self,
        batch: Batch | str,
        *,
        timeout: float | None = 86_400.0,
        on_update: Callable[[Batch], Awaitable[None] | None] | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Batch:
        """Wait until a batch has ended, and return it; some of its generations may have failed.

        Wire: `GET /v2/batch/{id}`, every 30 to 120 s

        Args:
            batch: The batch, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status.
            webhooks: What your route feeds with deliveries for this batch; an event leads to a
                poll at once.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: The batch failed as a whole.
            JobTimeoutError: The time is up; the batch goes on.
            LipsyncError: Polling failed for good.

        Source: "Get batch", sync.so API reference.
        """

        def fetch(batch_id: str, options: RequestOptions) -> Awaitable[Batch]:
            return self._requester.execute(_get(batch_id), options)

        return await self._wait(
            batch,
            fetch,
            timeout=timeout,
            on_update=on_update,
            pauses=_PAUSES,
            webhooks=webhooks,
        )

    async def results(self, batch: Batch | str) -> AsyncGenerator[Outcome, None]:
        """Yield what came of each request of a batch that has ended, as `run_many` does.

        Wire: `GET /v2/batch/{id}`, then its `outputUrl`, without the API key

        Outcomes come in the order of the file. Each names its request by
        `outcome.request.request_id`; its other fields are those that the service echoes.

        Args:
            batch: The batch, or its id.

        Raises:
            InvalidRequestError: The batch has not ended, or has no results.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DownloadError: The results cannot be read.

        Source: "Batch processing", sync.so guides.
        """
        found = await self.get(batch if isinstance(batch, str) else batch.id)
        if found.output_url is None:
            raise InvalidRequestError([f"batch: is {found.status} and has no results yet"])
        text = await fetch_text(self._requester, self._options, found.output_url)
        for index, line in enumerate(filter(str.strip, text.split("\n"))):
            yield _outcome(index, line)


def _get(batch_id: str) -> Call[Batch]:
    return resource("GET", path("/v2/batch/{batch_id}", batch_id=batch_id), one(Batch))


def _rows(
    requests: Iterable[GenerationRequest], request_ids: Sequence[str] | None, webhook: str | None
) -> list[Mapping[str, Any]]:
    """Return a batch's rows, or refuse it with the problems of all."""
    every = [*requests]
    problems = validation.problems_of(webhook_url=(webhook, OrNone(webhook_url)))
    if not _LEAST <= len(every) <= _MOST:
        problems.append(f"requests: must be {_LEAST} to {_MOST}, not {len(every)}")
    names = [*request_ids] if request_ids is not None else [*_names(every)]
    if len(names) != len(every):
        problems.append(f"request_ids: must be {len(every)}, one for each request")
    seen = dict[str, int]()
    for place, name in enumerate(names):
        if request_ids is not None:
            problems += validation.name(f"request_ids[{place}]", name)
        if seen.setdefault(name, place) != place:
            problems.append(f"request_ids[{place}]: is that of requests[{seen[name]}] already")
    for place, request in enumerate(every):
        found = validation.request_problems(request, with_files=False)
        found += validation.upload_problems(request, advice="upload it first, as an asset")
        problems += [f"requests[{place}].{problem}" for problem in found]
    raise_if_invalid(problems)
    rows: list[Mapping[str, Any]] = [
        {"request_id": name, "endpoint": "/v2/generate", "payload": codec.encode_request(request)}
        for name, request in zip(names, every, strict=True)
    ]
    size = sum(len(codec.dumps(row)) + 1 for row in rows)
    if size > _MOST_BYTES:
        raise_if_invalid([f"requests: must be at most {_MOST_BYTES:,} bytes, not {size:,}"])
    return rows


def _names(requests: Iterable[GenerationRequest]) -> Iterator[str]:
    for number, request in enumerate(requests, 1):
        own = getattr(request, "request_id", None)
        yield f"r-{number:04}" if own is None else own


def _outcome(index: int, text: str) -> Outcome:
    """Read a line of the results leniently; a real one is not documented."""
    try:
        read = codec.loads(text)
    except ValueError:
        read = None
    line = read if isinstance(read, dict) else {}
    name = line.get("request_id", line.get("requestId"))
    found = next((line[key] for key in ("response", "body", "generation") if line.get(key)), None)
    generation: Generation | None = None
    error: LipsyncError | None
    try:
        generation = codec.decode(Generation, found)
        error = error_of(generation)
    except codec.ShapeError as problem:
        told = line.get("error")
        message = told.get("message") if isinstance(told, dict) else told
        error = JobError(f"row {name}: {message or problem}", job=None)
    echo = generation or Generation(id="", status=Status("UNKNOWN"))
    request = GenerationRequest(
        model=echo.model or "",
        input=[item for item in echo.input if not isinstance(item, UnknownInput)],
        options=echo.options,
        segments=echo.segments,
        output_file_name=echo.output_file_name,
        project_id=echo.project_id,
        dub_params=echo.dub_params,
        dialogue_edit=echo.dialogue_edit,
        request_id=name if isinstance(name, str) else None,
    )
    return Outcome(index=index, request=request, generation=generation, error=error)
