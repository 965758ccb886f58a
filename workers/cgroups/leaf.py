"""A leaf: the cgroup of one process and all that it ever starts, from its creation to its end."""

import logging
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from workers.cgroups.counts import add_counters, memory_used
from workers.cgroups.files import numbers, try_to_write
from workers.cgroups.hierarchy import Hierarchy, apply_limits
from workers.limits import CgroupCounters, Limits
from workers.shortages import is_shortage

logger = logging.getLogger(__name__)


class Leaf:
    """The cgroup of one process and all that it ever starts. A process enters it by writing its id
    to the files of `enter`, before it becomes the limited program."""

    def __init__(self, hierarchies: Iterable[Hierarchy], name: str) -> None:
        self._groups = [
            msgspec.structs.replace(each, folder=each.folder / name) for each in hierarchies
        ]
        self.enter = tuple(group.folder / "cgroup.procs" for group in self._groups)

    def make(self, limits: Limits) -> None:
        """Makes it. Raises OSError and leaves nothing behind: without limits nothing should run."""
        try:
            for group in self._groups:
                group.folder.mkdir(parents=True)
                apply_limits(group, limits)
        except OSError:
            self.remove()
            raise

    def counters(self) -> CgroupCounters:
        """Its counters so far; zeros where it is removed or has no counters."""
        counters = CgroupCounters()
        for group in self._groups:
            with suppress(OSError):
                counters = add_counters(counters, group)
        return counters

    def memory(self) -> int | None:
        """The bytes that count against its limit; None where the kernel does not count them."""
        for group in self._groups:
            if "memory" in group.controllers:
                with suppress(OSError):  # removed meanwhile
                    return memory_used(group.version, group.folder)
        return None

    def processes(self) -> list[int]:
        """The ids of its processes. Raises OSError in a shortage."""
        return [pid for group in self._groups[:1] for pid in _processes(group.folder)]

    def kill(self, *, seconds: float = 5.0) -> None:
        """Kills all its processes and waits until it is empty, or gives up after `seconds`. Raises
        OSError in a shortage."""
        end = time.monotonic() + seconds
        while any(_begin_kill(group) for group in self._groups):
            if time.monotonic() > end:
                logger.warning("cgroup.not_killed name=%s", self._groups[0].folder.name)
                return
            time.sleep(0.001)

    def remove(self, *, seconds: float = 1.0) -> None:
        """Removes it, after `kill`. With a dying process it stays for the next sweep."""
        end = time.monotonic() + seconds
        for group in self._groups:
            while not _removed(group.folder):
                if time.monotonic() > end:
                    logger.warning("cgroup.not_removed path=%r", str(group.folder))
                    break
                time.sleep(0.002)


def sweep_folder(version: int, folder: Path) -> None:
    """Kills all processes below `folder`, which is ours, and removes it."""
    if not folder.is_dir():
        return
    children = ("pids",) if (folder / "pids.max").exists() else ()
    for leaf in sorted(each.name for each in folder.iterdir() if each.is_dir()):
        left = Leaf([Hierarchy(version, folder, children)], leaf)
        left.kill()
        left.remove()
    if not _removed(folder):
        logger.warning("cgroup.not_removed path=%r", str(folder))


# Ending the processes of a cgroup.


def _begin_kill(group: Hierarchy) -> bool:
    """Kills the processes of a cgroup and of those below it, which they may have made. Returns
    whether there was any."""
    if group.version == 2 and try_to_write(group.folder / "cgroup.kill", "1"):
        return _is_populated(group.folder)
    # Without forks no process is missing from a list of ids.
    if "pids" in group.controllers:
        try_to_write(group.folder / "pids.max", "0")
    found = [pid for folder in _with_children(group.folder) for pid in _processes(folder)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _with_children(folder: Path) -> list[Path]:
    """A cgroup and all below it, the deepest first."""
    return [Path(path) for path, _, _ in os.walk(folder, topdown=False)]


def _is_populated(folder: Path) -> bool:
    try:
        return numbers(folder / "cgroup.events").get("populated", 0) > 0
    except OSError as error:  # removed meanwhile
        if is_shortage(error):
            raise
        return False


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()  # the usual case: no children
        return True
    for each in _with_children(folder):
        try:
            each.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def _processes(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError as error:  # ENOENT or ENODEV: removed meanwhile
        if is_shortage(error):
            raise
        return []
