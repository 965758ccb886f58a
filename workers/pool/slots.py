"""The seats of a pool: who starts replicas, starts them again, and gives up.

Each replica fills a seat (slot.py). One that ends by itself is replaced at once if it served for a
while, else after a pause that doubles; one that a request ended is replaced at once. A restart
brings each replica's successor first, so that nobody waits for it. If the seats were never all
ready, and one has failed to start as often as it may, they are given up.

The laws, checked by `verify`:
- Every seat has a replica, or a timer that will bring one, until they are told to end.
- Who sits in a seat, or is to take it, has a process, or is to get one.
- Nothing is closed before everything that was started is cleaned up, and no timer is left then.
- A replica that is recycled serves until its successor is ready, and one at a time is.

Which ticket a replica gets is none of its concern. What replicas tell, they tell the pool, which
passes on what is about seats. `launch` brings a replica's process about; it is the only effect.
"""

import secrets
from collections.abc import Iterator
from math import inf
from string import ascii_lowercase, digits
from typing import Protocol

import trio

from workers.errors import StartFailed
from workers.log import Line, Log, in_order
from workers.pool.slot import Slot
from workers.pool.statistics import SlotStatistics
from workers.reactor.timers import Timer
from workers.replica.lifecycle import BUSY, IDLE, STARTING
from workers.replica.replica import EventLoop, Replica, ReplicaOwner, StopReason
from workers.replica.ticket import NotReady
from workers.spec import PoolSpec

# Between starts that fail: 0.25 s, doubled each time, at most half a minute.
_BACKOFF_FIRST = 0.25
_BACKOFF_MOST = 30.0
# The same where the machine lacked something, which may be there again at any time.
_SHORTAGE_MOST = 4.0
# A replica that ends by itself sooner than this after it was ready has failed to start.
_STEADY = 5.0
# How often replicas are weighed, where their memory is bounded, and how old one must be at least.
_WEIGH_EVERY = 1.0
_WEIGH_FROM = 10.0
# How long predictions may go on once the model is told to stop.
STOP_GRACE = 1.0


class Launch(Protocol):
    """Brings about the process of a replica, in its own time."""

    def __call__(self, replica: Replica, log: Log) -> None: ...


class ReplicaSlots:
    """Filled from the beginning, with replicas that tell `owner`, until `end`.

    Read only: `seat_of`, the seat of every replica that has not ended, those that leave included;
    `failure`, why they were never ready; `closed`, when nothing of them is left.
    """

    def __init__(
        self,
        spec: PoolSpec,
        *,
        clock: EventLoop,
        launch: Launch,
        log: Log | None,
        owner: ReplicaOwner,
    ) -> None:
        self.seat_of: dict[Replica, Slot] = {}
        self.failure: StartFailed | None = None
        self.closed = trio.Event()
        self._spec = spec
        self._clock = clock
        self._launch = launch
        self._log = log
        self._owner = owner
        # All were ready at once, or never will be.
        self._settled = trio.Event()
        self._ending = False
        # Replicas of which something may be left: a process, its children, its folder.
        self._uncleaned: set[Replica] = set()
        # What the last start took, until its replica was ready.
        self._start_seconds = 0.0
        # Successors that did not get ready, in a row, and when the next may be started unasked.
        self._failed_successors = 0
        self._recycle_from = 0.0
        self._weigher: Timer | None = None
        # Kills, at the end, what does not end by itself.
        self._killer: Timer | None = None
        self._seats = [self._new_slot() for _ in range(spec.replicas)]
        for seat in self:
            self._fill(seat)
        if spec.recycle_above_memory:
            self._check_memory_later()

    def adjust(self, spec: PoolSpec) -> None:
        """Goes on by other bounds, as `Pool.adjust` says."""
        self._spec = spec
        if self._weigher is not None:
            self._weigher.cancel()
            self._weigher = None
        if spec.recycle_above_memory and not self._ending:
            self._check_memory_later()
        for seat in self:
            seat.is_heavy = False

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._seats)

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def ready(self) -> int:
        """How many have a replica that serves."""
        serving = (IDLE, BUSY)
        return sum(1 for s in self._seats if s.replica and s.replica.state in serving)

    async def wait_ready(self) -> None:
        """Returns when all were ready at once. Raises StartFailed when they never will be."""
        await self._settled.wait()
        if self.failure is not None:
            raise self.failure

    def next_start(self) -> float:
        """When another replica will be started; infinity for never."""
        return min((seat.timer.due for seat in self._seats if seat.timer), default=inf)

    def next_ready(self) -> float:
        """When a replica will be ready, if its start takes as long as the last; infinity for
        never."""
        begun = [r.started_at for r in self.seat_of if r.state is STARTING]
        return min(begun, default=self.next_start()) + self._start_seconds

    # What became of a replica.

    def replica_ready(self, replica: Replica) -> None:
        """It serves from now on: in its own seat, or in that of the one it succeeds."""
        seat = self.seat_of[replica]
        if replica is seat.successor:
            self._succeed(seat)
        if self._spec.recycle_above_memory:
            seat.is_heavy = _memory_of(replica) > self._spec.recycle_above_memory
        self._start_seconds = self._clock.now() - replica.started_at
        if self.ready == len(self._seats):
            self._settled.set()

    def replica_lost(self, replica: Replica) -> bool:
        """A request ended it, or will have: another starts at once, for all that it may still
        finish. False where none does."""
        seat = self.seat_of[replica]
        if seat.replica is not replica:
            return False
        seat.replica = None
        seat.failures = 0
        if self._ending:
            return False
        seat.restart += 1
        self._fill(seat)
        return True

    def replica_gone(self, replica: Replica) -> bool:
        """Its process has ended: another starts, at once or after a while. Whether there is hope;
        else the pool should stop."""
        seat = self.seat_of.pop(replica)
        seat.remember_exit(replica)
        if replica is seat.successor:
            seat.successor = None
            self._failed_successors += 1
            self._recycle_from = self._clock.now() + _pause(self._failed_successors)
            seat.restart_ended()
        elif replica is seat.replica:
            seat.replica = None
            return self._ending or self._refill(seat, replica)
        return True

    def replica_cleaned(self, replica: Replica) -> None:
        """Nothing is left of it: no child process, no working copy."""
        self._uncleaned.discard(replica)
        self._close_if_empty()

    # Filling them.

    def _new_slot(self) -> Slot:
        name = f"{self._spec.name}-{_random_suffix()}"
        return Slot(name, self._log or Log(self._spec.log_folder / f"{name}.log"))

    def _fill(self, seat: Slot) -> None:
        seat.timer = None
        seat.replica = self._start(seat)

    def _start(self, seat: Slot) -> Replica:
        replica = Replica(seat.name, self._spec.replica, self._clock, self._owner)
        self.seat_of[replica] = seat
        self._uncleaned.add(replica)
        self._launch(replica, seat.log)
        return replica

    def _refill(self, seat: Slot, gone: Replica) -> bool:
        seat.restart += 1
        now = self._clock.now()
        if gone.ready_at is not None and now - gone.ready_at >= _STEADY:
            seat.failures = 0
            self._fill(seat)
            return True
        seat.failures += 1
        if self._gives_up(seat, gone):
            return False
        pause = _pause(seat.failures)
        if gone.lacked:
            pause = min(pause, _SHORTAGE_MOST)
        seat.timer = self._clock.call_at(now + pause, lambda: self._fill(seat))
        return True

    def _gives_up(self, seat: Slot, gone: Replica) -> bool:
        tries = self._spec.start_tries
        if self._settled.is_set() or tries == 0 or seat.failures < tries:
            return False
        self.failure = gone.failure or StartFailed(
            f"the model became ready and then ended: the process {gone.said}"
        )
        self._settled.set()
        return True

    # Restart: each seat gets a successor first, so that nobody waits for it.

    async def restart(self) -> None:
        """Replaces all replicas, one after the other, each when its successor is ready. Raises
        StartFailed where one does not get ready; the old one then goes on."""
        for seat in self:
            if self._ending:
                return
            successor, restarted = self.begin_restart(seat)
            await restarted.wait()
            if successor.failure is not None:
                raise successor.failure

    def begin_restart(
        self, seat: Slot, why: StopReason = StopReason.STOPPED
    ) -> tuple[Replica, trio.Event]:
        """The seat's successor on its way, and what is set when it has come or failed."""
        if seat.successor is None or seat.restarted is None:
            seat.restarted_because = why
            seat.successor = self._start(seat)
            seat.restarted = trio.Event()
        return seat.successor, seat.restarted

    def _succeed(self, seat: Slot) -> None:
        old, seat.replica, seat.successor = seat.replica, seat.successor, None
        seat.restart += 1
        seat.failures = self._failed_successors = 0
        seat.cancel_timer()
        if seat.restarted_because is not StopReason.STOPPED:
            seat.recycled += 1
        if old is not None:
            old.stop(seat.restarted_because)
        seat.restart_ended()

    # Recycling: a restart of one seat that nobody asked for.

    def recycle(self, replica: Replica, why: StopReason) -> None:
        """Has it replaced, unless another is being replaced or the last try failed just now:
        then its next request, or the next weighing, asks again."""
        seat = self.seat_of[replica]
        if self._ending or replica is not seat.replica or self._clock.now() < self._recycle_from:
            return
        if not any(each.successor for each in self):
            self.begin_restart(seat, why)

    def _check_memory_later(self) -> None:
        self._weigher = self._clock.call_at(self._clock.now() + _WEIGH_EVERY, self._check_memory)

    def _check_memory(self) -> None:
        now = self._clock.now()
        for seat in self:
            replica = seat.replica
            if replica is None or seat.is_heavy or replica.ready_at is None:
                continue
            old_enough = now - replica.ready_at >= _WEIGH_FROM
            if old_enough and _memory_of(replica) > self._spec.recycle_above_memory:
                self.recycle(replica, StopReason.GREW)
        self._check_memory_later()

    # The end.

    def end(self) -> None:
        """Fills no seat any more, and ends each replica when it has answered; `closed` follows."""
        self._ending = True
        if not self._settled.is_set():
            self.failure = StartFailed("the model was stopped before it was ready")
            self._settled.set()
        if self._weigher is not None:
            self._weigher.cancel()
        for seat in self:
            seat.cancel_timer()
            for replica in (seat.replica, seat.successor):
                if replica is not None:
                    replica.stop()
            seat.restart_ended()
        self._close_if_empty()

    def end_soon(self) -> None:
        """Whoever has not ended after STOP_GRACE is killed."""
        if self.seat_of and self._killer is None:
            due = self._clock.now() + STOP_GRACE
            self._killer = self._clock.call_at(due, self._kill_rest)

    def _kill_rest(self) -> None:
        for replica in list(self.seat_of):
            stopped = NotReady("the model was stopped")
            replica.kill(replica.why or StopReason.STOPPED, stopped)

    def _close_if_empty(self) -> None:
        if self._ending and not self._uncleaned and not self.closed.is_set():
            if self._killer is not None:
                self._killer.cancel()
            if self._log is None:
                for seat in self:
                    seat.log.close()
            self.closed.set()

    # For those who look.

    def statistics(self) -> list[SlotStatistics]:
        now = self._clock.now()
        return [seat.statistics(now) for seat in self]

    def tail(self, count: int) -> list[Line]:
        """The last lines that any of the replicas printed."""
        lines = [(seat.name, line) for seat in self for line in seat.log.tail(count)]
        return [line for _, line in in_order(lines)][-count:]

    @property
    def logs(self) -> dict[str, Log]:
        """Each replica's log, by its name."""
        return {seat.name: seat.log for seat in self}

    def verify(self) -> None:
        """Checks the laws of this file. For tests, after every event."""
        for seat in self:
            sitting = {replica for replica in (seat.replica, seat.successor) if replica}
            assert all(self.seat_of.get(r) is seat for r in sitting), f"a ghost in {seat.name}"
            assert self._ending or seat.replica or seat.timer, f"nobody will fill {seat.name}"
            assert not (self._ending and seat.timer), f"{seat.name} would be filled after the end"
        if self._spec.recycle_above_memory and not self._ending:
            assert self._weigher, "nobody will weigh the replicas"
        assert self.seat_of.keys() <= self._uncleaned, "a replica that lives counts as cleaned up"
        assert not (self.closed.is_set() and self._uncleaned), "closed, and something is left"


def _pause(failures: int) -> float:
    """How long to wait after so many failed starts in a row."""
    return float(min(_BACKOFF_FIRST * 2.0 ** min(failures - 1, 16), _BACKOFF_MOST))


def _memory_of(replica: Replica) -> int:
    return replica.process.resident() if replica.process else 0


def _random_suffix() -> str:
    """What ends a replica's name, as in `predict-2-9-7cf557b957-5wjld`."""
    return "".join(secrets.choice(ascii_lowercase + digits) for _ in range(5))
