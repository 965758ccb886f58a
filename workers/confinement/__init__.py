"""Confinement: what a process tree can reach of its machine, and of its neighbours.

`open_confinement` finds the strongest level that works here. `Confinement.launch` turns a command
into one that runs at it. `view.py` and `bubblewrap.py` decide; the kernel enforces.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from workers import untrusted_tree
from workers.confinement import (
    bubblewrap,
    fences,
    interpreter,
    landlock,
    levels,
    mount_points,
    outward,
    seccomp,
    visible_parts,
)
from workers.confinement.bubblewrap import Host
from workers.confinement.fences import Fenced, behind
from workers.confinement.last_stage import RESERVED, SHELL, ProjectCommand
from workers.confinement.levels import (
    LEVELS,
    MEANINGS,
    ConfinementUnavailable,
    ConfinementWeaker,
    Level,
    LevelChoice,
    is_weaker,
)
from workers.confinement.memory_files import open_in_memory
from workers.confinement.view import HOME, NETWORKS, TMP, USER, Network, SandboxView

__all__ = [
    "HOME",
    "LEVELS",
    "MEANINGS",
    "NETWORKS",
    "RESERVED",
    "SHELL",
    "Confinement",
    "ConfinementUnavailable",
    "ConfinementWeaker",
    "Launch",
    "Level",
    "LevelChoice",
    "Network",
    "ProjectCommand",
    "SandboxView",
    "is_weaker",
    "open_confinement",
]

# Users of deployments and builds are FIRST_UID + identity. systemd's list of uids leaves this range
# unused. It is above the ids of subuid files and below those that programs take for negative.
FIRST_UID = 2_000_000_000
UIDS = 100_000_000
_USER_UID = 1000  # of cdsw, where a namespace maps it to our uid


class Launch(msgspec.Struct, frozen=True):
    """How to start a command: by the programs of `chain`, which confine it, and the last stage.
    `descriptors` are for the chain alone: close them after the start. Where `wrapped`, the exit
    status 128 + n may mean signal n. If there is a `fence`, its thread must start the command."""

    command: ProjectCommand
    chain: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()
    wrapped: bool = False
    fence: Fenced | None = None

    def close(self) -> None:
        """Call it after the start, or when there will be none."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Confinement:
    """One level, on this machine. `folder` is for the few small files that it needs. No process
    sees the folder above it, or the paths of `hidden`, wherever they lie. `readable` are folders
    that all users may read."""

    def __init__(
        self,
        tried: LevelChoice,
        folder: Path,
        readable: Iterable[Path] = (),
        hidden: Iterable[Path] = (),
    ) -> None:
        self.level = tried.level
        # Why this machine cannot forbid processes to listen; "" where it can.
        self.unfenced = _NO_ISOLATION if self.level == "none" else fences.missing()
        self.refused = tried.refused
        self._folder = folder
        self._readable = tuple(path for path in readable if path.exists())
        self._data = folder.parent.resolve()
        looking = of_system = visible_parts.looking([self._data, *hidden])
        if tried.level in ("userns", "landlock"):
            of_system = visible_parts.looking_through_system(looking)
        self._system = Host.looked_at(looking, of_system)
        if tried.level == "landlock":
            system = json.dumps([str(part) for part in _parts(self._system)])
            (folder / _PARTS).write_text(system)

    def launch(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        variables: Mapping[str, str],
        view: SandboxView | None,
        reads_output: bool = False,
    ) -> Launch:
        """How to start `command` with this view, or as a program of ours; `cwd` is a real folder.
        With `reads_output` its standard output, a terminal, is its standard input too.
        This sets HOME and the like to their paths in the view; `variables` win. Raises OSError."""
        os.stat(cwd)  # so that a missing folder is an error here, not a status of the command
        words = list(map(str, command))
        if view is None:
            return Launch(ProjectCommand(words, str(cwd), variables))
        home, tmp = self.path_inside(view, view.home), self.path_inside(view, view.tmp)
        merged = {"HOME": str(home), "TMPDIR": str(tmp), **variables}
        if self.mounts:
            merged = {"USER": USER, "LOGNAME": USER, **merged}
        inner = ProjectCommand(words, str(self.path_inside(view, cwd)), merged, reads_output)
        if self.level == "none":
            return Launch(inner)
        if self.level == "landlock":
            return Launch(inner, self._landlock(view))
        mounted = (*self._read(view), *view.write, *filter(None, [view.built]))
        for real, seen in ((view.home, HOME), (view.tmp, TMP)):
            mount_points.make(real, seen, mounted)
        uid = self.uid(view)
        view = msgspec.structs.replace(view, read=self._read(view))
        with ExitStack() as on_failure:

            def opened(name: str, content: bytes) -> int:
                descriptor = open_in_memory(name, content)
                on_failure.callback(os.close, descriptor)
                return descriptor

            texts = bubblewrap.texts(view, self._system, uid)
            files = {path: opened(path, text.encode()) for path, text in texts}
            # Empty where seccomp.py does not know the machine's calls.
            filters = [opened("seccomp", program)] if (program := seccomp.program()) else []
            wrapper = (
                *(_with_network() if view.network == "outward" else ()),
                levels.program("bwrap"),
                *bubblewrap.arguments(view, self._system, files),
                *(word for descriptor in filters for word in ("--seccomp", str(descriptor))),
                *_as_user(self.level, uid),
            )
            fence = self._fence(view)
            on_failure.pop_all()
        return Launch(inner, wrapper, (*files.values(), *filters), wrapped=True, fence=fence)

    def _fence(self, view: SandboxView) -> Fenced | None:
        """In a network of its own a process may listen: only it can reach the ports it opens."""
        if self.unfenced:
            return None
        return behind("quiet" if view.network == "machine" else "open")

    def _read(self, view: SandboxView) -> tuple[Path, ...]:
        """All that a view shows beside the system, read-only. Raises OSError."""
        prefix = interpreter.shown(view.prefix, self._data) if view.prefix else ()
        return (*view.read, *prefix, *self._readable)

    @property
    def mounts(self) -> bool:
        """Whether projects stand at HOME here. Without mounts they keep their real paths."""
        return self.level in ("users", "userns")

    def path_inside(self, view: SandboxView, path: Path) -> Path:
        """The path inside a view of a real path."""
        if not self.mounts:
            return path
        for real, seen in ((view.home, HOME), (view.tmp, TMP)):
            if path.is_relative_to(real):
                return seen / path.relative_to(real)
        return path

    def missing_for(self, network: Network) -> str:
        """Why a view cannot have this network, "" where it can. Landlock restricts only TCP."""
        if network in ("machine", "listen"):
            return ""
        if not self.mounts:
            return f"the isolation in force, {self.level!r}, cannot take it away"
        if network == "outward":
            if not levels.program("slirp4netns"):
                return "'outward' needs slirp4netns: install slirp4netns"
            if not os.access(_TUN, os.R_OK | os.W_OK):
                return f"'outward' needs {_TUN}, which predictd's user cannot open"
        return ""

    def uid(self, view: SandboxView) -> int:
        """The uid that a process with this view has inside it."""
        if self.level == "users":
            return FIRST_UID + view.identity % UIDS
        return _USER_UID if self.level == "userns" else os.geteuid()

    def owner(self, view: SandboxView) -> int:
        """The owner, outside the view, of what a process with this view writes."""
        return self.uid(view) if self.level == "users" else os.geteuid()

    def chown_writable(self, view: SandboxView) -> None:
        """Makes `owner` the owner of what the view may write, also where another level had another
        owner. Blocking. Raises OSError."""
        if not levels.is_root():
            return  # all files are ours: there has been no other user
        uid = self.owner(view)
        for path in (view.home, view.tmp, *view.write):
            if path == view.home or path.stat().st_uid != uid:
                untrusted_tree.chown_tree(path, uid)

    def described(self) -> dict[str, object]:
        """For operators: the level in force, its meaning, and why each stronger level is not in
        force; and why every process may listen on TCP ports, "" where only allowed ones may."""
        return {
            "level": self.level,
            "meaning": MEANINGS[self.level],
            "refused": self.refused,
            "may_listen": self.unfenced,
        }

    def _landlock(self, view: SandboxView) -> tuple[str, ...]:
        shown = (*self._read(view), *filter(None, [view.built]))
        looked_at = (self._system.looking.at(path) for path in shown)
        read = ["/proc", *(each for part in looked_at for each in visible_parts.largest(part))]
        write = [*_DEVICES, *view.devices, view.home, view.tmp, *view.write]
        rules = {
            # A file, since the list may be longer than an argument.
            "system": str(self._folder / _PARTS),
            "read": list(map(str, read)),
            "write": list(map(str, write)),
            "listen": view.network == "listen",
            "seccomp": seccomp.program(bare=True, unix_sockets=view.unix_sockets).hex(),
        }
        # Its file must be readable inside too: it runs before anything is confined.
        return (sys.executable, "-I", "-S", landlock.__file__, json.dumps(rules))


def _with_network() -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", outward.__file__, levels.program("slirp4netns"))


_PARTS = "landlock.json"
_TUN = "/dev/net/tun"
_NO_ISOLATION = "isolation 'none' restricts nothing"
# Devices that programs commonly write to. No terminals: a process could read from their files what
# the gateway's user types in another terminal.
_DEVICES = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"),
    "/dev/shm",
)


def open_confinement(
    wanted: str,
    folder: Path,
    readable: Iterable[Path] = (),
    *,
    hidden: Iterable[Path] = (),
    least: Level | None = None,
) -> Confinement:
    """The strongest level that works here, or the one `wanted` by name. `folder` is its own. It is
    rebuilt, so that files of an earlier start, at another level, have no effect. `readable` and
    `hidden` are as for Confinement. Blocking: at most a few tenths of a second. Raises
    ConfinementUnavailable, OSError, and ConfinementWeaker for a level weaker than `least`.
    """
    untrusted_tree.remove(folder)
    folder.mkdir(parents=True)
    readable, hidden = tuple(readable), tuple(hidden)
    made: dict[Level, Confinement] = {}

    def attempt(level: Level) -> str:
        if level == "none":
            return ""
        if why := _missing(level):
            return why
        trial = made[level] = Confinement(LevelChoice(level, {}), folder, readable, hidden)
        probe = folder / f"probe-{level}"
        for name in ("home", "tmp"):
            (probe / name).mkdir(parents=True, exist_ok=True)
        # What replicas must be able to read: a closed folder above it does not matter, its own
        # permissions do.
        inside = Path(__file__).parent.parent / "inside"
        view = SandboxView(home=probe / "home", tmp=probe / "tmp", read=(inside,))
        trial.chown_writable(view)
        # Empty files: they fit on a full disk, too.
        script = f"cat {inside}/python/start.py >/dev/null && : >$HOME/x && : >$TMPDIR/x"
        why = _try_out(trial, view, script)
        if why and level != "landlock" and not trial.unfenced:
            trial.unfenced = f"{levels.program('bwrap')} does not work behind Landlock: {why}"
            why = _try_out(trial, view, script)
        return why

    tried = levels.find(wanted, attempt)
    if least and wanted == "auto" and levels.is_weaker(tried.level, least):
        raise ConfinementWeaker(tried.level, least, tried.refused)
    confinement = made.get(tried.level) or Confinement(tried, folder)
    confinement.refused = tried.refused
    return confinement


def _try_out(trial: Confinement, view: SandboxView, script: str) -> str:
    """Why a script does not run at the level; "" if it does."""
    launch = trial.launch(["/bin/sh", "-c", script], cwd=view.home, variables={}, view=view)
    try:
        with open(launch.command.open_script(""), "rb") as file:
            run = partial(levels.run, [*launch.chain, *SHELL], file, launch.descriptors)
            return run() if launch.fence is None else launch.fence.run(run)
    finally:
        launch.close()


def _parts(host: Host) -> Iterator[Path]:
    """The parts of the system that a process of the gateway's user may read."""
    for part in host.system.values():
        yield from visible_parts.largest(part)
    for name in host.programs:
        yield from visible_parts.largest(host.looking.at(Path(name)))


def _missing(level: Level) -> str:
    if level == "users" and not levels.is_root():
        return "predictd does not run as root"
    if level == "userns" and levels.is_root():
        return "root has no use for a user namespace; isolation 'users' is stronger"
    if level in ("users", "userns"):
        for name, package in (("bwrap", "bubblewrap"), ("setpriv", "util-linux")):
            if not levels.program(name):
                return f"{name} is missing: install {package}"
    if level == "landlock" and not landlock.version():
        return "this kernel has no Landlock"
    return ""


def _as_user(level: Level, uid: int) -> list[str]:
    if level == "userns":
        return ["--unshare-user", "--uid", str(uid), "--gid", str(uid), "--cap-drop", "ALL", "--"]
    drop = ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    return ["--", levels.program("setpriv"), "--reuid", str(uid), "--regid", str(uid), *drop, "--"]
