"""What a build script has changed in the project: found, kept, and made again in another build.

New and changed entries are kept beside the environment in `files/`, as hard links to the files of
the build that ran the script. Both are sealed, so neither changes. The paths that the script has
removed are in the environment's inputs. Laid over a snapshot of the same names, they give what the
script would have left.
"""

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from builder.reuse import access_times
from builder.reuse.access_times import Entry, FileState
from builder.reuse.environment_key import TreeEntry

_FOLDER, _LINK = "040000", "120000"


class Trace(Struct, frozen=True, kw_only=True):
    """What a script did to the project: paths that it has `read`, None if that is not known; those
    that it has made or changed; those that it has removed, deepest first.

    `is_plain` is false where it left something that cannot be kept: a pipe, a socket, a folder that
    cannot be read.
    """

    read: frozenset[bytes] | None
    changed: list[bytes]
    removed: list[bytes]
    is_plain: bool = True


UNKNOWN = Trace(read=None, changed=[], removed=[], is_plain=False)


def trace(
    code: Path, tree: list[TreeEntry], states: dict[bytes, FileState], *, exact: bool
) -> Trace:
    """Compare the project's files with their states before the script. Blocking. Raises TooDeep,
    OSError."""
    before = {each.path: each for each in tree}
    found: dict[bytes, os.stat_result] = {}
    read, changed, is_plain = set(), [], True
    for entry in access_times.entries(code):
        path = entry.path
        found[path] = entry.found
        if _is_changed(code, entry, before.get(path), states.get(path)):
            changed.append(path)
        elif stat.S_ISREG(entry.found.st_mode) and access_times.is_read(entry.found):
            read.add(path)
        is_plain = is_plain and _is_plain(entry.found)
    removed = [path for path in before if path not in found]
    read |= {path for path in (*changed, *removed) if path in states}
    return Trace(
        read=frozenset(read) if exact else None,
        changed=changed,
        removed=sorted(removed, reverse=True),
        is_plain=is_plain,
    )


def _is_plain(found: os.stat_result) -> bool:
    mode = found.st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _is_changed(
    code: Path, entry: Entry, before: TreeEntry | None, state: FileState | None
) -> bool:
    """Whether an entry is another than in the snapshot."""
    if before is None:
        return True
    mode = entry.found.st_mode
    if stat.S_ISDIR(mode):
        return before.mode != _FOLDER
    if stat.S_ISREG(mode):
        return state != access_times.state_of(entry.found)
    # A link: made again, it may lead elsewhere.
    return before.mode != _LINK or not _is_target(code, entry.path, before)


def _is_target(code: Path, path: bytes, before: TreeEntry) -> bool:
    target = os.readlink(os.path.join(os.fsencode(code), path))
    return hashlib.sha1(b"blob %d\0" % len(target) + target).hexdigest() == before.name


def keep(code: Path, files: Path, changed: list[bytes]) -> None:
    """Link what the script has made or changed into `files`. `changed` has each folder before its
    content. Blocking. Raises OSError."""
    files.mkdir()
    for path in changed:
        _put(code, files, path)


def lay_over(files: Path, removed: list[bytes], code: Path, *, link: bool = True) -> None:
    """Make the changes of a script again in `code`, a snapshot that was just written. Without
    `link` files are copied: programs may then write to them. Blocking. Raises OSError."""
    for path in removed:
        _remove(os.path.join(os.fsencode(code), path))
    for entry in access_times.entries(files):
        _put(files, code, entry.path, link=link)


def _put(source: Path, target: Path, path: bytes, *, link: bool = True) -> None:
    old, new = (os.path.join(os.fsencode(root), path) for root in (source, target))
    mode = os.lstat(old).st_mode
    if stat.S_ISDIR(mode):
        if not os.path.isdir(new) or os.path.islink(new):
            _remove(new)
            os.makedirs(new)
        return
    _remove(new)
    os.makedirs(os.path.dirname(new), exist_ok=True)
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(old), new)
        return
    if link:
        with suppress(OSError):  # too many links, or a file system without them
            os.link(old, new)
            return
    shutil.copy2(old, new)


def _remove(path: bytes) -> None:
    """Remove a file, a link or an empty folder, if it is there."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
