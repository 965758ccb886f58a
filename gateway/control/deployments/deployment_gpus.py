"""The GPUs of one deployment: reserved, taken over from the deployment that it replaces, or given
back to that.

If enough GPUs are free, the new deployment starts beside the old one. If not, the old one gives up
as many as are missing: some of its slots become vacant. One of its replicas serves until the first
ones of the new deployment are ready, if that leaves the new one a replica. Else the old deployment
stops serving, and its requests wait, until the new one is ready or has failed.
"""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Protocol

from gateway.control.gpu_reservations import GpuReservation, GpuReservations
from store import Deployment


class VacatedPool(Protocol):
    """What this needs of a pool."""

    def vacate(self, count: int) -> None: ...
    def fill_vacant(self) -> None: ...


class DeploymentGpus:
    """What a deployment has reserved. Set `pool` when it has one.

    Its pool may switch when `first_ready` replicas are ready, 0 for all. `note` says what the
    deployment that it replaces has given up, "" for nothing.
    """

    def __init__(self, reservations: GpuReservations, deployment: Deployment) -> None:
        self.pool: VacatedPool | None = None
        self.first_ready = 0
        self.note = ""
        self._reservations = reservations
        self._deployment = deployment
        self._reserved: GpuReservation | None = None
        self._before: DeploymentGpus | None = None
        self._taken = 0

    def keep(self) -> None:
        """It served before a restart: nothing is checked."""
        if self._count:
            self._reserved = self._reservations.keep(self._deployment.project_id, self._count)

    async def take(
        self,
        before: "DeploymentGpus | None",
        tell: Callable[[str], object],
        is_overtaken: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Waits for its GPUs; `before` are those of the deployment that it replaces. False if a
        later deployment has overtaken it."""
        if not self._count:
            return True
        reserved = await self._reservations.reserve(
            self._deployment.project_id,
            self._count,
            tell,
            before=before._reserved if before else None,
            is_overtaken=is_overtaken,
        )
        if reserved is None:
            return False
        self._reserved, taken = reserved
        if taken and before is not None:
            self._take_over(before, taken)
        return True

    def switched(self) -> None:
        """It serves in place of the other one."""
        self._before = None

    def release(self) -> None:
        """Nothing of it runs. The other deployment gets back what it has given up, unless this one
        has replaced it."""
        reserved, self._reserved = self._reserved, None
        if reserved is None:
            return
        before, self._before = self._before, None
        if before is not None and before._reserved is not None:
            self._reservations.give_back(self._taken, reserved, before._reserved)
            if before.pool is not None:
                before.pool.fill_vacant()
        self._reservations.release(reserved)

    @property
    def _count(self) -> int:
        return self._deployment.nvidia_gpus * self._deployment.replicas

    def _take_over(self, before: "DeploymentGpus", taken: int) -> None:
        old, new = before._deployment, self._deployment
        vacated = ceil(taken / old.nvidia_gpus)
        if vacated >= old.replicas:
            # As many as can start while one replica of the old deployment serves.
            spare = self._count - taken + (old.replicas - 1) * old.nvidia_gpus
            if first := spare // new.nvidia_gpus:
                vacated, self.first_ready = old.replicas - 1, first
        self._before, self._taken = before, taken
        assert before.pool is not None
        before.pool.vacate(vacated)
        self.note = _note(old, vacated)


def _note(old: Deployment, vacated: int) -> str:
    lacking = "its replicas: too few GPUs are free for both"
    if vacated < old.replicas:
        return (
            f"{lacking}, so {vacated} of {old.replicas} replicas of deployment {old.number} ended"
        )
    return f"{lacking}, so deployment {old.number} ended its replicas, and requests wait"
