"""The manifest of an upload: all entries that the project's folder shall have, one per line.

    {"path": "src", "kind": "folder"}
    {"path": "src/predict.py", "kind": "file", "size": 120, "sha256": "6ca1...", "sent": true}
    {"path": "src/run", "kind": "executable", "size": 30, "sha256": "9f86..."}
    {"path": "src/latest", "kind": "link", "target": "predict.py"}

Lines are JSON and ascend by their path, name by name, so a folder comes before what is in it. An
empty line ends the manifest. The contents of the files that are `sent` follow it, in the order of
the manifest and without anything between them; of equal contents one is sent.

A manifest is untrusted. `ManifestReader` checks it line by line with little memory: the order
proves that no path comes twice and that each one is in a folder of the manifest.
"""

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal

import msgspec

from builder import TooDeep, check_depth, is_git

Kind = Literal["folder", "file", "executable", "link"]
FILES = ("file", "executable")
MEDIA_TYPE = "application/octet-stream"
# As many entries as a snapshot may have.
MOST_ENTRIES = 300_000
# The largest manifest, and its longest line: a path and a target of 4,095 bytes, as JSON.
MOST_BYTES = 64 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_LONGEST_NAME, _LONGEST_TARGET = 255, 4095
_DIGITS = frozenset("0123456789abcdef")


class ManifestError(ValueError):
    """The manifest is not valid; the message names the line."""


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One entry. `target` is that of a link; `sent`: the file's content follows the manifest."""

    path: str
    kind: Kind
    size: int = 0
    sha256: str = ""
    target: str = ""
    sent: bool = False

    @property
    def is_file(self) -> bool:
        return self.kind in FILES


_decode = msgspec.json.Decoder(ManifestEntry).decode


def encode(entries: Iterable[ManifestEntry]) -> Iterator[bytes]:
    """The lines of a manifest, with the empty one."""
    for entry in entries:
        yield msgspec.json.encode(entry) + b"\n"
    yield b"\n"


def order(path: str) -> list[str]:
    """The key by which the entries of a manifest ascend."""
    return path.split("/")


def stored(file: BinaryIO) -> Iterator[ManifestEntry]:
    """The entries of a manifest that was checked."""
    for line in file:
        if line != b"\n":
            yield _decode(line)


class ManifestReader:
    """Checks lines as they come. All but the first line depend on the line before."""

    def __init__(self) -> None:
        self._entries = 0
        self._bytes = 0
        self._last: list[str] = []
        self._folder: list[str] = []  # the names of the deepest folder that may get more entries

    def read(self, line: bytes) -> ManifestEntry:
        """The entry of the next line, without its line break. Raises ManifestError."""
        self._entries += 1
        self._bytes += len(line) + 1
        if self._entries > MOST_ENTRIES:
            raise ManifestError(f"the manifest has more than {MOST_ENTRIES:,} entries")
        if self._bytes > MOST_BYTES or len(line) > _LONGEST_LINE:
            raise ManifestError(f"the manifest or line {self._entries} of it is too long")
        try:
            entry = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ManifestError(f"line {self._entries} of the manifest: {error}") from None
        if problem := _problem(entry) or self._misplaced(entry):
            raise ManifestError(f"{entry.path[:200]!r} {problem}")
        return entry

    def _misplaced(self, entry: ManifestEntry) -> str:
        """What is wrong with the entry's place in the manifest, or ""."""
        names = order(entry.path)
        if not names > self._last:
            return "does not come after the path before it"
        above = names[:-1]
        if above != self._folder[: len(above)]:
            return "is not in a folder of the manifest"
        self._last = names
        self._folder = names if entry.kind == "folder" else above
        return ""


def _problem(entry: ManifestEntry) -> str:
    """What is wrong with an entry by itself, or ""."""
    names = order(entry.path)
    try:
        entry.path.encode(), entry.target.encode()
    except UnicodeEncodeError:
        return "has a name or target that is not UTF-8"
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        return "is not a path inside the project"
    if any(len(os.fsencode(name)) > _LONGEST_NAME for name in names):
        return "has a name that is too long"
    if any(map(is_git, names)):
        return "is refused: .git is not a file of the project"
    try:
        check_depth(entry.path)
    except TooDeep:
        return "is too deep"
    if entry.kind == "link":
        if not 0 < len(os.fsencode(entry.target)) <= _LONGEST_TARGET or "\0" in entry.target:
            return "is a link without a usable target"
    elif entry.target:
        return "has a target and is not a link"
    if entry.is_file:
        if len(entry.sha256) != 64 or not _DIGITS.issuperset(entry.sha256) or entry.size < 0:
            return "needs its size and its sha256, 64 hexadecimal digits in lower case"
    elif entry.sha256 or entry.size or entry.sent:
        return "has content and is not a file"
    return ""
