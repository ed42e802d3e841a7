"""Assets: presign, upload, register, look up, change, delete, download.

A presigned URL is on the sandbox's other host name, takes one file without a key, and refuses
what S3 refuses: another content type, a body without a stated length, a link that has expired.

Source: "Upload assets", sync.so guides; "Create asset", "List assets", sync.so API reference.
"""

from __future__ import annotations

import re
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

import attrs

from lipsync_async.sandbox.api.query import choice, last, limit, listed, page, values
from lipsync_async.sandbox.files import MEDIA_PATH, UPLOADS_PATH
from lipsync_async.sandbox.server.api_errors import bad_request, error, malformed, plain_error
from lipsync_async.sandbox.server.messages import FILE, JSON_BODY, Response
from lipsync_async.sandbox.server.pipeline import Access, Resource
from lipsync_async.sandbox.server.shapes import (
    COUNT,
    INDEX,
    TEXT,
    TIME,
    UUID,
    WEB_URL,
    Rule,
    Shape,
    checked,
    checked_changes,
    is_uuid,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lipsync_async.sandbox.files import HostedFile
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

TYPES = ("AUDIO", "VIDEO", "IMAGE")
VISIBILITIES = ("USER", "ORGANIZATION")
_MOST_BYTES = 5 * 1024**3
_EXPIRES_IN = 3600  # seconds of the client's
_PAGE, _LONGEST_PAGE, _MOST_IDS = 50, 100, 100
_DIGEST = Rule(
    lambda value: isinstance(value, str) and re.fullmatch(r"[a-f0-9]{64}", value) is not None,
    "must match /^[a-f0-9]{64}$/",
)
_SORTS: dict[str, Callable[[Asset], Any]] = {
    "name": lambda asset: asset.fields.get("name") or "",
    "date": lambda asset: asset.number,
    "duration": lambda asset: asset.fields.get("durationSeconds") or 0.0,
    "size": lambda asset: asset.fields.get("size") or 0,
    "kind": lambda asset: asset.fields["type"],
}
_SORT_WORDS = tuple(f"{name}{way}" for name in _SORTS for way in ("Asc", "Desc"))
_UPLOAD = Shape(
    {"fileName": TEXT, "contentType": TEXT, "size": COUNT},
    frozenset({"fileName", "contentType", "size"}),
)
_ASSET = Shape(
    {
        "url": WEB_URL,
        "type": one_of(TYPES),
        "name": TEXT,
        "visibility": one_of(VISIBILITIES),
        "projectId": UUID,
        "contentSha256": _DIGEST,
    },
    frozenset({"url", "type"}),
)
_CONTENT = Shape(
    {"contentSha256": _DIGEST, "type": one_of(TYPES)}, frozenset({"contentSha256", "type"})
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
    digest: str | None = None  # SHA-256 of its bytes, as far as it is known
    attached: set[str] = attrs.field(factory=set)  # to projects, by their ids

    @property
    def projects(self) -> set[str]:
        """The ids of the projects that hold it: where it was made, and to which it is attached."""
        made_in = self.fields.get("projectId")
        return self.attached | ({made_in} if made_in else set())

    def leave(self, project_id: str) -> None:
        """Remove it from a project that is deleted."""
        self.attached.discard(project_id)
        if self.fields.get("projectId") == project_id:
            self.fields["projectId"] = None


@attrs.frozen(slots=True, eq=False)
class Upload:
    """One presigned URL."""

    NOUN: ClassVar[str] = "Upload"
    NOT_FOUND: ClassVar[str | None] = None

    id: str
    name: str
    content_type: str
    expires: float  # in seconds of the sandbox's clock


_SHOWN = ("url", "type", "name", "visibility", "projectId")

assets: Resource = Resource("/v2/assets")
uploads: Resource = Resource(UPLOADS_PATH, Access.PUBLIC)


@assets.route("POST", "/upload", body=JSON_BODY, status=201, rate="upload")
def presign(state: State, request: Request) -> Any:
    """Answer with where a file is to be PUT, and where it will be."""
    body = checked(_UPLOAD, request.data)
    if body["size"] > _MOST_BYTES:
        raise malformed([f"size must not be greater than {_MOST_BYTES}"])
    check_file_size(state, body["size"])
    name = f"{state.new_id()}{PurePath(body['fileName']).suffix}"
    expires = state.clock.now() + _EXPIRES_IN * state.calendar.speed
    upload = Upload(state.new_id(), name, body["contentType"], expires)
    state.table(Upload).add(upload)
    upload_url = state.urls.upload(upload.id, name)
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
    file, length = request.upload, request.headers.get("content-length")
    if length is None:
        raise plain_error(411, "MissingContentLength")
    if file is None or length != str(file.size):
        raise bad_request("IncompleteBody: there must be as many bytes as Content-Length says")
    request.files.hand_over(file.path)
    state.files.adopt(file.path, upload.name, upload.content_type, digest=file.digest)
    return Response(headers={"ETag": f'"{file.digest[:32]}"'})


@assets.route("POST", body=JSON_BODY, status=201)
async def register(state: State, request: Request) -> Any:
    """Make an asset of an uploaded file, or of a public address."""
    body = checked(_ASSET, request.data)
    url, digest = body["url"], body.get("contentSha256")
    facts = {name: body[name] for name in _SHOWN if body.get(name) is not None}
    if "projectId" in facts:
        facts["projectId"] = state.project(facts["projectId"], is_input=True).id
    if state.files.is_own(url):
        file = state.files.at(url)
        if file is None:
            raise error("uploaded_file_not_found", f"Nothing was uploaded to {url}.", field="url")
        facts |= await _facts(state, file, url, body["type"])
        digest = file.digest
    elif state.urls.is_ours(url) and not urlsplit(url).path.startswith(MEDIA_PATH):
        raise error("file_not_in_org_storage", f"{url} is no file of yours.", field="url")
    return asset_json(add_asset(state, facts, digest=digest))


def add_asset(
    state: State, facts: Mapping[str, Any], *, digest: str | None, asset_id: str | None = None
) -> Asset:
    """Add an asset of a file that is there."""
    now, table = state.calendar.timestamp(), state.table(Asset)
    asset_id = asset_id or state.new_id()
    kind = "UPLOAD" if state.files.is_own(facts["url"]) else "URL"
    fields = {"id": asset_id, "createdAt": now, "updatedAt": now, "visibility": "USER"}
    state.files.assets[asset_id] = facts["url"]
    return table.add(
        Asset(
            id=asset_id,
            number=table.created,
            fields={**fields, "inputType": kind, **facts},
            digest=digest,
        )
    )


@assets.route("GET")
def list_assets(state: State, request: Request) -> Any:
    """Answer with a page."""
    query = request.query
    types, project_id = values(query, "types", TYPES), (last(query, "projectId") or "").lower()
    words = (last(query, "searchQuery") or "").lower()
    order = choice(query, "sortBy", _SORT_WORDS, "dateDesc")
    found = [
        asset
        for asset in state.table(Asset)
        if (not types or asset.fields["type"] in types)
        and (not project_id or project_id in asset.projects)
        and words in (asset.fields.get("name") or "").lower()
    ]
    key = _SORTS[order.removesuffix("Desc").removesuffix("Asc")]
    shown, cursor = page(
        found,
        query,
        limit(query, _LONGEST_PAGE, _PAGE),
        lambda asset: (key(asset), asset.number),
        is_down=order.endswith("Desc"),
    )
    return {**listed(map(asset_json, shown), cursor), "totalCount": len(found)}


@assets.route("POST", "/batch", body=JSON_BODY)
def get_many(state: State, request: Request) -> Any:
    """Answer with the assets of some ids, in no order of theirs; unknown ones are left out."""
    ids = request.data.get("ids") if isinstance(request.data, dict) else None
    asked: list[Any] = ids if isinstance(ids, list) else [ids]
    if not (1 <= len(asked) <= _MOST_IDS and all(isinstance(each, str) for each in asked)):
        raise malformed([f"ids must be 1 to {_MOST_IDS} ids"])
    wanted = {asset_id.lower() for asset_id in asked}
    return [asset_json(asset) for asset in state.table(Asset) if asset.id in wanted]


@assets.route("GET", "/uploaded")
def uploaded(state: State, request: Request) -> Any:
    """Answer with the newest asset of some bytes, so that they need not be sent again."""
    asked = checked(_CONTENT, dict(request.query))
    found = [
        asset
        for asset in state.table(Asset)
        if (asset.digest, asset.fields["type"]) == (asked["contentSha256"], asked["type"])
    ]
    return {"asset": asset_json(found[-1]) if found else None}


@assets.route("GET", "/{id}")
def get(state: State, request: Request) -> Any:
    """Answer with one asset."""
    return asset_json(asset_of(state, request.params["id"]))


@assets.route("PATCH", "/{id}", body=JSON_BODY)
def change(state: State, request: Request) -> Any:
    """Change some fields of an asset."""
    asset = asset_of(state, request.params["id"])
    changes = checked_changes(_CHANGES, request.data)
    asset.fields |= {**changes, "updatedAt": state.calendar.timestamp()}
    return asset_json(asset)


@assets.route("DELETE", "/{id}")
def delete(state: State, request: Request) -> Any:
    """Delete an asset, not its file: a generation that was accepted with it may still need that."""
    asset = asset_of(state, request.params["id"])
    state.table(Asset).delete(asset.id)
    return {"id": asset.id}


@assets.route("GET", "/{id}/download")
def download(state: State, request: Request) -> Response:
    """Answer with the file's URL as plain text."""
    url = asset_of(state, request.params["id"]).fields["url"]
    return Response(200, url.encode(), "text/plain; charset=utf-8")


def asset_json(asset: Asset) -> dict[str, Any]:
    """Return an asset as the service shows it."""
    return {name: value for name, value in asset.fields.items() if value is not None}


async def _facts(state: State, file: HostedFile, url: str, kind: str) -> dict[str, Any]:
    """Return what is known of a file, or refuse one that the plan does not take."""
    size = file.path.stat().st_size
    check_file_size(state, size)
    with state.clock.hold():
        facts = await state.renderer.facts(file.path, kind.lower())
    suffix = unquote(PurePosixPath(urlsplit(url).path).suffix)
    return {"size": size, "format": suffix.lstrip(".").lower() or None, **facts}


def check_file_size(state: State, size: int, field: str = "size") -> None:
    """Refuse a file that the plan does not take."""
    most = state.plan_file_bytes
    if most is not None and size > most:
        message = f"The plan takes files of {most} bytes at most."
        raise error("file_size_exceeds_plan_limit", message, field=field)


def asset_of(state: State, asset_id: str) -> Asset:
    """Return the asset that a path names."""
    if not is_uuid(asset_id):
        raise error("invalid_asset_id_format", f"{asset_id!r} is no id of an asset.")
    return state.table(Asset).find(asset_id)
