"""What processes take of the machine, as /proc tells: memory now, and CPU time so far.

One pass over all processes there are serves any number of questions; it takes some 10 us for each.
All of it blocks, for as long.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process, from /proc/<pid>/stat. `resident` in bytes; `cpu` in seconds, without
    `children_cpu`: that of the ended children that it has waited for."""

    pid: int
    parent: int
    threads: int
    resident: int
    cpu: float
    children_cpu: float


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process with all that it started takes: bytes now, seconds of CPU so far."""

    memory: int
    cpu: float


def all_processes() -> dict[int, ProcessInfo]:
    """All processes there are, by id."""
    found = (process_info(int(pid)) for pid in os.listdir("/proc") if pid.isdecimal())
    return {each.pid: each for each in found if each is not None}


def process_info(pid: int) -> ProcessInfo | None:
    """One process; None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # proc(5); its second field may hold blanks and brackets of its own.
    fields = stat.rpartition(b")")[2].split()
    parent, user, system, threads, pages = (int(fields[i]) for i in (1, 11, 12, 17, 21))
    return ProcessInfo(
        pid=pid,
        parent=parent,
        threads=threads,
        resident=pages * _PAGE,
        cpu=(user + system) / _TICKS,
        children_cpu=(int(fields[13]) + int(fields[14])) / _TICKS,
    )


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
