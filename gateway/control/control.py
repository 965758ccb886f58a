"""The control as a whole: its parts, made in order and recovered at boot."""

import trio

from gateway.control.accounts.collaborators import Collaborators
from gateway.control.accounts.keys import Keys
from gateway.control.accounts.known_devices import KnownDevices
from gateway.control.accounts.password_hashing import PasswordHashing
from gateway.control.accounts.sign_in import SignIn
from gateway.control.accounts.throttle import Throttle
from gateway.control.accounts.users import Users
from gateway.control.assembly import assemble
from gateway.control.audit.audit_log import AuditLog
from gateway.control.backup.create import Backups
from gateway.control.context import ControlContext
from gateway.control.deployments.usage import ActiveModels
from gateway.control.logs.following import LogFollowers
from gateway.control.metrics.metrics import Metrics
from gateway.control.projects.launch import Launcher
from gateway.control.projects.models import Models
from gateway.control.projects.project_files import ProjectFiles
from gateway.control.projects.projects import Projects
from gateway.control.records import Records
from gateway.control.storage.garbage import Collector
from gateway.control.storage.orphans import OrphanSweep
from gateway.control.views import Views
from gateway.identity.keys import Passwords


class Control:
    """The parts of the control.

    `records` and `views` are its read side: what the admin API and the pages show comes from there.
    """

    def __init__(self, context: ControlContext) -> None:
        self.context = context
        self.accounts = context.accounts
        self.endpoints = context.endpoints
        self.settings = context.runtime_settings
        self.variables = context.variables
        self.urls = context.urls
        self.data = context.data
        self.disk = context.disk
        self.temporary_files = context.temporary_files
        self.project_usage = context.project_usage
        self.set_aside = context.set_aside
        self.interpreters = context.interpreters
        self.resources = context.resources
        self.workers = context.workers
        self.metrics_writer = context.metrics_writer
        self.changes = context.changes
        self.tasks = context.tasks
        self.following = LogFollowers(context.tasks)
        workloads = assemble(context)
        self.builds = workloads.builds
        self.deployments = workloads.deployments
        self.experiments = workloads.experiments
        self.models = Models(
            database=context.database,
            permissions=context.permissions,
            settings=context.runtime_settings,
            resources=context.resources,
            data=context.data,
            set_aside=context.set_aside,
            builds=self.builds,
            deployments=self.deployments,
        )
        self.launcher = Launcher(self.models, self.builds, self.deployments)
        self.projects = Projects(
            permissions=context.permissions,
            settings=context.runtime_settings,
            variables=context.variables,
            disk=context.disk,
            files=ProjectFiles(
                database=context.database,
                writer=context.writer,
                data=context.data,
                tasks=context.tasks,
                git_runner=workloads.runner.for_git,
                project_usage=context.project_usage,
                removal_queue=context.removal_queue,
                set_aside=context.set_aside,
            ),
            models=self.models,
            experiments=self.experiments,
        )
        self.users = Users(
            database=context.database,
            accounts=context.accounts,
            permissions=context.permissions,
            hashing=PasswordHashing(Passwords()),
        )
        self.keys = Keys(
            database=context.database,
            accounts=context.accounts,
            permissions=context.permissions,
            admin_key_file=context.data.admin_key,
        )
        self.collaborators = Collaborators(
            database=context.database, permissions=context.permissions
        )
        self.usage = ActiveModels(context.database, self.deployments)
        self.audit_log = AuditLog(
            database=context.database, writer=context.writer, tasks=context.tasks
        )
        self.sign_in = SignIn(
            database=context.database,
            accounts=context.accounts,
            permissions=context.permissions,
            users=self.users,
            audit_log=self.audit_log,
            devices=KnownDevices(context.encryption),
            throttle=Throttle(),
        )
        self.backups = Backups(
            database=context.database,
            data=context.data,
            temporary_files=context.temporary_files,
            removal_queue=context.removal_queue,
            tasks=context.tasks,
        )
        self.metrics = Metrics(
            database=context.database,
            metrics_writer=context.metrics_writer,
            clock=context.retention_clock,
            settings=context.runtime_settings,
            instance_id=context.workspace,
        )
        self.collector = Collector(
            database=context.database,
            data=context.data,
            build_store=context.build_store,
            trash=context.trash,
            removal_queue=context.removal_queue,
            set_aside=context.set_aside,
            builds=self.builds,
            environments=self.experiments.environments,
        )
        self._orphans = OrphanSweep(
            database=context.database,
            data=context.data,
            build_store=context.build_store,
            trash=context.trash,
            set_aside=context.set_aside,
            tasks=context.tasks,
        )
        self.records = Records(context.database)
        self.views = Views(
            database=context.database,
            data=context.data,
            endpoints=context.endpoints,
            urls=context.urls,
            instance_id=context.workspace,
            builds=self.builds,
            deployments=self.deployments,
            experiments=self.experiments,
        )

    async def recover(self, *, make_password: bool = False) -> str:
        """Puts right what an earlier gateway left, and serves again what is wanted. Returns the
        password of the first user where one was made; see Users."""
        await self._orphans.run()
        password = await self.users.recover(make_password=make_password)
        await self.collaborators.recover()
        await self.keys.recover()
        await self.sign_in.recover()
        await self.projects.recover()
        await self.models.recover()
        await self.builds.recover()
        await self.deployments.recover()
        await self.experiments.recover()
        await trio.to_thread.run_sync(self.context.set_aside.save)
        self.context.interpreters.seek(self.context.tasks)
        self.context.tasks.start(self.metrics.watch)
        self.context.tasks.start(self.context.trash.watch)
        self.context.tasks.start(self.context.project_usage.look_at_all)
        return password
