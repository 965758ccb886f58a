"""Models: made, found, changed, deleted with all that is theirs."""

from typing import Any

import aiosqlite
import msgspec
import trio

import store
from gateway.control.builds.builds import Builds
from gateway.control.context import ControlContext
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.new_deployment import NewDeployment, check_deployment
from gateway.control.disk.removal_queue import remove
from gateway.errors import Refusal
from store import Build, Model, Project, User


class NewModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    name: str
    description: str = ""
    visibility: store.Visibility = "private"
    auth_enabled: bool = True


class Models:
    """All models of all projects."""

    def __init__(self, context: ControlContext, builds: Builds, deployments: Deployments) -> None:
        self._context = context
        self._builds = builds
        self._deployments = deployments

    @property
    def defaults(self) -> NewDeployment:
        """What a model's deployments get unless it, or they, say otherwise."""
        memory = self._context.resources.default_memory_mb
        return NewDeployment(cpu_millicores=1000, memory_mb=memory, replicas=1)

    async def recover(self) -> None:
        """Makes every model known to callers, deployed or not."""
        for model in await self._context.database.read(store.models.list_all):
            self._context.endpoints.put(model)

    async def create(self, project: Project, asked: NewModel, creator: User) -> Model:
        """Raises NameTaken, or Refusal where the name, or the site, does not allow it."""
        self._context.runtime_settings.check_may_create("models", creator)
        check_name(asked.name)
        defaults = self.defaults
        model = Model(
            project_id=project.id,
            creator=creator.name,
            cpu_millicores=defaults.cpu_millicores,
            memory_mb=defaults.memory_mb,
            replicas=defaults.replicas,
            **msgspec.structs.asdict(asked),
        )
        async with self._context.permissions_lock:
            model = await self._context.database.write(store.models.insert, model)
            self._context.endpoints.put(model)
        return model

    async def regenerate_key(self, model: Model) -> Model:
        """Gives the model another access key; nobody is let in by the old one any more."""
        async with self._context.permissions_lock:
            changed = await self._context.database.write(_regenerate_key, model.id)
            self._context.endpoints.put(changed)
        return changed

    async def update(self, model: Model, changes: dict[str, Any]) -> Model:
        """Changes name, description, visibility, authentication or defaults. Raises NameTaken, or
        Refusal."""
        if "name" in changes:
            check_name(changes["name"])
        wished = msgspec.structs.replace(model, **changes)
        sizes = NewDeployment(
            cpu_millicores=wished.cpu_millicores,
            memory_mb=wished.memory_mb,
            replicas=wished.replicas,
        )
        # What it was given when more was allowed stays, until somebody asks for other sizes.
        if changes.keys() & {"cpu_millicores", "memory_mb", "replicas"}:
            check_deployment(sizes, most_replicas=self._context.settings.max_replicas)
        async with self._context.permissions_lock:
            changed = await self._context.database.write(store.models.update, model.id, **changes)
            self._context.endpoints.put(changed)
        return changed

    async def delete(self, model: Model) -> None:
        """Stops it and removes its builds, history and files; its name is free again at once."""
        # Whoever changes it meanwhile has told the routes before they forget it.
        async with self._context.permissions_lock:
            builds = await self._context.database.write(_take_away, model.id)
        await self.free(model, builds)

    async def free(self, model: Model, builds: list[Build]) -> None:
        """Ends what runs and removes the files of a model whose rows are gone."""
        self._context.endpoints.forget(model.id)
        await self._deployments.end_all(model.id)
        for build in builds:
            await self._builds.resume_removals(model.project_id, build.id)
        logs = self._context.data.model_logs(model.id)
        await trio.to_thread.run_sync(remove, logs, self._context.set_aside)


async def _regenerate_key(connection: aiosqlite.Connection, model_id: str) -> Model:
    """Counted here, so that two who ask at once get two keys."""
    model = await store.models.get(connection, model_id)
    return await store.models.update(connection, model_id, key_generation=model.key_generation + 1)


async def _take_away(connection: aiosqlite.Connection, model_id: str) -> list[Build]:
    """Deletes a model's rows; returns the builds whose files are left."""
    builds = await store.builds.list_all(connection, model_id)
    await store.models.delete(connection, model_id)
    return builds


def check_name(name: str) -> None:
    """Raises Refusal("argument.invalid") for a name nobody could type."""
    if not name.strip() or name != name.strip() or len(name) > 128 or not name.isprintable():
        raise Refusal("argument.invalid", "name: give 1 to 128 printable characters")
    if "/" in name:
        raise Refusal("argument.invalid", "name: a slash separates project and model")
