"""Deployments: created, stopped, restarted, found. How one is rolled out is in rollout.py.

`wanted` is the desired state, `status` the actual one. A start serves what is wanted again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import trio

import store
from builder import BuildStore
from gateway.background import Tasks
from gateway.control.audit.audit_log import annotate
from gateway.control.deployments.earlier_deployments import EarlierDeployments
from gateway.control.deployments.new_deployment import NewDeployment, check_deployment
from gateway.control.deployments.restart import Restart
from gateway.control.deployments.rollout import Rollout
from gateway.control.deployments.rollout_services import RolloutServices
from gateway.control.disk.free_space import FreeSpace
from gateway.control.operation import Operations
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.control.user_variables import NO_VARIABLES, named_changes
from gateway.errors import Refusal
from gateway.set_aside import SetAside
from store import Build, Deployment, Model, User
from workers import Pool, StartFailed

logger = logging.getLogger(__name__)


class _Claim(NamedTuple):
    """What a deployment that is being created will have."""

    project_id: str
    model_id: str
    replicas: int


class Deployments:
    """All deployments, and the pools of those that serve."""

    def __init__(
        self,
        services: RolloutServices,
        *,
        settings: RuntimeSettings,
        tasks: Tasks,
        sandbox: Sandbox,
        disk: FreeSpace,
        build_store: BuildStore,
        set_aside: SetAside,
    ) -> None:
        self.earlier = EarlierDeployments(services)
        self._services = services
        self._settings = settings
        self._tasks = tasks
        self._sandbox = sandbox
        self._disk = disk
        self._build_store = build_store
        self._set_aside = set_aside
        self._rollouts: Operations[Rollout] = Operations(tasks)
        # Of deployments that are checked and not created yet.
        self._claims: list[_Claim] = []
        # One deployment of a model is rolled out at a time.
        self._turns: dict[str, trio.Lock] = {}
        settings.subscribe(lambda _: self._adjust_pools())

    def _adjust_pools(self) -> None:
        for rollout in self._rollouts:
            if rollout.pool is not None:
                self._services.pools.adjust(rollout.pool)

    async def recover(self) -> None:
        """Serves again what is wanted. What was stopping has stopped."""
        database = self._services.database
        for deployment in await database.read(store.deployments.unfinished):
            if deployment.wanted == "stop":
                build = self._build_store.folder(deployment.build_id or "")
                with self._set_aside.item(f"deployment {deployment.number}", build):
                    await self._services.writer.write_or_retry_later(
                        store.deployments.end, deployment.id
                    )
        wanted = await database.read(store.deployments.wanted)
        # What served comes first: a rollout that was cut short follows it, as it would have.
        for deployment in sorted(wanted, key=lambda d: d.status != "deployed"):
            rollout = self._start(deployment)
            if deployment.status == "deployed":
                rollout.gpus.keep()  # before others reserve some
            sealed = deployment.build_id is not None and self._services.builds.is_sealed_here(
                deployment.build_id
            )
            # Others do not wait for one whose build is, or may have to be, rebuilt.
            if deployment.status == "deployed" and sealed:
                await rollout.operation.milestone.wait()

    async def create(
        self, model: Model, build: Build, asked: NewDeployment, deployer: User
    ) -> Deployment:
        """Creates a deployment. It waits for its build if that has not ended."""
        self.check(model.project_id, asked, now=build.status == "built", model_id=model.id)
        if build.status in ("build failed", "timedout"):
            raise Refusal("state.conflict", f"build {build.number} has failed: build again")
        # Counted from here on, so that many at once do not exceed the bound.
        with self._claimed(_Claim(model.project_id, model.id, asked.replicas)):
            await self._disk.check_free("a deployment")
            deployment_id = store.new_id()
            annotate(named_changes(NO_VARIABLES, asked.variables))
            kept = self._services.variables.encrypt(Deployment, deployment_id, asked.variables)
            deployment = await self._services.database.write(
                store.deployments.insert,
                Deployment(
                    id=deployment_id,
                    model_id=model.id,
                    project_id=model.project_id,
                    build_id=build.id,
                    build_number=build.number,
                    deployer=deployer.name,
                    cpu_millicores=asked.cpu_millicores,
                    memory_mb=asked.memory_mb,
                    replicas=asked.replicas,
                    nvidia_gpus=asked.nvidia_gpus,
                    network=asked.network,
                    variables=kept,
                ),
            )
            self._start(deployment)
        return deployment

    @contextmanager
    def _claimed(self, claim: _Claim) -> Iterator[None]:
        self._claims.append(claim)
        try:
            yield
        finally:
            self._claims.remove(claim)

    def check(
        self, project_id: str, asked: NewDeployment, *, now: bool = False, model_id: str = ""
    ) -> None:
        """Raises Refusal for what cannot be deployed here; with `now`, also for what does not fit
        beside what runs. A deployment of `model_id` replaces the model's present one."""
        check_deployment(asked, most_replicas=self._settings.current.max_replicas)
        self._sandbox.check_network(asked.network)
        self._services.resources.check(asked, now=now)
        self._services.gpus.check(asked.nvidia_gpus, asked.replicas)
        most, others = self._settings.current.project_replicas, self._replicas(project_id, model_id)
        if others + asked.replicas > most:
            text = f"the models of one project may have {most} replicas; the others have {others}"
            raise Refusal("project.busy", text)

    def _replicas(self, project_id: str, but: str) -> int:
        """How many a project's models have or are to have, but for one."""
        found: dict[str, int] = {}
        theirs: list[Deployment | _Claim] = [each.deployment for each in self._rollouts]
        for each in theirs + self._claims:
            if each.project_id == project_id and each.model_id != but:
                found[each.model_id] = max(each.replicas, found.get(each.model_id, 0))
        return sum(found.values())

    def _start(self, deployment: Deployment) -> Rollout:
        turn = self._turns.setdefault(deployment.model_id, trio.Lock())
        rollout = Rollout(self._services, deployment, turn, self._rollouts)
        return self._rollouts.start(deployment.id, rollout, self._notify)

    async def _notify(self, rollout: Rollout) -> None:
        self._services.changes.notify(rollout.deployment.model_id)

    async def stop(self, deployment: Deployment) -> Deployment:
        """Stops a deployment and refuses its queued requests. Returns while its replicas end.

        Raises IllegalTransition if it has ended already.
        """
        rollout = self._rollouts.get(deployment.id)
        stopping = await self._services.database.write(store.deployments.stop, deployment.id)
        if rollout is not None:
            rollout.stop()
        return stopping

    def end_rollouts(self, ended: list[Deployment]) -> None:
        """Ends the rollouts of deployments whose rows say that they are not wanted any more."""
        for rollout in filter(None, (self._rollouts.get(each.id) for each in ended)):
            rollout.stop()

    async def end_all(self, model_id: str) -> None:
        """For a model whose rows are deleted. Returns when nothing of it runs."""
        self._services.changes.notify(model_id)
        for rollout in self._rollouts:
            if rollout.deployment.model_id == model_id:
                rollout.stop()
                await rollout.operation.ended.wait()
        self._turns.pop(model_id, None)

    async def restart(self, deployment: Deployment) -> None:
        """Restarts its replicas one after the other, in the background. Raises Refusal if it does
        not serve."""
        rollout = self._rollouts.get(deployment.id)
        if rollout is None or rollout.pool is None or deployment.status != "deployed":
            raise Refusal(
                "state.conflict", f"deployment {deployment.number} is {deployment.status}"
            )
        rollout.restart.begin()
        self._tasks.start(self._restart, deployment, rollout.pool, rollout.restart)

    async def _restart(self, deployment: Deployment, pool: Pool, restart: Restart) -> None:
        problem = ""
        try:
            await pool.restart()
        except StartFailed as error:
            problem = error.summary
            fields = (deployment.number, problem)
            logger.warning("deployment.restart_failed number=%d: %s", *fields)
        finally:
            restart.end(problem)

    def restart_of(self, deployment_id: str) -> Restart:
        """The last restart of a deployment's replicas."""
        rollout = self._rollouts.get(deployment_id)
        return rollout.restart if rollout else Restart()

    def pool(self, deployment_id: str) -> Pool | None:
        """The pool of a deployment, while it has one."""
        rollout = self._rollouts.get(deployment_id)
        return rollout.pool if rollout else None

    def pools_of(self, model_id: str) -> list[Pool]:
        """The pools of a model that start, serve or drain."""
        mine = (each for each in self._rollouts if each.deployment.model_id == model_id)
        return [each.pool for each in mine if each.pool is not None]

    def state(self, deployment: Deployment) -> str:
        """Its status, or "rebuilding" for a deployed one that cannot serve until its build is
        rebuilt, as after a restore, and its new pool takes calls."""
        rollout = self._rollouts.get(deployment.id)
        if deployment.status != "deployed" or rollout is None or rollout.pool is not None:
            return deployment.status
        # Without a pool, it waits for its build, has just got it, or waits for something else.
        waiting_for = rollout.operation.waiting_for
        waits = not waiting_for or waiting_for.startswith("build ")
        return "rebuilding" if waits else deployment.status

    def waiting_for(self, deployment_id: str) -> str:
        """What it cannot continue without, in words; "" for one that does not wait."""
        return self._rollouts.waiting_for(deployment_id)
