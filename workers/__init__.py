"""The engine that turns a ReplicaSpec and bytes into bytes: replicas, pools, processes, output.

Knows nothing of builds, records or HTTP. See README.md in this folder.
"""

from workers.cgroups import Cgroups
from workers.confinement import NETWORKS, ConfinementUnavailable, Network
from workers.engine import Workers, open_workers
from workers.errors import ProbeRaised, StartFailed, WorkersError
from workers.experiment import clear_run
from workers.fair_queue import Room
from workers.keeper import PACKAGES
from workers.limits import Cause, Limits
from workers.log import Line, Log
from workers.pool import Pool
from workers.reactor import READABLE, WRITABLE, Reactor
from workers.script import Ended
from workers.seats import STOP_GRACE
from workers.spec import Crns, PoolSpec, ReplicaSpec, RunSpec
from workers.statistics import PoolStatistics, SeatStatistics
from workers.ticket import (
    Answered,
    Busy,
    Died,
    NotReady,
    Outcome,
    Raised,
    Refused,
    Ticket,
    TimedOut,
)
from workers.timers import Alarm
from workers.usage import Usage, all_processes

__all__ = [
    "NETWORKS",
    "PACKAGES",
    "READABLE",
    "STOP_GRACE",
    "WRITABLE",
    "Alarm",
    "Answered",
    "Busy",
    "Cause",
    "Cgroups",
    "ConfinementUnavailable",
    "Crns",
    "Died",
    "Ended",
    "Limits",
    "Line",
    "Log",
    "Network",
    "NotReady",
    "Outcome",
    "Pool",
    "PoolSpec",
    "PoolStatistics",
    "ProbeRaised",
    "Raised",
    "Reactor",
    "Refused",
    "ReplicaSpec",
    "Room",
    "RunSpec",
    "SeatStatistics",
    "StartFailed",
    "Ticket",
    "TimedOut",
    "Usage",
    "Workers",
    "WorkersError",
    "all_processes",
    "clear_run",
    "open_workers",
]
