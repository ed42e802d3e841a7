# Generated from lipsync_async/_async/projects.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""Projects: `client.projects`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal import SyncWrapper

if TYPE_CHECKING:
    from collections.abc import Generator

    from lipsync_async._async.projects import AsyncProjects
    from lipsync_async._models.library import (
        Page,
        Project,
        ProjectMode,
        ProjectOrder,
        Visibility,
        Workflow,
    )


class Projects(SyncWrapper):
    """Projects: folders of generations and assets. Reached as `client.projects`."""

    _source: AsyncProjects

    def create(
        self,
        name: str,
        *,
        id: str | None = None,
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
        return self._portal.call(
            partial(
                self._source.create,
                name,
                id=id,
                description=description,
                visibility=visibility,
                mode=mode,
                default_workflow=default_workflow,
            )
        )

    def list(
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
        return self._portal.call(
            partial(self._source.list, limit=limit, cursor=cursor, search=search, sort_by=sort_by)
        )

    def iter(
        self, *, search: str | None = None, sort_by: ProjectOrder | None = None
    ) -> Generator[Project, None, None]:
        """Yield all projects, page after page.

        Wire: `GET /v2/projects`, repeatedly

        Args:
            search: What the names must contain.
            sort_by: `updatedAt` (the service's default) or `name`.

        Raises:
            LipsyncError: As `list` says.

        Source: "List projects", sync.so API reference.
        """
        return self._portal.iterate(self._source.iter(search=search, sort_by=sort_by))

    def get(self, project_id: str) -> Project:
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
        return self._portal.call(partial(self._source.get, project_id))

    def update(
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
        return self._portal.call(
            partial(
                self._source.update,
                project_id,
                name=name,
                description=description,
                visibility=visibility,
                mode=mode,
                default_workflow=default_workflow,
            )
        )

    def delete(self, project_id: str) -> None:
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
        self._portal.call(partial(self._source.delete, project_id))

    def attach(self, project_id: str, asset_id: str) -> None:
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
        self._portal.call(partial(self._source.attach, project_id, asset_id))

    def detach(self, project_id: str, asset_id: str) -> None:
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
        self._portal.call(partial(self._source.detach, project_id, asset_id))
