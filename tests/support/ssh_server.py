"""A real sshd on loopback that serves one repository to one key, with a throw-away configuration.

While it answers, what can be seen of all processes and of a folder just then is kept in `seen`.
"""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.support.skipping import not_here


class SshServer(msgspec.Struct):
    """`host_key` is a line of known_hosts, `key` the private key that opens it."""

    url: str
    host_key: str
    key: str
    seen: Path

    @property
    def canary(self) -> str:
        """What is in the private key and nowhere else."""
        return secret_line(self.key)


def secret_line(key: str) -> str:
    """A line of a private key which is not in its public half."""
    return key.splitlines()[4]


def make_key(path: Path, passphrase: str = "") -> str:
    """Makes a key pair; returns the private one."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.read_text()


@contextmanager
def ssh_server(
    folder: Path, repository: Path, watched: Path, *, answers: bool = True
) -> Iterator[SshServer]:
    """Serves `repository`, and looks at all files in `watched`. Where it does not answer,
    its client waits until the client ends."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        pytest.skip("sshd is not installed")
    if os.geteuid() == 0:  # its own unit makes it elsewhere
        try:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            not_here(f"sshd cannot run: {error}")
    folder.mkdir()
    key, seen = make_key(folder / "key"), folder / "seen"
    make_key(folder / "host")
    serve = f"git upload-pack {shlex.quote(str(repository))}"
    (folder / "look").write_text(
        f"cat /proc/[0-9]*/cmdline >>{shlex.quote(str(seen))} 2>/dev/null\n"
        f"cat /proc/[0-9]*/environ >>{shlex.quote(str(seen))} 2>/dev/null\n"
        f"cat $(find {shlex.quote(str(watched))} -type f) >>{shlex.quote(str(seen))} 2>/dev/null\n"
        f"exec {serve if answers else 'cat >/dev/null'}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nPermitRootLogin yes\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"ForceCommand sh {folder}/look\n"
    )
    command = [sshd, "-D", "-e", "-f", str(folder / "config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert "Server listening" in said, said
            kind, encoded, _ = (folder / "host.pub").read_text().split()
            yield SshServer(
                url=f"ssh://{getpass.getuser()}@127.0.0.1:{port}/any",
                host_key=f"[127.0.0.1]:{port} {kind} {encoded}",
                key=key,
                seen=seen,
            )
        finally:
            process.terminate()
