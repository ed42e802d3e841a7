"""Bringing a result home: whole, under a safe name, or not at all.

When the connection breaks, the rest is asked for from where it broke, provided that the
server still vouches for the same content. Only a file of the announced length gets its
final name. The API key never goes to a media host.

Result addresses expire (contract section 5.5). A refused address is renewed through the
generation, then through the download endpoint.
"""

from __future__ import annotations

import re
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

from lipsync_async._part_file import PartFile
from lipsync_async._rules import answers, endpoints
from lipsync_async._rules.caller import is_from_callback
from lipsync_async._rules.media_types import name_of_id, result_filename
from lipsync_async._values.messages import Request, Response
from lipsync_async.errors import (
    ConnectionLostError,
    DownloadError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    TransportError,
    in_words,
)

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from pathlib import Path

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._transport.protocol import Stream
    from lipsync_async._values.models import Generation

# What a media host says of an address that has expired.
_EXPIRED = frozenset({401, 403, 404, 410})
_MOST_REDIRECTS = 5
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416
# Compressed content would have another length than announced, and media do not compress.
_HEADERS = {"accept": "*/*", "accept-encoding": "identity"}


async def save(
    exchange: Exchange,
    settings: Settings,
    generation: Generation,
    to: str | os.PathLike[str],
) -> Path:
    """Save a COMPLETED generation's result.

    Args:
        exchange: What performs the calls.
        settings: Timeout (here between two pieces) and retry policy.
        generation: The job.
        to: A folder (one that exists, or a name with a trailing slash), where the file is
            named after the result and never replaces that of another job; or the file
            itself.

    Raises:
        InvalidRequestError: The generation is not COMPLETED.
        DownloadError: No address yields the whole file, or it cannot be written.

    """
    if not generation.is_completed:
        problem = f"generation: is {generation.status}; only a COMPLETED one has a result"
        raise InvalidRequestError([problem])
    refusal: LipsyncError | None = None
    try:
        async with aclosing(_addresses(exchange, settings, generation)) as addresses:
            async for url in addresses:
                try:
                    return await _Transfer(exchange, settings, generation, url).run(to)
                except ResponseError as error:
                    if error.status not in _EXPIRED:
                        raise
                    refusal = error
    except LipsyncError as error:  # before OSError: a timeout is both
        error.generation = generation
        raise
    except Exception as error:
        if is_from_callback(error):
            raise
        raise _failed(generation, _reason(error)) from error
    raise _failed(generation, "every address is refused") from refusal


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"it cannot be written ({error})"
    return f"fetching it raised {in_words(error)}"


def _failed(generation: Generation, reason: str) -> DownloadError:
    error = DownloadError(
        f"The result of generation {generation.id} was not saved: {reason}. It is still at the "
        "service; download it again.",
    )
    error.generation = generation
    return error


async def _addresses(
    exchange: Exchange,
    settings: Settings,
    generation: Generation,
) -> AsyncGenerator[str, None]:
    """Yield where the result may be, each address once, the known one first."""
    known = generation.output_url or generation.output_media_url
    if known is not None:
        yield known
    renewed = await exchange.perform(endpoints.get_generation(generation.id), settings)
    fresh = renewed.output_url or renewed.output_media_url
    if fresh is not None and fresh != known:
        yield fresh
    resolved = await exchange.perform(endpoints.download_url(generation.id), settings)
    if resolved not in {known, fresh}:
        yield resolved


class _Transfer:
    """Bring one address's content into one file, over as many connections as it takes."""

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        generation: Generation,
        url: str,
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._generation = generation
        self._url = url
        self._file: PartFile | None = None
        self._validator: str | None = None
        self._total: int | None = None

    async def run(self, to: str | os.PathLike[str]) -> Path:
        """Fetch, resuming after broken connections, then give the file its final name."""
        try:
            file = await self._fetched(to)
            return await file.finish()
        finally:
            if self._file is not None:
                await self._file.abandon()

    async def _fetched(self, to: str | os.PathLike[str]) -> PartFile:
        """Fetch with the patience of the policy, which begins anew whenever bytes have come."""
        while True:
            before = self._size
            try:
                return await self._exchange.insist(
                    lambda: self._fetch(to),
                    self._settings.retry,
                    is_repeatable=True,
                )
            except TransportError:
                if self._size <= before or self._settings.retry.attempts == 1:
                    raise

    @property
    def _size(self) -> int:
        return 0 if self._file is None else self._file.size

    async def _fetch(self, to: str | os.PathLike[str]) -> PartFile:
        """Fetch what is missing; return the file once it has the announced length."""
        async with self._opened() as stream:
            file = await self._landing(to, stream)
            total = await self._place(file, stream)
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    await file.write(chunk)
        if file.size == 0 or (total is not None and file.size != total):
            message = f"{file.size} of {total or 'an unknown number of'} bytes came"
            await self._forget_excess(file, total)
            raise ConnectionLostError(message, method="GET", url=self._url)
        return file

    async def _forget_excess(self, file: PartFile, total: int | None) -> None:
        if total is not None and file.size > total:
            await file.restart()

    async def _landing(self, to: str | os.PathLike[str], stream: Stream) -> PartFile:
        """Open the file: the one named, or one named after the result."""
        if self._file is not None:
            return self._file
        generation = self._generation
        self._file = PartFile()
        name = result_filename(
            url=self._url,
            content_disposition=stream.headers.get("content-disposition"),
            content_type=stream.headers.get("content-type"),
            fallback=generation.output_file_name or name_of_id(generation.id),
        )
        await self._file.open(to, name=name, distinct=name_of_id(generation.id))
        return self._file

    async def _place(self, file: PartFile, stream: Stream) -> int | None:
        """Go to where the content continues, and return the length that it will have."""
        headers = stream.headers
        before, self._validator = self._validator, _validator(headers)
        if stream.status == _PARTIAL:
            announced = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("content-range", ""))
            if announced is not None and self._validator in {None, before}:
                self._validator = before
                if (int(announced[1]), int(announced[2])) == (file.size, self._total):
                    return self._total
            self._validator = None
            message = "the server continued elsewhere than asked"
            await file.restart()
            raise ConnectionLostError(message, method="GET", url=self._url)
        await file.restart()
        length = headers.get("content-length", "")
        is_told = length.isdecimal() and "content-encoding" not in headers
        self._total = int(length) if is_told else None
        return self._total

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Stream]:
        """Open the address, or the rest of it, following redirects without any key."""
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            request = Request("GET", url, self._range_headers())
            async with self._exchange.transport.stream(
                request,
                timeout=self._settings.timeout,
            ) as stream:
                if stream.status in {_OK, _PARTIAL}:
                    yield stream
                    return
                target = answers.redirect_target(url, stream.status, stream.headers)
                if target is None:
                    await self._refuse(request, stream)
                url = target
        raise _failed(self._generation, f"more than {_MOST_REDIRECTS} redirects")

    def _range_headers(self) -> dict[str, str]:
        if self._file is None or self._size == 0 or self._validator is None:
            return _HEADERS
        # If-Range: a server whose content has changed sends it whole instead of the rest.
        asked = {"range": f"bytes={self._file.size}-", "if-range": self._validator}
        return _HEADERS | asked

    async def _refuse(self, request: Request, stream: Stream) -> NoReturn:
        """Raise what an error status stands for."""
        if stream.status == _RANGE_NOT_SATISFIABLE:
            self._validator = None
            message = "the server would not continue"
            raise ConnectionLostError(message, method="GET", url=request.url)
        async with aclosing(stream.chunks()) as chunks:
            page = await anext(chunks, b"")  # one piece says enough; the rest may never end
        raise answers.error_from(Response("GET", request.url, stream.status, stream.headers, page))


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return what vouches for unchanged content: a strong ETag (RFC 9110 section 13.1.5)."""
    tag = headers.get("etag", "")
    return tag if tag.startswith('"') else None
