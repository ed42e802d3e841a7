"""Assets: presign, upload, register, look up, change, delete, download.

A presigned URL is on the sandbox's other host name, takes one file without a key, and refuses
what S3 refuses: another content type, a body without a stated length, a link that has expired.

Source: "Upload assets", sync.so guides; "Create asset", "List assets", sync.so API reference.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import attrs

from lipsync_async.sandbox.api.query import choice, last, limit, listed, page, values
from lipsync_async.sandbox.files import UPLOADS_PATH, on_other_host
from lipsync_async.sandbox.server.api_errors import bad_request, error, malformed, plain_error
from lipsync_async.sandbox.server.messages import FILE, JSON_BODY, Response
from lipsync_async.sandbox.server.pipeline import Access, Resource
from lipsync_async.sandbox.server.shapes import (
    INDEX,
    POSITIVE,
    TEXT,
    TIME,
    UUID,
    WEB_URL,
    Shape,
    checked,
    is_uuid,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.files import HostedFile
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

TYPES = ("AUDIO", "VIDEO", "IMAGE")
VISIBILITIES = ("USER", "ORGANIZATION")
_MOST_BYTES = 5 * 1024**3
_EXPIRES_IN = 3600
_PAGE, _LONGEST_PAGE, _MOST_IDS = 50, 100, 100
_DIGEST = re.compile(r"[a-f0-9]{64}")
_SORTS = {
    "name": lambda asset: asset.fields.get("name") or "",
    "date": lambda asset: asset.number,
    "duration": lambda asset: asset.fields.get("durationSeconds") or 0.0,
    "size": lambda asset: asset.fields.get("size") or 0,
    "kind": lambda asset: asset.fields["type"],
}
_SORT_WORDS = tuple(f"{name}{way}" for name in _SORTS for way in ("Asc", "Desc"))
_UPLOAD = Shape(
    {"fileName": TEXT, "contentType": TEXT, "size": POSITIVE},
    frozenset({"fileName", "contentType", "size"}),
)
_ASSET = Shape(
    {
        "url": WEB_URL,
        "type": one_of(TYPES),
        "name": TEXT,
        "visibility": one_of(VISIBILITIES),
        "projectId": UUID,
    },
    frozenset({"url", "type"}),
)
_CHANGES = Shape(
    {
        "name": TEXT,
        "visibility": one_of(VISIBILITIES),
        "durationSeconds": TIME,
        "size": INDEX,
        "format": TEXT,
        "width": INDEX,
        "height": INDEX,
    }
)


@attrs.define(slots=True, eq=False, kw_only=True)
class Asset:
    """One asset, with what every answer shows of it."""

    NOUN: ClassVar[str] = "Asset"
    NOT_FOUND: ClassVar[str | None] = "asset_not_found"

    id: str
    number: int
    fields: dict[str, Any]
    digest: str | None = None  # SHA-256 of its bytes, where they came through this sandbox
    projects: set[str] = attrs.field(factory=set)  # by their ids


@attrs.frozen(slots=True, eq=False)
class Upload:
    """One presigned URL."""

    NOUN: ClassVar[str] = "Upload"
    NOT_FOUND: ClassVar[str | None] = None

    id: str
    name: str
    content_type: str
    expires: float  # in seconds of the sandbox's clock


assets: Resource = Resource("/v2/assets")
uploads: Resource = Resource(UPLOADS_PATH, Access.PUBLIC)


@assets.route("POST", "/upload", body=JSON_BODY, status=201, rate="upload")
def presign(state: State, request: Request) -> Any:
    """Answer with where a file is to be PUT, and where it will be."""
    body = checked(_UPLOAD, request.data)
    if body["size"] > _MOST_BYTES:
        raise malformed([f"size must not be greater than {_MOST_BYTES}"])
    check_file_size(state, int(body["size"]))
    name = f"{state.new_id()}{PurePath(body['fileName']).suffix}"
    expires = state.clock.now() + _EXPIRES_IN
    upload = Upload(state.new_id(), name, body["contentType"], expires)
    state.table(Upload).add(upload)
    base_url = state.urls.base_url
    base_url = on_other_host(base_url) if state.urls.has_other_host else base_url
    upload_url = f"{base_url}{UPLOADS_PATH}{upload.id}/{quote(name)}"
    return {"uploadUrl": upload_url, "url": state.urls.file(name), "expiresIn": _EXPIRES_IN}


@uploads.route("PUT", "{id}/{name}", body=FILE)
def put(state: State, request: Request) -> Response:
    """Keep a file, as S3 does: whole or not at all."""
    upload = state.table(Upload).get(request.params["id"])
    if upload is None or upload.name != request.params["name"]:
        raise plain_error(403, "SignatureDoesNotMatch")
    if state.clock.now() > upload.expires:
        raise plain_error(403, "AccessDenied: Request has expired")
    if request.headers.get("content-type") != upload.content_type:
        raise plain_error(403, "SignatureDoesNotMatch: another Content-Type was signed")
    if "content-length" not in request.headers:
        raise plain_error(411, "MissingContentLength")
    file = request.upload
    if file is None:
        raise bad_request("Send the file as the body.")
    request.files.hand_over(file.path)
    state.files.adopt(file.path, upload.name, upload.content_type, digest=file.digest)
    return Response(headers={"ETag": f'"{file.digest[:32]}"'})


@assets.route("POST", body=JSON_BODY, status=201)
async def register(state: State, request: Request) -> Any:
    """Make an asset of an uploaded file, or of a public address."""
    body = checked(_ASSET, request.data)
    url = body["url"]
    file = state.files.at(url) if state.files.is_own(url) else None
    if file is None and state.files.is_own(url):
        raise error("uploaded_file_not_found", f"Nothing was uploaded to {url}.", field="url")
    if file is None and url.startswith(state.urls.base_url):
        raise error("file_not_in_org_storage", f"{url} is no file of yours.", field="url")
    project_id = body.get("projectId")
    if project_id is not None:
        project_id = state.project(project_id, is_input=True).id
    facts = {} if file is None else await _facts(state, file, body["type"])
    digest = None if file is None else file.digest
    return asset_json(add_asset(state, {**body, **facts}, digest=digest))


def add_asset(
    state: State, facts: Mapping[str, Any], *, digest: str | None, asset_id: str | None = None
) -> Asset:
    """Add an asset of a file that is there."""
    now, table = state.calendar.timestamp(), state.table(Asset)
    asset_id = asset_id or state.new_id()
    kind = "URL" if digest is None else "UPLOAD"
    fields = {"id": asset_id, "createdAt": now, "updatedAt": now, "visibility": "USER"}
    fields |= {"inputType": kind, **facts}
    state.files.assets[asset_id] = facts["url"]
    asset = Asset(id=asset_id, number=table.created, fields=fields, digest=digest)
    asset.projects |= {fields["projectId"]} if fields.get("projectId") else set()
    return table.add(asset)


@assets.route("GET")
def list_assets(state: State, request: Request) -> Any:
    """Answer with a page."""
    query = request.query
    types, project_id = values(query, "types", TYPES), last(query, "projectId")
    words = (last(query, "searchQuery") or "").lower()
    order = choice(query, "sortBy", _SORT_WORDS, "dateDesc")
    found = [
        asset
        for asset in state.table(Asset)
        if (not types or asset.fields["type"] in types)
        and (project_id is None or project_id in asset.projects)
        and words in (asset.fields.get("name") or "").lower()
    ]
    is_down = order.endswith("Desc")
    found.sort(key=_SORTS[order.removesuffix("Desc").removesuffix("Asc")], reverse=is_down)
    shown, cursor = page(found, query, limit(query, _LONGEST_PAGE, _PAGE) or _PAGE)
    return {**listed(map(asset_json, shown), cursor), "totalCount": len(found)}


@assets.route("POST", "/batch", body=JSON_BODY)
def get_many(state: State, request: Request) -> Any:
    """Answer with the assets of some ids; those that are not there are left out."""
    ids = request.data.get("ids") if isinstance(request.data, dict) else None
    ids = [ids] if isinstance(ids, str) else ids
    if not (isinstance(ids, list) and 1 <= len(ids) <= _MOST_IDS):
        raise malformed([f"ids must contain 1 to {_MOST_IDS} ids"])
    table = state.table(Asset)
    found = [table.get(asset_id) for asset_id in ids if isinstance(asset_id, str)]
    return [asset_json(asset) for asset in found if asset is not None]


@assets.route("GET", "/uploaded")
def uploaded(state: State, request: Request) -> Any:
    """Answer with the newest asset of some bytes, so that they need not be sent again."""
    digest = last(request.query, "contentSha256") or ""
    if _DIGEST.fullmatch(digest) is None:
        raise malformed(["contentSha256 must match /^[a-f0-9]{64}$/"])
    kind = choice(request.query, "type", TYPES, "")
    found = [
        asset
        for asset in state.table(Asset)
        if asset.digest == digest and asset.fields["type"] == kind
    ]
    return {"asset": asset_json(found[-1]) if found else None}


@assets.route("GET", "/{id}")
def get(state: State, request: Request) -> Any:
    """Answer with one asset."""
    return asset_json(_asset(state, request))


@assets.route("PATCH", "/{id}", body=JSON_BODY)
def change(state: State, request: Request) -> Any:
    """Change some fields of an asset."""
    asset, body = _asset(state, request), checked(_CHANGES, request.data)
    changes = {name: body[name] for name in _CHANGES.fields if name in body}
    if None in changes.values():
        raise malformed([f"{name} must not be null" for name in changes if changes[name] is None])
    asset.fields |= {**changes, "updatedAt": state.calendar.timestamp()}
    return asset_json(asset)


@assets.route("DELETE", "/{id}")
def delete(state: State, request: Request) -> Any:
    """Delete an asset."""
    asset = _asset(state, request)
    delete_asset(state, asset)
    return {"id": asset.id}


def delete_asset(state: State, asset: Asset) -> None:
    """Delete an asset with its file."""
    state.table(Asset).delete(asset.id)
    del state.files.assets[asset.id]
    if asset.fields["url"] not in state.files.assets.values():
        state.files.forget(asset.fields["url"])


@assets.route("GET", "/{id}/download")
def download(state: State, request: Request) -> Response:
    """Answer with the file's URL as plain text."""
    url = _asset(state, request).fields["url"]
    return Response(200, url.encode(), "text/plain; charset=utf-8")


def asset_json(asset: Asset) -> dict[str, Any]:
    """Return an asset as the service shows it."""
    return {name: value for name, value in asset.fields.items() if value is not None}


async def _facts(state: State, file: HostedFile, kind: str) -> dict[str, Any]:
    """Return what is known of a file, or refuse one that the plan does not take."""
    size = file.path.stat().st_size
    check_file_size(state, size)
    with state.clock.hold():
        facts = await state.renderer.facts(file.path, kind.lower())
    return {"size": size, "format": file.path.suffix.lstrip(".") or None, **facts}


def check_file_size(state: State, size: int, field: str = "size") -> None:
    """Refuse a file that the plan does not take."""
    most = state.plan_file_bytes
    if most is not None and size > most:
        message = f"The plan takes files of {most} bytes at most."
        raise error("file_size_exceeds_plan_limit", message, field=field)


def _asset(state: State, request: Request) -> Asset:
    asset_id = request.params["id"]
    if not is_uuid(asset_id):
        raise error("invalid_asset_id_format", f"{asset_id!r} is no id of an asset.")
    return state.table(Asset).find(asset_id)
