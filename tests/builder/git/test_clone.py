"""A repository is cloned by addresses that cannot do anything else."""

import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from builder.errors import CloneFailed, CloneRefused
from builder.git.address import RepositoryAddress, read_address
from builder.git.clone import clone
from tests.support.builder import run


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    git("init", "-q", "-b", "main", cwd=folder)
    for text, tag in (("first", "v1"), ("second", "v2")):
        (folder / "model.py").write_text(text)
        git("add", ".", cwd=folder)
        git("commit", "-q", "-m", text, cwd=folder)
        git("tag", tag, cwd=folder)
    git("branch", "feature/x", "v1", cwd=folder)
    return folder


async def fetch(origin: Path, reference: str, target: Path) -> str:
    await clone(local(origin), reference, target, run=run, guard=None)
    return (target / "model.py").read_text()


def local(origin: Path) -> RepositoryAddress:
    return read_address(f"file://{origin}")


async def test_branch_tag_and_commit_can_be_cloned(origin: Path, tmp_path: Path) -> None:
    """The default branch, a branch, a tag and a commit can be cloned."""
    commit = git("rev-parse", "v1", cwd=origin).strip()
    for number, (reference, text) in enumerate(
        [("", "second"), ("main", "second"), ("feature/x", "first"), ("v1", "first")]
    ):
        assert await fetch(origin, reference, tmp_path / str(number)) == text
    assert await fetch(origin, commit, tmp_path / "commit") == "first"


async def test_clone_runs_no_hook(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks and filters of the gateway's account are not run."""
    canary = tmp_path / "canary"
    hook = tmp_path / "template/hooks/post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    config = f"[init]\ntemplateDir = {tmp_path / 'template'}\n"
    (tmp_path / ".gitconfig").write_text(config + f"[core]\nhooksPath = {hook.parent}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    await fetch(origin, "", tmp_path / "copy")
    assert not canary.exists()


@pytest.mark.parametrize("reference", ["-b", "--upload-pack=evil", "a b", "a..b", "a:b", "a\n"])
async def test_bad_reference_is_refused(origin: Path, tmp_path: Path, reference: str) -> None:
    """A reference that is an option or no name is refused by name."""
    with pytest.raises(CloneRefused) as caught:
        await clone(local(origin), reference, tmp_path / "x", run=run_nothing, guard=None)
    assert repr(reference) in caught.value.problem


async def test_failed_clone_has_the_message_of_git(origin: Path, tmp_path: Path) -> None:
    """A failed clone has git's message, and leaves nothing."""
    with pytest.raises(CloneFailed, match="no-such-branch"):
        await fetch(origin, "no-such-branch", tmp_path / "copy")
    with pytest.raises(CloneFailed, match=r"does not exist|not appear to be a git repository"):
        await fetch(tmp_path / "gone", "", tmp_path / "copy")
    with pytest.raises(CloneFailed):
        await fetch(origin, "a" * 40, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_existing_target_is_not_touched(origin: Path, tmp_path: Path) -> None:
    """A folder that is there is not touched."""
    (tmp_path / "copy").mkdir()
    with pytest.raises(CloneRefused, match="already exists"):
        await fetch(origin, "", tmp_path / "copy")
    assert (tmp_path / "copy").exists()


async def test_clone_keeps_only_files(origin: Path, tmp_path: Path) -> None:
    """Nothing is fetched again, so neither `.git` nor anything beside the files is kept."""
    await fetch(origin, "", tmp_path / "copies" / "copy")
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["copy"]
    assert [path.name for path in (tmp_path / "copies/copy").iterdir()] == ["model.py"]


async def test_cancellation(origin: Path, tmp_path: Path) -> None:
    """A cancelled clone leaves nothing."""

    begun = trio.Event()

    async def endless(command: list[str], *, cwd: Path, **_: object) -> int:
        (cwd / "half").mkdir(parents=True)
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as nursery:
        work = partial(clone, local(origin), "", tmp_path / "copies/copy", run=endless)
        nursery.start_soon(partial(work, guard=None))
        await begun.wait()
        assert list((tmp_path / "copies").rglob("half"))
        nursery.cancel_scope.cancel()
    assert not list((tmp_path / "copies").iterdir())


async def run_nothing(*_: object, **__: object) -> int:
    """A `Run` that must not be called."""
    raise AssertionError("git was run")
