"""A slot: a numbered position in a pool, and what outlives its replicas.

One replica at a time fills a slot. Its name, counters and log stay when the replica is replaced,
so a restart loses nothing that an operator reads.
"""

import trio

from workers.errors import StartFailed
from workers.limits import Cause
from workers.log import Log
from workers.pool.statistics import WAITING_FOR_GPU, SlotStatistics
from workers.reactor.timers import Timer
from workers.replica.lifecycle import StopReason
from workers.replica.replica import Replica
from workers.replica.ticket import Answered, Outcome, Raised, Refused


class Slot:
    """`successor` is the replica that takes the slot when it is ready (ReplicaSlots.restart)."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log
        self.replica: Replica | None = None
        self.successor: Replica | None = None
        self.restarted: trio.Event | None = None
        # Its replica was asked to end, and another starts when that has ended.
        self.renewing = False
        # It stays empty until another pool no longer needs its GPUs.
        self.vacant = False
        # Why the replica that was to follow did not become ready.
        self.renewal_failure: StartFailed | None = None
        # Why the successor takes the slot.
        self.restarted_because = StopReason.STOPPED
        # Its replica exceeded the memory bound as soon as it was ready, so a successor would too.
        self.over_memory = False
        self.timer: Timer | None = None
        # Starts that failed since the last one that succeeded.
        self.failures = 0
        self.last_exit = ""
        self.limits_met = {cause.value: 0 for cause in Cause}
        self.begin_counting()

    def begin_counting(self) -> None:
        """Requests and restarts are counted from now on."""
        self.received = self.success = self.failure = self.error = self.restart = self.recycled = 0

    def count(self, outcome: Outcome) -> None:
        if isinstance(outcome, Answered):
            self.success += 1
        elif isinstance(outcome, Raised | Refused):
            self.failure += 1
        else:
            self.error += 1

    def remember_exit(self, replica: Replica) -> None:
        self.last_exit = replica.ending
        if replica.cause is not None:
            self.limits_met[replica.cause.value] += 1

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def restart_ended(self) -> None:
        if self.restarted is not None:
            self.restarted.set()
            self.restarted = None

    def statistics(self, now: float) -> SlotStatistics:
        replica = self.replica
        return SlotStatistics(
            name=self.name,
            status=WAITING_FOR_GPU if self.vacant else _status(replica),
            pid=replica.process.command_pid if replica and replica.process else None,
            uptime=now - replica.started_at if replica else 0.0,
            received=self.received,
            processed=self.success + self.failure + self.error,
            success=self.success,
            failure=self.failure,
            error=self.error,
            restart=self.restart,
            recycled=self.recycled,
            last_exit=self.last_exit,
            lost_lines=self.log.lost,
            limits_met=self.limits_met.copy(),
            gpus=list(replica.monitored.gpus) if replica and replica.monitored else [],
        )


def _status(replica: Replica | None) -> str:
    if replica is None:
        return "waiting to start"
    return WAITING_FOR_GPU if replica.waiting else replica.state.value
