"""What a pool is made with: the bounds of the settings, and a number that is its owner's alone."""

from pathlib import Path

import msgspec

from gateway.control import sandbox_uids
from gateway.control.pool_spec import with_settings
from gateway.settings import Settings
from store import Deployment, Experiment, Project
from workers import PoolSpec, ReplicaSpec
from workers.limits import Limits
from workers.sizes import MIB

# Settings of which each differs from the default, and what of a pool follows it.
SET = {
    "model_request_timeout": 7.0,
    "restart_on_exception": not Settings().restart_on_exception,
    "recycle_after_requests": 11,
    "recycle_above_memory": 13 * MIB,
    "max_queued_requests": 17,
    "max_queued_bytes": 19 * MIB,
    "model_start_timeout": 23.0,
    "max_response_size": 29 * MIB,
    "max_processes": 31,
    "max_disk": 37 * MIB,
}


def test_bounds_of_a_pool_follow_the_settings() -> None:
    """Each bound that the settings say is the pool's or its replicas'; all else stays as it was."""
    limits = Limits(memory=MIB, cpu=500, processes=1, disk=1)
    replica = ReplicaSpec(code=Path("/c"), environment=Path("/e"), file="f", function="g")
    replica = msgspec.structs.replace(replica, limits=limits, identity=5, network="none")
    spec = PoolSpec(name="n", replica=replica, log_folder=Path("/l"), replicas=3, start_tries=2)
    settings = msgspec.structs.replace(Settings(), **SET)
    assert all(getattr(settings, name) != getattr(Settings(), name) for name in SET)
    now = with_settings(spec, settings)
    set_of_pool = {
        "request_timeout": 7.0,
        "restart_on_exception": not Settings().restart_on_exception,
        "recycle_after_requests": 11,
        "recycle_above_memory": 13 * MIB,
        "max_queued_requests": 17,
        "max_queued_bytes": 19 * MIB,
    }
    inner = msgspec.structs.replace(
        replica,
        start_timeout=23.0,
        max_response_size=29 * MIB,
        limits=Limits(memory=MIB, cpu=500, processes=31, disk=37 * MIB),
    )
    assert now == msgspec.structs.replace(spec, replica=inner, **set_of_pool)


def test_sandbox_uid_has_one_owner() -> None:
    """Processes of equal numbers could meddle with each other: of two deployments, two projects'
    builds and two experiments each has its own, and keeps it."""
    size = {"cpu_millicores": 1, "memory_mb": 1}
    project = [Project(name="p", path="p", linked=True, creator="a", number=n) for n in (1, 2)]
    deployed = {"model_id": "m", "project_id": "p", "build_id": "b", "build_number": 1, **size}
    deployments = [
        Deployment(number=n, deployer="a", replicas=1, **deployed)  # type: ignore[arg-type]
        for n in (1, 2)
    ]
    runs = [
        Experiment(number=n, project_id="p", script="s", creator="a", **size)  # type: ignore[arg-type]
        for n in (1, 2)
    ]
    numbers = [
        *(sandbox_uids.of_deployment(each) for each in deployments),
        *(sandbox_uids.of_builds(each) for each in project),
        *(sandbox_uids.of_experiment(each) for each in runs),
    ]
    assert len(set(numbers)) == 6
    assert sandbox_uids.of_builds(project[0]) == numbers[2]
