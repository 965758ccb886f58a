"""What the admin API reads and changes in folders that others change as well.

No path leads out of its folder, and none through a link: each folder on its way is opened from the
one above it (`builder.Folder`), so it does not matter what is swapped for a link meanwhile. A link
is an entry like others. It is listed with what it says, replaced and deleted, and never followed:
that would show which files the machine has elsewhere.

`.git` is not to be seen or changed: git runs programs that files in it name, with the rights of
the one who uses git there.

All of this blocks.
"""

import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

from builder import Folder, NotAFile, TooDeep, check_depth
from gateway.admin.schemas import Json
from gateway.errors import Code, Refusal

_CHUNK = 256 * 1024
_NAME_MAX = 255
# All entries of a folder are held while a page of them is cut out.
MOST_LISTED = 100_000
# What HFS+ leaves out of names; with it they would be others to us and the same to git there.
_UNSEEN = dict.fromkeys(
    (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)


def is_git(name: str) -> bool:
    """Whether git takes a name for `.git` on any file system, by the rules of what it protects."""
    for part in name.split("\\"):
        plain = part.partition(":")[0].translate(_UNSEEN).rstrip(". ").lower()
        if plain in (".git", "git~1"):
            return True
    return False


def names_of(path: str) -> list[str]:
    """The names on the way to what a path means. Raises Refusal("path.refused")."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if path.startswith("/") or ".." in names or "\0" in path:
        raise Refusal("path.refused", f"{path!r} is not inside the project")
    if "\ufffd" in path:
        raise Refusal("path.refused", f"{path!r} has a name that is no UTF-8")
    try:
        check_depth("/".join(names))
    except TooDeep as error:
        raise Refusal("path.refused", str(error.strerror)) from None
    if any(len(os.fsencode(n)) > _NAME_MAX for n in names):
        raise Refusal("path.refused", f"{path!r} has a name that is too long")
    if any(map(is_git, names)):
        raise Refusal("path.refused", f"{path!r}: .git is not among the files of a project")
    return names


def listing(root: Path, path: str) -> list[Json]:
    """What is in a folder. Raises Refusal."""
    names = names_of(path)
    with _opened(root) as top, _entered(top, names) as folder:
        return [
            described(folder, entry, "/".join([*names, entry.name]))
            for entry in _entries(folder, MOST_LISTED)
            if not is_git(entry.name)
        ]


def all_files(root: Path) -> list[Json]:
    """All that is beneath a folder but the folders themselves, MOST_LISTED at most. Raises
    Refusal."""
    found: list[Json] = []
    ahead: list[list[str]] = [[]]
    if not root.exists():
        return found  # none was made
    with _opened(root) as top:
        while ahead:
            names = ahead.pop()
            inner = []
            with _entered(top, names) as folder:
                for entry in _entries(folder, MOST_LISTED - len(found)):
                    path = [*names, entry.name]
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(path)
                    else:
                        found.append(described(folder, entry, "/".join(path)))
            ahead += reversed(inner)
    return found


def _entries(folder: Folder, most: int) -> list["os.DirEntry[str]"]:
    entries = folder.entries(most)
    if len(entries) > most:
        raise Refusal("path.refused", f"more than {MOST_LISTED:,} files: name one of them")
    return entries


def shown(name: str) -> str:
    """A name as text. One that is no UTF-8 has `\\xe9` in the place of such a byte; it is asked for
    by that, too."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def described(folder: Folder, entry: os.DirEntry[str], path: str) -> Json:
    """An entry of a folder; `link` is what a link says."""
    facts = entry.stat(follow_symlinks=False)
    changed = datetime.fromtimestamp(facts.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    told = {
        "path": shown(path),
        "is_dir": stat.S_ISDIR(facts.st_mode),
        "file_size": str(facts.st_size),
        "last_modified": changed,
    }
    if stat.S_ISLNK(facts.st_mode):
        told["link"] = shown(folder.target(entry.name))
    return told


def opened(root: Path, path: str) -> BinaryIO:
    """A file, to be read. Raises Refusal."""
    *above, name = names_of(path) or [""]
    try:
        with _opened(root) as top, _entered(top, above) as folder:
            return folder.open(_meant(folder, name))
    except (NotAFile, FileNotFoundError, ValueError) as error:
        raise Refusal("file.notfound", f"there is no file {path!r}") from error


def save(stream: IO[bytes], root: Path, path: str) -> None:
    """Writes a file whole, so that a snapshot never sees half of it. Raises Refusal."""
    *above, name = names_of(path) or [""]
    try:
        with (
            _opened(root) as top,
            _entered(top, above, make=True) as folder,
            folder.writing(name) as file,
        ):
            shutil.copyfileobj(stream, file, _CHUNK)
    except (IsADirectoryError, ValueError) as error:
        raise Refusal("path.refused", f"{path!r} is a folder") from error


def remove(root: Path, path: str) -> None:
    """Takes away a file, a link, or a folder with all in it. Raises Refusal."""
    *above, name = names_of(path) or [""]
    try:
        with _opened(root) as top, _entered(top, above) as folder:
            folder.remove(_meant(folder, name))
    except FileNotFoundError as error:
        raise Refusal("file.notfound", f"there is no {path!r}") from error
    except ValueError as error:
        text = "name a file or folder of the project, not all of it"
        raise Refusal("path.refused", text) from error


def _opened(root: Path) -> Folder:
    try:
        return Folder.root(root)
    except (FileNotFoundError, NotADirectoryError) as error:
        text = "the folder is not there, or a link is in its place"
        raise Refusal("file.notfound", text) from error


def _entered(top: Folder, names: list[str], *, make: bool = False) -> Folder:
    try:
        if not make and any("\\x" in name for name in names):
            names = _all_meant(top, names)
        return top.folder(names, make=make)
    except FileNotFoundError as error:
        raise Refusal("file.notfound", f"there is no folder {'/'.join(names)!r}") from error
    except NotADirectoryError as error:
        raise _in_the_way(top, names, make) from error


def _all_meant(top: Folder, names: list[str]) -> list[str]:
    """The names of folders that exist, for names as `shown` gives them. Raises OSError."""
    found: list[str] = []
    for name in names:
        with top.folder(found) as folder:
            found.append(_meant(folder, name))
    return found


def _meant(folder: Folder, name: str) -> str:
    """The name of an entry that exists, for one as `shown` gives it; else the name itself."""
    if "\\x" not in name:
        return name
    entries = (entry.name for entry in folder.entries())
    return next((each for each in entries if shown(each) == name), name)


def _in_the_way(top: Folder, names: list[str], make: bool) -> Refusal:
    """What is said of a path on which something is no folder."""
    for number, name in enumerate(names):
        way = "/".join(names[: number + 1])
        with top.folder(names[:number]) as folder:
            mode = folder.status(name).st_mode
        if stat.S_ISLNK(mode):
            return Refusal("path.refused", f"{way!r} is a link, and links are not followed")
        if not stat.S_ISDIR(mode):
            code: Code = "path.refused" if make else "file.notfound"
            return Refusal(code, f"{way!r} is not a folder")
    return Refusal("path.refused", f"{'/'.join(names)!r} is being changed: try again")
