"""Serving: everything is opened in order, and closed in the opposite order.

The nesting is the order of the shutdown: store > workers > control > HTTP. The first three are in
composition.py, HTTP is here. What ends the gateway (a signal, an error, a cancellation) unwinds
it from the inside outwards: stop accepting, let requests finish within the grace, end builds, end
replicas, close the store.
"""

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import trio

import store
from builder import discover
from gateway.address_file import address_written
from gateway.app import make_app
from gateway.composition import open_control
from gateway.control.audit.audit_log import AuditEvent
from gateway.control.interpreters import Discover
from gateway.control.operation import OperationTimeouts
from gateway.control.variables import GatewayUrls
from gateway.data_folder import DataFolder
from gateway.http.access_log import open_access_log
from gateway.http.context import ConnectionLimits, HttpContext
from gateway.http.host_check import check_listen_address, hosts_of
from gateway.http.listen_sockets import listen_beside, listen_on_both
from gateway.http.listener import Listener
from gateway.http.proxies import Proxies
from gateway.http.server import serve_http
from gateway.http.timeouts import HttpTimeouts
from gateway.http.tls import own_certificate, server_tls
from gateway.operations.health import notify_watchdog
from gateway.operations.reload import Reloading
from gateway.operations.signals import watch_signals
from gateway.operations.systemd import ServiceManager
from gateway.settings import LoadedSettings, Settings
from gateway.version import version
from workers import STOP_GRACE
from workers.kernel_limits import raise_descriptors

# After the grace pools take STOP_GRACE to stop; then their callers get their last answers.
_LAST_ANSWERS = STOP_GRACE + 0.5
_NO_MANAGER = ServiceManager()
# How long a thread that computes may keep the loop waiting, instead of Python's 5 ms.
_SWITCH_INTERVAL = 0.0005


async def serve(
    given: LoadedSettings,
    *,
    ready: Callable[[str], None],
    manager: ServiceManager = _NO_MANAGER,
    tell_password: Callable[[str], None] | None = None,
) -> None:
    """Runs the gateway until a signal ends it (signals.py).

    `ready` gets the URL when the gateway answers. `tell_password` gets the first user's password at
    the first start; without it none is made.

    The `manager` is notified of each state; its listening socket wins over host and port.

    Raises SettingsError, PortTaken, DataFolderBusy, DataFolderUnusable, ConfinementUnavailable,
    DatabaseOutdated, SchemaTooNew or StoreFailed, having changed nothing.
    """
    raise_descriptors()
    _harden_process()
    sys.setswitchinterval(_SWITCH_INTERVAL)
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
    # The users that models run as must be able to read the files that are made for them, and must
    # not be able to write them.
    os.umask(0o022)
    # With 1 byte, unlike 0, dumps to a program (core(5)) are off too. Child processes inherit it.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    with contextlib.suppress(PermissionError):  # only root may lower it
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
    operation_timeouts: OperationTimeouts | None = None,
    discover: Discover = discover,
) -> None:
    """Runs the gateway until `stop`; see `serve`."""
    settings = given.settings  # only for settings that are read at the start
    # First what can be refused, before anything is changed.
    tls = server_tls(settings)
    data = await trio.to_thread.run_sync(lambda: DataFolder(settings.data.resolve()))
    with store.lock_data_folder(data.root), _listening(settings, manager) as listeners:
        listener = listeners[0]
        await manager.notify_manager(STATUS="cleaning up after the last run")
        urls = _urls(settings, listener)
        async with (
            open_access_log(settings.access_log) as access_log,
            open_control(given, data, urls, tell_password, operation_timeouts, discover) as opened,
        ):
            control, services = opened
            await control.audit_log.append(_started(urls))
            allowed = control.workers.allowance.connections
            url = _local_url(settings, listener)
            app = make_app(control, services, hosts_of(settings, listener.getsockname()[0]))
            http = HttpContext(
                clock=control.workers.reactor,
                endpoints=control.endpoints,
                offload=services.offload,
                limits=_limits(control.settings.current, allowed),
                stats=services.connections,
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
                        reactor=control.workers.reactor,
                        stop=stop,
                        grace=settings.shutdown_grace + _LAST_ANSWERS,
                        tls=tls,
                        inherited=listener if manager.descriptor is not None else None,
                        task_status=task_status,
                    )
                    nursery.cancel_scope.cancel()

                http_listener: Listener = await nursery.start(serve_all)
                control.settings.subscribe(
                    lambda current: http.set_limits(_limits(current, allowed))
                )
                nursery.start_soon(notify_watchdog, services.health, manager)
                if reloading is not None:
                    reloading.begin(settings, data, url, http_listener, access_log)
                with address_written(data, url, own_certificate(settings)):
                    ready(url)
                    await manager.notify_manager(READY=1, STATUS=f"serving at {url}")
                    control.tasks.start(control.seed_preparation.run)
                    await stop.wait()
                    control.experiments.stop_starting()
                    await manager.notify_manager(STOPPING=1, STATUS="answering open requests")
                # After the grace the requests that still wait for a prediction are refused.
                await trio.sleep(settings.shutdown_grace)
                control.workers.stop_pools()


def _started(urls: GatewayUrls) -> AuditEvent:
    return AuditEvent(
        user="",
        address="",
        action="gateway.start",
        object=urlsplit(urls.public).netloc,
        detail=version(),
    )


def _limits(settings: Settings, most_connections: int) -> ConnectionLimits:
    return ConnectionLimits(
        connections=min(settings.max_connections, most_connections),
        connections_per_address=settings.max_connections_per_address,
        request_bytes=settings.max_request_size,
        inflight_bytes=settings.max_inflight_bytes,
    )


@contextlib.contextmanager
def _listening(settings: Settings, manager: ServiceManager) -> Iterator[list[socket.socket]]:
    """All sockets that clients connect to; the first is the one of `host` and `port`."""
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
    """The URL for clients on this machine, also where the gateway listens on all addresses."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{settings.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _urls(settings: Settings, listener: socket.socket) -> GatewayUrls:
    """The public URL, and the local one. The local one bypasses a proxy, but a gateway with a
    certificate has only the name that this is issued for."""
    local = _local_url(settings, listener)
    public = settings.public_url or local
    return GatewayUrls(public=public, local=public if settings.tls_certificate else _by_name(local))


def _by_name(local: str) -> str:
    """On loopback, the URL with `localhost`: clients put `modelservice.` before the host, which
    gives a name of this machine for `localhost`, but not for an address."""
    parts = urlsplit(local)
    return f"{parts.scheme}://localhost:{parts.port}" if parts.hostname in _LOOPBACK else local
