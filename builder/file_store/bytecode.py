"""Bytecode that stays valid when its source becomes a link to an older file.

Python believes bytecode that has the time of its source. A link has the time of another file, so
each start of a model would compile again: 1.2 s for scikit-learn. Sources of a sealed environment
never change, so its bytecode needs no time: it is marked as "unchecked" (PEP 552).

All of this blocks.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

BYTECODE_FOLDER = "__pycache__"
_HEADER = 16
_MASK = 0xFFFFFFFF
# The header's flags: by time, and by hash without a check.
_BY_TIME, _UNCHECKED = 0, 1
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def freeze_bytecode(folder: Path) -> None:
    """Mark the bytecode beneath a folder that is valid now. Other bytecode stays as it is. The
    folder must be ours, without a process that writes there."""
    for path, _, names, here in os.fwalk(folder):
        for name in names:
            if name.endswith(".pyc") and os.path.basename(path) == BYTECODE_FOLDER:
                with suppress(OSError):
                    _freeze(here, name, f"../{name.partition('.')[0]}.py")


def _freeze(here: int, name: str, source: str) -> None:
    facts = os.stat(source, dir_fd=here, follow_symlinks=False)
    file = os.open(name, _OPEN, dir_fd=here)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return
        header = os.pread(file, _HEADER, 0)
        numbers = [int.from_bytes(header[n : n + 4], "little") for n in (4, 8, 12)]
        if numbers == [_BY_TIME, int(facts.st_mtime) & _MASK, facts.st_size & _MASK]:
            # No hash: a Python that is told to check all of them compiles again.
            os.pwrite(file, _UNCHECKED.to_bytes(4, "little") + bytes(8), 4)
    finally:
        os.close(file)
