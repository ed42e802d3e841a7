# Generated from lipsync_async/_async/assets.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""Assets: files at the service: `client.assets`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal import SyncWrapper, call_in_caller

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from lipsync_async._async.assets import AsyncAssets
    from lipsync_async._models.library import Asset, AssetOrder, AssetType, Page, Visibility
    from lipsync_async._models.request import FileSource

    OnUpload = Callable[[int, int], None]


class Assets(SyncWrapper):
    """Files at the service, to be used as inputs. Reached as `client.assets`."""

    _source: AsyncAssets

    def upload(
        self,
        source: FileSource,
        *,
        type: AssetType | None = None,
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
            on_progress: Called, in the thread that waits, with the bytes sent so far and all bytes.

        Raises:
            InvalidRequestError: The source or an argument is wrong; nothing was sent.
            UploadError: The file changed while it was sent, or arrived with another length.
            UnprocessableError: The plan takes no file as large.
            ResponseError: The service, or the host that takes the bytes, refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Example:
            `asset = client.assets.upload("clip.mp4")`

        Source: "Upload assets", sync.so guides.
        """
        return self._portal.call(
            partial(
                self._source.upload,
                source,
                type=type,
                name=name,
                content_type=content_type,
                visibility=visibility,
                project_id=project_id,
                deduplicate=deduplicate,
                on_progress=call_in_caller("on_progress", on_progress),
            )
        )

    def register(
        self,
        url: str,
        type: AssetType,
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
        return self._portal.call(
            partial(
                self._source.register,
                url,
                type,
                name=name,
                visibility=visibility,
                project_id=project_id,
            )
        )

    def list(
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
        return self._portal.call(
            partial(
                self._source.list,
                types=types,
                project_id=project_id,
                search=search,
                sort_by=sort_by,
                limit=limit,
                cursor=cursor,
            )
        )

    def iter(
        self,
        *,
        types: Sequence[AssetType] | None = None,
        project_id: str | None = None,
        search: str | None = None,
        sort_by: AssetOrder | None = None,
    ) -> Generator[Asset, None, None]:
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
        return self._portal.iterate(
            self._source.iter(types=types, project_id=project_id, search=search, sort_by=sort_by)
        )

    def get(self, asset_id: str) -> Asset:
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
        return self._portal.call(partial(self._source.get, asset_id))

    def get_many(self, asset_ids: Sequence[str]) -> builtins.list[Asset]:
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
        return self._portal.call(partial(self._source.get_many, asset_ids))

    def find_uploaded(self, sha256: str, type: AssetType) -> Asset | None:
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
        return self._portal.call(partial(self._source.find_uploaded, sha256, type))

    def update(
        self,
        asset_id: str,
        *,
        name: str | None = None,
        visibility: Visibility | None = None,
        duration_seconds: float | None = None,
        size: int | None = None,
        format: str | None = None,
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
        return self._portal.call(
            partial(
                self._source.update,
                asset_id,
                name=name,
                visibility=visibility,
                duration_seconds=duration_seconds,
                size=size,
                format=format,
                width=width,
                height=height,
            )
        )

    def delete(self, asset_id: str) -> None:
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
        self._portal.call(partial(self._source.delete, asset_id))

    def download_url(self, asset_id: str) -> str:
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
        return self._portal.call(partial(self._source.download_url, asset_id))

    def download(
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
        return self._portal.call(partial(self._source.download, asset, to, overwrite=overwrite))

    def download_chunks(self, asset: Asset | str) -> Generator[bytes, None, None]:
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
        return self._portal.iterate(self._source.download_chunks(asset))
