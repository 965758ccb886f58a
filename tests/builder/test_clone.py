"""A repository is cloned by addresses that cannot do anything else."""

import subprocess
from pathlib import Path

import pytest
import trio
import trio.testing

from builder.clone import check_url, clone
from builder.errors import CloneFailed, CloneRefused
from builder.spec import Log
from tests.builder.kit import Lines, run


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
    await clone(f"file://{origin}", reference, target, run=run, log=Lines())
    return (target / "model.py").read_text()


async def test_references(origin: Path, tmp_path: Path) -> None:
    """The default branch, a branch, a tag and a commit can be had."""
    commit = git("rev-parse", "v1", cwd=origin).strip()
    for number, (reference, text) in enumerate(
        [("", "second"), ("main", "second"), ("feature/x", "first"), ("v1", "first")]
    ):
        assert await fetch(origin, reference, tmp_path / str(number)) == text
    assert await fetch(origin, commit, tmp_path / "commit") == "first"


async def test_no_hook_runs(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks and filters of whoever runs the gateway are not run."""
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


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/owner/name.git",
        "http://host:8080/name",
        "ssh://git@host/name",
        "git://host/name",
        "file:///srv/name",
        "git@github.com:owner/name.git",
        "host:name",
    ],
)
def test_good_urls(url: str) -> None:
    """Every usual kind of address is let through."""
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::17",
        "-u./evil",
        "--upload-pack=evil",
        "/srv/name",
        "../name",
        "file://host/name",
        "https://",
        "https:///name",
        "https://host",
        "ssh://-oProxyCommand=evil/name",
        "ssh://-oProxyCommand=evil@host/name",
        "-oProxyCommand=evil:name",
        "git@-oProxyCommand=evil:name",
        "host:-name",
        "ftp://host/name",
        "https://host/na me",
        "https://host/name\n--upload-pack=evil",
        "https://[host/name",
    ],
)
async def test_bad_urls(url: str, tmp_path: Path) -> None:
    """Anything else is refused by name, before git sees it."""
    with pytest.raises(CloneRefused) as caught:
        await clone(url, "", tmp_path / "copy", run=run_nothing, log=Lines())
    assert repr(url) in caught.value.problem


@pytest.mark.parametrize("reference", ["-b", "--upload-pack=evil", "a b", "a..b", "a:b", "a\n"])
async def test_bad_references(origin: Path, tmp_path: Path, reference: str) -> None:
    """A reference that is an option or no name is refused by name."""
    with pytest.raises(CloneRefused) as caught:
        await clone(f"file://{origin}", reference, tmp_path / "x", run=run_nothing, log=Lines())
    assert repr(reference) in caught.value.problem


async def test_failure(origin: Path, tmp_path: Path) -> None:
    """A failed clone says what git said, and leaves nothing."""
    with pytest.raises(CloneFailed, match="no-such-branch"):
        await fetch(origin, "no-such-branch", tmp_path / "copy")
    with pytest.raises(CloneFailed, match=r"does not exist|not appear to be a git repository"):
        await fetch(tmp_path / "gone", "", tmp_path / "copy")
    with pytest.raises(CloneFailed):
        await fetch(origin, "a" * 40, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_existing_target(origin: Path, tmp_path: Path) -> None:
    """A folder that is there is not touched."""
    (tmp_path / "copy").mkdir()
    with pytest.raises(CloneRefused, match="is there already"):
        await fetch(origin, "", tmp_path / "copy")
    assert (tmp_path / "copy").exists()


async def test_secrets(tmp_path: Path) -> None:
    """A token in an address is neither logged nor reported."""
    log = Lines()

    async def failing(command: list[str], *, log: Log, **_: object) -> int:
        log.write(f"fatal: unable to access '{command[-2]}': denied to secret")
        return 128

    for url in ("https://user:secret@host/name", "ssh://user:secret@host/name"):
        with pytest.raises(CloneFailed) as caught:
            await clone(url, "", tmp_path / "copy", run=failing, log=log)
        assert "unable to access" in caught.value.problem
        assert "secret" not in str(caught.value)
    with pytest.raises(CloneRefused) as refused:
        await clone("ftp://user:secret@host/name", "", tmp_path / "copy", run=failing, log=log)
    assert "secret" not in str(refused.value)
    assert "secret" not in log


async def test_cancellation(origin: Path, tmp_path: Path) -> None:
    """A cancelled clone leaves nothing."""

    async def endless(command: list[str], **_: object) -> int:
        (tmp_path / "copy/half").mkdir(parents=True)
        await trio.sleep_forever()
        raise AssertionError

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            url = f"file://{origin}"

            async def make() -> None:
                await clone(url, "", tmp_path / "copy", run=endless, log=Lines())

            nursery.start_soon(make)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert not (tmp_path / "copy").exists()


async def run_nothing(*_: object, **__: object) -> int:
    """A `Run` that nobody should need."""
    raise AssertionError("git was run")
