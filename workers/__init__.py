"""Turns a ReplicaSpec and bytes into bytes: replicas, pools, processes, output.

Knows nothing of builds, records or HTTP. See README.md in this folder.
"""

from workers.cgroups import Cgroups
from workers.confinement import NETWORKS, ConfinementUnavailable, Network
from workers.errors import ProbeRaised, StartFailed, WorkersError
from workers.limits import Cause, Limits
from workers.log import Line, Log
from workers.pool.fair_queue import QueueBudget
from workers.pool.pool import Pool
from workers.pool.slots import STOP_GRACE
from workers.pool.statistics import WAITING_FOR_GPU, PoolStatistics, SlotStatistics
from workers.process.command import Ended
from workers.process.experiment import clear_run
from workers.process.languages import PACKAGES, R_PACKAGES
from workers.process.terminal import PseudoTerminal
from workers.process.usage import Usage, all_processes, process_info
from workers.reactor.reactor import READABLE, WRITABLE, Reactor
from workers.reactor.timers import MovableTimer
from workers.replica.interfaces import Checked
from workers.replica.ticket import (
    Answered,
    Busy,
    Died,
    NotReady,
    Outcome,
    Raised,
    Refused,
    Ticket,
    TimedOut,
    describe_failure,
)
from workers.spec import Crns, ExperimentSpec, Keep, PoolSpec, ReplicaSpec, ShellSpec
from workers.workers import Workers, open_workers

__all__ = [
    "NETWORKS",
    "PACKAGES",
    "READABLE",
    "R_PACKAGES",
    "STOP_GRACE",
    "WAITING_FOR_GPU",
    "WRITABLE",
    "Answered",
    "Busy",
    "Cause",
    "Cgroups",
    "Checked",
    "ConfinementUnavailable",
    "Crns",
    "Died",
    "Ended",
    "ExperimentSpec",
    "Keep",
    "Limits",
    "Line",
    "Log",
    "MovableTimer",
    "Network",
    "NotReady",
    "Outcome",
    "Pool",
    "PoolSpec",
    "PoolStatistics",
    "ProbeRaised",
    "PseudoTerminal",
    "QueueBudget",
    "Raised",
    "Reactor",
    "Refused",
    "ReplicaSpec",
    "ShellSpec",
    "SlotStatistics",
    "StartFailed",
    "Ticket",
    "TimedOut",
    "Usage",
    "Workers",
    "WorkersError",
    "all_processes",
    "clear_run",
    "describe_failure",
    "open_workers",
    "process_info",
]
