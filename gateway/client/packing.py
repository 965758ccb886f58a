"""Packs a folder for an upload: its manifest, and the contents that a gateway asks for.

Which entries belong to it is decided by the builder's own walk over a project, with the ignore
files read here (`local_ignore_rules.py`). So the gateway, which walks over the uploaded files again
when it takes a snapshot, leaves out nothing that was sent, and misses nothing.

This imports the builder, and with it Trio: only the verbs that upload import it.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from builder import BuilderError, Contents, Folder, FolderListing, list_folder
from gateway.upload_manifest import FILES, ManifestEntry, encode, order

_PIECE = 256 * 1024

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class CannotPack(Exception):
    """The folder cannot be uploaded; `advice` is what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class PackedFolder(NamedTuple):
    """What is uploaded of a folder, and what is left out; `special` are pipes and the like."""

    folder: Path
    entries: list[ManifestEntry]
    contents: Contents
    special: list[str]

    @property
    def files(self) -> int:
        return sum(entry.is_file for entry in self.entries)

    def all_contents(self) -> list[int]:
        """The numbers of the entries that an empty project lacks."""
        first: dict[str, int] = {}
        for number, entry in enumerate(self.entries):
            if entry.is_file:
                first.setdefault(entry.sha256, number)
        return list(first.values())

    def size_of(self, numbers: Sequence[int]) -> int:
        return sum(self.entries[number].size for number in numbers)

    def body(self, numbers: Sequence[int], progress: Progress) -> Iterator[bytes]:
        """The body of an upload with the contents of these entries. Raises CannotPack for a file
        that changes meanwhile."""
        sent = set(numbers)
        marked = (
            replace(entry, sent=True) if number in sent else entry
            for number, entry in enumerate(self.entries)
        )
        yield from _joined(encode(marked))
        done, total = 0, self.size_of(numbers)
        with Folder.root(self.folder) as root:
            for number in numbers:
                for piece in _content(root, self.entries[number]):
                    done += len(piece)
                    yield piece
                    progress(done, total)


def pack(folder: Path, progress: Progress = lambda done, total: None) -> PackedFolder:
    """Lists and hashes a folder, whose path has no links. Raises CannotPack."""
    with _explained():
        listing = list_folder(folder)
        with Folder.root(folder) as root:
            entries = _hashed(root, listing, progress)
    entries.sort(key=lambda entry: order(entry.path))
    return PackedFolder(folder, entries, listing.contents, listing.special)


def _hashed(root: Folder, listing: FolderListing, progress: Progress) -> list[ManifestEntry]:
    entries, done = [], 0
    total = sum(each.kind in FILES for each in listing.entries)
    for each in listing.entries:
        path, target = _text(each.path), _text(each.target)
        if each.kind == "folder":
            entries.append(ManifestEntry(path, "folder"))
        elif each.kind == "link":
            entries.append(ManifestEntry(path, "link", target=target))
        elif each.kind != "special":
            digest, size = hashlib.sha256(), 0
            for piece in _pieces(root, each.path):
                digest.update(piece)
                size += len(piece)
            entries.append(ManifestEntry(path, each.kind, size=size, sha256=digest.hexdigest()))
            done += 1
            progress(done, total)
    return entries


def _content(root: Folder, entry: ManifestEntry) -> Iterator[bytes]:
    left = entry.size
    with _explained():
        for piece in _pieces(root, os.fsencode(entry.path)):
            left -= len(piece)
            if left < 0:
                break
            yield piece
    if left:
        message = f"file {entry.path!r} has changed while it was uploaded"
        raise CannotPack(message, "try again while no program changes the files")


def _pieces(root: Folder, path: bytes) -> Iterator[bytes]:
    *above, name = path.split(b"/")
    with root.folder(above) as folder, folder.open(name) as file:
        while piece := file.read(_PIECE):
            yield piece


def _text(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        shown = path.decode("utf-8", "backslashreplace")
        message = f"the name {shown!r} is not UTF-8"
        raise CannotPack(message, "rename it, or add it to .gitignore") from None


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines in pieces that are worth a packet."""
    piece = b""
    for line in lines:
        piece += line
        if len(piece) >= _PIECE:
            yield piece
            piece = b""
    yield piece


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BuilderError as error:
        raise CannotPack(error.problem, _lower(error.advice)) from error
    except OSError as error:
        advice = "make it readable, or add it to .gitignore"
        raise CannotPack(f"cannot read the folder: {error}", advice) from error


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].removesuffix(".")
