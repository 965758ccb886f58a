"""Whether the gateway is alive: each part of it that all else stands on is asked for a sign.

The parts: Trio's loop (whoever asks runs on it), the reactor (a timer of its own has to ring), and
the store (an empty transaction goes to its thread, to a connection's thread, and back). A part that
answers with an error is alive, though not well: a full disk is no reason to start the gateway anew.

Law: a part is never asked twice at a time. One that is stuck costs one waiting task, however often
somebody looks.
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
# Looked at so often within the time after which the manager loses its patience.
_LOOKS = 3


class _Sign:
    """One question to one part: `given` when it has answered, with what was wrong."""

    def __init__(self) -> None:
        self.given = trio.Event()
        self.wrong = ""


class HealthChecks:
    """The parts of one gateway. For the thread of Trio."""

    def __init__(self, reactor: Reactor, database: Database, tasks: Tasks) -> None:
        self._reactor = reactor
        self._database = database
        self._tasks = tasks
        self._parts = {"reactor": self._reactor_turns, "store": self._store_answers}
        self._asked: dict[str, _Sign] = {}

    async def failing(self, patience: float) -> dict[str, str]:
        """What is wrong, by part; STUCK for one that gave no sign in `patience` seconds."""
        signs = {part: self._ask(part) for part in self._parts}
        with trio.move_on_after(patience):
            for sign in signs.values():
                await sign.given.wait()
        wrong = {part: sign.wrong if sign.given.is_set() else STUCK for part, sign in signs.items()}
        return {part: why for part, why in wrong.items() if why}

    def _ask(self, part: str) -> _Sign:
        sign = self._asked.get(part)
        if sign is None:
            sign = self._asked[part] = _Sign()
            # In a task of its own: a crossing to the store cannot be cancelled.
            self._tasks.start(self._wait_for, part, self._parts[part], sign)
        return sign

    async def _wait_for(self, part: str, ask: Callable[[], Awaitable[None]], sign: _Sign) -> None:
        try:
            await ask()
        except StoreError as error:
            sign.wrong = str(error)
        finally:
            del self._asked[part]
            sign.given.set()

    async def _reactor_turns(self) -> None:
        rung = trio.Event()
        self._reactor.call_at(self._reactor.now(), rung.set)
        await rung.wait()

    async def _store_answers(self) -> None:
        await self._database.read(_nothing)


async def _nothing(connection: object) -> None:
    """Reads nothing: to reach the database and come back is the answer."""


async def notify_watchdog(vitals: HealthChecks, manager: ServiceManager) -> None:
    """Tells the manager that all is well for as long as it is, and never otherwise.

    Returns at once where the manager did not ask for it.
    """
    if manager.watchdog is None:
        return
    pause = manager.watchdog / _LOOKS
    while True:
        ailing = await vitals.failing(pause)
        if STUCK in ailing.values():
            logger.error("stuck, which the service manager will end: %s", ailing)
        else:
            await manager.notify_manager(WATCHDOG=1)
            await trio.sleep(pause)
