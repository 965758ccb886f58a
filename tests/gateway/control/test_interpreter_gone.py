"""A deployment whose interpreter was removed is rebuilt, or fails and says what to install."""

import os
import shutil
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from builder import Interpreter, inspect
from gateway.control.operation import OperationTimeouts
from tests.faults.matrix import fault
from tests.gateway.control.deployments.test_deployments import processes_of
from tests.support.gateway import Gateway, copy_of, refusal, running, settings_for, status_is, until

QUICK = OperationTimeouts(interpreter_check=0.1)
OF_THIS_MACHINE = Path(os.path.realpath(sys.executable))


class Machine:
    """Says which interpreters there are. One is a copy of a real one, which can be removed."""

    def __init__(self, folder: Path) -> None:
        self.copy = folder / "bin" / OF_THIS_MACHINE.name
        self.copy.parent.mkdir(parents=True)
        shutil.copy(OF_THIS_MACHINE, self.copy)
        (folder / "lib").symlink_to(OF_THIS_MACHINE.parent.parent / "lib")
        self.paths = [self.copy]
        self.version = ""

    def remove_copy(self, *others: Path) -> None:
        self.copy.unlink()
        self.paths = list(others)

    async def discover(self, default: Path | None, downloads: Path | None) -> list[Interpreter]:
        found = [await inspect(path) for path in self.paths]
        changes = {"identifier": self.version} if self.version else {}
        return [msgspec.structs.replace(each, default=True, **changes) for each in found]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "python")


def running_on(machine: Machine, data: Path) -> AbstractAsyncContextManager[Gateway]:
    """A gateway on this machine, which soon notices that an interpreter is gone."""
    return running(settings_for(data), operation_timeouts=QUICK, discover=machine.discover)


async def deployed(gateway: Gateway, folder: Path) -> tuple[str, str]:
    """The access key of a model that serves, and the path of its deployment."""
    model = await gateway.model(await gateway.project(copy_of("add", folder)))
    build = await gateway.built(model, "add.py:add")
    deployment = await gateway.deployed(build, replicas=1)
    return await gateway.key(model), deployment


async def answers(gateway: Gateway, key: str) -> bool:
    return (await gateway.call(key, {"a": 1, "b": 2})).status_code == 200


@fault(
    "an interpreter that was removed",
    injection="a real one, while its model serves, then its replicas killed",
    bound="the build is made again with another of its version",
)
async def test_deployment_that_serves_is_rebuilt(tmp_path: Path, machine: Machine) -> None:
    """When no replica can be started any more, the build is rebuilt with another interpreter of
    that version, and the deployment continues."""
    async with running_on(machine, tmp_path / "data") as gateway:
        key, deployment = await deployed(gateway, tmp_path)
        machine.remove_copy(OF_THIS_MACHINE)
        assert await answers(gateway, key)  # what runs continues
        for process in processes_of(gateway):
            process.kill()
        await until(lambda: answers(gateway, key), bool, pause=0.1)
        assert (await gateway.get(deployment))["status"] == "deployed"
        log = (await gateway.admin.get(f"{deployment.rpartition('/deployments')[0]}/log")).text
        assert f"is gone: {machine.copy}" in log


async def test_deployment_is_rebuilt_at_the_start(tmp_path: Path, machine: Machine) -> None:
    """The same if the interpreter was removed while no gateway ran."""
    async with running_on(machine, tmp_path / "data") as gateway:
        key, _ = await deployed(gateway, tmp_path)
    machine.remove_copy(OF_THIS_MACHINE)
    async with running_on(machine, tmp_path / "data") as gateway:
        await until(lambda: answers(gateway, key), bool, pause=0.1)


@fault(
    "an interpreter that was removed, the only one of its version",
    injection="while no gateway ran",
    bound="the deployment has failed and says what to install",
)
async def test_deployment_without_another_interpreter_fails(
    tmp_path: Path, machine: Machine
) -> None:
    """It says which Python to install. Nothing of it runs, and callers are refused at once."""
    async with running_on(machine, tmp_path / "data") as gateway:
        key, deployment = await deployed(gateway, tmp_path)
    machine.remove_copy(OF_THIS_MACHINE)
    machine.version = "python3.99"
    async with running_on(machine, tmp_path / "data") as gateway:
        failure = (await gateway.until(deployment, status_is("failed")))["failure"]
        minor = ".".join(map(str, sys.version_info[:2]))
        assert f"Install Python {minor} with its venv module" in failure["advice"]
        assert str(machine.copy) in failure["problem"]
        assert refusal(await gateway.call(key, {"a": 1, "b": 2})) == (503, "model.notready")
        assert not processes_of(gateway)
