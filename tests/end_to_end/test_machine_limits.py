"""A machine that allows little: the gateway lives, other models answer, what does not fit is
refused with the limit and how to raise it, and what failed comes back when there is room again."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.client import ApiError, Json
from tests.faults.matrix import fault
from tests.support.disks import failing
from tests.support.folders import NewFolder
from tests.support.ordinary_user import as_ordinary_user
from tests.support.polling import until
from tests.support.served_gateway import (
    ROOT,
    Gateway,
    Prober,
    at,
    copy,
    write,
)
from tests.support.skipping import not_here

ECHO = {"echo.py": "def echo(args):\n    return args\n"}


@contextmanager
def cgroup(controller: str, file: str, limit: int) -> Iterator[list[str]]:
    """A group of v1 with this limit, and what is put before a command to run it in there."""
    base = Path("/sys/fs/cgroup", controller)
    if not (base / "cgroup.procs").exists() or os.geteuid():
        not_here(f"needs root and cgroups v1 with {controller}")
    group = base / f"predictd-test-{os.getpid()}-{controller}"
    group.mkdir()
    try:
        (group / file).write_text(str(limit))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.fixture(scope="module")
def served(new_folder: NewFolder) -> Iterator[tuple[Gateway, Json, Json]]:
    """A gateway with a model that is left alone, and one whose replicas are ended."""
    folder = new_folder("starts")
    with Gateway(folder / "data") as gateway:
        steady = gateway.serve(write(folder / "steady", ECHO), "echo.py", "echo", replicas=1)
        ended = gateway.serve(copy("badly", folder / "ended"), "badly.py", "behave", replicas=1)
        yield gateway, steady, ended


@fault(
    "system calls fail under a gateway",
    injection=(
        "each call of a start (open, pipe, fork, exec, mmap, ...) fails in all of it, in turn"
    ),
    bound="another model answers; the model that could not start comes back",
)
@pytest.mark.parametrize(
    "fault",
    [
        "openat,openat2,open:error=EMFILE",
        "pipe2:error=EMFILE",
        "pidfd_open:error=EMFILE",
        "memfd_create:error=ENFILE",
        "clone,clone3,fork,vfork:error=EAGAIN",
        "execve:error=ENOMEM",
        "mkdir,mkdirat:error=ENOMEM",
        "mmap:error=ENOMEM",
        "getdents64:error=ENOMEM",
    ],
)
def test_failed_system_calls_of_a_start_delay_only_its_model(
    served: tuple[Gateway, Json, Json], fault: str
) -> None:
    """While a call fails in the gateway and in all that it starts, another model answers; when it
    works again, so does the model that could not be started."""
    gateway, steady, ended = served
    with gateway.new_client() as client:
        client.call(steady["access_key"], 0)  # connected before there is nothing left
        with failing(gateway.pid, fault):
            with pytest.raises(ApiError, match="status 4"):
                client.call(ended["access_key"], {"do": "os_exit"})
            for number in range(20):
                assert client.call(steady["access_key"], number)["response"] == number
    until(lambda: gateway.call(ended, {"do": "echo"}).status == 200, 60)
    assert gateway.client.get("/whoami")["username"] == "admin"


@fault(
    "few descriptors",
    injection="`ulimit -n 256`, 300 clients, ten replicas",
    bound="refused with the limit; administrators and other callers go on; given back",
)
def test_gateway_keeps_descriptors_under_a_low_limit(tmp_path: Path) -> None:
    """Under `ulimit -n 256` clients and replicas are refused before the gateway has none left: a
    connected client and an administrator continue, and doctor shows the limit and its use."""
    gateway = Gateway(tmp_path / "data")
    gateway.wrapper = ["prlimit", "--nofile=256:256"]
    with gateway:
        model = gateway.serve(write(tmp_path / "steady", ECHO), "echo.py", "echo", replicas=1)
        many = gateway.model(gateway.project(write(tmp_path / "many", ECHO)), "many")
        build = gateway.build(many, "echo.py", "echo")
        refused = gateway.deploy(many, build, replicas=9)["failure"]["problem"]
        assert "no descriptors for another replica or script: 7 at once" in refused
        assert "RLIMIT_NOFILE 256" in refused
        assert "LimitNOFILE=" in refused
        with Prober(gateway, [model], {}).running() as prober, ExitStack() as clients:
            until(lambda: prober.right)  # it is connected
            address = urlsplit(gateway.url)
            for _ in range(300):
                each = socket.create_connection((address.hostname, address.port))
                clients.enter_context(closing(each))
            until(lambda: descriptors(gateway) > 60)
            for number in range(5):
                gateway.client.patch(at(model), {"description": str(number)})
            assert descriptors(gateway) < 200
        until(lambda: gateway.call(model, 1).status == 200)
        told = gateway.cli("doctor", "--port", str(address.port)).out
        assert " of 256: 94 connections, 7 replicas and scripts" in told
        assert gateway.deploy(many, build, replicas=2)["status"] == "deployed"


def descriptors(gateway: Gateway) -> int:
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


BOMB = {
    "bomb.py": """
import os, time

def bomb(args):
    while True:
        try:
            if os.fork() == 0:
                time.sleep(3600)
        except OSError:
            return "no more"
"""
}


def survive_bombs(gateway: Gateway, tmp_path: Path, limit: str = "") -> None:
    """Two models take all processes that models may have; the rest continues. With a `limit` that
    the kernel holds, another start is refused meanwhile, with its name."""
    steady = gateway.serve(write(tmp_path / "steady", ECHO), "echo.py", "echo", replicas=1)
    late = gateway.model(gateway.project(write(tmp_path / "late", ECHO)), "late")
    build = gateway.build(late, "echo.py", "echo")
    bombs = [
        gateway.serve(write(tmp_path / f"bomb{n}", BOMB), "bomb.py", "bomb", replicas=1)
        for n in range(2)
    ]
    with Prober(gateway, [steady], {}).running():
        for bomb in bombs:
            assert gateway.call(bomb, {}).status in (200, 502)
        for number in range(3):
            gateway.client.patch(at(steady), {"description": str(number)})
        if limit:
            refused = gateway.deploy(late, build, replicas=1)["failure"]["problem"]
            assert "no processes for another replica or script" in refused
            assert limit in refused
        for bomb in bombs:
            gateway.client.delete(at(bomb))
        assert gateway.deploy(late, build, replicas=1)["status"] == "deployed"
    assert gateway.call(late, 1).status == 200


@fault(
    "few processes",
    injection="300 tasks in the gateway's cgroup, two models that fork without end",
    bound="starts are refused with the limit; the gateway and other models go on",
)
def test_gateway_keeps_its_tasks_in_a_small_cgroup(tmp_path: Path) -> None:
    """With 300 tasks in its cgroup the gateway keeps those that it needs from models that fork."""
    with cgroup("pids", "pids.max", 300) as wrapper:
        gateway = Gateway(tmp_path / "data")
        gateway.wrapper = wrapper
        with gateway:
            survive_bombs(gateway, tmp_path, "of 300 by pids.max of the cgroup")


@fault(
    "few processes of a user",
    injection="RLIMIT_NPROC of 300 as an ordinary user, two models that fork without end",
    bound="the gateway and other models go on",
)
def test_gateway_keeps_its_tasks_under_rlimit_nproc(tmp_path: Path) -> None:
    """Under RLIMIT_NPROC, where models run as the same user, the gateway keeps its tasks: a model
    with more than half of the rest is ended."""
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    gateway = Gateway(home / "data")
    pythons = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    gateway.wrapper = [
        *as_ordinary_user(home, [tmp_path, ROOT, *pythons]),
        "prlimit",
        "--nproc=300:300",
    ]
    with gateway:
        survive_bombs(gateway, tmp_path)


@fault(
    "little memory",
    injection="400 MiB in the gateway's cgroup, a model that takes 500",
    bound="its replica is killed and replaced; the gateway and other models go on",
)
def test_gateway_survives_a_small_memory_cgroup(tmp_path: Path) -> None:
    """With 400 MiB in its cgroup a model that takes more is killed, and not the gateway."""
    with cgroup("memory", "memory.limit_in_bytes", 400 << 20) as wrapper:
        gateway = Gateway(tmp_path / "data")
        gateway.wrapper = wrapper
        with gateway:
            steady = gateway.serve(write(tmp_path / "steady", ECHO), "echo.py", "echo", replicas=1)
            hog = gateway.serve(
                copy("greedy", tmp_path / "hog"), "greedy.py", "take", memory=0.1, replicas=2
            )
            with Prober(gateway, [steady], {}).running():
                for _ in range(2):
                    assert gateway.call(hog, {"do": "memory", "bytes": 500 << 20}).status == 502
                until(lambda: gateway.call(hog, {"do": "nothing"}).status == 200)
            told = gateway.cli("doctor", "--port", gateway.url.rpartition(":")[2]).out
            assert "of 400 MiB, limited by the cgroup" in told
