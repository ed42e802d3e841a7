"""Projects: create, list, get, change, delete; attach assets and detach them.

Source: "Create project", "List projects", sync.so API reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.assets import VISIBILITIES, Asset, delete_asset
from lipsync_async.sandbox.api.query import choice, last, limit, listed, page
from lipsync_async.sandbox.server.api_errors import error, malformed, plain_error
from lipsync_async.sandbox.server.messages import JSON_BODY, Response, json_response
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import TEXT, UUID, Shape, checked, one_of, text
from lipsync_async.sandbox.state import Project

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

MODES = ("CREATOR", "DEVELOPER")
WORKFLOWS = (
    "lipsync",
    "translate_and_dub",
    "change_appearance",
    "image_to_video",
    "edit_dialogue",
    "assistant",
    "timeline",
)
_PAGE, _LONGEST_PAGE, _LONGEST_NAME = 10, 100, 255
_SORT_WORDS = ("updatedAt", "name")
_FIELDS = Shape(
    {
        "name": text(_LONGEST_NAME),
        "description": TEXT,
        "visibility": one_of(VISIBILITIES),
        "mode": one_of(MODES),
        "defaultWorkflow": one_of(WORKFLOWS),
    }
)
_PROJECT = Shape({**_FIELDS.fields, "id": UUID}, frozenset({"name"}))
_ATTACHED = Shape({"assetId": UUID}, frozenset({"assetId"}))


projects: Resource = Resource("/v2/projects")


@projects.route("POST", body=JSON_BODY, status=201)
def create(state: State, request: Request) -> Any:
    """Create a project; a repeated id shows the one that it made before, and changes nothing."""
    body, table = checked(_PROJECT, request.data), state.table(Project)
    project_id = (body.get("id") or state.new_id()).lower()
    existing = table.get(project_id)
    if existing is not None:
        if existing.is_deleted:
            raise plain_error(409, f"Project {project_id} was deleted.")
        return json_response(existing.fields)
    told = {name: body[name] for name in _FIELDS.fields if body.get(name) is not None}
    return state.add_project(project_id, told).fields


@projects.route("GET")
def list_projects(state: State, request: Request) -> Any:
    """Answer with a page, the one that was changed last first."""
    query = request.query
    words = (last(query, "searchQuery") or "").lower()
    found = [
        project
        for project in state.table(Project)
        if not project.is_deleted and words in project.fields.get("name", "").lower()
    ]
    if choice(query, "sortBy", _SORT_WORDS, "updatedAt") == "name":
        found.sort(key=lambda project: project.fields.get("name", ""))
    else:
        found.sort(key=lambda project: (project.fields["updatedAt"], project.number), reverse=True)
    shown, cursor = page(found, query, limit(query, _LONGEST_PAGE, _PAGE) or _PAGE)
    return listed((_item(state, project) for project in shown), cursor)


@projects.route("GET", "/{id}")
def get(state: State, request: Request) -> Any:
    """Answer with one project."""
    return state.project(request.params["id"]).fields


@projects.route("PATCH", "/{id}", body=JSON_BODY)
def change(state: State, request: Request) -> Any:
    """Change some fields of a project."""
    project, body = state.project(request.params["id"]), checked(_FIELDS, request.data)
    changes = {name: body[name] for name in _FIELDS.fields if name in body}
    if None in changes.values():
        raise malformed([f"{name} must not be null" for name in changes if changes[name] is None])
    project.fields |= {**changes, "updatedAt": state.calendar.timestamp()}
    return project.fields


@projects.route("DELETE", "/{id}")
def delete(state: State, request: Request) -> Any:
    """Delete a project with its generations, and the assets that no other project holds."""
    project = state.project(request.params["id"])
    jobs = [job for job in state.jobs if job.body.get("projectId") == project.id]
    if any(not job.is_ended for job in jobs):
        message = "A generation of the project is still queued or processing."
        raise error("generation_not_deletable_while_processing", message)
    for job in jobs:
        state.jobs.delete(job.id)
    project.is_deleted = True
    for asset in state.table(Asset):
        if project.id in asset.projects:
            asset.projects.discard(project.id)
            if not asset.projects:
                delete_asset(state, asset)
    return {"id": project.id}


@projects.route("POST", "/{id}/assets", body=JSON_BODY, status=204)
def attach(state: State, request: Request) -> Any:
    """Put an asset into a project; doing so twice is fine."""
    project = state.project(request.params["id"])
    asset_id = checked(_ATTACHED, request.data)["assetId"]
    state.table(Asset).find(asset_id).projects.add(project.id)
    return Response(204)


@projects.route("DELETE", "/{id}/assets/{asset_id}")
def detach(state: State, request: Request) -> Any:
    """Take an asset out of a project; doing so twice is fine."""
    project = state.project(request.params["id"])
    asset = state.table(Asset).get(request.params["asset_id"].lower())
    if asset is not None:
        asset.projects.discard(project.id)
    return Response(204)


def _item(state: State, project: Project) -> dict[str, Any]:
    jobs = [job for job in state.jobs if job.body.get("projectId") == project.id]
    completed = sum(job.status == "COMPLETED" for job in jobs)
    counts = {"generationsCount": len(jobs), "completedGenerationsCount": completed}
    return {**project.fields, **counts}
