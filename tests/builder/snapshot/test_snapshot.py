"""A snapshot is the project, byte for byte, and what the project says about git is moot."""

import fcntl
import io
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
import trio.testing

from builder.errors import SnapshotFailed, SymlinkLeaves
from builder.files.remove_tree import remove_tree
from builder.git.git_store import GitStore
from builder.snapshot.contents import contents_of
from builder.snapshot.snapshot import (
    drop_snapshot,
    read_tree,
    snapshots_in,
    take_snapshot,
    tree_of,
    write_out,
)
from tests.faults.matrix import fault
from tests.support.builder import Bench, run


async def copied(bench: Bench, name: str = "one") -> Path:
    """The project, through a snapshot and out again."""
    target = bench.store.parent / f"copy-{name}"
    await write_out(await bench.take(name), target)
    return target


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


async def tree(bench: Bench, name: str) -> str:
    snapshot = await bench.take(name)
    return git("rev-parse", f"{snapshot.commit}^{{tree}}", cwd=snapshot.store)


@fault(
    "a hostile .git in a project",
    injection="hooks, filters, fsmonitor",
    bound="none of it runs",
)
async def test_git_folder_of_the_user_is_not_used(bench: Bench, tmp_path: Path) -> None:
    """Nothing in the user's own `.git` is run, read or stored."""
    canary = tmp_path / "canary"
    bench.write("a.py", "1")
    bench.write(".gitattributes", "* filter=evil\n")
    git("init", "-q", cwd=bench.project)
    touch = f"touch {canary}"
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "core.sshCommand"):
        git("config", key, touch, cwd=bench.project)
    for hook in ("post-index-change", "pre-commit", "post-checkout", "reference-transaction"):
        bench.write(f".git/hooks/{hook}", f"#!/bin/sh\n{touch}\n", 0o755)
    bench.write(".git/info/exclude", "a.py\n")
    assert names(await copied(bench)) == {"a.py", ".gitattributes"}
    assert not canary.exists()


async def test_git_variables_have_no_effect(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variables and configuration of git have no effect on our store."""
    bench.write("a.py", "1")
    bench.write("ignored-at-home", "2")
    (tmp_path / "ignore").write_text("ignored-at-home\n")
    (tmp_path / ".gitconfig").write_text(f"[core]\nexcludesFile = {tmp_path / 'ignore'}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_WORK_TREE", "GIT_NAMESPACE"):
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert names(await copied(bench)) == {"a.py", "ignored-at-home"}
    assert not (tmp_path / "elsewhere").exists()


async def test_gitignore_excludes_as_in_git(bench: Bench) -> None:
    """Nested `.gitignore` files exclude, and re-include, as git would have it."""
    bench.write(".gitignore", "R\nnode_modules\n*.pyc\n.*\n!.gitignore\n/build/\n")
    bench.write("sub/.gitignore", "*.csv\n!keep.csv\n")
    for kept in ("a.py", "sub/keep.csv", "other/a.csv", "other/build/x"):
        bench.write(kept)
    for left in ("R/x", "node_modules/m/index.js", "a.pyc", ".env", "sub/a.csv", "build/x"):
        bench.write(left)
    files = {name for name in names(await copied(bench)) if "." in name or name[-1] == "x"}
    assert files == {
        *(".gitignore", "sub/.gitignore"),
        *("a.py", "sub/keep.csv", "other/a.csv", "other/build/x"),
    }


async def test_nested_repository_belongs_to_the_project(bench: Bench) -> None:
    """The files of a repository within the project belong to it; its `.git` does not."""
    bench.write("vendor/lib/code.py", "x = 1")
    git("init", "-q", cwd=bench.project / "vendor/lib")
    git("add", ".", cwd=bench.project / "vendor/lib")
    git("commit", "-q", "-m", "first", cwd=bench.project / "vendor/lib")
    bench.write("module/.git", "gitdir: ../elsewhere\n")
    bench.write("module/code.py", "y = 2")
    folder = await copied(bench)
    assert names(folder) == {
        *("vendor", "vendor/lib", "vendor/lib/code.py"),
        *("module", "module/code.py"),
    }


async def test_large_file_is_unchanged(bench: Bench) -> None:
    """A file over 50 MB is stored byte for byte."""
    data = os.urandom(1 << 20) * 51 + b"\r\n"
    bench.write("big.bin", data)
    assert (await copied(bench) / "big.bin").read_bytes() == data


async def test_git_attributes_change_no_byte(bench: Bench) -> None:
    """Attributes change no byte, on the way in or out."""
    attributes = (
        "* text=auto eol=crlf\n*.id ident\n*.f filter=x\n*.u working-tree-encoding=UTF-16\n"
        "*.no export-ignore\n*.subst export-subst\n"
    )
    contents = {
        ".gitattributes": attributes.encode(),
        "unix.txt": b"a\nb\n",
        "windows.txt": b"a\r\nb\r\n",
        "a.id": b"$Id$\n$Id: abc $\n",
        "a.f": b"plain\n",
        "a.u": b"not utf-16\n",
        "a.no": b"kept\n",
        "a.subst": b"$Format:%H$\n",
    }
    for name, content in contents.items():
        bench.write(name, content)
    folder = await copied(bench)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


async def test_modes_links_and_empty_folders_are_kept(bench: Bench) -> None:
    """The executable bit, links that stay inside and folders without files are kept."""
    bench.write("run.sh", "true", 0o755)
    bench.write("data/real.csv", "1")
    (bench.project / "data/link.csv").symlink_to("real.csv")
    (bench.project / "data/up").symlink_to("../run.sh")
    (bench.project / "dangling").symlink_to("not/there")
    (bench.project / "loop").symlink_to("loop")
    (bench.project / "empty/inner").mkdir(parents=True)
    folder = await copied(bench)
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (folder / "data/real.csv").stat().st_mode & 0o777 == 0o644
    links = {name: str((folder / name).readlink()) for name in ("data/link.csv", "data/up")}
    assert links == {"data/link.csv": "real.csv", "data/up": "../run.sh"}
    assert (folder / "dangling").is_symlink()
    assert (folder / "loop").is_symlink()
    assert (folder / "empty/inner").is_dir()


async def test_links_that_leave_the_project_are_named(bench: Bench) -> None:
    """Every link that leads out is named, and nothing else is."""
    bench.write("inside.txt")
    project = bench.project
    (project / "sub").mkdir()
    (project / "sub/out").symlink_to("../../secret")
    (project / "absolute").symlink_to("/etc/hosts")
    (project / "back").symlink_to(f"{project}/../secret")
    (project / "fine").symlink_to("inside.txt")
    bench.write(".gitignore", "ignored\n")
    (project / "ignored").symlink_to("/etc/passwd")
    with pytest.raises(SymlinkLeaves) as caught:
        await bench.take()
    assert [link.split(" -> ")[0] for link in caught.value.links] == ["absolute", "back", "sub/out"]
    assert ".gitignore" in caught.value.advice


async def test_absolute_links_into_the_project_become_relative(bench: Bench) -> None:
    """One into the project, by its real path or as models know it, becomes relative; one into a
    folder that models are shown stays; one that climbs out of that, or lies beside it, leaves."""
    project = bench.project
    bench.write("data/real.csv", "1")
    (project / "deep/er").mkdir(parents=True)
    (project / "deep/er/one").symlink_to(project / "data/real.csv")
    (project / "two").symlink_to("/home/cdsw/data/real.csv")
    (project / "set").symlink_to("/srv/sets/big")
    target = bench.store.parent / "copy"
    await write_out(await bench.take(readable=[Path("/srv/sets")]), target)
    assert [(target / name).read_text() for name in ("deep/er/one", "two")] == ["1", "1"]
    assert str((target / "set").readlink()) == "/srv/sets/big"
    (project / "climbs").symlink_to("/srv/sets/../secret")
    (project / "beside").symlink_to("/srv/sets2/x")
    (project / "through").symlink_to("set/../../secret")
    with pytest.raises(SymlinkLeaves) as caught:
        await bench.take(readable=[Path("/srv/sets")])
    left = [link.split(" -> ")[0] for link in caught.value.links]
    assert left == ["beside", "climbs", "through"]


async def test_environments_and_caches_are_left_out(bench: Bench) -> None:
    """Environments and caches are left out, since a build has its own: one line says so, and no
    link in them is an error."""
    bench.write("model.py")
    bench.write("venv/pyvenv.cfg")
    (bench.project / "venv/bin").mkdir()
    (bench.project / "venv/bin/python").symlink_to("/usr/bin/python3")
    bench.write("old/env/conda-meta/history")
    bench.write("src/__pycache__/a.pyc")
    bench.write("web/node_modules/x/index.js")
    bench.write("docs/conda-meta", "no environment")
    assert names(await copied(bench)) == {
        *("model.py", "old", "src", "web", "docs", "docs/conda-meta"),
    }
    told = "old/env, src/__pycache__, venv, web/node_modules"
    assert bench.log.lines == [
        f"2 files, 14 B; left out, since each build has its own: {told}",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "with blank.py",
        "grüße-日本.py",
        "-rf",
        '"quoted".py',
        "it's.py",
        ":(top)x",
        "back\\slash",
        "tab\there",
        "*",
        ".GIT/config",
        "git~1",
        " lead and trail ",
        "line\nbreak\r",
        os.fsdecode(b"latin-\xe9"),
    ],
)
async def test_file_may_have_any_name(bench: Bench, name: str) -> None:
    """A file may be called anything that a file system can spell."""
    bench.write(name, "odd")
    assert (await copied(bench) / name).read_bytes() == b"odd"


async def test_special_files_are_left_out(bench: Bench, tmp_path: Path) -> None:
    """Pipes and sockets are left out, and the log says so."""
    bench.write("a.py")
    os.mkfifo(bench.project / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.project / "socket"))
        assert names(await copied(bench)) == {"a.py"}
    assert "pipe" in bench.log
    assert "socket" in bench.log


async def test_gitignore_that_is_a_pipe_is_refused(bench: Bench) -> None:
    """A `.gitignore` on which git would wait for ever is refused."""
    os.mkfifo(bench.project / ".gitignore")
    with pytest.raises(SnapshotFailed, match=r"\.gitignore is not a regular file"):
        await bench.take()


async def test_environment_in_the_root_is_left_out(bench: Bench) -> None:
    """A virtual environment that was made in the root itself is left out, and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bench.project], check=True)
    own = {"model.py", "lib", "lib/own.py", "data", "data/bin", "data/bin/python", "include"}
    for name in ("model.py", "lib/own.py", "data/bin/python"):
        bench.write(name)
    assert names(await copied(bench)) == own
    [line] = bench.log.lines
    assert "left out, since each build has its own: bin" in line
    assert "pyvenv.cfg" in line


@fault(
    "a project too deep or of too many files",
    injection="201 levels; 300,001 entries",
    bound="refused by name",
)
async def test_project_too_deep_or_too_large_is_refused(bench: Bench) -> None:
    """Folders that lie deeper than any path reaches, and more files than are held in memory, are
    refused by name, unless .gitignore leaves them out."""
    here = os.open(bench.project, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(SnapshotFailed, match=r"deep/deep/.* has more than 200 levels"):
        await bench.take("deep")
    bench.write(".gitignore", "deep/\n")
    await bench.take("without")
    for number in range(50):
        bench.write(f"data/{number}")
    with pytest.raises(SnapshotFailed, match=r"more than 50 files.*gitignore"):
        await bench.take("many", entries=50)
    remove_tree(bench.project)  # pytest could not


async def test_empty_project_has_an_empty_snapshot(bench: Bench) -> None:
    """A project without files has a snapshot without files."""
    assert names(await copied(bench)) == set()


async def test_missing_project_is_named(bench: Bench) -> None:
    """A folder that is not there is named."""
    with pytest.raises(SnapshotFailed, match="gone is not a folder"):
        await take_snapshot(bench.project / "gone", bench.store, "one", bench.log, run=run)


async def test_same_content_is_the_same_tree(bench: Bench) -> None:
    """The same files are the same tree; another byte or mode is another one."""
    file = bench.write("a.py", "1")
    first = await tree(bench, "one")
    os.utime(file, (1, 1))
    assert await tree(bench, "two") == first
    file.chmod(0o755)
    assert await tree(bench, "three") != first


async def test_snapshot_is_of_its_time(bench: Bench) -> None:
    """What happens to the project later does not change a snapshot."""
    bench.write("a.py", "before")
    snapshot = await bench.take()
    bench.write("a.py", "after")
    target = bench.store.parent / "copy"
    await write_out(snapshot, target)
    assert (target / "a.py").read_text() == "before"


async def test_cancellation(bench: Bench) -> None:
    """A cancelled snapshot stops on its way, and nothing refers to what it stored."""
    bench.write("/".join("a" * 200), "deep")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.take)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    assert snapshots_in(bench.store) == []


async def test_dropped_snapshot_frees_its_objects(bench: Bench) -> None:
    """Dropping a snapshot frees what only it held, and may be done again."""
    bench.write("shared.py", "shared")
    only = bench.write("only.bin", os.urandom(1 << 20))
    await bench.take("one")
    only.unlink()
    kept = await bench.take("two")
    assert set(snapshots_in(bench.store)) >= {"one"}
    await drop_snapshot(bench.store, "one")
    assert "one" not in snapshots_in(bench.store)
    await drop_snapshot(bench.store, "one")
    await drop_snapshot(bench.store.parent / "no-such-store", "one")
    size = sum(path.stat().st_size for path in bench.store.rglob("*") if path.is_file())
    assert size < 1 << 17
    await write_out(kept, bench.store.parent / "copy")


async def test_waiting_for_the_store_takes_no_thread(bench: Bench) -> None:
    """While a process locks the store, many wait for it, and other work has its threads."""
    bench.write("a.py", "1")
    await bench.take("first")
    everybodys = trio.to_thread.current_default_thread_limiter()
    with ExitStack() as held:
        held.enter_context(GitStore(bench.store).locked())
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(bench.take, str(number))
            await trio.testing.wait_all_tasks_blocked()
            assert everybodys.borrowed_tokens == 0
            held.close()
    assert len(snapshots_in(bench.store)) == 11


async def test_missing_object_is_a_named_failure(bench: Bench) -> None:
    """A stored object that is gone is a named failure, not a file that lacks something."""
    bench.write("a.py", "precious")
    snapshot = await bench.take()
    name = git("rev-parse", f"{snapshot.commit}:a.py", cwd=snapshot.store).strip()
    (snapshot.store / "objects" / name[:2] / name[2:]).unlink()
    with pytest.raises(SnapshotFailed, match="missing or damaged"):
        await write_out(snapshot, bench.store.parent / "copy")


async def test_store_is_changed_under_its_lock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking and dropping a snapshot change the store alone: pruning beside the other would remove
    objects that nothing refers to yet."""
    changed: list[str] = []

    def held(change: str) -> None:
        original = getattr(GitStore, change)

        def changing(store: GitStore, *arguments: str) -> None:
            with (
                (store.path / "predictd.lock").open() as lock,
                pytest.raises(BlockingIOError),
            ):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            changed.append(change)
            original(store, *arguments)

        monkeypatch.setattr(GitStore, change, changing)

    bench.write("a.py")
    held("set_reference")
    held("delete_reference")
    await bench.take("one")
    await drop_snapshot(bench.store, "one")
    assert changed == ["set_reference", "delete_reference"]


async def test_drop_waits_for_the_lock(bench: Bench) -> None:
    """While the store is locked, a snapshot and its reference stay."""
    bench.write("a.py")
    await bench.take("one")
    waiting = threading.Event()

    def wait_for_lock(lock: int, how: int) -> None:
        waiting.set()
        flock(lock, how)

    flock = fcntl.flock
    async with trio.open_nursery() as nursery:
        with GitStore(bench.store).locked(), pytest.MonkeyPatch.context() as patched:
            patched.setattr("builder.git.git_store.fcntl.flock", wait_for_lock)
            nursery.start_soon(drop_snapshot, bench.store, "one")
            await trio.to_thread.run_sync(waiting.wait)
            assert snapshots_in(bench.store) == ["one"]
    assert snapshots_in(bench.store) == []


@fault(
    "git dies while it reads a snapshot",
    injection="SIGKILL in the midst of a file",
    bound="a failed snapshot that names the object; no file lacks its end",
)
async def test_git_that_dies_within_a_blob_fails_the_snapshot(bench: Bench) -> None:
    """A git that dies within a blob is a failed snapshot that names the object, not a truncated
    file; so is every later request to it."""
    bench.write("large.bin", os.urandom(1 << 22))
    snapshot = await bench.take()
    store = GitStore(snapshot.store)
    name = git("rev-parse", f"{snapshot.commit}:large.bin", cwd=snapshot.store).strip()

    class Killing(io.BytesIO):
        def write(self, chunk: Any, /) -> int:
            for child in psutil.Process().children(recursive=True):
                if "cat-file" in child.cmdline():
                    child.kill()
                    child.wait()
            return super().write(chunk)

    def read() -> None:
        with store.blobs() as blobs:
            blobs.CHUNK = 1 << 10
            with pytest.raises(SnapshotFailed, match=f"{name} is damaged"):
                blobs.copy(name, Killing())
            with pytest.raises(SnapshotFailed, match=name):
                blobs.copy(name, io.BytesIO())

    await trio.to_thread.run_sync(read)


@pytest.mark.parametrize("name", ["HEAD", "config", "objects"])
async def test_pipe_in_the_store_does_not_hang(bench: Bench, name: str) -> None:
    """A file of the store that was replaced by a pipe, at which git would wait forever, is an
    error."""
    bench.write("model.py", "x = 1\n")
    snapshot = await bench.take()
    damaged = bench.store / name
    if damaged.is_dir():
        damaged = next(path for path in damaged.rglob("*") if path.is_file())
    damaged.unlink()
    os.mkfifo(damaged)
    with trio.fail_after(10), pytest.raises(SnapshotFailed, match=damaged.name):
        await write_out(snapshot, bench.project.parent / "code")
    with trio.fail_after(10), pytest.raises(SnapshotFailed, match=damaged.name):
        await tree_of(snapshot)


async def test_commit_is_read_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is asked once for the files of a snapshot and once for its tree; another snapshot is
    asked for itself."""
    bench.write("a.txt", "one")
    first = await bench.take("one")
    bench.write("b.txt", "two")
    second = await bench.take("two")
    commands: list[str] = []
    run_git = GitStore.run

    def counted(store: GitStore, *arguments: str) -> bytes:
        commands.append(arguments[0])
        return run_git(store, *arguments)

    monkeypatch.setattr(GitStore, "run", counted)
    for _ in range(2):
        for snapshot, files in ((first, [b"a.txt"]), (second, [b"a.txt", b"b.txt"])):
            tree, entries = await read_tree(snapshot)
            assert [each.path for each in entries] == files
            assert await tree_of(snapshot) == tree
            contents_of(snapshot)
    assert sorted(commands) == ["cat-file", "cat-file", "ls-tree", "ls-tree"]
