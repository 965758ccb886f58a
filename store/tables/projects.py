"""Projects: folders with the code of models. Their names and their folders are unique."""

from pathlib import Path

import aiosqlite
import msgspec

from store.records import Project
from store.tables.table import Table


class ProjectFolders(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that a project has folders for, beside its files."""

    builds: list[str]
    experiments: list[str]


class Projects(Table[Project]):
    """Deleting a project deletes its models, builds, deployments and experiments."""

    async def by_path(self, connection: aiosqlite.Connection, path: str) -> Project | None:
        """Return the project whose files are in this folder, if there is one."""
        return await self.find(connection, "path = ?", path)

    async def count_made_by(self, connection: aiosqlite.Connection, creator: str) -> int:
        """Return the number of projects that a user created."""
        [(count,)] = await connection.execute_fetchall(
            "SELECT count(*) FROM projects WHERE creator = ?", (creator,)
        )
        return int(count)

    async def folders(self, connection: aiosqlite.Connection, project_id: str) -> ProjectFolders:
        """Return the ids that a project has folders for."""
        builds = await connection.execute_fetchall(
            "SELECT b.id FROM builds AS b JOIN models AS m ON m.id = b.model_id"
            " WHERE m.project_id = ?",
            (project_id,),
        )
        experiments = await connection.execute_fetchall(
            "SELECT id FROM experiments WHERE project_id = ?", (project_id,)
        )
        return ProjectFolders(
            builds=[build for (build,) in builds],
            experiments=[experiment for (experiment,) in experiments],
        )

    async def relocate(self, connection: aiosqlite.Connection, old: str, new: str) -> None:
        """Rewrite the paths of projects in the data folder, which has moved from `old` to `new`."""
        for project in await self.list_all(connection):
            path = Path(project.path)
            if not project.linked and path.is_relative_to(old):
                moved = Path(new) / path.relative_to(old)
                await self.update(connection, project.id, path=str(moved))


projects = Projects("projects", Project, immutable=["creator"])
