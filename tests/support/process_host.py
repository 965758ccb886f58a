"""A host for process trees: real services, no cgroups, no isolation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.confinement import unconfined
from workers.allowance import unbounded
from workers.cgroups import Cgroups
from workers.gpus import Gpus, NvmlDriver
from workers.process.host import ProcessHost
from workers.process.limit_monitor import LimitMonitor
from workers.process.output import Output
from workers.process.process import marked


@contextmanager
def open_host(folder: Path, instance_id: str) -> Iterator[ProcessHost]:
    """Its threads end with the block."""
    host = ProcessHost(
        instance_id=instance_id,
        output=Output(),
        limit_monitor=LimitMonitor(enforced=()),
        cgroups=Cgroups(),
        confinement=unconfined(folder),
        allowance=unbounded(),
        gpus=Gpus(NvmlDriver(signs=()), folder / "gpus", marked),
    )
    try:
        yield host
    finally:
        host.limit_monitor.close()
        host.output.close()
