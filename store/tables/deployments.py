"""Deployments: the request to serve one build with so many replicas, numbered across the server.

`wanted` is the desired state and `status` the actual one: a deployment that is no longer wanted
takes its time to stop, and one that is wanted is served again after a restart of the gateway.
"""

from collections.abc import Sequence

import aiosqlite

from store.lifecycles import DEPLOYMENT
from store.records import Deployment, Failure
from store.tables.builds import builds
from store.tables.models import models
from store.tables.table import LifecycleTable

# The states of a deployment that has not ended, as `current` prefers them.
_ACTIVE = ("deployed", "deploying", "pending", "stopping")


class Deployments(LifecycleTable[Deployment]):
    async def insert(self, connection: aiosqlite.Connection, deployment: Deployment) -> Deployment:
        """Write a new deployment and return it with its number. Raises NotFound (model, build)."""
        await models.get(connection, deployment.model_id)
        if deployment.build_id is not None:
            await builds.get(connection, deployment.build_id)
        return await self._insert(connection, deployment)

    async def wanted(self, connection: aiosqlite.Connection) -> list[Deployment]:
        """Return the deployments that should be served, ascending by number."""
        return await self.select(connection, "WHERE wanted = 'serve' ORDER BY number")

    async def of_build(self, connection: aiosqlite.Connection, build_id: str) -> list[Deployment]:
        """Return the deployments of a build, ascending by number."""
        return await self.select(connection, "WHERE build_id = ? ORDER BY number", build_id)

    async def lived_since(
        self, connection: aiosqlite.Connection, model_id: str, since: str, most: int
    ) -> list[Deployment]:
        """Return the latest `most` deployments of a model that were deployed or have ended since a
        time, ascending by number."""
        found = await self.select(
            connection,
            "WHERE model_id = ? AND (deployed_at >= ? OR stopped_at >= ?)"
            " ORDER BY number DESC LIMIT ?",
            *(model_id, since, since, most),
        )
        return found[::-1]

    async def switch(self, connection: aiosqlite.Connection, new_id: str) -> list[Deployment]:
        """Make a deploying deployment the one that serves its model, and stop those that did.

        Returns the stopped ones, ascending by number. Raises NotFound; IllegalTransition, with
        nothing changed.
        """
        new = await self.get(connection, new_id)
        old = [d for d in await self.list_all(connection, new.model_id) if d.status == "deployed"]
        await self.advance(connection, new_id, "ready")
        return [await self.advance(connection, d.id, "stop", wanted="stop") for d in old]

    async def waiting_for_build(
        self, connection: aiosqlite.Connection, build_id: str
    ) -> list[Deployment]:
        """Return the deployments that are wanted and have not started, ascending by number."""
        return await self.select(
            connection,
            "WHERE build_id = ? AND wanted = 'serve' AND status = 'pending' ORDER BY number",
            build_id,
        )

    async def stop(self, connection: aiosqlite.Connection, deployment_id: str) -> Deployment:
        """Stop wanting a deployment. It is then stopping, or stopped if it had not started.

        Raises NotFound; IllegalTransition when it has already stopped or failed.
        """
        return await self.advance(connection, deployment_id, "stop", wanted="stop")

    async def stop_all(self, connection: aiosqlite.Connection, model_id: str) -> list[Deployment]:
        """Stop wanting all deployments of a model; return those that were wanted, ascending by
        number."""
        wanted = [d for d in await self.list_all(connection, model_id) if d.wanted == "serve"]
        return [await self.stop(connection, deployment.id) for deployment in wanted]

    async def fail(
        self, connection: aiosqlite.Connection, deployment_id: str, failure: Failure
    ) -> Deployment:
        """Record why a deployment failed. Raises NotFound, IllegalTransition."""
        return await self.advance(
            connection, deployment_id, "failed", failure=failure, wanted="stop"
        )

    async def end(self, connection: aiosqlite.Connection, deployment_id: str) -> None:
        """Record that no process of a deployment is left: it is stopped, regardless of its status.

        A deployment that has stopped or failed stays as it is. Raises NotFound.
        """
        status = (await self.get(connection, deployment_id)).status
        if status in ("pending", "deploying", "deployed"):
            await self.stop(connection, deployment_id)
        if (await self.get(connection, deployment_id)).status == "stopping":
            await self.advance(connection, deployment_id, "stopped")

    async def overtaken(self, connection: aiosqlite.Connection, deployment: Deployment) -> bool:
        """Return whether a later deployment of the model, of a finished build, is wanted."""
        later = await connection.execute_fetchall(
            "SELECT 1 FROM deployments JOIN builds ON builds.id = deployments.build_id"
            " WHERE deployments.model_id = ? AND deployments.number > ?"
            " AND deployments.wanted = 'serve' AND builds.status = 'built'",
            (deployment.model_id, deployment.number),
        )
        return bool(later)

    async def current(self, connection: aiosqlite.Connection, model_id: str) -> Deployment | None:
        """Return what users call "the deployment" of a model.

        That is the one that serves; else the latest that is starting or stopping; else the last.
        """
        return (await self.current_of(connection, [model_id])).get(model_id)

    async def current_of(
        self, connection: aiosqlite.Connection, model_ids: Sequence[str]
    ) -> dict[str, Deployment]:
        """Return the current deployments of models that have one, by the id of the model. Reads
        only the last deployment of each and those that have not ended."""
        ids, states = _marks(model_ids), _marks(_ACTIVE)
        found = await self.select(
            connection,
            f"WHERE model_id IN ({ids}) AND status IN ({states}) OR number IN"
            " (SELECT (SELECT max(number) FROM deployments WHERE model_id = models.id)"
            f" FROM models WHERE id IN ({ids})) ORDER BY number",
            *model_ids,
            *_ACTIVE,
            *model_ids,
        )
        current: dict[str, Deployment] = {}
        for each in found:
            before = current.get(each.model_id)
            if before is None or _rank(each) <= _rank(before):
                current[each.model_id] = each
        return current


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _rank(deployment: Deployment) -> int:
    """The lower, the more it is "the deployment" of its model."""
    status = deployment.status
    return _ACTIVE.index(status) if status in _ACTIVE else len(_ACTIVE)


deployments = Deployments(
    "deployments",
    Deployment,
    DEPLOYMENT,
    immutable=["model_id", "project_id", "build_id", "build_number", "deployer"],
    parent=(models, "model_id"),
)
