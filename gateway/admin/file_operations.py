"""Reads and changes files in folders that other processes change at the same time.

No path leads out of its folder or through a link: each folder on the path is opened from its parent
(`builder.Folder`), so a folder that is replaced by a link meanwhile does no harm. A link is listed
with its target, replaced and deleted, but never followed: following it would show which other files
the machine has.

`.git` is hidden and cannot be changed: git runs programs that its files name, with the rights of
the user who runs git.

All functions block.
"""

import os
import shutil
import stat
from codecs import getincrementaldecoder
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

from builder import Folder, NotAFile, TooDeep, check_depth, is_git
from gateway.admin.schemas import Json
from gateway.errors import Code, Refusal

_CHUNK = 256 * 1024
_NAME_MAX = 255
# All entries of a folder are in memory while one page of them is selected.
MOST_LISTED = 100_000
# Bytes of a text that can be edited: quoted as JSON it fits into a body.
MOST_TEXT = 128 * 1024


def names_of(path: str) -> list[str]:
    """The names in a path. Raises Refusal("path.refused")."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if path.startswith("/") or ".." in names or "\0" in path:
        raise Refusal("path.refused", f"{path!r} is not inside the project")
    if "\ufffd" in path:
        raise Refusal("path.refused", f"{path!r} has a name that is not UTF-8")
    try:
        check_depth("/".join(names))
    except TooDeep as error:
        raise Refusal("path.refused", str(error.strerror)) from None
    if any(len(os.fsencode(n)) > _NAME_MAX for n in names):
        raise Refusal("path.refused", f"{path!r} has a name that is too long")
    if any(map(is_git, names)):
        raise Refusal("path.refused", f"{path!r}: .git is not a file of the project")
    return names


def listing(root: Path, path: str) -> list[Json]:
    """The entries of a folder. Raises Refusal."""
    names = names_of(path)
    with _opened(root) as top, _entered(top, names) as folder:
        return [
            described(folder, entry, "/".join([*names, entry.name]))
            for entry in _entries(folder, MOST_LISTED)
            if not is_git(entry.name)
        ]


def all_files(root: Path) -> list[Json]:
    """All files below a folder, at most MOST_LISTED. Raises Refusal."""
    found: list[Json] = []
    ahead: list[list[str]] = [[]]
    if not root.exists():
        return found  # the experiment has made no files
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
        raise Refusal("path.refused", f"more than {MOST_LISTED:,} files: give the path of one")
    return entries


def shown(name: str) -> str:
    """A name as text. `\\xe9` is a byte that is not UTF-8, also in requests."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def described(folder: Folder, entry: os.DirEntry[str], path: str) -> Json:
    """An entry of a folder; `link` is the target of a link."""
    facts = entry.stat(follow_symlinks=False)
    changed = datetime.fromtimestamp(facts.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = {
        "path": shown(path),
        "is_dir": stat.S_ISDIR(facts.st_mode),
        "file_size": str(facts.st_size),
        "last_modified": changed,
    }
    if stat.S_ISLNK(facts.st_mode):
        fields["link"] = shown(folder.target(entry.name))
    return fields


def opened(root: Path, path: str) -> BinaryIO:
    """A file, opened for reading. Raises Refusal."""
    *above, name = names_of(path) or [""]
    try:
        with _opened(root) as top, _entered(top, above) as folder:
            return folder.open(_resolve(folder, name))
    except (NotAFile, FileNotFoundError, ValueError) as error:
        raise Refusal("file.notfound", f"there is no file {path!r}") from error


def save(stream: IO[bytes], root: Path, path: str) -> None:
    """Writes a file atomically, so that a snapshot never has half of it. Raises Refusal."""
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


def text_of(root: Path, path: str) -> Json:
    """The text of a file, at most MOST_TEXT bytes of it; None for a file that is not UTF-8.
    `sha256` is for `write_text`, and "" for a file that is too long to edit. Raises Refusal."""
    with opened(root, path) as file:
        content = file.read(MOST_TEXT + 1)
        size = os.fstat(file.fileno()).st_size
    truncated = len(content) > MOST_TEXT
    decoder = getincrementaldecoder("utf-8")()
    try:
        text = None if b"\0" in content else decoder.decode(content[:MOST_TEXT], not truncated)
    except UnicodeDecodeError:
        text = None
    return {
        "path": path,
        "text": text,
        "truncated": truncated,
        "sha256": "" if truncated else sha256(content).hexdigest(),
        "file_size": str(max(size, len(content))),
    }


def write_text(root: Path, path: str, text: str, seen: str) -> str:
    """Writes a file whose SHA-256 is `seen` ("": that does not exist); the SHA-256 of what it is
    now. Raises Refusal."""
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > MOST_TEXT:
        problem = f"text: {len(content):,} bytes are more than {MOST_TEXT:,}: upload the file"
        raise Refusal("argument.invalid", problem)
    if _is_there(root, path):
        now = text_of(root, path)["sha256"]
        if now != seen:
            problem = "it was changed" if seen else "it exists already"
            raise Refusal("state.conflict", f"{path!r} is not written: {problem}")
    elif seen:
        raise Refusal("state.conflict", f"{path!r} is not written: it was deleted")
    save(BytesIO(content), root, path)
    return sha256(content).hexdigest()


def make_folder(root: Path, path: str) -> None:
    """Makes an empty folder, and those above it. Raises Refusal."""
    if _is_there(root, path):
        raise Refusal("name.taken", f"{path!r} exists already")
    with _opened(root) as top, _entered(top, names_of(path), make=True):
        pass


def move(root: Path, path: str, to: str) -> None:
    """Gives a file, a link or a folder another path, which is free; folders above it are made.
    Raises Refusal."""
    *above, name = names_of(path) or [""]
    *above_new, new = names_of(to) or [""]
    if not name or not new:
        raise Refusal("path.refused", "the root of the project cannot be moved")
    if _is_there(root, to):
        raise Refusal("name.taken", f"{to!r} exists already")
    try:
        with (
            _opened(root) as top,
            _entered(top, above) as folder,
            _entered(top, above_new, make=True) as target,
        ):
            folder.move(_resolve(folder, name), target, new)
    except FileNotFoundError as error:
        raise Refusal("file.notfound", f"there is no {path!r}") from error
    except OSError as error:
        text = f"{path!r} cannot be moved to {to!r}: {error.strerror}"
        raise Refusal("path.refused", text) from error


def _is_there(root: Path, path: str) -> bool:
    """Whether a path names an entry. Raises Refusal."""
    *above, name = names_of(path) or [""]
    if not name:
        return True
    try:
        with _opened(root) as top, top.folder(above) as folder:
            folder.status(_resolve(folder, name))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove(root: Path, path: str) -> None:
    """Deletes a file, a link, or a folder with its contents. Raises Refusal."""
    *above, name = names_of(path) or [""]
    try:
        with _opened(root) as top, _entered(top, above) as folder:
            folder.remove(_resolve(folder, name))
    except FileNotFoundError as error:
        raise Refusal("file.notfound", f"there is no {path!r}") from error
    except ValueError as error:
        text = "the path is the root of the project, which cannot be deleted"
        raise Refusal("path.refused", text) from error


def _opened(root: Path) -> Folder:
    try:
        return Folder.root(root)
    except (FileNotFoundError, NotADirectoryError) as error:
        text = "the folder does not exist, or is a link"
        raise Refusal("file.notfound", text) from error


def _entered(top: Folder, names: list[str], *, make: bool = False) -> Folder:
    try:
        if not make and any("\\x" in name for name in names):
            names = _resolve_all(top, names)
        return top.folder(names, make=make)
    except FileNotFoundError as error:
        raise Refusal("file.notfound", f"there is no folder {'/'.join(names)!r}") from error
    except NotADirectoryError as error:
        raise _blocked(top, names, make) from error


def _resolve_all(top: Folder, names: list[str]) -> list[str]:
    """The names on disk for the names of folders as `shown` gives them. Raises OSError."""
    found: list[str] = []
    for name in names:
        with top.folder(found) as folder:
            found.append(_resolve(folder, name))
    return found


def _resolve(folder: Folder, name: str) -> str:
    """The name on disk for a name as `shown` gives it, or the name itself if there is none."""
    if "\\x" not in name:
        return name
    entries = (entry.name for entry in folder.entries())
    return next((each for each in entries if shown(each) == name), name)


def _blocked(top: Folder, names: list[str], make: bool) -> Refusal:
    """The error for a path with a component that is not a folder."""
    for number, name in enumerate(names):
        part = "/".join(names[: number + 1])
        with top.folder(names[:number]) as folder:
            mode = folder.status(name).st_mode
        if stat.S_ISLNK(mode):
            return Refusal("path.refused", f"{part!r} is a link, and links are not followed")
        if not stat.S_ISDIR(mode):
            code: Code = "path.refused" if make else "file.notfound"
            return Refusal(code, f"{part!r} is not a folder")
    return Refusal("path.refused", f"{'/'.join(names)!r} is being changed by another process")
