"""What would be lost if the power went right after an answer: nothing of what it acknowledged.

The gateway's system calls are recorded and replayed on a model of a disk that keeps nothing until
it is told to: bytes until a sync of their file, names until a sync of their folder.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.faults.matrix import fault
from tests.support.disks import need_strace, tracing
from tests.support.served_gateway import ROOT, Gateway, at

NAMES = "openat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink"
BYTES = "write,writev,pwrite64,ftruncate,copy_file_range,sendfile"
SYNCS = "fsync,fdatasync,syncfs"
TRACE = f"{NAMES},unlinkat,rmdir,{BYTES},{SYNCS},sendto"

# Not promised: what the next start makes again or removes, and uploads until they are copied.
FLEETING = re.compile(
    r"(logs|replicas|cache|ballast|start-room|builds|spool|confinement)(/|$)"
    r"|gateway\.(json|new)$|predictd\.db-shm$|lock$|replicas\.cgroups$|.*/predictd\.lock$"
)

# Of ignore files, for as long as git is asked, and of the source that is checked; what is left of
# them goes at the next start.
COPIES = re.compile("/(ignoring|checking)-")

CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed>)(.*)$")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
OPENED = re.compile(r"^\d+<([^>]*)>")


class Disk:
    """A disk that loses all that it was not told to keep: `bytes` of files, `names` of folders."""

    def __init__(self) -> None:
        self.bytes: set[str] = set()
        self.names: set[str] = set()

    def at_risk(self, root: Path) -> set[str]:
        """What of `root` a loss of power would take, but the fleeting."""
        lost = {each for each in self.bytes | self.names if Path(each).is_relative_to(root)}
        return {each for each in lost if not FLEETING.match(os.path.relpath(each, root))}

    def change(self, call: str, rest: str) -> None:
        """A call that changes names or bytes."""
        if call in BYTES.split(","):
            if (opened := OPENED.match(rest)) and not COPIES.search(opened[1]):
                self.bytes.add(opened[1])
            return
        paths = PATH.findall(rest)
        if call == "openat" and "O_CREAT" not in rest:
            return
        # Relative ones are git's, told with the folder that they are relative to.
        base = re.match(r"AT_FDCWD<([^>]*)>|\d+<([^>]*)>", rest)
        folder = next(filter(None, base.groups()), "/") if base else "/"
        paths = [os.path.normpath(os.path.join(folder, path)) for path in paths]
        if call.startswith("symlink"):
            paths = paths[1:]
        if all(COPIES.search(path) for path in paths):
            return
        self.names |= {os.path.dirname(path) for path in paths}
        if call.startswith("rename") and paths[0] in self.bytes:
            self.bytes.remove(paths[0])
            self.bytes.add(paths[1])
        if call.startswith(("unlink", "rmdir")):
            self.bytes.discard(paths[0])
            self.names.discard(paths[0])

    def sync(self, call: str, opened: str) -> None:
        """A call that keeps what there is."""
        if call == "syncfs":
            self.bytes.clear()
            self.names.clear()
        self.bytes.discard(opened)
        self.names.discard(opened)


def in_vain(lines: list[str]) -> set[int]:
    """The lines that begin a call which ends in a later one, and fails."""
    began: dict[str, int] = {}
    failed = set()
    for number, line in enumerate(lines):
        thread = line.partition(" ")[0]
        if line.endswith("<unfinished ...>"):
            began[thread] = number
        elif " resumed>" in line and " = -1 " in line:
            failed.add(began.get(thread, -1))  # -1: it began before the trace did
    return failed


def replay(trace: str) -> Iterator[tuple[str, Disk]]:
    """Each answer, new file or folder and new name of a file, with the disk as it was right before.

    What changes counts from the call's beginning, what keeps only from its end.
    """
    disk = Disk()
    begun: dict[str, str] = {}
    lines = trace.splitlines()
    failed = in_vain(lines)
    for number, line in enumerate(lines):
        if (found := CALL.match(line)) is None or number in failed:
            continue
        thread, call, how, rest = found.groups()
        resumed = how != "("
        if call in SYNCS.split(","):
            if rest.endswith("<unfinished ...>"):
                begun[thread] = rest
            elif rest.endswith(" = 0"):
                opened = OPENED.match(begun.pop(thread) if resumed else rest)
                assert opened is not None, line
                disk.sync(call, opened[1])
        elif resumed or " = -1 " in rest:
            continue
        elif call == "sendto":
            yield rest, disk
        else:
            if "O_CREAT" in rest or call.startswith(("rename", "mkdir")):
                yield f"{call} {rest}", disk
            disk.change(call, rest)


@fault(
    "loss of power",
    injection="what was not synced is lost, at every acknowledgement",
    bound="nothing acknowledged is",
)
def test_acknowledged_change_is_on_the_disk(gateway: Gateway, tmp_path: Path) -> None:
    """When the answer to a change is sent, every byte and name of it is on the disk: of projects,
    files, models, snapshots and the database."""
    trace = tmp_path / "trace"
    admin = httpx.Client(
        base_url=f"{gateway.url}/api/v2", headers={"Authorization": f"Bearer {gateway.key}"}
    )
    with admin, tracing(gateway.pid, "-y", "-s", "256", "-o", str(trace), "-e", f"trace={TRACE}"):
        project = gateway.client.post("/projects", {"name": "iris", "template": "python"})
        files = f"/projects/{project['id']}/files"
        parts = {"deep/down/model.py": b"def f(x):\n    return x\n", "data.bin": bytes(300_000)}
        answers = [
            admin.put(files, files=parts),
            admin.put(files, files={"data.bin": b"new"}),
            admin.delete(f"{files}/deep/down/model.py"),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        model = gateway.model(project, "petal")
        gateway.client.patch(at(model), {"description": "new"})
        wish = {"file_path": "pi.py", "function_name": "predict"}
        gateway.client.post(f"{at(model)}/builds", wish)
    sent = stores = 0
    for what, disk in replay(trace.read_text()):
        if "HTTP/1.1 200" in what:
            sent += 1
            assert not disk.at_risk(gateway.data), f"at answer {sent}"
        elif re.match(r'rename "[^"]*/snapshots/new-\w+"', what):
            stores += 1
            assert not disk.at_risk(gateway.data / "snapshots")
    assert (sent, stores) == (7, 1)


@fault(
    "the power goes during a first start",
    injection="its system calls replayed on a disk that keeps only what was synced",
    bound="bytes and names of both keys are kept before anything else is made",
)
def test_first_start_is_on_the_disk(tmp_path: Path) -> None:
    """In an empty folder both keys, their bytes and their names, are on the disk before anything
    else is made, and at the first answer all bytes are: a loss of power changes no access key."""
    need_strace()
    trace, root = tmp_path / "trace", tmp_path / "data"
    gateway = Gateway(root)
    # -D: the gateway is the process that is started, and strace its child.
    gateway.wrapper = ["strace", "-D", "-f", "-y", "-s", "256", "-o", str(trace)]
    gateway.wrapper += ["-e", f"trace={TRACE}"]
    with gateway:
        assert gateway.client.listing("/projects") == []
    named: list[str] = []
    answers = 0
    for what, disk in replay(trace.read_text()):
        if named and named[-1] in ("secret.key", "admin.key"):
            assert not disk.at_risk(root)
        if "HTTP/1.1 200" in what:
            answers += 1
            # In the folder itself there are fleeting names by then.
            assert not disk.at_risk(root) - {str(root)}
            assert str(root.parent) not in disk.names
        if f'"{root}/' in what:
            named.append(os.path.relpath(PATH.findall(what)[-1], root))
    assert [name for name in named if name.endswith(".key")] == ["secret.key", "admin.key"]
    assert named.index("admin.key") < named.index("predictd.db")
    assert answers == 1


@fault(
    "the power goes during a restore",
    injection="its system calls replayed on a disk that keeps only what was synced",
    bound="where the database has its name, everything is kept",
)
def test_restored_database_gets_its_name_last(tmp_path: Path) -> None:
    """When the database of a restore gets its name, everything else of it is on the disk; when the
    restore has ended, the database is, too."""
    need_strace()
    backup, trace, root = tmp_path / "backup.tar", tmp_path / "trace", tmp_path / "data"
    with Gateway(tmp_path / "source") as gateway:
        gateway.client.post("/projects", {"name": "own", "template": "python"})
        assert gateway.cli("backup", backup).code == 0
    program = f"""
import pathlib, trio
from gateway.control.backup.restore import restore
trio.run(restore, pathlib.Path({str(backup)!r}), pathlib.Path({str(root)!r}))
pathlib.Path({str(root)!r} + "-ended").touch()
"""
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={TRACE}"]
    subprocess.run([*command, sys.executable, "-c", program], cwd=ROOT, check=True)
    seen = []
    for what, disk in replay(trace.read_text()):
        if what.startswith("rename") and what.partition(", ")[2].startswith(
            f'"{root}/predictd.db"'
        ):
            seen.append("named")
            assert not disk.at_risk(root)
        elif f'"{root}-ended"' in what:
            seen.append("ended")
            assert not disk.at_risk(root)
    assert seen == ["named", "ended"]


def test_seal_gets_its_name_after_the_build_is_on_the_disk(tmp_path: Path) -> None:
    """When the seal of a build gets its name every file of the build is on the disk; when it is
    removed, nothing of the build has been removed before."""
    need_strace()
    folder, trace = tmp_path / "builds" / "one", tmp_path / "trace"
    program = f"""
import pathlib, trio, builder.sealed_folders as builds
from tests.builder.test_build_store import MANIFEST
folder = pathlib.Path({str(folder)!r})
(folder / "code").mkdir(parents=True)
(folder / "code" / "model.py").write_text("whole")
trio.run(builds.seal, folder, MANIFEST)
trio.run(builds.remove_sealed, folder)
"""
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={TRACE}"]
    subprocess.run([*command, sys.executable, "-c", program], cwd=ROOT, check=True)
    at_seal = [
        disk.at_risk(folder) for what, disk in replay(trace.read_text()) if "/sealed" in what
    ]
    # When it is made under another name, and when it gets its own: then only that other name may
    # be lost.
    assert at_seal == [set(), {str(folder)}]
    lines = [line for line in trace.read_text().splitlines() if f"{folder}" in line]
    last = [re.split(r"\d+ +", line, maxsplit=1)[1].partition("(")[0] for line in lines]
    unsealed = next(n for n, line in enumerate(lines) if "unlink" in line and "/sealed" in line)
    # open the folder to sync it; then the rest may go
    assert "fsync" in last[unsealed + 1 : unsealed + 3]
