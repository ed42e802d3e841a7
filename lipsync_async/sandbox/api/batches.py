"""Batches: hundreds of create bodies in one request, their results in one file.

A batch's generations take no slots. Each meets the faults of a create of its own, so that a
batch can fail in part.

Source: "Batch processing", sync.so guides; "Create batch", sync.so API reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from lipsync_async.sandbox.api.create import check, new_job, speech_of
from lipsync_async.sandbox.api.create_body import check_webhook
from lipsync_async.sandbox.api.generations import generation_json, send_webhook
from lipsync_async.sandbox.api.query import moment, values
from lipsync_async.sandbox.clock import real_seconds
from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.files import BATCHES_PATH
from lipsync_async.sandbox.jobs import Job
from lipsync_async.sandbox.server.api_errors import (
    ApiError,
    bad_request,
    concurrency_limit_body,
    error,
    malformed,
    plain_error,
)
from lipsync_async.sandbox.server.messages import BodyPolicy, Response, dump, parse_json
from lipsync_async.sandbox.server.pipeline import Access, Resource

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Form, Request
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.webhooks import WebhookSender

_LEAST_ROWS, _MOST_ROWS = 20, 500
_MOST_BYTES = 5 * 1024 * 1024
_ENDPOINT = "/v2/generate"
STATUSES = ("PENDING", "JOBS_CREATED", "PROCESSING", "COMPLETED", "FAILED")


@attrs.define(slots=True, eq=False, kw_only=True)
class Batch:
    """One batch with its generations, in the order of their rows."""

    NOUN: ClassVar[str] = "Batch"
    NOT_FOUND: ClassVar[str | None] = None

    id: str
    created: float  # in Unix seconds
    created_at: str
    jobs: Mapping[str, Job]  # by the rows' `request_id`
    webhook_url: str | None
    faults: Sequence[Fault] = ()  # of its create
    was_seen: bool = False  # after its create

    @property
    def status(self) -> str:
        """Where it stands; a batch some or all of whose generations fail has completed."""
        jobs = self.jobs.values()
        if self.is_ended:
            return "FAILED" if self.is_failed else "COMPLETED"
        if any(str(job.status) != "PENDING" for job in jobs):
            return "PROCESSING"
        return "JOBS_CREATED" if self.was_seen else "PENDING"

    @property
    def is_failed(self) -> bool:
        """Whether it fails as a whole, with each of its generations."""
        return any(fault.kind == "fail_job" for fault in self.faults)

    @property
    def is_ended(self) -> bool:
        """Whether it is COMPLETED or FAILED."""
        return all(job.is_ended for job in self.jobs.values())


_BODY = BodyPolicy(is_json=True, file_fields=frozenset({"input"}))

batches: Resource = Resource("/v2/batch")
results: Resource = Resource(BATCHES_PATH, Access.PUBLIC)


@batches.route("POST", body=_BODY, status=201)
async def create(state: State, request: Request) -> Any:
    """Check all rows, then create a generation for each; a dry run only checks."""
    if not state.plan.has_batches:
        raise error("plan_feature_unavailable", "Batches need the plan Scale or Enterprise.")
    rows, webhook_url, is_dry = _asked(request)
    check_webhook(webhook_url, "webhook_url", http_hosts=state.allowed_hosts)
    _check(state, rows)
    if is_dry:
        return Response(200, dump({"status": "VALIDATED"}))
    _check_limit(state)
    speeches = [await speech_of(state, row["payload"]) for row in rows]
    # Nothing waits from here on: batches that are created at once would pass the limit together.
    _check_limit(state)
    batch_id, jobs = state.new_id(), dict[str, Job]()
    for row, speech in zip(rows, speeches, strict=True):
        jobs[row["request_id"]] = new_job(
            state,
            row["payload"],
            speech=speech,
            progression=state.progression_of(request),
            faults=(*state.faults.strike_job(_ENDPOINT), *request.faults),
            batch_id=batch_id,
        )
    batch = Batch(
        id=batch_id,
        created=state.calendar.unix(),
        created_at=state.calendar.timestamp(),
        jobs=jobs,
        webhook_url=webhook_url,
        faults=request.faults,
    )
    shown = batch_json(state, state.table(Batch).add(batch))
    for job in jobs.values():
        state.runner.start(job)
    batch.was_seen = True
    return shown


@batches.route("GET")
def list_batches(state: State, request: Request) -> Any:
    """Answer with all batches, newest first."""
    statuses = values(request.query, "status", STATUSES)
    after, before = moment(request.query, "created_after"), moment(request.query, "created_before")
    return [
        batch_json(state, batch)
        for batch in reversed([*state.table(Batch)])
        if (not statuses or batch.status in statuses)
        and (after is None or batch.created > after)
        and (before is None or batch.created < before)
    ]


@batches.route("GET", "/{id}")
def get(state: State, request: Request) -> Any:
    """Answer with one batch; that counts as a poll of each of its generations."""
    batch = state.table(Batch).find(request.params["id"])
    for job in batch.jobs.values():
        state.runner.count_poll(job)
    return batch_json(state, batch)


@results.route("GET", "{name}")
def result(state: State, request: Request) -> Response:
    """Answer with the results, a JSON line for each row; without a signature, point to them."""
    batch_id = PurePosixPath(request.params["name"]).stem
    batch = state.table(Batch).get(batch_id)
    if batch is None or not batch.is_ended:
        raise plain_error(404, "There is no such output.")
    facts = dict(request.query)
    if not facts:
        return Response(302, headers={"Location": state.urls.batch(batch_id, is_signed=True)})
    if not state.urls.is_good(batch_id, facts):
        raise plain_error(403, "This link is not signed, or has expired.")
    lines = [
        dump({"request_id": request_id, "response": generation_json(job, state.urls)})
        for request_id, job in batch.jobs.items()
    ]
    return Response(200, b"\n".join([*lines, b""]), "application/jsonl")


def batch_json(state: State, batch: Batch) -> dict[str, Any]:
    """Return a batch as the service shows it."""
    statuses = [str(job.status) for job in batch.jobs.values()]
    succeeded = statuses.count("COMPLETED")
    failed = statuses.count("FAILED") + statuses.count("REJECTED")
    shown = {
        "id": batch.id,
        "created_at": batch.created_at,
        "status": batch.status,
        "metrics": {
            "total_generations": len(statuses),
            "success_count": succeeded,
            "failed_count": failed,
            "pending_count": len(statuses) - succeeded - failed,
        },
        "outputUrl": state.urls.batch(batch.id) if batch.is_ended else None,
    }
    return shown if batch.webhook_url is None else {**shown, "webhookUrl": batch.webhook_url}


def job_ended(state: State, sender: WebhookSender, job: Job) -> None:
    """Send the webhook of a job that has just ended, and of a batch that it was the last of."""
    send_webhook(state.urls, sender, job)
    batch = None if job.batch_id is None else state.table(Batch).get(job.batch_id)
    if batch is not None and batch.webhook_url is not None and batch.is_ended:
        sender.send(batch.webhook_url, batch_json(state, batch), batch.faults)


def _check_limit(state: State) -> None:
    """Refuse a batch while as many run as may run at once."""
    most = state.batches_at_once
    active = sum(not batch.is_ended for batch in state.table(Batch))
    if most is not None and active >= most:
        told = real_seconds(state.retry_after_seconds, state.calendar.speed)
        body = concurrency_limit_body(most, active, told)
        raise ApiError(
            429, {**body, "message": f"Batch concurrency limit reached. Batches running: {active}."}
        )


def _asked(request: Request) -> tuple[list[Any], str | None, bool]:
    """Return the rows, the webhook and whether it is a dry run, from JSON or a form."""
    if request.form is not None:
        return _rows_of_file(request.form), *_settings(
            {name: texts[-1] for name, texts in request.form.texts.items()}
        )
    body = request.data
    rows = body.get("rows") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise malformed(["rows must be an array"])
    return rows, *_settings(body)


def _settings(fields: Mapping[str, Any]) -> tuple[str | None, bool]:
    is_dry = fields.get("dry_run")
    if is_dry not in (None, True, False, "true", "false"):
        raise malformed(["dry_run must be a boolean value"])
    return fields.get("webhook_url"), is_dry in (True, "true")


def _rows_of_file(form: Form) -> list[Any]:
    file = form.files.get("input")
    if file is None:
        raise bad_request("Send the lines as a file in the field input.")
    if file.size > _MOST_BYTES:
        raise bad_request(f"The file is larger than {_MOST_BYTES} bytes.")
    rows = []
    for number, line in enumerate(file.path.read_bytes().rstrip().splitlines(), 1):
        try:
            rows.append(parse_json(line))
        except (ValueError, RecursionError):
            raise malformed([f"line {number} is not valid JSON"]) from None
    return rows


def _check(state: State, rows: Sequence[Any]) -> None:
    """Refuse a batch with one bad row; nothing of it is created then."""
    if not _LEAST_ROWS <= len(rows) <= _MOST_ROWS:
        raise malformed([f"a batch has {_LEAST_ROWS} to {_MOST_ROWS} rows, not {len(rows)}"])
    problems, names = [], set[str]()
    for number, row in enumerate(rows, 1):
        name = row.get("request_id") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            problems.append(f"line {number}: request_id must be a non-empty string")
            continue
        if name in names:
            problems.append(f"line {number}: request_id {name!r} is there already")
        names.add(name)
        if row.get("endpoint") != _ENDPOINT:
            problems.append(f"line {number}: endpoint must be {_ENDPOINT}")
        try:
            check(state, row.get("payload"))
        except ApiError as refusal:
            message = refusal.body["message"]
            words = message if isinstance(message, str) else "; ".join(message)
            problems.append(f"line {number}: {words}")
    if problems:
        raise malformed(problems)
    _check_sources([row["payload"] for row in rows])


def _check_sources(bodies: Sequence[Mapping[str, Any]]) -> None:
    """Refuse dialogue edits of several videos in one batch."""
    first = None
    for number, body in enumerate(bodies, 1):
        if body.get("dialogueEdit") is None:
            continue
        source = body["input"][0].get("url") or body["input"][0]["assetId"]
        first = first or source
        if source != first:
            message = f"line {number}: all dialogue edits of a batch are of one video."
            raise error("dialogue_edit_unsupported", message, lineNumber=number)
