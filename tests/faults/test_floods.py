"""What models print without end: their own lines are dropped, others are not affected."""

import re
from collections.abc import Iterator

import pytest

from tests.faults.bench import HELD_UP, Bench, Peak, Took, cpu_seconds, on_disk, open_bench
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.r import r_prefix
from tests.support.served_gateway import (
    Gateway,
)

MB = 1_000_000
# What is printed in one flood; the long form is a gigabyte.
FLOOD = 100 * MB
KINDS = ["lines", "one line", "binary", "ansi"]


@pytest.fixture(scope="module", params=["hostile.py", "hostile.R"])
def patient_bench(request: pytest.FixtureRequest, new_folder: NewFolder) -> Iterator[Bench]:
    """A bench at which a request may take a minute; the model prints in each language."""
    if request.param == "hostile.R":
        r_prefix()
    root = new_folder("patient")
    with open_bench(root, request.param, model_request_timeout="60") as opened:
        yield opened


@fault(
    "a flood of output",
    injection="100 MB at full speed: lines, one line without end, binary, terminal codes, markup",
    bound="the model is not stalled, others never notice; the gateway's memory, time and disk are "
    "bounded; a line in the log says what was dropped",
)
@pytest.mark.parametrize("kind", KINDS)
def test_output_floods_cost_only_their_lines(
    patient_bench: Bench, observe: Observe, kind: str
) -> None:
    """Output of any size and form costs little but its own lines."""
    flood(patient_bench, observe, kind, FLOOD)


@pytest.mark.soak
@fault(
    "a gigabyte of output",
    injection="1 GB at full speed, as lines and without a line's end",
    bound="as above",
)
@pytest.mark.parametrize("kind", ["lines", "one line"])
def test_gigabyte_of_output_keeps_the_bounds(
    patient_bench: Bench, observe: Observe, kind: str
) -> None:
    """The bounds do not depend on the amount of output."""
    flood(patient_bench, observe, kind, 1000 * MB)


def flood(bench: Bench, observe: Observe, kind: str, size: int) -> None:
    gateway = bench.gateway
    disk, cpu = on_disk(gateway.data / "logs"), cpu_seconds(gateway.pid)
    with bench.unnoticed() as prober, Peak(gateway.pid) as peak:
        with Took() as took:
            told = bench.do("print_much", kind=kind, bytes=size)
        assert told["response"] == "printed", told
    written = on_disk(gateway.data / "logs") - disk
    spent = cpu_seconds(gateway.pid) - cpu
    observe(
        f"{kind}: {size / MB / took.seconds:.0f} MB/s printed, "
        f"others {prober.slowest:.2f} s at most, "
        f"{peak.grown / MB:.0f} MB of memory, {written / MB:.0f} MB on disk, "
        f"{spent:.1f} s of processor time"
    )
    assert peak.grown < 150 * MB
    assert written < 40 * MB
    assert prober.slowest < HELD_UP
    until(lambda: tells_of_drops(gateway))


def tells_of_drops(gateway: Gateway) -> bool:
    """Whether the end of the log does, which is reached when the pace allows lines again."""
    log = gateway.cli("logs", "behave", "--tail", "5")
    assert log.code == 0
    return bool(re.search(r"\[predictd\] .* of output dropped: more than", log.out))
