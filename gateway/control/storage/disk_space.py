"""The space that a removal of files and folders frees. Blocking."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from workers import untrusted_tree


def size_of(paths: Iterable[Path]) -> int:
    """The bytes on the disk that are free when these are removed.

    A file with hard links counts once, if it has no other name but one: that in the store of shared
    files, which goes with the last environment that has it.
    """
    total, links = 0, Counter[tuple[int, int, int, int]]()
    for path in paths:
        for facts in _all_facts(path):
            size = facts.st_blocks * 512
            if facts.st_nlink > 1 and not stat.S_ISDIR(facts.st_mode):
                links[facts.st_dev, facts.st_ino, facts.st_nlink, size] += 1
            else:
                total += size
    return total + sum(size for (_, _, names, size), n in links.items() if names - n <= 1)


def _all_facts(path: Path) -> Iterator[os.stat_result]:
    """Of a path and all below it, but what disappears meanwhile or cannot be read."""
    with suppress(OSError):
        yield (facts := path.lstat())
        if stat.S_ISDIR(facts.st_mode):
            for _, _, inner in untrusted_tree.entries(path):
                yield inner
