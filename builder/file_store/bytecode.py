"""Bytecode that stays valid when its source becomes a link to an older file.

Python believes bytecode that has the time or the hash of its source. A link has the time of another
file, so each start of a model would compile again: 1.2 s for scikit-learn. Sources of a sealed
environment never change, so its bytecode needs neither: it is marked as "unchecked" (PEP 552).
With the hash of its source it names neither a path nor a time, and is shared as all files are.

All of this blocks.
"""

import _imp
import os
import stat

BYTECODE_FOLDER = "__pycache__"
_HEADER = 16
_NO_HASH = bytes(8)
# The most bytes of a source that is hashed.
_MOST_BYTES = 1 << 20
_MASK = 0xFFFFFFFF
# The header's flags: by time, by hash without a check, by hash.
_BY_TIME, _UNCHECKED, _BY_HASH = 0, 1, 3
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def freeze(here: int, name: str) -> bool:
    """Mark one file of bytecode, in the folder `here`, if it is valid now. Other bytecode stays as
    it is. Return whether it has the hash of its source, and can be shared. Raises OSError.

    The folder above must be ours, without a process that writes there, and have the sources as they
    were compiled.
    """
    source = f"../{name.partition('.')[0]}.py"
    file = os.open(name, _OPEN, dir_fd=here)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return False
        header = os.pread(file, _HEADER, 0)
        flags, rest = int.from_bytes(header[4:8], "little"), header[8:]
        if flags == _BY_TIME and rest == _time_of(here, source):
            # No hash: a Python that is told to check all of them compiles again.
            os.pwrite(file, _marked(_UNCHECKED) + _NO_HASH, 4)
        elif flags == _BY_HASH and rest == _hash_of(here, source, header[:4]):
            os.pwrite(file, _marked(_UNCHECKED), 4)
            return True
        return flags == _UNCHECKED and len(rest) == 8 and rest != _NO_HASH
    finally:
        os.close(file)


def _marked(flags: int) -> bytes:
    return flags.to_bytes(4, "little")


def _time_of(here: int, source: str) -> bytes:
    """The time and the size of a source, as a header has them."""
    facts = os.stat(source, dir_fd=here, follow_symlinks=False)
    numbers = (int(facts.st_mtime), facts.st_size)
    return b"".join((each & _MASK).to_bytes(4, "little") for each in numbers)


def _hash_of(here: int, source: str, magic: bytes) -> bytes | None:
    """The hash of a source for the Python with this magic number, if that is 3.11 or newer. Older
    ones have another hash: their bytecode stays checked, until it is compiled after the build."""
    file = os.open(source, _READ, dir_fd=here)
    with os.fdopen(file, "rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        return None
    return _imp.source_hash(int.from_bytes(magic, "little"), content)
