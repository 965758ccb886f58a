"""Signals to a real gateway, one by one; the gateway as process 1; who comes while it ends."""

import json
import os
import pty
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from gateway.client import Json
from gateway.operations.signals import Action, action_of
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    copy,
)
from tests.support.skipping import not_here

GRACE = "2"


@pytest.fixture(scope="module")
def served(new_folder: NewFolder) -> Iterator[tuple[Gateway, Json]]:
    """A gateway and a model that it serves."""
    folder = new_folder("signals")
    with Gateway(folder / "data", shutdown_grace=GRACE) as gateway:
        yield gateway, gateway.serve(copy("badly", folder / "badly"), "badly.py", "behave")


def is_logged(gateway: Gateway, text: str) -> bool:
    return text in gateway.stderr


def meaning(action: Action) -> list[int]:
    return [number for number in signal.valid_signals() if action_of(number) is action]


@fault(
    "signals without a meaning",
    injection="SIGUSR1, SIGALRM, ... and those of real time, one by one",
    bound="logged; all continues",
)
def test_signal_without_a_meaning_is_logged_only(served: tuple[Gateway, Json]) -> None:
    """Such a signal is logged and has no effect; so is SIGHUP where there is nothing to read
    again."""
    gateway, model = served
    numbers = [*meaning(Action.NOTHING), signal.SIGHUP]
    for number in numbers:
        os.kill(gateway.pid, number)
        assert gateway.call(model, {"do": "echo"}).status == 200
    for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGHUP):
        until(partial(is_logged, gateway, f"{number.name}: "))
    until(lambda: gateway.stderr.count("is logged, and has no effect") == len(numbers) - 1)


@fault(
    "signals that end the gateway",
    injection="each of them, one by one, while a request runs and a client connects",
    bound="the request is answered, the client refused, status 0",
)
@pytest.mark.parametrize("number", meaning(Action.STOP), ids=lambda n: signal.Signals(n).name)
def test_ending_signal_lets_requests_finish(served: tuple[Gateway, Json], number: int) -> None:
    """A request that has begun is answered, a new client is refused, and the gateway ends with
    status 0."""
    gateway, model = served
    process = gateway._process
    assert process is not None
    told: list[int] = []
    asked = {"do": "sleep", "seconds": 0.7}
    caller = threading.Thread(target=lambda: told.append(gateway.call(model, asked).status))
    caller.start()
    until(lambda: is_busy(gateway, model))
    os.kill(gateway.pid, number)
    until(lambda: is_refused(gateway))
    assert process.poll() is None  # while the request is answered
    caller.join()
    assert told == [200]
    assert gateway.end(signal.SIGTERM) < 8
    assert process.returncode == 0
    assert "Traceback" not in gateway.stderr
    assert not (gateway.data / "gateway.json").exists()
    gateway.start()
    until(lambda: gateway.call(model, {"do": "echo"}).status == 200)


def is_busy(gateway: Gateway, model: Json) -> bool:
    path = f"/projects/{model['project']['id']}/models/{model['id']}/replicas"
    return any(each["status"] == "busy" for each in gateway.client.get(path)["replicas"])


def is_refused(gateway: Gateway) -> bool:
    """Whether a new client is, or is told that the gateway stops."""
    connection = HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    with closing(connection):
        try:
            connection.request("GET", "/livez")
            response = connection.getresponse()
        except ConnectionRefusedError:
            return True
        except ConnectionError:
            return False  # it had just been accepted
        assert response.status in (200, 503)
        return False


def test_sighup_reads_the_certificate_again(tmp_path: Path) -> None:
    """After SIGHUP new connections get the new certificate, also those of the command line; an
    unreadable one leaves the old one, and the access log is reopened."""
    authority = trustme.CA()
    paths = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key")}

    def issue() -> bytes:
        made = authority.issue_cert("localhost", "127.0.0.1")
        paths["certificate"].write_bytes(made.cert_chain_pems[0].bytes())
        paths["key"].write_bytes(made.private_key_pem.bytes())
        return made.cert_chain_pems[0].bytes()

    issue()
    log = tmp_path / "access.log"
    settings = {f"tls_{name}": str(path) for name, path in paths.items()}
    gateway = Tls(tmp_path / "data", access_log=str(log), **settings)
    with gateway:
        fresh = issue()
        gateway.hang_up()
        until(lambda: gateway.shown() == fresh.decode().strip())
        paths["key"].write_text("nothing")
        gateway.hang_up()
        until(lambda: "certificate.kept" in gateway.stderr)
        assert gateway.shown() == fresh.decode().strip()


class Tls(Gateway):
    """A gateway of which only its files and its certificate are looked at."""

    def start(self) -> None:
        try:
            super().start()
        finally:
            if self._client is not None:
                self._client.close()

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def shown(self) -> str:
        """The certificate that a new connection is shown, and the one that the CLI knows."""
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        shown = ssl.get_server_certificate((address.hostname, address.port)).strip()
        known = json.loads((self.data / "gateway.json").read_text())["certificate"].strip()
        return shown if shown == known else ""


def test_closed_terminal_ends_the_gateway(tmp_path: Path) -> None:
    """A gateway that was started in a terminal ends in order when that is closed."""
    gateway = Gateway(tmp_path / "data")
    ours, theirs = pty.openpty()
    gateway.wrapper = ["bash", "-c", f'exec setsid --ctty --wait "$@" <&{theirs}', "bash"]
    gateway.descriptors = (theirs,)
    with gateway:
        os.close(theirs)
        process = gateway._process
        assert process is not None
        os.close(ours)
        until(lambda: process.poll() is not None)
        assert process.returncode == 0
    assert not (gateway.data / "gateway.json").exists()
    assert "SIGHUP: ends in the shutdown grace" in gateway.stderr


@fault(
    "the gateway is process 1 of a container",
    injection="models and others leave processes; SIGTERM",
    bound="no zombies; it ends",
)
def test_gateway_as_process_1_reaps_orphans(tmp_path: Path) -> None:
    """As process 1 of a pid namespace the gateway leaves no zombies of models and other programs,
    and ends on SIGTERM."""
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        not_here("no pid namespace may be made")
    gateway = Gateway(tmp_path / "data")
    gateway.wrapper = apart
    with gateway:
        model = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave")
        [first] = children(gateway.pid)
        for _ in range(5):
            gateway.call(model, {"do": "fork"})
            gateway.call(model, {"do": "os_exit"})
            # A user enters the container, and leaves a process there.
            enter = ["nsenter", "--target", str(first), "--pid", "--mount"]
            subprocess.run([*enter, "setsid", "--fork", "sh", "-c", "true & true"], check=True)
        until(lambda: gateway.call(model, {"do": "echo"}).status == 200)
        until(lambda: not [pid for pid in children(first) if state(pid) == "Z"])
        began = time.monotonic()
        os.kill(first, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{first}").exists(), 20)
        assert time.monotonic() - began < 10
    assert "Traceback" not in gateway.stderr


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
