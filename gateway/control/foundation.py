"""What the control is built on: store, workers, settings and memory, opened by `composition.py`.

Only `control.py` and `assembly.py` take the record. They hand each class the parts that it uses,
so that a constructor says what its class depends on.
"""

import msgspec

from builder import BuildStore
from gateway.background import Tasks
from gateway.control.change_notifier import ChangeNotifier
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.disk.removal_queue import RemovalQueue
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.disk.trash import Trash
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.history.history import History
from gateway.control.history.recorder import TrafficRecorder
from gateway.control.interpreters import Interpreters
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.operation import OperationTimeouts
from gateway.control.permission_changes import PermissionChanges
from gateway.control.probed_pools import ProbedPools
from gateway.control.project_locks import ProjectLocks
from gateway.control.resources import HostResources
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.control.variables import GatewayUrls, ProcessVariables
from gateway.data_folder import DataFolder
from gateway.encryption import Encryption
from gateway.identity.accounts import Accounts
from gateway.predictions.endpoints import Endpoints
from gateway.set_aside import SetAside
from store import Database
from workers import Workers


class Foundation(msgspec.Struct, frozen=True, kw_only=True):
    """The parts below the control. `instance_id` is the id of the data folder. `changes` notifies
    by the id of a model: its pools have changed, or it is gone."""

    settings: RuntimeSettings
    data: DataFolder
    set_aside: SetAside
    disk: FreeSpace
    temporary_files: TemporaryFiles
    project_usage: ProjectUsage
    project_locks: ProjectLocks
    trash: Trash
    urls: GatewayUrls
    instance_id: str
    database: Database
    writer: RetryingWriter
    variables: ProcessVariables
    sandbox: Sandbox
    encryption: Encryption
    workers: Workers
    build_store: BuildStore
    interpreters: Interpreters
    resources: HostResources
    gpus: GpuReservations
    endpoints: Endpoints
    tasks: Tasks
    metrics_writer: MetricsWriter
    recorder: TrafficRecorder
    history: History
    retention_clock: RetentionClock
    accounts: Accounts
    permissions: PermissionChanges
    operation_timeouts: OperationTimeouts
    removal_queue: RemovalQueue = msgspec.field(default_factory=RemovalQueue)
    changes: ChangeNotifier = msgspec.field(default_factory=ChangeNotifier)
    probed: ProbedPools = msgspec.field(default_factory=ProbedPools)
