"""Waits for changes of a folder's files, for `--watch`.

The folder is listed twice a second: no file system of this or another machine has to report
changes. Hidden folders, caches and environments do not count.
"""

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

PAUSE = 0.5  # seconds
_SKIPPED = {"__pycache__", "node_modules"}
_MOST = 20_000  # files

Files = dict[str, tuple[int, int]]


def changes(folder: Path) -> Iterator[None]:
    """Yields after each change, when the files have not changed for `PAUSE` seconds."""
    seen = list_files(folder)
    while True:
        time.sleep(PAUSE)
        now = list_files(folder)
        if now == seen:
            continue
        while now != seen:
            seen = now
            time.sleep(PAUSE)
            now = list_files(folder)
        yield


def list_files(folder: Path) -> Files:
    """The files of a folder, with their times and sizes."""
    return dict(islice(_files(folder), _MOST))


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for above, folders, files in os.walk(folder):
        if "pyvenv.cfg" in files and above != str(folder):
            folders.clear()
            continue
        folders[:] = [each for each in folders if each[0] != "." and each not in _SKIPPED]
        for name in files:
            path = os.path.join(above, name)
            try:
                found = os.lstat(path)
            except OSError:
                continue  # removed meanwhile
            yield path, (found.st_mtime_ns, found.st_size)
