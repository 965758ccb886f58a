"""What is told of the machine and of who else was busy on it."""

import subprocess
import sys

from benchmarks import machine

COMPUTE = "import time\nwhile time.process_time() < 1: 0"


def test_facts_are_text_that_is_there() -> None:
    """Every fact has a value."""
    facts = machine.facts()
    assert all(facts.values())
    assert {"cores", "processor", "kernel", "python", "commit", "memory"} <= set(facts)


def test_our_own_work_is_no_neighbour() -> None:
    """What a child of ours computed is ours, however busy it kept a core."""
    neighbours = machine.Neighbours()
    before = neighbours._look()
    subprocess.run([sys.executable, "-c", COMPUTE], check=True)
    after = neighbours._look()
    # It computed for a second; the kernel counts in ticks.
    assert after[2] - before[2] >= 0.9
    assert 0.0 <= neighbours.share() <= 1.0


def test_caveats_of_this_run_come_before_the_usual_ones() -> None:
    """A busy machine and a quick run are said first, and only where they were."""
    usual = machine.caveats(quick=False, neighbours=0.0)
    assert tuple(usual)[-len(machine.CAVEATS) :] == machine.CAVEATS
    told = machine.caveats(quick=True, neighbours=0.5)
    assert "other work" in told[0] or "wrk" in told[0]
    assert len(told) == len(usual) + 2
