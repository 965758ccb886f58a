"""Models: named functions of a project. Their names are unique in the project."""

import aiosqlite

from store.errors import NotFound
from store.records import Model
from store.tables.projects import projects
from store.tables.table import Table


class Models(Table[Model]):
    """Deleting a model deletes its builds and deployments."""

    async def take_build_number(self, connection: aiosqlite.Connection, model_id: str) -> int:
        """Return the number of the model's next build, which no other build will get. Raises
        NotFound."""
        rows = await connection.execute_fetchall(
            "SELECT next_build_number FROM models WHERE id = ?", (model_id,)
        )
        if not rows:
            raise NotFound("model", model_id)
        await connection.execute_fetchall(
            "UPDATE models SET next_build_number = next_build_number + 1 WHERE id = ?",
            (model_id,),
        )
        ((number,),) = rows
        return int(number)


models = Models(
    "models", Model, immutable=["project_id", "creator"], parent=(projects, "project_id")
)
