"""How the limits of the process are divided, and what is refused beyond that."""

import errno
from pathlib import Path

import pytest

from tests.workers.test_workers import environment, open_harness
from workers import StartFailed, allowance
from workers.allowance import OWN_TASKS, PER_TREE, Allowance, unbounded
from workers.kernel_limits import Bound, descriptors, tasks
from workers.limits import Limits
from workers.shortages import Shortage, is_shortage

__all__ = ["environment"]


def bound(most: int, used: int = 0) -> Bound:
    return Bound(most=most, used=used, source="RLIMIT_X", remedy="raise it")


@pytest.mark.parametrize("most", [100, 128, 256, 1024, 4096, 20_000, 524_288])
def test_allowance_leaves_a_reserve_of_descriptors(most: int) -> None:
    """All connections and process trees together leave the gateway its own descriptors."""
    divided = Allowance(bound(most), bound(0))
    assert divided.connections + PER_TREE * divided.trees <= most - allowance._OWN_DESCRIPTORS
    assert most == 100 or (divided.connections > 10 and divided.trees > 0)


def test_trees_are_counted_until_they_end() -> None:
    """One tree too many is refused with the limit and how to raise it; ended trees free theirs."""
    divided = Allowance(bound(140), bound(0))
    assert divided.trees == 2
    refused = pytest.raises(Shortage, match=r"2 at once are what RLIMIT_X 140 allows; raise it")
    with divided.one_tree(), divided.one_tree(), refused, divided.one_tree():
        pass
    with pytest.raises(ValueError, match="x"), divided.one_tree():
        raise ValueError("x")
    with divided.one_tree(), divided.one_tree():
        pass


def test_no_tree_has_more_than_half_of_the_tasks() -> None:
    """A lower limit of the tree's own stays; without a total limit there is no other."""
    divided = Allowance(bound(0), bound(300, 20))
    assert divided.tasks == 280 - OWN_TASKS
    assert divided.within(Limits(processes=512, memory=7)).processes == divided.tasks // 2
    assert divided.within(Limits(memory=7)) == Limits(memory=7, processes=divided.tasks // 2)
    assert divided.within(Limits(processes=3)).processes == 3
    assert unbounded().within(Limits(processes=512)).processes == 512


def test_start_leaves_the_gateway_its_tasks() -> None:
    """A start is refused where only the gateway's reserve is left."""
    used = 290
    divided = Allowance(bound(0), bound(300), read_tasks=lambda: bound(300, used))
    with pytest.raises(Shortage, match=r"290 of 300 by RLIMIT_X, and 48 are kept") as refused:
        divided.check_tasks()
    assert is_shortage(refused.value)
    assert refused.value.errno == errno.EAGAIN
    used = 100
    divided.check_tasks()


async def test_pool_beyond_the_allowance_fails_to_start(tmp_path: Path, environment: Path) -> None:
    """A replica without descriptors fails to start and says why; those that run continue."""
    divided = Allowance(bound(140), bound(0))
    async with open_harness(tmp_path, environment, allowance=divided) as harness:
        pool = await harness.serve("badly", "behave", replicas=2)
        more = harness.workers.open_pool(harness.spec("badly", "behave", start_tries=1))
        with pytest.raises(StartFailed, match="no descriptors for another replica or script: 2"):
            await more.wait_ready()
        await more.closed.wait()
        assert pool.ready == 2


def test_limits_of_this_process_have_use_and_source() -> None:
    """Each limit has its use, and a source where it is limited."""
    for each in (descriptors(), tasks()):
        assert each.used <= each.most or not each.most
        assert (each.source and each.remedy) or not each.most
