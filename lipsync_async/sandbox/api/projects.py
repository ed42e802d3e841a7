"""Projects: create, list, get, change, delete; attach assets and detach them.

Source: "Create project", "List projects", sync.so API reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.assets import (
    VISIBILITIES,
    Asset,
    asset_of,
)
from lipsync_async.sandbox.api.query import choice, last, limit, listed, page
from lipsync_async.sandbox.server.api_errors import error, plain_error
from lipsync_async.sandbox.server.messages import JSON_BODY, Response, json_response
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import (
    STRING,
    UUID,
    Shape,
    checked,
    checked_changes,
    one_of,
    text,
)
from lipsync_async.sandbox.state import Project

if TYPE_CHECKING:
    from lipsync_async.sandbox.jobs import Job
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
        "description": STRING,
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
    body = checked(_PROJECT, request.data)
    project_id = (body.get("id") or state.new_id()).lower()
    existing = state.table(Project).get(project_id)
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
    key = choice(query, "sortBy", _SORT_WORDS, "updatedAt")
    shown, cursor = page(
        found,
        query,
        limit(query, _LONGEST_PAGE, _PAGE),
        lambda project: (project.fields.get(key, ""), project.number),
        is_down=key == "updatedAt",
    )
    return listed((_item(state, project) for project in shown), cursor)


@projects.route("GET", "/{id}")
def get(state: State, request: Request) -> Any:
    """Answer with one project."""
    return state.project(request.params["id"]).fields


@projects.route("PATCH", "/{id}", body=JSON_BODY)
def change(state: State, request: Request) -> Any:
    """Change some fields of a project."""
    project = state.project(request.params["id"])
    changes = checked_changes(_FIELDS, request.data)
    project.fields |= {**changes, "updatedAt": state.calendar.timestamp()}
    project.number = next(state.numbers)
    return project.fields


@projects.route("DELETE", "/{id}")
def delete(state: State, request: Request) -> Any:
    """Delete a project with its generations, and the assets that no other project holds."""
    project = state.project(request.params["id"])
    jobs = _jobs(state, project)
    if any(not job.is_ended for job in jobs):
        message = "A generation of the project is still queued or processing."
        raise error("generation_not_deletable_while_processing", message)
    for job in jobs:
        state.jobs.delete(job.id)
    project.is_deleted = True
    for asset in state.table(Asset):
        if project.id in asset.projects:
            asset.leave(project.id)
            if not asset.projects:
                state.table(Asset).delete(asset.id)
    return {"id": project.id}


@projects.route("POST", "/{id}/assets", body=JSON_BODY)
def attach(state: State, request: Request) -> Any:
    """Put an asset into a project; doing so twice is fine."""
    project = state.project(request.params["id"])
    asset_id = checked(_ATTACHED, request.data)["assetId"]
    state.table(Asset).find(asset_id, is_input=True).attached.add(project.id)
    return Response(204)


@projects.route("DELETE", "/{id}/assets/{asset_id}")
def detach(state: State, request: Request) -> Any:
    """Undo `attach`; doing so twice is fine. An asset that was made in the project stays."""
    project = state.project(request.params["id"])
    asset_of(state, request.params["asset_id"]).attached.discard(project.id)
    return Response(204)


def _jobs(state: State, project: Project) -> list[Job]:
    return [job for job in state.jobs if job.body.get("projectId") == project.id]


def _item(state: State, project: Project) -> dict[str, Any]:
    jobs = _jobs(state, project)
    completed = sum(job.status == "COMPLETED" for job in jobs)
    counts = {"generationsCount": len(jobs), "completedGenerationsCount": completed}
    return {**project.fields, **counts}
