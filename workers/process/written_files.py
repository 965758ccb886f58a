"""What a script wrote into its working copy: found once all its processes are dead, and kept.

A file is new or changed by its path, size, time, and content where only the time differs. It is
moved, not copied: a huge or sparse one costs nothing. Kept are plain files with one name, up to a
number and a size; links, pipes and files with further hard links, which may be elsewhere, are not.
Folders are opened one from the other, never through a link. All functions block.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import NamedTuple

from workers import untrusted_tree
from workers.shortages import is_shortage
from workers.sizes import human_size
from workers.spec import Keep

# Entries that are looked at; no project of ours has more.
_MOST_ENTRIES = 300_000
_DEEPEST = 200
# Files that are named in the log; the others are counted.
_NAMED = 10
# Files of one size and another time are compared up to this size.
_COMPARED = 64 << 20
_CHUNK = 1 << 20


class _Written(NamedTuple):
    path: str
    found: os.stat_result

    @property
    def size(self) -> int:
        """What counts: the blocks, or what a reader of a sparse file gets."""
        return max(self.found.st_size, 512 * self.found.st_blocks)


def keep_written(code: Path, copy: Path, keep: Keep) -> list[str]:
    """Moves what the script wrote from its working copy of `code` to the folder of `keep`. Returns
    lines for its log. Raises OSError in a shortage."""
    kept: list[_Written] = []
    others: list[tuple[_Written, str]] = []
    total = 0
    for file in sorted(_written(code, copy, keep.left_out), key=lambda each: each.path):
        reason = _why_not(file, keep, len(kept), total) or _move(copy, file.path, keep.folder)
        if reason:
            others.append((file, reason))
        else:
            kept.append(file)
            total += file.size
    return [*_kept_lines(kept), *_other_lines(others)]


def _written(code: Path, copy: Path, left_out: frozenset[str]) -> Iterator[_Written]:
    """The new and changed entries that are no folders."""
    ahead, seen = [""], 0
    while ahead:
        here = ahead.pop()
        folder = _open(copy, here)
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
            seen += len(names)
            if seen > _MOST_ENTRIES or ("pyvenv.cfg" in names and here):
                continue  # an environment is made again, not kept
            for name in names:
                path = os.path.join(here, name)
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    if not _is_unchanged(code / path, folder, name, found):
                        yield _Written(path, found)
                elif name not in left_out and path.count("/") < _DEEPEST:
                    ahead.append(path)
        finally:
            os.close(folder)


def _open(top: Path, path: str) -> int:
    folder = untrusted_tree.open_folder(str(top))
    for name in PurePath(path).parts:
        above = folder
        try:
            folder = untrusted_tree.open_folder(name, above)
        finally:
            os.close(above)
    return folder


def _is_unchanged(old: Path, folder: int, name: str, found: os.stat_result) -> bool:
    try:
        before = old.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_IFMT(before.st_mode) != stat.S_IFMT(found.st_mode):
        return False
    if not stat.S_ISREG(found.st_mode):
        return True  # the project's own link
    if before.st_size != found.st_size:
        return False
    if before.st_mtime_ns == found.st_mtime_ns:
        return True
    return found.st_size <= _COMPARED and _is_equal(old, folder, name)


def _is_equal(old: Path, folder: int, name: str) -> bool:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(old, "rb") as first, open(descriptor, "rb") as second:
        while (chunk := first.read(_CHUNK)) == second.read(_CHUNK):
            if not chunk:
                return True
    return False


def _why_not(file: _Written, keep: Keep, count: int, total: int) -> str:
    """Why a file is not kept; "" if it is."""
    if not stat.S_ISREG(file.found.st_mode):
        return "it is not a plain file"
    if not any(_matches(file.path, pattern) for pattern in keep.patterns):
        return "no pattern of `keep` matches it"
    if file.found.st_nlink > 1:
        return "it has another hard link"
    if count >= keep.most_files:
        return f"more than {keep.most_files} files"
    if total + file.size > keep.most_bytes:
        return f"more than {human_size(keep.most_bytes)}"
    return ""


def _matches(path: str, pattern: str) -> bool:
    """A pattern without a slash is for names, as in `.gitignore`."""
    return fnmatchcase(path if "/" in pattern else os.path.basename(path), pattern)


def _move(copy: Path, path: str, target: Path) -> str:
    """Moves one file; returns why it could not be."""
    name = os.path.basename(path)
    try:
        source = _open(copy, os.path.dirname(path))
        try:
            folder = untrusted_tree.make_below(target, PurePath(path).parent)
            try:
                # A name of ours first, so that a file that the script tracked is not replaced.
                os.link(name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
                os.unlink(name, dir_fd=source)
                untrusted_tree.take(name, folder, stat.S_IRUSR | stat.S_IWUSR)
            finally:
                os.close(folder)
        finally:
            os.close(source)
    except FileExistsError:
        return "the script tracked a file of this name"
    except OSError as error:
        if is_shortage(error):
            raise
        return error.strerror or str(error)
    return ""


def _kept_lines(files: Sequence[_Written]) -> Iterator[str]:
    if files:
        yield f"[predictd] kept {_sum(files)}: {_names(files)}"


def _other_lines(others: Sequence[tuple[_Written, str]]) -> Iterator[str]:
    for reason in Counter(reason for _, reason in others):
        files = [file for file, why in others if why == reason]
        yield f"[predictd] not kept, {_sum(files)} ({reason}): {_names(files)}"


def _sum(files: Sequence[_Written]) -> str:
    noun = "new or changed file" if len(files) == 1 else "new or changed files"
    return f"{len(files)} {noun}, {human_size(sum(each.found.st_size for each in files))}"


def _names(files: Sequence[_Written]) -> str:
    named = ", ".join(
        f"{_shown(each.path)} ({human_size(each.found.st_size)})" for each in files[:_NAMED]
    )
    more = len(files) - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _shown(path: str) -> str:
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
