"""Keys for a clone over ssh: what is taken for one, and that an error repeats nothing of it."""

import contextlib
import os
import select
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from builder.errors import CloneRefused
from builder.git.address import read_address
from builder.git.ssh import git_ssh_command, with_agent, with_identity
from tests.support.ssh_server import make_key, secret_line

SSH = read_address("git@host.example:owner/name")
BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


@pytest.mark.parametrize(
    "change",
    [str, str.strip, lambda text: text.replace("\n", "\r\n"), lambda text: f"\n{text}\n\n"],
)
def test_key_line_ends_are_normalised(tmp_path: Path, change: type[str]) -> None:
    """A key may have Windows line ends, or no last one: ssh-add is given it as it wants it."""
    key = make_key(tmp_path / "key")
    address = with_identity(SSH, change(key), "")
    assert address.key == key
    assert secret_line(key) not in repr(address)


@pytest.mark.parametrize("kind", [("rsa", "2048"), ("ecdsa", "256")])
def test_usual_kinds_of_keys_are_accepted(tmp_path: Path, kind: tuple[str, str]) -> None:
    """Each usual kind of key is accepted."""
    file = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", kind[0], "-b", kind[1], "-N", "", "-f", str(file)]
    subprocess.run(command, check=True)
    assert with_identity(SSH, file.read_text(), "").key == file.read_text()


def test_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """A key with a passphrase is refused, and the error says what removes it."""
    key = make_key(tmp_path / "key", "a passphrase")
    with pytest.raises(CloneRefused, match=r"passphrase.*ssh-keygen -p") as caught:
        with_identity(SSH, key, "")
    _tells_nothing(caught.value, key)


def test_text_that_is_no_key_is_refused(tmp_path: Path) -> None:
    """Text that is no private key of OpenSSH is refused, and not repeated."""
    whole = make_key(tmp_path / "key")
    pem = tmp_path / "pem"
    command = ["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", str(pem)]
    subprocess.run(command, check=True)
    cut = whole.replace(whole.splitlines()[3], "")
    public = (tmp_path / "key.pub").read_text()
    for text in ("x", public, pem.read_text(), cut, whole[:-60], "\ud7ff" * 99, "\0" * 99):
        with pytest.raises(CloneRefused, match="OpenSSH's format") as caught:
            with_identity(SSH, text, "")
        _tells_nothing(caught.value, whole)


def _tells_nothing(error: CloneRefused, key: str) -> None:
    assert error.__cause__ is None
    assert error.__suppress_context__
    for line in key.splitlines()[1:-1]:
        assert line not in str(error)


@pytest.mark.parametrize("url", ["https://host/x", "http://h/x", "git://h/x", "file:///srv/x"])
def test_key_is_refused_without_ssh(url: str) -> None:
    """Keys are refused with other addresses; they would have no effect there."""
    for given in (("x", ""), ("", "x")):
        with pytest.raises(CloneRefused, match="for ssh addresses only"):
            with_identity(read_address(url), *given)
    assert with_identity(read_address(url), "", "") == read_address(url)


@pytest.mark.parametrize(
    ("url", "given", "kept"),
    [
        ("git@Host:x", f"ssh-ed25519 {BLOB}", f"host ssh-ed25519 {BLOB}\n"),
        ("ssh://h:2222/x", f"ssh-ed25519 {BLOB} me@here", f"[h]:2222 ssh-ed25519 {BLOB}\n"),
        ("ssh://h/x", f"# h\r\n|1|a=|b= ssh-ed25519 {BLOB}\r\n", f"|1|a=|b= ssh-ed25519 {BLOB}\n"),
        ("ssh://h/x", f"a,b ssh-ed25519 {BLOB} c\n" * 2, f"a,b ssh-ed25519 {BLOB}\n" * 2),
    ],
)
def test_host_key_is_accepted_bare_or_as_known_hosts(url: str, given: str, kept: str) -> None:
    """Lines of known_hosts are taken, and a bare key is that of the address."""
    assert with_identity(read_address(url), "", given).host_keys == kept


@pytest.mark.parametrize(
    "given",
    [
        *("#", "\n", "host", "host ssh-ed25519", "host ssh-ed25519 AAAA", f"host ssh-rsa {BLOB}"),
        *(f"@revoked host ssh-ed25519 {BLOB}", f"h ssh-ed25519 {BLOB}\nx", f"host -oX {BLOB}"),
    ],
)
def test_text_that_is_no_host_key_is_refused(given: str) -> None:
    """What is no host key is refused, with what prints them."""
    with pytest.raises(CloneRefused, match="ssh-keyscan"):
        with_identity(SSH, "", given)


def test_ssh_command_is_quoted() -> None:
    """Git gives the command to a shell: a host in it is one word, with any characters."""
    address = read_address("ssh://$(id);x:2222/x")
    assert "'-oHostKeyAlias=[$(id);x]:2222'" in git_ssh_command(address, ["192.0.2.1"])


def test_agent_ends_with_git(tmp_path: Path) -> None:
    """The end of git, also by SIGKILL, ends its agent: the process that would
    end both by their process group may have ended."""
    key = make_key(tmp_path / "key")
    home = tmp_path / "home"
    home.mkdir()
    script = with_agent(with_identity(SSH, key, "")) + "pwd; exec cat"
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "PREDICTD_GIT_KEY": key}
    with subprocess.Popen(
        ["sh", "-c", script],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as git:
        assert git.stdout is not None
        assert git.stdout.readline() == f"{tmp_path}\n"
        with contextlib.chdir(home), socket.socket(socket.AF_UNIX) as client:
            client.connect("agent")
            told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        agent = os.pidfd_open(struct.unpack("3i", told)[0])
        try:
            assert not select.select([agent], [], [], 0)[0]
            git.kill()
            assert select.select([agent], [], [], 30)[0]
        finally:
            os.close(agent)
