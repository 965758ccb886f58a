"""Orphans: when a parent below us ends, its processes become our children; this module reaps them.

bubblewrap ends a moment before process 1 of its namespace, and a model may start daemons. Without
this module process 1 of the machine would adopt them. It may reap late or, in a container, not at
all. Until then a dead process still counts in its group and against the limit of its cgroup.

Laws: the owner of a child from `make_child` reaps it. The same holds for a child in our own session
(other code started it with `subprocess`). Every other child is an orphan. It may belong to one of
our trees, or not concern us: where we are process 1 of a container, we adopt all orphans.
"""

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from workers.shortages import suppressed

_PR_SET_CHILD_SUBREAPER = 36

# Acquired while a child is made and noted, so that it is not taken for an orphan in between.
_lock = threading.Lock()
_owned: set[int] = set()


def make_child(make: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Calls `make` and notes that its child has an owner, until `disown`."""
    _become_subreaper(os.getpid())
    with _lock:
        child = make()
        _owned.add(child.pid)
    return child


def disown(pid: int) -> None:
    """Call it when the owner has reaped the child."""
    _owned.discard(pid)


def reap_orphans() -> None:
    """Reaps every orphan that has ended. Blocking, for microseconds where there is none. Raises
    OSError in a shortage."""
    if _has_dead_child():
        for pid in _children():
            _reap(pid)


def kill_orphans(has_left_tree: Callable[[int], bool]) -> int:
    """Kills every orphan for which `has_left_tree` is true, and reaps those that have ended.
    Returns the number of both. The children of a killed orphan become orphans. Blocking. Raises
    OSError in a shortage."""
    return sum(_reap(pid) or _kill(pid, has_left_tree) for pid in list(_children()))


def _reap(pid: int) -> bool:
    """Whether the child was an orphan that had ended."""
    with _lock:
        return _is_orphan(pid) and os.waitpid(pid, os.WNOHANG)[0] == pid


def _kill(pid: int, has_left_tree: Callable[[int], bool]) -> bool:
    with _lock:  # until it is reaped, no other process gets its pid
        if not _is_orphan(pid):
            return False
        pidfd = os.pidfd_open(pid)
    try:
        if not has_left_tree(pid):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    finally:
        os.close(pidfd)


def _is_orphan(pid: int) -> bool:
    """Whether it is a child of ours without an owner. Call it with the lock acquired."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return pid not in _owned and os.getsid(pid) != os.getsid(0)
    except OSError:  # reaped meanwhile
        return False


@cache
def _become_subreaper(process: int) -> None:
    """See gotcha G1 in README. It lasts until the process ends; forked ones do not inherit it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _has_dead_child() -> bool:
    with suppress(ChildProcessError):  # no child at all
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        with suppressed():  # a thread that has ended, or a kernel without this file
            yield from map(int, (task / "children").read_text().split())
