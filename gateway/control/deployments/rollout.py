"""The carrying out of one deployment: one task, from the request for it until nothing is left.

The order is always the same: wait for the build, start the new pool, wait until all of it is
ready, write the switch, point callers at it, hand over what waits, drain the old one. If the new
pool does not get ready the old one never notices. One deployment of a model is carried out at a
time; one that a later has overtaken is not carried out at all.

Whoever wants it to stop says so in the store and calls `stop`; this task alone sees to the end.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress

import trio

import store
from gateway.control import failures
from gateway.control.accounts.workload_keys import workload_key
from gateway.control.builds.builds import Builds
from gateway.control.builds.probe import place_of
from gateway.control.context import ControlContext
from gateway.control.deployments.replica_logs import prune_logs
from gateway.control.failures import InterpreterGone
from gateway.control.pool_spec import pool_spec, with_settings
from gateway.control.resources import NotEnoughMemory
from gateway.encryption import CannotDecrypt
from store import Build, Deployment, Failure
from workers import Pool, StartFailed

logger = logging.getLogger(__name__)

# Between two tries of making a build anew for what was deployed: seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 1800.0


class Rollout:
    """A deployment while there is something of it: in line, starting, serving, or winding down."""

    def __init__(
        self,
        context: ControlContext,
        builds: Builds,
        deployment: Deployment,
        turn: trio.Lock,
        pool_of: Callable[[str], Pool | None],
    ) -> None:
        self.deployment = deployment
        self.pool: Pool | None = None
        # Set when its replicas are starting or never will; and when nothing of it is left.
        self.started, self.ended = trio.Event(), trio.Event()
        # What it cannot go on without, in words; nothing while it goes on.
        self.waits_for = ""
        self._context = context
        self._builds = builds
        self._turn = turn
        self._pool_of = pool_of
        self._told_to_stop = False
        # The variables by which its replicas know the key that they are given.
        self._key: dict[str, str] = {}
        # A wait that ends when it is told to stop.
        self._waiting = trio.CancelScope()

    def stop(self) -> None:
        """What waits is refused, what runs ends; `ended` follows."""
        self._told_to_stop = True
        self._waiting.cancel()
        if self.pool is not None:
            self._detach_pool(self.pool)
            self.pool.stop()

    async def run(self) -> None:
        """Returns when nothing of the deployment is left and its row says so."""
        whose = (self.deployment.deployer, self.deployment.project_id)
        try:
            with workload_key(self._context, *whose, "model") as key:
                self._key = key
                await self._run()
        except store.NotFound:
            logger.info("the model of deployment %d was deleted", self.deployment.number)
            await self._tear_down()
        except Exception as error:
            logger.exception("deployment %d", self.deployment.number)
            await self._tear_down()
            await self._end(failures.internal_error(error))
        finally:
            self.started.set()
            self.ended.set()

    async def _tear_down(self) -> None:
        self.stop()
        if self.pool is not None:
            await self.pool.closed.wait()

    async def _run(self) -> None:
        failure = await self._carry()
        if self._context.workers.ending:
            return  # what is wanted will be served again by the next gateway
        await self._end(failure)

    async def _carry(self) -> Failure | None:
        assert self.deployment.build_id is not None
        failure, lost = None, False
        try:
            build = await self._made_build(self.deployment.build_id)
            if build is not None and await self._decrypted():
                if self._turn.locked():
                    self._wait_for("the deployment of its model that is on its way")
                async with self._turn:
                    self.waits_for = ""
                    failure = await self._roll_out(build)
        except store.IllegalTransition:
            logger.info("deployment %d was stopped on its way", self.deployment.number)
            await self._tear_down()
        except (CannotDecrypt, InterpreterGone) as error:
            failure = failures.given_up(error)
        if self.pool is not None:
            lost = await self._builds.vanished.until_closed(self.deployment, self.pool)
            self._detach_pool(self.pool)
        if not lost or self._told_to_stop or self._context.workers.ending:
            return failure
        deployment = await self._context.database.read(store.deployments.get, self.deployment.id)
        self.deployment, self.pool = deployment, None
        return await self._carry()

    async def _made_build(self, build_id: str) -> Build | None:
        """Its build at its end; None when it was told to stop meanwhile. What was deployed is not
        given up because its build cannot be made anew just now."""
        pause = _FIRST_PAUSE
        with self._waiting_for(f"build {self.deployment.build_number}"):
            while True:
                build = await self._builds.built_or_rebuilt(build_id)
                if build.status == "built" or self.deployment.status != "deployed":
                    return build
                told = (self.deployment.number, pause, failures.build_failed(build).problem)
                logger.error("deployment %d: no build; trying again in %g s: %s", *told)
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    async def _decrypted(self) -> bool:
        """Whether it goes on. What was deployed is not given up because its variables cannot be
        decrypted: they may be set again, or the next gateway may have the right `secret.key`."""
        if self.deployment.status != "deployed":
            return True
        with self._waiting_for(""):
            while problem := await self._variables_problem():
                self._wait_for(f"its variables, which cannot be decrypted: {problem}")
                self.started.set()  # nothing else waits for it
                await trio.sleep(_FIRST_PAUSE)
            return True
        return False

    async def _variables_problem(self) -> str:
        project = await self._context.database.read(store.projects.get, self.deployment.project_id)
        return self._context.variables.problem_of(project, self.deployment)

    @contextmanager
    def _waiting_for(self, what: str) -> Iterator[None]:
        """A wait that is over when it is told to stop."""
        self.waits_for = what
        with trio.CancelScope() as self._waiting:
            if self._told_to_stop:
                self._waiting.cancel()
            try:
                yield
            finally:
                self.waits_for = ""

    def _wait_for(self, what: str) -> None:
        """What comes after a colon may change while it waits, and is logged once."""
        if what.partition(":")[0] != self.waits_for.partition(":")[0]:
            logger.info("deployment %d waits for %s", self.deployment.number, what)
        self.waits_for = what

    async def _roll_out(self, build: Build) -> Failure | None:
        """Its turn has come: returns when callers are served by it, or why they never will be."""
        database = self._context.database
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
            self.deployment = await self._context.writer.write_until_accepted(
                store.deployments.advance, self.deployment.id, "started"
            )
        return await self._replace(build)

    async def _replace(self, build: Build) -> Failure | None:
        """From the pool that served before, if one did, to a new one."""
        try:
            async with AsyncExitStack() as starting:
                with self._waiting_for("room on the machine"):
                    project_id = self.deployment.project_id
                    room = self._context.resources.reserve_memory(
                        self.deployment, project_id, self._wait_for
                    )
                    await starting.enter_async_context(room)
                if (pool := await self._open(build)) is None:
                    return None
                await pool.wait_ready()
        except NotEnoughMemory as error:
            return failures.out_of_memory(error)
        except StartFailed as error:
            assert self.pool is not None
            await self.pool.closed.wait()
            place, stopped = place_of(self._context, build), self._told_to_stop
            return None if stopped else failures.start_failed(error, self.pool, place)
        await self._switch(pool)
        return None

    async def _switch(self, pool: Pool) -> None:
        """Durable first; then, with nothing in between, callers see the new pool."""
        switch, writer = store.deployments.switch, self._context.writer
        old = await writer.write_until_accepted(switch, self.deployment.id)
        if not self._told_to_stop:
            self._context.endpoints.set_pool(self.deployment.model_id, pool)
        for earlier in old:
            if (earlier_pool := self._pool_of(earlier.id)) is not None:
                pool.take_over(earlier_pool)
                earlier_pool.drain()

    async def _open(self, build: Build, start_tries: int = 3) -> Pool | None:
        """Its pool, starting; None when it was told to stop. Callers of a model that nothing
        serves wait for it."""
        spec = await pool_spec(self._context, self.deployment, build, start_tries, self._key)
        await trio.to_thread.run_sync(prune_logs, spec.log_folder, self._context.set_aside)
        if self._told_to_stop:
            return None
        routes, model_id = self._context.endpoints, self.deployment.model_id
        tracked = self._context.metrics_writer.sink_for(
            self.deployment.project_id, self.deployment.id
        )
        spec = with_settings(spec, self._context.settings)
        self.pool = self._context.workers.open_pool(spec, tracked=tracked)
        if routes.pool_of(model_id) is None:
            routes.set_pool(model_id, self.pool)
        self.started.set()
        self._context.changes.notify(model_id)
        return self.pool

    async def _end(self, failure: Failure | None) -> None:
        with suppress(store.IllegalTransition):  # told to stop after it had failed
            if failure is not None:
                await self._context.writer.write_until_accepted(
                    store.deployments.fail, self.deployment.id, failure
                )
                return
        await self._context.writer.write_until_accepted(store.deployments.end, self.deployment.id)

    def _detach_pool(self, pool: Pool) -> None:
        routes, model_id = self._context.endpoints, self.deployment.model_id
        if routes.pool_of(model_id) is pool:
            routes.set_pool(model_id, None)
