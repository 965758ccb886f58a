"""The one list of what a confined process gets, as arguments of bubblewrap.

The process starts with an empty file system, in which is mounted what is named here and nothing
else; in process, IPC and host name spaces of its own; without a way to more rights. What is not
named does not exist for it: the data folder with its keys and other builds, people's homes, other
processes, the cgroups. Pure: the machine is looked at by `Host`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from workers.confinement.view import HOME, USER, View

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
# Links into /usr, or folders where systems are not merged yet.
_PROGRAMS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What there is on this machine. `programs` maps each of _PROGRAMS to where it leads, "" for a
    folder; `accounts` is the folder of a passwd and a group in which only cdsw is. `hidden` is
    the real path of what is not to be seen, wherever it lies: the data folder."""

    system: tuple[str, ...]
    programs: dict[str, str]
    accounts: Path
    hidden: Path

    @classmethod
    def looked_at(cls, accounts: Path, hidden: Path) -> "Host":
        programs = {
            name: str(Path(name).readlink()) if Path(name).is_symlink() else ""
            for name in _PROGRAMS
            if Path(name).exists()
        }
        system = tuple(path for path in SYSTEM if Path(path).exists())
        resolver = str(Path("/etc/resolv.conf").resolve())
        if Path(resolver).is_file() and not any(map(Path(resolver).is_relative_to, system)):
            system += (resolver,)
        return cls(system=system, programs=programs, accounts=accounts, hidden=hidden)


def arguments(view: View, host: Host) -> Iterator[str]:
    """All arguments but the program's name and the command."""
    yield from ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
    yield from ("--hostname", "predictd", "--unshare-cgroup-try")
    if not view.network:
        yield "--unshare-net"
    for folder in host.system:
        yield from _mount("--ro-bind", folder, folder)
    for name, target in host.programs.items():
        yield from ("--symlink", target, name) if target else ("--ro-bind", name, name)
    for file in ("passwd", "group"):
        yield from ("--ro-bind", str(host.accounts / file), f"/etc/{file}")
    yield from ("--proc", "/proc", "--dev", "/dev")
    # Semaphores of multiprocessing live there, and are whoever's who makes them.
    yield from ("--perms", "1777", "--tmpfs", "/dev/shm", "--perms", "1777", "--tmpfs", "/var/tmp")
    read = [path for path in view.read if not path.is_relative_to("/usr")]
    around = [path for path in read if host.hidden.is_relative_to(path.resolve())]
    for path in around:
        yield from _mount("--ro-bind", path, path)
    masks = list(_masks([*map(Path, host.system), *around], host.hidden))
    for mask in masks:
        yield from ("--perms", "0755", "--tmpfs", str(mask))
    # Folders first: what is mounted later may lie in what was mounted before.
    yield from _mount("--bind", view.tmp, "/tmp")
    yield from _mount("--bind", view.home, HOME)
    for path in read:
        if path not in around:
            yield from _mount("--ro-bind", path, path)
    for path in view.write:
        yield from _mount("--bind", path, path)
    # What holds the mounts is memory, of which there is no end.
    for made in (*masks, "/dev", "/"):
        yield from ("--remount-ro", str(made))


def _masks(folders: Iterable[Path], hidden: Path) -> Iterator[Path]:
    """gotcha G14: where `hidden` would be seen in what is mounted from `folders`."""
    for folder in folders:
        if hidden.is_relative_to(folder.resolve()):
            yield folder / hidden.relative_to(folder.resolve())


def _mount(way: str, real: Path | str, seen: Path | str) -> Iterator[str]:
    for above in (*reversed(Path(seen).parents),)[1:]:
        # Those that bubblewrap makes by itself are closed to all but root.
        yield from ("--perms", "0755", "--dir", str(above))
    yield from (way, str(real), str(seen))


def accounts_text(uid: int) -> tuple[str, str]:
    """passwd and group, for a process that runs as `uid`."""
    passwd = f"{USER}:x:{uid}:{uid}::{HOME}:/bin/bash\n"
    return (
        passwd + "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
        f"{USER}:x:{uid}:\nnogroup:x:65534:\n",
    )
