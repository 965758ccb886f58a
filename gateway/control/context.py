"""What every noun of the control needs: the engines, the settings, and where things lie."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import aiosqlite
import msgspec
import trio

import store
from builder import BuildStore
from gateway.background import Tasks
from gateway.control.change_notifier import ChangeNotifier
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.disk.removal_queue import RemovalQueue
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.disk.trash import Trash
from gateway.control.fair_semaphore import FairSemaphore
from gateway.control.interpreters import Interpreters
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.resources import HostResources
from gateway.control.runtime_settings import RuntimeSettings
from gateway.data_folder import DataFolder
from gateway.encryption import Encryption
from gateway.errors import Refusal
from gateway.identity.accounts import Accounts
from gateway.predictions.endpoints import Endpoints
from gateway.set_aside import SetAside
from gateway.settings import Settings
from store import Database
from workers import Limits, Network, Workers

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

# Between two tries of writing what has happened.
_PAUSE = 1.0


class Reach(NamedTuple):
    """Where the gateway is reached: `public` by clients, `inner` by what runs on this machine."""

    public: str
    inner: str


class ControlContext(msgspec.Struct, frozen=True, kw_only=True):
    """Handed to each part once. `reach` says where the gateway is reached, `workspace` is the
    id of the data folder."""

    runtime_settings: RuntimeSettings
    data: DataFolder
    set_aside: SetAside
    disk: FreeSpace
    temporary_files: TemporaryFiles
    project_usage: ProjectUsage
    trash: Trash
    reach: Reach
    workspace: str
    database: Database
    encryption: Encryption
    workers: Workers
    build_store: BuildStore
    interpreters: Interpreters
    resources: HostResources
    endpoints: Endpoints
    tasks: Tasks
    metrics_writer: MetricsWriter
    retention_clock: RetentionClock
    accounts: Accounts
    removal_queue: RemovalQueue = msgspec.field(default_factory=RemovalQueue)
    # Of models: their pools have changed, or they are gone.
    changes: ChangeNotifier = msgspec.field(default_factory=ChangeNotifier)
    # For snapshots that are taken or dropped: those of one project wait for each other anyway.
    snapshot_slots: FairSemaphore = msgspec.field(default_factory=lambda: FairSemaphore(2, each=1))
    # Held from a write of who may do what until the directory knows: the last to be written is the
    # last to be told.
    permissions_lock: trio.Lock = msgspec.field(default_factory=trio.Lock)

    @property
    def settings(self) -> Settings:
        """As they are now: to be asked each time, not kept."""
        return self.runtime_settings.now

    @property
    def shared_folders(self) -> list[Path]:
        """The folders that every model and build is shown."""
        return [Path(folder) for folder in self.settings.readable]

    @property
    def url(self) -> str:
        """Under which clients reach this gateway."""
        return self.reach.public

    def check_network(self, network: Network) -> None:
        """Raises Refusal("machine.isolation") for what cannot be held here."""
        if why := self.workers.confinement.missing_for(network):
            raise Refusal("machine.isolation", f"network: {why}")

    def limits(self, memory: int, cpu: int) -> Limits:
        """Of one replica: `memory` in bytes, `cpu` in thousandths of a core."""
        processes, disk = self.settings.processes, self.settings.disk_limit
        return Limits(memory=memory, cpu=cpu, processes=processes, disk=disk)

    async def write_until_accepted(
        self,
        work: Callable[Concatenate[aiosqlite.Connection, P], Awaitable[T]],
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        """Writes what has happened already, however long the disk takes to accept it.

        What a client asks for may be refused when the disk is full; that a process has ended
        may not be forgotten because of it. Raises what `work` raises, but StoreFailed.
        """
        while True:
            try:
                return await self.database.write(work, *args, **named)
            except store.StoreFailed as error:
                logger.error("cannot write, will try again: %s", error)
                await trio.sleep(_PAUSE)

    async def write_or_retry_later(
        self,
        work: Callable[Concatenate[aiosqlite.Connection, P], Awaitable[object]],
        *args: P.args,
        **named: P.kwargs,
    ) -> None:
        """Writes what an earlier gateway left unsaid: at once, or, since it matters more to serve,
        as soon as the disk accepts it."""
        try:
            await self.database.write(work, *args, **named)
        except store.StoreFailed as error:
            logger.error("cannot write, will try again: %s", error)
            self.tasks.start(partial(self.write_until_accepted, work, *args, **named))
