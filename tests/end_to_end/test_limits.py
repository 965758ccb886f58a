"""Limits seen from outside: who meets one is told which, and the machine is not given away."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client import ApiError
from gateway.data_folder import DataFolder
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    at,
    copy,
)
from tests.support.skipping import not_here
from workers.cgroups import PREFIX, open_tree, own_memberships


@pytest.fixture(scope="module")
def held(new_folder: NewFolder) -> tuple[str, ...]:
    """What cgroups hold for us on this machine."""
    folder: Path = new_folder("held")
    tree = open_tree(f"test-{os.getpid()}-whole", folder / "record", 0, 1)
    tree.close()
    return tree.enforced


@pytest.fixture(scope="module")
def gateway(new_folder: NewFolder) -> Iterator[Gateway]:
    with Gateway(new_folder("limits") / "data") as running:
        yield running


def needs(held: tuple[str, ...], what: str) -> None:
    if what not in held:
        not_here(f"needs cgroups for {what}, which we may not use here")


def leaves(gateway: Gateway) -> list[Path]:
    """The cgroups that there are for this gateway's processes."""
    instance = f"{PREFIX}{DataFolder(gateway.data.resolve()).instance_id}"
    bases = [place.folder for place in own_memberships()]
    bases += [base.parent for base in bases]
    found = {leaf for base in bases for leaf in (base / instance).glob("*/")}
    return sorted(found)


def test_out_of_memory(gateway: Gateway, tmp_path: Path, held: tuple[str, ...]) -> None:
    """The caller, the log, the counters and the status name the memory, and the model continues."""
    needs(held, "memory")
    model = gateway.serve(copy("greedy", tmp_path / "hog"), "greedy.py", "take", memory=0.0625)
    reply = gateway.call(model, {"do": "memory", "bytes": 200 << 20})
    said = "the process ran out of memory: its limit is 64 MiB"
    assert (reply.status, reply.body["error"]["code"]) == (502, "model.shutdown")
    assert reply.body["message"] == f"unexpected model shutdown: {said}"
    assert gateway.call(model, {"do": "nothing"}).status == 200
    until(lambda: f"ended the replica: {said}" in gateway.cli("logs", "take").out)
    told = gateway.cli("status", "take").out
    assert said in told
    assert "limits hit: memory 1" in told
    gateway.client.delete(at(model))


def test_deployment_that_does_not_fit_its_memory_fails(
    gateway: Gateway, tmp_path: Path, held: tuple[str, ...]
) -> None:
    """A deployment whose replicas die of their limit fails with that limit and with what to do."""
    needs(held, "memory")
    model = gateway.model(gateway.project(copy("greedy", tmp_path / "unfit")), "unfit")
    build = gateway.build(model, "greedy.py", "take")
    deployment = gateway.deploy(model, build, memory=0.002)
    assert deployment["status"] == "failed"
    assert "ran out of memory: its limit is 2 MiB" in deployment["failure"]["problem"]
    assert "--memory" in deployment["failure"]["advice"]
    with pytest.raises(ApiError, match="not enough memory: asked 100000 GiB, models may take"):
        gateway.deploy(model, build, memory=100_000)
    with pytest.raises(ApiError, match="not enough CPU: asked 999, the machine has"):
        gateway.deploy(model, build, cpu=999)
    gateway.client.delete(at(model))


def test_probe_has_the_limits_of_replicas(
    gateway: Gateway, tmp_path: Path, held: tuple[str, ...]
) -> None:
    """A probe has the limits of the model's replicas, or those of a deployment that waits for
    it."""
    needs(held, "memory")
    model = gateway.model(gateway.project(copy("greedy", tmp_path / "tried")), "tried")
    gateway.client.patch(at(model), {"default_resources": {"memory_mb": 64}})
    hungry = {"example": {"do": "memory", "bytes": 200 << 20}}
    build = gateway.build(model, "greedy.py", "take", **hungry)
    assert build["status"] == "build failed"
    assert "ran out of memory: its limit is 64 MiB" in build["failure"]["problem"]
    assert "--memory" in build["failure"]["advice"]
    more = {"auto_deploy_model": True, "auto_deployment_config": {"memory": 0.5}}
    build = gateway.build(model, "greedy.py", "take", **hungry, **more)
    assert build["status"] == "built", build["failure"]
    gateway.client.delete(at(model))


def test_site_and_status_show_the_machine(gateway: Gateway, held: tuple[str, ...]) -> None:
    """The site and the status show what there is, what is free and what enforces the limits."""
    machine = gateway.client.get("/site")["machine"]
    assert tuple(machine["holds"]) == held
    assert 0 < machine["memory_free"] <= machine["memory_for_models"] < machine["memory"]
    assert "free for models" in gateway.cli("status").out


def test_process_that_left_its_replica_ends_with_it(
    gateway: Gateway, tmp_path: Path, held: tuple[str, ...]
) -> None:
    """A stop ends a process that no group, session or mark leads to, and removes the cgroups."""
    needs(held, "kill")
    before = leaves(gateway)
    model = gateway.serve(copy("greedy", tmp_path / "fleeing"), "greedy.py", "take")
    assert gateway.call(model, {"do": "flee"}).status == 200
    mine = set(leaves(gateway)) - set(before)
    assert mine
    began = time.monotonic()
    gateway.client.delete(at(model))
    assert time.monotonic() - began < 5
    assert not mine & set(leaves(gateway))


def test_what_a_killed_gateway_left_is_swept(tmp_path: Path, held: tuple[str, ...]) -> None:
    """After `kill -9` the next gateway ends even what no mark leads to, and serves again."""
    needs(held, "kill")
    with Gateway(tmp_path / "data", isolation="none") as gateway:  # else it would end by itself
        model = gateway.serve(copy("greedy", tmp_path / "fleeing"), "greedy.py", "take")
        assert gateway.call(model, {"do": "flee"}).status == 200
        [old] = {leaf.name for leaf in leaves(gateway)}
        files = [leaf / "cgroup.procs" for leaf in leaves(gateway)]
        gateway.end(signal.SIGKILL)
        assert any(file.read_text() for file in files)
        gateway.start()
        assert not any(file.exists() for file in files)
        until(lambda: gateway.call(model, {"do": "nothing"}).status == 200)
        assert {leaf.name for leaf in leaves(gateway)} - {old}
    assert not leaves(gateway)
