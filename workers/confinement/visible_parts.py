"""Which parts of a folder a process may see, where it may not see the whole folder.

Two kinds of paths are left out. *Hidden* ones are named: the data folder, which may lie in /opt
(gotcha G1 in README), and files of the gateway, such as its TLS key. *Private* ones are found by a
search: the gateway's user may read them, but not all users may. Processes that run as that user
must not see them; the kernel denies them to other users. A file that becomes private after the
search stays visible, unless something beside it was private or hidden already. Blocking; the system
is searched once.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

# The folders to search for private files. All of /usr would take a second or more at each start. It
# is the distribution's and has no secrets of this machine.
LOOKED_THROUGH = ("/etc", "/opt", "/usr/local")


class Part(msgspec.Struct, frozen=True):
    """A file or folder, by its real path. It is visible as a whole, or not at all, or only in those
    of its `parts` that are not missing."""

    path: str
    whole: bool
    is_folder: bool
    is_link: bool = False
    parts: tuple["Part", ...] = ()


class Looking(msgspec.Struct, frozen=True):
    """What to leave out: the real paths of `hidden`, and private files in `looked_through`, whose
    search takes a while."""

    hidden: tuple[str, ...]
    looked_through: tuple[str, ...] = ()

    def at(self, folder: Path) -> Part:
        """The visible part of a file or folder, if it has one. Raises OSError."""
        real = str(folder.resolve())
        private = any(f"{real}/".startswith(f"{each}/") for each in self.looked_through)
        if private or self._leads_to(real):
            return self._inner(real, private=private)
        return Part(real, whole=True, is_folder=os.path.isdir(real))

    def _leads_to(self, path: str) -> bool:
        """Whether a hidden or searched path lies in it."""
        within = f"{path.rstrip('/')}/"
        return any(each.startswith(within) for each in (*self.hidden, *self.looked_through))

    # Paths are text: a Path for each of thousands of files would take longer than all else.
    def _look(self, path: str, *, private: bool) -> Part:
        """The visible part of `path`; `private`: whether private files are left out here."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:  # removed meanwhile
            return Part(path, whole=False, is_folder=True)
        is_folder, is_link = stat.S_ISDIR(mode), stat.S_ISLNK(mode)
        private = private or path in self.looked_through
        if path in self.hidden or (private and _is_private(path, mode)):
            return Part(path, whole=False, is_folder=is_folder, is_link=is_link)
        if is_folder and (private or self._leads_to(path)):
            return self._inner(path, private=private)
        return Part(path, whole=True, is_folder=is_folder, is_link=is_link)

    def _inner(self, path: str, *, private: bool) -> Part:
        try:
            names = sorted(os.listdir(path))
        except (PermissionError, NotADirectoryError):  # a file, or others may not list it either
            return Part(path, whole=True, is_folder=os.path.isdir(path))
        parts = tuple(self._look(os.path.join(path, name), private=private) for name in names)
        if all(part.whole for part in parts):
            return Part(path, whole=True, is_folder=True)
        return Part(path, whole=False, is_folder=True, parts=parts)


def _is_private(path: str, mode: int) -> bool:
    """Whether we may read it and not all users may. Links are not private; their targets are
    checked separately."""
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    if stat.S_ISLNK(mode) or mode & needed == needed:
        return False
    return os.access(path, os.R_OK)


def looking(hidden: Iterable[Path]) -> Looking:
    """What to leave out of any folder."""
    real = [each for path in hidden for each in (path.parent.resolve() / path.name, path.resolve())]
    return Looking(tuple(dict.fromkeys(map(str, real))))


def looking_through_system(look: Looking) -> Looking:
    """The same, and the private files of the system: for processes of the gateway's user."""
    return Looking(look.hidden, tuple(map(os.path.realpath, LOOKED_THROUGH)))


def largest(part: Part) -> Iterator[Path]:
    """The largest files and folders in it that are visible as a whole. It leaves out links in
    folders that are not: a rule for a link would show its target."""
    if part.whole:
        yield Path(part.path)
    for each in part.parts:
        if not each.is_link:
            yield from largest(each)
