"""Git is run for a project as its build scripts are: confined, at each level that works here."""

import os
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from builder import CloneFailed, Run, clone, read_address, take_snapshot
from builder.errors import SnapshotFailed
from builder.snapshot.snapshot import write_out
from gateway.admin import file_operations
from gateway.errors import Refusal
from tests.support.builder import Lines
from tests.support.skipping import not_here
from workers import ConfinementUnavailable, Limits, Workers, open_workers
from workers.confinement import open_confinement

# Of this process alone: two that run such tests at once would end each other's processes.
INSTANCE = f"confined-git-{os.getpid()}"


@pytest.fixture(params=["users", "landlock", "none"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    # Who is confined has to come by: pytest's own folders are closed.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    try:
        confinement = open_confinement(request.param, tmp_path / "data" / "confinement")
        async with open_workers(
            tmp_path / "data" / "replicas", INSTANCE, confinement=confinement
        ) as opened:
            yield opened
    except ConfinementUnavailable as error:
        not_here(f"isolation {request.param} is not to be had: {error}")


@pytest.fixture
def run(workers: Workers) -> Run:
    limits = Limits(processes=100, disk=64 * 1024 * 1024)
    return partial(workers.run, identity=7, limits=limits)


async def test_ignore_files(run: Run, tmp_path: Path) -> None:
    """What `.gitignore` files exclude stays out of a snapshot, at each level."""
    project = tmp_path / "project"
    for name in ("a.py", "a.pyc", "sub/a.csv", "sub/keep.csv", "build/x"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / ".gitignore").write_text("*.pyc\nbuild/\n")
    (project / "sub/.gitignore").write_text("*.csv\n!keep.csv\n")
    store = tmp_path / "data" / "snapshots" / "one.git"
    snapshot = await take_snapshot(project, store, "one", Lines(), run=run)
    await write_out(snapshot, tmp_path / "copy")
    files = {path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert files == {".gitignore", "a.py", "keep.csv"}
    assert [path.name for path in store.parent.iterdir()] == ["one.git"]


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A repository with all that makes git run something, if it is let."""
    folder, canary = tmp_path / "hostile", tmp_path / "canary"
    evil = f"sh -c 'touch {canary}'"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (folder / ".gitmodules").write_text(
        f'[submodule "x"]\n\tpath = x\n\turl = ext::{evil}\n\tupdate = !{evil}\n'
    )
    (folder / ".lfsconfig").write_text(f"[lfs]\n\turl = ext::{evil}\n")
    (folder / "hooks").mkdir()
    (folder / "hooks/post-checkout").write_text(f"#!/bin/sh\n{evil}\n")
    (folder / "hooks/post-checkout").chmod(0o755)
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("../../../../admin.key")
    (folder / "model.py").write_text("def f(args): return 1\n")
    git(folder, "add", ".")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x")
    git(folder, "commit", "-q", "-m", "first")
    for hook in ("post-checkout", "post-upload-pack", "pre-upload"):
        (folder / ".git/hooks" / hook).write_text(f"#!/bin/sh\n{evil}\n")
        (folder / ".git/hooks" / hook).chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.smudge", "filter.evil.process", "core.sshCommand",
                "uploadpack.packObjectsHook", "core.hooksPath"):  # fmt: skip
        git(folder, "config", key, evil)
    return folder


async def test_a_hostile_repository(run: Run, tmp_path: Path, hostile: Path) -> None:
    """Its files are had, ours to keep; nothing of it is run, and its links lead nowhere."""
    target = tmp_path / "data" / "projects" / "one"
    await clone(read_address(f"file://{hostile}"), "", target, run=run, guard=None)
    assert not (tmp_path / "canary").exists()
    names = {path.name for path in target.iterdir()}
    assert names == {
        *(".gitattributes", ".gitmodules", ".lfsconfig", "hooks", "passwd", "up", "model.py", "x")
    }
    for path in target.rglob("*"):
        assert path.lstat().st_uid == os.geteuid()
    assert [path.name for path in target.parent.iterdir()] == ["one"]
    links = {
        each["path"]: each["link"] for each in file_operations.listing(target, "") if "link" in each
    }
    assert links == {"passwd": "/etc/passwd", "up": "../../../../admin.key"}
    for name in links:
        with pytest.raises(Refusal):
            file_operations.opened(target, name)
    store = tmp_path / "data" / "snapshots" / "one.git"
    with pytest.raises(SnapshotFailed, match="passwd -> /etc/passwd, up -> "):
        await take_snapshot(target, store, "one", Lines(), run=run)
    for name in links:
        file_operations.remove(target, name)
    snapshot = await take_snapshot(target, store, "one", Lines(), run=run)
    await write_out(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy/model.py").read_text() == (hostile / "model.py").read_text()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("workers", ["users", "landlock"], indirect=True)
async def test_what_git_sees(workers: Workers, tmp_path: Path, hostile: Path) -> None:
    """Confined, git runs as another user or without a view of what is the gateway's."""
    key = tmp_path / "data" / "admin.key"
    key.write_text("secret")
    seen = Lines()

    async def looking(command: list[str], *, log: object, **more: Any) -> int:
        script = f'cat "{key}" "{hostile}/../canary" 2>&1; ls -A "$HOME"; env'
        limits = Limits(processes=100)
        await workers.run(["sh", "-c", script], log=seen, limits=limits, identity=7, **more)
        return await workers.run(command, log=seen, limits=limits, identity=7, **more)

    target = tmp_path / "data" / "projects" / "one"
    address = read_address(f"file://{hostile}")
    await clone(address, "", target, run=looking, guard=None)
    assert "secret" not in seen
    assert "gitconfig" in seen.lines
    assert {line.split("=")[0] for line in seen.lines if "=" in line} >= {"HOME", "GIT_SSH_COMMAND"}
    for name in ("SSH_AUTH_SOCK", "GIT_ASKPASS"):
        assert f"{name}=" not in seen


async def test_more_than_the_disk_limit(run: Run, tmp_path: Path) -> None:
    """A repository that takes too much is not cloned, and leaves nothing."""
    folder = tmp_path / "huge"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "zeros").write_bytes(bytes(200 * 1024 * 1024))  # as an object it is small
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    target = tmp_path / "data" / "projects" / "one"
    limit = r"larger than a build may|unable to write file|written more than"
    with pytest.raises(CloneFailed, match=limit):
        await clone(read_address(f"file://{folder}"), "", target, run=run, guard=None)
    assert list(target.parent.iterdir()) == []
