"""Makes the seed that the first build needs before it is asked for, while the gateway serves.

Without it the first build of a data folder waits 0.9 s for virtualenv. It is the seed of the site's
default runtime; an environment of R has that of the default Python. A runtime with packages needs
none: its own environment is copied.
"""

import logging

import store
from builder import BuilderError, Language, Seeds
from gateway.control.disk.free_space import FreeSpace
from gateway.control.runtimes.catalogue import RuntimeCatalogue

logger = logging.getLogger(__name__)

_TIME_LIMIT = 300.0  # seconds
_PYTHON: Language = "python"


class SeedPreparation:
    """Once per start. What it cannot do, the first build does or reports."""

    def __init__(self, *, seeds: Seeds, catalogue: RuntimeCatalogue, disk: FreeSpace) -> None:
        self._seeds = seeds
        self._catalogue = catalogue
        self._disk = disk

    async def run(self) -> None:
        try:
            await self._prepare()
        except (BuilderError, store.StoreError, OSError, TimeoutError) as error:
            logger.warning("seed.not_prepared: %s", error)

    async def _prepare(self) -> None:
        choice = await self._catalogue.default()
        if choice.runtime is not None or (await self._disk.state()).level == "full":
            return
        if choice.interpreter.language != _PYTHON:
            choice = await self._catalogue.bare_of(_PYTHON)
        await self._seeds.prepare(choice.interpreter, _TIME_LIMIT)
