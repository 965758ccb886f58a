"""Which caches of packages are garbage. The next build of their project needs them.

Each project has one, which its builds fill. Its folder has the time of the last of them.
"""

import time
from pathlib import Path

import msgspec

from gateway.control.storage.disk_space import size_of
from workers.sizes import GIB


class CacheLimits(msgspec.Struct, frozen=True):
    """A cache is kept while it is at most this large and was used by a build this many seconds
    ago. While the disk is low none is kept."""

    size: int = 10 * GIB
    age: float = 30 * 24 * 3600.0


_LIMITS = CacheLimits()


def unneeded_caches(
    caches: list[Path], *, disk_is_low: bool, limits: CacheLimits = _LIMITS
) -> list[Path]:
    """Those of the caches that exist and are not kept. Blocking."""
    oldest = time.time() - limits.age
    return [
        cache
        for cache in caches
        if cache.is_dir()
        and (disk_is_low or cache.lstat().st_mtime < oldest or size_of([cache]) > limits.size)
    ]
