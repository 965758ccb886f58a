"""The slots of a pool: replicas are started, restarted, recycled and given up here.

Each replica fills a slot (slot.py). One that ends by itself is replaced at once if it served for a
while, otherwise after a pause that doubles; one that a request ended is replaced at once. A restart
starts each replica's successor first, so that no request waits for it. Replicas that hold GPUs are
restarted in place: the old one ends first, since no GPU may be free for both. If the slots were
never all ready, and one has failed to start `start_tries` times, the pool gives up.

The laws, checked by `verify`:
- Every slot has a replica, or a timer that will start one, or is vacant, until the slots end.
- A replica or successor of a slot has a process, or will get one.
- The slots close only after everything that was started is cleaned up, and no timer is left then.
- A replica that is recycled serves until its successor is ready; one at a time is recycled.

This file does not decide which ticket a replica gets. Replicas report to the pool, which passes on
what concerns slots. `launch` starts a replica's process; it is the only effect.
"""

import secrets
from collections.abc import Iterator
from math import inf
from string import ascii_lowercase, digits
from typing import Protocol

import trio

from workers.errors import StartFailed
from workers.log import Line, Log, in_order
from workers.pool.memory_check import MemoryCheck
from workers.pool.slot import Slot
from workers.pool.statistics import SlotStatistics
from workers.reactor.timers import Timer
from workers.replica.interfaces import EventLoop, ReplicaOwner
from workers.replica.lifecycle import BUSY, IDLE, STARTING, StopReason
from workers.replica.replica import Replica
from workers.replica.ticket import NotReady
from workers.retry_pauses import RetryPauses
from workers.spec import PoolSpec

# A replica that ends by itself sooner than this after it was ready has failed to start.
_STEADY = 5.0
# How long predictions may continue after the model is stopped, in seconds.
STOP_GRACE = 1.0


class StartReplica(Protocol):
    """Starts the process of a replica, without waiting for it."""

    def __call__(self, replica: Replica, log: Log) -> None: ...


class ReplicaSlots:
    """Filled from the beginning, with replicas that report to `owner`, until `end`. Only as many as
    `filled` are, until `fill_vacant`.

    Read only: `slot_of`, the slot of every replica that has not ended, including those that leave;
    `failure`, why they were never ready; `closed`, set when nothing of them is left.
    """

    def __init__(
        self,
        spec: PoolSpec,
        *,
        loop: EventLoop,
        launch: StartReplica,
        log: Log | None,
        owner: ReplicaOwner,
        timeouts: RetryPauses,
        filled: int,
    ) -> None:
        self.slot_of: dict[Replica, Slot] = {}
        self.failure: StartFailed | None = None
        self.closed = trio.Event()
        self._spec = spec
        self._loop = loop
        self._launch = launch
        self._log = log
        self._owner = owner
        self._timeouts = timeouts
        # Set when all were ready at once, or never will be.
        self._settled = trio.Event()
        self._ending = False
        # Replicas of which something may be left: a process, its children, its folder.
        self._uncleaned: set[Replica] = set()
        # How long the last start took until its replica was ready.
        self._start_seconds = 0.0
        # Successors that failed to start, in a row, and when the next may start by itself.
        self._failed_successors = 0
        self._recycle_from = 0.0
        # Kills what does not end by itself at the end.
        self._killer: Timer | None = None
        self._slots = [self._new_slot() for _ in range(spec.replicas)]
        self._memory = MemoryCheck(loop, self._slots, self.recycle)
        for slot in self._slots[filled:]:
            slot.vacant = True
        for slot in self._slots[:filled]:
            self._fill(slot)
        self._memory.set_bound(spec.recycle_above_memory)

    def adjust(self, spec: PoolSpec) -> None:
        """Applies other bounds; see `Pool.adjust`."""
        self._spec = spec
        self._memory.set_bound(0 if self._ending else spec.recycle_above_memory)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def ready(self) -> int:
        """How many have a replica that serves."""
        serving = (IDLE, BUSY)
        return sum(1 for s in self._slots if s.replica and s.replica.state in serving)

    @property
    def _enough(self) -> int:
        """How many have to be ready at first."""
        return self._spec.first_ready or len(self._slots)

    async def wait_ready(self) -> None:
        """Returns when all were ready at once. Raises StartFailed when they never will be."""
        await self._settled.wait()
        if self.failure is not None:
            raise self.failure

    def next_start(self) -> float:
        """When another replica will be started; infinity for never. A vacant slot may be filled at
        any time."""
        if any(slot.vacant for slot in self._slots):
            return self._loop.now()
        return min((slot.timer.due for slot in self._slots if slot.timer), default=inf)

    def next_ready(self) -> float:
        """When a replica will be ready, if its start takes as long as the last; infinity for
        never."""
        begun = [r.started_at for r in self.slot_of if r.state is STARTING]
        return min(begun, default=self.next_start()) + self._start_seconds

    # Reported by replicas.

    def replica_ready(self, replica: Replica) -> None:
        """It serves from now on: in its own slot, or in that of its predecessor."""
        slot = self.slot_of[replica]
        if replica is slot.successor:
            self._succeed(slot)
        elif slot.restarted is not None and slot.successor is None and not slot.renewing:
            slot.recycled += slot.restarted_because is not StopReason.STOPPED
            slot.restart_ended()
        slot.over_memory = self._memory.exceeds(replica)
        self._start_seconds = self._loop.now() - replica.started_at
        if self.ready >= self._enough:
            self._settled.set()

    def replica_lost(self, replica: Replica) -> bool:
        """A request ended it, or is about to: another starts at once, though it may still finish.
        False where none starts."""
        slot = self.slot_of[replica]
        if slot.replica is not replica:
            return False
        slot.replica = None
        slot.failures = 0
        if self._ending or slot.vacant:
            return False
        slot.restart += 1
        self._fill(slot)
        return True

    def replica_gone(self, replica: Replica) -> bool:
        """Its process has ended: another starts, at once or after a pause. False where the pool
        gives up and should stop."""
        slot = self.slot_of.pop(replica)
        slot.remember_exit(replica)
        if replica is slot.successor:
            slot.successor = None
            self._failed_successors += 1
            self._recycle_from = self._loop.now() + self._pause(self._failed_successors)
            slot.restart_ended()
        elif replica is slot.replica:
            slot.replica = None
            if slot.vacant:
                return True
            if slot.renewing and not self._ending:
                slot.restart += 1
                self._fill(slot)
                return True
            if slot.restarted is not None and replica.ready_at is None:
                slot.renewal_failure = replica.failure
                slot.restart_ended()
            return self._ending or self._refill(slot, replica)
        return True

    def replica_cleaned(self, replica: Replica) -> None:
        """Nothing is left of it: no child process, no working copy."""
        self._uncleaned.discard(replica)
        self._close_if_empty()

    # Filling them.

    def _new_slot(self) -> Slot:
        name = f"{self._spec.name}-{_random_suffix()}"
        return Slot(name, self._log or Log(self._spec.log_folder / f"{name}.log"))

    def _fill(self, slot: Slot) -> None:
        slot.timer = None
        slot.renewing = False
        slot.replica = self._start(slot)

    def _start(self, slot: Slot) -> Replica:
        replica = Replica(slot.name, self._spec.replica, self._loop, self._owner)
        self.slot_of[replica] = slot
        self._uncleaned.add(replica)
        self._launch(replica, slot.log)
        return replica

    def _refill(self, slot: Slot, gone: Replica) -> bool:
        slot.restart += 1
        now = self._loop.now()
        if gone.ready_at is not None and now - gone.ready_at >= _STEADY:
            slot.failures = 0
            self._fill(slot)
            return True
        slot.failures += 1
        if self._gives_up(slot, gone):
            return False
        pause = self._pause(slot.failures)
        if gone.was_shortage:
            pause = min(pause, self._timeouts.shortage_backoff_most)
        slot.timer = self._loop.call_at(now + pause, lambda: self._fill(slot))
        return True

    def _pause(self, failures: int) -> float:
        """How long to wait after this number of failed starts in a row, in seconds."""
        first, most = self._timeouts.backoff_first, self._timeouts.backoff_most
        return float(min(first * 2.0 ** min(failures - 1, 16), most))

    def _gives_up(self, slot: Slot, gone: Replica) -> bool:
        tries = self._spec.start_tries
        if self._settled.is_set() or tries == 0 or slot.failures < tries:
            return False
        self.failure = gone.failure or StartFailed(
            f"the model became ready and then ended: the process {gone.exit_text}"
        )
        self._settled.set()
        return True

    # Restart: each slot gets a successor first, so that no request waits for it.

    async def restart(self) -> None:
        """Replaces all replicas, one after the other, each when its successor is ready. Raises
        StartFailed where one does not become ready; the old one then stays, unless it held GPUs."""
        for slot in self:
            if self._ending:
                return
            if self._spec.replica.gpus:
                await self._restart_in_place(slot)
                continue
            successor, restarted = self.begin_restart(slot)
            await restarted.wait()
            if successor.failure is not None:
                raise successor.failure

    def begin_restart(
        self, slot: Slot, why: StopReason = StopReason.STOPPED
    ) -> tuple[Replica, trio.Event]:
        """Starts the slot's successor. It, and an event set when it is ready or has failed."""
        if slot.successor is None or slot.restarted is None:
            slot.restarted_because = why
            slot.successor = self._start(slot)
            slot.restarted = trio.Event()
        return slot.successor, slot.restarted

    async def _restart_in_place(self, slot: Slot) -> None:
        if slot.vacant:
            return
        self._renew(slot, StopReason.STOPPED)
        if slot.restarted is not None:
            await slot.restarted.wait()
        if slot.renewal_failure is not None:
            raise slot.renewal_failure

    def _renew(self, slot: Slot, why: StopReason) -> None:
        """Ends its replica; another follows in its place."""
        if slot.restarted is not None:
            return
        slot.restarted, slot.restarted_because = trio.Event(), why
        slot.renewal_failure = None
        if slot.replica is None:
            slot.cancel_timer()
            self._fill(slot)
        else:
            slot.renewing = True
            slot.replica.stop(why)

    def vacate(self, count: int) -> None:
        """Ends the replicas of this many slots when they have answered. Nothing fills these slots
        until `fill_vacant`."""
        for slot in [each for each in self if not each.vacant][-count:]:
            slot.vacant = True
            slot.cancel_timer()
            slot.restart_ended()
            for replica in (slot.replica, slot.successor):
                if replica is not None:
                    replica.stop()

    def serve(self) -> None:
        """Counts from now on, and fills the slots that are vacant; they are ready when all are."""
        for slot in self:
            slot.begin_counting()
        if self.ready < self._enough and not self._ending:
            self._settled = trio.Event()
        self.fill_vacant()

    def fill_vacant(self) -> None:
        """Fills the slots that are vacant."""
        for slot in self:
            if slot.vacant and not self._ending:
                slot.vacant = False
                slot.renewing = slot.replica is not None
                if slot.replica is None:
                    self._fill(slot)

    def _succeed(self, slot: Slot) -> None:
        old, slot.replica, slot.successor = slot.replica, slot.successor, None
        slot.restart += 1
        slot.failures = self._failed_successors = 0
        slot.cancel_timer()
        if slot.restarted_because is not StopReason.STOPPED:
            slot.recycled += 1
        if old is not None:
            old.stop(slot.restarted_because)
        slot.restart_ended()

    # Recycling: a restart of one slot by itself.

    def recycle(self, replica: Replica, why: StopReason) -> None:
        """Has it replaced, unless another is being replaced or the last attempt has just failed:
        then its next request, or the next memory check, asks again."""
        slot = self.slot_of[replica]
        if self._ending or replica is not slot.replica or self._loop.now() < self._recycle_from:
            return
        if any(each.successor or each.restarted is not None for each in self):
            return
        if self._spec.replica.gpus:
            self._renew(slot, why)
        else:
            self.begin_restart(slot, why)

    # The end.

    def end(self) -> None:
        """Fills no more slots, and ends each replica when it has answered; `closed` follows."""
        self._ending = True
        if not self._settled.is_set():
            self.failure = StartFailed("the model was stopped before it was ready")
            self._settled.set()
        self._memory.stop()
        for slot in self:
            slot.cancel_timer()
            for replica in (slot.replica, slot.successor):
                if replica is not None:
                    replica.stop()
            slot.restart_ended()
        self._close_if_empty()

    def end_soon(self) -> None:
        """Kills what has not ended after STOP_GRACE."""
        if self.slot_of and self._killer is None:
            due = self._loop.now() + STOP_GRACE
            self._killer = self._loop.call_at(due, self._kill_rest)

    def _kill_rest(self) -> None:
        for replica in list(self.slot_of):
            stopped = NotReady("the model was stopped")
            replica.kill(replica.stop_reason or StopReason.STOPPED, stopped)

    def _close_if_empty(self) -> None:
        if self._ending and not self._uncleaned and not self.closed.is_set():
            if self._killer is not None:
                self._killer.cancel()
            if self._log is None:
                for slot in self:
                    slot.log.close()
            self.closed.set()

    # For operators and tests.

    def statistics(self) -> list[SlotStatistics]:
        now = self._loop.now()
        return [slot.statistics(now) for slot in self]

    def tail(self, count: int) -> list[Line]:
        """The last lines that any of the replicas printed."""
        lines = [(slot.name, line) for slot in self for line in slot.log.tail(count)]
        return [line for _, line in in_order(lines)][-count:]

    @property
    def logs(self) -> dict[str, Log]:
        """Each replica's log, by its name."""
        return {slot.name: slot.log for slot in self}

    def verify(self) -> None:
        """Checks the laws of this file. For tests, after every event."""
        for slot in self:
            living = {replica for replica in (slot.replica, slot.successor) if replica}
            assert all(self.slot_of.get(r) is slot for r in living), f"{slot.name}: an ended one"
            filled = slot.replica or slot.timer or slot.vacant
            assert self._ending or filled, f"{slot.name} will stay empty"
            assert not (self._ending and slot.timer), f"{slot.name} would be filled after the end"
        if self._spec.recycle_above_memory and not self._ending:
            assert self._memory.is_running, "memory is not checked"
        assert self.slot_of.keys() <= self._uncleaned, "a replica that lives counts as cleaned up"
        assert not (self.closed.is_set() and self._uncleaned), "closed, and something is left"


def _random_suffix() -> str:
    """What ends a replica's name, as in `predict-2-9-7cf557b957-5wjld`."""
    return "".join(secrets.choice(ascii_lowercase + digits) for _ in range(5))
