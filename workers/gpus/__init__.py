"""The GPUs of the machine: found, assigned as whole devices, and taken back from the dead."""

from workers.gpus.driver import Gpu, GpuDriver, GpuUse, Survey
from workers.gpus.gpus import Gpus, GpuState
from workers.gpus.nvml import NO_DRIVER, NvmlDriver

__all__ = ["NO_DRIVER", "Gpu", "GpuDriver", "GpuState", "GpuUse", "Gpus", "NvmlDriver", "Survey"]
