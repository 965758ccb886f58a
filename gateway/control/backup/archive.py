"""A backup as a file: an ordinary tar that shows whether it is complete.

    predictd-backup.json   what it is and where it was made
    ...                    files, named as in the data folder
    shared/N               a file that several environments have, before the first of them; each
                           has a hard link to it
    contents.jsonl         a line for each member: name, kind, mode, size, SHA-256 or target
    end.json               the SHA-256 of that list, or why the backup was abandoned

It is written and read front to back, so it can pass through a pipe. Law: `read_archive` gives
members only as they were written, and ends without an error only if the backup is complete.
Its content is not trusted: names stay below the folder that is written to, only files, folders and
links are accepted, and the memory that reading takes is bounded (`tar_reader.py`). `layout.py`
defines which member may be at which path. Blocking.
"""

import hashlib
import io
import os
import stat
import tarfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ELOOP, ENAMETOOLONG
from pathlib import Path
from typing import IO, Protocol, TypeAlias

import msgspec

from gateway.control.backup.archive_members import (
    CONTENTS,
    END,
    FORMAT,
    HEAD,
    READABLE,
    ArchiveMember,
    End,
    Head,
    header_of,
)
from gateway.control.backup.tar_reader import (
    SHARED,
    ByteSource,
    Content,
    check_name,
    read_header,
    skip_padding,
)

_BLOCK = 1024 * 1024
# Reading keeps 16 bytes of each member in memory.
MOST_ENTRIES = 20_000_000
# The largest head, end, and line of the contents, in bytes. Each is read at once.
_HEAD, _END, _LINE = 64 * 1024, 8 * 1024 * 1024, 128 * 1024
# The links of a file that only one environment has: its own, and that in the store of files.
_STORE_AND_ONE = 2
# So many of the files that were left out are named.
_LEFT_OUT, _LEFT_OUT_TEXT = 1000, 5000
_NOTE = 16
# The largest number of eleven octal digits.
_LATEST = 0o77777777777


class ArchiveDamaged(Exception):
    """A file is not a backup, or is damaged; the message says where this was detected."""


_KINDS = {stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFREG: "file"}
Check: TypeAlias = Callable[[ArchiveMember], object]


class Sink(Protocol):
    """Receives the bytes of an archive."""

    def write(self, data: bytes, /) -> object: ...


class Writer:
    """Adds members to an archive. `writing` creates and closes it."""

    def __init__(self, tar: tarfile.TarFile, contents: IO[bytes], check: Check) -> None:
        self._tar, self._contents, self._check = tar, contents, check
        self._entries = 0
        # The numbers of the files that were written for all that have them.
        self._shared: dict[tuple[int, int], int] = {}
        self.left_out: list[str] = []

    def add_bytes(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Adds a file from memory."""
        entry = ArchiveMember(name, "file", mode, len(data), hashlib.sha256(data).hexdigest())
        info = header_of(entry)
        self._tar.addfile(info, io.BytesIO(data))
        self._note(entry)

    def add_tree(
        self,
        name: str,
        folder: Path,
        wanted: Callable[[str], bool] | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """Adds a folder and its content. `wanted` decides by each name, relative to the folder.
        `shared` is for sealed folders: a file that several of them have is written once."""
        self._add(name, folder)
        try:
            for path, inner in _walk(folder, wanted):
                self._add(f"{name}/{inner}", path, shared=shared)
        except OSError as error:
            if error.errno != ENAMETOOLONG:
                raise
            self.left_out.append(f"{name}: all behind a path that is too long")

    def add_file(self, name: str, path: Path) -> None:
        """Adds one file, if it exists."""
        self._add(name, path)

    def _add(self, name: str, path: Path, *, shared: bool = False) -> None:
        self._ensure_fits_one()
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return  # of what may change while it is read
        mode, modified = stat.S_IMODE(facts.st_mode), min(max(int(facts.st_mtime), 0), _LATEST)
        if not self._fits(name, facts.st_mode):
            return
        if stat.S_ISDIR(facts.st_mode):
            self._put(ArchiveMember(name, "folder", mode, 0, ""), modified)
        elif stat.S_ISLNK(facts.st_mode):
            self._put(ArchiveMember(name, "link", mode, 0, os.readlink(path)), modified)
        elif shared and facts.st_nlink > _STORE_AND_ONE:
            self._add_shared(name, path, facts, modified)
        else:
            self._add_content(name, path, modified)

    def _ensure_fits_one(self) -> None:
        if self._entries >= MOST_ENTRIES:
            raise OSError(f"a backup has at most {MOST_ENTRIES:,} entries; remove old builds")

    def _add_shared(self, name: str, path: Path, facts: os.stat_result, modified: int) -> None:
        key = facts.st_dev, facts.st_ino
        if key not in self._shared:
            self._shared[key] = len(self._shared)
            self._add_content(f"{SHARED}{self._shared[key]}", path, modified)
            self._ensure_fits_one()
        same_as = f"{SHARED}{self._shared[key]}"
        mode = stat.S_IMODE(facts.st_mode)
        self._put(ArchiveMember(name, "same", mode, 0, same_as), modified)

    def _fits(self, name: str, mode: int) -> bool:
        """Whether the member could be read back; if not, it is left out."""
        kind = _KINDS.get(stat.S_IFMT(mode))
        try:
            if kind is None:
                raise ValueError(f"{name}: neither a file nor a folder")
            check_name(name)
            self._check(ArchiveMember(name, kind, 0, 0, ""))
        except ValueError as error:
            self.left_out.append(str(error))
            return False
        return True

    def _add_content(self, name: str, path: Path, modified: int) -> None:
        try:
            # The file may have been replaced by a link since it was listed.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != ELOOP:
                raise
            self.left_out.append(f"{name}: it became a link while it was read")
            return
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            entry = ArchiveMember(name, "file", stat.S_IMODE(facts.st_mode), facts.st_size, "")
            measured = ByteSource(file, facts.st_size)
            self._tar.addfile(header_of(entry, modified), measured)  # type: ignore[arg-type]  # reads only
            if measured.short:
                self.left_out.append(f"{name}: it became shorter while it was read")
        digest = measured.digest.hexdigest()
        self._note(msgspec.structs.replace(entry, fact=digest))

    def _put(self, entry: ArchiveMember, modified: int) -> None:
        self._tar.addfile(header_of(entry, modified))
        self._note(entry)

    def _note(self, entry: ArchiveMember) -> None:
        self._contents.write(entry.line)
        self._entries += 1


@contextmanager
def writing(
    sink: Sink, head: Head, contents: IO[bytes], check: Check = lambda _: None
) -> Iterator[Writer]:
    """An archive that ends with the block. An exception of the block is written at its end, and
    raised. Members for which `check` raises ValueError are left out. Until the end the list of the
    contents is collected in `contents`, which is an empty file at first."""
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as tar:  # type: ignore[call-overload]
        writer = Writer(tar, contents, check)
        try:
            writer.add_bytes(HEAD, msgspec.json.encode(head))
            yield writer
        except OSError as error:
            _add_end(writer, End(failed=_told(str(error)) or "an error"))
            raise
        size = contents.tell()
        contents.seek(0)
        measured = ByteSource(contents, size)
        tar.addfile(header_of(ArchiveMember(CONTENTS, "file", 0o600, size, "")), measured)
        digest = measured.digest.hexdigest()
        named = [_told(each) for each in writer.left_out[:_LEFT_OUT]]
        if (more := len(writer.left_out) - len(named)) > 0:
            named.append(f"and {more:,} more")
        _add_end(writer, End(contents=digest, left_out=named))


def _told(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:_LEFT_OUT_TEXT]


def _add_end(writer: Writer, end: End) -> None:
    writer.add_bytes(END, msgspec.json.encode(end))


def _walk(folder: Path, wanted: Callable[[str], bool] | None) -> Iterator[tuple[Path, str]]:
    """Everything below a folder, each folder before its content. Raises OSError."""
    ahead = [""]
    while ahead:
        here = ahead.pop()
        inner = []
        if here and (folder / here).is_symlink():
            continue  # it was a folder when it was listed
        with suppress(FileNotFoundError), os.scandir(folder / here) as found:
            for entry in sorted(found, key=lambda each: each.name):
                path = os.path.join(here, entry.name)
                if wanted is None or wanted(path):
                    yield folder / path, path
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(path)
        ahead += reversed(inner)


class EntryHandler(Protocol):
    """Is called with each member; `content` is None unless it is a file. What a member is the same
    as came before it."""

    def __call__(
        self, entry: ArchiveMember, modified: int, content: IO[bytes] | None, /
    ) -> None: ...


class ArchiveSummary(msgspec.Struct, frozen=True):
    """The facts of a complete archive."""

    head: Head
    entries: int
    size: int
    left_out: list[str]


def read_archive(path: Path, take: EntryHandler | None = None) -> ArchiveSummary:
    """Reads an archive and gives each member to `take`. Raises ArchiveDamaged if it is damaged.

    After such an error the caller discards what `take` has received.
    """
    reader = _Reader(path, take)
    try:
        with path.open("rb") as file:
            return reader.read(file)
    except EOFError as error:
        raise ArchiveDamaged(f"{path} is cut short or damaged after {reader.last}") from error
    except (tarfile.TarError, ValueError, msgspec.MsgspecError) as error:
        raise ArchiveDamaged(f"{path} is damaged after {reader.last}: {error}") from error


class _Reader:
    """Reads an archive once; `last` is the member that was read last."""

    def __init__(self, path: Path, take: EntryHandler | None) -> None:
        self.last = "its beginning"
        self._path, self._take = path, take
        # The beginning of the digest of each member's line.
        self._notes = bytearray()
        self._size = 0
        self._shared_sizes = array("Q")
        self._head: Head | None = None
        self._contents = ""

    def read(self, file: IO[bytes]) -> ArchiveSummary:
        while (info := read_header(file)) is not None:
            content = Content(file, info.size)
            if info.name == END:
                return self._end(_held(info, content, _END))
            if info.name == CONTENTS:
                self._compare(content)
            elif self._head is None:
                self._read_head(info, content)
            else:
                self._entry(info, content)
            while content.read(_BLOCK):
                pass
            skip_padding(file, info.size)
            self.last = info.name
        raise EOFError

    def _entry(self, info: tarfile.TarInfo, content: Content) -> None:
        if info.isreg():
            entry = ArchiveMember(info.name, "file", info.mode, info.size, "")
            if info.name.startswith(SHARED):
                self._count_shared(entry)
            if self._take is not None:
                self._take(entry, int(info.mtime), content)  # type: ignore[arg-type]  # reads only
            while content.read(_BLOCK):
                pass
            self._note(msgspec.structs.replace(entry, fact=content.digest.hexdigest()))
            return
        kind = "folder" if info.isdir() else "same" if info.islnk() else "link"
        fact = "" if info.isdir() else info.linkname
        entry = ArchiveMember(info.name, kind, info.mode, 0, fact)
        if kind == "same":
            self._count_same(entry)
        if self._take is not None:
            self._take(entry, int(info.mtime), None)
        self._note(entry)

    def _count_shared(self, entry: ArchiveMember) -> None:
        if entry.name != f"{SHARED}{len(self._shared_sizes)}":
            raise ValueError(f"{entry.name} is not the next of the shared files")
        self._shared_sizes.append(entry.size)

    def _count_same(self, entry: ArchiveMember) -> None:
        number = int(entry.fact.removeprefix(SHARED))
        if number >= len(self._shared_sizes):
            raise ValueError(f"{entry.name} is the same as {entry.fact}, which is not before it")
        self._size += self._shared_sizes[number]  # each gets a copy

    def _read_head(self, info: tarfile.TarInfo, content: Content) -> None:
        if info.name != HEAD:
            raise ValueError(f"it begins with {info.name}; it is no backup of predictd")
        data = _held(info, content, _HEAD)
        self._head = msgspec.json.decode(data, type=Head)
        if self._head.format not in READABLE:
            raise ValueError(f"it has format {self._head.format}; this predictd reads {FORMAT}")
        self._note(
            ArchiveMember(HEAD, "file", info.mode, info.size, hashlib.sha256(data).hexdigest())
        )

    def _note(self, entry: ArchiveMember) -> None:
        self._notes += hashlib.sha256(entry.line).digest()[:_NOTE]
        self._size += entry.size
        if self._count > MOST_ENTRIES:
            raise ValueError(f"it has more than {MOST_ENTRIES:,} entries")

    @property
    def _count(self) -> int:
        return len(self._notes) // _NOTE

    def _compare(self, content: Content) -> None:
        count = 0
        for line in _lines(content):
            found = self._notes[count * _NOTE : (count + 1) * _NOTE]
            if found and hashlib.sha256(line).digest()[:_NOTE] != found:
                raise ArchiveDamaged(f"{self._path}: {_named(line)} is damaged")
            count += 1
        if count != self._count:
            raise ArchiveDamaged(f"{self._path}: entries are missing")
        self._contents = content.digest.hexdigest()

    def _end(self, data: bytes) -> ArchiveSummary:
        end = msgspec.json.decode(data, type=End)
        if end.failed:
            raise ArchiveDamaged(f"{self._path} was given up: {end.failed}")
        if not self._contents or end.contents != self._contents or self._head is None:
            raise ArchiveDamaged(f"{self._path}: the list of its contents is damaged")
        return ArchiveSummary(self._head, self._count, self._size, end.left_out)


def _lines(content: Content) -> Iterator[bytes]:
    rest = b""
    while data := content.read(_BLOCK):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > _LINE:
            raise ValueError("a line of the list of its contents is too long")
    if rest:
        raise ValueError("the list of its contents is damaged")


def _named(line: bytes) -> str:
    """The name of the member that a line of the contents describes, if the line has one."""
    try:
        return msgspec.json.decode(line, type=tuple[str, str, int, int, str])[0]
    except msgspec.MsgspecError:
        return "the list of its contents, or what it names,"


def _held(info: tarfile.TarInfo, content: Content, most: int) -> bytes:
    if not info.isreg() or info.size > most:
        raise ValueError(f"{info.name} is not a file of a sensible size")
    return content.read(info.size)
