"""Deployments: the will to serve a build, carried out without downtime.

The order is always the same: start the new pool, wait until all of it is ready, write the switch,
point callers at it, hand over what waits, drain the old one. If the new pool does not get ready
the old one never notices. One deployment of a model is carried out at a time, in the order in
which they were asked for; one that a newer has overtaken is not carried out at all.

`wanted` is the will, `status` what came of it: at boot, what is wanted is served again.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiosqlite
import msgspec
import trio

import store
from gateway.control.builds import Builds
from gateway.control.house import House
from gateway.control.variables import check_variables, model_variables, slug
from gateway.errors import Refusal
from store import Build, Deployment, Failure, Model
from workers import Pool, PoolSpec, StartFailed

logger = logging.getLogger(__name__)

MOST_REPLICAS = 9


class NewDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Environment variables are not inherited from earlier deployments."""

    cpu_millicores: int
    memory_mb: int
    replicas: int
    environment: dict[str, str] = {}


class Deployments:
    """All deployments, and the pools of those that serve."""

    def __init__(self, house: House, builds: Builds) -> None:
        self._house = house
        self._builds = builds
        self._pools: dict[str, Pool] = {}
        # Told to stop; noted before anything is awaited, so that no pool is opened after that.
        self._unwanted: set[str] = set()
        self._turns: dict[str, trio.Lock] = {}

    async def recover(self) -> None:
        """Serves again what is wanted; what was on its way down is down now."""
        database = self._house.database
        for deployment in await database.read(store.deployments.listing):
            if deployment.status == "stopping":
                await database.write(store.deployments.advance, deployment.id, "stopped")
        for deployment in await database.read(store.deployments.wanted):
            if deployment.status == "deployed":
                self._house.tasks.start(self._serve_again, deployment)
            else:
                self._house.tasks.start(self._carry_out, deployment)

    async def _serve_again(self, deployment: Deployment) -> None:
        async with self._turn(deployment.model_id):
            pool = await self._open_pool(deployment, start_tries=0)
            if pool is not None:
                self._house.routes.point(deployment.model_id, pool)

    async def create(self, model: Model, build: Build, asked: NewDeployment) -> Deployment:
        """Takes on a deployment; it waits for its build if that is not made yet."""
        check_deployment(asked)
        if build.status in ("build failed", "timedout"):
            raise Refusal("state.conflict", f"build {build.number} has failed: build again")
        deployment = await self._house.database.write(
            store.deployments.insert,
            Deployment(
                model_id=model.id,
                project_id=model.project_id,
                build_id=build.id,
                build_number=build.number,
                deployer=self._house.user,
                **msgspec.structs.asdict(asked),
            ),
        )
        self._house.tasks.start(self._carry_out, deployment)
        return deployment

    async def stop(self, deployment: Deployment) -> Deployment:
        """Stops serving it; what is in its queue is refused. Returns while it still winds down.

        Raises IllegalTransition where it has ended already.
        """
        self._unwanted.add(deployment.id)
        try:
            stopping = await self._house.database.write(_stop, deployment.id)
        except BaseException:
            self._unwanted.discard(deployment.id)
            raise
        pool = self._pools.get(deployment.id)
        if pool is not None:
            self._unpoint(stopping, pool)
            pool.stop()
        if stopping.status == "stopping":
            self._house.tasks.start(self._see_stopped, stopping, pool)
        return stopping

    @asynccontextmanager
    async def stopped(self, model_id: str) -> AsyncIterator[None]:
        """Inside, nothing of the model runs and nothing of it is started."""
        await self._stop_each(model_id)  # whoever has the turn gives it back soon
        async with self._turn(model_id):
            await self._stop_each(model_id)
            yield

    async def _stop_each(self, model_id: str) -> None:
        for deployment in await self._house.database.read(store.deployments.listing, model_id):
            if deployment.status in ("pending", "deploying", "deployed"):
                with suppress(store.NotFound, store.IllegalTransition):  # stopped meanwhile
                    await self.stop(deployment)
            if (pool := self._pools.get(deployment.id)) is not None:
                await pool.closed.wait()

    async def restart(self, deployment: Deployment) -> None:
        """Re-initialises its replicas, one after the other. Raises Refusal, or StartFailed."""
        pool = self._pools.get(deployment.id)
        if pool is None or deployment.status != "deployed":
            raise Refusal(
                "state.conflict", f"deployment {deployment.number} is {deployment.status}"
            )
        self._house.tasks.start(self._restart, deployment, pool)

    async def _restart(self, deployment: Deployment, pool: Pool) -> None:
        try:
            await pool.restart()
        except StartFailed as error:
            logger.warning("deployment %d: restart: %s", deployment.number, error.summary)

    def pool(self, deployment_id: str) -> Pool | None:
        """Its replicas, while it has any."""
        return self._pools.get(deployment_id)

    def close(self) -> list[Pool]:
        """The gateway ends: stops all pools, changing nothing of what is wanted."""
        pools = list(self._pools.values())
        for pool in pools:
            pool.stop()
        return pools

    # Carrying out.

    def _turn(self, model_id: str) -> trio.Lock:
        return self._turns.setdefault(model_id, trio.Lock())

    async def _carry_out(self, deployment: Deployment) -> None:
        try:
            assert deployment.build_id is not None
            build = await self._builds.wait(deployment.build_id)
            async with self._turn(deployment.model_id):
                await self._take_turn(deployment.id, build)
        except (store.NotFound, store.IllegalTransition):
            # Deleted, or stopped, while it waited: whoever did that sees to the rest.
            logger.info("deployment %d is not carried out any more", deployment.number)

    async def _take_turn(self, deployment_id: str, build: Build) -> None:
        deployment = await self._house.database.read(store.deployments.get, deployment_id)
        if deployment.wanted == "serve":
            if build.status != "built":
                await self._fail(deployment, _build_failed(build))
            elif await self._overtaken(deployment):
                await self.stop(deployment)
            else:
                await self._deploy(deployment)

    async def _overtaken(self, deployment: Deployment) -> bool:
        alive = await self._house.database.read(store.deployments.listing, deployment.model_id)
        return any(d.number > deployment.number and d.wanted == "serve" for d in alive)

    async def _deploy(self, deployment: Deployment) -> None:
        database, routes = self._house.database, self._house.routes
        if deployment.status == "pending":
            deployment = await database.write(store.deployments.advance, deployment.id, "started")
        pool = await self._open_pool(deployment)
        if pool is None:
            return
        if routes.pool_of(deployment.model_id) is None:
            routes.point(deployment.model_id, pool)  # callers may wait for the first one
        try:
            await pool.wait_ready()
        except StartFailed as error:
            await self._not_ready(deployment, pool, error)
        else:
            await self._switch(deployment, pool)

    async def _switch(self, deployment: Deployment, pool: Pool) -> None:
        """Durable first; then, with nothing in between, callers see the new pool."""
        database, routes = self._house.database, self._house.routes
        mine = await database.read(store.deployments.listing, deployment.model_id)
        old = [d for d in mine if d.status == "deployed" and d.id != deployment.id]
        await database.write(store.deployments.switch, deployment.id, [d.id for d in old])
        routes.point(deployment.model_id, pool)
        for earlier in old:
            if (earlier_pool := self._pools.get(earlier.id)) is not None:
                pool.take_over(earlier_pool)
                earlier_pool.drain()
            self._house.tasks.start(self._see_stopped, earlier, earlier_pool)

    async def _not_ready(self, deployment: Deployment, pool: Pool, error: StartFailed) -> None:
        """The new pool gave up, or was stopped: what served before goes on."""
        await pool.closed.wait()
        self._forget(deployment, pool)
        if deployment.id not in self._unwanted:
            await self._fail(deployment, _not_started(error, pool))

    async def _fail(self, deployment: Deployment, failure: Failure) -> None:
        await self._house.database.write(
            store.deployments.advance, deployment.id, "failed", failure=failure, wanted="stop"
        )

    async def _see_stopped(self, deployment: Deployment, pool: Pool | None) -> None:
        if pool is not None:
            await pool.closed.wait()
            self._forget(deployment, pool)
        with suppress(store.NotFound):  # its model was deleted meanwhile
            await self._house.database.write(store.deployments.advance, deployment.id, "stopped")
        self._unwanted.discard(deployment.id)

    def _forget(self, deployment: Deployment, pool: Pool) -> None:
        self._pools.pop(deployment.id, None)
        self._unpoint(deployment, pool)

    def _unpoint(self, deployment: Deployment, pool: Pool) -> None:
        if self._house.routes.pool_of(deployment.model_id) is pool:
            self._house.routes.point(deployment.model_id, None)

    async def _open_pool(self, deployment: Deployment, start_tries: int = 3) -> Pool | None:
        """Its pool, starting; None when it is not wanted any more."""
        house = self._house
        assert deployment.build_id is not None
        build = await house.database.read(store.builds.get, deployment.build_id)
        model = await house.database.read(store.models.get, deployment.model_id)
        project = await house.database.read(store.projects.get, deployment.project_id)
        variables = model_variables(house.settings, house.domain, project, deployment)
        shown = f"{slug(model.name)}-{model.number}-{deployment.number}-{build.id[:8]}"
        if deployment.id in self._unwanted:
            return None
        pool = house.workers.open_pool(
            PoolSpec(
                name=shown,
                replica=self._builds.spec_of_replica(build, variables),
                log_folder=house.data.model_logs(model.id),
                replicas=deployment.replicas,
                request_timeout=house.settings.model_request_timeout,
                restart_on_exception=house.settings.restart_on_exception,
                start_tries=start_tries,
                queue_requests=house.settings.queue_requests,
                queue_bytes=house.settings.queue_bytes,
            )
        )
        self._pools[deployment.id] = pool
        return pool


async def _stop(connection: aiosqlite.Connection, deployment_id: str) -> Deployment:
    """Will and status in one transaction."""
    await store.deployments.want_stop(connection, deployment_id)
    return await store.deployments.advance(connection, deployment_id, "stop")


def check_deployment(asked: NewDeployment) -> None:
    """Raises Refusal("argument.invalid") naming what cannot be."""
    if not 1 <= asked.replicas <= MOST_REPLICAS:
        raise Refusal(
            "argument.invalid", f"replicas: {asked.replicas} is not from 1 to {MOST_REPLICAS}"
        )
    if asked.cpu_millicores <= 0:
        raise Refusal("argument.invalid", "cpu: it must be more than 0")
    if asked.memory_mb <= 0:
        raise Refusal("argument.invalid", "memory: it must be more than 0")
    check_variables(asked.environment)


def _build_failed(build: Build) -> Failure:
    why = build.failure
    return Failure(
        step="BUILD",
        summary=f"Build {build.number} did not succeed",
        problem=f"{why.summary}: {why.problem}" if why else build.status,
        advice=why.advice if why else "Build again.",
    )


def _not_started(error: StartFailed, pool: Pool) -> Failure:
    lines = [line.text for line in pool.tail(10)]
    return Failure(
        step="START",
        summary="The model did not start",
        problem="\n".join([error.summary, *(["", *lines] if lines else [])]),
        advice="Correct the file and deploy a new build; `predictd logs` shows all it printed.",
    )
