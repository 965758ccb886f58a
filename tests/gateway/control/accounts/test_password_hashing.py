"""The hashing of passwords: in few places, shared fairly, below the models."""

import os
import threading

import pytest
import trio
import trio.testing

from gateway.control.accounts.password_hashing import MOST_WAITING, NICE, PasswordHashing
from gateway.errors import Refusal
from gateway.identity.passwords import Passwords


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Counted(Passwords):
    """Passwords whose hashes take until `gate` is set: how many run at once, in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun: list[str] = []
        self._changed = threading.Condition()
        self._running = self.most = 0

    def fits(self, password: str, kept: str) -> bool:
        with self._changed:
            self._running += 1
            self.most = max(self.most, self._running)
            self.begun.append(kept)
            self._changed.notify_all()
        self.gate.wait(20)
        with self._changed:
            self._running -= 1
        return True

    async def running(self, number: int) -> None:
        """Returns when so many run: the threads are the kernel's to schedule."""
        await trio.to_thread.run_sync(self._wait, number)

    def _wait(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._running == number, timeout=20)


@pytest.fixture
def counted() -> Counted:
    return Counted()


async def test_hashing_yields_to_models() -> None:
    """The threads that hash have a lower priority, and nothing else has."""
    hashing = PasswordHashing(Passwords())
    before = _nice()
    assert await trio.to_thread.run_sync(hashing._in_thread, _nice) == min(before + NICE, 19)
    assert await trio.to_thread.run_sync(_nice) == before
    assert _nice() == before


async def test_few_hash_at_once(counted: Counted) -> None:
    """However many ask, from however many networks, two are strangers' and two are others'."""
    hashing = PasswordHashing(counted)
    async with trio.open_nursery() as nursery:
        for number in range(40):
            for known in (False, True):
                nursery.start_soon(_ask, hashing, f"network {number}", f"{number}", known)
        await counted.running(4)
        counted.gate.set()
    assert len(counted.begun) == 80
    assert counted.most == 4


async def test_strangers_do_not_keep_out_who_is_known(counted: Counted) -> None:
    """While unknown callers hold all their places, a known user gets a place at once."""
    hashing = PasswordHashing(counted)
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(_ask, hashing, f"network {number}", f"{number}", False)
        await counted.running(2)
        nursery.start_soon(_ask, hashing, "home", "known", True)
        await counted.running(3)
        assert counted.begun[2:] == ["known"]
        counted.gate.set()


async def test_places_are_shared_between_networks(counted: Counted) -> None:
    """Of a network that asks much some wait and the rest are refused; another's turn is next."""
    hashing, refused = PasswordHashing(counted), []

    async def ask(number: int) -> None:
        try:
            await _ask(hashing, "greedy", f"{number}", False)
        except Refusal as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert refused == ["auth.throttled"] * len(refused)
        assert 150 < len(refused) < 200
        nursery.start_soon(_ask, hashing, "modest", "modest", False)
        await counted.running(2)
        assert counted.begun[1:] == ["modest"]
        counted.gate.set()


async def test_the_queue_has_an_end(counted: Counted) -> None:
    """More networks than may wait are refused, and nothing of those that came is kept."""
    hashing, refused = PasswordHashing(counted), []

    async def ask(number: int) -> None:
        try:
            await _ask(hashing, f"network {number}", f"{number}", False)
        except Refusal:
            refused.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(MOST_WAITING + 50):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(refused) == 50
        counted.gate.set()
    assert not hashing._strangers._waiting


async def _ask(hashing: PasswordHashing, network: str, name: str, known: bool) -> None:
    assert await hashing.fits("password", name, network, known=known)
