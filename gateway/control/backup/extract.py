"""Writes the members of a backup below a folder, and never through a link.

Each name is resolved from the folder by descriptors, and no step follows a link. Every file is
created as a new one. A path that exists is an error: a name came twice, or the file system takes
two names for one. Links are made after all files, so no file is written through one. The seals of
builds come last: they assert that everything else is on the disk.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gateway.control.backup.archive_members import ArchiveMember

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without the bits that let others write, and without setuid and setgid.
_MODES = 0o755
_BLOCK = 1024 * 1024


class Extraction:
    """Extracts one backup to `root`, which is empty. The caller closes it."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _FOLDER)
        # The folder that was opened last: the next member is mostly in it too.
        self._open, self._opened = self._root, ""
        # Folders that were made for their content before their own member came.
        self._implied: set[str] = set()
        self._folders: list[tuple[str, int]] = []
        self._links: list[tuple[str, str]] = []
        self._seals: list[tuple[str, bytes]] = []

    def close(self) -> None:
        self._let_go()
        os.close(self._root)

    def put(self, entry: ArchiveMember, modified: int, content: IO[bytes] | None) -> None:
        """Makes a file or a folder; keeps a link for later. Raises ValueError for a bad path."""
        if content is not None:
            self._put_file(entry, modified, content)
        elif entry.kind == "same":
            self._copy(entry, modified)
        elif entry.kind == "folder":
            with _named(entry.name):
                self._make_folder(entry.name)
            self._folders.append((entry.name, entry.mode & _MODES))
        else:
            self._links.append((entry.name, entry.fact))

    def _copy(self, entry: ArchiveMember, modified: int) -> None:
        """Makes a file with the content of a shared one. A copy: only files of one project may be
        one file, which `shared_files.py` sees to."""
        above, _, last = entry.fact.rpartition("/")
        shared = os.open(last, _READ, dir_fd=self._folder(above))
        with os.fdopen(shared, "rb") as content:
            self._put_file(entry, modified, content)

    def _put_file(self, entry: ArchiveMember, modified: int, content: IO[bytes]) -> None:
        with _named(entry.name), self._new_file(entry.name) as file:
            shutil.copyfileobj(content, file, _BLOCK)
            file.flush()  # else what is written at the end changes the time
            os.fchmod(file.fileno(), entry.mode & _MODES)
            os.utime(file.fileno(), (modified, modified))

    def put_last(self, entry: ArchiveMember, seal: bytes) -> None:
        """Keeps the seal of a build for later."""
        self._seals.append((entry.name, seal))

    def finish(self) -> None:
        """Makes the links and seals that were kept. Raises ValueError, OSError."""
        for name, target in self._links:
            above, _, last = name.rpartition("/")
            with _named(name):
                os.symlink(target, last, dir_fd=self._folder(above))
        os.sync()
        for name, seal in self._seals:
            with _named(name), self._new_file(name) as file:
                file.write(seal)
                os.fchmod(file.fileno(), 0o644)
                file.flush()
                os.fsync(file.fileno())
            os.fsync(self._open)
        # The deepest first: a folder may be closed to us once it has its mode.
        for name, mode in reversed(self._folders):
            with _named(name):
                os.fchmod(self._folder(name), mode)

    def _new_file(self, name: str) -> IO[bytes]:
        above, _, last = name.rpartition("/")
        return open(os.open(last, _NEW, 0o600, dir_fd=self._folder(above)), "wb")

    def _make_folder(self, name: str) -> None:
        if name in self._implied:
            self._implied.remove(name)
            return
        above, _, last = name.rpartition("/")
        os.mkdir(last, 0o700, dir_fd=self._folder(above))

    def _folder(self, name: str) -> int:
        """A descriptor of the folder of that name, valid until the next call. Missing folders are
        made."""
        if name == self._opened:
            return self._open
        here, parts = self._root, name.split("/") if name else []
        for depth, part in enumerate(parts, start=1):
            try:
                below = self._step(here, part, "/".join(parts[:depth]))
            finally:
                if here != self._root:
                    os.close(here)
            here = below
        self._let_go()
        self._open, self._opened = here, name
        return here

    def _step(self, here: int, part: str, name: str) -> int:
        try:
            return os.open(part, _FOLDER, dir_fd=here)
        except FileNotFoundError:
            os.mkdir(part, 0o700, dir_fd=here)
            self._implied.add(name)
            return os.open(part, _FOLDER, dir_fd=here)

    def _let_go(self) -> None:
        if self._open != self._root:
            os.close(self._open)
        self._open, self._opened = self._root, ""


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Raises ValueError if an existing file is in the way."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{name} comes twice, or beneath what is no folder") from error
