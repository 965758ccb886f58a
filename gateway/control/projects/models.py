"""Models: created, changed, and deleted with their builds, history and files."""

from typing import Any

import aiosqlite
import msgspec
import trio

import store
from gateway.control.builds.builds import Builds
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.new_deployment import NewDeployment, check_deployment
from gateway.control.disk.removal_queue import remove
from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.control.resources import HostResources
from gateway.control.runtime_settings import RuntimeSettings
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from gateway.set_aside import SetAside
from store import Build, Database, Model, Project, User


class NewModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    name: str
    description: str = ""
    visibility: store.Visibility = "private"
    auth_enabled: bool = True


class Models:
    """All models of all projects."""

    def __init__(
        self,
        *,
        database: Database,
        permissions: PermissionChanges,
        settings: RuntimeSettings,
        resources: HostResources,
        data: DataFolder,
        set_aside: SetAside,
        builds: Builds,
        deployments: Deployments,
    ) -> None:
        self._database = database
        self._permissions = permissions
        self._settings = settings
        self._resources = resources
        self._data = data
        self._set_aside = set_aside
        self._builds = builds
        self._deployments = deployments

    @property
    def defaults(self) -> NewDeployment:
        """What a model's deployments get unless it, or they, say otherwise."""
        memory = self._resources.default_memory_mb
        return NewDeployment(cpu_millicores=1000, memory_mb=memory, replicas=1)

    async def recover(self) -> None:
        """Loads every model into memory, deployed or not."""
        for model in await self._database.read(store.models.list_all):
            self._permissions.apply_unwritten(PermissionIndex.model_changed, model)

    async def create(self, project: Project, asked: NewModel, creator: User) -> Model:
        """Raises NameTaken, or Refusal where the name, or the site, does not allow it."""
        self._settings.check_may_create("models", creator)
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
        return await self._permissions.apply(
            lambda connection: store.models.insert(connection, model),
            PermissionIndex.model_changed,
        )

    async def regenerate_key(self, model: Model) -> Model:
        """Gives the model another access key; the old one is not valid any more."""
        return await self._permissions.apply(
            lambda connection: _regenerate_key(connection, model.id),
            PermissionIndex.model_changed,
        )

    async def update(self, model: Model, changes: dict[str, Any]) -> Model:
        """Changes name, description, visibility, authentication or defaults. Raises NameTaken, or
        Refusal."""
        if "name" in changes:
            check_name(changes["name"])
        if changes.get("keep_builds") == 0:
            raise Refusal("argument.invalid", "keep_builds: at least the latest build is kept")
        wished = msgspec.structs.replace(model, **changes)
        sizes = NewDeployment(
            cpu_millicores=wished.cpu_millicores,
            memory_mb=wished.memory_mb,
            replicas=wished.replicas,
            nvidia_gpus=wished.nvidia_gpus,
        )
        # Sizes from a time when more was allowed stay until other sizes are asked for.
        if changes.keys() & {"cpu_millicores", "memory_mb", "replicas", "nvidia_gpus"}:
            check_deployment(sizes, most_replicas=self._settings.current.max_replicas)
        return await self._permissions.apply(
            lambda connection: _update(connection, model.id, changes),
            PermissionIndex.model_changed,
        )

    async def delete(self, model: Model) -> None:
        """Stops it and removes its builds, history and files; its name is free again at once."""
        builds = await self._permissions.apply(
            lambda connection: _delete_rows(connection, model.id),
            lambda index, _: index.model_deleted(model),
        )
        await self.free(model, builds)

    async def free(self, model: Model, builds: list[Build]) -> None:
        """Ends what runs and removes the files of a model whose rows are gone."""
        await self._deployments.end_all(model.id)
        for build in builds:
            await self._builds.resume_removals(model.project_id, build.id)
        logs = self._data.model_logs(model.id)
        await trio.to_thread.run_sync(remove, logs, self._set_aside)


async def _update(
    connection: aiosqlite.Connection, model_id: str, changes: dict[str, Any]
) -> Model:
    if changes.get("request_log") is False:
        await store.requests.delete_all(connection, model_id)
    return await store.models.update(connection, model_id, **changes)


async def _regenerate_key(connection: aiosqlite.Connection, model_id: str) -> Model:
    """Counted here, so that two who ask at once get two keys."""
    model = await store.models.get(connection, model_id)
    return await store.models.update(connection, model_id, key_generation=model.key_generation + 1)


async def _delete_rows(connection: aiosqlite.Connection, model_id: str) -> list[Build]:
    """Deletes a model's rows; returns the builds whose files are left."""
    builds = await store.builds.list_all(connection, model_id)
    await store.models.delete(connection, model_id)
    return builds


def check_name(name: str) -> None:
    """Raises Refusal("argument.invalid") for a name that is hard to type."""
    if not name.strip() or name != name.strip() or len(name) > 128 or not name.isprintable():
        raise Refusal("argument.invalid", "name: give 1 to 128 printable characters")
    if "/" in name:
        raise Refusal("argument.invalid", "name: a slash separates project and model")
