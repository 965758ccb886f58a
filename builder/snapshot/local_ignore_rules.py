"""Which names `.gitignore` files exclude, without git: for a folder on the user's own machine.

The client packs a folder with it, so the answers have to be those that `ignore_rules.py` gets from
git for the same files. Like git, a deeper ignore file decides first, of one file the last pattern,
and nothing is read in a folder that is excluded.
"""

import os
from collections.abc import Sequence
from typing import BinaryIO

from builder.errors import SnapshotFailed
from builder.snapshot.ignore_patterns import Pattern, patterns
from builder.snapshot.ignore_rules import NAME, IgnoreLine


class LocalIgnoreRules:
    """The ignore files of a folder, level by level, as `IgnoreRules`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._files: dict[bytes, list[Pattern]] = {}

    def read(self, folder: bytes, file: BinaryIO) -> None:
        """Add the ignore file of a folder. Raises SnapshotFailed."""
        content = file.read(self._most_bytes + 1)
        if len(content) > self._most_bytes:
            name = folder.decode("utf-8", "backslashreplace")
            raise SnapshotFailed(
                f"{name + '/' if name else ''}.gitignore has more than {self._most_bytes:,} bytes"
            )
        self._files[folder] = list(patterns(content))

    async def ignored(
        self, folders: Sequence[bytes], others: Sequence[bytes]
    ) -> dict[bytes, IgnoreLine]:
        """Return the paths that are excluded, each with the line that excludes it."""
        found = {path: self._line(path, True) for path in folders}
        found |= {path: self._line(path, False) for path in others}
        return {path: line for path, line in found.items() if line is not None}

    def _line(self, path: bytes, is_folder: bool) -> IgnoreLine | None:
        above = path
        while above:
            above = above.rpartition(b"/")[0]
            inner = path[len(above) + 1 if above else 0 :]
            for pattern in reversed(self._files.get(above, ())):
                if pattern.matches(inner, is_folder):
                    file = os.path.join(above, NAME)
                    line = IgnoreLine(file, b"%d" % pattern.number, pattern.line)
                    return line if pattern.excludes else None
        return None
