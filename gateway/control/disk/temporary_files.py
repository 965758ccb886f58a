"""Files for what is on its way: uploads; of a backup its database, and the list of what is in it.

They lie in a folder of the data folder, for our account alone. Most have no names, so they end with
us however we end; what has a name, or was left by a file system without such files, is swept at the
start. The
system's /tmp is not used: it may lie in memory, others know the names in it, and no room is
reserved there.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from builder import remove_tree
from gateway.control.disk.free_space import FreeSpace
from gateway.set_aside import REMOVE, SetAside


class TemporaryFiles:
    """The folder. All but `prepare` may be called in any thread; all of it blocks."""

    def __init__(self, folder: Path, disk: FreeSpace) -> None:
        self._folder = folder
        self._disk = disk

    def prepare(self, set_aside: SetAside) -> None:
        """Makes it, empty. Without it uploads fail, and nothing else."""
        what, left = "the folder for uploads", self._folder
        if left.exists():
            try:
                shutil.rmtree(left)
            except OSError as error:
                set_aside.move(what, left, error, REMOVE)
        with set_aside.item(what, left):
            left.mkdir(mode=0o700, exist_ok=True)

    def file(self) -> IO[bytes]:
        """A file without a name, to be closed by its user."""
        return tempfile.TemporaryFile(dir=self._folder)

    def folder(self) -> Path:
        """A new folder, to be removed by its user."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def name(self) -> Path:
        """The path of an entry that does not exist."""
        return self._folder / uuid4().hex

    def remove(self, folder: Path) -> None:
        """Removes one of these folders."""
        remove_tree(folder)

    @contextmanager
    def named(self) -> Iterator[Path]:
        """An empty file with a name, for what opens it by that; it is removed at the end."""
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            os.unlink(name)

    def admit_copy(self, size: int, what: str) -> None:
        """Raises Refusal("disk.full") where a copy of so many bytes would take more than half of
        what is free."""
        self._disk.check_copy(size, what)

    def admit(self, what: str) -> None:
        """To be asked again and again while something comes in. Raises Refusal("disk.full") when
        the reserve of the disk would be taken."""
        self._disk.check(what)
