"""Models: named functions of a project. Names are unique in the project, access keys everywhere."""

import aiosqlite

from store.errors import NotFound
from store.records import Model
from store.tables import projects
from store.tables.table import Table

_table = Table("models", Model, keeps=["project_id", "creator"])


async def insert(connection: aiosqlite.Connection, model: Model) -> Model:
    """Remember a new model and return it with its number. Raises NotFound (project), NameTaken."""
    await projects.get(connection, model.project_id)
    return await _table.insert(connection, model)


async def get(connection: aiosqlite.Connection, model_id: str) -> Model:
    """Return a model. Raises NotFound."""
    return await _table.get(connection, model_id)


async def listing(connection: aiosqlite.Connection, project_id: str | None = None) -> list[Model]:
    """Return the models of a project, or all of them, ascending by creation."""
    if project_id is None:
        return await _table.select(connection)
    return await _table.select(connection, "WHERE project_id = ? ORDER BY number", project_id)


async def update(connection: aiosqlite.Connection, model_id: str, /, **changes: object) -> Model:
    """Change fields of a model and return it. Raises NotFound, NameTaken."""
    return await _table.update(connection, model_id, changes)


async def delete(connection: aiosqlite.Connection, model_id: str) -> None:
    """Forget a model with its builds and deployments. Raises NotFound."""
    await _table.delete(connection, model_id)


async def take_build_number(connection: aiosqlite.Connection, model_id: str) -> int:
    """Return the number for the model's next build; it will not be given again. Raises NotFound."""
    rows = await connection.execute_fetchall(
        "SELECT next_build_number FROM models WHERE id = ?", (model_id,)
    )
    if not rows:
        raise NotFound("model", model_id)
    await connection.execute_fetchall(
        "UPDATE models SET next_build_number = next_build_number + 1 WHERE id = ?", (model_id,)
    )
    ((number,),) = rows
    return int(number)
