"""The endpoints: for each, what is sent, and what its answer means: a value or exactly one error.

A `Call` holds everything that the requester must know about one call, and no more. Its
`is_repeatable` says whether it may be sent again when it is not known whether the first try
worked. That is so if a second arrival has no effect of its own: a GET always, a create because
it carries an Idempotency-Key, under which the service makes only one job.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC
from functools import partial
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import attrs

from lipsync_async._callsite import HTTP_LOG, log
from lipsync_async._enums import TERMINAL, Status
from lipsync_async._logic import codec
from lipsync_async._logic.codec import ShapeError, decode, loads
from lipsync_async._logic.media_types import Kind, head_of, upload_name_and_type
from lipsync_async._logic.retry import is_unknown_outcome
from lipsync_async._logic.secrecy import Headers
from lipsync_async._logic.validation import argument_problems, exact
from lipsync_async._models.http import NO_HEADERS, FilePart, Response, TextPart, stamp_of
from lipsync_async._models.library import Page
from lipsync_async._models.request import Audio, GenerationRequest, Image, Text, Video
from lipsync_async._models.response import CostEstimate, Generation, GenerationPage, ModelInfo
from lipsync_async.errors import (
    STATUS_ERRORS,
    BatchLimitError,
    ConcurrencyLimitError,
    DecodeError,
    InvalidRequestError,
    PaymentRequiredError,
    RateLimitError,
    ResponseError,
    ServerError,
    in_words,
)

if TYPE_CHECKING:
    from lipsync_async._models.account import GenerationCosts

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


@attrs.frozen(slots=True, eq=False)
class RateClass:
    """Requests that the service counts together, and refuses when there are too many.

    Attributes:
        noun: What one of them is called.
        setting: The field of `Limits` that says how many may be sent.
        seconds: In how many seconds.
        is_alone: Whether they do not count as requests as well.
    """

    noun: str
    setting: str
    seconds: float = 60.0
    is_alone: bool = False


CREATE = RateClass("create", "creates_per_minute", is_alone=True)
REQUEST = RateClass("request", "requests_per_minute", is_alone=True)
# The endpoints that have a limit of their own; whether the service counts their requests among
# all others as well is not documented, so they do here. Source: "Rate limits", sync.so docs.
_RATE_CLASSES: Mapping[tuple[str, str], RateClass] = {
    ("POST", "/v2/generate"): CREATE,
    ("POST", "/v2/assets/upload"): RateClass("upload", "uploads_per_minute"),
    ("POST", "/v2/tts"): RateClass("speech request", "speeches_per_minute"),
    ("POST", "/v2/tts/jobs"): RateClass("speech job", "speeches_per_minute"),
    ("POST", "/v2/voices"): RateClass("voice clone", "voices_per_hour", 3600.0),
    ("POST", "/v2/feedback"): RateClass("feedback report", "feedback_per_minute"),
}
RATE_CLASSES = (REQUEST, *_RATE_CLASSES.values())


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
        look: Describes the look at a job that an answer of unknown outcome names as this
            call's own; `None`: no such answer is expected.
        is_refused_by_503: Whether a 503 of the service's own refuses for good, unless its code
            asks for another try.
        is_done_without: Whether "there is no such thing" is a success after a try of
            unknown outcome, which has then worked.
        shows: Tells which jobs an answer has shown, and whether each has ended.
        rate_class: The requests that it counts among; a create of a generation needs a slot, too.
        response: The success that was read.
        is_sent: Whether a try of it is under way, or may have had its effect.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    is_repeatable: bool
    headers: Mapping[str, str] = NO_HEADERS
    body: bytes | None = None
    form: tuple[TextPart | FilePart, ...] = ()
    idempotency_key: str | None = None
    look: Callable[[Generation], Call[T]] | None = None
    is_refused_by_503: bool = False
    is_done_without: bool = False
    shows: Callable[[T], Iterable[tuple[str, bool]]] | None = None
    rate_class: RateClass = REQUEST
    response: Response | None = None
    is_sent: bool = False

    @property
    def slot_key(self) -> str:
        """What a slot of a create is found by."""
        return self.idempotency_key or self.path


def create_generation(request: GenerationRequest, *, idempotency_key: str) -> Call[Generation]:
    """Describe `POST /v2/generate`, as JSON, or as a form when files go along."""

    def read_job(response: Response) -> Generation:
        try:
            generation = read(Generation, response)
        except DecodeError as error:
            error.generation = salvage_generation(response)
            raise
        if problems := argument_problems(generation_id=generation.id):
            unusable = schema_error(response, *problems)
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

    body, form = _written(request)
    key = {"idempotency-key": idempotency_key}
    return Call(
        method="POST",
        path="/v2/generate",
        read=read_job,
        is_repeatable=True,
        headers=key if form else key | _JSON,
        body=body,
        form=form,
        idempotency_key=idempotency_key,
        rate_class=CREATE,
        look=look,
    )


def _written(
    value: object, *, is_raw: bool = False
) -> tuple[bytes | None, tuple[TextPart | FilePart, ...]]:
    """Write a request as JSON, or as the parts of a form when files go along; all else as JSON.

    What the values raise is an error of the request; so is a request that is to be sent as it
    is, for it was not checked.
    """
    try:
        if is_raw or not isinstance(value, GenerationRequest):
            return codec.dumps(value), ()
        for item in value.input:
            if not isinstance(item, Text) and item.file is not None and item.asset_id is None:
                return None, _form_of(value)
        return codec.dumps(codec.encode_request(value)), ()
    except Exception as error:
        raise InvalidRequestError([f"request: cannot be written: {in_words(error)}"]) from error


def _form_of(request: GenerationRequest) -> tuple[TextPart | FilePart, ...]:
    files = [
        _file_part(slot, item.file)
        for slot, kind in _FORM_SLOTS
        for item in request.input
        if isinstance(item, kind) and item.file is not None
    ]
    rest = [item for item in request.input if getattr(item, "file", None) is None]
    fields = codec.encode_request(attrs.evolve(request, input=rest))
    if not rest:
        del fields["input"]
    texts = [
        TextPart(name, value if isinstance(value, str) else codec.dumps(value).decode())
        for name, value in fields.items()
    ]
    return (*texts, *files)


def _file_part(slot: Kind, file: Any) -> FilePart:
    """Describe a file as it is now; one that cannot be read is for the transport to report."""
    source = file if isinstance(file, bytes) else Path(file)
    head, stamp = b"", None
    if isinstance(source, Path):
        with suppress(OSError):
            stamp = stamp_of(source.stat())
            if source.is_file():  # to open a pipe would wait for its other end
                with source.open("rb") as opened:
                    head = head_of(opened)
    filename, content_type = upload_name_and_type(slot, source, head)
    return FilePart(slot, filename, content_type, source, stamp)


def get_generation(
    generation_id: str, *, progress: bool = False, hold: float | None = None
) -> Call[Generation]:
    """Describe `GET /v2/generate/{id}`, with `progress_percent` or as a poll of `hold` seconds."""

    def shown_job(found: Generation) -> list[tuple[str, bool]]:
        return [(generation_id, found.status in TERMINAL)]

    path = f"/v2/generate/{escaped(generation_id)}"
    if hold is not None:
        path += f"?wait=true&timeout={hold:g}"
    elif progress:
        path += "?include=progress"
    read_job = partial(read, Generation, asked=generation_id)
    return Call("GET", path, read_job, is_repeatable=True, shows=shown_job)


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

    def read_page(response: Response) -> GenerationPage:
        items, came = read_list(Generation, response, salvage_from)
        is_full = limit is not None and came >= limit
        return GenerationPage(items, items[-1].id if items and is_full else None)

    def shown_jobs(page: GenerationPage) -> list[tuple[str, bool]]:
        return [(job.id, job.status in TERMINAL) for job in page]

    query = _query(
        status=status, ids=ids, source=source, projectId=project_id, limit=limit, cursor=cursor
    )
    return Call("GET", f"/v2/generations{query}", read_page, is_repeatable=True, shows=shown_jobs)


def count_generations(
    *, status: Iterable[str] | None = None, source: Iterable[str] | None = None
) -> Call[int]:
    """Describe `GET /v2/generations/count`."""

    def read_count(response: Response) -> int:
        counted = read_json(response)
        count = counted.get("count") if isinstance(counted, dict) else None
        if type(count) is not int:
            raise schema_error(response, "expected a whole number @ $.count")
        return count

    query = _query(status=status, source=source)
    return Call("GET", f"/v2/generations/count{query}", read_count, is_repeatable=True)


def delete_generation(generation_id: str) -> Call[None]:
    """Describe `DELETE /v2/generations/{id}`.

    After a lost answer the second says 404 of a deletion that worked.
    """
    path = f"/v2/generations/{escaped(generation_id)}"
    return Call(
        "DELETE",
        path,
        lambda _: None,  # any success will do
        is_repeatable=True,
        is_done_without=True,
        shows=lambda _: [(generation_id, True)],
    )


def download_url(generation_id: str) -> Call[str]:
    """Describe `GET /v2/generations/{id}/download`, whose answer is a bare URL."""
    return resource("GET", f"/v2/generations/{escaped(generation_id)}/download", plain_url)


def estimate_request(request: GenerationRequest) -> Call[CostEstimate]:
    """Describe `POST /v2/analyze/cost`, which looks at the media."""
    body, _ = _written(request)
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
    body, _ = _written(told)
    return Call("POST", "/v2/generations/estimate", _read_estimate, True, _JSON, body)  # noqa: FBT003 - `is_repeatable`: it changes nothing


def _read_estimate(response: Response) -> CostEstimate:
    data = read_json(response)
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    return read(CostEstimate, response, data)


def list_models() -> Call[list[ModelInfo]]:
    """Describe `GET /v2/models`."""
    return resource("GET", "/v2/models", list_of(ModelInfo))


def generation_costs(generation_id: str) -> Call[GenerationCosts]:
    """Describe `GET /v2/generate/{id}/costs`."""
    from lipsync_async._models.account import GenerationCosts  # noqa: PLC0415 - seldom needed

    path = f"/v2/generate/{escaped(generation_id)}/costs"
    return resource("GET", path, one(GenerationCosts))


def resource(
    method: str,
    path: str,
    read: Callable[[Response], T],
    *,
    query: Mapping[str, Iterable[str] | str | float | None] | None = None,
    body: Mapping[str, Any] | None = None,
    is_repeatable: bool = True,
    is_done_without: bool = False,
    is_refused_by_503: bool = False,
    idempotency_key: str | None = None,
) -> Call[T]:
    """Describe a call of any resource; of query and body, what is `None` is left out."""
    written, headers = None, dict[str, str]()
    if body is not None:
        told = {name: value for name, value in body.items() if value is not None}
        (written, _), headers = _written(told), {**_JSON}
    if idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key
    return Call(
        method,
        f"{path}{_query(**(query or {}))}",
        read,
        is_repeatable=is_repeatable,
        headers=headers,
        body=written,
        idempotency_key=idempotency_key,
        is_done_without=is_done_without,
        is_refused_by_503=is_refused_by_503,
        rate_class=_RATE_CLASSES.get((method, path), REQUEST),
    )


def one(kind: type[T]) -> Callable[[Response], T]:
    """Return a reader of one value."""
    return partial(read, kind)


def list_of(kind: type[T]) -> Callable[[Response], list[T]]:
    """Return a reader of a bare list, or of an object that has one under a usual name."""

    def read_all(response: Response) -> list[T]:
        return read_list(kind, response, lambda _: None, is_lenient=True)[0]

    return read_all


def page_of(kind: type[T]) -> Callable[[Response], Page[T]]:
    """Return a reader of a page."""

    def read_page(response: Response) -> Page[T]:
        items, _ = read_list(kind, response, lambda _: None, is_lenient=True)
        data = read_json(response)
        facts = data if isinstance(data, dict) else {}  # a bare list has no further page
        cursor = facts.get("nextCursor")
        is_usual = isinstance(cursor, str) and cursor != ""
        return Page(items, cursor if is_usual else None, _count(facts.get("totalCount")))

    return read_page


def maybe(kind: type[T], name: str) -> Callable[[Response], T | None]:
    """Return a reader of a value that an object may hold under a name."""

    def read_part(response: Response) -> T | None:
        data = read_json(response)
        found = data.get(name) if isinstance(data, dict) else None
        return None if found is None else read(kind, response, found)

    return read_part


def done(_: Response) -> None:
    """Read an answer that says no more than that it is one."""


def plain_url(response: Response) -> str:
    """Read a bare URL."""
    url = response.body.decode("utf-8", errors="replace").strip().strip('"')
    if not _BARE_URL.fullmatch(url):
        raise DecodeError("its body is no URL", response=response, request_id=request_id(response))
    return url


def escaped(generation_id: str) -> str:
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
        fields, (body, _) = _JSON | fields, _written(json, is_raw=True)
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
        rate_class=_RATE_CLASSES.get((method, path.partition("?")[0]), REQUEST),
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
    return [*problems, *argument_problems(idempotency_key=idempotency_key)]


def _query(**parameters: Iterable[str] | str | float | None) -> str:
    """Return a query string without what is `None`; lists are joined by commas."""
    told = {
        name: exact(value) if isinstance(value, (str, int, float)) else ",".join(value)
        for name, value in parameters.items()
        if value is not None
    }
    return f"?{urlencode(told, safe=',')}" if told else ""


# Under which of these names an object may hold a list.
_LISTS = ("items", "voices")
_FIRST_ERROR_STATUS = 400
_TOO_MANY_REQUESTS = 429
_CONCURRENCY_CODE, _BATCH_CODE = "concurrency_limit_reached", "batch_concurrency_limit_reached"
_BATCHES = "/v2/batch"
# These say what the plan or the balance does not allow, whatever the status: to send less, or
# later, changes nothing. Source: "Error codes", sync.so API reference.
_PLAN_CODES = frozenset(
    {
        "account_on_hold",
        "account_payment_required",
        "elevenlabs_quota_exceeded",
        "file_size_exceeds_plan_limit",
        "free_tier_generations_exhausted",
        "generation_plan_duration_exceeded",
        "plan_feature_unavailable",
        "voice_clone_limit_reached",
    }
)
_FIRST_SERVER_ERROR = 500
_SHOWN_CHARACTERS = 200
# Of each text that the service says in an error, so much goes into messages and logs.
_MOST_CHARACTERS = 1000
_MOST_PATHS = 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110 section 15.4

# None of these is documented; the first that is there is quoted.
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "x-amz-cf-id", "cf-ray")


def redirect_target(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Return the URL that an answer points to; `None` if it points to none that can be read."""
    location = headers.get("location")
    if status not in _REDIRECTS or location is None:
        return None
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return target if is_web else None


def read_json(response: Response) -> Any:
    """Return the decoded body."""
    try:
        return loads(response.body)
    except ValueError:
        raise _no_json(response) from None


def _no_json(response: Response) -> DecodeError:
    reason = "its body is no JSON" if response.body else "its body is empty"
    return DecodeError(reason, response=response, request_id=request_id(response))


_ALL = object()


def read(kind: type[T], response: Response, part: Any = _ALL, *, asked: str | None = None) -> T:
    """Return the body, or a part of it, as one value: of the generation that was asked for."""
    try:
        found = decode(kind, loads(response.body) if part is _ALL else part)
    except ShapeError as error:
        raise schema_error(response, *error.paths) from None
    except ValueError:
        raise _no_json(response) from None
    if asked is not None and isinstance(found, Generation) and found.id != asked:
        refuse_another(asked, found.id, response)
    return found


def read_list(
    kind: type[T],
    response: Response,
    rescue: Callable[[Any], T | None],
    *,
    is_lenient: bool = False,
) -> tuple[list[T], int]:
    """Return the items of a body, and how many came.

    With `is_lenient` the list may be in an object, under one of the usual names.

    An item that cannot be read costs only itself: a warning in the log names it, and what
    can be rescued of it stands in its place.
    """
    data = read_json(response)
    data = _list_in(data) if is_lenient else data
    if type(data) is not list:
        raise schema_error(response, "expected a list @ $")
    items: list[T] = []
    problems: list[str] = []
    for index, item in enumerate(data):
        try:
            items.append(decode(kind, item))
        except ShapeError as error:
            for problem in error.paths:
                words, _, path = problem.rpartition("@ $")
                problems.append(f"{words}@ $[{index}]{path}")
            rescued = rescue(item)
            items += [] if rescued is None else [rescued]
    if problems:
        unreadable = schema_error(response, *problems)
        if not items:
            raise unreadable
        log(HTTP_LOG, logging.WARNING, f"some items of a list could not be read: {unreadable}")
    return items, len(data)


def _list_in(data: Any) -> Any:
    """Return a list that an object holds under one of the usual names."""
    if type(data) is dict:
        return next((data[name] for name in _LISTS if type(data.get(name)) is list), None)
    return data


def schema_error(response: Response, *paths: str) -> DecodeError:
    """Return the error that an answer of another shape stands for."""
    if len(paths) > _MOST_PATHS:
        paths = (*paths[:_MOST_PATHS], f"and {len(paths) - _MOST_PATHS} more")
    return DecodeError(
        "its body is not of the documented shape",
        response=response,
        paths=paths,
        request_id=request_id(response),
    )


def too_long(response: Response) -> DecodeError:
    """Return the error of an answer that is longer than any of the service's.

    It counts as schema_error, which is final: another try would fetch as much again.
    """
    return DecodeError(
        "its body is too long for an answer of the service, and was not read to its end",
        response=response,
        paths=(f"body: goes on after the {len(response.body)} bytes that were kept",),
        request_id=request_id(response),
    )


def salvage_generation(response: Response) -> Generation | None:
    """Return what can be told of a job whose answer cannot be read: its id is what counts."""
    try:
        return salvage_from(loads(response.body))
    except ValueError:
        return None


def salvage_from(data: Any, name: str = "id") -> Generation | None:
    """Return the job whose id is in a body's JSON, under this name."""
    known = data.get(name) if isinstance(data, dict) else None
    if not isinstance(known, str) or not known:
        return None
    return Generation(id=known, status=Status("UNKNOWN"), raw=data)


def refuse_another(asked: str, shown: str, response: Response) -> None:
    """Refuse an answer about another job than the one that was asked for.

    A cache or a proxy has mixed something up, which may be over at the next try; another
    job's end must not be taken for this one's. Ids may be written in capitals.
    """
    if shown != asked and shown.casefold() != asked.casefold():
        raise DecodeError(
            f"it is about generation {_text(shown)!r}, not {asked!r}",
            response=response,
            request_id=request_id(response),
        )


def request_id(response: Response) -> str | None:
    """Return the id under which the service's support finds this request."""
    for name in _REQUEST_ID_HEADERS:
        if name in response.headers:
            return response.headers[name]
    return None


def retry_after(response: Response, body: Any = None) -> float | None:
    """Return the seconds that the service asks to wait, from headers or decoded body."""
    told = response.headers.get("retry-after")
    in_ms = response.headers.get("retry-after-ms")
    in_body = body.get("retryAfterSeconds") if isinstance(body, dict) else None
    longest: float | None = None
    asked: list[tuple[Any, float]] = [(told, 1.0), (in_ms, 0.001), (in_body, 1.0)]
    for value, scale in asked:
        try:
            seconds = nan if isinstance(value, bool) else float(value) * scale
        except (TypeError, ValueError, OverflowError):
            seconds = _seconds_between(response.headers.get("date"), told) if value is told else nan
        if isfinite(seconds) and seconds >= 0:
            longest = seconds if longest is None else max(longest, seconds)
    return longest


def _seconds_between(sent: str | None, due: str | None) -> float:
    """Read a `Retry-After` that is a date (RFC 9110 section 10.2.3); NaN: it is none.

    It is measured from the answer's own `Date`, so that this machine's clock may be wrong. All
    three forms are in GMT, also the one that does not say so.
    """
    if sent is None or due is None:
        return nan
    # Here and not above: it takes 20 ms to import, for a form that hardly anybody sends.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moments = [parsedate_to_datetime(text) for text in (sent, due)]
        begin, end = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in moments]
        return max(0.0, (end - begin).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return nan


def error_for(response: Response) -> ResponseError:
    """Return the error that an answer with an error status stands for.

    Bodies come in many shapes: the service's own JSON with
    `message` as text or list, older JSON, and the HTML of a proxy.
    """
    body: Any
    try:
        body = loads(response.body)
    except ValueError:
        body = response.body.decode("utf-8", errors="replace")
    facts = body if isinstance(body, dict) else {}
    code = _text(facts.get("errorCode")) or _text(facts.get("error_code"))
    message = facts.get("message")
    if isinstance(message, list):
        message = "; ".join(map(str, message))
    else:
        message = message if _text(message) else facts.get("error")
    # Of a body that is not the service's, such as a proxy's HTML, the beginning is shown.
    beginning = " ".join(str(body).split())[:_SHOWN_CHARACTERS] if body else None
    described: dict[str, Any] = {
        "response": response,
        "message": _text(message) or beginning or "no reason was given",
        "code": code,
        "suggestion": _text(facts.get("suggestion")),
        "field": _text(facts.get("field")),
        "request_id": request_id(response) or _text(facts.get("requestId")),
        "retry_after": retry_after(response, body),
        "body": body,
    }
    if response.status < _FIRST_ERROR_STATUS:
        place = response.headers.get("location")
        described["message"] = (
            f"it points to {_text(place)!r} instead" if place else "that is no answer to a request"
        )
        described["suggestion"] = "Check base_url; only a GET follows such a pointer."
    default = ServerError if response.status >= _FIRST_SERVER_ERROR else ResponseError
    if response.status == _TOO_MANY_REQUESTS:
        error = _limit_error(response, code, facts, described)
    else:
        error = STATUS_ERRORS.get(response.status, default)(**described)
    if is_unknown_outcome(response.status, code):
        error.generation = salvage_from(facts, "generationId")
    return error


def _limit_error(
    response: Response, code: str | None, facts: Mapping[str, Any], described: dict[str, Any]
) -> ResponseError:
    """Return the error of a 429: it names a limit by its code, or by the numbers that it holds."""
    is_told = code is None and ("concurrencyLimit" in facts or "activeGenerations" in facts)
    is_concurrency = is_told or code == _CONCURRENCY_CODE
    if code == _BATCH_CODE or (is_concurrency and urlsplit(response.url).path.endswith(_BATCHES)):
        return BatchLimitError(**described)
    if is_concurrency:
        return ConcurrencyLimitError(
            concurrency_limit=_count(facts.get("concurrencyLimit")),
            active_generations=_count(facts.get("activeGenerations")),
            **described,
        )
    return (PaymentRequiredError if code in _PLAN_CODES else RateLimitError)(**described)


def _text(value: Any) -> str | None:
    """Return a text that says something; one without end is cut."""
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}..."


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
