"""What rollouts work with. Protocols say what they need of builds and pools, so that tests can play
those.
"""

from typing import Protocol

import msgspec

from gateway.control.accounts.workload_keys import WorkloadKeys
from gateway.control.change_notifier import ChangeNotifier
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.operation import OperationTimeouts
from gateway.control.probed_pools import ProbedPools
from gateway.control.resources import HostResources
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.source_files import SourceFiles
from gateway.control.variables import ProcessVariables
from gateway.predictions.endpoints import Endpoints
from store import Build, Database, Deployment
from workers import Pool, PoolSpec


class BuildSource(Protocol):
    """What a rollout needs of `Builds`."""

    async def built_or_rebuilt(self, build_id: str) -> Build: ...

    def is_sealed_here(self, build_id: str) -> bool: ...

    async def watch_interpreter(self, deployment: Deployment, pool: Pool) -> bool: ...


class PoolSource(Protocol):
    """What a rollout needs of `PoolFactory`."""

    @property
    def is_closing(self) -> bool: ...

    async def prepare(
        self, deployment: Deployment, build: Build, start_tries: int, key: dict[str, str]
    ) -> PoolSpec: ...

    def open(self, deployment: Deployment, spec: PoolSpec) -> Pool: ...

    def adjust(self, pool: Pool) -> None: ...

    def source_of(self, build: Build) -> SourceFiles: ...


class RolloutServices(msgspec.Struct, frozen=True, kw_only=True):
    """What each rollout works with."""

    database: Database
    writer: RetryingWriter
    builds: BuildSource
    pools: PoolSource
    resources: HostResources
    gpus: GpuReservations
    endpoints: Endpoints
    changes: ChangeNotifier
    variables: ProcessVariables
    probed: ProbedPools
    keys: WorkloadKeys
    timeouts: OperationTimeouts
