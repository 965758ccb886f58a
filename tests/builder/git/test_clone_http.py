"""What a clone over HTTP gives away: nothing of a password, of this machine, or what it reaches."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.errors import CloneFailed
from builder.git.address import read_address
from builder.git.clone import PINNING, UNREADABLE, CloneGuard, clone, unreadable
from builder.git.git_store import git_version
from tests.builder.git.test_clone import origin, run_nothing
from tests.support.builder import run
from tests.support.git_server import commands, git_server

__all__ = ["origin"]

PASSWORD, QUOTED = "k/an@ar:y%ü", "k%2Fan%40ar%3Ay%25%C3%BC"


# The servers of the tests are on this machine.
GUARD = CloneGuard(is_refused=lambda *_: False)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize(
    ("user", "password", "given"),
    [("ada", PASSWORD, f"ada:{QUOTED}"), (PASSWORD, "", QUOTED)],
)
async def test_name_and_password(
    origin: Path,
    tmp_path: Path,
    user: str,
    password: str,
    given: str,
    guarded: bool,
) -> None:
    """They open a repository and are on no command line, nor in any file that stays."""
    with git_server(tmp_path, user, password) as server:
        server.look = commands
        address = read_address(f"http://{given}@127.0.0.1:{server.port}/origin/.git")
        await clone(address, "v1", tmp_path / "copy", run=run, guard=GUARD if guarded else None)
    assert (tmp_path / "copy/model.py").read_text() == "first"
    assert len(server.seen) > 1
    for seen in map(str, server.seen):
        assert "clone\0--template=" in seen
        assert PASSWORD not in seen
        assert QUOTED not in seen


async def test_a_wrong_password(origin: Path, tmp_path: Path) -> None:
    """A trusted user is shown git's message, but not the password."""
    with git_server(tmp_path, "ada", "right") as server:
        address = read_address(f"http://ada:{QUOTED}@127.0.0.1:{server.port}/origin/.git")
        for guarded in (False, True):
            with pytest.raises(CloneFailed) as caught:
                await clone(
                    address, "", tmp_path / "copy", run=run, guard=GUARD if guarded else None
                )
            assert ("Authentication failed" in caught.value.problem) is not guarded
            assert PASSWORD not in str(caught.value)
            assert QUOTED not in str(caught.value)
    assert not server.asked


@contextmanager
def talking(text: str) -> Iterator[int]:
    """The port of a server that sends the same text to all clients, and is no git server."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(text.encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


async def test_guarded_clone_does_not_reveal_open_ports(origin: Path, tmp_path: Path) -> None:
    """The message of a guarded clone does not show which ports are open."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
    with (
        git_server(tmp_path, "ada", "right") as locked,
        git_server(tmp_path) as server,
        talking("220 mail.example ESMTP\r\n") as mail,
    ):
        cases = [
            *((f"{scheme}://127.0.0.1:{port}/x", "")
              for scheme in ("http", "https", "git", "ssh") for port in (free, mail)),
            (f"http://127.0.0.1:{locked.port}/origin/.git", ""),
            (f"http://127.0.0.1:{server.port}/nothing", ""),
            (f"http://127.0.0.1:{server.port}/origin/.git", "no-such-branch"),
            ("http://no-such-host.invalid/x", ""),
        ]  # fmt: skip
        told = set()
        for url, reference in cases:
            with pytest.raises(CloneFailed) as caught:
                await clone(read_address(url), reference, tmp_path / "c", run=run, guard=GUARD)
            assert caught.value.problem == unreadable(read_address(url))
            told.add(caught.value.problem.partition("; without git_host_key")[0])
    assert told == {UNREADABLE}


async def test_only_trusted_clones_follow_redirects(origin: Path, tmp_path: Path) -> None:
    """A server may redirect the clone of a trusted user to another address, and no other clone."""
    with git_server(tmp_path) as server:
        address = read_address(f"http://127.0.0.1:{server.port}/moved/origin/.git")
        await clone(address, "", tmp_path / "copy", run=run, guard=None)
        assert server.asked
        server.asked.clear()
        with pytest.raises(CloneFailed):
            await clone(address, "", tmp_path / "copy-2", run=run, guard=GUARD)
        assert not server.asked


async def test_clone_resolves_a_name_once(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git connects to the address that was checked, and does not resolve the name itself."""

    async def found(*_: object, **__: object) -> list[object]:
        return [(None, None, None, "", ("127.0.0.1", 0))]

    monkeypatch.setattr("trio.socket.getaddrinfo", found)
    with git_server(tmp_path) as server:
        address = read_address(f"http://somewhere.invalid:{server.port}/origin/.git")
        await clone(address, "", tmp_path / "copy", run=run, guard=GUARD)
        with pytest.raises(CloneFailed, match="Could not resolve host"):
            await clone(address, "", tmp_path / "copy-2", run=run, guard=None)


async def test_guarded_clone_needs_a_git_with_fixed_addresses(tmp_path: Path) -> None:
    """With a git that does not accept the addresses of a name, a guarded clone is refused."""
    assert git_version() > PINNING
    old = CloneGuard(is_refused=GUARD.is_refused, git_version=lambda: (2, 36))
    address = read_address("http://127.0.0.1/x")
    with pytest.raises(CloneFailed, match=r"older than 2\.37"):
        await clone(address, "", tmp_path / "copy", run=run_nothing, guard=old)


INNER = ("127.0.0.1", "127.9.9.9", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]",
         "169.254.169.254", "[fe80::1]", "[64:ff9b::7f00:1]", "[fd00:ec2::254]")  # fmt: skip


@pytest.mark.parametrize("host", [*INNER, "2130706433", "0x7f.1"])
async def test_guarded_clone_does_not_reach_this_machine(tmp_path: Path, host: str) -> None:
    """A guarded clone reaches nothing on this machine or its link, however it is written."""
    for scheme in ("http", "git", "ssh"):
        address = read_address(f"{scheme}://{host}:80/x")
        with pytest.raises(CloneFailed) as caught:
            await clone(address, "", tmp_path / "copy", run=run_nothing, guard=CloneGuard())
        assert caught.value.problem == unreadable(address)


async def test_clone_does_not_use_the_gateways_identity(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passwords, keys and agents of the gateway's account are not used."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password right\n")
    (tmp_path / ".git-credentials").write_text("http://ada:right@127.0.0.1\n")
    (tmp_path / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho right\n")
    askpass.chmod(0o755)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(askpass))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with git_server(tmp_path, "ada", "right") as server:
        address = read_address(f"http://127.0.0.1:{server.port}/origin/.git")
        with pytest.raises(CloneFailed, match="could not read Username"):
            await clone(address, "", tmp_path / "copy", run=run, guard=None)
    assert server.refused
    assert not server.asked
