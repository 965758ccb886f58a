"""Projects: folders of code with an owner, created, changed and deleted with their models."""

from pathlib import Path
from typing import Any

import aiosqlite
import trio

import store
from gateway.control.audit.audit_log import annotate
from gateway.control.builds.environments import Environments
from gateway.control.disk.free_space import FreeSpace
from gateway.control.experiments.experiments import Experiments
from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.control.projects.models import Models, check_name
from gateway.control.projects.new_project import NewProject, address_of, refuse_local
from gateway.control.projects.project_files import ProjectFiles
from gateway.control.projects.templates import TEMPLATES
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.runtimes.catalogue import RuntimeCatalogue
from gateway.control.user_variables import (
    NO_VARIABLES,
    VariableChanges,
    combine,
    named_changes,
)
from gateway.control.variables import ProcessVariables
from gateway.errors import Refusal
from store import Build, Experiment, Membership, Model, Project, User

# That one user has created; site administrators may create more. To list projects checks the
# permission for each of them.
MAX_PROJECTS = 500


class Projects:
    """All projects."""

    def __init__(
        self,
        *,
        permissions: PermissionChanges,
        settings: RuntimeSettings,
        variables: ProcessVariables,
        disk: FreeSpace,
        files: ProjectFiles,
        models: Models,
        experiments: Experiments,
        catalogue: RuntimeCatalogue,
        environments: Environments,
    ) -> None:
        self._permissions = permissions
        self._settings = settings
        self._variables = variables
        self._disk = disk
        self._files = files
        self._models = models
        self._experiments = experiments
        self._catalogue = catalogue
        self._environments = environments

    async def recover(self) -> None:
        """Completes what an earlier gateway did not finish."""
        await self._files.recover()

    async def create(self, asked: NewProject, owner: User) -> Project:
        """Raises NameTaken, CloneRefused or Refusal. A clone continues after the return."""
        self._settings.check_may_create("projects", owner)
        check_name(asked.name)
        refuse_local(asked, owner)
        given_variables = combine(asked.environment, asked.secrets)
        annotate(named_changes(NO_VARIABLES, given_variables))
        template = asked.template.lower()
        if template not in ("git", "local", *TEMPLATES):
            raise Refusal("argument.invalid", f"template: there is no {asked.template!r}")
        address = await trio.to_thread.run_sync(address_of, asked, template)
        if asked.runtime:
            await self._catalogue.check(asked.runtime)
        await self._disk.check_free("a project")
        project_id = store.new_id()
        project = await self.insert(
            owner,
            Project(
                id=project_id,
                linked=bool(asked.path),
                path=str(await self._folder(asked, project_id)),
                creator=owner.name,
                creation_status="creating",
                template=asked.template,
                name=asked.name,
                description=asked.description,
                visibility=asked.visibility,
                git_url=address.url if address else "",
                git_ref=asked.git_ref,
                runtime=asked.runtime,
                variables=self._variables.encrypt(Project, project_id, given_variables),
            ),
        )
        if address is None:
            return await self._files.fill_from_template(project)
        self._files.start_clone(project, address, guarded=not owner.administrator)
        return project

    async def _folder(self, asked: NewProject, project_id: str) -> Path:
        if not asked.path:
            return self._files.own_folder(project_id)
        if asked.git_url:
            raise Refusal("argument.invalid", "path: give a folder or a git_url, not both")
        return await self._files.linked_folder(asked.path)

    async def insert(self, owner: User, project: Project) -> Project:
        """Records a project that has no files yet, and its owner. Raises NameTaken or Refusal."""

        def update(index: PermissionIndex, made: tuple[Project, Membership]) -> None:
            project, membership = made
            index.project_changed(project)
            index.members_changed(project.id, [membership])

        made, _ = await self._permissions.apply(
            lambda connection: _insert(connection, project, owner), update
        )
        return made

    async def update(self, project: Project, changes: dict[str, Any]) -> Project:
        """Changes name, description, visibility, runtime, environment or secrets. Raises NameTaken,
        UnknownKernel."""
        if isinstance(name := changes.get("name"), str):
            check_name(name)
        if runtime := changes.get("runtime"):
            await self._catalogue.check(runtime)
        sets_variables = bool(changes.keys() & {"environment", "secrets"})
        if sets_variables:  # for the audit log: `write` does not run in the task of the request
            annotate(self._variables.names_changed(project, changes))

        async def write(connection: aiosqlite.Connection) -> Project:
            encrypted = changes
            if sets_variables:
                now = await store.projects.get(connection, project.id)
                encrypted = self._variables.encrypt_changes(now, changes)
            return await store.projects.update(connection, project.id, **encrypted)

        return await self._permissions.apply(write, PermissionIndex.project_changed)

    async def set_variables(self, project: Project, changes: VariableChanges) -> Project:
        """Sets and removes variables; the others stay. Raises Refusal."""
        # For the audit log: `write` does not run in the task of the request.
        annotate(self._variables.names_changed(project, changes))

        async def write(connection: aiosqlite.Connection) -> Project:
            now = await store.projects.get(connection, project.id)
            variables = self._variables.changed(now, changes)
            return await store.projects.update(connection, project.id, variables=variables)

        return await self._permissions.apply(write, PermissionIndex.project_changed)

    async def delete(self, project: Project) -> None:
        """Deletes it with its models and experiments. A folder that is linked stays."""
        models, experiments = await self._permissions.apply(
            lambda connection: _delete_rows(connection, project.id),
            lambda index, rows: index.project_deleted(project.id, [model for model, _ in rows[0]]),
        )
        for model, builds in models:
            await self._models.free(model, builds)
        for experiment in experiments:
            await self._experiments.free(experiment)
        await self._environments.remove_all(project.id)
        await self._files.delete(project)


async def _insert(
    connection: aiosqlite.Connection, project: Project, owner: User
) -> tuple[Project, Membership]:
    """Counts in the same transaction, so that requests at once cannot exceed the bound. Raises
    Refusal."""
    made = await store.projects.count_made_by(connection, owner.name)
    if made >= MAX_PROJECTS and not owner.administrator:
        text = f"{owner.name} has made {made} projects: delete those that are not used any more"
        raise Refusal("state.conflict", text)
    project = await store.projects.insert(connection, project)
    return project, await store.memberships.put(connection, project.id, owner.id, "owner")


async def _delete_rows(
    connection: aiosqlite.Connection, project_id: str
) -> tuple[list[tuple[Model, list[Build]]], list[Experiment]]:
    """Deletes a project's rows; returns the models, builds and experiments whose files are left."""
    models = await store.models.list_all(connection, project_id)
    owned = [(m, await store.builds.list_all(connection, m.id)) for m in models]
    experiments = await store.experiments.list_all(connection, project_id)
    await store.projects.delete(connection, project_id)
    return owned, experiments
