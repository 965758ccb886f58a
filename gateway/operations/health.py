"""Health checks: each part that the gateway depends on is probed.

The parts: Trio's loop (the probe runs on it), the reactor (one of its timers has to fire), and the
store (an empty transaction goes to its thread, to a connection's thread, and back). A part that
answers with an error is alive: a full disk is no reason to restart the gateway.

Law: a part has at most one probe at a time. A stuck part costs one waiting task, however often its
health is asked for.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from gateway.background import Tasks
from gateway.operations.systemd import ServiceManager
from store import Database, StoreError
from workers import Reactor

logger = logging.getLogger(__name__)

STUCK = "does not answer"
# Probes within the time-out of the watchdog.
_PROBES = 3


class _Probe:
    """One probe of one part: `done` when the part has answered, perhaps with a problem."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.problem = ""


class HealthChecks:
    """The parts of one gateway. For the thread of Trio."""

    def __init__(self, reactor: Reactor, database: Database, tasks: Tasks) -> None:
        self._reactor = reactor
        self._database = database
        self._tasks = tasks
        self._parts = {"reactor": self._probe_reactor, "store": self._probe_store}
        self._probes: dict[str, _Probe] = {}

    async def failing(self, patience: float) -> dict[str, str]:
        """The problem of each failing part; STUCK for one that did not answer in `patience`
        seconds."""
        probes = {part: self._probe(part) for part in self._parts}
        with trio.move_on_after(patience):
            for probe in probes.values():
                await probe.done.wait()
        problems = {
            part: probe.problem if probe.done.is_set() else STUCK for part, probe in probes.items()
        }
        return {part: problem for part, problem in problems.items() if problem}

    def _probe(self, part: str) -> _Probe:
        """The probe under way, or a new one."""
        probe = self._probes.get(part)
        if probe is None:
            probe = self._probes[part] = _Probe()
            # In a task of its own, since a call into the store's thread cannot be cancelled.
            self._tasks.start(self._run, part, self._parts[part], probe)
        return probe

    async def _run(self, part: str, work: Callable[[], Awaitable[None]], probe: _Probe) -> None:
        try:
            await work()
        except StoreError as error:
            probe.problem = str(error)
        finally:
            del self._probes[part]
            probe.done.set()

    async def _probe_reactor(self) -> None:
        fired = trio.Event()
        self._reactor.call_at(self._reactor.now(), fired.set)
        await fired.wait()

    async def _probe_store(self) -> None:
        await self._database.read(_nothing)


async def _nothing(connection: object) -> None:
    """Reads nothing: that the database answers is the result."""


async def notify_watchdog(health: HealthChecks, manager: ServiceManager) -> None:
    """Notifies the watchdog of the service manager as long as no part is stuck.

    Returns at once if the manager has no watchdog.
    """
    if manager.watchdog is None:
        return
    pause = manager.watchdog / _PROBES
    while True:
        failing = await health.failing(pause)
        if STUCK in failing.values():
            # The service manager ends the gateway when the time-out is over.
            stuck = ",".join(part for part, problem in failing.items() if problem == STUCK)
            logger.error("gateway.stuck parts=%s", stuck)
        else:
            await manager.notify_manager(WATCHDOG=1)
            await trio.sleep(pause)
