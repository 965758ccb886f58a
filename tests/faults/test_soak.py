"""A long life in short: many requests, many deployments, random faults, and nothing that grows."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.client import Json
from tests.faults.bench import Bench, open_bench, resident
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    Prober,
    at,
)

# The whole form; SOAK gives a part of it, such as 0.02.
REQUESTS, DEPLOYMENTS = 50_000, 500
MB = 1_000_000
FAULTS: list[Json] = [
    {"do": "os_exit"},
    {"do": "kill", "signal": "SIGSEGV"},
    {"do": "half_frame", "bytes": 5},
    {"do": "forge", "id": 0},
    {"do": "brood", "count": 2, "token": "soak"},
    {"do": "print_much", "kind": "binary", "bytes": MB},
    {"do": "close_everything"},
]


@pytest.mark.soak
@fault(
    "a long life",
    injection="50,000 requests, 500 deployments, a fault of a model at each of them",
    bound="descriptors, threads, memory, cgroups and files are back where they were",
)
def test_soak(tmp_path: Path, observe: Observe) -> None:
    """No operation of predictd leaves anything behind."""
    part = float(os.environ.get("SOAK", "1"))
    requests, deployments = int(REQUESTS * part), int(DEPLOYMENTS * part)
    chance = random.Random(20261121)
    with open_bench(tmp_path) as bench:
        build = bench.gateway.client.listing(f"{at(bench.hostile)}/builds")[0]
        live(bench, build, chance, requests // 10, max(3, deployments // 10))
        bench.settle()
        before, memory = bench.tables(), resident(bench.gateway.pid)
        leaves, files = cgroups(), working_copies(bench.gateway)
        began = time.monotonic()
        answered = live(bench, build, chance, requests, deployments)
        bench.settle()
        until(lambda: bench.tables().processes == before.processes)
        until(lambda: bench.tables().descriptors <= before.descriptors + 5)
        after = bench.tables()
        grown = resident(bench.gateway.pid) - memory
        assert after.threads <= before.threads + 5
        assert grown < 64 * MB
        until(lambda: cgroups() == leaves)
        # At first there may be some that were still being removed.
        until(lambda: working_copies(bench.gateway) <= files)
    observe(
        f"{answered} right answers, {deployments} deployments in {time.monotonic() - began:.0f} s; "
        f"{before} became {after}, {grown / MB:+.1f} MB of memory"
    )


def live(bench: Bench, build: Json, chance: random.Random, requests: int, deployments: int) -> int:
    """Deploys again and again among requests and faults. How many answers there were."""
    prober = Prober(bench.gateway, bench.others, {})
    with prober.running(callers=4, pause=0.0), ThreadPoolExecutor(1) as pool:
        for _ in range(deployments):
            hurt = pool.submit(bench.gateway.call, bench.hostile, chance.choice(FAULTS))
            assert bench.gateway.deploy(bench.hostile, build, replicas=2)["status"] == "deployed"
            hurt.result()
        until(lambda: prober.right >= requests, 3600)
    return prober.right


def cgroups() -> int:
    """How many groups of ours there are on this machine."""
    found = 0
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        with suppress(OSError):
            found += "predictd-" in folder
    return found


def working_copies(gateway: Gateway) -> int:
    return len(list((gateway.data / "replicas").iterdir()))
