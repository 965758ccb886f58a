"""The hashing of passwords: few at a time, shared fairly, and below the models in priority.

A hash takes 64 MiB and all cores for some 50 ms, by design, and any client can ask for one. So
clients whose browser and network are unknown (strangers) have a semaphore of their own: however
many there are, they keep out no user whose browser or network is known. Each semaphore is shared
between networks as that of builds is between projects (`fair_semaphore.py`), and so is the queue:
a network may have several tries wait only while there is room to spare.

The threads have a lower priority than everything else of the gateway and than models; the threads
that argon2 starts inherit it. They are not Trio's, which others would use after them.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import trio

from gateway.control.fair_semaphore import FairSemaphore
from gateway.errors import Refusal
from gateway.identity.passwords import Passwords

T = TypeVar("T")

# Tries of strangers, or of others, that wait; and how much of what is free has to stay so for a
# network that has one waiting already.
MOST_WAITING = 100
_SHARE = 8
# Added to the gateway's own nice value.
NICE = 10


class PasswordHashing:
    """Hashes for strangers and for known users, each with a semaphore of their own."""

    def __init__(self, passwords: Passwords) -> None:
        self.passwords = passwords
        self._strangers, self._known = _Queue(), _Queue()
        # As many as the two queues run at once.
        self._threads = ThreadPoolExecutor(4, "hashing", initializer=_yield_to_others)

    async def fits(self, password: str, kept: str, network: str, *, known: bool) -> bool:
        """Whether it is the password of which this was `kept` ("" for no user: takes as long).
        Raises Refusal("auth.throttled") where too many wait."""
        queue = self._known if known else self._strangers
        return await queue.run(network, self._in_thread, self.passwords.fits, password, kept)

    async def hash(self, password: str) -> str:
        """For a user who is signed in."""
        return await self._known.run("", self._in_thread, self.passwords.hash, password)

    def _in_thread(self, work: Callable[..., T], *args: str) -> T:
        return self._threads.submit(work, *args).result()


class _Queue:
    """One hash at a time, a second one for another network, and the queue for them."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(1)
        self._waiting: Counter[str] = Counter()

    async def run(self, network: str, work: Callable[..., T], *args: object) -> T:
        free = MOST_WAITING - self._waiting.total()
        if free <= _SHARE * self._waiting[network]:
            text = "too many sign-ins at once"
            raise Refusal("auth.throttled", text, headers={"Retry-After": "1"})
        self._waiting[network] += 1
        try:
            async with self._semaphore.acquire(network):
                return await trio.to_thread.run_sync(work, *args)
        finally:
            self._waiting[network] -= 1
            if not self._waiting[network]:
                del self._waiting[network]


def _yield_to_others() -> None:
    """Lowers the priority of the calling thread: Linux keeps one for each."""
    nice = os.getpriority(os.PRIO_PROCESS, 0) + NICE
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(nice, 19))
