"""Assets: files at the service: `client.assets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from lipsync_async._async.resource import Resource, changes, check, path, raise_if_invalid
from lipsync_async._logic import validation
from lipsync_async._logic.endpoints import (
    done,
    list_of,
    maybe,
    one,
    page_of,
    plain_url,
    resource,
)
from lipsync_async._logic.validation import OrNone, http_url, number, text, whole_number, word_of
from lipsync_async._models.library import Asset, AssetOrder, AssetType, Page, Visibility

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncGenerator, Sequence

_MOST_IDS = 100
_TYPE = word_of(get_args(AssetType))
_VISIBILITY = OrNone(word_of(get_args(Visibility)))


class AsyncAssets(Resource):
    """Files at the service, to be used as inputs. Reached as `client.assets`."""

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
            As `list`.

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
        check(asset_ids=(asset_ids, validation.list_of(validation.name)))
        if len(asset_ids) > _MOST_IDS:
            raise_if_invalid([f"asset_ids: at most {_MOST_IDS} a call, not {len(asset_ids)}"])
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
        check(
            name=(name, OrNone(text)),
            visibility=(visibility, _VISIBILITY),
            duration_seconds=(duration_seconds, OrNone(number(0))),
            size=(size, count),
            format=(format, OrNone(text)),
            width=(width, count),
            height=(height, count),
        )
        body = changes(
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


def _path(asset_id: str) -> str:
    return path("/v2/assets/{asset_id}", asset_id=asset_id)
