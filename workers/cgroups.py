"""Control groups: limits that the kernel holds, and kills that nothing escapes.

Below the cgroup that the gateway itself is in, and nowhere else, lies one folder for the house,
`predictd-<house>`, and in it a *leaf* for each replica and script. There may be several hierarchies
(v1 has one for each controller, v2 a single one, a hybrid machine both), so a leaf is a folder in
each of those that are of use. The house's folder holds all models together below what the machine
has, so that they can starve each other at most.

What works is tried out when the tree is opened, by putting a process into it: rights, mount options
and old kernels differ in too many ways to be guessed. What does not work is left out, and
`Cgroups.holds` says what is left. All functions block, for microseconds: but for `open_tree`,
`kill` and `remove`, which wait for processes, they may be called anywhere.
"""

import errno
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from workers.limits import Limits, Toll

logger = logging.getLogger(__name__)

PREFIX = "predictd-"
# Where a gateway puts itself in v2, in which a group with processes cannot have limited children.
_GATEWAY = f"{PREFIX}gateway"
_WANTED = ("memory", "cpu", "pids")
_PERIOD = 100_000  # microseconds, the kernel's own default
# What a process may ask for at once, and so how far below its limit it may have been refused.
_SLACK = 4 * 1024 * 1024
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Place(msgspec.Struct, frozen=True):
    """Where a process is in one hierarchy: `folder` is its group, at or below `mount`.

    `controllers` are v1's; in v2 the group's own files tell them.
    """

    version: int
    mount: Path
    folder: Path
    controllers: tuple[str, ...] = ()


class Hierarchy(msgspec.Struct, frozen=True):
    """The house's folder in one hierarchy, and the controllers that hold its leaves there."""

    version: int
    folder: Path
    controllers: tuple[str, ...]
    # In v2: what the group above was made to pass on, for which this process stepped aside.
    passed_on: tuple[str, ...] = ()


def places(cgroup: str, mountinfo: str) -> list[Place]:
    """Where a process is, from its /proc/<pid>/cgroup and mountinfo. See cgroups(7), proc(5)."""
    mounts: dict[frozenset[str] | None, tuple[Path, str]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, mount, *_ = before.split()
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            mounts.setdefault(None, (Path(_unescaped(mount)), _unescaped(root)))
        elif kind == "cgroup":
            mounts.setdefault(frozenset(options.split(",")), (Path(_unescaped(mount)), root))
    found = []
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        controllers = tuple(names.split(",")) if names else ()
        for options_of, (mount_path, root) in mounts.items():
            matches = options_of is None if not names else set(controllers) <= (options_of or set())
            # In a container the mount may show a part of the hierarchy only.
            if matches and (below := _below(path, root)) is not None:
                version = 1 if names else 2
                found.append(Place(version, mount_path, mount_path / below, controllers))
    return found


def _below(path: str, root: str) -> str | None:
    if root == "/" or path == root or path.startswith(f"{root}/"):
        return path.removeprefix(root).strip("/")
    return None


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ")


def our_places() -> list[Place]:
    """Where this process is; none where the kernel has no cgroups."""
    try:
        return places(
            Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
        )
    except FileNotFoundError:
        return []


class Leaf:
    """The group of one process and all that it ever starts. `enter` are the files through which a
    process puts itself into it, by writing its id, before it becomes what is limited."""

    def __init__(self, hierarchies: Iterable[Hierarchy], name: str) -> None:
        self._groups = [
            msgspec.structs.replace(each, folder=each.folder / name) for each in hierarchies
        ]
        self.enter = tuple(group.folder / "cgroup.procs" for group in self._groups)

    def make(self, limits: Limits) -> None:
        """Raises OSError, leaving nothing behind: what cannot be limited should not run."""
        try:
            for group in self._groups:
                group.folder.mkdir(parents=True)
                _hold(group, limits)
        except OSError:
            self.remove()
            raise

    def toll(self) -> Toll:
        """What it has counted so far; nothing where it is gone or counts nothing."""
        toll = Toll()
        for group in self._groups:
            with suppress(OSError):
                toll = _add_toll(toll, group)
        return toll

    def memory(self) -> int | None:
        """The bytes that count against its limit; None where nobody counts them."""
        for group in self._groups:
            if "memory" in group.controllers:
                with suppress(OSError):  # removed meanwhile
                    return memory_used(group.version, group.folder)
        return None

    def processes(self) -> list[int]:
        """The ids of those that are in it."""
        return [pid for group in self._groups[:1] for pid in _processes(group.folder)]

    def kill(self, *, seconds: float = 5.0) -> None:
        """Kills whatever is in it and waits until nothing is, or gives up after `seconds`."""
        end = time.monotonic() + seconds
        while any(_begin_kill(group) for group in self._groups):
            if time.monotonic() > end:
                logger.warning("not all of %s could be killed", self._groups[0].folder.name)
                return
            time.sleep(0.001)

    def remove(self, *, seconds: float = 1.0) -> None:
        """Removes it, after `kill`. What a dying process still holds stays for the next sweep."""
        end = time.monotonic() + seconds
        for group in self._groups:
            while not _removed(group.folder):
                if time.monotonic() > end:
                    logger.warning("the cgroup %s cannot be removed yet", group.folder)
                    break
                time.sleep(0.002)


class Cgroups:
    """The house's tree. `holds` says what the kernel limits: any of "memory", "cpu", "pids" and
    "kill", which even without the others takes what a process has started along."""

    def __init__(self, hierarchies: Iterable[Hierarchy] = ()) -> None:
        # First the one that can kill at a stroke.
        self.hierarchies = tuple(sorted(hierarchies, key=lambda each: -each.version))
        self._made = 0
        held = {name for each in self.hierarchies for name in each.controllers}
        kill = ("kill",) if self.hierarchies else ()
        self.holds = (*(name for name in _WANTED if name in held), *kill)

    @property
    def version(self) -> str:
        """Of the hierarchies in use: "v1", "v2", "v1 and v2", or "none"."""
        found = sorted({f"v{each.version}" for each in self.hierarchies})
        return " and ".join(found) or "none"

    def leaf(self, name: str) -> Leaf:
        """A new leaf, not made yet."""
        self._made += 1
        return Leaf(self.hierarchies, f"{name}-{self._made}")

    def close(self) -> None:
        """Removes the tree, kills what is left in it, and leaves all else as it was."""
        for each in self.hierarchies:
            _sweep_folder(each.version, each.folder)
            if each.passed_on:
                _take_back(each.folder.parent, each.passed_on)


def open_tree(house: str, record: Path, most_memory: int, cores: int) -> Cgroups:
    """The tree of `house`, in which all models together may take `most_memory` bytes.

    First ends and removes what an earlier gateway has left there. `record` is the file that tells
    the next gateway where that was, since it may be started in another cgroup.
    """
    for folder in _recorded(record, house):
        _sweep_folder(1 if _is_v1(folder) else 2, folder)
    found = []
    for place in our_places():
        try:
            hierarchy = _open(place, house, most_memory, cores)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                logger.info("the cgroup %s is of no use: %s", place.folder, error)
            continue
        if hierarchy is not None:
            found.append(hierarchy)
    record.write_text("".join(f"{each.folder}\n" for each in found))
    return Cgroups(found)


def _recorded(record: Path, house: str) -> list[Path]:
    try:
        lines = record.read_text().splitlines()
    except FileNotFoundError:
        return []
    # The data folder may have been copied from elsewhere: only what bears our name is ours.
    return [path for line in lines if (path := Path(line)).name == f"{PREFIX}{house}"]


def _is_v1(folder: Path) -> bool:
    return not (folder / "cgroup.controllers").exists()


def _open(place: Place, house: str, most_memory: int, cores: int) -> Hierarchy | None:
    """The house's folder at `place`, if a process can be put below it. Raises OSError."""
    own = place.folder
    base = own.parent if place.version == 2 and own.name == _GATEWAY else own
    wanted = [name for name in _WANTED if name in place.controllers]
    if place.version == 1 and not wanted:
        return None
    folder = base / f"{PREFIX}{house}"
    _sweep_folder(place.version, folder)
    folder.mkdir()
    passed: tuple[str, ...] = ()
    try:
        if place.version == 2:
            passed = _pass_on(base)
            wanted = _offered(folder)
        hierarchy = Hierarchy(place.version, folder, tuple(wanted), passed)
        _hold(hierarchy, Limits(memory=most_memory), weight=1000 * cores)
        _try_out(hierarchy)
    except OSError:
        _sweep_folder(place.version, folder)
        _take_back(base, passed)
        raise
    return hierarchy


def _offered(folder: Path) -> list[str]:
    """The controllers that v2 lets the leaves of `folder` have, switched on there."""
    offered = _words(folder / "cgroup.controllers")
    wanted = [name for name in _WANTED if name in offered]
    for name in wanted:
        _write(folder / "cgroup.subtree_control", f"+{name}")
    return wanted


def _pass_on(base: Path) -> tuple[str, ...]:
    """Has v2's group `base` pass its controllers on to its children; returns which did not yet.

    Only a group without processes may do so: the gateway, which is in it, moves one down. Where
    others are in it too they are left alone, and there will be no limits.
    """
    have = _words(base / "cgroup.controllers") & set(_WANTED)
    missing = sorted(have - _words(base / "cgroup.subtree_control"))
    if not missing:
        return ()
    aside = base / _GATEWAY
    is_root = not (base / "cgroup.type").exists()
    if not is_root:
        aside.mkdir(exist_ok=True)
        _write(aside / "cgroup.procs", str(os.getpid()))
    control = base / "cgroup.subtree_control"
    passed = tuple(name for name in missing if _try_to_write(control, f"+{name}"))
    if not passed:
        _take_back(base, passed)
    return passed


def _take_back(base: Path, passed: Iterable[str]) -> None:
    """Undoes `_pass_on`, as far as nobody else's group needs it by now."""
    for name in passed:
        _try_to_write(base / "cgroup.subtree_control", f"-{name}")
    if (base / _GATEWAY).exists() and _try_to_write(base / "cgroup.procs", str(os.getpid())):
        with suppress(OSError):
            (base / _GATEWAY).rmdir()


def _try_out(hierarchy: Hierarchy) -> None:
    """Puts a process into a leaf as replicas will be. Raises OSError where that cannot be."""
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


# What is written where.


def _hold(group: Hierarchy, limits: Limits, weight: int = 0) -> None:
    """Sets the limits of a group. Raises OSError."""
    for file, text, needed in _settings(group, limits, weight or limits.cpu or 1000):
        if needed:
            _write(group.folder / file, text)
        else:
            _try_to_write(group.folder / file, text)


def _settings(group: Hierarchy, limits: Limits, weight: int) -> Iterator[tuple[str, str, bool]]:
    """(file, what to write, whether it must succeed), in the order in which it must be written.

    `weight` is in thousandths of a core, as `Limits.cpu` is: who gets how much when there is less
    than all want.
    """
    quota = limits.cpu * _PERIOD // 1000
    for controller in group.controllers:
        match group.version, controller:
            case 1, "memory":
                yield "memory.use_hierarchy", "1", False  # long since always so
                if limits.memory:
                    yield "memory.limit_in_bytes", str(limits.memory), True
                    # Together with swap, where that is counted.
                    yield "memory.memsw.limit_in_bytes", str(limits.memory), False
            case 2, "memory":
                if limits.memory:
                    yield "memory.max", str(limits.memory), True
                    yield "memory.swap.max", "0", False
            case 1, "cpu":
                yield "cpu.shares", str(max(2, weight * 1024 // 1000)), True
                if quota:
                    yield "cpu.cfs_period_us", str(_PERIOD), True
                    yield "cpu.cfs_quota_us", str(max(1000, quota)), True
            case 2, "cpu":
                yield "cpu.weight", str(min(10_000, max(1, weight // 10))), True
                if quota:
                    yield "cpu.max", f"{max(1000, quota)} {_PERIOD}", True
            case _, "pids":
                if limits.processes:
                    yield "pids.max", str(limits.processes), True


def _add_toll(toll: Toll, group: Hierarchy) -> Toll:
    new: dict[str, float | bool] = {}
    folder = group.folder
    if "memory" in group.controllers and group.version == 1:
        new["memory_kills"] = _numbers(folder / "memory.oom_control").get("oom_kill", 0)
        # gotcha G12: memory.failcnt is no evidence.
        most, limit = _number(folder / "memory.max_usage_in_bytes"), memory_limit(1, folder)
        new["met_own"] = limit is not None and most >= limit - _SLACK
    elif "memory" in group.controllers:
        events = _numbers(folder / "memory.events")
        new["memory_kills"], new["met_own"] = events.get("oom_kill", 0), events.get("oom", 0) > 0
    if "cpu" in group.controllers:
        counted = _numbers(folder / "cpu.stat")
        nanoseconds = counted.get("throttled_time", 0) + 1000 * counted.get("throttled_usec", 0)
        new["throttled"] = nanoseconds / 1e9
    if "pids" in group.controllers:
        new["forks_refused"] = _numbers(folder / "pids.events").get("max", 0)
    return msgspec.structs.replace(toll, **new)


def memory_groups(found: Iterable[Place]) -> list[tuple[int, Path]]:
    """The version and folder of every group whose memory limit holds for a process: its own and
    those above it."""
    for place in found:
        if place.version == 2 or "memory" in place.controllers:
            above = [f for f in place.folder.parents if f.is_relative_to(place.mount)]
            groups = [(place.version, folder) for folder in (place.folder, *above)]
            if any(memory_limit(*group) is not None for group in groups):
                return groups
    return []


def memory_limit(version: int, folder: Path) -> int | None:
    """The limit of one group, in bytes; None where it has none."""
    try:
        text = (folder / ("memory.limit_in_bytes" if version == 1 else "memory.max")).read_text()
    except OSError:
        return None
    # v1 says "no limit" by a number beyond all memory.
    return None if text.strip() == "max" or int(text) >= 1 << 60 else int(text)


def memory_used(version: int, folder: Path) -> int:
    """What of a group's memory the kernel could not take back at once. Raises OSError."""
    name, idle = (
        ("memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.current", "inactive_file")
    )
    return max(0, _number(folder / name) - _numbers(folder / "memory.stat").get(idle, 0))


# Ending what is in a group.


def _begin_kill(group: Hierarchy) -> bool:
    """Kills what is in a group and in those that its processes may have made; whether there was
    anything."""
    if group.version == 2 and _try_to_write(group.folder / "cgroup.kill", "1"):
        return _is_populated(group.folder)
    # Who cannot fork cannot run away from a list of ids.
    if "pids" in group.controllers:
        _try_to_write(group.folder / "pids.max", "0")
    found = [pid for folder in _with_children(group.folder) for pid in _processes(folder)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _sweep_folder(version: int, folder: Path) -> None:
    """Kills whatever is below `folder`, which is ours, and removes it."""
    if not folder.is_dir():
        return
    children = ("pids",) if (folder / "pids.max").exists() else ()
    for leaf in sorted(each.name for each in folder.iterdir() if each.is_dir()):
        left = Leaf([Hierarchy(version, folder, children)], leaf)
        left.kill()
        left.remove()
    if not _removed(folder):
        logger.warning("the cgroup %s cannot be removed", folder)


def _with_children(folder: Path) -> list[Path]:
    """A group and all below it, the deepest first."""
    return [Path(path) for path, _, _ in os.walk(folder, topdown=False)]


def _is_populated(folder: Path) -> bool:
    try:
        return _numbers(folder / "cgroup.events").get("populated", 0) > 0
    except OSError:  # removed meanwhile
        return False


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()  # as it usually is: without children
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
    except (FileNotFoundError, OSError):  # ENODEV: removed meanwhile
        return []


# Files.


def _write(file: Path, text: str) -> None:
    file.write_text(text)


def _try_to_write(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True


def _words(file: Path) -> set[str]:
    return set(file.read_text().split())


def _number(file: Path) -> int:
    return int(file.read_text())


def _numbers(file: Path) -> dict[str, int]:
    """A file of lines "name number"."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
