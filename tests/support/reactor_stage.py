"""A stage for plays: a real Reactor whose clock stands still, real pipes, and actors for processes.

What is under test are the real Replica and Pool. Only the processes are played, each by an Actor
who holds the far ends of the pipes, and nothing happens unless a test makes it happen.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from workers.limits import ExitReason
from workers.log import Log
from workers.pool.fair_queue import QueueBudget
from workers.pool.pool import Pool
from workers.process.process import pipe
from workers.reactor.reactor import Reactor
from workers.replica import wire
from workers.replica.lifecycle import State
from workers.replica.replica import Replica
from workers.replica.ticket import Outcome, Ticket
from workers.sizes import MIB
from workers.spec import PoolSpec, ReplicaSpec

REPLICA = ReplicaSpec(
    code=Path("/code"), environment=Path("/environment"), file="model.py", function="predict"
)


class FakeProcess:
    """A `ReplicaProcess` that records that it was killed. `memory` is what it uses, in bytes."""

    def __init__(self, pid: int) -> None:
        self.pid = self.command_pid = pid
        self.is_known = self.killed = False
        self.memory = 0

    def know_command(self) -> None:
        self.is_known = True

    def resident(self) -> int:
        return self.memory

    def kill(self) -> None:
        self.killed = True


class Stage:
    """Time, the reactor, and everybody who was ever launched."""

    def __init__(self) -> None:
        self.time = 0.0
        self.reactor = Reactor(lambda: self.time, others_are_ready=lambda: True)
        self.actors: list[Actor] = []
        self.budget = QueueBudget(4000, 256 * MIB)
        self.tracked: list[bytes | bytearray] = []

    def launch(self, replica: Replica, log: Log) -> None:
        self.actors.append(Actor(self, replica))

    def open_pool(
        self, replica: ReplicaSpec = REPLICA, filled: int | None = None, **settings: Any
    ) -> Pool:
        spec = PoolSpec(name="sample", replica=replica, log_folder=Path("/unused"), **settings)
        return Pool(
            spec,
            loop=self.reactor,
            launch=self.launch,
            log=None,
            total_budget=self.budget,
            tracked=self.tracked.append,
            filled=filled,
        )

    def serving(self, count: int = 1, **settings: Any) -> Pool:
        """A pool of which every replica is ready."""
        pool = self.open_pool(replicas=count, **settings)
        for actor in self.actors[-count:]:
            actor.get_ready()
        return pool

    def turn(self) -> None:
        """Has the reactor hear all that was said."""
        while self.reactor._epoll.poll(0):
            self.reactor._serve()

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, and what comes due on the way happen at its time."""
        end = self.time + seconds
        while (due := self.reactor._timers.next_due()) <= end:
            self.time = max(self.time, due)
            self.reactor._serve()
        self.time = end
        self.turn()

    def close(self) -> None:
        for actor in self.actors:
            actor.end("was ended by the test")
        self.reactor.close()


class Actor:
    """Plays the process of one replica: `enter`, `say`, `hear`, `end`."""

    def __init__(self, stage: Stage, replica: Replica) -> None:
        self.stage = stage
        self.replica = replica
        self.process = FakeProcess(1000 + len(stage.actors))
        self.entered = self.over = False
        self._read = self._write = -1
        self._heard = bytearray()
        # The descriptors that the replica has got.
        self.replica_ends = (-1, -1)

    def enter(self) -> None:
        """The process runs now."""
        self.entered = True
        self._read, theirs_write = pipe()
        theirs_read, self._write = pipe()
        self.replica_ends = (theirs_read, theirs_write)
        self.replica.attach(self.process, theirs_read, theirs_write, "/root")
        os.set_blocking(self._read, False)

    def get_ready(self) -> None:
        if not self.entered:
            self.enter()
        self.say(wire.Hello(1, "python", "3.11.7", self.process.pid))
        self.say(wire.Ready(0.1))

    def write(self, data: bytes) -> None:
        """Says it, without making the reactor hear it."""
        if self._write >= 0:
            with suppress(BrokenPipeError):
                os.write(self._write, data)

    def say(self, message: wire.Message, request_id: int = 0) -> None:
        self.write(wire.encode(message, request_id))
        self.stage.turn()

    def answer(self, body: bytes = b"1", request_id: int | None = None) -> None:
        """Answers the request it was given last, in as many parts as the pipe needs."""
        frame = answer_frame(body, self.asked if request_id is None else request_id)
        for start in range(0, len(frame), 60_000):
            self.write(frame[start : start + 60_000])
            self.stage.turn()

    def track(self, body: bytes = b"{}", request_id: int | None = None) -> None:
        """Answers the last request, without waking the reactor."""
        number = self.asked if request_id is None else request_id
        self.write(wire.HEADER.pack(len(body), wire.Tracked.kind, number) + body)

    def raise_(self) -> None:
        self.say(wire.Raised("ValueError", "as told"), self.asked)

    @property
    def asked(self) -> int:
        """The number of the request it was given last."""
        return self.replica._request_id

    def read(self, size: int = 1 << 20) -> bytes:
        """Takes bytes off its pipe."""
        data = os.read(self._read, size)
        self.stage.turn()
        return data

    def hear(self) -> list[tuple[int, int, bytes]]:
        """The frames that were sent to it since it last listened: kind, id and body."""
        while True:
            try:
                data = self.read()
            except BlockingIOError:
                break
            if not data:
                break
            self._heard += data
        return take_frames(self._heard)

    def hang_up(self) -> None:
        """Closes the pipe it talks by, alive as it is."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
            self.stage.turn()

    def end(self, said: str = "exited with status 0") -> None:
        """The process has ended, and the keeper has seen it and cleaned up."""
        if not self.over:
            self.exit(said)
            self.clean()

    def exit(self, said: str = "exited with status 0") -> None:
        """The process has ended; something of it may be left."""
        self.over = True
        for fd in (self._read, self._write):
            if fd >= 0:
                os.close(fd)
        self._read = self._write = -1
        self.replica.exited(ExitReason(said))

    def clean(self) -> None:
        """Nothing of it is left."""
        self.replica.cleaned()
        self.stage.turn()

    @property
    def told_to_end(self) -> bool:
        return self.replica.state is State.STOPPING


def answer_frame(body: bytes, request_id: int) -> bytes:
    return wire.HEADER.pack(len(body), wire.Answer.kind, request_id) + body


def take_frames(buffer: bytearray) -> list[tuple[int, int, bytes]]:
    frames = []
    while len(buffer) >= wire.HEADER.size:
        length, kind, number = wire.HEADER.unpack_from(buffer)
        end = wire.HEADER.size + length
        if len(buffer) < end:
            break
        frames.append((kind, number, bytes(buffer[wire.HEADER.size : end])))
        del buffer[:end]
    return frames


def fail_to_start(stage: Stage) -> None:
    """The process that was launched last ends before its model is ready."""
    stage.actors[-1].enter()
    stage.actors[-1].end("exited with status 1")


class Caller:
    """Waits for a ticket, and counts the outcomes."""

    def __init__(self, request: bytes = b"{}", flow: str = "", limit: float | None = None) -> None:
        self.outcomes: list[Outcome | None] = []
        self.ticket = Ticket(
            request, lambda ticket: self.outcomes.append(ticket.outcome), flow, limit
        )

    def submit(self, pool: Pool) -> "Caller":
        pool.submit(self.ticket)
        pool.verify()
        return self

    @property
    def outcome(self) -> Outcome:
        """The one outcome."""
        [outcome] = self.outcomes
        assert outcome is not None
        return outcome


def counts(pool: Pool) -> dict[str, int]:
    """The counters of all slots, summed up."""
    slots = [msgspec.structs.asdict(slot) for slot in pool.statistics().slots]
    names = ("received", "processed", "success", "failure", "error", "restart")
    return {name: sum(slot[name] for slot in slots) for name in names}
