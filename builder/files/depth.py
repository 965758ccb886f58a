"""The limit of depth for folders that are stored, built and copied.

With the data folder before them, paths have to fit into the system's 4,096 bytes, and code that
recurses, or has a descriptor open per level, needs a limit. Measuring and removing have none.
"""

import errno
import os

MOST_LEVELS = 200
MOST_BYTES = 2048


class TooDeep(OSError):
    """A folder is deeper than the limit."""


def check_depth(path: str | bytes) -> None:
    """Raise TooDeep for the path of a folder, relative to the first level."""
    raw = os.fsencode(path)
    if raw.count(b"/") >= MOST_LEVELS or len(raw) > MOST_BYTES:
        begin = raw[:60].decode("utf-8", "backslashreplace")
        bound = f"{MOST_LEVELS} levels or {MOST_BYTES:,} bytes"
        raise TooDeep(errno.ENAMETOOLONG, f"the path {begin}... has more than {bound}")
