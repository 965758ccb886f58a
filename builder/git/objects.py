"""Writes git objects into a store from bytes in memory.

Git does not see the project: it would open files by path, through links that were swapped in
meanwhile. An object is a zlib stream of its kind, its size and its bytes, named by their SHA-1. New
objects are written to a temporary folder, synced all at once, and only then renamed: after a power
cut a torn object would count as stored (gotcha G8 of the builder).

All of this blocks.
"""

import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.files.fsync import sync_file_system

_LEVEL = 1  # half the time of the default, for a tenth more bytes
Chunks = Callable[[], Iterable[bytes]]


class ObjectChanged(Exception):
    """The content of an object changed between two reads, or its size was not the announced one."""


class Objects:
    """The objects of one store, and those that are being added."""

    def __init__(self, stored: Path, fresh: Path) -> None:
        self._stored = stored
        self._fresh = fresh

    def add(self, kind: str, size: int, chunks: Chunks) -> str:
        """Add an object and return its name. A new object reads `chunks` twice.

        Raises ObjectChanged if the chunks are not `size` bytes, or differ the second time.
        """
        header = f"{kind} {size}\0".encode()
        name = _named(header, size, chunks())
        if not self._has(name):
            with open(f"{self._fresh}/{name}", "xb", opener=_read_only) as file:
                again = _named(header, size, _written(file.write, header, chunks()))
            if again != name:  # and the temporary file is never published
                raise ObjectChanged
        return name

    def add_bytes(self, kind: str, content: bytes) -> str:
        """Add an object of these bytes and return its name."""
        return self.add(kind, len(content), lambda: (content,))

    def publish(self) -> None:
        """Rename all new objects. They are durable after the next sync of the file system."""
        sync_file_system(self._fresh)
        for path in self._fresh.iterdir():
            (self._stored / path.name[:2]).mkdir(exist_ok=True)
            path.rename(self._place(path.name))

    def _has(self, name: str) -> bool:
        return os.path.exists(self._place(name)) or os.path.exists(f"{self._fresh}/{name}")

    def _place(self, name: str) -> str:
        return f"{self._stored}/{name[:2]}/{name[2:]}"


@contextmanager
def adding(store: Path) -> Iterator[Objects]:
    """Add objects to a repository, which nothing else may change meanwhile."""
    stored = store / "objects"
    # After a power cut `git prune` removes it by this prefix.
    fresh = Path(tempfile.mkdtemp(dir=stored, prefix="tmp_objdir-"))
    try:
        yield Objects(stored, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _read_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o444)


def _named(header: bytes, size: int, chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha1(header, usedforsecurity=False)
    found = 0
    for chunk in chunks:
        digest.update(chunk)
        found += len(chunk)
    if found != size:
        raise ObjectChanged
    return digest.hexdigest()


def _written(
    write: Callable[[bytes], object], header: bytes, chunks: Iterable[bytes]
) -> Iterator[bytes]:
    """Yield the chunks, and write each one compressed."""
    stream = zlib.compressobj(_LEVEL)
    write(stream.compress(header))
    for chunk in chunks:
        write(stream.compress(chunk))
        yield chunk
    write(stream.flush())
