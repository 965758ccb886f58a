"""The isolation level `none`, for tests of what does not need isolation."""

from pathlib import Path

from workers.confinement import Confinement, LevelChoice


def unconfined(folder: Path) -> Confinement:
    """The level `none`, without looking for a stronger one."""
    return Confinement(LevelChoice("none", {}), folder)
