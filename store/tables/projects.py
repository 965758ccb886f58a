"""Projects: folders with the code of models. Their names and their folders are unique."""

from pathlib import Path

import aiosqlite
import msgspec

from store.records import Project
from store.tables.table import Table

_table = Table("projects", Project, keeps=["creator"])


async def insert(connection: aiosqlite.Connection, project: Project) -> Project:
    """Remember a new project and return it with its number. Raises NameTaken."""
    return await _table.insert(connection, project)


async def get(connection: aiosqlite.Connection, project_id: str) -> Project:
    """Return a project. Raises NotFound."""
    return await _table.get(connection, project_id)


async def by_path(connection: aiosqlite.Connection, path: str) -> Project | None:
    """Return the project whose files are in this folder, if there is one."""
    return await _table.find(connection, "path = ?", path)


async def count_made_by(connection: aiosqlite.Connection, creator: str) -> int:
    """Return how many projects there are that a user has made."""
    [(count,)] = await connection.execute_fetchall(
        "SELECT count(*) FROM projects WHERE creator = ?", (creator,)
    )
    return int(count)


async def listing(connection: aiosqlite.Connection) -> list[Project]:
    """Return all projects, ascending by creation."""
    return await _table.select(connection)


async def update(
    connection: aiosqlite.Connection, project_id: str, /, **changes: object
) -> Project:
    """Change fields of a project and return it. Raises NotFound, NameTaken."""
    return await _table.update(connection, project_id, changes)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of what a project has folders for beside its files."""

    builds: list[str]
    environments: list[str]
    experiments: list[str]


async def kept(connection: aiosqlite.Connection, project_id: str) -> Kept:
    """Return what a project has folders for."""
    builds = await connection.execute_fetchall(
        "SELECT b.id FROM builds AS b JOIN models AS m ON m.id = b.model_id WHERE m.project_id = ?",
        (project_id,),
    )
    experiments = list(
        await connection.execute_fetchall(
            "SELECT id, environment_id FROM experiments WHERE project_id = ?", (project_id,)
        )
    )
    return Kept(
        builds=[each for (each,) in builds],
        environments=list({environment for _, environment in experiments if environment}),
        experiments=[each for each, _ in experiments],
    )


async def move(connection: aiosqlite.Connection, old: str, new: str) -> None:
    """Say that the data folder lies elsewhere now, with the projects' folders in it."""
    for project in await listing(connection):
        path = Path(project.path)
        if not project.linked and path.is_relative_to(old):
            moved = Path(new) / path.relative_to(old)
            await _table.update(connection, project.id, {"path": str(moved)})


async def delete(connection: aiosqlite.Connection, project_id: str) -> None:
    """Forget a project with its models, builds and deployments. Raises NotFound."""
    await _table.delete(connection, project_id)
