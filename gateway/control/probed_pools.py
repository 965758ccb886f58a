"""The pools of deployments whose first replica was started by the probe of their build.

A model that is slow to import would be imported twice: by the probe, and by the deployment that
waits for the build. So the probe of such a build starts the first replica of that deployment, and
the rollout takes it over with its pool. It does so only if the pool is the one that it would open
itself: a variable or a setting may have changed meanwhile.

    a rollout begins to wait        expecting
    the probe opens its pool        key_of, keep
    the rollout opens its pool      take
    the rollout has to wait longer  drop
    the rollout is over             what was not taken is stopped
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from workers import Pool, PoolSpec


class FirstReplica(msgspec.Struct, frozen=True):
    """What a probe starts for a deployment: the first replica of this pool."""

    deployment_id: str
    pool: PoolSpec


class ProbedPools:
    """By the ids of deployments that wait for their builds."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, str]] = {}
        self._pools: dict[str, Pool] = {}

    @asynccontextmanager
    async def expecting(self, deployment_id: str, key: dict[str, str]) -> AsyncIterator[None]:
        """A probe may open the deployment's pool. `key` are the variables by which its replicas
        find their key. Nothing is left afterwards of a pool that was not taken."""
        self._keys[deployment_id] = key
        try:
            yield
        finally:
            del self._keys[deployment_id]
            with trio.CancelScope(shield=True):
                await self.drop(deployment_id)

    def key_of(self, deployment_id: str) -> dict[str, str] | None:
        """The key of a deployment whose pool a probe may open; None for others."""
        return self._keys.get(deployment_id)

    def keep(self, deployment_id: str, pool: Pool) -> None:
        """Keeps a pool until its deployment takes it. It is stopped if that has ended."""
        if deployment_id in self._keys:
            self._pools[deployment_id] = pool
        else:
            pool.stop()

    def take(self, deployment_id: str, spec: PoolSpec) -> Pool | None:
        """The pool of the deployment if it is of this `spec`; bounds may differ. Another one is
        stopped. None for one that has failed."""
        pool = self._pools.get(deployment_id)
        if pool is None or pool.failure or _essence(pool.spec) != _essence(spec):
            self._stop(deployment_id)
            return None
        return self._pools.pop(deployment_id)

    async def drop(self, deployment_id: str) -> None:
        """Stops the pool of a deployment, if it has one. Returns when nothing of it is left."""
        pool = self._stop(deployment_id)
        if pool is not None:
            await pool.closed.wait()

    def _stop(self, deployment_id: str) -> Pool | None:
        pool = self._pools.pop(deployment_id, None)
        if pool is not None:
            pool.stop()
        return pool


def _essence(spec: PoolSpec) -> tuple[object, ...]:
    """What cannot be changed once replicas run."""
    return spec.name, spec.replica, spec.log_folder, spec.replicas
