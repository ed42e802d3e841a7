"""Assets: files at the service: `client.assets`."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, aclosing
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, TypeAlias, cast, get_args
from urllib.parse import urlsplit

import attrs

from lipsync_async import _upload
from lipsync_async._async.resource import Resource, changes, check, path, raise_if_invalid
from lipsync_async._callsite import HTTP_LOG, call_back, is_from_callback, log, note_left
from lipsync_async._logic import validation
from lipsync_async._logic.endpoints import (
    done,
    list_of,
    maybe,
    one,
    page_of,
    plain_url,
    read_json,
    resource,
    schema_error,
)
from lipsync_async._logic.media_host import is_refusal
from lipsync_async._logic.validation import OrNone, http_url, number, text, whole_number, word_of
from lipsync_async._models.library import Asset, AssetOrder, AssetType, Page, Visibility
from lipsync_async.errors import LipsyncError, NotFoundError, ResponseError, UploadError

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
    from pathlib import Path
    from typing import Any

    from lipsync_async._logic.media_types import Kind
    from lipsync_async._models.http import Response
    from lipsync_async._models.request import FileSource, GenerationRequest
    from lipsync_async._requester import Requester, RequestOptions

OnUpload: TypeAlias = "Callable[[int, int], Awaitable[None] | None]"

_WAYS = ("/v2/assets/uploaded", "/v2/assets/upload")
_IN_A_FORM = (
    "The service has no uploads (404), so the files are sent in the create, as a form. Pass "
    "upload='form' to do so without asking first."
)
_NOT_CREATED = "No job was created: this was the upload of the request's files."
_MOST_IDS = 100
_TYPE = word_of(get_args(AssetType))
_VISIBILITY = OrNone(word_of(get_args(Visibility)))


class AsyncAssets(Resource):
    """Files at the service, to be used as inputs. Reached as `client.assets`."""

    async def upload(
        self,
        source: FileSource,
        *,
        type: AssetType | None = None,  # noqa: A002 - the wire's name
        name: str | None = None,
        content_type: str | None = None,
        visibility: Visibility | None = None,
        project_id: str | None = None,
        deduplicate: bool = True,
        on_progress: OnUpload | None = None,
    ) -> Asset:
        """Upload a file, and return its asset, to be used as an input by `asset_id`.

        Wire: `GET /v2/assets/uploaded`, `POST /v2/assets/upload`, a PUT to the address that it
        gives, `POST /v2/assets`

        Each try sends the whole file; what was cut off in the middle leaves nothing. Content that
        this API key has uploaded before is found by its hash, and not sent again.

        Args:
            source: A path, bytes, an open binary file (from where it stands), an upload of a web
                framework, or an iterator of bytes of any kind. What can be read only once is
                copied to the disk first. An `http(s)` address is registered as it is.
            type: `AUDIO`, `VIDEO` or `IMAGE`; `None`: by the first bytes and the name.
            name: The file's name; `None`: its own.
            content_type: Its MIME type; `None`: by the first bytes and the name.
            visibility: `USER` (the service's default) or `ORGANIZATION`.
            project_id: UUID of a project.
            deduplicate: Look for the content before it is sent; False saves the hashing.
            on_progress: Called, and awaited if need be, with the bytes sent so far and all bytes.

        Raises:
            InvalidRequestError: The source or an argument is wrong; nothing was sent.
            UploadError: The file changed while it was sent, or arrived with another length.
            UnprocessableError: The plan takes no file as large.
            ResponseError: The service, or the host that takes the bytes, refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Example:
            `asset = await client.assets.upload("clip.mp4")`

        Source: "Upload assets", sync.so guides.
        """
        problems = validation.argument_problems(on_progress=on_progress)
        is_address = isinstance(source, str) and source.startswith(("http://", "https://"))
        problems += validation.problems_of(
            type=(type, OrNone(_TYPE)),
            name=(name, OrNone(text)),
            content_type=(content_type, OrNone(text)),
            visibility=(visibility, _VISIBILITY),
            project_id=(project_id, OrNone(validation.name)),
            deduplicate=(deduplicate, validation.flag),
        )
        if not is_address:
            problems += validation.source_problems("source", source)
        elif type is None:
            problems.append("type: must be given with an address: AUDIO, VIDEO or IMAGE")
        raise_if_invalid(problems)
        if is_address:
            kind = cast("AssetType", type)
            facts = {"name": name, "visibility": visibility, "project_id": project_id}
            return await self.register(source, kind, **facts)  # type: ignore[arg-type]
        wanted = None if type is None else cast("Kind", type.lower())
        async with _upload.opened(
            self._requester, source, kind=wanted, name=name, content_type=content_type
        ) as opened:
            place = {"visibility": visibility, "project_id": project_id}
            if not deduplicate:
                return await self._bring(opened, on_progress, place, is_known=False)
            return await self._once(opened, on_progress, place)

    async def _once(
        self,
        source: _upload.Source,
        on_progress: OnUpload | None,
        place: dict[str, str | None],
        kept: dict[Hashable, Any] | None = None,
    ) -> Asset:
        """Let one task send what several want to have at the service at the same time."""
        content = (source.path, source.stamp) if source.path else await source.sha256()
        account = id(self._requester.account)
        key = (account, content, source.kind, source.name, source.content_type, *place.values())
        return await _upload.once(key, lambda: self._bring(source, on_progress, place), kept)

    async def _bring(
        self,
        source: _upload.Source,
        on_progress: OnUpload | None,
        place: dict[str, Any],
        *,
        is_known: bool = True,
    ) -> Asset:
        """Send a file, unless the service has its content, and register it."""
        kind = cast("AssetType", source.kind.upper())
        if is_known:
            found = await self.find_uploaded(await source.sha256(), kind)
            if found is not None:
                if on_progress is not None:
                    await call_back(on_progress, source.size, source.size)
                return found
        url = await self._put(source, on_progress)
        asset = await self.register(url, kind, name=source.name, **place)
        if asset.size is not None and asset.size != source.size:
            await self.delete(asset.id)
            came = f"{asset.size:,} of {source.size:,} bytes came"
            raise UploadError(f"{source.name} did not arrive whole: {came}. Upload it again.")
        return asset

    async def _upload_inputs(
        self,
        request: GenerationRequest,
        on_upload: OnUpload | None,
        kept: dict[Hashable, Any] | None,
    ) -> GenerationRequest:
        """Upload the local files of a request; return it with their assets' ids beside them.

        All are opened, and what comes only once is copied, before the first byte is sent.
        """
        inputs: builtins.list[Any] = [*request.input]
        async with AsyncExitStack() as stack:
            sources: dict[int, _upload.Source] = {}
            for position, item in enumerate(inputs):
                if getattr(item, "file", None) is not None:
                    kind, place = cast("Kind", item.TYPE), f"input[{position}].file"
                    sources[position] = await stack.enter_async_context(
                        _upload.opened(self._requester, item.file, place=place, kind=kind)
                    )
            total, before = sum(source.size for source in sources.values()), 0
            for position, source in sources.items():
                told = None if on_upload is None else partial(_tell, on_upload, before, total)
                asset = await self._once(source, told, {}, kept)
                before += source.size
                inputs[position] = attrs.evolve(inputs[position], asset_id=asset.id)
        return attrs.evolve(request, input=inputs)

    async def _put(self, source: _upload.Source, on_progress: OnUpload | None) -> str:
        """Send a file to where the service wants it, and return its address there.

        An address that has expired meanwhile is asked for once more.
        """
        facts = {"fileName": source.name, "contentType": source.content_type, "size": source.size}
        presign = resource("POST", "/v2/assets/upload", _slot, body=facts)
        upload_url, url = await self._send(presign)
        try:
            await _upload.put(self._requester, self._options, source, upload_url, on_progress)
        except ResponseError as error:
            if not is_refusal(error.status):
                raise
            upload_url, url = await self._send(presign)
            try:
                await _upload.put(self._requester, self._options, source, upload_url, on_progress)
            except ResponseError as again:
                if not is_refusal(again.status):
                    raise
                # It says nothing about the key or the account, as it would by its class.
                problem = f"{source.name} was refused by the host that takes the bytes: {again}"
                raise UploadError(problem) from again
        return url

    async def register(
        self,
        url: str,
        type: AssetType,  # noqa: A002 - the wire's name
        *,
        name: str | None = None,
        visibility: Visibility | None = None,
        project_id: str | None = None,
    ) -> Asset:
        """Make an asset of a public address, or of a file that was uploaded.

        Wire: `POST /v2/assets`

        A try whose outcome is unknown is repeated only if no asset of this address is found: a
        second one would do no harm, but stand in the library twice.

        Args:
            url: Public address, or `url` of an upload.
            type: `AUDIO`, `VIDEO` or `IMAGE`.
            name: Its display name.
            visibility: `USER` (the service's default) or `ORGANIZATION`.
            project_id: UUID of a project.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            UnprocessableError: The service does not find the file, or takes none as large.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Create asset", sync.so API reference.
        """
        check(
            url=(url, http_url),
            type=(type, _TYPE),
            name=(name, OrNone(text)),
            visibility=(visibility, _VISIBILITY),
            project_id=(project_id, OrNone(validation.name)),
        )
        body = {
            "url": url,
            "type": type,
            "name": name,
            "visibility": visibility,
            "projectId": project_id,
        }
        call = resource("POST", "/v2/assets", one(Asset), body=body, is_repeatable=False)
        return await self._send_or_find(call, lambda: self._registered(url, type))

    async def _registered(self, url: str, kind: AssetType) -> Asset | None:
        """Return the newest asset of an address, if there is one."""
        page = await self.list(types=[kind], sort_by="dateDesc", limit=100)
        return next((asset for asset in page if asset.url == url), None)

    async def list(
        self,
        *,
        types: Sequence[AssetType] | None = None,
        project_id: str | None = None,
        search: str | None = None,
        sort_by: AssetOrder | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Asset]:
        """Return one page of assets.

        Wire: `GET /v2/assets`

        Args:
            types: Only these types.
            project_id: Only those of this project.
            search: What the names must contain.
            sort_by: Order, such as `dateDesc` or `nameAsc`; `None`: the service's.
            limit: 1 to 100 on the page.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List assets", sync.so API reference.
        """
        check(
            types=(types, OrNone(validation.list_of(_TYPE))),
            project_id=(project_id, OrNone(validation.name)),
            search=(search, OrNone(text)),
            sort_by=(sort_by, OrNone(word_of(get_args(AssetOrder)))),
            limit=(limit, whole_number(1, 100)),
            cursor=(cursor, OrNone(text)),
        )
        query = {
            "types": types,
            "projectId": project_id,
            "searchQuery": search,
            "sortBy": sort_by,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._send(resource("GET", "/v2/assets", page_of(Asset), query=query))

    def iter(
        self,
        *,
        types: Sequence[AssetType] | None = None,
        project_id: str | None = None,
        search: str | None = None,
        sort_by: AssetOrder | None = None,
    ) -> AsyncGenerator[Asset, None]:
        """Yield all matching assets, page after page.

        Wire: `GET /v2/assets`, repeatedly

        Args:
            types: Only these types.
            project_id: Only those of this project.
            search: What the names must contain.
            sort_by: Order, such as `dateDesc` or `nameAsc`; `None`: the service's.

        Raises:
            LipsyncError: As `list` says.

        Source: "List assets", sync.so API reference.
        """
        return self._pages(
            lambda cursor: self.list(
                types=types, project_id=project_id, search=search, sort_by=sort_by, cursor=cursor
            )
        )

    async def get(self, asset_id: str) -> Asset:
        """Return one asset.

        Wire: `GET /v2/assets/{id}`

        Args:
            asset_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such asset.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get asset", sync.so API reference.
        """
        return await self._send(resource("GET", _path(asset_id), one(Asset)))

    async def get_many(self, asset_ids: Sequence[str]) -> builtins.list[Asset]:
        """Return several assets, in an order of the service's; those not there are left out.

        Wire: `POST /v2/assets/batch`

        Args:
            asset_ids: 1 to 100 ids.

        Raises:
            InvalidRequestError: An id cannot be one; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get assets", sync.so API reference.
        """
        problems = validation.problems_of(
            asset_ids=(asset_ids, validation.list_of(validation.name))
        )
        if validation.is_list(asset_ids) and len(asset_ids) > _MOST_IDS:
            problems.append(f"asset_ids: at most {_MOST_IDS} a call, not {len(asset_ids)}")
        raise_if_invalid(problems)
        body = {"ids": [*asset_ids]}
        return await self._send(resource("POST", "/v2/assets/batch", list_of(Asset), body=body))

    async def find_uploaded(self, sha256: str, type: AssetType) -> Asset | None:  # noqa: A002 - the wire's name
        """Return the newest asset with some content that this API key has registered.

        Wire: `GET /v2/assets/uploaded`

        Args:
            sha256: The content's SHA-256: 64 hexadecimal digits in lower case.
            type: `AUDIO`, `VIDEO` or `IMAGE`.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Find uploaded asset", sync.so API reference.
        """
        check(sha256=(sha256, validation.sha256_text), type=(type, _TYPE))
        query = {"contentSha256": sha256, "type": type}
        call = resource("GET", "/v2/assets/uploaded", maybe(Asset, "asset"), query=query)
        return await self._send(call)

    async def update(
        self,
        asset_id: str,
        *,
        name: str | None = None,
        visibility: Visibility | None = None,
        duration_seconds: float | None = None,
        size: int | None = None,
        format: str | None = None,  # noqa: A002 - the wire's name
        width: int | None = None,
        height: int | None = None,
    ) -> Asset:
        """Change the fields of an asset that are given, and return it.

        Wire: `PATCH /v2/assets/{id}`

        Args:
            asset_id: Its id.
            name: Its display name.
            visibility: `USER` or `ORGANIZATION`.
            duration_seconds: Its length in seconds.
            size: Bytes.
            format: Its format, such as `mp4`.
            width: Pixels.
            height: Pixels.

        Raises:
            InvalidRequestError: An argument is wrong, or none is given; nothing was sent.
            PermissionDeniedError: The asset is not that of the key's owner.
            NotFoundError: There is no such asset.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Update asset", sync.so API reference.
        """
        count = OrNone(whole_number(0))
        problems = validation.problems_of(
            asset_id=(asset_id, validation.name),
            name=(name, OrNone(text)),
            visibility=(visibility, _VISIBILITY),
            duration_seconds=(duration_seconds, OrNone(number(0))),
            size=(size, count),
            format=(format, OrNone(text)),
            width=(width, count),
            height=(height, count),
        )
        body = changes(
            problems,
            name=name,
            visibility=visibility,
            durationSeconds=duration_seconds,
            size=size,
            format=format,
            width=width,
            height=height,
        )
        return await self._send(resource("PATCH", _path(asset_id), one(Asset), body=body))

    async def delete(self, asset_id: str) -> None:
        """Delete an asset.

        Wire: `DELETE /v2/assets/{id}`

        A try whose outcome is unknown is repeated; if the asset is gone then, the call has
        succeeded.

        Args:
            asset_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            PermissionDeniedError: The asset is not that of the key's owner.
            NotFoundError: There was no such asset when the call began.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Delete asset", sync.so API reference.
        """
        await self._send(resource("DELETE", _path(asset_id), done, is_done_without=True))

    async def download_url(self, asset_id: str) -> str:
        """Return an address from which an asset can be fetched now, without the API key.

        Wire: `GET /v2/assets/{id}/download`

        Args:
            asset_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such asset.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer is no address.

        Source: "Download asset", sync.so API reference.
        """
        return await self._send(resource("GET", f"{_path(asset_id)}/download", plain_url))

    async def download(
        self, asset: Asset | str, to: str | os.PathLike[str], *, overwrite: bool = False
    ) -> Path:
        """Save an asset and return the file's path, with all that `generations.download` promises.

        Wire: `GET /v2/assets/{id}/download`, then `GET` of the address that it gives

        Args:
            asset: The asset, or its id.
            to: A folder, where the file is named after the asset, or exactly the file; as in
                `generations.download`.
            overwrite: Replace a file that has the name; otherwise as in `generations.download`.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            NotFoundError: There is no such asset.
            DownloadError: No address yields the whole file, or it cannot be written.
            ResponseError: The media host failed (429, 5xx), retries included.
            TransportError: The connection failed for good, retries included.

        Source: "Download asset", sync.so API reference.
        """
        raise_if_invalid(validation.argument_problems(to=to, overwrite=overwrite))
        found = asset if isinstance(asset, Asset) else await self.get(asset)
        from lipsync_async import _download  # noqa: PLC0415 - many clients download nothing

        place = _download.Target.of(to, overwrite=overwrite)
        return await _download.save(self._requester, self._options, found, place)

    async def download_chunks(self, asset: Asset | str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an asset, as `generations.download_chunks` does.

        Wire: `GET /v2/assets/{id}/download`, then `GET` of the address that it gives

        Args:
            asset: The asset, or its id.

        Raises:
            NotFoundError: There is no such asset.
            DownloadError: No address yields the whole file, or it has changed meanwhile.
            ResponseError: The media host failed (429, 5xx), retries included.
            TransportError: The connection failed for good, retries included.

        Source: "Download asset", sync.so API reference.
        """
        found = asset if isinstance(asset, Asset) else await self.get(asset)
        from lipsync_async import _download  # noqa: PLC0415 - many clients download nothing

        async with aclosing(_download.stream(self._requester, self._options, found)) as chunks:
            async for chunk in chunks:
                yield chunk


async def upload_inputs(
    requester: Requester,
    options: RequestOptions,
    request: GenerationRequest,
    *,
    on_upload: OnUpload | None = None,
    kept: dict[Hashable, Any] | None = None,
) -> GenerationRequest:
    """Upload the local files of a request that is about to be sent.

    If the service has no uploads (404), files that can be read again stay in the request, and the
    create sends them in a form.
    """
    try:
        return await AsyncAssets(requester, options)._upload_inputs(request, on_upload, kept)  # noqa: SLF001 - of this file
    except LipsyncError as error:
        if _has_no_way(error) and not is_from_callback(error):
            needs = validation.request_problems(request, with_files=False, is_form=True)
            if not needs:
                log(HTTP_LOG, logging.INFO, _IN_A_FORM)
                return request
            why = needs[0].partition(";")[0]
            note_left(error, f"The files cannot be sent in the create, as a form: {why}.")
        if not is_from_callback(error):
            error.may_have_worked = False  # whatever the upload was, no job was created
            note_left(error, _NOT_CREATED)
        raise


def _has_no_way(error: LipsyncError) -> bool:
    """Tell whether the service does not know the paths of uploads; no file was sent."""
    return isinstance(error, NotFoundError) and urlsplit(error.response.url).path.endswith(_WAYS)


async def _tell(on_upload: OnUpload, before: int, total: int, sent: int, _: int) -> None:
    told = on_upload(before + sent, total)
    if isawaitable(told):
        await told


def _slot(response: Response) -> tuple[str, str]:
    """Return where a file is to be sent, and where it will be then."""
    data = read_json(response)
    found = data if isinstance(data, dict) else {}
    upload_url, url = found.get("uploadUrl"), found.get("url")
    if not isinstance(upload_url, str) or not isinstance(url, str):
        raise schema_error(response, "expected text @ $.uploadUrl and $.url")
    return upload_url, url


def _path(asset_id: str) -> str:
    return path("/v2/assets/{asset_id}", asset_id=asset_id)
