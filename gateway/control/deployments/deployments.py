"""Deployments: taken on, stopped, restarted, found. How one is carried out is in rollout.py.

`wanted` is the will, `status` what came of it: at boot, what is wanted is served again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import trio

import store
from gateway.control.builds.builds import Builds
from gateway.control.context import ControlContext
from gateway.control.deployments.new_deployment import NewDeployment, check_deployment
from gateway.control.deployments.rollout import Rollout
from gateway.control.pool_spec import with_settings
from gateway.encryption import CannotDecrypt
from gateway.errors import Refusal
from gateway.settings import Settings
from store import Build, Deployment, Model, User
from workers import NETWORKS, Pool, StartFailed

logger = logging.getLogger(__name__)


class _Claim(NamedTuple):
    """What a deployment that is about to be taken on will have."""

    project_id: str
    model_id: str
    replicas: int


class Deployments:
    """All deployments, and the pools of those that serve."""

    def __init__(self, context: ControlContext, builds: Builds) -> None:
        self._context = context
        self._builds = builds
        self._rollouts: dict[str, Rollout] = {}
        # Of deployments that are checked, and not taken on yet.
        self._claims: list[_Claim] = []
        # One deployment of a model is carried out at a time.
        self._turns: dict[str, trio.Lock] = {}
        context.runtime_settings.subscribe(self._adjust_pools)

    def _adjust_pools(self, settings: Settings) -> None:
        for carrying in self._rollouts.values():
            if (pool := carrying.pool) is not None:
                pool.adjust(with_settings(pool.spec, settings))

    async def recover(self) -> None:
        """Serves again what is wanted; what was on its way down is down now."""
        database = self._context.database
        for deployment in await database.read(store.deployments.unfinished):
            if deployment.wanted == "stop":
                build = self._context.build_store.folder(deployment.build_id or "")
                with self._context.set_aside.item(f"deployment {deployment.number}", build):
                    await self._context.writer.write_or_retry_later(
                        store.deployments.end, deployment.id
                    )
        wanted = await database.read(store.deployments.wanted)
        # First what served: what was on its way then follows it as it would have.
        for deployment in sorted(wanted, key=lambda d: d.status != "deployed"):
            carrying = self._begin(deployment)
            whole = deployment.build_id is not None and self._builds.is_sealed_here(
                deployment.build_id
            )
            # One that has, or may have, to be made again takes its time: others do not wait for it.
            if deployment.status == "deployed" and whole:
                await carrying.started.wait()

    async def create(
        self, model: Model, build: Build, asked: NewDeployment, deployer: User
    ) -> Deployment:
        """Takes on a deployment; it waits for its build if that is not made yet."""
        self.check(model.project_id, asked, now=build.status == "built", model_id=model.id)
        if build.status in ("build failed", "timedout"):
            raise Refusal("state.conflict", f"build {build.number} has failed: build again")
        # Counted from here on: many that are asked for at once are not one.
        with self._claimed(_Claim(model.project_id, model.id, asked.replicas)):
            await self._context.disk.check_free("a deployment")
            deployment_id = store.new_id()
            kept = self._context.variables.encrypt(Deployment, deployment_id, asked.variables)
            deployment = await self._context.database.write(
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
                    network=asked.network,
                    variables=kept,
                ),
            )
            self._begin(deployment)
        return deployment

    @contextmanager
    def _claimed(self, claim: _Claim) -> Iterator[None]:
        self._claims.append(claim)
        try:
            yield
        finally:
            self._claims.remove(claim)

    async def as_before(self, model: Model, asked: NewDeployment) -> NewDeployment:
        """The deployment for a user who may deploy but not edit: with the variables of the model's
        present deployment, and no more network than that has. Variables decide what code runs
        (LD_PRELOAD, PYTHONPATH), so to give some is to edit. Raises Refusal."""
        for name in ("environment", "secrets"):
            if getattr(asked, name):
                text = f"{name}: to set variables needs 'project.edit'; without, they stay"
                raise Refusal("auth.forbidden", text)
        present = await self._context.database.read(store.deployments.current, model.id)
        if present is None:
            return asked
        try:
            kept = self._context.variables.decrypt(present)
        except CannotDecrypt as error:
            text = f"{error}; who may edit the project has to deploy"
            raise Refusal("state.conflict", text) from error
        return msgspec.structs.replace(
            asked,
            network=min(asked.network, present.network, key=NETWORKS.index),
            environment=kept.plain,
            secrets=kept.secrets,
        )

    def check(
        self, project_id: str, asked: NewDeployment, *, now: bool = False, model_id: str = ""
    ) -> None:
        """Raises Refusal for what cannot be, or not here; with `now`, not beside what runs. It
        takes the place of what there is of its model, if it is of one."""
        check_deployment(asked, most_replicas=self._context.settings.max_replicas)
        self._context.sandbox.check_network(asked.network)
        self._context.resources.check(asked, now=now)
        most, others = self._context.settings.project_replicas, self._replicas(project_id, model_id)
        if others + asked.replicas > most:
            text = f"the models of one project may have {most} replicas; the others have {others}"
            raise Refusal("project.busy", text)

    def _replicas(self, project_id: str, but: str) -> int:
        """How many a project's models have or are to have, but for one."""
        found: dict[str, int] = {}
        theirs: list[Deployment | _Claim] = [each.deployment for each in self._rollouts.values()]
        for each in theirs + self._claims:
            if each.project_id == project_id and each.model_id != but:
                found[each.model_id] = max(each.replicas, found.get(each.model_id, 0))
        return sum(found.values())

    def _begin(self, deployment: Deployment) -> Rollout:
        turn = self._turns.setdefault(deployment.model_id, trio.Lock())
        carrying = Rollout(self._context, self._builds, deployment, turn, self.pool)
        self._rollouts[deployment.id] = carrying
        self._context.tasks.start(self._carry_out, carrying)
        return carrying

    async def _carry_out(self, carrying: Rollout) -> None:
        try:
            await carrying.run()
        finally:
            del self._rollouts[carrying.deployment.id]
            self._context.changes.notify(carrying.deployment.model_id)

    async def stop(self, deployment: Deployment) -> Deployment:
        """Stops serving it; what is in its queue is refused. Returns while it still winds down.

        Raises IllegalTransition where it has ended already.
        """
        carrying = self._rollouts.get(deployment.id)
        stopping = await self._context.database.write(store.deployments.stop, deployment.id)
        if carrying is not None:
            carrying.stop()
        return stopping

    async def stop_all(self, model_id: str) -> list[Deployment]:
        """Stops all that is wanted of a model, what serves and what is on its way: nothing of it
        begins to serve afterwards. Returns those, while they wind down."""
        stopping = await self._context.database.write(store.deployments.stop_all, model_id)
        for deployment in stopping:
            if (carrying := self._rollouts.get(deployment.id)) is not None:
                carrying.stop()
        return stopping

    async def end_all(self, model_id: str) -> None:
        """For a model whose rows are gone: returns when nothing of it runs."""
        self._context.changes.notify(model_id)
        for carrying in list(self._rollouts.values()):
            if carrying.deployment.model_id == model_id:
                carrying.stop()
                await carrying.ended.wait()
        self._turns.pop(model_id, None)

    async def restart(self, deployment: Deployment) -> None:
        """Re-initialises its replicas, one after the other, going on after the return.

        Raises Refusal where it does not serve.
        """
        pool = self.pool(deployment.id)
        if pool is None or deployment.status != "deployed":
            raise Refusal(
                "state.conflict", f"deployment {deployment.number} is {deployment.status}"
            )
        self._context.tasks.start(self._restart, deployment, pool)

    async def _restart(self, deployment: Deployment, pool: Pool) -> None:
        try:
            await pool.restart()
        except StartFailed as error:
            logger.warning("deployment %d: restart: %s", deployment.number, error.summary)

    def pool(self, deployment_id: str) -> Pool | None:
        """Its replicas, while it has any."""
        carrying = self._rollouts.get(deployment_id)
        return carrying.pool if carrying else None

    def pools_of(self, model_id: str) -> list[Pool]:
        """All that a model has: those that serve, start and wind down."""
        mine = (c for c in self._rollouts.values() if c.deployment.model_id == model_id)
        return [carrying.pool for carrying in mine if carrying.pool is not None]

    def state(self, deployment: Deployment) -> str:
        """Its status, or "rebuilding" where it cannot serve until its build is made again,
        as after a restore."""
        waits = self.waits_for(deployment.id).startswith("build ")
        return "rebuilding" if waits and deployment.status == "deployed" else deployment.status

    def waits_for(self, deployment_id: str) -> str:
        """What it cannot go on without just now, in words; nothing for one that does not wait."""
        carrying = self._rollouts.get(deployment_id)
        return carrying.waits_for if carrying else ""
