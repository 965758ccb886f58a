"""The control as a whole: its parts, made in order and recovered at boot."""

import trio

from gateway.control.accounts.collaborators import Members
from gateway.control.accounts.keys import Keys
from gateway.control.accounts.sign_in import SignIn
from gateway.control.accounts.users import Users
from gateway.control.audit.audit_log import Trail
from gateway.control.backup.create import Backups
from gateway.control.builds.builds import Builds
from gateway.control.context import House
from gateway.control.deployments.deployments import Deployments
from gateway.control.deployments.usage import ActiveModels
from gateway.control.experiments.experiments import Experiments
from gateway.control.logs.following import Following
from gateway.control.metrics.metrics import Metrics
from gateway.control.projects.models import Models
from gateway.control.projects.projects import Projects
from gateway.control.storage.garbage import Collector
from gateway.control.storage.orphans import sweep


class Control:
    """What the admin API speaks to."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.following = Following(house.tasks)
        self.builds = Builds(house)
        self.deployments = Deployments(house, self.builds)
        self.models = Models(house, self.builds, self.deployments)
        self.experiments = Experiments(house, self.builds)
        self.projects = Projects(house, self.models, self.experiments)
        self.users = Users(house)
        self.keys = Keys(house)
        self.members = Members(house)
        self.active = ActiveModels(house, self.deployments)
        self.trail = Trail(house)
        self.sign_in = SignIn(house, self.users, self.trail)
        self.backups = Backups(house)
        self.metrics = Metrics(house)
        self.collector = Collector(house, self.builds, self.experiments.environments)

    async def recover(self, *, make_password: bool = False) -> str:
        """Puts right what an earlier gateway left, and serves again what is wanted. Returns the
        password of the first user where one was made; see Users."""
        await sweep(self.house)
        password = await self.users.recover(make_password=make_password)
        await self.members.recover()
        await self.keys.recover()
        await self.sign_in.recover()
        await self.projects.recover()
        await self.models.recover()
        await self.builds.recover()
        await self.deployments.recover()
        await self.experiments.recover()
        await trio.to_thread.run_sync(self.house.set_aside.save)
        self.house.interpreters.seek(self.house.tasks)
        self.house.tasks.start(self.metrics.watch)
        self.house.tasks.start(self.house.trash.watch)
        self.house.tasks.start(self.house.project_disk.look_at_all)
        return password
