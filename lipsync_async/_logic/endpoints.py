"""The endpoints: for each, what is sent and how its answer is read.

A `Call` holds everything that the requester must know about one call, and no more.
`is_repeatable` is the heart of it: a call whose outcome is unknown may be sent again only
if a second arrival does no harm. A GET never does; a create only under its
Idempotency-Key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import attrs

from lipsync_async._logic import codec, responses
from lipsync_async._logic.media_types import Kind, head_of, upload_name_and_type
from lipsync_async._logic.secrecy import Headers
from lipsync_async._logic.validation import generation_id_problems, idempotency_key_problems
from lipsync_async._logic.validators import exact
from lipsync_async._models.http import NO_HEADERS, FilePart, Response, TextPart, stamp_of
from lipsync_async._models.request import Audio, Image, Video
from lipsync_async._models.response import CostEstimate, Generation, GenerationPage, ModelInfo
from lipsync_async.errors import DecodeError, InvalidRequestError, in_words

if TYPE_CHECKING:
    from lipsync_async._models.request import GenerationRequest


A = TypeVar("A")
T = TypeVar("T")

_BARE_URL = re.compile(r"https?://\S+")
_JSON = {"content-type": "application/json"}
_FORM_SLOTS: tuple[tuple[Kind, type[Video | Image | Audio]], ...] = (
    ("video", Video),
    ("image", Image),
    ("audio", Audio),
)


_RAW_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_RAW_PATH = re.compile(r"/[!-\"$-~]*")


@attrs.define(slots=True)
class Call(Generic[T]):
    """One call: what to send, how to read the answer, and whether it may be sent twice.

    Attributes:
        method: HTTP method.
        path: Path and query.
        read: Reads a success.
        is_repeatable: Whether a second arrival does no harm.
        headers: Header fields of its own.
        body: The body, if it is no form.
        form: The parts of a form.
        idempotency_key: The key under which it may be sent again.
        is_create: Whether it orders a generation: it needs a slot, and has a rate limit of its own.
        look: Describes the look at a job that an answer of unknown outcome names as this
            call's own; `None`: no such answer is expected.
        is_done_without: Whether "there is no such thing" is a success after a try of
            unknown outcome, which has then worked.
        shows: Tells which jobs an answer has shown, and whether each has ended.
        is_sent: Whether a try of it has begun, so that it may have had its effect.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    is_repeatable: bool
    headers: Mapping[str, str] = NO_HEADERS
    body: bytes | None = None
    form: tuple[TextPart | FilePart, ...] = ()
    idempotency_key: str | None = None
    is_create: bool = False
    look: Callable[[Generation], Call[T]] | None = None
    is_done_without: bool = False
    shows: Callable[[T], Iterable[tuple[str, bool]]] | None = None
    is_sent: bool = False


@attrs.define(slots=True)
class LongPollResult:
    """Answer to a long poll: the job, and how the service treated the long poll.

    Attributes:
        generation: The job.
        is_held: Whether the service said that it honours the long poll.
        retry_after: Seconds that the service asked to wait.
    """

    generation: Generation
    is_held: bool = False
    retry_after: float | None = None


def create_generation(request: GenerationRequest, *, idempotency_key: str) -> Call[Generation]:
    """Describe `POST /v2/generate`, as JSON, or as a form when files go along."""

    def read(response: Response) -> Generation:
        try:
            generation = responses.read(Generation, response)
        except DecodeError as error:
            error.generation = responses.salvage_generation(response)
            raise
        if problems := generation_id_problems(generation.id):
            unusable = responses.schema_error(response, *problems)
            unusable.generation = generation
            raise unusable
        generation.idempotency_key = idempotency_key
        return generation

    def look(named: Generation) -> Call[Generation]:
        found = get_generation(named.id)

        def read_named(response: Response) -> Generation:
            generation = found.read(response)
            generation.idempotency_key = idempotency_key
            return generation

        return attrs.evolve(found, read=read_named)

    body, form = _written(_body_of, request)
    key = {"idempotency-key": idempotency_key}
    return Call(
        method="POST",
        path="/v2/generate",
        read=read,
        is_repeatable=True,
        headers=key if form else key | _JSON,
        body=body,
        form=form,
        idempotency_key=idempotency_key,
        is_create=True,
        look=look,
    )


def _written(write: Callable[[A], T], value: A) -> T:
    """Write a request or a part of it; what its values raise is an error of the request."""
    try:
        return write(value)
    except Exception as error:
        raise InvalidRequestError([f"request: cannot be written: {in_words(error)}"]) from error


def _json_of(request: GenerationRequest) -> bytes:
    return codec.dumps(codec.encode_request(request))


def _body_of(request: GenerationRequest) -> tuple[bytes | None, tuple[TextPart | FilePart, ...]]:
    """Return the JSON body, or the parts of a form when files go along."""
    files = [
        _file_part(slot, item.file)
        for slot, kind in _FORM_SLOTS
        for item in request.input
        if isinstance(item, kind) and item.file is not None
    ]
    if not files:
        return codec.dumps(codec.encode_request(request)), ()
    rest = [item for item in request.input if getattr(item, "file", None) is None]
    fields = codec.encode_request(attrs.evolve(request, input=rest))
    if not rest:
        del fields["input"]
    texts = [
        TextPart(name, value if isinstance(value, str) else codec.dumps(value).decode())
        for name, value in fields.items()
    ]
    return None, (*texts, *files)


def _file_part(slot: Kind, file: Any) -> FilePart:
    source = file if isinstance(file, bytes) else Path(file)
    head = b"" if isinstance(source, bytes) else _head(source)
    filename, content_type = upload_name_and_type(slot, source, head)
    return FilePart(slot, filename, content_type, source, _stamp(source))


def _head(path: Path) -> bytes:
    """Return how a file begins; one that cannot be read is for the transport to report."""
    with suppress(OSError):
        if path.is_file():  # to open a pipe would wait for its other end
            with path.open("rb") as file:
                return head_of(file)
    return b""


def _stamp(source: Path | bytes) -> tuple[int, ...] | None:
    """Remember what a file is like now; one that is gone is for the transport to report."""
    with suppress(OSError):
        return None if isinstance(source, bytes) else stamp_of(source.stat())
    return None


def get_generation(generation_id: str, *, progress: bool = False) -> Call[Generation]:
    """Describe `GET /v2/generate/{id}`, with `progress_percent` if asked for."""
    path = _generation_path(generation_id, hold=None, progress=progress)
    read = partial(_read_generation, generation_id)
    return Call("GET", path, read, is_repeatable=True, shows=_shown_job)


def poll_generation(
    generation_id: str, *, hold: float | None, progress: bool
) -> Call[LongPollResult]:
    """Describe a waiting client's `GET /v2/generate/{id}`."""
    path = _generation_path(generation_id, hold=hold, progress=progress)
    read = partial(_read_long_poll, generation_id)
    return Call("GET", path, read, is_repeatable=True, shows=_polled_job)


def _generation_path(generation_id: str, *, hold: float | None, progress: bool) -> str:
    path = f"/v2/generate/{_escaped(generation_id)}"
    if hold is not None:
        return f"{path}?wait=true&timeout={hold:g}"
    return f"{path}?include=progress" if progress else path


def _shown_job(job: Generation) -> Iterable[tuple[str, bool]]:
    return ((job.id, job.is_terminal),)


def _polled_job(result: LongPollResult) -> Iterable[tuple[str, bool]]:
    return _shown_job(result.generation)


def _listed_jobs(page: GenerationPage) -> Iterable[tuple[str, bool]]:
    return [(job.id, job.is_terminal) for job in page]


def _read_generation(generation_id: str, response: Response) -> Generation:
    shown = responses.read(Generation, response)
    if shown.id != generation_id:
        responses.refuse_another(generation_id, shown.id, response)
    return shown


def _read_long_poll(generation_id: str, response: Response) -> LongPollResult:
    return LongPollResult(
        _read_generation(generation_id, response),
        is_held="x-sync-wait-mode" in response.headers,
        retry_after=responses.retry_after(response),
    )


def list_generations(
    *,
    status: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    source: Iterable[str] | None = None,
    project_id: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[GenerationPage]:
    """Describe `GET /v2/generations`; lists are sent in the documented comma form."""

    def read(response: Response) -> GenerationPage:
        items, came = responses.read_list(Generation, response, responses.salvage_from)
        is_full = limit is not None and came >= limit
        return GenerationPage(items, items[-1].id if items and is_full else None)

    query = _query(
        status=status, ids=ids, source=source, projectId=project_id, limit=limit, cursor=cursor
    )
    return Call("GET", f"/v2/generations{query}", read, is_repeatable=True, shows=_listed_jobs)


def count_generations(
    *, status: Iterable[str] | None = None, source: Iterable[str] | None = None
) -> Call[int]:
    """Describe `GET /v2/generations/count`."""

    def read(response: Response) -> int:
        counted = responses.read_json(response)
        count = counted.get("count") if isinstance(counted, dict) else None
        if type(count) is not int:
            raise responses.schema_error(response, "expected a whole number @ $.count")
        return count

    query = _query(status=status, source=source)
    return Call("GET", f"/v2/generations/count{query}", read, is_repeatable=True)


def delete_generation(generation_id: str) -> Call[None]:
    """Describe `DELETE /v2/generations/{id}`.

    After a lost answer the second says 404 of a deletion that worked.
    """
    path = f"/v2/generations/{_escaped(generation_id)}"
    return Call(
        "DELETE",
        path,
        _read_nothing,
        is_repeatable=True,
        is_done_without=True,
        shows=lambda _: [(generation_id, True)],
    )


def download_url(generation_id: str) -> Call[str]:
    """Describe `GET /v2/generations/{id}/download`, whose answer is a bare URL."""

    def read(response: Response) -> str:
        url = response.body.decode("utf-8", errors="replace").strip().strip('"')
        if not _BARE_URL.fullmatch(url):
            request_id = responses.request_id(response)
            raise DecodeError("its body is no URL", response=response, request_id=request_id)
        return url

    path = f"/v2/generations/{_escaped(generation_id)}/download"
    return Call("GET", path, read, is_repeatable=True)


def estimate_request(request: GenerationRequest) -> Call[CostEstimate]:
    """Describe `POST /v2/analyze/cost`, which looks at the media."""
    body = _written(_json_of, request)
    return Call("POST", "/v2/analyze/cost", _read_estimate, True, _JSON, body)  # noqa: FBT003 - `is_repeatable`: it changes nothing


def estimate_duration(
    *, model: str, duration: float, fps: float | None = None, reasoning_enabled: bool | None = None
) -> Call[CostEstimate]:
    """Describe `POST /v2/generations/estimate`, which needs no media."""
    facts = {
        "model": model,
        "duration": duration,
        "fps": fps,
        "reasoningEnabled": reasoning_enabled,
    }
    told = {name: exact(fact) for name, fact in facts.items() if fact is not None}
    body = _written(codec.dumps, told)
    return Call("POST", "/v2/generations/estimate", _read_estimate, True, _JSON, body)  # noqa: FBT003 - `is_repeatable`: it changes nothing


def _read_estimate(response: Response) -> CostEstimate:
    data = responses.read_json(response)
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    return responses.structure(CostEstimate, data, response)


def list_models() -> Call[list[ModelInfo]]:
    """Describe `GET /v2/models`."""

    def read(response: Response) -> list[ModelInfo]:
        models, _ = responses.read_list(ModelInfo, response, lambda _: None)
        return models

    return Call("GET", "/v2/models", read, is_repeatable=True)


def _read_nothing(_: Response) -> None:
    """Take any success for an answer."""


def _escaped(generation_id: str) -> str:
    """Keep an id inside its path segment: neither `/` nor `?` nor `..` can leave it."""
    if generation_id.isascii() and generation_id.replace("-", "").isalnum():
        return generation_id  # as all are that the service gives out; `quote` takes 1 µs
    return quote(generation_id, safe="").replace(".", "%2E")


def raw_request(
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    json: object,
    body: bytes | None,
    idempotency_key: str | None,
) -> Call[Response]:
    """Describe a request that has no function of its own here; its answer is not read."""
    fields = {name.lower(): str.__str__(value) for name, value in headers.items()}
    if json is not None:
        fields, body = _JSON | fields, _written(codec.dumps, json)
    if idempotency_key is not None:
        fields["idempotency-key"] = idempotency_key
    return Call(
        method,
        path,
        lambda response: response,
        is_repeatable=method in {"GET", "HEAD", "PUT"} or idempotency_key is not None,
        headers=Headers(fields),
        body=body,
        idempotency_key=idempotency_key,
        is_create=method == "POST" and path.partition("?")[0] == "/v2/generate",
    )


def raw_problems(
    method: object, path: object, json: object, body: object, idempotency_key: object
) -> list[str]:
    """Return what is wrong with the arguments of a request that is sent as it is."""
    problems = []
    if method not in _RAW_METHODS:
        problems.append(f"method: must be one of {', '.join(_RAW_METHODS)}")
    if not isinstance(path, str) or not _RAW_PATH.fullmatch(path):
        problems.append("path: must begin with '/', in percent-encoded ASCII without '#'")
    if body is not None and not isinstance(body, bytes):
        problems.append("body: must be bytes")
    if json is not None and body is not None:
        problems.append("body: give json or body, not both")
    if idempotency_key is not None:
        problems += idempotency_key_problems(idempotency_key)
    return problems


def _query(**parameters: Iterable[str] | str | int | None) -> str:
    """Return a query string without what is `None`; lists are joined by commas."""
    told = {
        name: exact(value) if isinstance(value, (str, int)) else ",".join(value)
        for name, value in parameters.items()
        if value is not None
    }
    return f"?{urlencode(told, safe=',')}" if told else ""
