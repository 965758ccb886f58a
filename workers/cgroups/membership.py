"""Which cgroup a process is in, in each hierarchy: v1 has one for each controller, v2 a single one,
a hybrid machine both."""

from pathlib import Path

import msgspec


class CgroupMembership(msgspec.Struct, frozen=True):
    """The cgroup of a process in one hierarchy: `folder`, at or below `mount`.

    `controllers` are those of v1; in v2 the cgroup's own files list them.
    """

    version: int
    mount: Path
    folder: Path
    controllers: tuple[str, ...] = ()


def memberships(cgroup: str, mountinfo: str) -> list[CgroupMembership]:
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
            # In a container the mount may show only a part of the hierarchy.
            if matches and (below := _below(path, root)) is not None:
                version = 1 if names else 2
                found.append(CgroupMembership(version, mount_path, mount_path / below, controllers))
    return found


def _below(path: str, root: str) -> str | None:
    if root == "/" or path == root or path.startswith(f"{root}/"):
        return path.removeprefix(root).strip("/")
    return None


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ")


def own_memberships() -> list[CgroupMembership]:
    """Where this process is; empty where the kernel has no cgroups."""
    try:
        return memberships(
            Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
        )
    except FileNotFoundError:
        return []
