"""Who may start on this machine: told with the numbers, at once where it can never be."""

from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gateway.control.resources import GIB, HostResources, NotEnoughMemory
from gateway.errors import Refusal
from workers.sizes import MIB

Numbers = dict[str, int]


class Asked(msgspec.Struct, frozen=True):
    memory_mb: int
    replicas: int = 1
    cpu_millicores: int = 1000


class Played(HostResources):
    """A machine of 4 GiB and 2 cores, of which a test says what is free."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.cores, self.memory, self.for_models = 2, 4 * GIB, 4 * GIB - 256 * MIB
        self.is_free = free

    def free(self) -> int:
        return self.is_free


@pytest.fixture
def machine() -> Played:
    return Played(3 * GIB)


def test_capacity_of_this_machine_is_consistent() -> None:
    """The numbers fit together."""
    told = HostResources().capacity()
    assert 0 < told.memory_free <= told.memory_for_models < told.memory
    assert told.cores >= 1
    assert 64 <= told.default_memory_mb <= 2048


def test_default_memory_fits_more_than_once(machine: Played) -> None:
    """On a small machine more than one replica of the default fits."""
    assert machine.default_memory_mb == 960
    machine.for_models = 64 * GIB
    assert machine.default_memory_mb == 2048


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (Asked(8192), "resources.exceeded", "not enough memory: asked 8 GiB, models may take 3.75"),
        (Asked(3500), "resources.busy", "not enough memory: asked 3.42 GiB, 3 GiB free"),
        (Asked(1, 1, 2500), "resources.exceeded", "not enough CPU: asked 2.5, the machine has 2"),
    ],
)
def test_replica_that_is_too_large_is_refused(
    machine: Played, asked: Asked, code: str, text: str
) -> None:
    """One replica that is too large, for the machine or for what is free, is refused by name."""
    with pytest.raises(Refusal, match=text) as refused:
        machine.check(asked, now=True)
    assert refused.value.code == code


def test_limit_is_no_reservation(machine: Played) -> None:
    """Replicas whose limits exceed the memory together may start: most stay far below."""
    machine.check(Asked(2048, replicas=9), now=True)


def test_deployment_that_may_fit_later_is_not_refused(machine: Played) -> None:
    """Others may stop while its build is made."""
    machine.check(Asked(3500), now=False)


async def test_deployment_waits_for_those_that_start(
    machine: Played, autojump_clock: trio.testing.MockClock
) -> None:
    """What is starting counts with all that it asked for; once ready, with what it uses."""
    entered: list[str] = []
    told: list[str] = []

    async def second() -> None:
        async with machine.reserve_memory(Asked(2048), "A", told.append):
            entered.append("second")

    async with trio.open_nursery() as nursery:
        async with machine.reserve_memory(Asked(1024, replicas=2), "A", print):
            nursery.start_soon(second)
            await trio.sleep(5)
            assert entered == []
            missing = "asked 2 GiB, 3 GiB free, of which models that start may take 2 GiB"
            assert set(told) == {f"memory: {missing}"}
            assert machine.capacity().memory_starting == 2 * GIB
            machine.is_free -= 100 * MIB
        await trio.testing.wait_all_tasks_blocked()
    assert entered == ["second"]
    assert machine.capacity().memory_starting == 0


async def test_deployment_that_never_fits_fails_with_the_numbers(
    machine: Played, autojump_clock: trio.testing.MockClock
) -> None:
    """It fails once nothing else starts."""

    async def too_late() -> None:
        with pytest.raises(NotEnoughMemory, match=r"asked 2 GiB, 1\.5 GiB free"):
            async with machine.reserve_memory(Asked(2048), "A", print):
                raise AssertionError("admitted")

    async with trio.open_nursery() as nursery, machine.reserve_memory(Asked(2048), "A", print):
        nursery.start_soon(too_late)
        await trio.sleep(3)
        machine.is_free = 3 * GIB // 2


async def test_project_that_starts_much_leaves_half_of_the_memory(
    machine: Played, autojump_clock: trio.testing.MockClock
) -> None:
    """However much one project's deployments ask for while they start, and however long that takes,
    another's may start with half of what is free."""
    entered: list[str] = []

    async def greedy() -> None:
        async with machine.reserve_memory(Asked(2048, replicas=9), "greedy", print):
            entered.append("greedy")
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(greedy)
        await trio.sleep(5)
        assert entered == ["greedy"]
        with trio.fail_after(1):
            async with machine.reserve_memory(Asked(1536), "other", print):
                pass
        nursery.cancel_scope.cancel()


async def test_project_with_nothing_starting_goes_first(
    machine: Played, autojump_clock: trio.testing.MockClock
) -> None:
    """One that waits for more than half of what is free is not passed by ever new small ones of a
    project that has some starting."""
    entered: list[str] = []

    async def start(name: str, memory: int, seconds: float) -> None:
        async with machine.reserve_memory(Asked(memory), name, print):
            entered.append(name)
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, "greedy", 2048, 10)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(start, "other", 2048, 10)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            nursery.start_soon(start, "greedy", 64, 10)
        await trio.sleep(5)
        assert entered == ["greedy"]
        await trio.sleep(7)
        assert sorted(entered) == sorted(["greedy", "other", *["greedy"] * 5])
    assert machine.capacity().memory_starting == 0


async def test_deployment_alone_starts_if_one_replica_fits(machine: Played) -> None:
    """One replica has to fit, not all of them."""
    async with machine.reserve_memory(Asked(2048, replicas=9), "A", print):
        pass


def test_memory_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the machine is what the container may have."""
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 2}\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    monkeypatch.setattr("gateway.control.resources.memory_groups", lambda _: [(2, tmp_path)])
    machine = HostResources()
    assert machine.memory == GIB
    assert machine.for_models == GIB - 128 * MIB
    assert machine.free() == GIB // 2 - 128 * MIB


async def test_script_keeps_its_memory_while_it_runs(
    machine: Played, autojump_clock: trio.testing.MockClock
) -> None:
    """As long as a script runs, other scripts do not get what it asked for and has not taken yet;
    deployments do, and other projects' scripts half of what is free."""

    refused: list[str] = []

    async def try_script(memory_mb: int, project: str) -> bool:
        try:
            async with machine.reserve_for_script(Asked(memory_mb), project, print):
                return True
        except NotEnoughMemory as error:
            refused.append(str(error))
            return False

    async with machine.reserve_for_script(Asked(2048), "A", print) as script:
        assert not await try_script(2048, "A")
        assert await try_script(1024, "A")
        assert await try_script(1536, "B")
        async with machine.reserve_memory(Asked(3 * 1024), "A", print):
            pass
        machine.is_free -= 1024 * MIB
        script.measure_by(lambda: 1024 * MIB)  # what it has taken counts once
        assert await try_script(1024, "A")
        assert not await try_script(1025, "A")
        machine.is_free += 1024 * MIB
    assert await try_script(3 * 1024, "A")
    assert all("of which experiments and sessions may take" in each for each in refused)
