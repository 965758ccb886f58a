"""Which local user connects, as the kernel tells."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from gateway.http.peer_user import PeerUsers
from tests.support.skipping import not_here

SOMEBODY = 12345
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
def test_a_user_of_this_machine(host: str) -> None:
    """A client has the user of its process, with either protocol; one that is gone has none."""
    if os.geteuid() != 0:
        not_here("root, who can start processes of other users")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, closing(PeerUsers()) as users:
        listener.bind((host, 0))
        listener.listen()
        for uid in (os.geteuid(), SOMEBODY):
            with connected(listener, uid) as served:
                assert users.user_of(served) == uid
        assert users.user_of(served) is None


def test_without_an_answer_nobody_is_known() -> None:
    """Where the kernel does not tell, nothing is told."""
    left, right = socket.socketpair()
    with left, right, closing(PeerUsers()) as users:
        assert users.user_of(left) is None
