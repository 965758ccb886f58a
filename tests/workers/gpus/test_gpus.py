"""GPUs are assigned whole, in the order of asking, and to one tree at a time."""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.faults.matrix import fault
from tests.support.gpus import FakeGpus, fake_gpus
from workers.gpus import Gpu, Gpus, GpuUse, Survey
from workers.gpus import gpus as module
from workers.process.process import marked

PREFIX = f"gpus-{os.getpid()}/"
PATIENCE = 10.0


@pytest.fixture
def machine() -> Iterator[FakeGpus]:
    with fake_gpus(3) as found:
        yield found


def opened(machine: FakeGpus, tmp_path: Path, **how: bool) -> Gpus:
    gpus = Gpus(machine.driver(), tmp_path / "gpus", marked, **how)
    gpus.recover(PREFIX)
    return gpus


def mark(number: int) -> str:
    return f"{PREFIX}{number}/"


async def test_gpus_are_assigned_once(machine: FakeGpus, tmp_path: Path) -> None:
    """Two trees never hold the same GPU; what is held and by whom is shown."""
    gpus = opened(machine, tmp_path)
    first = await gpus.acquire(2, mark(1), "iris")
    second = await gpus.acquire(1, mark(2), "churn")
    assert [each.uuid for each in (*first, *second)] == machine.uuids
    assert [each.holder for each in gpus.states()] == ["iris", "iris", "churn"]
    assert gpus.variables(first) == {"CUDA_VISIBLE_DEVICES": ",".join(machine.uuids[:2])}
    assert gpus.variables(()) == {"CUDA_VISIBLE_DEVICES": ""}
    names = [each.name for each in gpus.nodes(second)]
    assert names == ["nvidia2", "nvidiactl", "nvidia-uvm"]
    assert gpus.nodes(()) == ()


async def test_tree_waits_for_all_its_gpus(machine: FakeGpus, tmp_path: Path) -> None:
    """A tree gets all of its GPUs at once, and who asked first is served first."""
    gpus = opened(machine, tmp_path)
    await gpus.acquire(2, mark(1), "first")
    got: list[int] = []

    async def ask(number: int, count: int) -> None:
        await gpus.acquire(count, mark(number), str(number))
        got.append(number)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 2, 2)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.start_soon(ask, 3, 1)
            await trio.sleep(0.2)
            assert got == [], "one is free, and the first that waits needs two"
            gpus.release(mark(1))
            gpus.notify()
    assert got == [2, 3]


async def test_cancelled_wait_takes_nothing(machine: FakeGpus, tmp_path: Path) -> None:
    """A tree that no longer waits gets no GPU, and does not stand before others."""
    gpus = opened(machine, tmp_path)
    await gpus.acquire(2, mark(1), "first")
    with trio.move_on_after(0.2):
        await gpus.acquire(2, mark(2), "second")
    with trio.fail_after(PATIENCE):
        [last] = await gpus.acquire(1, mark(3), "third")
    assert last.uuid == machine.uuids[2]
    assert [each.holder for each in gpus.states()] == ["first", "first", "third"]


async def test_gpu_that_others_compute_on_is_not_assigned(
    machine: FakeGpus, tmp_path: Path
) -> None:
    """A GPU with a process of others waits until that has ended."""
    machine.change(0, pids=[4711])
    gpus = opened(machine, tmp_path)
    await gpus.look()
    assert (len(gpus.usable), gpus.available) == (3, 2)
    assert gpus.states()[0].holder == "process 4711, which is not predictd's"
    await gpus.acquire(2, mark(1), "iris")
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gpus.acquire, 1, mark(2), "churn")
            await trio.sleep(0.1)
            assert gpus.states()[0].holder != "churn"
            machine.change(0, pids=[])
    assert gpus.states()[0].holder == "churn"


async def test_lost_gpu_is_not_assigned(machine: FakeGpus, tmp_path: Path) -> None:
    """A GPU that is lost, divided or closed to users is shown with its problem and not given."""
    machine.change(0, lost=True)
    machine.change(1, mig=1)
    (machine.dev / "nvidia2").chmod(0o660)
    gpus = opened(machine, tmp_path, for_all=True)
    await gpus.look()
    assert gpus.usable == []
    problems = [each.gpu.problem for each in gpus.states()]
    assert problems[0] == "GPU is lost"
    assert problems[2] == f"not all users may open {machine.dev}/nvidia2 (its mode is 0660)"


async def test_measurement_is_remembered(machine: FakeGpus, tmp_path: Path) -> None:
    """The last measurement is shown without asking the driver again."""
    gpus = opened(machine, tmp_path)
    await gpus.look()
    measured = await gpus.measure(machine.uuids[:1])
    assert measured == {machine.uuids[0]: GpuUse(busy=0.25, memory=16 << 20)}
    assert gpus.uses == measured


class _Hanging:
    """A driver that answers nothing until it is told to."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.node = "/dev/null"

    def survey(self) -> Survey:
        assert self.works.wait(PATIENCE)
        return Survey(gpus=(Gpu(uuid="GPU-1", name="one", node=self.node),))

    def measure(self, uuids: Iterable[str]) -> dict[str, GpuUse]:
        assert self.works.wait(PATIENCE)
        return {}

    def processes(self, uuid: str) -> list[int]:
        return []

    def close(self) -> None:
        self.works.wait()


@fault(
    "a GPU driver that hangs",
    injection="no call of the driver returns",
    bound="no GPU is assigned, and nothing else waits",
)
async def test_hanging_driver_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a driver hangs no GPU is assigned, other threads work, and a wait can be cancelled;
    when it answers again, who waits is served."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    driver = _Hanging()
    gpus = Gpus(driver, tmp_path / "gpus", marked)
    gpus.recover(PREFIX)
    with trio.fail_after(PATIENCE):
        await gpus.look()
        assert await gpus.measure(["GPU-1"]) == {}
        assert await trio.to_thread.run_sync(lambda: 3) == 3
        with trio.move_on_after(0.2):
            await gpus.acquire(1, mark(1), "gone")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gpus.acquire, 1, mark(2), "waits")
            await trio.sleep(0.2)
            driver.works.set()
    assert [each.holder for each in gpus.states()] == ["waits"]


async def test_late_answer_is_not_assigned_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree whose GPUs are found after its wait for the driver has them, and gets no others."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    driver = _Hanging()
    gpus = Gpus(driver, tmp_path / "gpus", marked)
    gpus.recover(PREFIX)
    held: list[Gpu] = []

    async def ask() -> None:
        held.extend(await gpus.acquire(1, mark(1), "late"))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.2)  # its question has begun, and its wait for it has ended
            driver.works.set()
    assert [each.holder for each in gpus.states()] == ["late"]
    assert [each.uuid for each in held] == [each.gpu.uuid for each in gpus.states()]
