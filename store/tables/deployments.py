"""Deployments: the will to serve one build with so many replicas, numbered across the server.

`wanted` is the will and `status` the fact: what is no longer wanted takes its time to stop, and
what is wanted after a restart of the gateway is served again.
"""

import aiosqlite

from store.lifecycles import DEPLOYMENT
from store.records import Deployment, Failure
from store.tables import builds, models
from store.tables.table import LifecycleTable

_table = LifecycleTable(
    "deployments",
    Deployment,
    DEPLOYMENT,
    keeps=["model_id", "project_id", "build_id", "build_number", "deployer"],
)


async def insert(connection: aiosqlite.Connection, deployment: Deployment) -> Deployment:
    """Remember a new deployment and return it with its number. Raises NotFound (model, build)."""
    await models.get(connection, deployment.model_id)
    if deployment.build_id is not None:
        await builds.get(connection, deployment.build_id)
    return await _table.insert(connection, deployment)


async def get(connection: aiosqlite.Connection, deployment_id: str) -> Deployment:
    """Return a deployment. Raises NotFound."""
    return await _table.get(connection, deployment_id)


async def listing(
    connection: aiosqlite.Connection, model_id: str | None = None
) -> list[Deployment]:
    """Return the deployments of a model, or all of them, ascending by number."""
    if model_id is None:
        return await _table.select(connection)
    return await _table.select(connection, "WHERE model_id = ? ORDER BY number", model_id)


async def wanted(connection: aiosqlite.Connection) -> list[Deployment]:
    """Return the deployments that are to be served, ascending by number."""
    return await _table.select(connection, "WHERE wanted = 'serve' ORDER BY number")


async def unfinished(connection: aiosqlite.Connection) -> list[Deployment]:
    """Return the deployments that have neither stopped nor failed, ascending by number."""
    return await _table.unfinished(connection)


async def advance(
    connection: aiosqlite.Connection, deployment_id: str, event: str, /, **changes: object
) -> Deployment:
    """Let an event of the DEPLOYMENT table happen, with changes that go with it; return it.

    Raises NotFound; IllegalTransition, with nothing changed.
    """
    return await _table.advance(connection, deployment_id, event, changes)


async def switch(connection: aiosqlite.Connection, new_id: str) -> list[Deployment]:
    """Make a deploying deployment the one of its model that serves, and those that did stop.

    Returns those, ascending by number. Raises NotFound; IllegalTransition, with nothing changed.
    """
    new = await get(connection, new_id)
    old = [d for d in await listing(connection, new.model_id) if d.status == "deployed"]
    await advance(connection, new_id, "ready")
    return [await advance(connection, d.id, "stop", wanted="stop") for d in old]


async def stop(connection: aiosqlite.Connection, deployment_id: str) -> Deployment:
    """Say that a deployment is no longer to be served: it is stopping, or stopped if it had not
    begun. Raises NotFound; IllegalTransition when it has stopped, or failed, already."""
    return await advance(connection, deployment_id, "stop", wanted="stop")


async def stop_all(connection: aiosqlite.Connection, model_id: str) -> list[Deployment]:
    """Say of all deployments of a model that they are no longer to be served; return those that
    were, ascending by number."""
    wanted = [d for d in await listing(connection, model_id) if d.wanted == "serve"]
    return [await stop(connection, deployment.id) for deployment in wanted]


async def fail(
    connection: aiosqlite.Connection, deployment_id: str, failure: Failure
) -> Deployment:
    """Say that a deployment did not come to serve, and why. Raises NotFound; IllegalTransition."""
    return await advance(connection, deployment_id, "failed", failure=failure, wanted="stop")


async def end(connection: aiosqlite.Connection, deployment_id: str) -> None:
    """Say that nothing of a deployment is left: from wherever it was, it is stopped.

    One that has stopped or failed stays as it is. Raises NotFound.
    """
    if (await get(connection, deployment_id)).status in ("pending", "deploying", "deployed"):
        await stop(connection, deployment_id)
    if (await get(connection, deployment_id)).status == "stopping":
        await advance(connection, deployment_id, "stopped")


async def overtaken(connection: aiosqlite.Connection, deployment: Deployment) -> bool:
    """Return whether a later deployment of the model, of a build that is made, is wanted."""
    later = await connection.execute_fetchall(
        "SELECT 1 FROM deployments JOIN builds ON builds.id = deployments.build_id"
        " WHERE deployments.model_id = ? AND deployments.number > ?"
        " AND deployments.wanted = 'serve' AND builds.status = 'built'",
        (deployment.model_id, deployment.number),
    )
    return bool(later)


async def current(connection: aiosqlite.Connection, model_id: str) -> Deployment | None:
    """Return what one means by "the deployment" of a model.

    The one that serves; else the latest on its way there, or down; else the last there was.
    """
    mine = await listing(connection, model_id)
    for status in ("deployed", "deploying", "pending", "stopping"):
        if alike := [d for d in mine if d.status == status]:
            return alike[-1]
    return mine[-1] if mine else None
