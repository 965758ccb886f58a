"""Reads a tar front to back, with a bound for everything in it that costs memory.

The tars are those that `archive.py` writes: plain files, folders, links, and hard links to its
shared files alone, with extended headers (PAX) for long names and large sizes. `tarfile` cannot be
limited to these: it reads an extended header of any length into memory, follows chains of them by
recursion, expands sparse files, and accepts all hard links and devices. (Its `data` filter checks
each member alone and by its path, so it misses a link that an earlier member made there.) So
`tarfile` only decodes a header and verifies its checksum; all other kinds of member are refused.
"""

import hashlib
import re
import tarfile
from typing import IO

BLOCK = 512
# An extended header: three names and their keys.
_RECORDS = 16 * 1024
_NAME, _PART = 4096, 255  # bytes, as Linux has them
_KINDS = {tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE}
# The folder of the files that hard links may lead to.
SHARED = "shared/"
_SHARED = re.compile(rf"{SHARED}(?:0|[1-9][0-9]{{0,8}})")
_OTHER_KIND = "an entry is neither a file, a folder nor a link"
_KEYS = {b"path", b"linkpath", b"size", b"hdrcharset"}
_RECORD = re.compile(rb"([1-9][0-9]{0,4}) ([a-z.]{1,20})=")


class ByteSource:
    """Exactly `size` bytes of a file, with their digest.

    A file that others write may turn out shorter; then zeros are added, and `short` is True.
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


class Content(ByteSource):
    """The same for a member of an archive that is read. Fewer bytes mean a truncated archive."""

    def read(self, most: int) -> bytes:
        data = super().read(most)
        if self.short:
            raise EOFError
        return data


def read_header(file: IO[bytes]) -> tarfile.TarInfo | None:
    """The next member, whose content follows in `file`; None at the end. Raises ValueError or
    TarError for a member that predictd does not write, EOFError if the file ends."""
    info = _header(file)
    if info is None:
        return None
    records: dict[bytes, bytes] = {}
    if info.type == tarfile.XHDTYPE:
        records = _records(file, info.size)
        info = _header(file)
    if info is None or info.type not in _KINDS:
        raise ValueError(_OTHER_KIND)
    for key, field in ((b"path", "name"), (b"linkpath", "linkname")):
        if key in records:
            setattr(info, field, records[key].decode("utf-8", "surrogateescape"))
    if b"size" in records:
        info.size = _size(records[b"size"])
    if info.isdir():
        info.name = info.name.removesuffix("/")
    check_name(info.name)
    if info.size < 0 or (info.size and info.type != tarfile.REGTYPE):
        raise ValueError(f"{info.name} has a size that cannot be")
    if not 0 <= info.mtime < 1 << 36:
        raise ValueError(f"{info.name} has a time that cannot be")
    if info.type == tarfile.SYMTYPE:
        _check_text(info.linkname)
    if info.type == tarfile.LNKTYPE and not _SHARED.fullmatch(info.linkname):
        raise ValueError(_OTHER_KIND)
    return info


def skip_padding(file: IO[bytes], size: int) -> None:
    """Skips the padding between a content and the next block."""
    _exactly(file, -size % BLOCK)


def check_name(name: str) -> None:
    """Raises ValueError unless the name is the canonical relative path of a file below a folder."""
    _check_text(name)
    for part in name.split("/"):
        if part in ("", ".", "..") or len(part.encode("utf-8", "surrogateescape")) > _PART:
            raise ValueError(f"{name!r} leads out of the data folder, or is no name")


def _check_text(text: str) -> None:
    if not text or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > _NAME:
        raise ValueError(f"{text[:100]!r} is no path")


def _header(file: IO[bytes]) -> tarfile.TarInfo | None:
    block = _exactly(file, BLOCK)
    if not block.strip(b"\0"):
        return None
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _records(file: IO[bytes], size: int) -> dict[bytes, bytes]:
    if not 0 < size <= _RECORDS:
        raise ValueError("an extended header is too long")
    data = _exactly(file, size)
    skip_padding(file, size)
    found: dict[bytes, bytes] = {}
    at = 0
    while at < size:
        record = _RECORD.match(data, at)
        end = at + int(record[1]) if record else 0
        if record is None or not record.end() < end <= size or data[end - 1 : end] != b"\n":
            raise ValueError("an extended header is damaged")
        if record[2] not in _KEYS or record[2] in found:
            raise ValueError("an extended header says more than a name and a size")
        found[record[2]] = data[record.end() : end - 1]
        at = end
    return found


def _size(text: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,18}", text):
        raise ValueError("an extended header has a size that cannot be")
    return int(text)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("it is cut short")
    return data
