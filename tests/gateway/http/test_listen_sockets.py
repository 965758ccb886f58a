"""The listening sockets: clients of `localhost` cannot reach another program instead."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from gateway.http.listen_sockets import PortTaken, listen, listen_beside, listen_on_both
from tests.support.gateway import running, settings_for
from tests.support.skipping import not_here


@pytest.fixture(autouse=True)
def ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        not_here("IPv6")


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def addresses(listeners: list[socket.socket]) -> list[str]:
    assert len({each.getsockname()[1] for each in listeners}) == 1
    return [each.getsockname()[0] for each in listeners]


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1", ["127.0.0.1", "::1"]),
        ("::1", ["::1", "127.0.0.1"]),
        ("0.0.0.0", ["0.0.0.0", "::"]),
        ("::", ["::"]),
        ("127.0.0.5", ["127.0.0.5"]),
    ],
)
def test_port_is_served_on_both_protocols(sockets: ExitStack, host: str, served: list[str]) -> None:
    """A port is served on both loopback addresses, or on all addresses of both protocols; no other
    process can have the rest of it."""
    listeners = listen_on_both(host, 0)
    for each in listeners:
        sockets.enter_context(each)
    assert addresses(listeners) == served
    port = listeners[0].getsockname()[1]
    if host != "127.0.0.5":
        for family, other in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            assert is_taken(family, other, port)
        for family, other in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            assert is_taken(family, other, port)


def is_taken(family: socket.AddressFamily, host: str, port: int) -> bool:
    """Whether another process cannot listen there, with all options that might allow it."""
    with socket.socket(family) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            thief.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            thief.bind((host, port))
            thief.listen()
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def test_half_taken_port_is_refused(sockets: ExitStack) -> None:
    """The error says what to do; with port 0 another port is found."""
    thief = sockets.enter_context(listen("::1", 0))
    port = thief.getsockname()[1]
    with pytest.raises(PortTaken, match="Clients of `localhost` may connect to either"):
        listen_on_both("127.0.0.1", port)
    with closing(listen("127.0.0.1", port)):
        pass  # what was opened before is closed again


def test_another_port_is_tried(sockets: ExitStack) -> None:
    """A free port of which another process has the other half is not used."""
    thief = sockets.enter_context(listen("::1", 0))
    given = iter([thief.getsockname()[1], 0])

    def listen_there(host: str, port: int) -> socket.socket:
        return listen(host, next(given))

    listeners = listen_on_both("127.0.0.1", 0, listen_first=listen_there)
    for each in listeners:
        sockets.enter_context(each)
    assert addresses(listeners) == ["127.0.0.1", "::1"]
    assert listeners[0].getsockname()[1] != thief.getsockname()[1]


def test_without_ipv6(sockets: ExitStack) -> None:
    """Without IPv6 the gateway serves IPv4 alone."""

    def none(host: str, port: int) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    first = sockets.enter_context(listen("127.0.0.1", 0))
    assert listen_beside(first, listen=none) == []


async def test_both_loopback_addresses_answer(tmp_path: Path) -> None:
    """Clients of either loopback address get the same answers."""
    async with running(settings_for(tmp_path / "data")) as gateway, httpx.AsyncClient() as client:
        for host in ("127.0.0.1", "[::1]", "localhost"):
            answer = await client.get(f"http://{host}:{gateway.port}/livez")
            assert answer.json() == {"status": "ok"}
