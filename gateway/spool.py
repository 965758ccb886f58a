"""Where uploads wait until they are whole: a folder of the data folder, for our account alone.

They are files without a name, which end with us however we end; what a file system that has no such
files left behind is swept at the start. The system's /tmp is not used: it may lie in memory, others
know the names in it, and nobody keeps room there. While an upload comes in, the reserve of the disk
is looked at again and again.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gateway.control.disk import MIB, Disk

# Of each part of a form so much stays in memory: there may be a thousand.
_IN_MEMORY = 64 * 1024


class Spool:
    """The folder, and the streams that forms are read into."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self._disk = disk

    def prepare(self) -> None:
        """Makes it, empty. Blocking; raises OSError."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(mode=0o700)

    def file(self) -> IO[bytes]:
        """A file without a name, to be closed by its user."""
        return tempfile.TemporaryFile(dir=self.folder)

    def stream(self, *_: object, **__: object) -> IO[bytes]:
        """What a part of a form is written into (`stream_factory` of Quart's parser)."""
        return _Stream(self.folder, lambda: self._disk.check("an upload"))


if TYPE_CHECKING:
    _Spooled = tempfile.SpooledTemporaryFile[bytes]
else:
    _Spooled = tempfile.SpooledTemporaryFile


class _Stream(_Spooled):
    """Calls `check` for each MiB that is written; what that raises ends the upload."""

    def __init__(self, folder: Path, check: Callable[[], None]) -> None:
        super().__init__(_IN_MEMORY, dir=str(folder))
        self._may_go_on = check
        self._unchecked = 0

    def write(self, data: Any) -> int:
        self._unchecked += len(data)
        if self._unchecked >= MIB:
            try:
                self._may_go_on()
            except BaseException:
                self.close()  # Quart's parser leaves it to the garbage collector
                raise
            self._unchecked = 0
        return super().write(data)
