"""All that the gateway stands on below HTTP: store, workers and control, opened in order.

Each step is closed in the opposite order when the block ends. What a start can refuse is checked
before it changes anything; what it cannot read is set aside (set_aside.py) and does not end it.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

import store
from builder import BuildStore, EnvironmentStore, discover, inspect
from gateway.app import Services
from gateway.background import Tasks
from gateway.control import Control
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.disk.trash import Trash
from gateway.control.foundation import Foundation
from gateway.control.gpu_reservations import GpuReservations
from gateway.control.history.history import History
from gateway.control.history.recorder import TrafficRecorder
from gateway.control.interpreters import Discover, Interpreters
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.operation import OperationTimeouts
from gateway.control.permission_changes import PermissionChanges
from gateway.control.project_locks import ProjectLocks
from gateway.control.resources import HostResources
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.control.variables import GatewayUrls, ProcessVariables
from gateway.data_folder import DataFolder
from gateway.data_folder_check import open_data
from gateway.encryption import Encryption
from gateway.http.context import ConnectionStats
from gateway.identity.accounts import Accounts
from gateway.identity.key_index import KeyIndex
from gateway.identity.keys import access_key
from gateway.isolation import open_isolation
from gateway.operations.health import HealthChecks
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from gateway.set_aside import SetAside
from gateway.settings import LoadedSettings, Settings
from store import Database, Model
from workers import QueueBudget, Workers, open_workers
from workers.allowance import Allowance
from workers.confinement import Confinement
from workers.gpus import NvmlDriver
from workers.kernel_limits import descriptors, tasks

logger = logging.getLogger(__name__)

# On a full disk, what a start leaves for the working copies of its first replicas.
_FIRST_COPIES_BYTES, _FIRST_COPIES_INODES = 64 * 1024, 16


@asynccontextmanager
async def open_control(
    given: LoadedSettings,
    data: DataFolder,
    urls: GatewayUrls,
    tell_password: Callable[[str], None] | None,
    operation_timeouts: OperationTimeouts | None = None,
    discover: Discover = discover,
) -> AsyncIterator[tuple[Control, Services]]:
    """The control after its recovery, and what the application uses beside it. See
    `serving.serve` for `tell_password` and what is raised."""
    settings = given.settings
    interpreter = Path(settings.default_python) if settings.default_python else None
    if interpreter is not None:
        await inspect(interpreter)  # raises if it does not work
    secret = await trio.to_thread.run_sync(open_data, data)
    set_aside = SetAside(data)
    await trio.to_thread.run_sync(set_aside.prepare)
    confinement = await trio.to_thread.run_sync(open_isolation, given, data, set_aside)
    async with AsyncExitStack() as stack:
        start_reserve = store.StartReserve(data.start_room)
        start_reserve.release()
        stack.callback(start_reserve.allocate)  # after the database is closed
        disk = FreeSpace(
            data.root, store.Ballast(data.ballast), start_reserve, settings.min_free_disk
        )
        await disk.ensure_minimum_free()
        temporary_files = TemporaryFiles(data.temporary_files, disk)
        await trio.to_thread.run_sync(temporary_files.prepare, set_aside)
        database = await stack.enter_async_context(_database(data, disk))
        encryption = Encryption(secret)
        runtime_settings = RuntimeSettings(
            given, await database.read(store.site.settings), database, encryption
        )
        retention_clock = RetentionClock(await database.read(store.retention.last_written_ms))
        metrics_writer = MetricsWriter(
            database,
            limit=lambda: runtime_settings.current.metrics_max_size,
            clock=retention_clock,
        )
        # Before the database is closed: replicas track metrics until they end.
        stack.push_async_callback(metrics_writer.finish)
        resources = HostResources()
        workers = await stack.enter_async_context(
            _workers(data, runtime_settings.current, confinement, resources)
        )
        await trio.to_thread.run_sync(set_aside.note_leftovers, data.replicas)
        nursery = await stack.enter_async_context(trio.open_nursery())
        background = Tasks(nursery)
        key_index = KeyIndex()
        accounts = Accounts(key_index)
        endpoints = Endpoints(partial(_access_key, secret), accounts.may_call, key_index)
        recorder = TrafficRecorder(
            database, endpoints, runtime_settings, retention_clock, workers.gpus
        )
        # After the last request, and before the replicas are stopped.
        stack.push_async_callback(recorder.finish)
        build_store = BuildStore(data.builds, EnvironmentStore(data.environments))
        offload = OffloadedParser(workers, data.parser_logs)
        workers.check_answer = offload.check_answer
        control = Control(
            Foundation(
                settings=runtime_settings,
                data=data,
                set_aside=set_aside,
                disk=disk,
                temporary_files=temporary_files,
                project_usage=ProjectUsage(runtime_settings, data, build_store, database),
                project_locks=ProjectLocks(),
                trash=Trash(data.root),
                urls=urls,
                instance_id=await database.write(store.site.workspace_id),
                database=database,
                writer=RetryingWriter(database, background),
                variables=ProcessVariables(
                    encryption=encryption, settings=runtime_settings, urls=urls
                ),
                sandbox=Sandbox(
                    confinement=confinement, settings=runtime_settings, build_store=build_store
                ),
                encryption=encryption,
                workers=workers,
                build_store=build_store,
                interpreters=Interpreters(interpreter, discover, data.interpreters),
                resources=resources,
                gpus=GpuReservations(workers.gpus, runtime_settings),
                accounts=accounts,
                operation_timeouts=operation_timeouts or OperationTimeouts(),
                permissions=PermissionChanges(database, accounts, endpoints),
                endpoints=endpoints,
                tasks=background,
                metrics_writer=metrics_writer,
                recorder=recorder,
                history=History(database, recorder),
                retention_clock=retention_clock,
            )
        )
        runtime_settings.subscribe(partial(_apply, disk, workers))
        nursery.start_soon(disk.watch)
        nursery.start_soon(store.GenerationKeeper(database, data.generation).run)
        nursery.start_soon(metrics_writer.run, offload.check_tracked)
        nursery.start_soon(recorder.run)
        try:
            password = await control.recover(make_password=tell_password is not None)
            start_reserve.allocate(
                leave_bytes=_FIRST_COPIES_BYTES, leave_inodes=_FIRST_COPIES_INODES
            )
            nursery.start_soon(control.audit_log.watch)
            nursery.start_soon(accounts.grants.watch)
            if password and tell_password is not None:
                tell_password(password)
            health = HealthChecks(workers.reactor, database, background)
            yield control, Services(offload, ConnectionStats(), health)
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _database(data: DataFolder, disk: FreeSpace) -> AsyncIterator[Database]:
    async with store.open_database(
        data.database,
        free_space=disk.give_back,
        before=partial(store.check_generation, path=data.database, mark=data.generation),
    ) as database:
        yield database


@asynccontextmanager
async def _workers(
    data: DataFolder, settings: Settings, confinement: Confinement, resources: HostResources
) -> AsyncIterator[Workers]:
    allowance = Allowance(descriptors(), tasks())
    if allowance.connections < settings.max_connections:
        logger.warning(
            "connections.limited max_connections=%d allowed=%d: %s",
            settings.max_connections,
            allowance.connections,
            f"{allowance.described()}; {descriptors().remedy}",
        )
    async with open_workers(
        data.replicas,
        data.instance_id,
        QueueBudget(settings.max_queued_requests_total, settings.max_queued_bytes_total),
        most_memory=resources.for_models,
        confinement=confinement,
        allowance=allowance,
        gpu_driver=NvmlDriver(),
    ) as workers:
        resources.attach_cgroups(workers.cgroups)
        yield workers


def _apply(disk: FreeSpace, workers: Workers, settings: Settings) -> None:
    disk.reserve, disk.warn_below = settings.min_free_disk, settings.warn_free_disk
    workers.resize_budget(settings.max_queued_requests_total, settings.max_queued_bytes_total)


def _access_key(secret: str, model: Model) -> str:
    return access_key(secret, model.id, model.key_generation)
