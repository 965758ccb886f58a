"""The CPU use of replicas, from two samples."""

from gateway.control.deployments.usage import cores_of
from gateway.control.history.replica_usage import CpuSample
from workers import Usage


def group(**cpu: float) -> dict[int, Usage]:
    return {int(pid[1:]): Usage(cpu=seconds, memory=0) for pid, seconds in cpu.items()}


def test_use_is_measured_since_the_last_sample_of_all() -> None:
    """A sample that does not have a replica yet says nothing of its group."""
    earlier = [CpuSample(98.0, {1: 4.0}), CpuSample(90.0, {1: 2.0, 2: 0.5})]
    assert cores_of(group(p1=5.0), earlier, 100.0) == 0.5
    assert cores_of(group(p1=5.0, p2=1.5), earlier, 100.0) == 0.4


def test_use_of_a_new_replica_is_not_known() -> None:
    """No request waits for a second sample."""
    assert cores_of(group(p3=1.0), [CpuSample(90.0, {1: 2.0})], 100.0) is None
    assert cores_of(group(p1=1.0), [], 100.0) is None


def test_child_that_ended_counts_for_nothing() -> None:
    """A process may have less CPU time than before: its child ended and it did not wait for it."""
    assert cores_of(group(p1=1.0), [CpuSample(90.0, {1: 2.0})], 100.0) == 0
