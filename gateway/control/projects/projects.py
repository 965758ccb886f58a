"""Projects: folders of code, made from a template, a git repository, or the user's own folder."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import trio

import builder
import store
from builder import Address, CloneGuard, clone
from gateway.control.builds.build_limits import git_runner
from gateway.control.context import ControlContext
from gateway.control.disk.removal_queue import remove
from gateway.control.experiments.experiments import Experiments
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.projects.models import Models, check_name
from gateway.control.projects.new_project import NewProject, address_of, refuse_local
from gateway.control.projects.templates import TEMPLATES, copy_template
from gateway.control.variables import combine
from gateway.errors import Refusal
from store import Build, Experiment, Membership, Model, Project, User

# That one user has made; site administrators may make more. Whoever lists projects waits for a look
# at the right to each one.
MOST_PROJECTS = 500
_Work = Callable[[], Awaitable[None]]


class _Cloning:
    """A clone that is being made: what ends it, and what tells that nothing of it goes on."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class Projects:
    """All projects."""

    def __init__(self, context: ControlContext, models: Models, experiments: Experiments) -> None:
        self._context = context
        self._models = models
        self._experiments = experiments
        self._clonings: dict[str, _Cloning] = {}  # by the project's id
        # Shared between users: a project is cloned once.
        self._clone_places = FairSemaphore(2)

    async def recover(self) -> None:
        """A clone that an earlier gateway did not finish has failed."""
        for project in await self._context.database.read(store.projects.list_all):
            if project.creation_status == "creating":
                with self._context.set_aside.item(f"project {project.name!r}", Path(project.path)):
                    await self._context.writer.write_or_retry_later(
                        store.projects.update,
                        project.id,
                        creation_status="failure",
                        creation_error="the gateway ended while it was being cloned",
                    )

    async def create(self, asked: NewProject, owner: User) -> Project:
        """Raises NameTaken, CloneRefused or Refusal. A clone goes on after the return."""
        self._context.runtime_settings.check_may_create("projects", owner)
        check_name(asked.name)
        refuse_local(asked, owner)
        given_variables = combine(asked.environment, asked.secrets)
        template = asked.template.lower()
        if template == "r":
            raise Refusal("feature.unsupported", "template: this version has no template for R")
        if template not in ("git", "local", *TEMPLATES):
            raise Refusal("argument.invalid", f"template: there is no {asked.template!r}")
        address = await trio.to_thread.run_sync(address_of, asked, template)
        await self._context.disk.check_free("a project")
        project_id = store.new_id()
        path = await self._folder(asked, project_id)
        project = await self._insert(
            owner,
            Project(
                id=project_id,
                linked=bool(asked.path),
                path=str(path),
                creator=owner.name,
                creation_status="creating",
                template=asked.template,
                name=asked.name,
                description=asked.description,
                visibility=asked.visibility,
                git_url=address.url if address else "",
                git_ref=asked.git_ref,
                variables=self._context.variables.encrypt(Project, project_id, given_variables),
            ),
        )
        if address is not None:
            self._clonings[project.id] = cloning = _Cloning()
            # The name and password in it, and its key, are known until it is cloned, and written
            # nowhere.
            work = partial(
                self._clone, project, address, guard=None if owner.administrator else CloneGuard()
            )
            self._context.tasks.start(self._clone_later, project, work, cloning)
            return project
        return await self._fill(project, partial(_lay_out, project))

    async def _insert(self, owner: User, project: Project) -> Project:
        async with self._context.permissions_lock:
            project, membership = await self._context.database.write(_insert, project, owner)
            self._context.accounts.put_project(project)
            self._context.accounts.put_members(project.id, [membership])
        return project

    async def _folder(self, asked: NewProject, project_id: str) -> Path:
        """Where its files are."""
        if not asked.path:
            return self._context.data.projects / project_id
        if asked.git_url:
            raise Refusal("argument.invalid", "path: give a folder or a git_url, not both")
        path = await trio.to_thread.run_sync(_real_folder, asked.path)
        root = self._context.data.root
        if root.is_relative_to(path) or path.is_relative_to(root):
            raise Refusal("argument.invalid", f"path: {path} is where predictd's own data lies")
        taken = await self._context.database.read(store.projects.by_path, str(path))
        if taken is not None:
            raise Refusal("name.taken", f"{path} is the folder of project {taken.name!r}")
        return path

    async def _clone_later(self, project: Project, work: _Work, cloning: _Cloning) -> None:
        """Fills it while nobody waits, unless it is deleted meanwhile."""
        try:
            with cloning.scope:
                async with self._clone_places.acquire(project.creator):
                    await self._fill(project, work)
        except store.NotFound:
            # Deleted in the moment in which it began; who deleted it knew nothing of the clone.
            await self._remove(Path(project.path))
        finally:
            del self._clonings[project.id]
            cloning.ended.set()

    async def _fill(self, project: Project, work: _Work) -> Project:
        """Puts the first files into its folder; says in its row how that ended."""
        problem = ""
        try:
            await work()
        except builder.BuilderError as error:
            problem = f"{error.summary}: {error.problem}"
        except (OSError, TimeoutError) as error:
            problem = str(error)
        return await self._end_creation(project, problem)

    async def _clone(self, project: Project, address: Address, *, guard: CloneGuard | None) -> None:
        run, target = await git_runner(self._context, project), Path(project.path)
        await clone(address, project.git_ref, target, run=run, guard=guard)
        await self._context.project_usage.look(project, target)

    async def _end_creation(self, project: Project, problem: str) -> Project:
        return await self._context.database.write(
            store.projects.update,
            project.id,
            creation_status="failure" if problem else "success",
            creation_error=problem,
        )

    async def update(self, project: Project, changes: dict[str, Any]) -> Project:
        """Changes name, description, visibility, environment or secrets. Raises NameTaken."""
        if isinstance(name := changes.get("name"), str):
            check_name(name)
        async with self._context.permissions_lock:
            if changes.keys() & {"environment", "secrets"}:
                now = await self._context.database.read(store.projects.get, project.id)
                changes = self._context.variables.encrypt_changes(now, changes)
            changed = await self._context.database.write(
                store.projects.update, project.id, **changes
            )
            self._context.accounts.put_project(changed)
            self._context.endpoints.refresh_permissions()
        return changed

    async def delete(self, project: Project) -> None:
        """Deletes it with its models. A folder of the user's own stays."""
        data = self._context.data
        async with self._context.permissions_lock:
            models, experiments = await self._context.database.write(_take_away, project.id)
            self._context.accounts.forget_project(project.id)
        for model, builds in models:
            await self._models.free(model, builds)
        for experiment in experiments:
            await self._experiments.free(experiment)
        if (cloning := self._clonings.get(project.id)) is not None:
            cloning.scope.cancel()
            await cloning.ended.wait()
        folders = [data.snapshots(project.id), data.pip_cache(project.id)]
        if not project.linked:
            folders.append(Path(project.path))
        for folder in folders:
            await self._context.removal_queue.remove(partial(self._remove, folder))

    async def _remove(self, folder: Path) -> None:
        await trio.to_thread.run_sync(remove, folder, self._context.set_aside)


async def _lay_out(project: Project) -> None:
    if not project.linked or project.template:
        template = TEMPLATES.get(project.template.lower(), "")
        await trio.to_thread.run_sync(copy_template, template, Path(project.path))


async def _insert(
    connection: aiosqlite.Connection, project: Project, owner: User
) -> tuple[Project, Membership]:
    """Counted here, so that many that are asked for at once are not one. Raises Refusal."""
    made = await store.projects.count_made_by(connection, owner.name)
    if made >= MOST_PROJECTS and not owner.administrator:
        text = f"{owner.name} has made {made} projects: delete those that are not used any more"
        raise Refusal("state.conflict", text)
    project = await store.projects.insert(connection, project)
    return project, await store.memberships.put(connection, project.id, owner.id, "owner")


async def _take_away(
    connection: aiosqlite.Connection, project_id: str
) -> tuple[list[tuple[Model, list[Build]]], list[Experiment]]:
    """Deletes a project's rows; returns the models, builds and experiments whose files are left."""
    models = await store.models.list_all(connection, project_id)
    owned = [(m, await store.builds.list_all(connection, m.id)) for m in models]
    experiments = await store.experiments.list_all(connection, project_id)
    await store.projects.delete(connection, project_id)
    return owned, experiments


def _real_folder(text: str) -> Path:
    if not Path(text).is_absolute() or not Path(text).is_dir():
        raise Refusal("argument.invalid", f"path: {text!r} is no folder on this machine")
    return Path(text).resolve()
