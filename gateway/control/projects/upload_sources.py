"""The files that a new folder of a project is made of, as hard links wherever the mode is the same.

Nothing beneath the project's folder is opened by its path. All of it blocks.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from builder import Folder


class CurrentFiles:
    """Files of the project's folder, by their paths; the last folder stays open."""

    def __init__(self, root: Path) -> None:
        self._top = Folder.root(root)
        self._path, self._folder = "", self._top.folder([])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._folder.__exit__(*exception)
        self._top.__exit__(*exception)

    def link(self, path: str, target: Path) -> None:
        name = self._enter(path)
        self._folder.link(name, target)

    def take(self, path: str, target: Path, mode: int) -> None:
        """A link to the file, or a copy where it has another mode."""
        name = self._enter(path)
        if stat.S_IMODE(self._folder.status(name).st_mode) == mode:
            with _unless_too_many_links():
                self._folder.link(name, target)
                return
        with self._folder.open(name) as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy)
        target.chmod(mode)

    def _enter(self, path: str) -> str:
        above, _, name = path.rpartition("/")
        if above != self._path:
            opened = self._top.folder(above.split("/") if above else [])
            self._folder.__exit__()
            self._path, self._folder = above, opened
        return name


def link_or_copy(sent: Path, path: Path, mode: int) -> None:
    """The first file with a content that was sent decides its mode; one of another mode copies."""
    facts = sent.stat()
    if facts.st_nlink == 1:
        sent.chmod(mode)
    if facts.st_nlink == 1 or stat.S_IMODE(facts.st_mode) == mode:
        with _unless_too_many_links():
            os.link(sent, path)
            return
    shutil.copyfile(sent, path)
    path.chmod(mode)


@contextmanager
def _unless_too_many_links() -> Iterator[None]:
    """Passes over the error of a file that can have no more links: 65,000 on ext4. A project may
    have as many empty files."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
