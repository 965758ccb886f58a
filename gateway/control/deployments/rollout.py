"""The rollout of one deployment: one task, from the request for it until nothing of it is left.

    wait for the build -> start the new pool -> all its replicas are ready -> write the switch
      -> callers use the new pool -> it takes over the queued requests -> the old pool drains

If the new pool does not get ready, the old pool serves on. A model has one rollout at a time. A
deployment that a later one has overtaken is not rolled out. To stop a deployment, write that to the
store and call `stop`; the task of the rollout alone writes the end.
"""

import logging
from contextlib import AsyncExitStack, suppress
from functools import partial

import msgspec
import trio

import store
from gateway.control import failures
from gateway.control.deployments.deployment_gpus import DeploymentGpus
from gateway.control.deployments.restart import Restart
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.deployments.waiting import wait_for_build, wait_until_decryptable
from gateway.control.failures import InterpreterGone
from gateway.control.operation import Operation, Operations
from gateway.control.resources import NotEnoughMemory
from gateway.encryption import CannotDecrypt
from store import Build, Deployment, Failure
from workers import Pool, StartFailed

logger = logging.getLogger(__name__)


class Rollout:
    """A deployment that waits, starts, serves or drains.

    `operation.milestone` is set when its replicas start, or when it is certain that they never
    will. `rollouts` are those that run now, this one among them.
    """

    def __init__(
        self,
        services: RolloutServices,
        deployment: Deployment,
        turn: trio.Lock,
        rollouts: "Operations[Rollout]",
    ) -> None:
        self.deployment = deployment
        self.pool: Pool | None = None
        self.restart = Restart()
        self.gpus = DeploymentGpus(services.gpus, deployment)
        self.operation = Operation(self._log_wait)
        self._services = services
        self._model_lock = turn
        self._rollouts = rollouts
        # The variables by which its replicas find their key.
        self._key: dict[str, str] = {}

    def _log_wait(self, what: str) -> None:
        logger.info("deployment.waited number=%d: %s", self.deployment.number, what)

    def stop(self) -> None:
        """Refuses queued requests and ends what runs. The end of the operation follows."""
        self.operation.cancel()
        if self.pool is not None:
            self._detach_pool(self.pool)
            self.pool.stop()

    async def run(self) -> None:
        """Returns when nothing of the deployment is left and its row says so."""
        number = self.deployment.number
        with self.operation.lifetime():
            try:
                await self._run_with_key()
            except store.NotFound:
                logger.info("deployment.model_deleted number=%d", number)
                await self._tear_down()
            except Exception as error:
                logger.exception("deployment.crashed number=%d", number)
                await self._tear_down()
                await self._end(failures.internal_error(error))
            finally:
                self.gpus.release()

    async def _tear_down(self) -> None:
        self.stop()
        if self.pool is not None:
            await self.pool.closed.wait()

    async def _run_with_key(self) -> None:
        user, project_id = self.deployment.deployer, self.deployment.project_id
        with self._services.keys.issued(user, project_id, "model") as self._key:
            async with self._services.probed.expecting(self.deployment.id, self._key):
                failure = await self._serve_until_closed()
            if self._services.pools.is_closing:
                return  # the next gateway serves what is wanted
            await self._end(failure)

    async def _serve_until_closed(self) -> Failure | None:
        """Returns when the pool is closed, or why the deployment cannot be served."""
        failure, lost = None, False
        # Between what it waits for and its pool as well.
        why = "it is starting" if self.deployment.status == "deployed" else ""
        try:
            with self._services.endpoints.absent(self.deployment.model_id, why):
                failure = await self._roll_out_when_possible()
        except store.IllegalTransition:
            logger.info("deployment.stopped number=%d", self.deployment.number)
            await self._tear_down()
        except (CannotDecrypt, InterpreterGone) as error:
            failure = failures.given_up(error)
        if self.pool is not None:
            lost = await self._services.builds.watch_interpreter(self.deployment, self.pool)
            self._detach_pool(self.pool)
        if not lost or self.operation.cancelled or self._services.pools.is_closing:
            return failure
        deployment = await self._services.database.read(store.deployments.get, self.deployment.id)
        self.deployment, self.pool = deployment, None
        return await self._serve_until_closed()

    async def _roll_out_when_possible(self) -> Failure | None:
        """As `_roll_out`, when there is what the deployment needs."""
        needed = self._services, self.deployment, self.operation
        build = await wait_for_build(*needed)
        if build is None or not await wait_until_decryptable(*needed):
            return None
        if self._model_lock.locked():
            await self._services.probed.drop(self.deployment.id)
            self.operation.wait_for("the rollout of another deployment of its model")
        async with self._model_lock:
            self.operation.waiting_for = ""
            return await self._roll_out(build)

    async def _roll_out(self, build: Build) -> Failure | None:
        """Returns when the pool serves callers, or why it never will."""
        database = self._services.database
        self.deployment = await database.read(store.deployments.get, self.deployment.id)
        if self.deployment.wanted == "stop":
            return None
        if build.status != "built":
            return failures.build_failed(build)
        if self.deployment.status == "deployed":
            await self._open(build, start_tries=0)
            return None
        if await database.read(store.deployments.overtaken, self.deployment):
            return None
        if self.deployment.status == "pending":
            self.deployment = await self._services.writer.write_until_accepted(
                store.deployments.advance, self.deployment.id, "started"
            )
        return await self._start_and_switch(build)

    async def _start_and_switch(self, build: Build) -> Failure | None:
        """Starts a new pool and switches to it from the one that serves, if one does."""
        try:
            async with AsyncExitStack() as starting:
                if not await self._take_gpus():
                    return None
                with self.operation.cancellable("free memory"):
                    await self._make_room()
                    reservation = self._services.resources.reserve_memory(
                        self.deployment, self.deployment.project_id, self.operation.wait_for
                    )
                    await starting.enter_async_context(reservation)
                if (pool := await self._open(build)) is None:
                    return None
                self.operation.waiting_for = self.gpus.note
                await pool.wait_ready()
        except NotEnoughMemory as error:
            return failures.out_of_memory(error)
        except StartFailed as error:
            assert self.pool is not None
            await self.pool.closed.wait()
            if self.operation.cancelled:
                return None
            return failures.start_failed(error, self.pool, self._services.pools.source_of(build))
        await self._switch(pool)
        return None

    async def _make_room(self) -> None:
        """Ends what the probe started if the deployment has to wait for memory."""
        project_id = self.deployment.project_id
        if not self._services.resources.fits(self.deployment, project_id):
            await self._services.probed.drop(self.deployment.id)

    async def _take_gpus(self) -> bool:
        """False if it was stopped, or another deployment has overtaken it."""
        serving = self._services.endpoints.pool_of(self.deployment.model_id)
        before = next((r.gpus for r in self._rollouts if r.pool and r.pool is serving), None)
        overtaken, read = store.deployments.overtaken, self._services.database.read
        is_overtaken = partial(read, overtaken, self.deployment)
        with self.operation.cancellable("free GPUs"):
            return await self.gpus.take(before, self.operation.wait_for, is_overtaken)
        return False

    async def _switch(self, pool: Pool) -> None:
        """Writes the switch; then, without an await in between, callers use the new pool."""
        switch, writer = store.deployments.switch, self._services.writer
        old = await writer.write_until_accepted(switch, self.deployment.id)
        self.operation.waiting_for = ""
        self.gpus.switched()
        if not self.operation.cancelled:
            self._services.endpoints.set_pool(self.deployment.model_id, pool)
        for earlier in old:
            rollout = self._rollouts.get(earlier.id)
            if rollout is not None and rollout.pool is not None:
                pool.take_over(rollout.pool)
                rollout.pool.drain()

    async def _open(self, build: Build, start_tries: int = 3) -> Pool | None:
        """The pool, starting; None if the deployment was stopped. Callers of a model that no pool
        serves wait for this one."""
        pools, endpoints = self._services.pools, self._services.endpoints
        spec = await pools.prepare(self.deployment, build, start_tries, self._key)
        spec = msgspec.structs.replace(spec, first_ready=self.gpus.first_ready)
        if self.operation.cancelled:
            return None
        model_id = self.deployment.model_id
        self.pool = self.gpus.pool = pools.open(self.deployment, spec)
        if endpoints.pool_of(model_id) is None:
            endpoints.set_pool(model_id, self.pool)
        self.operation.milestone.set()
        self._services.changes.notify(model_id)
        return self.pool

    async def _end(self, failure: Failure | None) -> None:
        self.gpus.release()
        with suppress(store.IllegalTransition):  # it was stopped after it had failed
            if failure is not None:
                await self._services.writer.write_until_accepted(
                    store.deployments.fail, self.deployment.id, failure
                )
                return
        await self._services.writer.write_until_accepted(store.deployments.end, self.deployment.id)

    def _detach_pool(self, pool: Pool) -> None:
        endpoints, model_id = self._services.endpoints, self.deployment.model_id
        if endpoints.pool_of(model_id) is pool:
            endpoints.set_pool(model_id, None)
