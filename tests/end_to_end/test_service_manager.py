"""The gateway under a service manager, whose part these tests play: it holds the listening socket,
is notified by the gateway, and restarts it."""

import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from gateway.client import Json
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    COMMAND,
    Gateway,
    environment,
    write,
)

ECHO = {"echo.py": "def echo(args):\n    return args\n"}
# What a manager does between its fork and its exec.
HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
PATIENCE = 30


class Manager:
    """What systemd would be to a gateway."""

    def __init__(self, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inbox.bind(str(folder / "notify"))
        self._inbox.settimeout(PATIENCE)

    def adopt(self, gateway: Gateway) -> None:
        """From now on the gateway is started as a service of this manager."""
        told = [
            f"NOTIFY_SOCKET={self._inbox.getsockname()}",
            "LISTEN_FDS=1",
            "WATCHDOG_USEC=300000",
        ]
        descriptor = self.listener.fileno()
        gateway.wrapper = ["env", *told, sys.executable, "-SEc", HAND_OVER, str(descriptor)]
        gateway.descriptors = (descriptor,)

    def hears(self) -> dict[str, str]:
        """The next thing it is told."""
        lines = self._inbox.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hears_until(self, name: str) -> list[dict[str, str]]:
        """All it is told up to what has this name."""
        heard = [self.hears()]
        while name not in heard[-1]:
            heard.append(self.hears())
        return heard

    def hears_nothing(self, seconds: float) -> bool:
        return not select.select([self._inbox], [], [], seconds)[0]

    def forget(self) -> None:
        """Leaves unheard what it was told so far."""
        while not self.hears_nothing(0):
            self.hears()

    def close(self) -> None:
        self.listener.close()
        self._inbox.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path)) as manager:
        yield manager


class Caller:
    """Calls a model again and again, each time on a connection of its own."""

    def __init__(self, gateway: Gateway, model: Json, trust: ssl.SSLContext | None) -> None:
        self._address, self._key = urlsplit(gateway.url).netloc, model["access_key"]
        self._trust = trust
        self._stop = threading.Event()
        self.right = 0
        self.wrong: list[object] = []

    def _call(self, nonce: str) -> None:
        connection: HTTPConnection
        if self._trust is None:
            connection = HTTPConnection(self._address, timeout=PATIENCE)
        else:
            connection = HTTPSConnection(self._address, timeout=PATIENCE, context=self._trust)
        body = json.dumps({"accessKey": self._key, "request": {"nonce": nonce}})
        with closing(connection):
            connection.request("POST", "/model", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200 or answer["response"] != {"nonce": nonce}:
            self.wrong.append((response.status, answer))
        else:
            self.right += 1

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.001):
            number += 1
            try:
                self._call(f"{threading.get_ident()}-{number}")
            except (OSError, HTTPException) as error:
                self.wrong.append(repr(error))

    def wait_for_answers(self) -> None:
        """Returns after the next 50 right ones."""
        before = self.right
        until(lambda: self.right > before + 50)

    @contextmanager
    def running(self, callers: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._run) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


@fault(
    "restarts behind a socket",
    injection="four callers meanwhile",
    bound="no client is refused or cut off",
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_restart_with_a_passed_socket_loses_no_request(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """While the manager holds the socket, clients that come during two restarts of the gateway are
    all answered, none is refused, also with TLS. The manager is notified of each step."""
    settings, trust = {}, None
    if scheme == "https":
        authority = trustme.CA()
        both, trusted = tmp_path / "tls.pem", tmp_path / "authority.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
        authority.cert_pem.write_to_path(trusted)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        trust = ssl.create_default_context(cafile=str(trusted))
        settings = {"tls_certificate": str(both), "tls_key": str(both)}
    gateway = Gateway(tmp_path / "data", **settings)
    manager.adopt(gateway)
    with gateway:
        assert gateway.url == f"{scheme}://127.0.0.1:{manager.listener.getsockname()[1]}"
        model = gateway.serve(write(tmp_path / "project", ECHO), "echo.py", "echo")
        caller = Caller(gateway, model, trust)
        with caller.running(4):
            for _ in range(2):
                caller.wait_for_answers()
                manager.forget()
                gateway.end(signal.SIGTERM)
                assert manager.hears_until("STOPPING")[-1]["STOPPING"] == "1"
                manager.forget()
                gateway.start()
                *before, ready = manager.hears_until("READY")
                assert ready == {"READY": "1", "STATUS": f"serving at {gateway.url}"}
                assert {"WATCHDOG": "1"} not in before
            caller.wait_for_answers()
        assert not caller.wrong, caller.wrong[:5]


@fault(
    "a stuck gateway",
    injection="SIGSTOP",
    bound="the watchdog hears nothing",
)
def test_stuck_gateway_stops_its_watchdog_messages(tmp_path: Path, manager: Manager) -> None:
    """The manager is notified while the gateway works, and no more once its loop does not turn."""
    gateway = Gateway(tmp_path / "data")
    manager.adopt(gateway)
    with gateway:
        manager.hears_until("WATCHDOG")
        os.kill(gateway.pid, signal.SIGSTOP)
        manager.forget()
        assert manager.hears_nothing(1.0)
        os.kill(gateway.pid, signal.SIGCONT)
        manager.hears_until("WATCHDOG")


def test_passed_descriptor_that_is_no_socket_ends_the_start(
    tmp_path: Path, manager: Manager
) -> None:
    """A descriptor from the manager that is no listening socket ends the start, with the reason."""
    gateway = Gateway(tmp_path / "data")
    manager.listener.close()
    with socket.socket() as manager.listener:
        manager.adopt(gateway)
        outcome = subprocess.run(
            [*gateway.wrapper, *COMMAND, "serve", "--data", str(gateway.data)],
            env=environment(),
            pass_fds=gateway.descriptors,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert outcome.returncode == 2  # which no manager tries again
    assert "cannot use the socket of the service manager" in outcome.stderr
