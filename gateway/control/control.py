"""The control as a whole: each part is made here from what it uses, and recovered at start."""

import trio

from gateway.control.accounts.collaborators import Collaborators
from gateway.control.accounts.keys import Keys
from gateway.control.accounts.known_devices import KnownDevices
from gateway.control.accounts.password_hashing import PasswordHashing
from gateway.control.accounts.sign_in import SignIn
from gateway.control.accounts.throttle import Throttle
from gateway.control.accounts.users import Users
from gateway.control.assembly import Workloads, assemble
from gateway.control.audit.audit_log import AuditLog
from gateway.control.backup.create import Backups
from gateway.control.builds.build_locks import BuildLocks
from gateway.control.deployments.usage import ActiveModels
from gateway.control.foundation import Foundation
from gateway.control.logs.following import LogFollowers
from gateway.control.metrics.metrics import Metrics
from gateway.control.projects.cancel import Cancellation
from gateway.control.projects.launch import Launcher
from gateway.control.projects.models import Models
from gateway.control.projects.project_files import ProjectFiles
from gateway.control.projects.projects import Projects
from gateway.control.projects.uploads import Uploads
from gateway.control.records import Records
from gateway.control.storage.assembly import assemble_storage
from gateway.control.views import Views
from gateway.identity.passwords import Passwords


class Control:
    """The parts of the control. `records` and `views` are its read side, for the admin API and the
    pages."""

    def __init__(self, foundation: Foundation) -> None:
        self.accounts = foundation.accounts
        self.endpoints = foundation.endpoints
        self.settings = foundation.settings
        self.variables = foundation.variables
        self.urls = foundation.urls
        self.instance_id = foundation.instance_id
        self.data = foundation.data
        self.disk = foundation.disk
        self.temporary_files = foundation.temporary_files
        self.project_usage = foundation.project_usage
        self.project_locks = foundation.project_locks
        self.set_aside = foundation.set_aside
        self.interpreters = foundation.interpreters
        self.resources = foundation.resources
        self.gpus = foundation.gpus
        self.workers = foundation.workers
        self.metrics_writer = foundation.metrics_writer
        self.changes = foundation.changes
        self.tasks = foundation.tasks
        self.following = LogFollowers(foundation.tasks)
        workloads = assemble(foundation)
        self.builds = workloads.builds
        self.build_locks = BuildLocks(foundation.database, foundation.data)
        self.deployments = workloads.deployments
        self.experiments = workloads.experiments
        self.catalogue = workloads.catalogue
        self.runtimes = workloads.runtimes
        self.seed_preparation = workloads.seed_preparation
        self.sessions = workloads.sessions
        self.models = _models(foundation, workloads)
        self.projects = _projects(foundation, workloads, self.models)
        self.uploads = _uploads(foundation)
        self.launcher = Launcher(self.models, self.builds, self.deployments)
        self.cancellation = Cancellation(foundation.database, self.builds, self.deployments)
        self.usage = ActiveModels(foundation.database, self.deployments, foundation.recorder)
        self.users = _users(foundation)
        self.keys = _keys(foundation)
        self.collaborators = Collaborators(
            database=foundation.database, permissions=foundation.permissions
        )
        self.audit_log = AuditLog(
            database=foundation.database, writer=foundation.writer, tasks=foundation.tasks
        )
        self.sign_in = _sign_in(foundation, self.users, self.audit_log)
        self.backups = _backups(foundation)
        self.metrics = _metrics(foundation)
        self.history = foundation.history
        self.collector, self.collection, self._orphans = assemble_storage(
            foundation,
            builds=workloads.builds,
            environments=workloads.environments,
            sessions=workloads.sessions,
            audit_log=self.audit_log,
        )
        self.records = Records(foundation.database)
        self.views = _views(foundation, workloads)
        self._trash = foundation.trash

    async def recover(self, *, make_password: bool = False) -> str:
        """Completes what an earlier gateway left unfinished, and serves again what is wanted.
        Returns the password of the first user if one was made; see Users."""
        await self._orphans.run()
        password = await self.users.recover(make_password=make_password)
        await self.collaborators.recover()
        await self.keys.recover()
        await self.sign_in.recover()
        await self.projects.recover()
        await self.models.recover()
        await self.runtimes.recover()
        await self.builds.recover()
        await self.deployments.recover()
        await self.experiments.recover()
        await trio.to_thread.run_sync(self.set_aside.save)
        self.interpreters.start_discovery(self.tasks)
        watches = (self.metrics.watch, self._trash.watch, self.collection.watch, self.gpus.watch)
        for task in (*watches, self.project_usage.look_at_all):
            self.tasks.start(task)
        return password


def _models(foundation: Foundation, workloads: Workloads) -> Models:
    return Models(
        database=foundation.database,
        permissions=foundation.permissions,
        settings=foundation.settings,
        resources=foundation.resources,
        data=foundation.data,
        set_aside=foundation.set_aside,
        builds=workloads.builds,
        deployments=workloads.deployments,
    )


def _projects(foundation: Foundation, workloads: Workloads, models: Models) -> Projects:
    files = ProjectFiles(
        database=foundation.database,
        writer=foundation.writer,
        data=foundation.data,
        tasks=foundation.tasks,
        git_runner=workloads.runner.for_git,
        project_usage=foundation.project_usage,
        locks=foundation.project_locks,
        removal_queue=foundation.removal_queue,
        set_aside=foundation.set_aside,
    )
    return Projects(
        permissions=foundation.permissions,
        settings=foundation.settings,
        variables=foundation.variables,
        disk=foundation.disk,
        files=files,
        models=models,
        experiments=workloads.experiments,
        catalogue=workloads.catalogue,
        environments=workloads.environments,
    )


def _uploads(foundation: Foundation) -> Uploads:
    return Uploads(
        database=foundation.database,
        data=foundation.data,
        disk=foundation.disk,
        project_usage=foundation.project_usage,
        locks=foundation.project_locks,
        temporary_files=foundation.temporary_files,
        removal_queue=foundation.removal_queue,
        set_aside=foundation.set_aside,
        tasks=foundation.tasks,
    )


def _users(foundation: Foundation) -> Users:
    return Users(
        database=foundation.database,
        accounts=foundation.accounts,
        permissions=foundation.permissions,
        hashing=PasswordHashing(Passwords()),
    )


def _keys(foundation: Foundation) -> Keys:
    return Keys(
        database=foundation.database,
        accounts=foundation.accounts,
        permissions=foundation.permissions,
        admin_key_file=foundation.data.admin_key,
    )


def _sign_in(foundation: Foundation, users: Users, audit_log: AuditLog) -> SignIn:
    return SignIn(
        database=foundation.database,
        accounts=foundation.accounts,
        permissions=foundation.permissions,
        users=users,
        audit_log=audit_log,
        devices=KnownDevices(foundation.encryption),
        throttle=Throttle(),
    )


def _backups(foundation: Foundation) -> Backups:
    return Backups(
        database=foundation.database,
        data=foundation.data,
        build_store=foundation.build_store,
        temporary_files=foundation.temporary_files,
        removal_queue=foundation.removal_queue,
        tasks=foundation.tasks,
    )


def _metrics(foundation: Foundation) -> Metrics:
    return Metrics(
        database=foundation.database,
        metrics_writer=foundation.metrics_writer,
        clock=foundation.retention_clock,
        settings=foundation.settings,
        instance_id=foundation.instance_id,
    )


def _views(foundation: Foundation, workloads: Workloads) -> Views:
    return Views(
        database=foundation.database,
        data=foundation.data,
        endpoints=foundation.endpoints,
        urls=foundation.urls,
        instance_id=foundation.instance_id,
        builds=workloads.builds,
        deployments=workloads.deployments,
        experiments=workloads.experiments,
    )
