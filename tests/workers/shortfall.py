"""The machine runs out of something: a call fails with the error that the kernel would give.

Each place in the code that makes such a call fails in turn, a few times in a row.
"""

import builtins
import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

import workers
from workers.reactor.reactor import Reactor

FULL = OSError(errno.EMFILE, "Too many open files")
NO_MEMORY = OSError(errno.ENOMEM, "Cannot allocate memory")
# What takes a descriptor, a process, a thread or memory of the kernel's.
_CALLS: list[tuple[Any, str, BaseException]] = [
    *((os, name, FULL) for name in ("open", "pipe2", "pidfd_open", "memfd_create", "dup")),
    *((os, name, FULL) for name in ("listdir", "scandir")),
    (builtins, "open", FULL),
    (io, "open", FULL),
    (os, "mkdir", NO_MEMORY),
    (subprocess, "_fork_exec", OSError(errno.EAGAIN, "Resource temporarily unavailable")),
    (trio.to_thread, "run_sync", RuntimeError("can't start new thread")),
    (Reactor, "register", NO_MEMORY),
    (trio.lowlevel, "wait_readable", NO_MEMORY),
]
_OURS = str(Path(workers.__file__).parent)


class Site(NamedTuple):
    """A line of `workers` that makes a call."""

    file: str
    line: int
    call: str


class Shortfall:
    """Inside `at_next_site` one site fails, which has not failed before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failed: set[Site] = set()
        self._site: Site | None = None
        # How many failures are to come.
        self._left = 0
        self._lock = threading.Lock()
        for owner, name, error in _CALLS:
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name), name, error))

    @contextmanager
    def at_next_site(self, times: int) -> Iterator[None]:
        self._site, self._left = None, times
        yield
        self._left = 0

    @property
    def hit(self) -> bool:
        """Whether there was a site that had not failed before."""
        return self._site is not None

    def _wrapped(
        self, call: Callable[..., Any], name: str, error: BaseException
    ) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            if self._left and self._fails(name):
                raise error
            return call(*args, **named)

        return counted

    def _fails(self, name: str) -> bool:
        site = _site(name)
        if site is None:
            return False
        with self._lock:
            if self._site is None and site not in self.failed:
                self._site = site
                self.failed.add(site)
            if site != self._site or not self._left:
                return False
            self._left -= 1
            return True


def _site(name: str) -> Site | None:
    frame = sys._getframe(3)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            return Site(frame.f_code.co_filename, frame.f_lineno, name)
        frame = frame.f_back  # type: ignore[assignment]
    return None
