"""`kill -9` of the gateway at any instant loses nothing that it acknowledged.

A ledger outside the gateway notes what it answered with success; all of it must be
there after the next start, and what was deployed must serve. Left over may be nothing: no process
of the killed gateway, no half of a build.
"""

import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from gateway.client import ApiError, Client, Json, ServerUnreachable
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    UNFINISHED,
    Gateway,
    at,
    copy,
    write,
)

ECHO = "def echo(args):\n    return args\n"
SCRIPT = "echo preparing; sleep 0.2; echo prepared > prepared.txt\n"


class Ledger:
    """What the gateway said that it did."""

    def __init__(self) -> None:
        self.projects: list[Json] = []
        self.models: list[Json] = []
        self.builds: list[tuple[Json, Json]] = []
        self.deployments: list[tuple[Json, Json]] = []
        # By model: the deployment that was last seen deployed.
        self.serving: dict[str, tuple[Json, Json]] = {}


class Customer(threading.Thread):
    """Asks for one thing after the other until there is no answer any more."""

    def __init__(self, client: Client, ledger: Ledger, chance: random.Random, root: Path) -> None:
        super().__init__()
        self._client, self._ledger = client, ledger
        self._chance, self._root = chance, root

    def run(self) -> None:
        with self._client, suppress(ServerUnreachable):
            while True:
                self._look_at_deployments()
                self._choose()()

    def _choose(self) -> Callable[[], object]:
        if not self._ledger.models or self._chance.random() < 0.2:
            return self._make_model
        return self._chance.choice([self._build, self._build_and_deploy, self._redeploy])

    def _make_model(self) -> None:
        number = len(self._ledger.projects)
        folder = write(
            self._root / f"{number}-{self._chance.random()}",
            {"echo.py": ECHO, "cdsw-build.sh": SCRIPT},
        )
        wish = {"name": folder.name, "template": "local", "path": str(folder)}
        project = self._client.post("/projects", wish)
        self._ledger.projects.append(project)
        path = f"/projects/{project['id']}/models"
        model = self._client.post(path, {"name": "echo", "disable_authentication": True})
        self._ledger.models.append(model)
        self._build_and_deploy()

    def _build(self) -> tuple[Json, Json]:
        model = self._chance.choice(self._ledger.models)
        wish = {"file_path": "echo.py", "function_name": "echo"}
        build = self._client.post(f"{at(model)}/builds", wish)
        self._ledger.builds.append((model, build))
        return model, build

    def _build_and_deploy(self) -> None:
        self._deploy(*self._build())

    def _redeploy(self) -> None:
        self._deploy(*self._chance.choice(self._ledger.builds))

    def _deploy(self, model: Json, build: Json) -> None:
        path = f"{at(model)}/builds/{build['id']}/deployments"
        try:
            deployment = self._client.post(path, {"replicas": 1})
        except ApiError as error:
            # Of a build that an earlier kill interrupted.
            assert error.code == "state.conflict"  # noqa: PT017
            return
        self._ledger.deployments.append((model, deployment))
        until(lambda: self._client.get(f"{path}/{deployment['id']}")["status"] not in UNFINISHED)

    def _look_at_deployments(self) -> None:
        for model in self._ledger.models:
            for deployment in self._client.listing(f"{at(model)}/deployments"):
                if deployment["status"] == "deployed":
                    self._ledger.serving[model["id"]] = (model, deployment)


def rounds(gateway: Gateway, root: Path, seed: int, count: int) -> None:
    """Kills the gateway `count` times while a customer is at work, and audits after each."""
    chance = random.Random(seed)
    ledger = Ledger()
    for _ in range(count):
        customer = Customer(gateway.new_client(), ledger, chance, root)
        customer.start()
        customer.join(chance.uniform(0.1, 4.0))
        assert customer.is_alive(), "the customer gave up"
        gateway.end(signal.SIGKILL)
        customer.join()
        gateway.start()
        audit(gateway, ledger)


def audit(gateway: Gateway, ledger: Ledger) -> None:
    """Everything acknowledged is there, what was deployed serves, nothing is left over."""
    client = gateway.client
    for project in ledger.projects:
        assert client.get(f"/projects/{project['id']}")["creation_status"] == "success"
    for model, build in ledger.builds:
        assert client.get(f"{at(model)}/builds/{build['id']}")["id"] == build["id"]
    for model, deployment in ledger.deployments:
        listed = client.listing(f"{at(model)}/deployments")
        assert deployment["id"] in [each["id"] for each in listed]
    for model, _ in ledger.serving.values():
        until(partial(serves, gateway, model), 10)
    until(lambda: not unfinished(gateway))
    no_half_builds(gateway)


def serves(gateway: Gateway, model: Json) -> bool:
    told = gateway.call(model, {"n": 1})
    return told.status == 200 and told.body["response"] == {"n": 1}


def all_builds(gateway: Gateway) -> list[Json]:
    models = gateway.client.listing("/models")
    return [b for m in models for b in gateway.client.listing(f"{at(m)}/builds")]


def unfinished(gateway: Gateway) -> bool:
    return any(build["status"] in UNFINISHED for build in all_builds(gateway))


def no_half_builds(gateway: Gateway) -> None:
    """Each folder of builds/ is sealed and belongs to a built row, and each such row has one."""
    builds = all_builds(gateway)
    for build in builds:
        if build["status"] != "built":
            assert build["status"] == "build failed"
            assert "interrupted" in build["failure"]["summary"], build["failure"]
    # Which there is once a build has begun.
    folders = {folder.name for folder in (gateway.data / "builds").glob("*")}
    assert folders == {build["id"] for build in builds if build["status"] == "built"}
    assert all((gateway.data / "builds" / name / "sealed").is_file() for name in folders)


@fault(
    "kill -9 of the gateway",
    injection="at random instants of a busy life, against an outside ledger",
    bound="all that was acknowledged is there and serves; no half build, no process",
)
def test_kill_at_random_instants_loses_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """Killed at four instants under load, the gateway keeps all that it acknowledged."""
    rounds(gateway, tmp_path / "projects", seed=20261121, count=4)


@fault(
    "kill -9 of the gateway, eighty times",
    injection="as above, with four seeds",
    bound="as above",
)
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_kill_at_many_instants_loses_nothing(gateway: Gateway, tmp_path: Path, seed: int) -> None:
    """Killed at many instants under load, the gateway keeps all that it acknowledged."""
    rounds(gateway, tmp_path / "projects", seed=seed, count=20)


@fault(
    "kill -9, with a double-forked grandchild",
    injection="in a session of its own",
    bound="gone at next start",
)
@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_no_orphan_survives_the_next_start(tmp_path: Path, isolation: str) -> None:
    """A grandchild in a session of its own, which no signal to a group reaches, is gone after the
    next start, and the model serves again without being asked to."""
    with Gateway(tmp_path / "data", isolation=isolation) as gateway:
        model = gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave")
        before = set(gateway.processes())
        assert gateway.call(model, {"do": "fork"}).status == 200
        orphans = set(gateway.processes()) - before
        assert orphans
        gateway.end(signal.SIGKILL)
        if isolation == "none":  # confined, they die with the gateway
            assert orphans <= set(gateway.processes())
        gateway.start()
        assert not orphans & set(gateway.processes())
        until(lambda: gateway.call(model, {"do": "echo"}).status == 200, 10)


@fault(
    "kill -9 during a build",
    injection="while its script runs",
    bound="the build failed; the next succeeds",
)
def test_killed_gateway_leaves_no_running_build(gateway: Gateway, tmp_path: Path) -> None:
    """A gateway killed while a build script runs leaves no running script and no folder; the build
    says that it was interrupted, and the next one succeeds."""
    folder = write(tmp_path / "slow", {"echo.py": ECHO, "cdsw-build.sh": "sleep 3600\n"})
    model = gateway.model(gateway.project(folder), "echo")
    wish = {"file_path": "echo.py", "function_name": "echo"}
    build = gateway.client.post(f"{at(model)}/builds", wish)
    until(gateway.processes)
    gateway.end(signal.SIGKILL)
    gateway.start()
    assert not gateway.processes()
    assert not list((gateway.data / "builds").iterdir())
    failed = gateway.client.get(f"{at(model)}/builds/{build['id']}")
    assert failed["status"] == "build failed"
    assert failed["failure"]["summary"] == "The build was interrupted"
    write(folder, {"cdsw-build.sh": "true\n"})
    assert gateway.build(model, "echo.py", "echo")["build_number"] == 2
    no_half_builds(gateway)
