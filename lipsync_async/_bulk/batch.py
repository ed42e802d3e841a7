"""Rows of the service's batches: checked before they are sent, and read from the results."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Set as AbstractSet
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any

from lipsync_async._bulk.results import Outcome
from lipsync_async._enums import Status
from lipsync_async._logic import codec, validation
from lipsync_async._logic.endpoints import salvage_from
from lipsync_async._models.request import GenerationRequest, UnknownInput
from lipsync_async._models.response import Generation
from lipsync_async._polling import error_of
from lipsync_async.errors import DownloadError, InvalidRequestError, JobError, in_words

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from lipsync_async._models.batch import Batch
    from lipsync_async.errors import LipsyncError

_LEAST, _MOST = 20, 500  # rows; source: "Batch processing", sync.so guides
_MOST_BYTES = 5_000_000
# A line of results echoes a row, each of whose characters may be escaped.
_LONGEST_LINE = 16 * 1024 * 1024
_SHOWN = 40  # bytes
_TO_THE_CALLER = 3  # frames: that of `rows_of`, the verb's, the user's
_MAY_BE_PAID = (
    ". The generation may be paid for: look at generations.get({id!r}) before you create it again."
)
_NO_RESULT = (
    "no result in the file of batch {batch}. The generation may have run, and be paid for. Call "
    "results again later, and look for it in generations.list() before you create it again."
)


def rows_of(
    requests: Iterable[GenerationRequest],
    request_ids: Iterable[str] | None,
    problems: Sequence[str] = (),
) -> list[Mapping[str, Any]]:
    """Return a batch's rows, or refuse it with all problems, those of other arguments included.

    Warn of what the service will ignore, at the line of the user who called the caller.
    """
    every, found = _listed("requests", requests)
    told = [*problems, *found]
    if not found and not _LEAST <= len(every) <= _MOST:
        count = f"{len(every)}" if len(every) <= _MOST else f"more than {_MOST}"
        told.append(f"requests: a batch has {_LEAST} to {_MOST}, but these are {count}")
    if request_ids is None:
        names = [*_own_names(every)]
        told += _repeated("requests[{}].request_id", names)
    else:
        names, found = names_of(request_ids)
        if not found and len(names) != len(every):
            found = [f"request_ids: must be {len(every)}, one for each request"]
        told += found
    for place, request in enumerate(every):
        told += [f"requests[{place}]{problem}" for problem in _problems(request)]
    _raise_if(told)
    rows = _written(names, every)
    for request in every:
        validation.warn_of_ignored(request, stacklevel=_TO_THE_CALLER)
    return rows


def _written(
    names: Sequence[str], requests: Sequence[GenerationRequest]
) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    told: list[str] = []
    size = 0
    for place, (name, request) in enumerate(zip(names, requests, strict=True)):
        try:
            payload = codec.encode_request(request)
            row = {"request_id": name, "endpoint": "/v2/generate", "payload": payload}
            size += len(codec.dumps(row)) + 1  # with a line feed: so the service counts
            rows.append(row)
        except Exception as error:  # noqa: BLE001 - raised by values of foreign classes
            told.append(f"requests[{place}]: cannot be written: {in_words(error)}")
    if size > _MOST_BYTES:
        told.append(f"requests: must be at most {_MOST_BYTES:,} bytes, not {size:,}")
    _raise_if(told)
    return rows


def names_of(request_ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names of a batch's requests, and what is wrong with them."""
    names, problems = _listed("request_ids", request_ids)
    for place, name in enumerate(names):
        problems += validation.request_id(f"request_ids[{place}]", name)
    return names, [*problems, *_repeated("request_ids[{}]", names)]


def _listed(path: str, values: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """Return values in their order, and what is wrong; no more are taken than tell that."""
    has_no_order = isinstance(values, str | bytes | Mapping | AbstractSet)
    if has_no_order or not isinstance(values, Iterable):
        return [], [validation.wrong(path, "a list", values)]
    return [*islice(values, _MOST + 1)], []


def _own_names(requests: Iterable[object]) -> Iterator[Any]:
    for number, request in enumerate(requests, 1):
        own = getattr(request, "request_id", None)
        yield f"r-{number:04}" if own is None else own


def _repeated(path: str, names: Iterable[object]) -> Iterator[str]:
    """Tell which names are there twice; a name of another type is a problem of its own."""
    first = dict[str, int]()
    for place, name in enumerate(names):
        if isinstance(name, str) and first.setdefault(name, place) != place:
            yield f"{path.format(place)}: is the same as {path.format(first[name])}"


def _problems(request: object) -> list[str]:
    """Return what is wrong with one request, each with the rest of its path."""
    if not isinstance(request, GenerationRequest):
        return [validation.wrong("", "GenerationRequest", request)]
    problems = validation.request_problems(request, with_files=False)
    problems += validation.upload_problems(
        request, problem="cannot go into a batch", advice="upload it first, as an asset"
    )
    return [
        # What a request's values raise has no path within it.
        problem.removeprefix("request") if problem.startswith("request:") else f".{problem}"
        for problem in problems
    ]


def _raise_if(problems: list[str]) -> None:
    if problems:
        raise InvalidRequestError(problems)


async def lines_of(
    batch: Batch, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a batch's results that are not blank; one is in memory at a time."""
    parts: list[bytes] = []
    number = size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                line, parts, size, number = b"".join([*parts, end]), [], 0, number + 1
                if line.strip():
                    yield line
            parts.append(rest)
            size += len(rest)
            if size > _LONGEST_LINE:
                raise _unreadable(batch, f"line {number + 1} has over {_LONGEST_LINE:,} bytes")
    if (line := b"".join(parts)).strip():
        yield line


def _unreadable(batch: Batch, reason: str) -> DownloadError:
    return DownloadError(
        f"The results of batch {batch.id} cannot be read: {reason}. Call results again."
    )


class BatchResults:
    """What became of each request of a batch, row by row."""

    def __init__(self, batch: Batch, names: Sequence[str] | None) -> None:
        self._batch = batch
        # Of its requests, in their order; `None`: they are not known.
        self._places = None if names is None else {name: at for at, name in enumerate(names)}
        self._seen = set[str]()
        self._rows = 0  # that stand for a request each
        self._next = len(names or ())  # place of the next outcome that has none of its own

    def outcome(self, line: bytes) -> Outcome:
        """Read a row. A row without a request, and a second row of a request, are errors."""
        is_first = not (self._rows or self._seen)
        if is_first and not line.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
            shown = line[:_SHOWN].decode(errors="replace")
            raise _unreadable(self._batch, f"they are not JSON lines; they begin with {shown!r}")
        name, generation, error = _read(line, self._batch)
        if name in self._seen:
            words = f"row {name}: an earlier row has this name; the first one counts"
            return self._outcome(None, name, generation, JobError(words, job=self._batch))
        self._rows += 1
        if name is None or self._places is None:
            place = None
        elif (place := self._places.get(name)) is None:
            words = f"row {name}: batch {self._batch.id} has no request of this name"
            error = JobError(words, job=self._batch)
        self._seen |= set[str]() if name is None else {name}
        return self._outcome(place, name, generation, error)

    def missing(self) -> Iterator[Outcome]:
        """Yield an outcome for each request that has no row."""
        error = JobError(_NO_RESULT.format(batch=self._batch.id), job=self._batch)
        for name, place in (self._places or {}).items():
            if name not in self._seen:
                yield self._outcome(place, name, None, error)
        if self._places is None and self._batch.metrics is not None:
            count = min(self._batch.metrics.total_generations or 0, _MOST)
            for _ in range(self._rows, count):
                yield self._outcome(None, None, None, error)

    def _outcome(
        self,
        place: int | None,
        name: str | None,
        generation: Generation | None,
        error: LipsyncError | None,
    ) -> Outcome:
        if place is None:
            place, self._next = self._next, self._next + 1
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
            request_id=name,
        )
        return Outcome(index=place, request=request, generation=generation, error=error)


def _read(text: bytes, batch: Batch) -> tuple[str | None, Generation | None, LipsyncError | None]:
    """Read a row leniently, for a real one is not documented: name, job and what is wrong."""
    try:
        read = codec.loads(text)
    except ValueError:
        read = None
    row = read if isinstance(read, dict) else {}
    name = row.get("request_id", row.get("requestId"))
    own = name if isinstance(name, str) else None
    found = next((row[key] for key in ("response", "body", "generation") if row.get(key)), None)
    if isinstance(found, dict) and isinstance(inner := found.get("body"), dict):
        found = inner  # a whole answer of the service, with its status
    row_name = "row without a name" if name is None else f"row {name}"
    try:
        generation = codec.decode(Generation, found)
    except codec.ShapeError as problem:
        told = row.get("error")
        message = told.get("message") if isinstance(told, dict) else told
        known = salvage_from(found) or salvage_from(row, "generationId")
        advice = "" if known is None else _MAY_BE_PAID.format(id=known.id)
        return own, known, JobError(f"{row_name}: {message or problem}{advice}", job=batch)
    if generation.is_terminal:
        return own, generation, error_of(generation)
    words = f"generation {generation.id} is {generation.status}, and not known to have ended"
    advice = _MAY_BE_PAID.format(id=generation.id)
    return own, generation, JobError(f"{row_name}: {words}{advice}", job=batch)
