"""The pool's laws under any order of events, by a state machine of Hypothesis."""

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.reactor_stage import REPLICA, Actor, Caller, Stage, counts
from workers.pool.fair_queue import QueueBudget
from workers.pool.pool import Pool
from workers.replica import wire
from workers.replica.lifecycle import State, StopReason
from workers.replica.ticket import Abandoned, Busy, NotReady


class AnyOrder(RuleBasedStateMachine):
    """Callers, processes, an operator and time, each doing anything that it may do."""

    replica = REPLICA

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.stage.budget = QueueBudget(6, 600)
        self.callers: list[Caller] = []
        self.pools: list[Pool] = []
        self.open()

    def open(self, filled: int | None = None) -> Pool:
        pool = self.stage.open_pool(
            self.replica,
            filled=filled,
            replicas=2,
            request_timeout=3.0,
            start_tries=0,
            max_queued_requests=4,
            max_queued_bytes=100,
            recycle_after_requests=3,
            recycle_above_memory=1000,
        )
        self.pools.append(pool)
        return pool

    def actors(self, *states: State) -> list[Actor]:
        return [a for a in self.stage.actors if not a.over and a.replica.state in states]

    # Callers.

    @rule(
        size=st.sampled_from([2, 2, 2, 90]),
        flow=st.sampled_from("ab"),
        limit=st.sampled_from([None, None, 0.0, 0.2, 2.0, 9.0]),
    )
    def submit(self, size: int, flow: str, limit: float | None) -> None:
        self.callers.append(Caller(b"x" * size, flow, limit).submit(self.pools[-1]))

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.callers)).ticket.abandon()

    # Processes.

    @precondition(lambda self: self.actors(State.STARTING))
    @rule(data=st.data())
    def get_ready(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.actors(State.STARTING))).get_ready()

    @precondition(lambda self: self.actors(State.BUSY, State.DRAINING))
    @rule(data=st.data(), deed=st.sampled_from(["answer", "answer", "raise_", "wrong_id", "last"]))
    def settle(self, data: st.DataObject, deed: str) -> None:
        actor = data.draw(st.sampled_from(self.actors(State.BUSY, State.DRAINING)))
        if deed == "answer":
            actor.answer()
        elif deed == "raise_":
            actor.raise_()
        elif deed == "wrong_id":
            actor.answer(request_id=actor.asked + 1)
        else:
            actor.write(wire.HEADER.pack(1, wire.Answer.kind, actor.asked) + b"1")
            actor.end("exited with status 9")

    @precondition(lambda self: self.living())
    @rule(data=st.data(), junk=st.binary(min_size=1, max_size=40))
    def babble(self, data: st.DataObject, junk: bytes) -> None:
        data.draw(st.sampled_from(self.living())).write(junk)
        self.stage.turn()

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.living())).hang_up()

    @precondition(lambda self: any(not a.over for a in self.stage.actors))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        living = [actor for actor in self.stage.actors if not actor.over]
        data.draw(st.sampled_from(living)).end("exited with status 3")

    @precondition(lambda self: self.living())
    @rule(data=st.data(), weight=st.sampled_from([0, 1000, 1001]))
    def weigh(self, data: st.DataObject, weight: int) -> None:
        data.draw(st.sampled_from(self.living())).process.memory = weight

    def living(self) -> list[Actor]:
        return [actor for actor in self.stage.actors if actor.entered and not actor.over]

    # The operator, and time.

    @rule(seconds=st.sampled_from([0.1, 0.25, 1.0, 3.0, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    @rule(slot=st.integers(0, 1))
    def restart(self, slot: int) -> None:
        pool = self.pools[-1]
        if not pool._closing:
            pool._slots.begin_restart(list(pool._slots)[slot])

    @precondition(lambda self: len(self.pools) < 4)
    @rule(filled=st.sampled_from([None, 1]))
    def redeploy(self, filled: int | None) -> None:
        old, new = self.pools[-1], self.open(filled)
        new.take_over(old)
        old.drain()

    @precondition(lambda self: not any(counts(self.pools[-1]).values()))
    @rule()
    def serve(self) -> None:
        pool = self.pools[-1]
        pool.serve(pool.spec, self.stage.tracked.append)
        assert pool._closing or not any(slot.vacant for slot in pool._slots)

    @rule()
    def stop(self) -> None:
        self.pools[-1].stop()

    @rule(
        max_queued_requests=st.sampled_from([2, 4]),
        recycle_after_requests=st.sampled_from([0, 3]),
        recycle_above_memory=st.sampled_from([0, 1000]),
        request_timeout=st.sampled_from([1.0, 3.0]),
    )
    def adjust(self, **bounds: float) -> None:
        pool = self.pools[-1]
        pool.adjust(msgspec.structs.replace(pool.spec, **bounds))

    @rule(requests=st.sampled_from([3, 6]))
    def resize_budget(self, requests: int) -> None:
        self.stage.budget.resize(requests, 600)
        for pool in self.pools:
            pool.budget_resized()

    # The laws.

    @invariant()
    def the_pools_laws_hold(self) -> None:
        for pool in self.pools:
            pool.verify()

    @invariant()
    def nobody_waits_longer_than_it_may(self) -> None:
        tickets = [ticket for pool in self.pools for ticket in pool._queue]
        assert all(ticket.due - ticket.entered < 3.001 for ticket in tickets)
        # A limit of nothing is over at the next turn of the reactor.
        assert all(t.due > self.stage.time or t.limit == 0.0 for t in tickets)

    @invariant()
    def who_leaves_makes_room(self) -> None:
        budget = self.stage.budget
        tickets = [ticket for pool in self.pools for ticket in pool._queue]
        assert budget.size - budget.free == sum(
            max(len(t.request), budget.min_cost) for t in tickets
        )

    @invariant()
    def no_outcome_comes_twice(self) -> None:
        assert all(len(caller.outcomes) <= 1 for caller in self.callers)

    @invariant()
    def every_open_ticket_is_somewhere(self) -> None:
        there = {t for pool in self.pools for t in pool._queue}
        there |= {a.replica.ticket for a in self.stage.actors if a.replica.ticket}
        open_ones = {caller.ticket for caller in self.callers if not caller.outcomes}
        assert open_ones <= there

    @invariant()
    def who_holds_a_ticket_is_at_work(self) -> None:
        held = [a for a in self.stage.actors if a.replica.ticket is not None]
        assert self.stage.reactor.working == len(held)

    @invariant()
    def who_is_recycled_serves_until_its_successor_does(self) -> None:
        for pool in self.pools:
            for slot in pool._slots:
                leaves = [
                    r
                    for r in pool._slot_of
                    if r.stop_reason in (StopReason.MAX_REQUESTS, StopReason.MEMORY_GROWTH)
                ]
                assert slot.replica not in leaves
                assert not leaves or sum(s.recycled for s in pool._slots) >= 1

    @invariant()
    def counters_add_up(self) -> None:
        for pool in self.pools:
            held = [r for r in pool._slot_of if r.ticket is not None]
            assert counts(pool)["received"] == counts(pool)["processed"] + len(held)

    def teardown(self) -> None:
        try:
            self.pools[-1].stop()
            self.stage.pass_time(10.0)
            for actor in self.stage.actors:
                actor.end()
            assert all(pool.closed.is_set() for pool in self.pools)
            assert all(len(caller.outcomes) == 1 for caller in self.callers)
            turned_away = sum(isinstance(c.outcome, Busy | NotReady) for c in self.callers)
            counted = sum(p.statistics().busy + p.statistics().not_ready for p in self.pools)
            killed = sum(counts(pool)["error"] for pool in self.pools)
            assert counted <= turned_away <= counted + killed
            served = sum(counts(pool)["received"] for pool in self.pools)
            left = sum(isinstance(c.outcome, Abandoned) for c in self.callers)
            assert len(self.callers) - left <= served + counted <= len(self.callers)
        finally:
            self.stage.close()


class AnyOrderWithGpus(AnyOrder):
    """The same where replicas hold GPUs: they are restarted in place, and slots become vacant."""

    replica = msgspec.structs.replace(REPLICA, gpus=1)

    @rule(slot=st.integers(0, 1))
    def restart(self, slot: int) -> None:
        pool = self.pools[-1]
        if not pool._closing and not list(pool._slots)[slot].vacant:
            pool._slots._renew(list(pool._slots)[slot], StopReason.STOPPED)

    @rule(count=st.integers(1, 2))
    def vacate(self, count: int) -> None:
        if not self.pools[-1]._closing:
            self.pools[-1].vacate(count)

    @rule()
    def fill_vacant(self) -> None:
        self.pools[-1].fill_vacant()

    @invariant()
    def who_is_recycled_serves_until_its_successor_does(self) -> None:
        """Here it ends first; no slot ever has a successor."""
        assert not any(slot.successor for pool in self.pools for slot in pool._slots)

    @invariant()
    def a_slot_has_one_replica_that_does_not_leave(self) -> None:
        leaving = (State.DRAINING, State.STOPPING, State.GONE)
        for pool in self.pools:
            stay = [slot for r, slot in pool._slot_of.items() if r.state not in leaving]
            assert len(set(stay)) == len(stay)
            assert not any(slot.vacant for slot in stay), "a replica serves in a vacant slot"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestAnyOrderWithGpus = AnyOrderWithGpus.TestCase
TestAnyOrderWithGpus.settings = TestAnyOrder.settings
