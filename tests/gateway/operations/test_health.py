"""Vitals: each part is asked for a sign, one that is stuck is named, and the manager hears it."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import store
from gateway import app
from gateway.background import Tasks
from gateway.operations.health import STUCK, HealthChecks, notify_watchdog
from gateway.operations.systemd import ServiceManager
from store import Database, StoreFailed, open_database
from tests.support.gateway import PATIENCE, running, settings_for, until
from workers import Reactor

MOMENT = 0.05


class Parts:
    """What is looked at, and the means to get it stuck."""

    def __init__(self, nursery: trio.Nursery, database: Database) -> None:
        self.nursery = nursery
        self.reactor = Reactor()
        self.database = database
        self.tasks = Tasks(nursery)
        self.health = HealthChecks(self.reactor, database, self.tasks)

    @contextmanager
    def reactor_runs(self) -> Iterator[None]:
        life = trio.CancelScope()

        async def run() -> None:
            with life:
                await self.reactor.run()

        self.nursery.start_soon(run)
        try:
            yield
        finally:
            life.cancel()

    @asynccontextmanager
    async def store_stuck(self) -> AsyncIterator[None]:
        """The thread of the store waits, as for a disk that does not come back."""
        reached, go_on = threading.Event(), threading.Event()

        async def wait(connection: object) -> None:
            reached.set()
            go_on.wait(PATIENCE)

        self.tasks.start(self.database.write, wait)
        await trio.to_thread.run_sync(reached.wait, PATIENCE)
        try:
            yield
        finally:
            go_on.set()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with (
        open_database(tmp_path / "predictd.db") as database,
        trio.open_nursery() as nursery,
    ):
        yield Parts(nursery, database)
        nursery.cancel_scope.cancel()


async def test_all_are_well(parts: Parts) -> None:
    """Where all parts give their sign nothing ails."""
    with parts.reactor_runs():
        assert await parts.health.failing(PATIENCE) == {}


async def test_a_reactor_that_does_not_turn(parts: Parts) -> None:
    """It is named, the others are not; and it is well again when it turns."""
    assert await parts.health.failing(MOMENT) == {"reactor": STUCK}
    with parts.reactor_runs():
        assert await parts.health.failing(PATIENCE) == {}


async def test_a_store_that_is_stuck(parts: Parts) -> None:
    """It is named as long as it is, however often one looks, and asked once."""
    with parts.reactor_runs():
        async with parts.store_stuck():
            before = len(parts.nursery.child_tasks)
            for _ in range(5):
                assert await parts.health.failing(MOMENT) == {"store": STUCK}
            assert len(parts.nursery.child_tasks) == before + 1
        assert await parts.health.failing(PATIENCE) == {}


async def test_a_store_that_answers_with_an_error(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is told in its words, and it counts as alive."""

    async def fail(work: object) -> None:
        raise StoreFailed("disk I/O error")

    monkeypatch.setattr(parts.database, "read", fail)
    with parts.reactor_runs(), manager(watchdog=3 * MOMENT) as (inbox, told):
        assert await parts.health.failing(PATIENCE) == {"store": "disk I/O error"}
        parts.nursery.start_soon(notify_watchdog, parts.health, told)
        with trio.fail_after(PATIENCE):
            assert await inbox.recv(100) == b"WATCHDOG=1"


@contextmanager
def manager(watchdog: float) -> Iterator[tuple[trio.socket.SocketType, ServiceManager]]:
    """One that listens to what it is told."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox._sock.bind("")  # type: ignore[attr-defined]  # the kernel chooses the address
        address = "@" + inbox.getsockname()[1:].decode()
        yield inbox, ServiceManager(notify=address, watchdog=watchdog)


async def test_the_watchdog_is_told_while_all_is_alive(parts: Parts) -> None:
    """It is notified repeatedly, not while the store is stuck, and again when that is over."""
    with parts.reactor_runs(), manager(watchdog=3 * MOMENT) as (inbox, told):
        parts.nursery.start_soon(notify_watchdog, parts.health, told)
        for _ in range(3):
            with trio.fail_after(PATIENCE):
                assert await inbox.recv(100) == b"WATCHDOG=1"
        async with parts.store_stuck():
            await until(lambda: parts.health.failing(MOMENT), bool)
            with trio.move_on_after(MOMENT):  # one that was under way
                await inbox.recv(100)
            with trio.move_on_after(10 * MOMENT) as silence:
                await inbox.recv(100)
            assert silence.cancelled_caught
        with trio.fail_after(PATIENCE):
            assert await inbox.recv(100) == b"WATCHDOG=1"


async def test_a_manager_that_does_not_watch(parts: Parts) -> None:
    """Where there is no watchdog nothing is looked at."""
    await notify_watchdog(parts.health, ServiceManager(notify="/nowhere"))


async def test_health_is_honest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/healthz` and `/readyz` name a part that is stuck with a 503, in time; `/livez` says that
    the process answers."""
    monkeypatch.setattr(app, "_HEALTH_TIMEOUT", MOMENT)
    go_on = threading.Event()

    async def wait(connection: object) -> None:
        go_on.wait(PATIENCE)

    opened = []

    @asynccontextmanager
    async def open_and_keep(path: Path, **named: Any) -> AsyncIterator[Database]:
        async with open_database(path, **named) as database:
            opened.append(database)
            yield database

    monkeypatch.setattr(store, "open_database", open_and_keep)
    async with running(settings_for(tmp_path / "data")) as gateway, trio.open_nursery() as nursery:
        nursery.start_soon(opened[0].write, wait)
        failing = await until(
            lambda: gateway.models.get("/healthz"), lambda response: response.status_code == 503
        )
        assert failing.json() == {"status": "failing", "failing": {"store": STUCK}}
        assert (await gateway.models.get("/readyz")).status_code == 503
        assert (await gateway.models.get("/livez")).status_code == 200
        go_on.set()
        monkeypatch.setattr(app, "_HEALTH_TIMEOUT", PATIENCE)
        assert (await gateway.models.get("/healthz")).status_code == 200
