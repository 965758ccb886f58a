"""The instance's tree of cgroups: opened below this process's own, tried out, and swept.

A process that is put into a leaf shows which controllers work: rights, mount options and old
kernels differ in too many ways to guess.
"""

import errno
import logging
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from workers.cgroups.files import try_to_write, words, write
from workers.cgroups.hierarchy import Hierarchy, apply_limits
from workers.cgroups.leaf import Leaf, sweep_folder
from workers.cgroups.membership import CgroupMembership, own_memberships
from workers.limits import Limits

logger = logging.getLogger(__name__)

PREFIX = "predictd-"
# The gateway moves itself here in v2, where a cgroup with processes cannot have limited children.
_GATEWAY = f"{PREFIX}gateway"
# The most to read of the record, which has a path for each hierarchy.
_RECORD_BYTES = 64 * 1024
_WANTED = ("memory", "cpu", "pids")
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Cgroups:
    """The instance's tree. `enforced` lists what the kernel enforces: any of "memory", "cpu",
    "pids" and "kill". "kill" needs none of the others: it kills all that a process has started."""

    def __init__(self, hierarchies: Iterable[Hierarchy] = ()) -> None:
        # v2 first, which can kill with one write.
        self.hierarchies = tuple(sorted(hierarchies, key=lambda each: -each.version))
        self._made = 0
        limited = {name for each in self.hierarchies for name in each.controllers}
        kill = ("kill",) if self.hierarchies else ()
        self.enforced = (*(name for name in _WANTED if name in limited), *kill)

    @property
    def version(self) -> str:
        """The version of the hierarchies in use: "v1", "v2", "v1 and v2", or "none"."""
        found = sorted({f"v{each.version}" for each in self.hierarchies})
        return " and ".join(found) or "none"

    def leaf(self, name: str) -> Leaf:
        """A new leaf, not made yet."""
        self._made += 1
        return Leaf(self.hierarchies, f"{name}-{self._made}")

    def close(self) -> None:
        """Kills what is left in the tree, removes it, and restores the cgroups above it."""
        for each in self.hierarchies:
            sweep_folder(each.version, each.folder)
            if each.passed_on:
                _undo_delegation(each.folder.parent, each.passed_on)


def open_tree(
    instance_id: str, record: Path, most_memory: int, cores: int, most_tasks: int = 0
) -> Cgroups:
    """The tree of `instance_id`, in which all models together may use `most_memory` bytes and have
    `most_tasks` processes and threads, 0 for no limit.

    First kills and removes what an earlier gateway left in its tree. The file `record` tells the
    next gateway where this tree is, since it may start in another cgroup.
    """
    for folder in _recorded(record, instance_id):
        sweep_folder(1 if _is_v1(folder) else 2, folder)
    found = []
    for membership in own_memberships():
        try:
            hierarchy = _open(
                membership, instance_id, Limits(memory=most_memory, processes=most_tasks), cores
            )
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                logger.info("cgroup.not_used path=%r: %s", str(membership.folder), error)
            continue
        if hierarchy is not None:
            found.append(hierarchy)
    try:
        record.write_text("".join(f"{each.folder}\n" for each in found))
    except OSError as error:
        # A gateway in another cgroup finds remaining processes by their environment.
        logger.warning("cgroup_record.not_written path=%r: %s", str(record), error)
    return Cgroups(found)


def _recorded(record: Path, instance_id: str) -> list[Path]:
    try:
        descriptor = os.open(record, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            lines = os.read(descriptor, _RECORD_BYTES).decode("utf-8", "replace").splitlines()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("cgroup_record.not_read path=%r: %s", str(record), error)
        return []
    # The data folder may be a copy from elsewhere: only a folder with our name is ours.
    return [path for line in lines if (path := Path(line)).name == f"{PREFIX}{instance_id}"]


def _is_v1(folder: Path) -> bool:
    return not (folder / "cgroup.controllers").exists()


def _open(
    membership: CgroupMembership, instance_id: str, limits: Limits, cores: int
) -> Hierarchy | None:
    """The instance's folder at `membership`; None without a wanted controller. Raises OSError, also
    where no process can enter a leaf of it."""
    own = membership.folder
    base = own.parent if membership.version == 2 and own.name == _GATEWAY else own
    wanted = [name for name in _WANTED if name in membership.controllers]
    if membership.version == 1 and not wanted:
        return None
    folder = base / f"{PREFIX}{instance_id}"
    sweep_folder(membership.version, folder)
    folder.mkdir()
    passed: tuple[str, ...] = ()
    try:
        if membership.version == 2:
            passed = _delegate(base)
            wanted = _offered(folder)
        hierarchy = Hierarchy(membership.version, folder, tuple(wanted), passed)
        apply_limits(hierarchy, limits, weight=1000 * cores)
        _try_out(hierarchy)
    except OSError:
        sweep_folder(membership.version, folder)
        _undo_delegation(base, passed)
        raise
    return hierarchy


def _offered(folder: Path) -> list[str]:
    """Switches on the controllers that v2 offers to the leaves of `folder`, and returns them."""
    offered = words(folder / "cgroup.controllers")
    wanted = [name for name in _WANTED if name in offered]
    for name in wanted:
        write(folder / "cgroup.subtree_control", f"+{name}")
    return wanted


def _delegate(base: Path) -> tuple[str, ...]:
    """Makes the v2 cgroup `base` pass its controllers on to its children; returns the new ones.

    Only a cgroup without processes may do so. The gateway is in it and moves one down. If other
    processes are in it too, they stay, and there will be no limits.
    """
    have = words(base / "cgroup.controllers") & set(_WANTED)
    missing = sorted(have - words(base / "cgroup.subtree_control"))
    if not missing:
        return ()
    aside = base / _GATEWAY
    is_root = not (base / "cgroup.type").exists()
    if not is_root:
        aside.mkdir(exist_ok=True)
        write(aside / "cgroup.procs", str(os.getpid()))
    control = base / "cgroup.subtree_control"
    passed = tuple(name for name in missing if try_to_write(control, f"+{name}"))
    if not passed:
        _undo_delegation(base, passed)
    return passed


def _undo_delegation(base: Path, passed: Iterable[str]) -> None:
    """Undoes `_delegate`, unless another cgroup needs it now."""
    for name in passed:
        try_to_write(base / "cgroup.subtree_control", f"-{name}")
    if (base / _GATEWAY).exists() and try_to_write(base / "cgroup.procs", str(os.getpid())):
        with suppress(OSError):
            (base / _GATEWAY).rmdir()


def _try_out(hierarchy: Hierarchy) -> None:
    """Puts a process into a leaf, as for replicas. Raises OSError where that is impossible."""
    leaf = Leaf([hierarchy], "try")
    leaf.make(Limits(memory=64 * 1024 * 1024, cpu=1000, processes=16))
    try:
        entering = 'echo $$ >"$1" && exec /bin/true'
        done = subprocess.run(
            ["/bin/sh", "-c", entering, "sh", str(leaf.enter[0])], stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise PermissionError(errno.EPERM, done.stderr.strip() or "a process could not enter")
    finally:
        leaf.kill()
        leaf.remove()
