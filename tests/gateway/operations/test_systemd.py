"""The service manager: what its environment says, what it is told, which sockets can be served."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.operations.systemd import ServiceManager, read_manager
from gateway.settings import SettingsError


def test_without_a_manager() -> None:
    """An environment without a manager, or of another process, has no effect."""
    assert read_manager({}) == ServiceManager()
    others = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "WATCHDOG_PID": "7", "WATCHDOG_USEC": "9"}
    assert read_manager(others, pid=8) == ServiceManager()
    assert read_manager({"LISTEN_PID": "8", "LISTEN_FDS": "0"}, pid=8) == ServiceManager()


def test_what_it_asks_for() -> None:
    """Its address, the time it waits for a sign, and the one socket that it opened."""
    told = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}
    manager = read_manager({**told, "LISTEN_PID": "8", "LISTEN_FDS": "1"}, pid=8)
    assert manager == ServiceManager(notify="/run/n", watchdog=30.0, descriptor=3)
    assert read_manager({"WATCHDOG_USEC": "500000"}, pid=8).watchdog == 0.5


@pytest.mark.parametrize(
    "told", [{"LISTEN_PID": "8", "LISTEN_FDS": "2"}, {"WATCHDOG_USEC": "often"}]
)
def test_what_cannot_be_done(told: dict[str, str]) -> None:
    """Two sockets, or a number that is none, are refused by name."""
    with pytest.raises(SettingsError, match=r"there are 2|WATCHDOG_USEC"):
        read_manager(told, pid=8)


@pytest.mark.parametrize("abstract", [False, True])
async def test_it_is_told(tmp_path: Path, abstract: bool) -> None:
    """One datagram, a line for each thing; an abstract address begins with @."""
    name = f"predictd-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(f"\0{name}" if abstract else name)
        await ServiceManager(notify=f"@{name}" if abstract else name).notify_manager(
            READY=1, STATUS="well"
        )
        inbox.setblocking(False)
        assert inbox.recv(100) == b"READY=1\nSTATUS=well"


async def test_one_that_cannot_be_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A manager that is gone, or so busy that it takes nothing, is logged and waited for no more
    than a moment."""
    with caplog.at_level(logging.WARNING):
        await ServiceManager(notify=str(tmp_path / "none")).notify_manager(READY=1)
        assert "service_manager.not_notified states=['READY']" in caplog.text
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
            inbox.bind(str(tmp_path / "full"))
            manager = ServiceManager(notify=str(tmp_path / "full"))
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
                filler.setblocking(False)
                filler.connect(str(tmp_path / "full"))
                with suppress(BlockingIOError):
                    while True:
                        filler.send(b"x")
            await manager.notify_manager(STOPPING=1)
        assert "service_manager.not_notified states=['STOPPING']" in caplog.text


def test_the_listening_socket() -> None:
    """It is taken as it is, not inheritable and never waited on."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        descriptor = os.dup(given.fileno())
        os.set_inheritable(descriptor, True)
        with ServiceManager(descriptor=descriptor).listener() or given as taken:
            assert taken.fileno() == descriptor
            assert taken.getsockname() == given.getsockname()
            assert not taken.get_inheritable()
            assert not taken.getblocking()
    assert ServiceManager().listener() is None


def test_sockets_that_cannot_be_served(tmp_path: Path) -> None:
    """No socket, one that does not listen, one without an address of IP: each says why."""
    with open(os.devnull) as file, pytest.raises(SettingsError, match="not an open socket"):
        ServiceManager(descriptor=file.fileno()).listener()
    with socket.socket() as bound, pytest.raises(SettingsError, match="does not listen"):
        ServiceManager(descriptor=bound.fileno()).listener()
    with socket.socket(type=socket.SOCK_DGRAM) as udp, pytest.raises(SettingsError, match="listen"):
        ServiceManager(descriptor=udp.fileno()).listener()
    with socket.socket(socket.AF_UNIX) as local, pytest.raises(SettingsError, match="IPv4"):
        ServiceManager(descriptor=local.fileno()).listener()
