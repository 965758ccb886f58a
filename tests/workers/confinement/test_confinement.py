"""Laws of confinement, on the level that is named in each."""

import errno
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from tests.support.gpus import fake_gpus
from tests.support.other_user import run_as
from tests.support.skipping import not_here
from workers.confinement import (
    HOME,
    SHELL,
    Confinement,
    ConfinementUnavailable,
    Launch,
    SandboxView,
    bubblewrap,
    levels,
    open_confinement,
    seccomp,
    visible_parts,
)
from workers.confinement.bubblewrap import Host
from workers.confinement.visible_parts import Part
from workers.process.process import Process, kill_tree, marked, pipe, spawn

NOBODY = 12345
X86 = 0xC000003E
LEVELS = ("users", "userns", "landlock")
PATH = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}

# Each line is an attempt that must fail.
ESCAPES = """
cat {data}/admin.key
cat {data}/builds/other/code.py
cat /proc/{gateway}/environ
cat /proc/{gateway}/root/{data}/admin.key
ls /proc/{gateway}/fd/0
kill -0 {gateway}
cat /etc/shadow
ls /root
echo x >/usr/x
echo x >/etc/x
echo x >{data}/builds/own/x
echo x >/x
echo x >/dev/x
touch {data}/builds/own/code.py
rm {data}/builds/own/code.py
ln {data}/builds/own/code.py $HOME/hard
ln -s {data}/admin.key $HOME/soft && cat $HOME/soft
mknod $HOME/device c 1 1
chroot / true
unshare --user true
unshare --mount true
mount -t tmpfs none $HOME
echo b >/proc/sysrq-trigger
echo x >/proc/sys/kernel/core_pattern
mkdir /sys/fs/cgroup/mine
echo 0 >/sys/fs/cgroup/cgroup.procs
dmesg
cp /bin/true $HOME/t && chown 4:4 $HOME/t
"""

# What a level does not hold: Landlock knows opening, making and removing, not the changing of
# modes and times, so a file's owner may still do that.
NOT_HELD = {"landlock": ["touch {data}/builds/own/code.py"]}


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder with secrets, other people's things, and a build that may be read."""
    with tempfile.TemporaryDirectory(prefix="confinement-", dir="/var/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "admin.key").write_text("secret")
        for build in ("own", "other"):
            (root / "builds" / build).mkdir(parents=True)
            (root / "builds" / build / "code.py").write_text("secret")
        for own in ("home", "tmp"):
            (root / "replicas" / own).mkdir(parents=True)
        yield root


def _at(level: str, data: Path, work: Callable[[Confinement, SandboxView], object]) -> object:
    """What `work` returns at a level, as a user to whom that level is offered."""
    view = SandboxView(
        home=data / "replicas" / "home",
        tmp=data / "replicas" / "tmp",
        read=(data / "builds" / "own",),
        identity=7,
    )

    def confined() -> object:
        confinement = open_confinement(level, data / "confinement")
        confinement.chown_writable(view)
        return work(confinement, view)

    if level == "users" and os.geteuid() != 0:
        not_here("this needs to be run by root")
    other = level == "userns" and os.geteuid() == 0
    if other:
        for path in (data, *data.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    answer = run_as(NOBODY if other else 0, confined)
    if isinstance(answer, str) and answer.startswith("ConfinementUnavailable"):
        not_here(answer)
    return answer


def _shell(
    confinement: Confinement, view: SandboxView, script: str
) -> subprocess.CompletedProcess[str]:
    launch = confinement.launch(["/bin/sh", "-c", script], cwd=view.home, variables=PATH, view=view)
    try:
        with open(launch.command.open_script(""), "rb") as told:
            return subprocess.run(
                [*launch.chain, *SHELL],
                cwd="/",
                env={},
                stdin=told,
                pass_fds=launch.descriptors,
                capture_output=True,
                text=True,
                timeout=20,
            )
    finally:
        launch.close()


@pytest.mark.parametrize("level", LEVELS)
def test_confined_process_cannot_escape(level: str, data: Path) -> None:
    """A confined process reaches nothing of the gateway's, of other users', or of the system's."""
    values = {"data": data, "gateway": os.getpid()}
    attempts = [line.format(**values) for line in ESCAPES.strip().splitlines()]

    def succeeded(confinement: Confinement, view: SandboxView) -> list[str]:
        assert _shell(confinement, view, f"cat {data}/builds/own/code.py").stdout == "secret"
        return [each for each in attempts if _shell(confinement, view, each).returncode == 0]

    expected = [line.format(**values) for line in NOT_HELD.get(level, [])]
    assert _at(level, data, succeeded) == expected
    assert sorted(path.name for path in data.iterdir()) == [
        *("admin.key", "builds", "confinement", "replicas"),
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_confined_process_writes_its_home_and_temporary_folder(level: str, data: Path) -> None:
    """A confined process can write where it lives and into its temporary folder, which HOME and
    TMPDIR name, and can use what programs usually use."""
    script = 'echo a >a && echo b >"$HOME/b" && echo c >"$TMPDIR/c" && echo >/dev/null && pwd'

    def works(confinement: Confinement, view: SandboxView) -> list[str]:
        done = _shell(confinement, view, script)
        return [done.stdout.strip(), done.stderr, str(confinement.path_inside(view, view.home))]

    told = _at(level, data, works)
    assert isinstance(told, list)
    assert told[0] == told[2]
    assert told[1] == ""
    assert told[0] == (str(data / "replicas/home") if level == "landlock" else str(HOME))
    home = data / "replicas" / "home"
    assert [(home / name).read_text() for name in "ab"] == ["a\n", "b\n"]
    assert (data / "replicas" / "tmp" / "c").read_text() == "c\n"


@pytest.mark.parametrize("level", LEVELS)
def test_path_of_the_build_leads_to_the_working_copy(level: str, data: Path) -> None:
    """A path of its folder that a build wrote leads to the working copy where there are mounts, and
    else to the build, which is read-only."""
    built = data / "builds" / "own"
    script = f"cat {built}/code.py; touch {built}/new 2>/dev/null && cat $HOME/code.py"

    def told(confinement: Confinement, view: SandboxView) -> str:
        (view.home / "code.py").write_text("copy")
        view = msgspec.structs.replace(view, built=built, read=())
        return _shell(confinement, view, script).stdout

    assert _at(level, data, told) == ("secret" if level == "landlock" else "copycopy")
    assert sorted(path.name for path in built.iterdir()) == ["code.py"]


@pytest.mark.parametrize("level", LEVELS)
def test_only_the_devices_of_a_view_can_be_opened(level: str, data: Path) -> None:
    """A process opens the device nodes that its view names, and no other one beside them."""
    script = (
        "for each in nvidia0 nvidia1 nvidiactl; do true >{dev}/$each && echo $each; done; ls {dev}"
    )

    def told(confinement: Confinement, view: SandboxView) -> str:
        devices = (machine.dev / "nvidia1", machine.dev / "nvidiactl")
        view = msgspec.structs.replace(view, devices=devices)
        return _shell(confinement, view, script.format(dev=machine.dev)).stdout

    with fake_gpus(2) as machine:
        opened = "nvidia1\nnvidiactl\n"
        assert _at(level, data, told) == opened + ("" if level == "landlock" else opened)


LOADED = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    dprintf(2, "loaded by %s\\n", program_invocation_short_name);
}
"""


def _library(folder: Path) -> Path:
    """One that tells which programs load it."""
    if not shutil.which("cc"):
        pytest.skip("cc is missing")
    (folder / "loaded.c").write_text(LOADED)
    library = folder / "loaded.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, folder / "loaded.c"],
        check=True,
    )
    return library


@pytest.mark.parametrize("level", [*LEVELS, "none"])
def test_ld_preload_reaches_no_privileged_program(level: str, data: Path) -> None:
    """A library that a project names in LD_PRELOAD, by any path, is loaded only by the project's
    program, not by the programs with more rights that run before it."""
    library = _library(data / "replicas" / "home")

    def loads(confinement: Confinement, view: SandboxView) -> list[str]:
        seen = confinement.path_inside(view, library)
        preload = {"LD_PRELOAD": f"{library}:{seen}:./{library.name}", **PATH}
        launch = confinement.launch(
            ["/bin/echo", "-n"], cwd=view.home, variables=preload, view=view
        )
        process, out = _started(launch, "test-preload/")
        with os.fdopen(out) as said:
            lines = said.read().splitlines()
        os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOWAIT)
        process.reap()
        return [line for line in lines if not line.startswith("ERROR: ld.so")]

    told = _at(level, data, loads)
    assert isinstance(told, list)
    assert set(told) == {"loaded by echo"}  # once by each path that leads to it


@pytest.mark.parametrize("level", ["users", "userns"])
@pytest.mark.parametrize("target", ["/oldroot{victim}", "{victim}", "/newroot{victim}"])
def test_mount_point_through_a_link_is_an_error(level: str, target: str, data: Path) -> None:
    """Where something is mounted in a folder of the project, a link in its path is an error, and
    nothing is made at the link's target."""
    victim = data / "victim"
    victim.mkdir()
    # Something that is read and lies in /tmp, where the project's own folder will be.
    with tempfile.TemporaryDirectory(prefix="mounted-") as folder:
        mounted = Path(folder) / "in" / "it"
        mounted.mkdir(parents=True)
        for each in (Path(folder), mounted, mounted.parent):
            each.chmod(0o755)
        link = data / "replicas" / "tmp" / mounted.relative_to("/tmp").parts[0]
        link.symlink_to(target.format(victim=victim))

        def refuses(confinement: Confinement, view: SandboxView) -> list[str]:
            view = msgspec.structs.replace(view, read=(mounted,))
            with pytest.raises(OSError, match="the project has something else"):
                _shell(confinement, view, "true")
            link.unlink()
            done = _shell(confinement, view, f"test -d {mounted} && echo there")
            return [done.stdout.strip()]

        assert _at(level, data, refuses) == ["there"]
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("level", ["users", "userns"])
def test_confined_process_sees_no_other_process(level: str, data: Path) -> None:
    """In its own namespaces a process sees no process but itself."""

    def seen(confinement: Confinement, view: SandboxView) -> str:
        return _shell(confinement, view, "ls /proc | grep -c '^[0-9]'").stdout.strip()

    assert int(str(_at(level, data, seen))) <= 6


@pytest.mark.parametrize("level", ["users", "userns"])
def test_process_without_network_has_only_loopback(level: str, data: Path) -> None:
    """A process without network has nothing but a loopback of its own."""

    def interfaces(confinement: Confinement, view: SandboxView) -> str:
        alone = SandboxView(home=view.home, tmp=view.tmp, network="none", identity=7)
        return _shell(confinement, alone, "tail -n +3 /proc/net/dev | cut -d: -f1").stdout.strip()

    assert _at(level, data, interfaces) == "lo"


@pytest.mark.parametrize("level", ["users", "userns"])
def test_host_names_resolve_in_confinement(level: str, data: Path) -> None:
    """The host's own name resolves, as Java asks at its start, and so does the name that clients of
    CDSW make of the gateway's; the names of /etc/hosts still resolve."""

    def addresses(confinement: Confinement, view: SandboxView) -> list[str]:
        ask = "getent ahostsv4 {} | cut -d' ' -f1 | sort -u"
        names = ("$(uname -n)", "modelservice.localhost", "localhost")
        return [_shell(confinement, view, ask.format(name)).stdout.strip() for name in names]

    assert _at(level, data, addresses) == ["127.0.0.1"] * 3


EITHER = "was killed by SIGSEGV, or exited with status 139"


@pytest.mark.parametrize(
    ("level", "script", "said"),
    [
        ("users", "exit 3", "exited with status 3"),
        ("users", "exit 128", "exited with status 128"),
        ("users", "exit 200", "exited with status 200"),
        ("users", "kill -SEGV $$", EITHER),
        ("users", "exit 139", EITHER),
        ("landlock", "kill -SEGV $$", "was killed by SIGSEGV"),
        ("landlock", "exit 139", "exited with status 139"),
    ],
)
def test_confined_process_has_its_exit_status(
    level: str, script: str, said: str, data: Path
) -> None:
    """The end of a confined process is reported; an ambiguous status is not guessed."""
    confinement, view = _open(level, data)
    process, out = _spawn(confinement, view, script, "test-status/")
    os.close(out)
    os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOWAIT)
    assert process.describe(process.reap()) == said


def _exactly(said: str) -> str:
    """`said` where the kernel tells how others' children ended."""
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    return said if release >= (6, 15) else EITHER


class Waiting:
    """A command in the sandbox that ends when it is told to, and how that is told then."""

    def __init__(self, data: Path, end: str, name: str = "waits", before: str = "") -> None:
        confinement, view = _open("users", data)
        self._go = view.home / "go"
        os.mkfifo(self._go)
        (view.home / name).symlink_to("/bin/bash")
        inner = f"{before} echo begun; read x <$HOME/go; {end}"
        script = f'exec $HOME/{name} -c "$1"'
        out, write = pipe()
        launch = confinement.launch(
            ["/bin/sh", "-c", script, "sh", inner], cwd=view.home, variables=PATH, view=view
        )
        self.process = spawn(launch, mark="test-known/", stdout=write, stderr=write)
        os.close(write)
        self.out = os.fdopen(out)

    def begins(self) -> None:
        assert self.out.readline() == "begun\n"

    def ends(self) -> str:
        self.end()
        return self.told()

    def end(self) -> None:
        self._go.write_text("\n")

    def told(self) -> str:
        os.waitid(os.P_PIDFD, self.process.pidfd, os.WEXITED | os.WNOWAIT)
        told = self.process.describe(self.process.reap())
        self.out.close()
        return told


@pytest.mark.parametrize(
    ("end", "said"),
    [("kill -SEGV $$", "was killed by SIGSEGV"), ("exit 139", "exited with status 139")],
)
def test_status_of_a_known_command_is_exact(end: str, said: str, data: Path) -> None:
    """Where the kernel reports how children of other processes ended, the status of a known command
    is reported."""
    waiting = Waiting(data, end)
    before = len(os.listdir("/proc/self/fd"))
    waiting.begins()
    assert waiting.process.command_pid == waiting.process.pid
    waiting.process.know_command()
    assert waiting.process.command_pid != waiting.process.pid
    assert waiting.ends() == _exactly(said)
    assert len(os.listdir("/proc/self/fd")) == before - 2


@pytest.mark.parametrize("name", ["sh", "bwrap", "setpriv"])
def test_command_is_recognised_by_its_position(
    name: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a wrapper under another name nor a command under a wrapper's name is mistaken."""
    renamed = data / "sandbox"
    real = levels.program
    if real("bwrap"):
        shutil.copy(real("bwrap"), renamed)
    monkeypatch.setattr(
        levels, "program", lambda asked: str(renamed) if asked == "bwrap" else real(asked)
    )
    waiting = Waiting(data, "kill -SEGV $$", name, before="sleep 4242 &")
    waiting.begins()
    waiting.process.know_command()
    assert Path(f"/proc/{waiting.process.command_pid}/comm").read_text() == f"{name}\n"
    assert waiting.ends() == _exactly("was killed by SIGSEGV")


def test_ended_command_is_found_until_reaped(data: Path) -> None:
    """A command that ended before the search is found as long as it is not reaped."""
    waiting = Waiting(data, "kill -SEGV $$", before="(setsid sleep 4242 &);")
    waiting.begins()
    inner = int(_children(waiting.process.pid)[0])
    command = _children(inner)[0]
    os.kill(inner, signal.SIGSTOP)
    _wait_stopped(inner)  # else it may reap the command first
    waiting.end()
    with os.fdopen(os.pidfd_open(int(command))) as end:
        select.select([end], [], [])
    waiting.process.know_command()
    os.kill(inner, signal.SIGCONT)
    assert waiting.told() == _exactly("was killed by SIGSEGV")


def test_an_orphan_is_not_the_command(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose end does not fit the wrapper's report was another process: both are named."""
    waiting = Waiting(data, "exit 139", before="(setsid sleep 4242 &);")
    waiting.begins()
    inner = int(_children(waiting.process.pid)[0])
    _, orphan = _children(inner)
    # As after the command's end, until its wrapper has ended too.
    monkeypatch.setattr("workers.process.process._command_of", lambda pid: int(orphan))
    waiting.process.know_command()
    assert waiting.ends() == EITHER


def _wait_stopped(pid: int) -> None:
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end
        time.sleep(0.001)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_kill_of_the_first_process_ends_its_namespace(data: Path) -> None:
    """In a process namespace nothing outlives the kill of the first process: neither an own session
    nor an own environment saves a grandchild."""
    confinement, view = _open("users", data)
    script = "(setsid env -i sleep 4242 &) ; echo $$ ; sleep 4242"
    process, out = _spawn(confinement, view, script, "test-tree/")
    with os.fdopen(out) as said:
        said.readline()
        process.kill()
        os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOWAIT)
        process.reap()
        # Its end comes when the last who holds the pipe is gone.
        began = time.monotonic()
        assert said.read() == ""
        assert time.monotonic() - began < 2


def _open(level: str, data: Path) -> tuple[Confinement, SandboxView]:
    try:
        confinement = open_confinement(level, data / "confinement")
    except ConfinementUnavailable as error:
        not_here(str(error))
    view = SandboxView(home=data / "replicas" / "home", tmp=data / "replicas" / "tmp", identity=7)
    confinement.chown_writable(view)
    return confinement, view


def _spawn(
    confinement: Confinement, view: SandboxView, script: str, mark: str
) -> tuple[Process, int]:
    launch = confinement.launch(["/bin/sh", "-c", script], cwd=view.home, variables=PATH, view=view)
    return _started(launch, mark)


def _started(launch: Launch, mark: str) -> tuple[Process, int]:
    out, end = pipe()
    process = spawn(launch, mark=mark, stdout=end, stderr=end)
    os.close(end)
    return process, out


def _arguments(view: SandboxView, **host: object) -> list[str]:
    known = {
        "system": {path: Part(path, whole=True, is_folder=True) for path in ("/usr", "/opt")},
        "programs": {"/bin": "usr/bin"},
        "looking": visible_parts.Looking(("/srv/data",)),
    }
    return list(bubblewrap.arguments(view, Host(**(known | host)), {"/etc/passwd": 7}))  # type: ignore[arg-type]


def _mounts(arguments: list[str], way: str) -> list[tuple[str, str]]:
    places = [i for i, word in enumerate(arguments) if word == way]
    return [(arguments[i + 1], arguments[i + 2]) for i in places]


VIEW = SandboxView(home=Path("/srv/data/r/code"), tmp=Path("/srv/data/r/tmp"))


def test_view_mounts_only_what_it_names() -> None:
    """A view mounts only the system and what it names, writable where it says so."""
    view = SandboxView(home=VIEW.home, tmp=VIEW.tmp, read=(Path("/data"),), write=(Path("/cache"),))
    arguments = _arguments(view)
    assert sorted(_mounts(arguments, "--bind")) == [
        ("/cache", "/cache"),
        ("/srv/data/r/code", "/home/cdsw"),
        ("/srv/data/r/tmp", "/tmp"),
    ]
    assert sorted(_mounts(arguments, "--ro-bind")) == [
        ("/data", "/data"),
        ("/opt", "/opt"),
        ("/usr", "/usr"),
    ]
    assert _mounts(arguments, "--ro-bind-data") == [("7", "/etc/passwd")]


def test_network_namespace_is_private_unless_requested() -> None:
    """A view without network has a network namespace of its own; a view with network has not."""
    assert "--unshare-net" not in _arguments(VIEW)
    assert "--unshare-net" in _arguments(SandboxView(home=VIEW.home, tmp=VIEW.tmp, network="none"))


def _lay(root: Path) -> None:
    """A folder of the system's with files in it that not all users may read."""
    for name in ("open/a", "mixed/a", "mixed/secret", "closed/a", "deep/er/closed/a", "deep/b"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    (root / "mixed" / "link").symlink_to("secret")
    (root / "mixed" / "secret").chmod(0o640)
    (root / "closed").chmod(0o700)
    (root / "deep" / "er" / "closed").chmod(0o750)


def test_visible_parts_hold_only_what_all_users_may_read(tmp_path: Path) -> None:
    """No visible part holds a hidden path or one that not all users may read; all else is in as few
    parts as possible."""
    _lay(tmp_path)
    careful = visible_parts.Looking((f"{tmp_path}/open/a",), (str(tmp_path),))
    assert set(visible_parts.largest(careful.at(tmp_path))) == {
        *(tmp_path / "mixed" / "a", tmp_path / "deep" / "b"),
    }
    assert list(visible_parts.largest(careful.at(tmp_path / "deep" / "b"))) == [
        tmp_path / "deep" / "b"
    ]
    hiding = visible_parts.Looking((f"{tmp_path}/open",))
    found = set(visible_parts.largest(hiding.at(tmp_path)))
    assert found == {tmp_path / "mixed", tmp_path / "closed", tmp_path / "deep"}
    # What is asked for by name is shown.
    assert list(visible_parts.largest(hiding.at(tmp_path / "open"))) == [tmp_path / "open"]
    assert list(visible_parts.largest(visible_parts.Looking(()).at(tmp_path))) == [tmp_path]


def test_hidden_file_is_hidden_by_all_its_names(tmp_path: Path) -> None:
    """A file is hidden where it is named, and at the targets of the links that name it."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "key1.pem").write_text("")
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "key.pem").symlink_to("../archive/key1.pem")
    (tmp_path / "conf").symlink_to("live")
    looking = visible_parts.looking([tmp_path / "conf" / "key.pem"])
    assert looking.hidden == (f"{tmp_path}/live/key.pem", f"{tmp_path}/archive/key1.pem")


@pytest.mark.parametrize("level", [*LEVELS])
@pytest.mark.parametrize("root", ["/etc", "/opt", "/usr/local/etc"])
def test_private_system_files_are_unreadable(level: str, root: str, data: Path) -> None:
    """A system file that the gateway's user may read but not all users is unreadable at any level;
    so is a file of the gateway's own that all users may read."""
    if os.geteuid():
        not_here("only root may write there")
    Path(root).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="predictd-", dir=root) as folder:
        top = Path(folder)
        _lay(top)
        (top / "open" / "key.pem").write_text("")
        (top / "open" / "settings.toml").symlink_to(top / "open" / "a")
        if level == "userns":
            for path in (top, *top.rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

        def readable(_: Confinement, view: SandboxView) -> list[str]:
            hidden = [top / "open" / "key.pem", top / "open" / "settings.toml"]
            confinement = open_confinement(level, data / "confinement", hidden=hidden)
            (top / "open" / "key.pem").unlink()  # as a renewal does
            (top / "open" / "key.pem").write_text("")
            names = ("open/a", "open/key.pem", "mixed/secret", "mixed/link", "closed/a", "deep/b")
            tried = "; ".join(f"head -c1 {top}/{name} >/dev/null && echo {name}" for name in names)
            return _shell(confinement, view, tried).stdout.split()

        # Of a user of its own the kernel keeps what is private.
        assert _at(level, data, readable) == ["deep/b"]


def test_data_folder_in_a_visible_folder_is_covered(tmp_path: Path) -> None:
    """A data folder inside a visible folder is covered before anything of it is visible."""
    hidden = tmp_path / "predictd"
    (hidden / "build").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    home = hidden / "r"
    view = SandboxView(home=home, tmp=home, read=(hidden / "build",))
    looking = visible_parts.Looking((str(hidden),))
    arguments = _arguments(view, system={str(tmp_path): looking.at(tmp_path)}, looking=looking)
    assert (str(tmp_path), str(tmp_path)) in _mounts(arguments, "--ro-bind")
    covered = list(pairwise(arguments)).index(("--tmpfs", str(hidden)))
    assert arguments.index(str(tmp_path / "predictd" / "build")) > covered
    assert list(pairwise(arguments)).index(("--remount-ro", str(hidden))) > covered


def test_hidden_file_covers_its_folder(tmp_path: Path) -> None:
    """A mount on a file would vanish when the file is replaced. So its folder is empty but for its
    other files, which are mounted one by one."""
    for name in ("conf/key", "conf/cert", "conf/in/a", "other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "conf" / "link").symlink_to("cert")
    looking = visible_parts.Looking((f"{tmp_path}/conf/key",))
    arguments = _arguments(VIEW, system={str(tmp_path): looking.at(tmp_path)}, looking=looking)
    names = [seen for _, seen in _mounts(arguments, "--ro-bind") if seen.startswith(str(tmp_path))]
    assert names == [str(tmp_path / name) for name in (".", "conf/cert", "conf/in")]
    assert ("--tmpfs", str(tmp_path / "conf")) in pairwise(arguments)
    assert _mounts(arguments, "--symlink")[0] == ("cert", str(tmp_path / "conf" / "link"))


def _decide(number: int, *arguments: int, architecture: int = X86, bare: bool = False) -> int:
    """What the filter for x86-64 says to a call."""
    padded = [*arguments, *(0,) * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *padded)
    program = list(struct.iter_unpack("<HBBI", seccomp.program("x86_64", bare=bare)))
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            loaded = int(struct.unpack_from("<I", data, operand)[0])
            at += 1
            continue
        holds = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}
        at += 1 + (if_true if holds[code] else if_false)


ALLOWED = 0x7FFF0000
EPERM = 0x50000 | errno.EPERM


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ((0,), ALLOWED),  # read
        ((56, 0x11), ALLOWED),  # clone, as fork makes it
        ((56, 0x10000000), EPERM),  # clone of a user namespace
        ((435,), 0x50000 | errno.ENOSYS),  # clone3
        ((272,), EPERM),  # unshare
        ((425,), EPERM),  # io_uring_setup
        ((16, 0, 0x5412), EPERM),  # ioctl TIOCSTI
        ((16, 0, 0x5401), ALLOWED),
        ((41, socket.AF_UNIX), ALLOWED),
        ((41, socket.AF_INET6), ALLOWED),
        ((41, 38), 0x50000 | errno.EAFNOSUPPORT),  # AF_ALG
        ((41, 40), 0x50000 | errno.EAFNOSUPPORT),  # AF_VSOCK
        ((0x40000000,), 0x50000 | errno.ENOSYS),  # by the numbers of x32
    ],
)
def test_system_call_filter_refuses_only_what_no_model_needs(
    call: tuple[int, ...], said: int
) -> None:
    """The filter refuses the calls that no model needs, and nothing else."""
    assert _decide(*call) == said


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ((41, socket.AF_UNIX), 0x50000 | errno.EAFNOSUPPORT),
        ((41, socket.AF_INET), ALLOWED),
        ((53, socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), ALLOWED),  # socketpair
        ((53, socket.AF_UNIX, socket.SOCK_SEQPACKET), ALLOWED),
        ((53, socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC), EPERM),
        ((53, socket.AF_UNIX, socket.SOCK_RAW), EPERM),
        ((90, 0, 0o755), ALLOWED),  # chmod
        ((90, 0, 0o4755), EPERM),
        ((91, 0, 0o2755), EPERM),  # fchmod
        ((268, 0, 0, 0o755), ALLOWED),  # fchmodat
        ((268, 0, 0, 0o4755), EPERM),
        ((452, 0, 0, 0o4755), EPERM),  # fchmodat2
        ((56, 0x10000000), EPERM),  # clone of a user namespace
        ((16, 0, 0x5412), EPERM),  # ioctl TIOCSTI
        ((0,), ALLOWED),  # read
    ],
)
def test_filter_without_mounts_refuses_connecting_sockets(call: tuple[int, ...], said: int) -> None:
    """A process that runs in the machine's file system as the gateway's user makes no socket that
    could connect to a path, and no program that runs as its owner."""
    assert _decide(*call, bare=True) == said


@pytest.mark.parametrize("level", LEVELS)
def test_sockets_of_user_services_are_unreachable(level: str, data: Path) -> None:
    """Services that listen on a path of the gateway's user, such as systemd, run what that user
    asks for: neither streams nor single messages reach them."""
    script = (
        "import socket, sys\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "    for make in (lambda: socket.socket(1, kind), lambda: socket.socketpair(1, kind)[0]):\n"
        "        try:\n"
        "            made = make()\n"
        "            made.connect(sys.argv[kind])\n"
        "            print('reached', kind)\n"
        "        except OSError as error:\n"
        "            pass\n"
        "print('tried')\n"
    )
    paths = [data / "stream", data / "message"]
    with (
        socket.socket(socket.AF_UNIX) as stream,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as message,
    ):
        for each, path in zip((stream, message), paths, strict=True):
            each.bind(str(path))
            path.chmod(0o666)
        stream.listen()

        def told(confinement: Confinement, view: SandboxView) -> str:
            words = f'python3 -c "{script}" {paths[0]} {paths[1]}'
            return _shell(confinement, view, words).stdout

        assert _at(level, data, told) == "tried\n"


@pytest.mark.parametrize("level", LEVELS)
def test_terminals_of_the_user_cannot_be_opened(level: str, data: Path) -> None:
    """A terminal of the gateway's user cannot be opened, so what is typed there cannot be read."""
    leader, terminal = os.openpty()
    name = os.ttyname(terminal)
    os.chmod(name, 0o666)
    try:

        def told(confinement: Confinement, view: SandboxView) -> str:
            return _shell(confinement, view, f"(true <>{name}) && echo opened; echo tried").stdout

        assert _at(level, data, told) == "tried\n"
    finally:
        os.close(leader)
        os.close(terminal)


@pytest.mark.parametrize("mark", ["-i", "PREDICTD_TREE=test/none/", "PREDICTD_TREE=another"])
@pytest.mark.parametrize("level", LEVELS)
def test_daemon_that_leaves_its_tree_is_killed(level: str, data: Path, mark: str) -> None:
    """A daemon that removed or changed its mark and left its group and session ends with its tree,
    and so do its children. A daemon of a live tree is left alone."""

    def survivors(confinement: Confinement, view: SandboxView) -> list[object]:
        def begin(script: str, mark: str) -> Process:
            command = ["/bin/sh", "-c", script]
            launch = confinement.launch(command, cwd=view.home, variables=PATH, view=view)
            return spawn(launch, mark=mark, stdout=1, stderr=2)

        script = f"touch $HOME/begun; while sleep 0.02; do date +%N >{view.home}/now; done"
        daemon = f"env {mark} HOME=$HOME setsid sh -c '{script}'".replace(str(view.home), "$HOME")
        other = begin("setsid sh -c 'touch $HOME/other; sleep 1000' & sleep 1000", "test/other/")
        started = begin(
            f'setsid sh -c "{daemon} &" & until test -e begun -a -e other; do sleep 0.1; done',
            "test/tree/",
        )
        select.select([started.pidfd], [], [], 20)
        started.kill()
        started.reap()
        started.await_group()
        kill_tree("test/tree/")
        (view.home / "now").unlink(missing_ok=True)
        time.sleep(0.2)
        found = (view.home / "now").exists(), (view.home / "begun").exists()
        others = len(marked("test/other/"))
        other.kill()
        other.reap()
        kill_tree("test/other/")
        return [*found, others >= 2, marked("test/")]

    assert _at(level, data, survivors) == [False, True, True, []]


def test_calls_of_another_architecture_end_the_process() -> None:
    """Calls by the numbers of another architecture end the process."""
    assert _decide(0, architecture=0x40000003) == 0x80000000
