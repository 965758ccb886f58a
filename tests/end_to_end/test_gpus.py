"""Models, experiments and sessions with GPUs, as users and models see them.

The machine is played by a library of NVML and by device nodes of the kind of /dev/null; the
gateway, its processes and their isolation are real.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.client import ApiError, Json
from gateway.data_folder import DataFolder
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.gpus import FakeGpus, fake_gpus
from tests.support.polling import until
from tests.support.seeds import share_seeds
from tests.support.served_gateway import Gateway, Prober, at, write

FUNCTION = """
import os, time
DEV = {dev!r}

def opened():
    found = []
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        try:
            open(os.path.join(DEV, name), "rb").close()
            found.append(name)
        except OSError:
            pass
    return found

def seen(args):
    time.sleep(args.get("seconds", 0))
    cuda = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {{"cuda": cuda, "opened": opened(), "nonce": args.get("nonce")}}

if os.environ.get("BROKEN"):
    raise ImportError("it does not load")
"""
SCRIPT = "from gpu import *\nprint(seen({}))\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[FakeGpus]:
    with fake_gpus(3) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(machine: FakeGpus, new_folder: NewFolder) -> Iterator[Gateway]:
    data = new_folder("gpus") / "data"
    share_seeds(data)
    served = Gateway(data)
    served.wrapper = machine.wrapper(data.parent)
    with served:
        yield served


class Made(NamedTuple):
    """A model with a build."""

    model: Json
    build: Json


@pytest.fixture(scope="module")
def folder(machine: FakeGpus, new_folder: NewFolder) -> Path:
    text = FUNCTION.format(dev=str(machine.dev))
    folder = new_folder("project") / "gpu"
    return write(folder, {"gpu.py": text, "script.py": SCRIPT})


@pytest.fixture(scope="module")
def project(gateway: Gateway, folder: Path) -> Json:
    return gateway.project(folder)


@pytest.fixture(scope="module")
def models(gateway: Gateway, project: Json) -> list[Made]:
    """Two models of one function."""
    found = []
    for name in ("first", "second"):
        model = gateway.model(project, name)
        build = gateway.build(model, "gpu.py", "seen", example={})
        assert build["status"] == "built", build["failure"]
        found.append(Made(model, build))
    return found


@pytest.fixture
def model(gateway: Gateway, models: list[Made]) -> Iterator[Made]:
    """The first of them; at the end nothing of both is deployed."""
    yield models[0]
    for each in models:
        gateway.client.post(f"{at(each.model)}:stop")

    def free() -> bool:
        site = gateway.client.get("/site")
        return bool(site["gpus"]["free"] == site["gpus"]["usable"])

    until(free, 30)


def deploy(gateway: Gateway, made: Made, **more: object) -> Json:
    """A deployment that serves."""
    deployed = gateway.deploy(made.model, made.build, **more)
    assert deployed["status"] == "deployed", deployed["failure"]
    return deployed


def replicas(gateway: Gateway, model: Json) -> list[Json]:
    found: list[Json] = gateway.client.get(f"{at(model)}/replicas")["replicas"]
    return found


def held(gateway: Gateway, model: Json) -> set[str]:
    return {gpu["uuid"] for each in replicas(gateway, model) for gpu in each["gpus"]}


def called(gateway: Gateway, model: Json) -> Json:
    reply = gateway.call(model, {})
    assert reply.status == 200, reply
    answer: Json = reply.body["response"]
    return answer


def deployments(made: Made) -> str:
    return f"{at(made.model)}/builds/{made.build['id']}/deployments"


def test_each_replica_sees_its_own_gpu(
    gateway: Gateway, machine: FakeGpus, model: Made, models: list[Made]
) -> None:
    """A replica has the UUIDs of its GPUs and opens their nodes and the shared ones, no other's;
    one without GPUs has none. After a `kill -9` of the gateway it is the same."""
    assert deploy(gateway, model, replicas=2, nvidia_gpus=1)["nvidia_gpu"] == 1
    deploy(gateway, models[1])
    for _ in range(2):
        both = held(gateway, model.model)
        assert len(both) == 2
        assert both <= set(machine.uuids)
        answer = called(gateway, model.model)
        number = machine.uuids.index(answer["cuda"])
        assert answer["cuda"] in both
        assert answer["opened"] == [f"nvidia{number}", "nvidiactl", "nvidia-uvm"]
        without = called(gateway, models[1].model)
        assert without == {"cuda": "", "opened": [], "nonce": None}
        gateway.end(signal.SIGKILL)
        gateway.start()
        until(lambda: all(e["status"] == "idle" for e in replicas(gateway, model.model)), 30)


def test_redeployed_model_with_three_replicas_always_serves(
    gateway: Gateway, machine: FakeGpus, model: Made
) -> None:
    """With all GPUs taken a new deployment replaces the old one without a missing answer."""
    deploy(gateway, model, replicas=3, nvidia_gpus=1)
    with Prober(gateway, [model.model], {}).running(callers=2, pause=0.01):
        deploy(gateway, model, replicas=3, nvidia_gpus=1)
        until(lambda: held(gateway, model.model) == set(machine.uuids), 30)


def test_requests_wait_while_the_last_gpu_changes_hands(gateway: Gateway, model: Made) -> None:
    """One replica that holds all GPUs ends before the next one starts: requests wait, and the
    status says so."""
    deploy(gateway, model, nvidia_gpus=3)
    said: set[str] = set()
    path = deployments(model)
    with Prober(gateway, [model.model], {}).running(callers=2, pause=0.01):
        second = gateway.client.post(path, {"nvidia_gpus": 2})

        def ended() -> bool:
            now = gateway.client.get(f"{path}/{second['id']}")
            said.add(now["waiting_for"])
            return bool(now["status"] == "deployed")

        until(ended, 30)
    assert any("ended its replicas, and requests wait" in each for each in said), said


def test_failed_deployment_gives_the_gpus_back(gateway: Gateway, model: Made) -> None:
    """If the new deployment does not start, the old one serves again with its GPUs."""
    deploy(gateway, model, nvidia_gpus=3)
    path, asked = deployments(model), {"nvidia_gpus": 3, "environment": {"BROKEN": "1"}}
    failed = gateway.finished(gateway.client.post(path, asked), path)
    assert failed["status"] == "failed"
    until(lambda: [e["status"] for e in replicas(gateway, model.model)] == ["idle"], 30)
    assert len(called(gateway, model.model)["cuda"].split(",")) == 3


def test_restart_keeps_the_gpus(gateway: Gateway, machine: FakeGpus, model: Made) -> None:
    """A restart ends each replica before the next one starts, with the GPU that it gave back."""
    deployed = deploy(gateway, model, replicas=3, nvidia_gpus=1)
    before = {each["pid"] for each in replicas(gateway, model.model)}
    with Prober(gateway, [model.model], {}).running(pause=0.01):
        gateway.client.post(f"{deployments(model)}/{deployed['id']}:restart")
        until(lambda: not {e["pid"] for e in replicas(gateway, model.model)} & {*before, None}, 30)
        until(lambda: held(gateway, model.model) == set(machine.uuids), 30)


def test_killed_replica_gives_its_gpu_to_the_next(gateway: Gateway, model: Made) -> None:
    """A replica that was killed is replaced, and the next one gets its GPUs."""
    deploy(gateway, model, nvidia_gpus=3)
    for _ in range(3):
        [before] = [each["pid"] for each in replicas(gateway, model.model)]
        os.kill(before, signal.SIGKILL)

        def is_replaced(before: int = before) -> bool:
            [now] = replicas(gateway, model.model)
            return now["pid"] not in (None, before) and now["status"] == "idle"

        until(is_replaced, 30)
        assert len(held(gateway, model.model)) == 3


@fault(
    "a GPU that is lost",
    injection="NVML says `GPU is lost` of the GPU that a replica holds; the replica ends",
    bound="the next replica gets another GPU; without one it waits, and says so",
)
def test_lost_gpu_is_not_given_again(gateway: Gateway, machine: FakeGpus, model: Made) -> None:
    """The next replica gets a GPU that works; if none does it waits until one does."""
    deployed = deploy(gateway, model, nvidia_gpus=1)
    [first] = held(gateway, model.model)

    def lose(lost: set[str]) -> None:
        """These are lost, and the replica ends."""
        for number, uuid in enumerate(machine.uuids):
            machine.change(number, lost=uuid in lost)
        [pid] = [each["pid"] for each in replicas(gateway, model.model)]
        os.kill(pid, signal.SIGKILL)

    def has_another() -> bool:
        now = held(gateway, model.model)
        return bool(now) and first not in now and is_idle()

    def is_idle() -> bool:
        return bool(replicas(gateway, model.model)[0]["status"] == "idle")

    try:
        lose({first})
        until(has_another, 30)
        lose(set(machine.uuids))
        waits = "waiting for a GPU"
        until(lambda: replicas(gateway, model.model)[0]["status"] == waits, 30)
        deployment = gateway.client.get(f"{deployments(model)}/{deployed['id']}")
        assert deployment["waiting_for"] == "GPUs, for 1 of 1 replicas"
    finally:
        for number in range(3):
            machine.change(number, lost=False)
    until(is_idle, 30)


def test_session_gets_a_gpu_or_fails_at_once(gateway: Gateway, model: Made, folder: Path) -> None:
    """`predictd try --gpus` calls the function with a GPU; if all are held it says so."""
    tried = gateway.cli("try", "gpu.py:seen", "{}", "--gpus", "1", cwd=folder)
    assert tried.code == 0, tried.err
    assert json.loads(tried.out)["cuda"].startswith("GPU-")
    deploy(gateway, model, nvidia_gpus=3)
    tried = gateway.cli("try", "gpu.py:seen", "{}", "--gpus", "1", cwd=folder)
    assert tried.code != 0
    assert "No GPU is free for the session" in tried.err
    status = gateway.cli("status", at(model.model).split("/")[-1])
    assert "GPUs:" in status.out
    assert "0 of 3 GPUs free" in gateway.cli("status").out


def test_deployment_waits_for_another_model(
    gateway: Gateway, model: Made, models: list[Made]
) -> None:
    """A deployment of another model waits for a free GPU and says so; more than the machine has is
    refused."""
    first = deploy(gateway, model, nvidia_gpus=3)
    path = deployments(models[1])
    waiting = gateway.client.post(path, {"nvidia_gpus": 1})

    def reason() -> str:
        return str(gateway.client.get(f"{path}/{waiting['id']}")["waiting_for"])

    until(lambda: reason() == "GPUs: asked 1, 0 of 3 free", 30)
    with pytest.raises(ApiError, match="asked 4, the machine has 3"):
        gateway.client.post(path, {"nvidia_gpus": 4})
    gateway.client.post(f"{deployments(model)}/{first['id']}:stop")
    assert gateway.finished(waiting, path)["status"] == "deployed"


def test_build_does_not_wait_for_a_gpu(
    gateway: Gateway, model: Made, models: list[Made], project: Json
) -> None:
    """While all GPUs are held a build leaves its probe out and says so, its deployment waits, and
    an experiment waits without taking its turn."""
    deploy(gateway, model, nvidia_gpus=3)
    path = f"{at(models[1].model)}/builds"
    asked = {"file_path": "gpu.py", "function_name": "seen", "example": {}, "fresh": True}
    config = {"nvidia_gpus": 1}
    build = gateway.client.post(
        path, {**asked, "auto_deploy_model": True, "auto_deployment_config": config}
    )
    assert gateway.finished(build, path, pause=0.1)["status"] == "built"
    log = DataFolder(gateway.data).build_log(build["id"]).read_text()
    assert "The model is not tested: not enough GPUs: asked 1, 0 of 3 free" in log
    experiments = f"/projects/{project['id']}/experiments"
    waiting = gateway.client.post(experiments, {"script": "script.py", "nvidia_gpus": 1})
    other = gateway.client.post(experiments, {"script": "script.py"})

    def state(experiment: Json) -> Json:
        return gateway.client.get(f"{experiments}/{experiment['id']}")

    until(lambda: state(other)["status"] == "succeeded", 60)
    assert state(waiting)["waiting_for"].startswith("GPUs: asked 1, 0 of 3 free")
    gateway.client.post(f"{experiments}/{waiting['id']}:stop")
    assert state(waiting)["status"] == "stopped"


def test_experiment_gets_its_gpus(gateway: Gateway, machine: FakeGpus, project: Json) -> None:
    """A script sees the GPUs that it asked for."""
    path = f"/projects/{project['id']}/experiments"
    asked = gateway.client.post(path, {"script": "script.py", "nvidia_gpus": 2})
    assert asked["nvidia_gpus"] == 2
    ended: Json = until(
        lambda: (now := gateway.client.get(f"{path}/{asked['id']}"))["ended_at"] and now, 60
    )
    assert ended["status"] == "succeeded", ended["failure"]
    printed = DataFolder(gateway.data).experiment_log(asked["id"]).read_text()
    assert f"{machine.uuids[0]},{machine.uuids[1]}" in printed
    assert "'nvidia2'" not in printed
    with pytest.raises(ApiError, match="asked 4, the machine has 3"):
        gateway.client.post(path, {"script": "script.py", "nvidia_gpus": 4})
