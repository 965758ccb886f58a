"""Every way out that we can think of, tried from a model, a build script and an experiment.

What each level does not hold is listed in HOLES; a success that is not listed fails. With the
level `none` nothing is held: there it is proved that the attempts are real ones.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.client import Json
from tests.faults import payloads, sights
from tests.faults.bench import ECHO, replica_pids
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.builds import virtualenv_of, virtualenvs_in
from tests.support.ordinary_user import as_ordinary_user
from tests.support.polling import until
from tests.support.served_gateway import (
    ROOT,
    Gateway,
    copy,
    write,
)
from tests.support.skipping import not_here
from workers.confinement import landlock

LEVELS = ["users", "userns", "landlock"]
NETWORK = {
    "connect to loopback": "the network is the machine's, unless the deployment asks for none",
    "listen where the kernel chooses": "Landlock knows of ports that are named, and of no others",
}
# By level: the attempts that succeed, and why that is left so.
HOLES: dict[str, dict[str, str]] = {
    "users": NETWORK,
    "userns": NETWORK,
    "landlock": {
        **NETWORK,
        "see other processes": "/proc is the machine's",
        "shared memory": "there is no IPC namespace",
        "see other builds": "the names of folders are seen, not what is in them",
        "be root": "its user is the gateway's, without any of root's rights",
        "list homes": "the names of folders are seen, not what is in them",
    },
}
# What a process without any confinement does at the least, also where it is not root.
REAL = {
    "read the admin key",
    "read the database",
    "read another build",
    "write another working copy",
    "see other processes",
    "signal the gateway",
    "signal another model",
    "abstract socket",
    "bind a TCP port",
    "connect to loopback",
    "shared memory",
    "socket in the data folder",
    "open a terminal",
}
IPC_CREAT, IPC_RMID, KEY = 0o1000, 0, 0x70726564


@contextmanager
def shared_memory() -> Iterator[int]:
    """The key of a segment of System V that belongs to no process inside."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(KEY, 4096, IPC_CREAT | 0o666)
    assert segment >= 0
    try:
        yield KEY
    finally:
        libc.shmctl(segment, IPC_RMID, None)


@contextmanager
def terminal() -> Iterator[str]:
    """The path of a terminal of ours."""
    leader, follower = os.openpty()
    os.chmod(os.ttyname(follower), 0o666)
    try:
        yield os.ttyname(follower)
    finally:
        os.close(leader)
        os.close(follower)


class Told(NamedTuple):
    """What succeeded of how many attempts, and what is seen in which environment."""

    succeeded: set[str]
    tried: int
    sight: Json
    project: str
    environment: Path


class Prison:
    """A gateway of one level, with a victim in it and all that may be a target."""

    def __init__(self, gateway: Gateway, root: Path, targets: dict[str, Any]) -> None:
        self.gateway, self.root, self.targets = gateway, root, targets

    def as_model(self) -> Told:
        """What succeeds in a replica, and what it sees."""
        model = self.gateway.model(self._project("model"), "escape")
        build = self.gateway.build(model, "escape.py", "escape")
        assert build["status"] == "built", build["failure"]
        deployment = self.gateway.deploy(model, build, replicas=1)
        assert deployment["status"] == "deployed", deployment["failure"]
        folder = self.build_of(model)
        environment = virtualenv_of(self.gateway.data, folder.name)
        own = {"own build": str(folder / "code"), "own environment": str(environment)}
        told = self.gateway.call(model, {**self.targets, "readable": own})
        assert told.status == 200, told.body
        return self._told(model["project"], told.body["response"], environment)

    def as_script(self) -> Told:
        """The same in a build script."""
        model = self.gateway.model(self._project("script"), "escape")
        build = self.gateway.build(model, "escape.py", "escape")
        assert build["status"] == "built", build["failure"]
        folder = self.gateway.data / "builds" / build["id"]
        (result,) = folder.rglob("result.json")
        environment = virtualenv_of(self.gateway.data, folder.name)
        return self._told(model["project"], json.loads(result.read_text()), environment)

    def as_experiment(self) -> Told:
        """The same in an experiment."""
        project = self._project("experiment")
        path = f"/projects/{project['id']}/experiments"
        arguments = ["targets.json", "$CDSW_OUTPUT_DIR/result.json"]
        asked = {"script": "escape.py", "arguments": arguments}
        made = self.gateway.client.post(path, asked)

        def ended() -> Json | None:
            now = self.gateway.client.get(f"{path}/{made['id']}")
            return now if now["ended_at"] else None

        experiment = until(ended, 60, pause=0.1)
        assert experiment["status"] == "succeeded", experiment["failure"]
        folder = self.gateway.data / "experiments" / str(made["id"])
        result = json.loads((folder / "outputs" / "result.json").read_text())
        (environment,) = virtualenvs_in(self.gateway.data, project["id"])
        return self._told(project, result, environment)

    def _project(self, name: str) -> Json:
        """One that is hostile by its files and its variables."""
        folder = copy("escape", self.root / name)
        targets = json.dumps({**self.targets, "readable": {}})
        script = "python escape.py targets.json result.json\n" if name == "script" else ""
        write(folder, {"targets.json": targets, "cdsw-build.sh": script})
        variables = payloads.lay(folder, self.gateway.data / "admin.key")
        project = self.gateway.project(folder)
        return self.gateway.client.patch(f"/projects/{project['id']}", {"environment": variables})

    def _told(self, project: Json, told: Json, environment: Path) -> Told:
        name = project["name"]
        succeeded = {each for each, done in told["attempts"].items() if done}
        succeeded |= set(payloads.stolen(self.root / name))
        return Told(succeeded, len(told["attempts"]), told["sight"], project["id"], environment)

    def known(self, level: str, kind: str, told: Told) -> Json:
        """What is known to be seen."""
        data = self.gateway.data
        return sights.expected(
            level, kind, told.sight, project=told.project, environment=told.environment, data=data
        )

    def build_of(self, model: Json) -> Path:
        path = f"/projects/{model['project']['id']}/models/{model['id']}/builds"
        (build,) = self.gateway.client.listing(path)
        return self.gateway.data / "builds" / str(build["id"])


def gateway_of(level: str, root: Path) -> Gateway:
    """With the level `userns` it is an ordinary user's, also where root runs the tests."""
    if level != "userns" or os.geteuid():
        return Gateway(root / "data", isolation=level)
    root.chmod(0o755)
    home = root / "home"
    gateway = Gateway(home / "data", isolation=level)
    pythons = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    gateway.wrapper = as_ordinary_user(home, [root, ROOT, *pythons])
    tried = [*gateway.wrapper, "bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"]
    if subprocess.run(tried, capture_output=True).returncode:
        not_here("an ordinary user may make no namespaces")
    return gateway


@contextmanager
def prison(level: str, root: Path) -> Iterator[Prison]:
    name = f"predictd-escape-{os.getpid()}"
    with (
        closing(socket.socket(socket.AF_UNIX)) as abstract,
        closing(socket.socket(socket.AF_UNIX)) as service,
        terminal() as terminal_name,
        shared_memory() as key,
        gateway_of(level, root) as gateway,
    ):
        assert level != "userns" or Path(f"/proc/{gateway.pid}").stat().st_uid != 0
        abstract.bind("\0" + name)
        abstract.listen(100)
        service.bind(str(gateway.data / "socket"))
        (gateway.data / "socket").chmod(0o666)
        service.listen(100)
        project = write(root / "victim", {"echo.py": ECHO})
        victim = gateway.serve(project, "echo.py", "echo", replicas=1)
        inside = Prison(gateway, root, {})
        build = inside.build_of(victim)
        (working_copy,) = (gateway.data / "replicas").glob("*/code/..")
        inside.targets = {
            "secrets": {
                "the admin key": str(gateway.data / "admin.key"),
                "the database": str(gateway.data / "predictd.db"),
                "the gateway's address": str(gateway.data / "gateway.json"),
                "another build": str(build / "code" / "echo.py"),
                "another environment": str(virtualenv_of(gateway.data, build.name) / "bin"),
                "another working copy": str(working_copy.resolve() / "code"),
                "logs": str(gateway.data / "logs"),
                "snapshots": str(gateway.data / "snapshots"),
                "a user's project": str(project),
            },
            "token": f"serve\0--json\0--data\0{gateway.data}",
            "gateway": gateway.pid,
            "builds": str(gateway.data / "builds"),
            "victim_mark": build.name,
            "victim": replica_pids(gateway, victim)[0],
            "abstract": name,
            "port": int(gateway.url.rpartition(":")[2]),
            "socket": str(gateway.data / "socket"),
            "shared": key,
            "terminal": terminal_name,
            "top": os.listdir("/"),
        }
        yield inside


@fault(
    "a program that tries every way out",
    injection="some eighty attempts from replica, build script and experiment, in each level",
    bound="nothing succeeds but what a level is known not to hold; what is seen is a known list",
)
@pytest.mark.parametrize("level", LEVELS)
def test_escapes(tmp_path: Path, observe: Observe, level: str) -> None:
    """A new success fails."""
    if why := unavailable(level):
        not_here(why)
    with prison(level, tmp_path) as inside:
        kinds = {
            "model": inside.as_model(),
            "script": inside.as_script(),
            "experiment": inside.as_experiment(),
        }
        different = {
            kind: sights.differences(told.sight, inside.known(level, kind, told))
            for kind, told in kinds.items()
        }
    model = kinds["model"]
    held = model.tried - len(model.succeeded)
    observe(f"{level}: {held} of {model.tried} held; not: {', '.join(sorted(model.succeeded))}")
    allowed = set(HOLES[level])
    if landlock.version() < 6:
        allowed.add("abstract socket")
        if level == "landlock":
            allowed |= {"signal the gateway", "signal another model", "kill all"}
    if landlock.version() < 4:
        allowed.add("bind a TCP port")
    more = {kind: sorted(told.succeeded - allowed) for kind, told in kinds.items()}
    assert more == {"model": [], "script": [], "experiment": []}
    assert different == {"model": {}, "script": {}, "experiment": {}}


@fault(
    "the same without confinement",
    injection="the same program with isolation = none",
    bound="the attempts succeed: they are real ones",
)
def test_escape_attempts_succeed_without_isolation(tmp_path: Path, observe: Observe) -> None:
    """Without isolation the program gets what it is after."""
    with prison("none", tmp_path) as inside:
        model, script = inside.as_model(), inside.as_script()
    observe(f"{len(model.succeeded)} of {model.tried} succeed")
    assert model.succeeded >= REAL
    assert model.succeeded >= {"stolen-library", "stolen-sitecustomize"}
    assert script.succeeded >= {"stolen-library", "stolen-sitecustomize", "stolen-shell"}


def unavailable(level: str) -> str:
    """Why a level cannot be tried here; whether it should work here is `doctor`'s to say."""
    if level == "users" and os.geteuid():
        return "only root can use the level users"
    return ""
