"""What one sandbox is told and holds, which its handlers work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

import attrs

from lipsync_async.sandbox.clock import Calendar, Clock
from lipsync_async.sandbox.faults import JOB_KINDS, Faults
from lipsync_async.sandbox.files import Folder, HostedFiles, SignedUrls
from lipsync_async.sandbox.jobs import JobRunner, JobTable, Progression, Renderer, Row, Table, Work
from lipsync_async.sandbox.plans import RATES, Plan, Quota, RateWindow
from lipsync_async.sandbox.request_log import RequestLog
from lipsync_async.sandbox.server.api_errors import bad_request, error
from lipsync_async.sandbox.server.idempotency import IdempotencyKeys
from lipsync_async.sandbox.webhooks import Inbox

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request

# Tokens of the real service begin like this; one here is a mistake.
LIVE_KEY_PREFIX = "sk-"
T = TypeVar("T", bound=Row)
W = TypeVar("W", bound=Work)


def texts(name: str, given: object) -> frozenset[str]:
    """Return a collection of texts; a text alone would be read as its letters, in silence."""
    is_collection = isinstance(given, Iterable) and not isinstance(given, str)
    items: list[Any] = [*given] if is_collection else [None]  # type: ignore[misc]
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{name} must be a list of texts, even for a single one.")
    return frozenset(items)


@attrs.define(slots=True, eq=False, kw_only=True)
class Project:
    """One project, with what every answer shows of it."""

    NOUN: ClassVar[str] = "Project"
    NOT_FOUND: ClassVar[str | None] = "project_not_found"

    id: str
    number: int  # its place among all that were changed, the last one's is the highest
    fields: dict[str, Any]
    is_deleted: bool = False  # its id stays taken


@attrs.define(slots=True, kw_only=True)
class State:
    """The settings and the parts of one sandbox; `Sandbox` says what the settings mean."""

    api_key: str = attrs.field(repr=False)
    webhook_secret: str = attrs.field(repr=False)
    progression: Progression
    plan: Plan
    allowed_hosts: frozenset[str]
    max_file_bytes: int
    plan_file_bytes: int | None
    retry_after_seconds: float
    batches_at_once: int | None
    voice_clones: int | None
    folder: Folder  # of uploads and results; gone when the sandbox is
    clock: Clock
    calendar: Calendar
    chance: Random
    durations: Random  # apart from `chance`: one seed gives the same ids however jobs move along
    jobs: JobTable
    runner: JobRunner
    renderer: Renderer
    urls: SignedUrls
    files: HostedFiles
    faults: Faults
    requests: RequestLog
    inbox: Inbox
    idempotency: IdempotencyKeys = attrs.field(factory=IdempotencyKeys)
    # Scripts that were spoken here, with their seconds, by the URLs of the speech.
    scripts: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    numbers: Iterator[int] = attrs.field(factory=count)  # of changes, in their order
    quota: Quota = attrs.field(init=False)
    windows: dict[str, RateWindow] = attrs.field(init=False)
    _tables: dict[Any, Table[Any]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.quota = Quota(self.plan, self.calendar)
        self.windows = {rate: self.plan.window(rate) for rate in RATES}

    def table(self, kind: type[T]) -> Table[T]:
        """Return all rows of a kind, which says its name and the code of the error without one."""
        if kind not in self._tables:
            self._tables[kind] = Table(kind.NOT_FOUND, kind.NOUN)
        return self._tables[kind]

    def add_project(self, project_id: str, told: Mapping[str, Any]) -> Project:
        """Add a project."""
        now = self.calendar.timestamp()
        fields: dict[str, Any] = {"id": project_id, "createdAt": now, "updatedAt": now}
        usual = {"visibility": "USER", "mode": "CREATOR", "defaultWorkflow": None}
        fields |= {**usual, **told}
        return self.table(Project).add(
            Project(id=project_id, number=next(self.numbers), fields=fields)
        )

    def project(self, project_id: str, *, is_input: bool = False) -> Project:
        """Return a project that was not deleted; `is_input`: its id came in a body."""
        project = self.table(Project).get(project_id.lower())
        if project is None or project.is_deleted:
            message, field = f"Project {project_id} was not found.", "projectId"
            raise error("project_not_found", message, is_input=is_input, field=field)
        return project

    def progression_of(self, request: Request) -> Progression:
        """Return how a job moves along, of a range of times one of them."""
        asked = request.headers.get("x-sandbox-progression")
        try:
            progression = self.progression if asked is None else Progression.parse(asked)
        except ValueError as problem:
            raise bad_request(f"x-sandbox-progression: {problem}") from None
        return progression.drawn(self.durations)

    def work(self, job_id: str) -> Work | None:
        """Return a job that is no generation."""
        rows = (table.get(job_id.lower()) for table in self._tables.values())
        return next((row for row in rows if isinstance(row, Work)), None)

    def start_work(
        self, kind: type[W], request: Request, end: str, result: Mapping[str, Any], **fields: Any
    ) -> W:
        """Begin a job that is no generation, which will end so."""
        job = kind(
            id=self.new_id(),
            born=self.clock.now(),
            created_at=self.calendar.timestamp(),
            clock=self.clock,
            timestamp=self.calendar.timestamp,
            progression=self.progression_of(request),
            faults={fault.kind: fault for fault in request.faults if fault.kind in JOB_KINDS},
            end=end,
            result=result,
            **fields,
        )
        self.table(kind).add(job)
        job.run()
        return job

    def new_id(self) -> str:
        """Return the seed's next UUID."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))
