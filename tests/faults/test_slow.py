"""`slowhttptest` against a gateway: slow clients are disconnected in time, others do not wait."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.bench import HELD_UP, Bench, Took, descriptors
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.polling import until

CLIENTS = 500
# How each kind of client is slow, what it asks for, and how long the gateway bears with it.
KINDS = {
    "headers": (["-H", "-t", "POST", "-i", "1"], "/model", 10),
    "body": (["-B", "-f", "application/json", "-i", "1"], "/model", 30),
    "read": (["-X", "-k", "10", "-w", "8", "-y", "64", "-n", "1", "-z", "4"], "/openapi.json", 30),
}


@contextmanager
def slowhttptest(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """It runs at least until the end of the block."""
    tool = shutil.which("slowhttptest") or pytest.skip("slowhttptest is not installed")
    with subprocess.Popen([tool, *arguments], stdout=subprocess.DEVNULL) as running:
        try:
            yield running
        finally:
            running.terminate()


@fault(
    "slow clients by the hundred",
    injection="slowhttptest: 500 clients send a head or a body by drops, or take answers by drops",
    bound="let go after 10 s, 30 s and 30 s; others' answers stay right and quick",
)
@pytest.mark.parametrize(
    "kind",
    ["headers", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("body", "read"))],
)
def test_slow_client_is_disconnected(bench: Bench, observe: Observe, kind: str) -> None:
    """A slow client is disconnected at its deadline, which single bytes do not postpone."""
    how, path, seconds = KINDS[kind]
    few, many = descriptors(bench.gateway) + CLIENTS // 20, descriptors(bench.gateway) + CLIENTS
    with bench.unnoticed() as prober:
        limits = ["-c", str(CLIENTS), "-r", "250", "-l", "120", "-u", bench.gateway.url + path]
        with slowhttptest(*how, *limits) as running:
            with Took() as took:
                until(lambda: descriptors(bench.gateway) >= many)
                until(lambda: descriptors(bench.gateway) < few, 3 * seconds)
            assert running.poll() is None, "they went away by themselves"
    observe(
        f"{kind}: let go {took} after the first came; "
        f"others waited {prober.slowest * 1000:.0f} ms at most"
    )
    # The last of them came 2 s after the first.
    assert seconds <= took.seconds < seconds + 2 + 5
    assert prober.slowest < HELD_UP
