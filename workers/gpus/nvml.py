"""NVIDIA's driver, by NVML (`nvidia-ml-py`, the extra `gpu`).

The module is imported only where the machine has the driver. NVML is initialised once and kept:
each initialisation may take a second. After an error that concerns all GPUs it is initialised again
by the next survey.

A GPU in MIG mode is shown and not assigned: it would have to be divided. So is one that is lost,
that forbids computing, or that has no device node here.
"""

import importlib
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from workers.gpus.driver import Gpu, GpuUse, Survey

# One of these exists where the driver is loaded.
SIGNS = ("/proc/driver/nvidia", "/dev/nvidiactl")
NO_DRIVER = "this machine has no NVIDIA driver"
_NO_MODULE = "nvidia-ml-py is not installed: install predictd[gpu]"
# Device nodes that all programs with CUDA need, where they exist (gotcha G3).
_SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


class NvmlDriver:
    """`dev` is the folder of the device nodes."""

    def __init__(self, dev: Path = Path("/dev"), signs: Iterable[str] = SIGNS) -> None:
        self._dev = dev
        self._signs = tuple(signs)
        self._nvml: Any = None
        self._lock = threading.Lock()

    def survey(self) -> Survey:
        """See `GpuDriver`."""
        if not any(map(os.path.exists, self._signs)):
            return Survey(problem=NO_DRIVER)
        with self._lock:
            try:
                return self._survey(self._opened())
            except ImportError:
                return Survey(problem=_NO_MODULE)
            except Exception as error:  # NVMLError; its class is known only once it is imported
                self._shut_down()
                return Survey(problem=f"NVML: {error}")

    def measure(self, uuids: Iterable[str]) -> dict[str, GpuUse]:
        """See `GpuDriver`."""
        found = {}
        with self._lock:
            nvml = self._nvml
            for uuid in uuids if nvml else ():
                with suppress(nvml.NVMLError):
                    handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
                    rates = _optional(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
                    memory = _optional(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
                    found[uuid] = GpuUse(
                        busy=None if rates is None else rates.gpu / 100,
                        memory=0 if memory is None else int(memory.used),
                    )
        return found

    def processes(self, uuid: str) -> list[int]:
        """See `GpuDriver`."""
        with self._lock:
            nvml = self._nvml
            if nvml is None:
                return []
            try:
                handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
                try:
                    found = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
                except nvml.NVMLError_FunctionNotFound:  # drivers before 510
                    found = nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
                return [int(each.pid) for each in found]
            except nvml.NVMLError:
                return []

    def close(self) -> None:
        """See `GpuDriver`."""
        with self._lock:
            self._shut_down()

    def _opened(self) -> Any:
        if self._nvml is None:
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
            self._nvml = nvml
        return self._nvml

    def _shut_down(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _survey(self, nvml: Any) -> Survey:
        gpus = tuple(self._gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        nodes = (str(self._dev / name) for name in _SHARED)
        return Survey(
            gpus=gpus,
            nodes=tuple(filter(os.path.exists, nodes)),
            driver=nvml.nvmlSystemGetDriverVersion(),
            problem="" if gpus else "the NVIDIA driver sees no GPU",
        )

    def _gpu(self, nvml: Any, index: int) -> Gpu:
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError as error:
            return Gpu(uuid="", name=f"GPU {index}", problem=str(error))
        name, node, memory = f"GPU {index}", "", None
        try:
            name = nvml.nvmlDeviceGetName(handle)
            memory = _optional(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
            minor = _optional(nvml, nvml.nvmlDeviceGetMinorNumber, handle)
            node = "" if minor is None else str(self._dev / f"nvidia{minor}")
            problem = _problem(nvml, handle, node)
        except nvml.NVMLError as error:
            problem = str(error)
        size = 0 if memory is None else int(memory.total)
        return Gpu(uuid=uuid, name=name, memory=size, node=node, problem=problem)


def _problem(nvml: Any, handle: Any, node: str) -> str:
    """Why a GPU is not assigned."""
    mig = _optional(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mig is not None and mig[0] == nvml.NVML_DEVICE_MIG_ENABLE:
        return "it is in MIG mode, and predictd assigns whole GPUs only"
    mode = _optional(nvml, nvml.nvmlDeviceGetComputeMode, handle)
    if mode == nvml.NVML_COMPUTEMODE_PROHIBITED:
        return "its compute mode is 'prohibited'"
    if not node:
        return "the driver does not name its device node"
    return "" if os.path.exists(node) else f"its device node {node} is missing"


def _optional(nvml: Any, read: Any, handle: Any) -> Any:
    """What a GPU says of itself; None where its kind does not say."""
    try:
        return read(handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return None
