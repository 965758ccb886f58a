"""The driver boundary, against the real `pynvml` and a library that behaves as documented."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.support.gpus import FakeGpus, fake_gpus
from tests.support.skipping import not_here
from workers.gpus import Gpu, GpuUse, NvmlDriver
from workers.gpus.nvml import NO_DRIVER, SIGNS

MIB = 1 << 20


@pytest.fixture
def machine() -> Iterator[FakeGpus]:
    with fake_gpus(3) as found:
        yield found


def test_survey_names_each_gpu(machine: FakeGpus) -> None:
    """A survey has the UUID, name, memory and node of each GPU, and the nodes that all share."""
    survey = machine.driver().survey()
    assert survey.gpus[1] == Gpu(
        uuid=machine.uuids[1], name="NVIDIA A2", memory=1024 * MIB, node=f"{machine.dev}/nvidia1"
    )
    assert [each.uuid for each in survey.gpus] == machine.uuids
    assert survey.nodes == (f"{machine.dev}/nvidiactl", f"{machine.dev}/nvidia-uvm")
    assert (survey.driver, survey.problem) == ("550.54.15", "")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mig": 1}, "it is in MIG mode, and predictd assigns whole GPUs only"),
        ({"mig": 0}, ""),
        ({"mode": pynvml.NVML_COMPUTEMODE_PROHIBITED}, "its compute mode is 'prohibited'"),
        ({"mode": pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS}, ""),
        ({"minor": None}, "the driver does not name its device node"),
        ({"memory": None}, ""),
        ({"lost": True}, "GPU is lost"),
    ],
)
def test_gpu_with_a_problem_is_listed(
    machine: FakeGpus, changes: dict[str, object], problem: str
) -> None:
    """A GPU that cannot be assigned says why; the others are not affected."""
    machine.change(1, **changes)
    first, second, third = machine.driver().survey().gpus
    assert (first.problem, second.problem, third.problem) == ("", problem, "")
    assert second.uuid == ("" if "lost" in changes else machine.uuids[1])


def test_gpu_without_its_node_is_listed(machine: FakeGpus) -> None:
    """A container may have the driver without the node of a GPU."""
    (machine.dev / "nvidia2").unlink()
    assert machine.driver().survey().gpus[2].problem == (
        f"its device node {machine.dev}/nvidia2 is missing"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "NVML: NVML Shared Library Not Found"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "NVML: Driver Not Loaded"),
        (
            pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            "NVML: RM has detected an NVML/RM version mismatch.",
        ),
    ],
)
def test_driver_that_does_not_work_says_why(machine: FakeGpus, code: int, text: str) -> None:
    """A survey says why there are no GPUs; the next one finds them when the driver works again."""
    machine.load = code
    machine.write()
    driver = machine.driver()
    assert (driver.survey().gpus, driver.survey().problem) == ((), text)
    machine.load = 0
    machine.write()
    assert len(driver.survey().gpus) == 3


def test_measurement_leaves_out_what_cannot_be_measured(machine: FakeGpus) -> None:
    """A lost or unknown GPU is missing; one in MIG mode has memory only."""
    machine.change(0, used=100 * MIB, busy=50)
    machine.change(1, mig=1)
    driver = machine.driver()
    driver.survey()
    machine.change(2, lost=True)
    assert driver.measure([*machine.uuids, "GPU-unknown"]) == {
        machine.uuids[0]: GpuUse(busy=0.5, memory=100 * MIB),
        machine.uuids[1]: GpuUse(busy=None, memory=16 * MIB),
    }


def test_processes_that_compute_are_found(machine: FakeGpus) -> None:
    """However many they are: NVML is asked twice, first for the number."""
    machine.change(0, pids=list(range(100, 140)))
    driver = machine.driver()
    driver.survey()
    assert driver.processes(machine.uuids[0]) == list(range(100, 140))
    assert driver.processes(machine.uuids[1]) == []
    assert driver.processes("GPU-unknown") == []


def test_closed_driver_measures_nothing(machine: FakeGpus) -> None:
    """After `close`, and before the first survey, nothing is known and nothing raises."""
    driver = machine.driver()
    assert (driver.measure(machine.uuids), driver.processes(machine.uuids[0])) == ({}, [])
    driver.survey()
    driver.close()
    assert (driver.measure(machine.uuids), driver.processes(machine.uuids[0])) == ({}, [])


def _need_no_driver() -> None:
    if any(Path(each).exists() for each in SIGNS):
        not_here("it has the driver")


def test_nvml_is_not_imported_without_a_driver(tmp_path: Path) -> None:
    """A machine without the driver never loads `pynvml`."""
    _need_no_driver()
    program = (
        "import sys; from workers.gpus import NvmlDriver;"
        "print(NvmlDriver().survey().problem, 'pynvml' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{NO_DRIVER} False"


def test_real_library_is_missing_here(tmp_path: Path) -> None:
    """`pynvml` itself, on a machine that only seems to have the driver."""
    _need_no_driver()
    program = (
        f"from pathlib import Path; from workers.gpus import NvmlDriver;"
        f"print(NvmlDriver(signs=[{str(tmp_path)!r}]).survey().problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "NVML: NVML Shared Library Not Found"


def test_module_that_is_missing_is_named(
    machine: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the driver and without the extra, the survey says what to install."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    driver = NvmlDriver(machine.dev, signs=["/dev/null"])
    assert driver.survey().problem == "nvidia-ml-py is not installed: install predictd[gpu]"
