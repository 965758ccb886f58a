"""A library of NVML for machines without a GPU: what the real `pynvml` calls, as C functions.

`pynvml` finds its library by `_LoadNvmlLibrary`, so all of its own code runs: its structs, its
sizes of buffers, its classes of errors. Each function here returns the codes that NVIDIA documents
for it (the NVML API reference): `NotSupported` for what a kind of GPU lacks, `GpuIsLost`,
`Uninitialized` before `nvmlInit`, `InsufficientSize` where an array is too small.

The state is a JSON file, which tests change while a gateway in another process reads it:

    {"driver": "550.54", "load": 0, "gpus": [{"uuid": "GPU-...", "minor": 0, "name": "...",
     "memory": 1024, "used": 0, "busy": 0, "mig": null, "mode": 0, "lost": false, "pids": []}]}
"""

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pynvml

MIB = 1 << 20


def gpu(number: int, **changes: object) -> dict[str, Any]:
    """One GPU that works, as the state describes it."""
    known = {
        "uuid": f"GPU-{number:08x}-0000-4000-8000-{number:012x}",
        "minor": number,
        "name": "NVIDIA A2",
        "memory": 1024 * MIB,
        "used": 16 * MIB,
        "busy": 25,
        "mig": None,
        "mode": pynvml.NVML_COMPUTEMODE_DEFAULT,
        "lost": False,
        "pids": [],
    }
    return known | changes


class NvmlLibrary:
    """The shared library, with the state in `path`; `load` in it is what `nvmlInit` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.initialised = 0

    @property
    def state(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self._path.read_text())
        return found

    def install(self) -> None:
        """Makes `pynvml` use it."""
        pynvml.nvmlLib = None
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._LoadNvmlLibrary = self._load

    def _load(self) -> None:
        if self.state["load"] == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        pynvml.nvmlLib = self

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml") or not hasattr(type(self), f"_{name}"):
            raise AttributeError(name)

        def call(*args: Any) -> int:
            try:
                if not self.initialised and name != "nvmlInitWithFlags":
                    return int(pynvml.NVML_ERROR_UNINITIALIZED)
                getattr(self, f"_{name}")(*args)
            except pynvml.NVMLError as error:
                return int(error.value)
            return int(pynvml.NVML_SUCCESS)

        return call

    def _device(self, handle: Any) -> dict[str, Any]:
        # A handle is opaque: the number of a GPU, counted from 1.
        value = ctypes.cast(handle, ctypes.c_void_p).value
        found: dict[str, Any] = self.state["gpus"][(value or 0) - 1]
        if found["lost"]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return found

    def _handle(self, number: int, out: Any) -> None:
        if self.state["gpus"][number]["lost"]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        ctypes.memmove(
            out, ctypes.byref(ctypes.c_void_p(number + 1)), ctypes.sizeof(ctypes.c_void_p)
        )

    def _nvmlInitWithFlags(self, flags: int) -> None:
        if code := self.state["load"]:
            raise pynvml.NVMLError(code)
        self.initialised += 1

    def _nvmlShutdown(self) -> None:
        self.initialised -= 1

    def _nvmlErrorString(self, code: int) -> None:
        raise pynvml.NVMLError(code)

    def _nvmlSystemGetDriverVersion(self, buffer: Any, size: Any) -> None:
        _text(buffer, self.state["driver"], size)

    def _nvmlDeviceGetCount_v2(self, count: Any) -> None:
        count._obj.value = len(self.state["gpus"])

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, out: Any) -> None:
        if index.value >= len(self.state["gpus"]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        self._handle(index.value, out)

    def _nvmlDeviceGetHandleByUUID(self, uuid: Any, out: Any) -> None:
        names = [each["uuid"] for each in self.state["gpus"]]
        if uuid.value.decode() not in names:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        self._handle(names.index(uuid.value.decode()), out)

    def _nvmlDeviceGetUUID(self, handle: Any, buffer: Any, size: Any) -> None:
        _text(buffer, self._device(handle)["uuid"], size)

    def _nvmlDeviceGetName(self, handle: Any, buffer: Any, size: Any) -> None:
        _text(buffer, self._device(handle)["name"], size)

    def _nvmlDeviceGetMinorNumber(self, handle: Any, out: Any) -> None:
        out._obj.value = _supported(self._device(handle)["minor"])

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, out: Any) -> None:
        device = self._device(handle)
        memory = _supported(device["memory"])
        out._obj.total, out._obj.used = memory, device["used"]
        out._obj.free = memory - device["used"]

    def _nvmlDeviceGetUtilizationRates(self, handle: Any, out: Any) -> None:
        device = self._device(handle)
        if device["mig"]:  # documented: not supported on GPUs in MIG mode
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        out._obj.gpu, out._obj.memory = _supported(device["busy"]), 0

    def _nvmlDeviceGetComputeMode(self, handle: Any, out: Any) -> None:
        out._obj.value = self._device(handle)["mode"]

    def _nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> None:
        mig = _supported(self._device(handle)["mig"])
        current._obj.value = pending._obj.value = mig

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, out: Any) -> None:
        pids = self._device(handle)["pids"]
        room, count._obj.value = count._obj.value, len(pids)
        if len(pids) > room:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
        for each, pid in zip(out or (), pids, strict=False):
            each.pid = pid


def _supported(value: Any) -> Any:
    if value is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return value


def _text(buffer: Any, text: str, size: Any) -> None:
    if len(text) >= size.value:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
    buffer.value = text.encode()
