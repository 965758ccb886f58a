"""What all process trees of one gateway share: services, and what may be taken of the machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from workers.allowance import Allowance
from workers.cgroups import Cgroups
from workers.confinement import Confinement
from workers.gpus import Gpus
from workers.process.limit_monitor import LimitMonitor
from workers.process.output import Output
from workers.retry_pauses import RetryPauses
from workers.shortages import in_thread


class ProcessHost(msgspec.Struct, frozen=True, kw_only=True):
    """The services that every process tree needs. `instance_id` is part of each tree's mark."""

    instance_id: str
    output: Output
    limit_monitor: LimitMonitor
    cgroups: Cgroups
    confinement: Confinement
    allowance: Allowance
    gpus: Gpus
    timeouts: RetryPauses = RetryPauses()

    @asynccontextmanager
    async def reserved_tree(self) -> AsyncIterator[None]:
        """Reserves what one more process tree needs. Raises Shortage, which is an OSError."""
        with self.allowance.one_tree():
            await in_thread(self.allowance.check_tasks)
            yield
