"""How deep folders may lie in what is stored, built and copied.

Paths have to fit the system's bound of 4,096 bytes with the data folder before them, and what walks
by recursion, or keeps a descriptor for each level, needs a bound. What is deeper can be measured
and removed all the same.
"""

import errno
import os

MOST_LEVELS = 200
MOST_BYTES = 2048


class TooDeep(OSError):
    """A folder lies deeper than that."""


def check_depth(path: str | bytes) -> None:
    """Raises TooDeep for the path of a folder, relative to where the levels begin."""
    raw = os.fsencode(path)
    if raw.count(b"/") >= MOST_LEVELS or len(raw) > MOST_BYTES:
        begin = raw[:60].decode("utf-8", "backslashreplace")
        bound = f"{MOST_LEVELS} levels or {MOST_BYTES:,} bytes"
        raise TooDeep(errno.ENAMETOOLONG, f"the path {begin}... has more than {bound}")
