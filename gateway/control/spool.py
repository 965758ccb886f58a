"""Files for what is on its way: uploads, and the list of what is in a backup.

They lie in a folder of the data folder, for our account alone, and have no names, so they end with
us however we end; what a file system that has no such files left behind is swept at the start. The
system's /tmp is not used: it may lie in memory, others know the names in it, and no room is
reserved there.
"""

import shutil
import tempfile
from pathlib import Path
from typing import IO

from gateway.control.disk import Disk


class Spool:
    """The folder. All but `prepare` may be called in any thread; all of it blocks."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def prepare(self) -> None:
        """Makes it, empty. Raises OSError."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o700)

    def file(self) -> IO[bytes]:
        """A file without a name, to be closed by its user."""
        return tempfile.TemporaryFile(dir=self._folder)

    def admit(self, what: str) -> None:
        """To be asked again and again while something comes in. Raises Refusal("disk.full") when
        the reserve of the disk would be taken."""
        self._disk.check(what)
