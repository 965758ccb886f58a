"""Serving: everything opened in order, and closed in the opposite one.

The nesting of this file is the order of ending: store > workers > control > HTTP. Whatever ends
the gateway (a signal, an error, a cancellation) unwinds it from the inside outwards: stop
accepting, let requests finish within the grace, end builds, end replicas, close the store.
"""

import contextlib
import logging
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import trio

import store
from builder import BuildStore, inspect
from gateway.address_file import address_written
from gateway.app import Services, make_app
from gateway.background import Tasks
from gateway.control import Control
from gateway.control.audit.audit_log import AuditEvent
from gateway.control.context import ControlContext
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.project_usage import ProjectUsage
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.control.disk.trash import Trash
from gateway.control.interpreters import Interpreters
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import RetentionClock
from gateway.control.resources import HostResources
from gateway.control.retrying_writer import RetryingWriter
from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.sandbox import Sandbox
from gateway.control.variables import GatewayUrls, ProcessVariables
from gateway.data_folder import DataFolder
from gateway.data_folder_check import open_data
from gateway.encryption import Encryption
from gateway.http.access_log import open_access_log
from gateway.http.context import ConnectionLimits, ConnectionStats, HttpContext
from gateway.http.host_check import check_listen_address, hosts_of
from gateway.http.listen_sockets import listen_beside, listen_on_both
from gateway.http.listener import Listener
from gateway.http.proxies import Proxies
from gateway.http.server import serve_http
from gateway.http.timeouts import HttpTimeouts
from gateway.http.tls import own_certificate, server_tls
from gateway.identity.accounts import Accounts
from gateway.identity.key_index import KeyIndex
from gateway.identity.keys import access_key
from gateway.isolation import open_isolation
from gateway.operations.health import HealthChecks, notify_watchdog
from gateway.operations.reload import Reloading
from gateway.operations.signals import watch_signals
from gateway.operations.systemd import ServiceManager
from gateway.predictions.endpoints import Endpoints
from gateway.predictions.offload import OffloadedParser
from gateway.set_aside import SetAside
from gateway.settings import LoadedSettings, Settings
from gateway.version import version
from store import Model
from workers import STOP_GRACE, QueueBudget, Workers, open_workers
from workers.allowance import Allowance
from workers.process_limits import descriptors, raise_descriptors, tasks

logger = logging.getLogger(__name__)

# After the grace pools take STOP_GRACE to end, and their callers a moment to be told.
_LAST_ANSWERS = STOP_GRACE + 0.5
# On a full disk, what is left for the working copies of the replicas that a start brings, in bytes.
_FIRST_COPIES = 64 * 1024
_NO_MANAGER = ServiceManager()
# How long a thread that computes may keep the loop waiting, instead of Python's 5 ms.
_TURN = 0.0005


async def serve(
    given: LoadedSettings,
    *,
    ready: Callable[[str], None],
    manager: ServiceManager = _NO_MANAGER,
    tell_password: Callable[[str], None] | None = None,
) -> None:
    """Runs the gateway until a signal ends it (signals.py). `ready` gets its URL when it answers;
    `tell_password`, at the very first start, the first user's, if there is somebody to read it.

    The `manager` is told what it wants to know; its listening socket wins over host and port.

    Raises SettingsError, PortTaken, DataFolderBusy, DataFolderUnusable, ConfinementUnavailable,
    DatabaseOutdated, SchemaTooNew or StoreFailed, having changed nothing.
    """
    raise_descriptors()
    _harden_process()
    sys.setswitchinterval(_TURN)
    stop, reloading = trio.Event(), Reloading()
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, stop.set, reloading.reload)
        await run_gateway(
            given,
            stop=stop,
            ready=ready,
            manager=manager,
            tell_password=tell_password,
            reloading=reloading,
        )
        nursery.cancel_scope.cancel()


def _harden_process() -> None:
    """Sets a known umask, forbids core dumps, which would contain keys, and makes the gateway the
    last process that the kernel kills when memory runs out."""
    # What is made for models to read must be readable for the users that they run as, and nothing
    # of it writable, whatever umask the gateway was started with.
    os.umask(0o022)
    # With 1 byte, unlike 0, dumps to a program (core(5)) are off too. Children inherit it.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    with contextlib.suppress(PermissionError):  # which only root may
        Path("/proc/self/oom_score_adj").write_text("-500")


async def run_gateway(
    given: LoadedSettings,
    *,
    stop: trio.Event,
    ready: Callable[[str], None],
    manager: ServiceManager = _NO_MANAGER,
    tell_password: Callable[[str], None] | None = None,
    reloading: Reloading | None = None,
    timeouts: HttpTimeouts | None = None,
) -> None:
    """Runs the gateway until `stop`; see `serve`."""
    settings = given.settings  # of which only those are used here that are read at the start
    # First what can be refused, before anything is changed.
    tls = server_tls(settings)
    data = await trio.to_thread.run_sync(lambda: DataFolder(settings.data.resolve()))
    with (
        store.lock_data_folder(data.root),
        _listening(settings, manager) as listeners,
    ):
        listener = listeners[0]
        await manager.notify_manager(STATUS="looking at what was left by the last run")
        urls = _urls(settings, listener)
        async with (
            open_access_log(settings.access_log) as access_log,
            _open(given, data, urls, tell_password) as (control, services),
        ):
            await control.audit_log.append(
                AuditEvent(
                    user="",
                    address="",
                    action="gateway.start",
                    object=urlsplit(urls.public).netloc,
                    detail=version(),
                )
            )
            allowed = control.context.workers.allowance.connections
            app = make_app(control, services, hosts_of(settings, listener.getsockname()[0]))
            url = _local_url(settings, listener)
            http = HttpContext(
                clock=control.context.workers.reactor,
                endpoints=control.context.endpoints,
                offload=services.offload,
                limits=_limits(control.context.settings, allowed),
                stats=services.traffic,
                proxies=Proxies(settings.trusted_proxies, settings.public_url),
                access_log=access_log,
                timeouts=timeouts,
            )
            async with trio.open_nursery() as nursery:

                async def serve_all(task_status: trio.TaskStatus[Listener]) -> None:
                    await serve_http(
                        app,
                        listeners,
                        http,
                        reactor=control.context.workers.reactor,
                        stop=stop,
                        grace=settings.shutdown_grace + _LAST_ANSWERS,
                        tls=tls,
                        inherited=listener if manager.descriptor is not None else None,
                        task_status=task_status,
                    )
                    nursery.cancel_scope.cancel()

                http_listener: Listener = await nursery.start(serve_all)
                control.context.runtime_settings.subscribe(
                    lambda now: http.set_limits(_limits(now, allowed))
                )
                nursery.start_soon(notify_watchdog, services.vitals, manager)
                if reloading is not None:
                    reloading.begin(settings, data, url, http_listener, access_log)
                with address_written(data, url, own_certificate(settings)):
                    ready(url)
                    await manager.notify_manager(READY=1, STATUS=f"serves at {url}")
                    await stop.wait()
                    control.experiments.stop_starting()
                    await manager.notify_manager(STOPPING=1, STATUS="answers what has begun")
                # Then whoever still waits for a prediction is told that there will be none.
                await trio.sleep(settings.shutdown_grace)
                control.context.workers.stop_pools()


def _limits(settings: Settings, most_connections: int) -> ConnectionLimits:
    return ConnectionLimits(
        connections=min(settings.max_connections, most_connections),
        connections_per_address=settings.max_connections_per_address,
        request_bytes=settings.max_request_size,
        unfinished_bytes=settings.max_inflight_bytes,
    )


@asynccontextmanager
async def _open(
    given: LoadedSettings,
    data: DataFolder,
    urls: GatewayUrls,
    tell_password: Callable[[str], None] | None,
) -> AsyncIterator[tuple[Control, Services]]:
    """The engines and the control on them, recovered, and what HTTP needs beside it."""
    settings = given.settings
    default = Path(settings.default_python) if settings.default_python else None
    if default is not None:
        await inspect(default)  # so that one which does not work is refused
    secret = await trio.to_thread.run_sync(open_data, data)
    set_aside = SetAside(data)
    await trio.to_thread.run_sync(set_aside.prepare)
    confinement = await trio.to_thread.run_sync(open_isolation, given, data, set_aside)
    async with AsyncExitStack() as stack:
        start_room = store.StartRoom(data.start_room)
        start_room.give_back()
        # When the database is closed.
        stack.callback(start_room.take)
        ballast = store.Ballast(data.ballast)
        disk = FreeSpace(data.root, ballast, start_room, settings.min_free_disk)
        await disk.ensure_minimum_free()
        spool = TemporaryFiles(data.spool, disk)
        await trio.to_thread.run_sync(spool.prepare, set_aside)
        database = await stack.enter_async_context(
            store.open_database(
                data.database,
                make_room=disk.give_back,
                before=partial(store.check_generation, path=data.database, mark=data.generation),
            )
        )
        kept = await database.read(store.site.settings)
        encryption = Encryption(secret)
        site = RuntimeSettings(given, kept, database, encryption)
        # Replicas tell of predictions to their end, which comes before that of the database.
        clock = RetentionClock(await database.read(store.retention.last_written_ms))
        tracking = MetricsWriter(database, limit=lambda: site.current.metrics_max_size, clock=clock)
        stack.push_async_callback(tracking.finish)
        room = QueueBudget(
            site.current.max_queued_requests_total, site.current.max_queued_bytes_total
        )
        machine = HostResources()
        allowance = Allowance(descriptors(), tasks())
        if allowance.connections < site.current.max_connections:
            logger.warning("there is room for %s; %s", allowance.described(), descriptors().remedy)
        workers = await stack.enter_async_context(
            open_workers(
                data.replicas,
                data.instance_id,
                room,
                most_memory=machine.for_models,
                confinement=confinement,
                allowance=allowance,
            )
        )
        machine.attach_cgroups(workers.cgroups)
        await trio.to_thread.run_sync(set_aside.note_leftovers, data.replicas)
        nursery = await stack.enter_async_context(trio.open_nursery())
        own_tasks = Tasks(nursery)
        callers = KeyIndex()
        shelf = BuildStore(data.builds)
        directory = Accounts(callers)
        offload = OffloadedParser(workers, data.examiner_logs)
        workers.check_answer = offload.check_answer
        context = ControlContext(
            runtime_settings=site,
            data=data,
            set_aside=set_aside,
            disk=disk,
            temporary_files=spool,
            project_usage=ProjectUsage(site, data, shelf, database),
            trash=Trash(data.root),
            urls=urls,
            workspace=await database.write(store.site.workspace_id),
            database=database,
            writer=RetryingWriter(database, own_tasks),
            variables=ProcessVariables(encryption=encryption, settings=site, urls=urls),
            sandbox=Sandbox(confinement=confinement, settings=site, build_store=shelf),
            encryption=encryption,
            workers=workers,
            build_store=shelf,
            interpreters=Interpreters(default),
            resources=machine,
            accounts=directory,
            endpoints=Endpoints(partial(_access_key, secret), directory.may_call, callers),
            tasks=own_tasks,
            metrics_writer=tracking,
            retention_clock=clock,
        )
        site.subscribe(partial(_apply, disk, workers))
        control = Control(context)
        nursery.start_soon(disk.watch)
        nursery.start_soon(store.Generations(database, data.generation).run)
        nursery.start_soon(tracking.run, offload.check_tracked)
        try:
            password = await control.recover(make_password=tell_password is not None)
            start_room.take(leave=_FIRST_COPIES)
            nursery.start_soon(control.audit_log.watch)
            nursery.start_soon(directory.grants.watch)
            if password and tell_password is not None:
                tell_password(password)
            yield (
                control,
                Services(
                    offload, ConnectionStats(), HealthChecks(workers.reactor, database, own_tasks)
                ),
            )
        finally:
            nursery.cancel_scope.cancel()


def _apply(disk: FreeSpace, workers: Workers, settings: Settings) -> None:
    disk.reserve = settings.min_free_disk
    workers.resize_room(settings.max_queued_requests_total, settings.max_queued_bytes_total)


def _access_key(secret: str, model: Model) -> str:
    return access_key(secret, model.id, model.key_generation)


@contextlib.contextmanager
def _listening(settings: Settings, manager: ServiceManager) -> Iterator[list[socket.socket]]:
    """All sockets that clients connect to; the first is the one that the settings name."""
    with contextlib.ExitStack() as sockets:
        if (given := manager.listener()) is not None:
            sockets.enter_context(given)
            listeners = [given, *listen_beside(given)]
        else:
            listeners = listen_on_both(settings.host, settings.port)
        for each in listeners:
            sockets.enter_context(each)
        check_listen_address(settings, listeners[0].getsockname()[0])
        yield listeners


_LOOPBACK = ("127.0.0.1", "::1")


def _local_url(settings: Settings, listener: socket.socket) -> str:
    """Where it can be reached from this machine, also when it listens on all addresses."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{settings.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _urls(settings: Settings, listener: socket.socket) -> GatewayUrls:
    """Where the gateway is reached. From this machine past the proxy, if there is one; but with a
    certificate of its own by the name that this is for."""
    local = _local_url(settings, listener)
    public = settings.public_url or local
    return GatewayUrls(public=public, local=public if settings.tls_certificate else _by_name(local))


def _by_name(local: str) -> str:
    """By the name of the loopback, where it is served there: clients put `modelservice.` before it,
    which makes a name of this machine of `localhost`, and nothing of an address."""
    parts = urlsplit(local)
    return f"{parts.scheme}://localhost:{parts.port}" if parts.hostname in _LOOPBACK else local
