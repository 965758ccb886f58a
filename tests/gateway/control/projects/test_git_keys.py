"""A private repository is cloned over ssh by a key that is git's alone, at each level."""

import logging
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.to_thread import run_sync as to_thread

from builder import (
    CloneFailed,
    CloneGuard,
    RepositoryAddress,
    Run,
    clone,
    read_address,
    with_identity,
)
from builder.git.clone import unreadable
from tests.builder.git.test_clone import origin
from tests.gateway.control.projects.test_confined_git import INSTANCE, run, workers
from tests.support.builder import Lines
from tests.support.gateway import Gateway, refusal, running, settings_for, until
from tests.support.ssh_server import SshServer, make_key, secret_line, ssh_server
from workers import Limits, Workers
from workers.process.process import marked

__all__ = ["origin", "run", "workers"]


@pytest.fixture
def server(tmp_path: Path, origin: Path) -> Iterator[SshServer]:
    (tmp_path / "data").mkdir()
    with ssh_server(tmp_path / "ssh", origin, tmp_path / "data") as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "projects" / "one"


def address_of(
    server: SshServer, key: str | None = None, host_key: str | None = None
) -> RepositoryAddress:
    return with_identity(
        read_address(server.url),
        server.key if key is None else key,
        server.host_key if host_key is None else host_key,
    )


async def test_a_key(run: Run, server: SshServer, target: Path, origin: Path) -> None:
    """It opens the repository. While git runs it is on no command line, in no environment and in no
    file; afterwards nothing is left, the agent included."""
    commit = subprocess.run(
        ["git", "rev-parse", "v1"], cwd=origin, check=True, capture_output=True, text=True
    ).stdout.strip()
    await clone(address_of(server), commit, target, run=run, guard=None)
    assert (target / "model.py").read_text() == "first"
    assert [path.name for path in target.parent.iterdir()] == ["one"]
    seen = server.seen.read_bytes()
    for text in (b"ssh-agent\0-D\0", b"git\0clone", b"GIT_SSH_COMMAND", b"directory = *"):
        assert text in seen
    assert server.canary.encode() not in seen
    assert b"PREDICTD_GIT_KEY" not in seen
    assert not _agents()


async def test_who_is_no_administrator(run: Run, server: SshServer, target: Path) -> None:
    """With the address looked up before, the key and the host's key count as well, and a failure
    tells which host keys are accepted but not what was found."""
    guard = CloneGuard(is_refused=lambda *_: False)  # the server is on this machine
    await clone(address_of(server), "v1", target, run=run, guard=guard)
    assert (target / "model.py").read_text() == "first"
    for address in (address_of(server, key=""), address_of(server, host_key="")):
        with pytest.raises(CloneFailed) as caught:
            await clone(address, "", target.parent / "two", run=run, guard=guard)
        assert caught.value.problem == unreadable(address)
        assert "git_host_key" in caught.value.problem


async def test_what_fails(run: Run, server: SshServer, target: Path, tmp_path: Path) -> None:
    """Another key, none, and a host whose key is not known or another fail, and say what to do."""
    other = make_key(tmp_path / "other")
    host = server.host_key.split()[0]
    changed = f"{host} {' '.join((tmp_path / 'other.pub').read_text().split()[:2])}"
    for address, said in (
        (address_of(server, key=other), "Permission denied"),
        (address_of(server, key=""), "Permission denied"),
        (address_of(server, host_key=""), "without git_host_key the only host keys accepted are"),
        (address_of(server, host_key=changed), "must show a key of git_host_key for [127.0.0.1]:"),
    ):
        with pytest.raises(CloneFailed) as caught:
            await clone(address, "", target, run=run, guard=None)
        assert said in caught.value.problem
        for key in (other, server.key):
            assert secret_line(key) not in caught.value.problem
    assert not server.seen.exists()
    assert list(target.parent.iterdir()) == []
    assert not _agents()


async def test_what_others_may_read(
    workers: Workers, server: SshServer, target: Path, tmp_path: Path
) -> None:
    """The socket of the agent is open to the clone's own user only, and what runs after the agent
    has started has the key in no variable."""
    seen = Lines()

    async def looking(command: list[str], **more: Any) -> int:
        shell, option, script, *rest = command
        script = script.replace("unset key\n", 'unset key\nls -lA "$HOME"; env; set\n')
        command = [shell, option, script, *rest]
        more["log"] = seen
        return await workers.run(command, limits=Limits(processes=100), identity=7, **more)

    await clone(address_of(server), "", target, run=looking, guard=None)
    [socket] = [line for line in seen.lines if line.endswith(" agent")]
    assert socket.startswith("srw-------")
    assert "GIT_SSH_COMMAND" in seen
    assert server.canary not in seen


async def test_a_cancelled_clone(run: Run, tmp_path: Path, origin: Path, target: Path) -> None:
    """Its agent ends with it, and the key was in no file."""
    (tmp_path / "data").mkdir(exist_ok=True)
    with ssh_server(tmp_path / "ssh", origin, tmp_path / "data", answers=False) as server:
        async with trio.open_nursery() as nursery:
            address = address_of(server)
            nursery.start_soon(partial(clone, address, "", target, run=run, guard=None))
            await until(lambda: to_thread(server.seen.exists), bool)
            assert _agents()
            nursery.cancel_scope.cancel()
        assert not _agents()
        assert list(target.parent.iterdir()) == []
    assert server.canary.encode() not in server.seen.read_bytes()


async def test_no_agent(workers: Workers, server: SshServer, target: Path) -> None:
    """Where there is no ssh-agent the failure names it, and the key is not in it."""

    async def without(command: list[str], **more: Any) -> int:
        command = [each.replace("ssh-agent -D", "no-such-agent -D") for each in command]
        return await workers.run(command, limits=Limits(processes=100), identity=7, **more)

    with pytest.raises(CloneFailed, match="ssh-agent and ssh-add did not take") as caught:
        await clone(address_of(server), "", target, run=without, guard=None)
    assert server.canary not in caught.value.problem


def _agents() -> list[int]:
    """The processes of clones that are left."""
    return [pid for pid in marked(f"{INSTANCE}/") if pid != os.getpid()]


async def test_nothing_keeps_it(
    tmp_path: Path,
    origin: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is in no answer, no file of the data folder, no log, no entry of the audit trail and no
    backup, whether the clone succeeds, fails or is refused."""
    caplog.set_level(logging.DEBUG)
    settings = settings_for(tmp_path / "data", access_log=str(tmp_path / "access.log"))
    told: list[str] = []
    with ssh_server(tmp_path / "ssh", origin, tmp_path / "data") as server:
        async with running(settings) as gateway:
            for name, reference, status in (("a", "v1", "success"), ("b", "v9", "failure")):
                asked = {"git_url": server.url, "git_ref": reference, "git_key": server.key}
                answer = await _ask(gateway, name, {**asked, "git_host_key": server.host_key})
                told.append(answer.text)
                project = f"/projects/{answer.json()['id']}"
                ended = await gateway.until(project, lambda p: p["creation_status"] != "creating")
                assert ended["creation_status"] == status
                told += [str(ended), str(await gateway.get("/projects"))]
            for wrong in (
                {"git_url": "https://host/x", "git_key": server.key},
                {"git_key": server.key},
                {"git_url": server.url, "git_key": server.key.replace("OPENSSH", "RSA")},
                {"git_url": server.url, "git_key": server.key * 50},
                {"git_url": server.url, "git_key": [server.key]},
                {"git_url": server.url, "git_host_key": server.key},
            ):
                answer = await _ask(gateway, "c", wrong)
                assert refusal(answer) == (400, "argument.invalid")
                told.append(answer.text)
            audit = (await gateway.admin.get("/audit")).text
            backup = (await gateway.admin.get("/backup")).raise_for_status()
    told += [audit, backup.content.decode(errors="replace"), caplog.text, *capfd.readouterr()]
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    told += [path.read_bytes().decode(errors="replace") for path in files]
    told += [server.seen.read_bytes().decode(errors="replace")]
    told.append((tmp_path / "access.log").read_text())
    assert "git_key" in audit
    assert "model.py" in backup.text
    for text in told:
        for line in server.key.splitlines()[1:-1]:
            if line not in server.host_key:
                assert line not in text


async def _ask(gateway: Gateway, name: str, asked: dict[str, Any]) -> Any:
    return await gateway.admin.post("/projects", json={"name": name, **asked})
