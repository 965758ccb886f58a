"""What is needed of a GPU driver: one small Protocol, and the values that it gives.

All of it blocks, for milliseconds or, while a driver hangs, for ever: call it in a thread. Nothing
is raised: what cannot be read is a `problem` in words.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One physical GPU. `memory` in bytes, 0 where the driver does not say. `node` is its device
    node. A GPU with a `problem` is not assigned; without a UUID its driver does not name it."""

    uuid: str
    name: str
    memory: int = 0
    node: str = ""
    problem: str = ""


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a GPU is used now: the share of the last moment in which it computed, from 0 to
    1, None where the driver does not say; memory in bytes."""

    busy: float | None
    memory: int


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs that a driver sees, in its order. `nodes` are the device nodes that programs need
    beside those of their GPUs. `problem` says why there are no GPUs."""

    gpus: tuple[Gpu, ...] = ()
    nodes: tuple[str, ...] = ()
    driver: str = ""  # its version
    problem: str = ""


class GpuDriver(Protocol):
    """A driver of GPUs."""

    def survey(self) -> Survey:
        """The GPUs as they are now."""

    def measure(self, uuids: Iterable[str]) -> dict[str, GpuUse]:
        """How much these are used; without those that cannot be measured."""

    def processes(self, uuid: str) -> list[int]:
        """The processes that compute on a GPU, as far as the driver sees them."""

    def close(self) -> None:
        """Gives back what the driver holds."""
