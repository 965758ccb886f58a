"""Threads confined by Landlock, from which confined processes are started.

They enforce what bubblewrap cannot, since models share the network with the machine:

- a process behind either fence reaches no abstract socket and signals no process outside of it;
- behind the fence `quiet` it listens on no TCP port that it names.

A domain of Landlock belongs to a thread and is inherited by what it starts. So one thread for each
fence confines itself, without rules for files, so that bubblewrap may still mount, and then starts
processes for as long as the gateway lives (gotcha G1 in process/README). A start costs a round trip
to another thread, some 50 us. All processes of one thread share a domain: two models can talk
through an abstract socket that one of them made.

A user that is not root needs no_new_privs for it, with which a setuid bubblewrap does not work;
whether it holds is therefore tried (`open_confinement`).
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
# The version of Landlock that can forbid to listen; sockets and signals came with version 6.
_LISTENING_SINCE = 4


def missing() -> str:
    """Why these fences cannot be had here; "" where they can."""
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
        # Ends with the process: what it made ends with it, as it has to.
        threading.Thread(target=self._serve, name=f"fence {fence}", daemon=True).start()
        self.run(lambda: landlock.fence(forbid_listening=fence == "quiet"))

    def run(self, make: Callable[[], T]) -> T:
        """What `make` returns or raises, behind the fence. Blocking."""
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
    """A process that was forked from another has none of its threads."""
    return Fenced(fence)
