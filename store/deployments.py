"""Deployments: the will to serve one build with so many replicas, numbered across the server.

`wanted` is the will and `status` the fact. They change apart: a deployment that fails is still
wanted until somebody says otherwise, and one no longer wanted takes its time to stop.
"""

from collections.abc import Sequence

import aiosqlite

from store import builds, models
from store.lifecycles import DEPLOYMENT
from store.records import Deployment
from store.table import LifecycleTable

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


async def by_number(connection: aiosqlite.Connection, number: int) -> Deployment | None:
    """Return the deployment of this number, if there is one."""
    return await _table.find(connection, "number = ?", number)


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
    """Return the deployments that have neither stopped nor failed, ascending by creation."""
    return await _table.unfinished(connection)


async def want_stop(connection: aiosqlite.Connection, deployment_id: str) -> Deployment:
    """Say that a deployment is no longer to be served; its status stays. Raises NotFound."""
    return await _table.update(connection, deployment_id, {"wanted": "stop"})


async def advance(
    connection: aiosqlite.Connection, deployment_id: str, event: str, /, **changes: object
) -> Deployment:
    """Let an event of the DEPLOYMENT table happen, with changes that go with it; return it.

    Raises NotFound; IllegalTransition, with nothing changed.
    """
    return await _table.advance(connection, deployment_id, event, changes)


async def switch(
    connection: aiosqlite.Connection, new_id: str, old_ids: Sequence[str]
) -> Deployment:
    """Make the new deployment the one that serves and the old ones stop, in one transaction.

    Returns the new one. Raises NotFound; IllegalTransition, with nothing changed.
    """
    for old_id in old_ids:
        await advance(connection, old_id, "stop", wanted="stop")
    return await advance(connection, new_id, "ready")
