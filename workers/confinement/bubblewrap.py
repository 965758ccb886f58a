"""The one list of what a confined process gets, as arguments of bubblewrap.

The process starts with an empty file system, in which only what this file names is mounted. It has
process, IPC and host name spaces of its own, and no way to more rights. What is not named does not
exist for it: the data folder with its keys and other builds, people's homes, other processes, the
cgroups. These functions are pure: only `Host` inspects the machine.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from workers.confinement.outward import RESOLVER
from workers.confinement.view import HOME, TMP, USER, SandboxView
from workers.confinement.visible_parts import Looking, Part

# Folders of the system, mounted read-only; missing ones are left out. /etc names users (see
# `Host`), resolvers and trusted certificates. /sys shows only the number and kind of cores, which
# numerical libraries read.
SYSTEM = (
    "/usr",
    "/opt",
    "/etc",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/run/systemd/resolve",
    "/run/resolvconf",
)
HOSTS = "/etc/hosts"
# The view's own host name, which Java looks up, and the name that clients of CDSW derive from the
# gateway's.
HOSTNAME = "predictd"
_NAMES = f"127.0.0.1 {HOSTNAME} modelservice.localhost\n"
# Links into /usr, or folders where systems are not merged yet.
_PROGRAMS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has. `system` maps each folder of SYSTEM to the part that a view shows.
    `programs` maps each of _PROGRAMS to its link target, "" for a folder. `looking` finds what to
    leave out elsewhere. `has_hosts`: whether there is a file of host names. `resolver`: the real
    path of the file that names the resolver, "" where there is none."""

    system: dict[str, Part]
    programs: dict[str, str]
    looking: Looking
    has_hosts: bool = True
    resolver: str = ""

    @classmethod
    def looked_at(cls, looking: Looking, of_system: Looking) -> "Host":
        programs = {
            name: str(Path(name).readlink()) if Path(name).is_symlink() else ""
            for name in _PROGRAMS
            if Path(name).exists()
        }
        system = [path for path in SYSTEM if Path(path).exists()]
        resolver = str(Path("/etc/resolv.conf").resolve())
        if Path(resolver).is_file() and not any(map(Path(resolver).is_relative_to, system)):
            system.append(resolver)
        return cls(
            system={path: of_system.at(Path(path)) for path in system},
            programs=programs,
            looking=looking,
            has_hosts=Path(HOSTS).is_file(),
            resolver=resolver if Path(resolver).is_file() else "",
        )


def arguments(view: SandboxView, host: Host, files: Mapping[str, int]) -> Iterator[str]:
    """All arguments but the program's name and the command. `files` maps the path of each file
    that is made for this process to a descriptor of its content."""
    yield from ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
    yield from ("--hostname", HOSTNAME, "--unshare-cgroup-try")
    if view.network in ("none", "outward"):
        yield "--unshare-net"
    covers: list[Path] = []
    for folder, part in host.system.items():
        yield from _shown(part, Path(folder), covers)
    for name, target in host.programs.items():
        yield from ("--symlink", target, name) if target else ("--ro-bind", name, name)
    for name, descriptor in files.items():
        yield from ("--perms", "0644", "--ro-bind-data", str(descriptor), name)
    yield from ("--proc", "/proc", "--dev", "/dev")
    for device in view.devices:
        yield from _mount("--dev-bind", device, device)
    # multiprocessing keeps its semaphores in /dev/shm; they belong to the user that makes them.
    yield from ("--perms", "1777", "--tmpfs", "/dev/shm", "--perms", "1777", "--tmpfs", "/var/tmp")
    # The project's folders first: a later mount may lie in them.
    yield from _mount("--bind", view.tmp, TMP)
    yield from _mount("--bind", view.home, HOME)
    if view.built is not None:
        yield from _mount("--bind", view.home, view.built)
    read = [path for path in view.read if not path.is_relative_to("/usr")]
    looked_at = [(path, host.looking.at(path)) for path in read]
    for path, part in sorted(looked_at, key=lambda each: each[1].whole):
        yield from _shown(part, path, covers)
    for path in view.write:
        yield from _mount("--bind", path, path)
    # The file systems that hold the mounts are in memory, without a limit of size.
    for made in (*covers, "/dev", "/"):
        yield from ("--remount-ro", str(made))


def _shown(part: Part, seen: Path, covers: list[Path], *, is_there: bool = False) -> Iterator[str]:
    """Shows `part` at `seen`. Where `is_there`, the folder above is mounted, so `part` is visible
    unless it is covered.

    To hide a file, its folder is covered, not the file: when a program replaces the file, a mount
    on it goes too.
    """
    if part.whole:
        if part.is_link and not is_there:
            yield from ("--symlink", os.readlink(part.path), str(seen))
        elif not is_there:
            yield from _mount("--ro-bind", part.path, seen)
    elif not part.parts:
        if is_there:
            yield from _cover(seen, covers)
    else:
        is_covered = any(not each.is_folder and not each.whole for each in part.parts)
        if is_covered:
            yield from _cover(seen, covers)
        elif not is_there:
            yield from _mount("--ro-bind", part.path, seen)
        for each in part.parts:
            inner = seen / os.path.basename(each.path)
            yield from _shown(each, inner, covers, is_there=not is_covered)


def _cover(seen: Path, covers: list[Path]) -> Iterator[str]:
    covers.append(seen)
    yield from _mount("--tmpfs", "", seen)


def _mount(way: str, real: Path | str, seen: Path | str) -> Iterator[str]:
    for above in (*reversed(Path(seen).parents),)[1:]:
        # bubblewrap would make them itself, closed to all users but root.
        yield from ("--perms", "0755", "--dir", str(above))
    yield from ("--perms", "0755", way) if way == "--tmpfs" else (way, str(real))
    yield str(seen)


def texts(view: SandboxView, host: Host, uid: int) -> Iterator[tuple[str, str]]:
    """The files to make for a process that runs as `uid`: the path and text of each. Raises
    OSError."""
    passwd = f"{USER}:x:{uid}:{uid}::{HOME}:/bin/bash\n"
    yield "/etc/passwd", passwd + "nobody" + ":x:65534:65534::/:/usr/sbin/nologin\n"
    yield "/etc/group", f"{USER}:x:{uid}:\nnogroup:x:65534:\n"
    if host.has_hosts:
        yield HOSTS, hosts_text(Path(HOSTS).read_text(errors="replace"))
    if view.network == "outward" and host.resolver:
        machine = Path(host.resolver).read_text(errors="replace")
        yield host.resolver, resolver_text(machine, RESOLVER)


def hosts_text(machine: str) -> str:
    """/etc/hosts, from the machine's. The first address of a name counts, so ours comes first."""
    return f"{_NAMES}{machine}"


def resolver_text(machine: str, resolver: str) -> str:
    """resolv.conf, from the machine's: the same searches and options, with another server."""
    lines = [line for line in machine.splitlines() if not line.strip().startswith("nameserver")]
    return "\n".join([f"nameserver {resolver}", *lines, ""])
