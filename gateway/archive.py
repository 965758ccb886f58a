"""A backup as a file: an ordinary tar, and how it is told whole from damaged.

    predictd-backup.json   what it is and where it was made
    ...                    files, named as in the data folder
    contents.jsonl         a line for each entry: name, kind, mode, size, SHA-256 or target
    end.json               the SHA-256 of that list; or why the backup was given up

It is written and read front to back, so it can go through a pipe of any kind. Law: `read_archive`
gives entries only as they were written, and ends without an error only for a backup that is whole.
Nothing in it is believed: names stay beneath the folder they are written to, and only files,
folders and links exist. Blocking.
"""

import hashlib
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import msgspec

FORMAT = 1
HEAD, CONTENTS, END = "predictd-backup.json", "contents.jsonl", "end.json"
_BLOCK = 1024 * 1024
# Neither a head nor a database is larger; a bound for what is held in memory.
MOST_HELD = 1024 * 1024 * 1024


class ArchiveDamaged(Exception):
    """A file is no backup, or no longer a whole one; the message says where it was noticed."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first entry: what was backed up, where, and by which predictd."""

    format: int = FORMAT
    created_at: str
    predictd: str
    root: str
    machine: str


class Entry(msgspec.Struct, frozen=True):
    """A line of the contents. `kind` is file, folder or link; `fact` a digest or a target."""

    name: str
    kind: str
    mode: int
    size: int
    fact: str

    @property
    def line(self) -> bytes:
        # json escapes what is no Unicode in a name; msgspec refuses it.
        return json.dumps(msgspec.structs.astuple(self)).encode() + b"\n"


class Sink(Protocol):
    """What takes the bytes of an archive."""

    def write(self, data: bytes, /) -> object: ...


class _Measured:
    """Exactly `size` bytes of a file, with their digest.

    A file that is being written may turn out shorter; then zeros follow, and `short` says so.
    """

    def __init__(self, source: IO[bytes], size: int) -> None:
        self.digest = hashlib.sha256()
        self.short = False
        self._source, self._left = source, size

    def read(self, most: int) -> bytes:
        wanted = min(most, self._left)
        data = self._source.read(wanted)
        if len(data) < wanted:
            self.short = True
            data = data.ljust(wanted, b"\0")
        self._left -= len(data)
        self.digest.update(data)
        return data


class Writer:
    """Adds entries to an archive. `writing` makes it and ends it."""

    def __init__(self, tar: tarfile.TarFile, contents: IO[bytes]) -> None:
        self._tar, self._contents = tar, contents
        self.left_out: list[str] = []

    def add_bytes(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """A file that is in memory."""
        entry = Entry(name, "file", mode, len(data), hashlib.sha256(data).hexdigest())
        info = _info(entry)
        with tempfile.SpooledTemporaryFile(_BLOCK) as file:
            file.write(data)
            file.seek(0)
            self._tar.addfile(info, file)
        self._contents.write(entry.line)

    def add_tree(
        self, name: str, folder: Path, wanted: Callable[[str], bool] | None = None
    ) -> None:
        """A folder with all in it; `wanted` is asked for each name, relative to the folder."""
        self._add(name, folder)
        for path, inner in _walk(folder, wanted):
            self._add(f"{name}/{inner}", path)

    def add_file(self, name: str, path: Path) -> None:
        """One file, if it is there."""
        self._add(name, path)

    def _add(self, name: str, path: Path) -> None:
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return  # of what may change while it is read
        mode, modified = stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
        if stat.S_ISDIR(facts.st_mode):
            self._put(Entry(name, "folder", mode, 0, ""), modified)
        elif stat.S_ISLNK(facts.st_mode):
            self._put(Entry(name, "link", mode, 0, os.readlink(path)), modified)
        elif stat.S_ISREG(facts.st_mode):
            self._add_content(name, path, modified)
        else:
            self.left_out.append(f"{name}: neither a file nor a folder")

    def _add_content(self, name: str, path: Path, modified: int) -> None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            facts = os.fstat(file.fileno())
            entry = Entry(name, "file", stat.S_IMODE(facts.st_mode), facts.st_size, "")
            measured = _Measured(file, facts.st_size)
            self._tar.addfile(_info(entry, modified), measured)  # type: ignore[arg-type]  # reads only
            if measured.short:
                self.left_out.append(f"{name}: it became shorter while it was read")
        digest = measured.digest.hexdigest()
        self._contents.write(msgspec.structs.replace(entry, fact=digest).line)

    def _put(self, entry: Entry, modified: int) -> None:
        self._tar.addfile(_info(entry, modified))
        self._contents.write(entry.line)


@contextmanager
def writing(sink: Sink, head: Head) -> Iterator[Writer]:
    """An archive that ends with the block; what the block raises is told at its end, and raised."""
    with (
        tempfile.SpooledTemporaryFile(4 * _BLOCK) as contents,
        tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as tar,  # type: ignore[call-overload]
    ):
        writer = Writer(tar, contents)
        try:
            writer.add_bytes(HEAD, msgspec.json.encode(head))
            yield writer
        except OSError as error:
            _add_end(writer, {"failed": str(error)})
            raise
        size = contents.tell()
        contents.seek(0)
        digest = hashlib.file_digest(contents, "sha256").hexdigest()
        contents.seek(0)
        tar.addfile(_info(Entry(CONTENTS, "file", 0o600, size, "")), contents)
        contents.seek(0, os.SEEK_END)
        _add_end(writer, {"contents": digest, "left_out": writer.left_out})


def _add_end(writer: Writer, told: dict[str, Any]) -> None:
    writer.add_bytes(END, json.dumps(told).encode())


def _info(entry: Entry, modified: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.name)
    info.mode, info.size, info.mtime = entry.mode, entry.size, modified
    if entry.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.fact
    return info


def _walk(folder: Path, wanted: Callable[[str], bool] | None) -> Iterator[tuple[Path, str]]:
    """Everything beneath a folder, each folder before what it holds. Raises OSError."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for here, folders, files in os.walk(folder, onerror=fail):
        folders.sort()
        names = sorted(folders + files)
        for name in names:
            path = Path(here, name)
            inner = str(path.relative_to(folder))
            if wanted is None or wanted(inner):
                yield path, inner
            elif name in folders:
                folders.remove(name)


class Taker(Protocol):
    """What is told of each entry; `content` is of a file, None for others."""

    def __call__(self, entry: Entry, modified: int, content: IO[bytes] | None, /) -> None: ...


class Outline(msgspec.Struct, frozen=True):
    """What is known of a whole archive."""

    head: Head
    entries: int
    size: int
    left_out: list[str]


def read_archive(path: Path, take: Taker | None = None) -> Outline:
    """Reads all of an archive, gives each entry to `take`, and raises ArchiveDamaged unless whole.

    What `take` was given before such an error is to be thrown away.
    """
    reader = _Reader(path, take)
    try:
        with path.open("rb") as file:
            return reader.read(file)
    except (tarfile.TarError, EOFError, ValueError, msgspec.MsgspecError) as error:
        raise ArchiveDamaged(f"{path} is damaged after {reader.last}: {error}") from error


class _Reader:
    """One reading of an archive; `last` is the entry that was read last."""

    def __init__(self, path: Path, take: Taker | None) -> None:
        self.last = "its beginning"
        self._path, self._take = path, take
        self._lines: list[bytes] = []
        self._size = 0
        self._head: Head | None = None
        self._contents = ""

    def read(self, file: IO[bytes]) -> Outline:
        with tarfile.open(fileobj=file, mode="r|", bufsize=_BLOCK) as tar:
            for info in tar:
                if info.name == END:
                    return self._end(_held(tar, info))
                if info.name == CONTENTS:
                    self._compare(_held(tar, info))
                else:
                    self._entry(tar, info)
                self.last = info.name
        raise ArchiveDamaged(f"{self._path} is cut short or damaged after {self.last}")

    def _entry(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        _check_name(info.name)
        if self._head is None:
            self._read_head(tar, info)
            return
        if info.isreg():
            content = tar.extractfile(info)
            assert content is not None
            measured = _Measured(content, info.size)
            given = Entry(info.name, "file", info.mode, info.size, "")
            if self._take is not None:
                self._take(given, int(info.mtime), measured)  # type: ignore[arg-type]  # reads only
            while measured.read(_BLOCK):
                pass
            self._note(msgspec.structs.replace(given, fact=measured.digest.hexdigest()))
            return
        if not (info.isdir() or info.issym()):
            raise ValueError(f"{info.name} is neither a file, a folder nor a link")
        kind = "folder" if info.isdir() else "link"
        entry = Entry(info.name, kind, info.mode, 0, info.linkname if info.issym() else "")
        if self._take is not None:
            self._take(entry, int(info.mtime), None)
        self._note(entry)

    def _read_head(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        if info.name != HEAD:
            raise ValueError(f"it begins with {info.name}; it is no backup of predictd")
        data = _held(tar, info)
        self._head = msgspec.json.decode(data, type=Head)
        if self._head.format != FORMAT:
            raise ValueError(f"it has format {self._head.format}; this predictd reads {FORMAT}")
        self._note(Entry(HEAD, "file", info.mode, info.size, hashlib.sha256(data).hexdigest()))

    def _note(self, entry: Entry) -> None:
        self._lines.append(entry.line)
        self._size += entry.size

    def _compare(self, contents: bytes) -> None:
        said = contents.splitlines(keepends=True)
        for line, found in zip(said, self._lines, strict=False):
            if line != found:
                name = json.loads(found)[0]
                raise ArchiveDamaged(f"{self._path}: {name} is damaged")
        if len(said) != len(self._lines):
            raise ArchiveDamaged(f"{self._path}: entries are missing")
        self._contents = hashlib.sha256(contents).hexdigest()

    def _end(self, data: bytes) -> Outline:
        told = json.loads(data)
        if "failed" in told:
            raise ArchiveDamaged(f"{self._path} was given up: {told['failed']}")
        if not self._contents or told["contents"] != self._contents or self._head is None:
            raise ArchiveDamaged(f"{self._path}: the list of its contents is damaged")
        return Outline(self._head, len(self._lines), self._size, told["left_out"])


def _held(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    if file is None or info.size > MOST_HELD:
        raise ValueError(f"{info.name} is not a file of a sensible size")
    return file.read()


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r} leads out of the data folder")
