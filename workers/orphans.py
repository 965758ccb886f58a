"""Orphans: processes below ours whose parent has ended become our children, and are reaped here.

bubblewrap ends a moment before process 1 of its namespace, and a model may start daemons. Without
this they would go to process 1 of the machine, which may reap late or, in a container, not at all;
until then a dead process still counts in its group, and against the limit of its cgroup.

Laws: a child that was made by `make_child` is reaped by its owner, and so is a child in our own
session (what other code started with `subprocess`). Every other child is an orphan.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36

# Held while a child is made and noted, so that no child is taken for an orphan in between.
_lock = threading.Lock()
_owned: set[int] = set()


def make_child(make: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Calls `make`, and notes that its child has an owner, until `disown`."""
    _become_subreaper()
    with _lock:
        child = make()
        _owned.add(child.pid)
    return child


def disown(pid: int) -> None:
    """Call it when the owner has reaped the child."""
    _owned.discard(pid)


def reap_orphans() -> None:
    """Reaps every orphan that has ended. Blocking, for microseconds where there is none."""
    if not _has_dead_child():
        return
    session = os.getsid(0)
    with _lock:
        for pid in _children():
            with suppress(OSError):  # its owner has reaped it meanwhile
                if pid not in _owned and os.getsid(pid) != session:
                    os.waitpid(pid, os.WNOHANG)


@cache
def _become_subreaper() -> None:
    """gotcha G18. Kept until the process ends; not inherited by children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _has_dead_child() -> bool:
    with suppress(ChildProcessError):  # no child at all
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has ended, or a kernel without this file
            yield from map(int, (task / "children").read_text().split())
