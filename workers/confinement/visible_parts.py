"""Which parts of a folder may be shown, where the folder as a whole may not.

Two kinds of paths are left out. *Hidden* ones are named: the data folder, which may lie in /opt
(gotcha G1 in README), and files of the gateway, such as its TLS key. *Private* ones are found by
searching: the gateway's user may read them, but not all users may. Processes that run as that user
must not see them; the kernel keeps other users out. A file that becomes private after the search is
still shown, unless something beside it was private or hidden already. Blocking; the system is
searched once.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

# In which is looked for private things. All of /usr would take a second or more at each start, and
# is the distribution's, which has no secrets of this machine in it.
LOOKED_THROUGH = ("/etc", "/opt", "/usr/local")


class Part(msgspec.Struct, frozen=True):
    """A file or folder, by its real path. It is shown as a whole, or not at all, or of it the
    `parts` are that are not missing."""

    path: str
    whole: bool
    is_folder: bool
    is_link: bool = False
    parts: tuple["Part", ...] = ()


class Looking(msgspec.Struct, frozen=True):
    """What to leave out: `hidden` are real paths; what is private only in `looked_through`, which
    takes a while."""

    hidden: tuple[str, ...]
    looked_through: tuple[str, ...] = ()

    def at(self, folder: Path) -> Part:
        """What of a file or folder may be shown, if anything of it may be. Raises OSError."""
        real = str(folder.resolve())
        private = any(f"{real}/".startswith(f"{each}/") for each in self.looked_through)
        if private or self._leads_to(real):
            return self._inner(real, private=private)
        return Part(real, whole=True, is_folder=os.path.isdir(real))

    def _leads_to(self, path: str) -> bool:
        """Whether something that matters lies in it."""
        within = f"{path.rstrip('/')}/"
        return any(each.startswith(within) for each in (*self.hidden, *self.looked_through))

    # By text: a Path for each of thousands of files would take longer than all else.
    def _look(self, path: str, *, private: bool) -> Part:
        """What of `path` may be shown; whether it is private matters from `private` on."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:  # it has gone meanwhile
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
        except (PermissionError, NotADirectoryError):  # of a file; or nor may others list it
            return Part(path, whole=True, is_folder=os.path.isdir(path))
        parts = tuple(self._look(os.path.join(path, name), private=private) for name in names)
        if all(part.whole for part in parts):
            return Part(path, whole=True, is_folder=True)
        return Part(path, whole=False, is_folder=True, parts=parts)


def _is_private(path: str, mode: int) -> bool:
    """Whether we may read it and not all users may. Links are not private; what they lead to is
    asked by itself."""
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    if stat.S_ISLNK(mode) or mode & needed == needed:
        return False
    return os.access(path, os.R_OK)


def looking(hidden: Iterable[Path]) -> Looking:
    """What to leave out of any folder."""
    real = [each for path in hidden for each in (path.parent.resolve() / path.name, path.resolve())]
    return Looking(tuple(dict.fromkeys(map(str, real))))


def looking_through_system(look: Looking) -> Looking:
    """The same, and what of the system is private: for what runs as the gateway's user."""
    return Looking(look.hidden, tuple(map(os.path.realpath, LOOKED_THROUGH)))


def largest(part: Part) -> Iterator[Path]:
    """The largest files and folders in it that are shown as a whole, but for links in folders that
    are not: by a link one would show what it leads to."""
    if part.whole:
        yield Path(part.path)
    for each in part.parts:
        if not each.is_link:
            yield from largest(each)
