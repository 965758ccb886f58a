"""What a process tree may use of the machine, and which limit ended it, in words.

The gateway decides a limit. The kernel enforces it where cgroups allow (cgroups/); otherwise, and
for disk, a check every second does (limit_monitor.py). What ended a process is read from what its
cgroup has counted, not guessed from its exit status: SIGKILL has many senders.
"""

from enum import Enum
from math import ceil
from signal import SIGKILL

import msgspec

from workers.sizes import human_size


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """For one process with all that it ever starts. Sizes in bytes, 0 for no limit.

    `cpu` is in thousandths of a core; `processes` counts threads too; `disk` is what may be added
    to the folder that it works in.
    """

    memory: int = 0
    cpu: int = 0
    processes: int = 0
    disk: int = 0


class Cause(Enum):
    """The limit that a process exceeded."""

    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    CPU = "cpu"


class CgroupCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a cgroup has counted since it was made. `throttled` in seconds.

    `met_own`: the processes killed for memory exceeded their own limit, not that of all models.
    """

    memory_kills: int = 0
    met_own: bool = False
    forks_refused: int = 0
    throttled: float = 0.0


class ExitReason(msgspec.Struct, frozen=True):
    """How a process ended: `text` continues "the process"."""

    text: str
    cause: Cause | None = None


def explain_exit(status: int, text: str, counters: CgroupCounters, limits: Limits) -> ExitReason:
    """Why a process ended that the gateway has not killed. `text` is its `status` in words."""
    # As its wrapper, or a shell, reports a kill: gotcha G9 in process/README.
    if counters.memory_kills and status in (-SIGKILL, 128 + SIGKILL):
        if counters.met_own and limits.memory:
            return ExitReason(
                f"ran out of memory: its limit is {human_size(limits.memory)}", Cause.MEMORY
            )
        why = "was killed for its memory, since all models together reached their limit"
        return ExitReason(why, Cause.MEMORY)
    if counters.forks_refused and status != 0:
        return ExitReason(f"{text}, after {reached_processes(limits)}", Cause.PROCESSES)
    if counters.memory_kills:
        return ExitReason(f"{text}, after a process that it had started ran out of memory")
    return ExitReason(text)


def reached_processes(limits: Limits) -> str:
    return f"its limit of {limits.processes} processes and threads was reached"


def throttling_note(seconds: float, throttled: float, limits: Limits) -> str:
    """Why a prediction of `seconds` took so long, if its CPU limit is the cause; otherwise "".

    The limit is the cause if it took at least a quarter of the time.
    """
    if not limits.cpu or throttled < seconds / 4:
        return ""
    return f"its limit of {limits.cpu / 1000:g} CPU delayed it by {min(seconds, throttled):.3g} s"


def threads_for(limits: Limits) -> int:
    """The best number of threads for a numerical library: more of them share the same quota, and
    all stop when it is used up."""
    return max(1, ceil(limits.cpu / 1000))
