"""Memory that strangers hold is bounded alike, whichever server has their connection."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import psutil
import pytest

from gateway.client import Json
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    copy,
)

MIB = 1 << 20
ROOM = 16 * MIB
# A connection that has asked for this is served by the other server from then on.
GREETING = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIZE = 5 * MIB - 1000


@pytest.fixture(scope="module")
def served(new_folder: NewFolder) -> Iterator[tuple[Gateway, Json]]:
    folder = new_folder("doors")
    with Gateway(folder / "data", max_inflight_bytes=str(ROOM)) as gateway:
        yield (
            gateway,
            gateway.serve(
                copy("badly", folder / "badly"), "badly.py", "behave", replicas=1, memory=1
            ),
        )


def connect(gateway: Gateway, clients: ExitStack, greeting: bytes) -> socket.socket:
    address = urlsplit(gateway.url)
    client = clients.enter_context(
        closing(socket.create_connection((address.hostname, address.port), timeout=20))
    )
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if greeting:
        client.sendall(greeting)
        received = b""
        while not received.endswith(b"}"):
            received += client.recv(4096)
        assert received.startswith(b"HTTP/1.1 200")
    return client


def post(body_size: int) -> bytes:
    return (
        b"POST /model HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % body_size
    )


def resident(gateway: Gateway) -> int:
    return psutil.Process(gateway.pid).memory_info().rss


@fault(
    "bodies that never end",
    injection="forty of 5 MB, at the first and at the second door",
    bound="refused beyond their share; given back when their clients are gone",
)
@pytest.mark.parametrize("greeting", [b"", GREETING], ids=["first", "second"])
def test_endless_bodies_take_only_their_share(
    served: tuple[Gateway, Json], greeting: bytes
) -> None:
    """Forty bodies of 5 MB that never end take no more than their share, most are refused, and
    when their clients are gone a large request is answered."""
    gateway, model = served
    before = resident(gateway)
    with ExitStack() as clients:
        connections = [connect(gateway, clients, greeting) for _ in range(40)]
        refused = 0
        for each in connections:
            with suppress(OSError):
                each.sendall(post(SIZE) + b"x" * (SIZE - 1))
            each.settimeout(0.05)
            with suppress(OSError):
                refused += each.recv(4096).startswith(b"HTTP/1.1 503")
        assert refused >= 30
        assert resident(gateway) - before < 4 * ROOM
    asked = {"do": "echo", "text": "x" * (4 * MIB)}
    until(lambda: gateway.call(model, asked).status == 200)


@fault(
    "answers that are not taken",
    injection="thirty of 8 MB, at the first and at the second door",
    bound="who holds most loses connections; memory stays within the bound",
)
@pytest.mark.parametrize("greeting", [b"", GREETING], ids=["first", "second"])
def test_unread_answers_free_their_memory(served: tuple[Gateway, Json], greeting: bytes) -> None:
    """Of thirty unread answers of 8 MB, the caller with most loses connections, and the memory is
    free for the next callers."""
    gateway, model = served
    body = b'{"accessKey": "%b", "request": {"do": "big", "bytes": 8000000}}' % (
        model["access_key"].encode()
    )
    before = resident(gateway)
    with ExitStack() as clients:
        for _ in range(30):
            client = connect(gateway, clients, greeting)
            client.sendall(post(len(body)) + body)
            assert client.recv(1) == b"H"  # it has begun to come
        assert resident(gateway) - before < 4 * ROOM
    assert gateway.call(model, {"do": "echo"}).status == 200
