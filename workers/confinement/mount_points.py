"""Mount points in folders that a project may write: we make them before bubblewrap needs them.

The data folder may lie in /tmp or in /home/cdsw, where a view has folders of the project's. What is
mounted there needs a mount point in the project's own folder. bubblewrap would make it by path and
through links, with the gateway's rights, and absolute links lead to the whole machine at that
moment. So this module makes or opens each folder from the one above it, never through a link.
"""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from workers.untrusted_tree import make_below


def make(real: Path, seen: Path, mounted: Iterable[Path]) -> None:
    """Makes the mount points for those of `mounted` that lie in `seen`, where `real` will be.
    Raises OSError, also for a link on the way. No process that could change `real` may run
    meanwhile."""
    for path in mounted:
        if path.is_relative_to(seen):
            try:
                _make(real, path.relative_to(seen), is_folder=path.is_dir())
            except OSError as error:
                text = f"the project has something else there ({error.strerror})"
                raise OSError(error.errno, text, str(path)) from error


def _make(real: Path, point: Path, *, is_folder: bool) -> None:
    if is_folder:
        os.close(make_below(real, point))
        return
    above = make_below(real, point.parent)
    try:
        with suppress(FileExistsError):
            os.close(os.open(point.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=above))
        descriptor = os.open(point.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
        os.close(descriptor)
        if os.path.islink(f"/proc/self/fd/{above}/{point.name}"):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    finally:
        os.close(above)
