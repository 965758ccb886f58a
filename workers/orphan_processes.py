"""Orphans: processes below ours whose parent has ended become our children, and are reaped here.

bubblewrap ends a moment before process 1 of its namespace, and a model may start daemons. Without
this they would go to process 1 of the machine, which may reap late or, in a container, not at all;
until then a dead process still counts in its group, and against the limit of its cgroup.

Laws: a child that was made by `make_child` is reaped by its owner, and so is a child in our own
session (what other code started with `subprocess`). Every other child is an orphan. It may be of a
tree of ours, or of no concern to us: where we are process 1 of a container, all orphans come here.
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

# Held while a child is made and noted, so that no child is taken for an orphan in between.
_lock = threading.Lock()
_owned: set[int] = set()


def make_child(make: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Calls `make`, and notes that its child has an owner, until `disown`."""
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
    """Kills every orphan that is astray, and reaps those that have ended; how many of both there
    were. A killed one's children are orphans then. Blocking. Raises OSError in a shortage."""
    return sum(_reap(pid) or _kill(pid, has_left_tree) for pid in list(_children()))


def _reap(pid: int) -> bool:
    """Whether the child was an orphan that had ended."""
    with _lock:
        return _is_orphan(pid) and os.waitpid(pid, os.WNOHANG)[0] == pid


def _kill(pid: int, has_left_tree: Callable[[int], bool]) -> bool:
    with _lock:  # while it is not reaped, the number is its own
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
    """Whether it is a child of ours without an owner. Call it with the lock."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return pid not in _owned and os.getsid(pid) != os.getsid(0)
    except OSError:  # it has been reaped meanwhile
        return False


@cache
def _become_subreaper(process: int) -> None:
    """gotcha G1 in README. Kept until the process ends; not inherited by one that it forks."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _has_dead_child() -> bool:
    with suppress(ChildProcessError):  # no child at all
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        with suppressed():  # a thread that has ended, or a kernel without this file
            yield from map(int, (task / "children").read_text().split())
