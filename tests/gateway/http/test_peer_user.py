"""The local user of a client, as the kernel reports it."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from gateway.http.peer_user import PeerUsers
from tests.support.skipping import not_here

OTHER_UID = 12345
CONNECT = "import socket, sys; c = socket.create_connection(sys.argv[1:]); sys.stdin.read()"


@contextmanager
def connected(listener: socket.socket, uid: int) -> Iterator[socket.socket]:
    """A connection of a process of this user."""
    host, port = listener.getsockname()[:2]
    if "." in host and listener.family is socket.AF_INET6:
        host = host.rpartition(":")[2]
    command = ["/usr/bin/python3", "-c", CONNECT, host, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, user=uid, cwd="/") as client:
        listener.settimeout(20)
        with listener.accept()[0] as served:
            yield served
        client.communicate()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_local_client_has_the_user_of_its_process(host: str) -> None:
    """With either protocol; a client that is gone has none."""
    if os.geteuid() != 0:
        not_here("root, who can start processes of other users")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, closing(PeerUsers()) as users:
        listener.bind((host, 0))
        listener.listen()
        for uid in (os.geteuid(), OTHER_UID):
            with connected(listener, uid) as served:
                assert users.user_of(served) == uid
        assert users.user_of(served) is None


def test_user_is_unknown_without_the_kernel() -> None:
    """Without an answer of the kernel, the user is None."""
    left, right = socket.socketpair()
    with left, right, closing(PeerUsers()) as users:
        assert users.user_of(left) is None
