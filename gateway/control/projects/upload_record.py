"""What the last upload put into a project: paths, hashes, and how to recognize the files cheaply.

The record answers two questions. Which content does the project have? A file with the same inode,
size and time as in the record has the same hash, since nothing writes into a file of a project:
the gateway always replaces it. And which files may the next upload delete? Only those that the last
one put there and that still have its content.

A record is written before and after the folder is exchanged. Before, it has the entries of both
folders: a path may come twice. So it fits whichever folder a killed gateway leaves.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from builder import make_folder
from gateway.upload_manifest import Kind


class RecordedEntry(msgspec.Struct, frozen=True, array_like=True):
    """One entry, as it was put there."""

    path: str
    kind: Kind
    size: int
    sha256: str
    target: str
    inode: int
    changed_ns: int

    def is_same_file(self, facts: os.stat_result) -> bool:
        """Whether the file on the disk is the very one that was put there."""
        return (self.inode, self.size, self.changed_ns) == (
            facts.st_ino,
            facts.st_size,
            facts.st_mtime_ns,
        )


_decode = msgspec.json.Decoder(RecordedEntry).decode


def read_record(path: Path) -> dict[str, list[RecordedEntry]]:
    """The entries by path. A record that is missing or damaged is empty: then nothing is known to
    be from an upload. Blocking."""
    found: defaultdict[str, list[RecordedEntry]] = defaultdict(list)
    try:
        with path.open("rb") as file:
            for line in file:
                entry = _decode(line)
                found[entry.path].append(entry)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return dict(found)


def write_record(path: Path, entries: Iterable[RecordedEntry]) -> None:
    """Replaces the record, durably. Blocking."""
    make_folder(path.parent)
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.writelines(msgspec.json.encode(entry) + b"\n" for entry in entries)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
