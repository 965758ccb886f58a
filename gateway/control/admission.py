"""Whether there is space for more: on the disk, and in what a project may keep."""

from pathlib import Path

from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.project_usage import ProjectUsage
from store import Project


class Admission:
    """Checked before a build or an experiment is created."""

    def __init__(self, disk: FreeSpace, project_usage: ProjectUsage) -> None:
        self._disk = disk
        self._project_usage = project_usage

    async def check(self, project: Project, what: str) -> None:
        """Raises Refusal if `what` of this project does not fit."""
        await self._disk.check_free(what)
        await self._project_usage.admit(project, what)

    async def measure(self, project: Project, *written: Path) -> None:
        """Measures what was written, for the checks to come."""
        await self._project_usage.look(project, *written)

    async def prepare_removal(self) -> None:
        """A removal writes too: frees what it needs on a full disk."""
        await self._disk.ensure_minimum_free()
