"""GPUs for tests: device nodes of harmless kinds, and a driver over `nvml.NvmlLibrary`."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.nvml import NvmlLibrary, gpu
from tests.support.skipping import not_here
from workers.gpus import Gpu, GpuUse, NvmlDriver, Survey
from workers.gpus.nvml import NO_DRIVER

ROOT = Path(__file__).parents[2]
# The major and minor number of /dev/null.
_NULL = os.makedev(1, 3)


class FakeGpus:
    """Some GPUs of a machine. Their nodes, in a folder of /dev, are of the kind of /dev/null."""

    def __init__(self, dev: Path, state: Path, number: int) -> None:
        self.dev = dev
        self.path = state
        for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{each}" for each in range(number))):
            os.mknod(dev / name, stat.S_IFCHR | 0o666, _NULL)
            (dev / name).chmod(0o666)
        self.gpus = [gpu(each) for each in range(number)]
        self.load = 0
        self.write()

    def write(self) -> None:
        """Tells the library what `gpus` and `load` are now."""
        state = {"driver": "550.54.15", "load": self.load, "gpus": self.gpus}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.replace(self.path)

    def change(self, number: int, **changes: Any) -> None:
        """Changes one GPU."""
        self.gpus[number] |= changes
        self.write()

    @property
    def uuids(self) -> list[str]:
        return [each["uuid"] for each in self.gpus]

    def wrapper(self, folder: Path) -> list[str]:
        """What to put before the command of a gateway that is to have these GPUs."""
        call = f"take_over({str(self.dev)!r}, {str(self.path)!r})"
        text = f"from tests.support.gpus import take_over\n{call}\n"
        (folder / "sitecustomize.py").write_text(text)
        return ["/usr/bin/env", f"PYTHONPATH={ROOT}:{folder}"]

    def driver(self) -> NvmlDriver:
        """The driver, with `pynvml` over the library."""
        NvmlLibrary(self.path).install()
        return NvmlDriver(self.dev, signs=(str(self.dev / "nvidiactl"),))


def take_over(dev: str, state: str) -> None:
    """Makes the driver of this process the library of `state`, with its nodes in `dev`."""
    NvmlLibrary(Path(state)).install()
    NvmlDriver.__init__.__defaults__ = (Path(dev), (f"{dev}/nvidiactl",))


@contextmanager
def fake_gpus(number: int) -> Iterator[FakeGpus]:
    """This many GPUs, for as long as the block; skips the test where none can be made."""
    try:
        dev = Path(tempfile.mkdtemp(prefix="predictd-test-", dir="/dev"))
    except OSError as error:
        not_here(f"/dev cannot be written: {error}")
    state = Path(tempfile.mkdtemp(prefix="predictd-gpus-"))
    dev.chmod(0o755)
    try:
        try:
            found = FakeGpus(dev, state / "nvml.json", number)
        except PermissionError as error:
            not_here(f"no device node can be made: {error}")
        yield found
    finally:
        shutil.rmtree(dev)
        shutil.rmtree(state)


class PlainGpus:
    """A driver of this many GPUs, without NVML: for tests of what is above it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def survey(self) -> Survey:
        gpus = tuple(
            Gpu(uuid=f"GPU-{each}", name="A2", memory=1 << 30, node="/dev/null")
            for each in range(self.number)
        )
        return Survey(gpus=gpus, driver="550.54.15", problem="" if gpus else NO_DRIVER)

    def measure(self, uuids: Iterable[str]) -> dict[str, GpuUse]:
        return {each: GpuUse(busy=0.5, memory=1 << 20) for each in uuids}

    def processes(self, uuid: str) -> list[int]:
        return []

    def close(self) -> None:
        """It holds nothing."""
