"""What processes take of the machine, as /proc tells: memory now, and CPU time so far.

One pass over all processes there are serves any number of questions; it takes some 10 us for each.
All of it blocks, for as long.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessInfo(msgspec.Struct, frozen=True):
    """Of one process, what /proc/<pid>/stat says. `resident` in bytes; `cpu` in seconds, with what
    its children took that it has waited for."""

    pid: int
    parent: int
    threads: int
    resident: int
    cpu: float


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process with all that it started takes: bytes now, seconds of CPU so far."""

    memory: int
    cpu: float


def all_processes() -> dict[int, ProcessInfo]:
    """All processes there are, by id."""
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # ended meanwhile
            # proc(5); its second field may hold blanks and brackets of its own.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            parent, threads, pages = (int(fields[i]) for i in (1, 17, 21))
            cpu = sum(map(int, fields[11:15])) / _TICKS
            found[int(pid)] = ProcessInfo(int(pid), parent, threads, pages * _PAGE, cpu)
    return found


def trees(roots: Iterable[int], there: Mapping[int, ProcessInfo]) -> dict[int, list[ProcessInfo]]:
    """Each root's process with all below it; nothing for a root that is not there."""
    children: dict[int, list[ProcessInfo]] = {}
    for each in there.values():
        children.setdefault(each.parent, []).append(each)
    found = {}
    for root in roots:
        tree = [there[root]] if root in there else []
        for each in tree:  # which grows meanwhile
            tree += children.get(each.pid, ())
        found[root] = tree
    return found
