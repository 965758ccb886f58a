"""Threads confined by Landlock, from which confined processes are started.

Models share the network with the machine. The fences enforce there what bubblewrap cannot:

- a process behind either fence reaches no abstract socket and signals no process outside of it;
- a process behind the fence `quiet` listens on no TCP port that it names.

A domain of Landlock belongs to a thread, and what the thread starts inherits it. So one thread for
each fence confines itself and then starts processes as long as the gateway lives (gotcha G1 in
process/README). It has no rules for files, so that bubblewrap may still mount. A start costs a
round trip to another thread, some 50 us. All processes of one thread share a domain: two models can
talk through an abstract socket that one of them made.

A user that is not root needs no_new_privs for a fence, and a setuid bubblewrap does not work with
that. So `open_confinement` tries it out.
"""

import os
import threading
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from typing import Literal, TypeVar

from workers.confinement import landlock

T = TypeVar("T")
Fence = Literal["open", "quiet"]
# The version of Landlock that can forbid to listen. Version 6 added sockets and signals.
_LISTENING_SINCE = 4


def missing() -> str:
    """Why this machine cannot have these fences; "" where it can."""
    if landlock.version() < _LISTENING_SINCE:
        return "Landlock of this kernel cannot forbid to listen (Linux 6.7 can)"
    try:
        behind("quiet")
        behind("open")
    except OSError as error:
        return f"this process may not use Landlock: {error.strerror}"
    return ""


class Fenced:
    """The thread behind one fence. Raises OSError where the kernel refuses."""

    def __init__(self, fence: Fence) -> None:
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # It ends with this process: what it started must end with it.
        threading.Thread(target=self._serve, name=f"fence {fence}", daemon=True).start()
        self.run(lambda: landlock.fence(forbid_listening=fence == "quiet"))

    def run(self, make: Callable[[], T]) -> T:
        """Calls `make` behind the fence; returns or raises what it does. Blocking."""
        answer: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def attempt() -> None:
            try:
                answer.put((make(), None))
            except BaseException as error:
                answer.put((None, error))

        self._asked.put(attempt)
        made, error = answer.get()
        if error is not None:
            raise error
        return made  # type: ignore[return-value]  # None only where T is

    def _serve(self) -> None:
        while True:
            self._asked.get()()


def behind(fence: Fence) -> Fenced:
    """The one thread of this process behind the fence. Raises OSError."""
    return _of_process(fence, os.getpid())


@cache
def _of_process(fence: Fence, process: int) -> Fenced:
    """By process, since a forked process has none of its parent's threads."""
    return Fenced(fence)
