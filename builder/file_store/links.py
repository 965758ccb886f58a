"""Shares equal files of environments by hard links.

The store has each file once, under the hash of its content, with its size and mode: those are one
with its links. An environment is sealed in three steps:

    link_files     a file whose content the store has is replaced by a link to it, libraries first
    seal           the other files reach the disk
    add_to_store   only then the store gets links to them: so after a power cut no entry is torn

Nothing here depends on trust in a build. A file is replaced by one with the same bytes, which we
have hashed when the files were ours: the probe of the build, which runs meanwhile, sees them
read-only. No process of a project may write an entry: with mounts it does not see the store, and
sees a sealed file read-only. Without mounts a process could change modes (Landlock), or all
(`none`), so there each project has a store of its own.

An entry without an environment has one link, and `prune` removes it. If it comes into use in that
moment, the environment keeps the file, and only the sharing is lost.

All of this blocks.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from builder.file_store.bytecode import BYTECODE_FOLDER, freeze
from builder.files.fsync import make_folder

_BLOCK = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# To replace a file that is being written to the disk waits for the disk. On a busy one the packages
# of scikit-learn take 1 to 2 s instead of 9 to 13 s.
_AT_ONCE = 8
# The names of links until they replace files. A build's files do not begin so.
_FRESH = [f".predictd-link-{number}" for number in range(_AT_ONCE)]


class NewFile(Struct, frozen=True):
    """A file of an environment that its store does not have."""

    path: str
    address: str


def is_library(name: str) -> bool:
    """Whether processes map the file of this name while they run. They keep the file that was
    there at their start, and its bytes on the disk, so such files are linked first."""
    return name.endswith(".so") or ".so." in name


def link_files(
    folder: Path, store: Path, wanted: Callable[[str], bool] = lambda _: True
) -> list[NewFile]:
    """Replace the files beneath `folder` that `store` has, and return the others. Files whose names
    are not `wanted` are left out.

    The folder must be ours, without a process that writes there. Processes may read there: each
    file has its bytes at any time. Raises OSError.
    """
    new: list[NewFile] = []
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # Bottom-up: a link has another time, so bytecode is made independent of it first.
        for path, _, found_names, here in os.fwalk(folder, topdown=False):
            names = [name for name in found_names if wanted(name)]
            parts = [names[first::_AT_ONCE] for first in range(min(_AT_ONCE, len(names)))]
            for found in threads.map(partial(_link_some, path, here, store), parts, _FRESH):
                new += found
    return new


def _link_some(path: str, here: int, store: Path, names: list[str], fresh: str) -> list[NewFile]:
    """Do it for some files in one folder."""
    new = []
    for name in names:
        if os.path.basename(path) == BYTECODE_FOLDER and not _is_shared_bytecode(here, name):
            continue
        address = _address_of(here, name)
        if address and not _link(store / address, here, name, fresh):
            new.append(NewFile(os.path.join(path, name), address))
    return new


def add_to_store(files: list[NewFile], store: Path) -> None:
    """Link files of a sealed environment into `store`.

    What cannot be linked stays a file of its environment alone: on another file system, with a full
    disk, on a file system without links.
    """
    with suppress(OSError):
        make_folder(store)
        for folder in {address[:2] for file in files for address in (file.address,)}:
            (store / folder).mkdir(exist_ok=True)
        for file in files:
            with suppress(FileExistsError):
                os.link(file.path, store / file.address, follow_symlinks=False)


def prune(stores: Path) -> int:
    """Remove the entries of all stores beneath `stores` that no environment has. Return their
    bytes."""
    freed = 0
    for path, size in unused_files(stores):
        with suppress(FileNotFoundError):
            os.unlink(path)
            freed += size
    return freed


def unused_files(stores: Path) -> Iterator[tuple[str, int]]:
    """Return the entries that no environment has, each with its bytes on the disk."""
    for path, _, files, here in os.fwalk(stores) if stores.is_dir() else ():
        for name in files:
            with suppress(FileNotFoundError):
                facts = os.stat(name, dir_fd=here, follow_symlinks=False)
                if facts.st_nlink == 1:
                    yield os.path.join(path, name), facts.st_blocks * 512


def _is_shared_bytecode(here: int, name: str) -> bool:
    """Bytecode that a script has made is not shared: it has the path of its environment."""
    with suppress(OSError):
        return name.endswith(".pyc") and freeze(here, name)
    return False


def _address_of(here: int, name: str) -> str:
    """The address of a file; "" for one that is not shared: a link, a pipe, a device, an empty or
    sparse file, one that has a second name, and one that changes meanwhile."""
    before = os.stat(name, dir_fd=here, follow_symlinks=False)
    if not _is_shared(before):
        return ""
    file = os.open(name, _OPEN, dir_fd=here)
    try:
        if os.lseek(file, 0, os.SEEK_HOLE) != before.st_size:
            return ""  # it would take long to read the holes
        os.lseek(file, 0, os.SEEK_SET)
        digest = sha256()
        while block := os.read(file, _BLOCK):
            digest.update(block)
        after = os.fstat(file)
    finally:
        os.close(file)
    if _identity(before) != _identity(after):
        return ""
    text = digest.hexdigest()
    return f"{text[:2]}/{text[2:]}-{after.st_size:x}-{stat.S_IMODE(after.st_mode):o}"


def _is_shared(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_size > 0


def _identity(facts: os.stat_result) -> tuple[int, ...]:
    return (
        *(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mode, facts.st_nlink),
        *(facts.st_mtime_ns, facts.st_ctime_ns),
    )


def _link(entry: Path, here: int, name: str, fresh: str) -> bool:
    """Replace a file by a link to an entry. Return whether there is one."""
    try:
        os.link(entry, fresh, dst_dir_fd=here, follow_symlinks=False)
    except FileExistsError:
        return True  # the build has a file of this name: leave its folder alone
    except OSError as error:
        if error.errno == errno.EMLINK:
            # It has as many links as the file system allows. The next ones get a new entry.
            entry.unlink(missing_ok=True)
        return False
    os.rename(fresh, name, src_dir_fd=here, dst_dir_fd=here)
    return True
