"""The one list of what a confined process gets, as arguments of bubblewrap.

The process starts with an empty file system, in which is mounted what is named here and nothing
else; in process, IPC and host name spaces of its own; without a way to more rights. What is not
named does not exist for it: the data folder with its keys and other builds, people's homes, other
processes, the cgroups. Pure: the machine is looked at by `Host`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from workers.confinement.outward import RESOLVER
from workers.confinement.view import HOME, TMP, USER, SandboxView
from workers.confinement.visible_parts import Looking, Part

# Of the system, read-only; what is missing is left out. /etc says who is who (see `Host`), where
# names are resolved, which certificates count; /sys only how many cores there are, and of which
# kind, since numerical libraries ask.
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
# Its own name, which Java looks up, and the one that clients of CDSW make of the gateway's.
HOSTNAME = "predictd"
_NAMES = f"127.0.0.1 {HOSTNAME} modelservice.localhost\n"
# Links into /usr, or folders where systems are not merged yet.
_PROGRAMS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What there is on this machine. `system` maps each folder of SYSTEM to what is shown of it,
    and `programs` each of _PROGRAMS to where it leads, "" for a folder. `looking` finds what is
    left out elsewhere. It may have a file of host names, and one that names the resolver: its real
    path, "" where there is none."""

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
    """All arguments but the program's name and the command. `files` are made for this process: by
    where they stand, descriptors of their content."""
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
    # Semaphores of multiprocessing are there, and belong to the user that makes them.
    yield from ("--perms", "1777", "--tmpfs", "/dev/shm", "--perms", "1777", "--tmpfs", "/var/tmp")
    # Folders first: what is mounted later may lie in what was mounted before.
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
    # What holds the mounts is memory, of which there is no end.
    for made in (*covers, "/dev", "/"):
        yield from ("--remount-ro", str(made))


def _shown(part: Part, seen: Path, covers: list[Path], *, is_there: bool = False) -> Iterator[str]:
    """What is shown of `part`, at `seen`. Where `is_there` the folder above it is mounted, so that
    it is there unless it is covered.

    A file that is not shown has its folder covered, not itself: it may be replaced, and a mount on
    it would go with it.
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
        # Those that bubblewrap makes by itself are closed to all but root.
        yield from ("--perms", "0755", "--dir", str(above))
    yield from ("--perms", "0755", way) if way == "--tmpfs" else (way, str(real))
    yield str(seen)


def texts(view: SandboxView, host: Host, uid: int) -> Iterator[tuple[str, str]]:
    """The files that are made for a process that runs as `uid`: where each stands, and its text.
    Raises OSError."""
    passwd = f"{USER}:x:{uid}:{uid}::{HOME}:/bin/bash\n"
    yield "/etc/passwd", passwd + "nobody" + ":x:65534:65534::/:/usr/sbin/nologin\n"
    yield "/etc/group", f"{USER}:x:{uid}:\nnogroup:x:65534:\n"
    if host.has_hosts:
        yield HOSTS, hosts_text(Path(HOSTS).read_text(errors="replace"))
    if view.network == "outward" and host.resolver:
        machine = Path(host.resolver).read_text(errors="replace")
        yield host.resolver, resolver_text(machine, RESOLVER)


def hosts_text(machine: str) -> str:
    """/etc/hosts, from the machine's. Of a name the first address counts, so ours comes first."""
    return f"{_NAMES}{machine}"


def resolver_text(machine: str, resolver: str) -> str:
    """resolv.conf, from the machine's: the same searches and options, asked of another server."""
    lines = [line for line in machine.splitlines() if not line.strip().startswith("nameserver")]
    return "\n".join([f"nameserver {resolver}", *lines, ""])
