"""The control as a whole: its parts, made in order and recovered at boot."""

from gateway.control.active import ActiveModels
from gateway.control.backup import Backups
from gateway.control.builds import Builds
from gateway.control.deployments import Deployments
from gateway.control.garbage import Collector
from gateway.control.house import House
from gateway.control.models import Models
from gateway.control.projects import Projects
from gateway.control.sweep import sweep


class Control:
    """What the admin API speaks to."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.builds = Builds(house)
        self.deployments = Deployments(house, self.builds)
        self.models = Models(house, self.builds, self.deployments)
        self.projects = Projects(house, self.models)
        self.active = ActiveModels(house, self.deployments)
        self.backups = Backups(house)
        self.collector = Collector(house, self.builds)

    async def recover(self) -> None:
        """Puts right what an earlier gateway left, and serves again what is wanted."""
        await sweep(self.house)
        await self.projects.recover()
        await self.models.recover()
        await self.builds.recover()
        await self.deployments.recover()
        self.house.interpreters.seek(self.house.tasks)
