"""Fetching a result: whole, under a safe name, or not at all.

When the connection breaks, the rest is asked for from where it broke, provided that the
server still vouches for the same content. Only a file of the announced length, which is no
page or error message, gets its final name. The API key never goes to a media host.

Result addresses expire. A refused address is renewed through the
generation, then through the download endpoint.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import attrs

from lipsync_async._callsite import HTTP_LOG, is_from_callback, log
from lipsync_async._logic import endpoints, media_host, validation
from lipsync_async._logic.media_types import free_names, name_of_id, result_filename, result_suffix
from lipsync_async._models.batch import Batch
from lipsync_async._models.http import Request, Response
from lipsync_async._models.library import Asset
from lipsync_async._models.response import Generation
from lipsync_async._part_file import PartFile, StalePartFiles, TakenError
from lipsync_async.errors import (
    AuthenticationError,
    ConnectionLostError,
    DecodeError,
    DownloadError,
    InvalidRequestError,
    LipsyncError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
    in_words,
)

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

    from lipsync_async._logic.endpoints import Call
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._requester import Requester, RequestOptions
    from lipsync_async._transport.protocol import Stream

    Source = Generation | Asset | Batch

_PATHS: dict[type[Asset | Batch], str] = {Asset: "/v2/assets", Batch: "/v2/batch"}
_MOST_REDIRECTS = 5
_WHOLE, _PARTIAL, _RANGE_NOT_SATISFIABLE = frozenset({200, 203}), 206, 416
# Compressed content would have another length than announced, and media do not compress.
_HEADERS = {"accept": "*/*", "accept-encoding": "identity"}
# So much of an error page is read.
_PAGE_BYTES = 16_384
# Pieces that a slow reader of a stream leaves waiting.
_PIECES_AHEAD = 4
# A job's name may have 255 characters, which is all that file systems take.
_MAX_NAME = 150


@attrs.frozen(slots=True, kw_only=True)
class Target:
    """Where a result is to go.

    Attributes:
        folder: The folder; it is made if need be.
        name: The file's name in it; `None`: the file is named after the result.
        stem: The file's name without its suffix, where that alone is settled by the result.
        overwrite: Whether a file that has the name is replaced.
    """

    folder: Path
    name: str | None = None
    stem: str | None = None
    overwrite: bool = False

    @classmethod
    def of(cls, to: str | os.PathLike[str], *, overwrite: bool) -> Target:
        """Return the place that a user has named; see `_logic/validation.py`."""
        place = validation.expanded(to)
        path = Path(place)
        if validation.is_folder(place):
            return cls(folder=path, overwrite=overwrite)
        return cls(folder=path.parent, name=path.name, overwrite=overwrite)


class _RefusedError(Exception):
    """Address that does not lead to the media; the text says why."""


class _NotRenewedError(Exception):
    """No fresh address from the service; the text says why."""


async def save(
    requester: Requester,
    settings: RequestOptions,
    source: Source,
    place: Target,
    sink: Pipe | None = None,
) -> Path:
    """Save a COMPLETED generation's result, an asset or a batch's results, or fill a sink."""
    if isinstance(source, Generation) and not source.is_completed:
        problem = f"generation: is {source.status:.40}; only a COMPLETED one has a result"
        raise InvalidRequestError([problem], state="Nothing was downloaded")
    try:
        return await _Download(requester, settings, source, place, sink).run()
    except LipsyncError as error:  # before OSError: a timeout is both
        if isinstance(source, Generation):
            error.generation = source
        raise
    except TakenError as error:
        name = place.folder / (place.name or "")
        raise _failed(
            source,
            f"there is something else at {name} (nothing is replaced in silence)",
            "Name another file or a folder, or pass overwrite=True.",
        ) from error
    except Exception as error:
        if is_from_callback(error):
            raise
        reason = f"fetching it raised {in_words(error)}"
        if isinstance(error, OSError):
            reason = f"it cannot be written ({error})"
        raise _failed(source, reason) from error


async def stream(
    requester: Requester, settings: RequestOptions, source: Source
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a download as they come; one that is left ends it."""
    pipe = _LinePipe() if isinstance(source, Batch) else Pipe()
    task = asyncio.create_task(save(requester, settings, source, Target(folder=Path()), pipe))
    try:
        while (piece := await pipe.next(task)) is not None:
            yield piece
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


class Pipe:
    """Sink of a download whose bytes go on at once, and cannot be taken back.

    Where a host begins anew instead of going on, what comes again must be what was given.
    """

    def __init__(self) -> None:
        self.size = 0
        self.replaced: str | None = None  # it replaces nothing
        self._given = 0
        self._digest = sha256()  # of what was given
        self._again = sha256()  # of what has come again
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_PIECES_AHEAD)

    async def next(self, task: asyncio.Task[Path]) -> bytes | None:
        """Return the next piece; `None`: the download has ended, well or not."""
        coming = asyncio.ensure_future(self._pieces.get())
        try:
            await asyncio.wait([coming, task], return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
        finally:
            coming.cancel()
        return None if self._pieces.empty() else self._pieces.get_nowait()

    async def open(self, _: str) -> None:
        """Begin."""

    async def write(self, data: bytes) -> None:
        """Give bytes, or compare them with what was given."""
        known = min(max(self._given - self.size, 0), len(data))
        self.size += len(data)
        self._again.update(data[:known])
        if known and self.size >= self._given and self._again.digest() != self._digest.digest():
            raise DownloadError("the host has begun anew, with other bytes than before")
        if new := data[known:]:
            self._given = self.size
            self._digest.update(new)
            await self._pieces.put(new)

    async def restart(self) -> None:
        """Await every byte once more."""
        self.size, self._again = 0, sha256()

    async def is_cut(self) -> bool:
        """Tell whether the bytes say that more must come; they are gone."""
        return False

    async def finish(self, *_: object, **__: object) -> Path:
        """Tell whether all that was given has come again."""
        if self.size < self._given:
            raise DownloadError("the host has begun anew, and ended earlier than before")
        return Path()

    async def discard(self) -> None:
        """Leave nothing."""


class _LinePipe(Pipe):
    """Pipe of JSON lines, of which the last one tells whether it is whole."""

    def __init__(self) -> None:
        super().__init__()
        self._last = b""

    async def write(self, data: bytes) -> None:
        """Give bytes, and keep the last one that tells an end."""
        await super().write(data)
        self._last = data.rstrip(b" \t\r")[-1:] or self._last

    async def is_cut(self) -> bool:
        """Tell whether the last line breaks off; each is an object."""
        return self._last not in {b"", b"}", b"\n"}


def _failed(source: Source, reason: str, advice: str = "Download it again.") -> DownloadError:
    if isinstance(source, Batch):
        words = f"The results of batch {source.id} were not read whole: {reason}. They are still at"
        return DownloadError(f"{words} the service. Call results again.")
    if isinstance(source, Asset):
        words = f"Asset {source.id} was not saved: {reason}. It is still at the service. {advice}"
        return DownloadError(words)
    error = DownloadError(
        f"The result of generation {source.id} was not saved: {reason}. It is still at the "
        f"service, and paid for. {advice}"
    )
    error.generation = source
    return error


class _Download:
    """Download of one result into one file, over as many connections and addresses as it takes."""

    def __init__(
        self,
        requester: Requester,
        settings: RequestOptions,
        source: Source,
        place: Target,
        sink: Pipe | None = None,
    ) -> None:
        self._requester = requester
        self._settings = settings
        self._source = source
        self._place = place
        self._sink = sink
        self._tag = name_of_id(source.id)
        self._url = ""
        self._file: PartFile | Pipe | None = None
        self._most = 0  # bytes that there ever were
        self._head = b""
        self._validator: str | None = None
        self._total: int | None = None
        self._headers: Mapping[str, str] = {}
        self._present: int | None = None
        self._is_media = not isinstance(source, Batch)

    async def run(self) -> Path:
        """Try one address after another, and give the file that comes its name."""
        refusal: _RefusedError | None = None
        try:
            async with aclosing(self._candidate_urls()) as addresses:
                async for address in addresses:
                    try:
                        self._go_to(address)
                        file = await self._fetch_with_retries()
                        return await self._name(file)
                    except _RefusedError as error:
                        refusal = error
        except _NotRenewedError as error:
            reason = f"its address is refused because {refusal}; no fresh one can be had ({error})"
            raise _failed(self._source, reason) from error.__cause__
        finally:
            if self._file is not None:
                await self._file.discard()
        reason = f"every address is refused; the last one because {refusal}"
        if refusal is None:
            reason = "the service tells no address for it"
        raise _failed(self._source, reason) from (refusal and refusal.__cause__)

    async def _name(self, file: PartFile | Pipe) -> Path:
        """Give the whole file its name, and log what it replaces."""
        path = await file.finish(self._names(), overwrite=self._place.overwrite)
        if file.replaced is not None:
            what = f"{_words_for(self._source)} replaces {file.replaced}"
            told = f"{path}: {what}, which this program had saved there."
            log(HTTP_LOG, logging.WARNING, told)
        return path

    async def _candidate_urls(self) -> AsyncGenerator[object, None]:
        """Yield where the result may be, the known address first, then what is told of it now.

        Where the service only repeats an address that was refused, that is tried once more
        after a pause: the media may be late.
        """
        told: list[str] = []
        asks = (None, self._fresh_url, self._resolved_url)
        # An asset's own address need not be public.
        for ask in reversed(asks) if isinstance(self._source, Asset) else asks:
            address = _address_of(self._source) if ask is None else await ask()
            if address is not None:
                if address not in told:
                    yield address
                told.append(address)
        if told and told[0] in told[1:]:
            policy = self._settings.retry
            await self._requester.transport.sleep(min(2 * policy.first_pause, policy.longest_pause))
            yield told[0]

    async def _fresh_url(self) -> str | None:
        call: Call[Any] = endpoints.get_generation(self._source.id)
        for kind, path in _PATHS.items():
            if isinstance(self._source, kind):
                place = f"{path}/{endpoints.escaped(self._source.id)}"
                call = endpoints.resource("GET", place, endpoints.one(kind))
        try:
            return _address_of(await self._requester.execute(call, self._settings))
        except (ResponseError, DecodeError) as error:
            is_told_apart = isinstance(error, AuthenticationError) or is_from_callback(error)
            if is_told_apart or _address_of(self._source) is None:
                raise
            raise _NotRenewedError(str(error)) from error

    async def _resolved_url(self) -> str | None:
        """Ask the download endpoint; it may know no better."""
        if isinstance(self._source, Batch):  # which has none
            return None
        call = endpoints.download_url(self._source.id)
        if isinstance(self._source, Asset):
            path = f"/v2/assets/{endpoints.escaped(self._source.id)}/download"
            call = endpoints.resource("GET", path, endpoints.plain_url)
        try:
            return await self._requester.execute(call, self._settings)
        except (ResponseError, DecodeError) as error:
            if isinstance(error, AuthenticationError) or is_from_callback(error):
                raise
            return None

    def _go_to(self, address: object) -> None:
        """Turn to an address; what has come of the same file by another link is kept."""
        before = self._url.partition("?")[0]
        try:
            self._url = media_host.checked_address(address)
        except ValueError as error:
            raise _RefusedError(f"it {error}") from None
        if self._url.partition("?")[0] != before:
            self._validator = None

    def _names(self) -> Iterable[tuple[str, bool]]:
        """Yield names for the file, each with whether only this job's file can have it."""
        place, kind = self._place, self._headers.get("content-type")
        if place.name is not None:
            return [(place.name, True)]
        if place.stem is not None:
            suffix = result_suffix(url=self._url, content_type=kind, head=self._head)
            return free_names(place.stem + suffix, self._tag)
        name = result_filename(
            url=self._url,
            content_disposition=self._headers.get("content-disposition"),
            content_type=kind,
            fallback=_name_of(self._source) or self._tag,
            head=self._head,
        )
        return free_names(name, self._tag)

    async def _fetch_with_retries(self) -> PartFile | Pipe:
        """Fetch with the patience of the policy, which begins anew when much has come."""
        while True:
            most, began = self._most, self._requester.transport.now()
            try:
                return await self._requester.retry(
                    self._fetch, self._settings.retry, is_repeatable=True
                )
            except TransportError:
                seconds = self._requester.transport.now() - began
                is_worth_it = media_host.is_worth_more_patience(self._most - most, seconds)
                if not is_worth_it or self._settings.retry.attempts == 1:
                    raise

    async def _fetch(self) -> PartFile | Pipe:
        try:
            async with self._open_stream() as stream:
                if self._file is None:  # now there is something to write
                    stem = self._place.name or self._place.stem or self._tag
                    content = self._place.name and _words_for(self._source)
                    self._file = self._sink or PartFile(self._place.folder, stem, content)
                    self._present = await self._file.open(stem)
                file = self._file
                await self._seek(file, stream)
                await self._read(file, stream)
        except TransportError as error:
            self._requester.mask.error(error)
            raise
        is_short = file.size == 0 and self._is_media
        if is_short or (self._total is not None and file.size != self._total):
            self._break(f"{file.size} of {self._total or 'an unknown number of'} bytes came")
        self._look_at_head()
        if self._total is None and await file.is_cut():
            self._validator = None
            self._break(f"{file.size} bytes came, and they say that there are more")
        return file

    async def _read(self, file: PartFile | Pipe, stream: Stream) -> None:
        """Append what comes, as long as it comes fast enough and may be media."""
        now, pace = self._requester.transport.now, media_host.Pace(self._settings.timeout)
        coding = media_host.coding_of(stream.headers)
        try:
            inflater = None if coding is None else media_host.Inflater(coding)
        except ValueError as error:
            raise _RefusedError(f"what it gives is {error}") from None
        async with aclosing(stream.chunks()) as chunks:
            asked = now()
            async for chunk in chunks:
                if (problem := pace.problem(now() - asked, len(chunk))) is not None:
                    raise RequestTimeoutError(problem, method="GET", url=self._url)
                if inflater is None:
                    await self._append(file, chunk)
                else:
                    try:
                        for piece in inflater.unpacked(chunk):
                            await self._append(file, piece)
                    except ValueError as error:
                        self._break(str(error))
                asked = now()
        if inflater is not None and not inflater.is_whole:
            self._break("the compressed bytes break off")

    async def _append(self, file: PartFile | Pipe, data: bytes) -> None:
        missing = media_host.HEAD_BYTES - len(self._head)
        if missing > 0:
            self._head += data[:missing]
            if len(data) >= missing:
                self._look_at_head()
        most = media_host.MOST_BYTES if self._total is None else self._total
        if file.size + len(data) > most:
            await self._restart(file)
            self._break(f"more than {most} bytes came")
        await file.write(data)
        self._most = max(self._most, file.size)

    def _look_at_head(self) -> None:
        if not self._is_media:  # who reads lines of JSON looks at each
            return
        if (what := media_host.no_media(self._requester.mask.data(self._head))) is not None:
            self._validator = None  # it is nothing to go on from
            raise _RefusedError(f"what it gives is no media but {what}")

    async def _seek(self, file: PartFile | Pipe, stream: Stream) -> None:
        """Go to where the content continues, and note the length that it will have."""
        headers = stream.headers
        before, self._validator = self._validator, media_host.strong_validator(headers)
        if stream.status == _PARTIAL:
            if self._validator in {None, before} and media_host.coding_of(headers) is None:
                self._validator = before
                if media_host.part_place(headers) == (file.size, self._total):
                    return
            self._validator = None
            await self._restart(file)
            self._break("the server continued elsewhere than asked")
        await self._restart(file)
        self._headers = headers
        self._total = media_host.whole_length(headers)
        if self._total is not None:
            if not self._is_media <= self._total <= media_host.MOST_BYTES:
                raise _RefusedError(f"it promises {self._total} bytes")
            place = self._place
            is_named = place.name is not None and not place.overwrite
            if is_named and self._present not in {None, self._total}:  # before all is fetched
                raise TakenError(f"{place.name} has {self._present} bytes, not {self._total}")

    async def _restart(self, file: PartFile | Pipe) -> None:
        self._head = b""
        if file.size:
            await file.restart()

    def _break(self, message: str) -> NoReturn:
        raise ConnectionLostError(f"{message}.", method="GET", url=self._url)

    @asynccontextmanager
    async def _open_stream(self) -> AsyncIterator[Stream]:
        """Open the address, or the rest of it, following redirects without any key."""
        url, headers = self._url, _HEADERS
        if self._file is not None and self._file.size and self._validator is not None:
            # If-Range: a server whose content has changed sends it whole instead of the rest.
            asked = {"range": f"bytes={self._file.size}-", "if-range": self._validator}
            headers = _HEADERS | asked
        for _ in range(_MOST_REDIRECTS + 1):
            request = Request("GET", url, headers)
            async with self._requester.transport.stream(
                request, timeout=self._settings.timeout
            ) as stream:
                # No media host is sent the key, but one that is the service itself may know it.
                stream.headers = self._requester.mask.fields(stream.headers)
                if stream.status in _WHOLE or stream.status == _PARTIAL:
                    yield stream
                    return
                try:
                    target = media_host.redirect_address(url, stream.status, stream.headers)
                except ValueError as error:
                    raise _RefusedError(f"the address that it points to {error}") from None
                if target is None:
                    await self._raise_for_status(request, stream)
                url = target
        raise _RefusedError(f"more than {_MOST_REDIRECTS} redirects")

    async def _raise_for_status(self, request: Request, stream: Stream) -> NoReturn:
        if stream.status == _RANGE_NOT_SATISFIABLE and self._validator is not None:
            self._validator = None
            self._break("the server would not continue")
        error = media_host.refusal_of(await self._answer_of(request, stream))
        if media_host.is_refusal(stream.status):
            raise _RefusedError(f"it answered {error.status}: {error.message}") from error
        raise error

    async def _answer_of(self, request: Request, stream: Stream) -> Response:
        """Read the beginning of an error page: it may never end, and need not be whole."""
        page = b""
        now = self._requester.transport.now
        ends = now() + media_host.LONGEST_PAGE
        with suppress(TransportError):
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    page += chunk
                    if len(page) >= _PAGE_BYTES or now() >= ends:
                        break
        answer = Response(
            "GET",
            request.url,
            stream.status,
            stream.headers,
            media_host.beginning(page[:_PAGE_BYTES], stream.headers),
            is_cut=len(page) >= _PAGE_BYTES,
        )
        return self._requester.mask.response(answer)


def _words_for(source: Source) -> str:
    kind = "asset" if isinstance(source, Asset) else "the result of generation"
    return f"{kind} {source.id}"


def _address_of(source: Source) -> str | None:
    if isinstance(source, Asset):
        return source.url
    if isinstance(source, Batch):
        return source.output_url
    return source.output_url or source.output_media_url


def _name_of(source: Source) -> str | None:
    if isinstance(source, Batch):
        return None
    return source.name if isinstance(source, Asset) else source.output_file_name


class ResultDownloader:
    """Downloader of a run's results into a folder, a few at once: they share one network.

    Attributes:
        waiting: Results that were announced, and are not downloaded yet: a task for one may
            start a while later.

    """

    def __init__(
        self, requester: Requester, settings: RequestOptions, folder: Path, *, at_once: int
    ) -> None:
        self._requester = requester
        self._settings = settings
        # The program may change its working directory while jobs run.
        self._folder = folder.absolute()
        self._slots = anyio.Semaphore(at_once)
        self.waiting: int = 0
        self._leftovers = StalePartFiles(self._folder)

    async def download(self, request: GenerationRequest, completed: Generation) -> Path:
        """Save the result of a COMPLETED job that was announced.

        The name depends on request and job alone (its suffix on the result), so that what a
        crash has left half done is removed and downloaded again.
        """
        stem = _stem(request, completed)
        place = Target(folder=self._folder, stem=stem)
        try:
            async with self._slots:
                await self._leftovers.clear(stem)
                return await save(self._requester, self._settings, completed, place)
        finally:
            self.waiting -= 1

    async def clear(self, request: GenerationRequest, completed: Generation) -> None:
        """Remove what a killed process has left of a result that is not downloaded again.

        It was being downloaded anew because the file was not found where the journal said, and
        now it is there: folder or journal have been moved in between.
        """
        await self._leftovers.clear(_stem(request, completed))


def _stem(request: GenerationRequest, completed: Generation) -> str:
    """Return the name of a result's file without its suffix."""
    base = (request.output_file_name or "generation")[:_MAX_NAME]
    return f"{base}-{name_of_id(completed.id)}"
