"""Projects: `client.projects`."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, get_args

from lipsync_async._async.resource import Resource, changes, check, path
from lipsync_async._logic.endpoints import done, one, page_of, resource, schema_error
from lipsync_async._logic.validation import (
    OrNone,
    name,
    problems_of,
    text,
    up_to,
    uuid_text,
    whole_number,
    word_of,
)
from lipsync_async._models.library import Page, Project, ProjectMode, Visibility, Workflow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lipsync_async._models.http import Response
    from lipsync_async._models.library import ProjectOrder

_ID = name
_NAME = up_to(255, text)
_VISIBILITY = OrNone(word_of(get_args(Visibility)))
_MODE = OrNone(word_of(get_args(ProjectMode)))
_WORKFLOW = OrNone(word_of(get_args(Workflow)))


class AsyncProjects(Resource):
    """Projects: folders of generations and assets. Reached as `client.projects`."""

    async def create(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002 - the wire's name
        description: str | None = None,
        visibility: Visibility | None = None,
        mode: ProjectMode | None = None,
        default_workflow: Workflow | None = None,
    ) -> Project:
        """Create a project.

        Wire: `POST /v2/projects`

        The client chooses the id, so that a repeated try makes no second project.

        Args:
            name: 1 to 255 characters.
            id: A UUID of your own; `None`: a new one. A project that has it already is returned
                as it is.
            description: What it is for.
            visibility: `USER` (the service's default) or `ORGANIZATION`.
            mode: `CREATOR` (the service's default) or `DEVELOPER`.
            default_workflow: What the service's own editor opens first.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ConflictError: The id is another user's, or that of a deleted project.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Create project", sync.so API reference.
        """
        check(
            name=(name, _NAME),
            id=(id, OrNone(uuid_text)),
            description=(description, OrNone(text)),
            visibility=(visibility, _VISIBILITY),
            mode=(mode, _MODE),
            default_workflow=(default_workflow, _WORKFLOW),
        )
        own = str(uuid.uuid4()) if id is None else id
        body = {
            "id": own,
            "name": name,
            "description": description,
            "visibility": visibility,
            "mode": mode,
            "defaultWorkflow": default_workflow,
        }
        return await self._send(resource("POST", "/v2/projects", partial(_own, own), body=body))

    async def list(
        self,
        *,
        limit: int = 100,
        cursor: str | None = None,
        search: str | None = None,
        sort_by: ProjectOrder | None = None,
    ) -> Page[Project]:
        """Return one page of projects, the one that was changed last first.

        Wire: `GET /v2/projects`

        Args:
            limit: 1 to 100 on the page.
            cursor: `next_cursor` of the page before.
            search: What the names must contain.
            sort_by: `updatedAt` (the service's default) or `name`.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List projects", sync.so API reference.
        """
        check(
            limit=(limit, whole_number(1, 100)),
            cursor=(cursor, OrNone(text)),
            search=(search, OrNone(text)),
            sort_by=(sort_by, OrNone(word_of(("updatedAt", "name")))),
        )
        query = {"limit": limit, "cursor": cursor, "searchQuery": search, "sortBy": sort_by}
        return await self._send(resource("GET", "/v2/projects", page_of(Project), query=query))

    def iter(
        self, *, search: str | None = None, sort_by: ProjectOrder | None = None
    ) -> AsyncGenerator[Project, None]:
        """Yield all projects, page after page.

        Wire: `GET /v2/projects`, repeatedly

        Args:
            search: What the names must contain.
            sort_by: `updatedAt` (the service's default) or `name`.

        Raises:
            LipsyncError: As `list` says.

        Source: "List projects", sync.so API reference.
        """
        return self._pages(lambda cursor: self.list(cursor=cursor, search=search, sort_by=sort_by))

    async def get(self, project_id: str) -> Project:
        """Return one project.

        Wire: `GET /v2/projects/{id}`

        Args:
            project_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such project.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get project", sync.so API reference.
        """
        return await self._send(resource("GET", _path(project_id), one(Project)))

    async def update(
        self,
        project_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        visibility: Visibility | None = None,
        mode: ProjectMode | None = None,
        default_workflow: Workflow | None = None,
    ) -> Project:
        """Change the fields of a project that are given, and return it.

        Wire: `PATCH /v2/projects/{id}`

        Args:
            project_id: Its id.
            name: 1 to 255 characters.
            description: What it is for.
            visibility: `USER` or `ORGANIZATION`.
            mode: `CREATOR` or `DEVELOPER`.
            default_workflow: What the service's own editor opens first.

        Raises:
            InvalidRequestError: An argument is wrong, or none is given; nothing was sent.
            NotFoundError: There is no such project.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Update project", sync.so API reference.
        """
        problems = problems_of(
            project_id=(project_id, _ID),
            name=(name, OrNone(_NAME)),
            description=(description, OrNone(text)),
            visibility=(visibility, _VISIBILITY),
            mode=(mode, _MODE),
            default_workflow=(default_workflow, _WORKFLOW),
        )
        body = changes(
            problems,
            name=name,
            description=description,
            visibility=visibility,
            mode=mode,
            defaultWorkflow=default_workflow,
        )
        return await self._send(resource("PATCH", _path(project_id), one(Project), body=body))

    async def delete(self, project_id: str) -> None:
        """Delete a project with all its generations.

        Wire: `DELETE /v2/projects/{id}`

        Assets that no other project holds are deleted with it. A try whose outcome is unknown is
        repeated; if the project is gone then, the call has succeeded.

        Args:
            project_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            ConflictError: One of its generations is queued or processing.
            NotFoundError: There was no such project when the call began.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Delete project", sync.so API reference.
        """
        await self._send(resource("DELETE", _path(project_id), done, is_done_without=True))

    async def attach(self, project_id: str, asset_id: str) -> None:
        """Put an asset into a project; doing so twice is fine.

        Wire: `POST /v2/projects/{id}/assets`

        Args:
            project_id: The project's id.
            asset_id: The asset's id.

        Raises:
            InvalidRequestError: An id cannot be one; nothing was sent.
            NotFoundError: There is no such project or asset.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Attach asset to project", sync.so API reference.
        """
        check(project_id=(project_id, name), asset_id=(asset_id, name))
        attached = path("/v2/projects/{project_id}/assets", project_id=project_id)
        await self._send(resource("POST", attached, done, body={"assetId": asset_id}))

    async def detach(self, project_id: str, asset_id: str) -> None:
        """Take an asset out of a project; it stays in the library. Doing so twice is fine.

        Wire: `DELETE /v2/projects/{id}/assets/{assetId}`

        Args:
            project_id: The project's id.
            asset_id: The asset's id.

        Raises:
            InvalidRequestError: An id cannot be one; nothing was sent.
            NotFoundError: There is no such project.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Detach asset from project", sync.so API reference.
        """
        attached = path(
            "/v2/projects/{project_id}/assets/{asset_id}", project_id=project_id, asset_id=asset_id
        )
        await self._send(resource("DELETE", attached, done, is_done_without=True))


def _own(own: str, response: Response) -> Project:
    """Read the project that was created, which has the id that was sent."""
    project = one(Project)(response)
    if project.id.casefold() != own.casefold():
        raise schema_error(response, f"expected {own!r}, not {project.id!r} @ $.id")
    return project


def _path(project_id: str) -> str:
    return path("/v2/projects/{project_id}", project_id=project_id)
