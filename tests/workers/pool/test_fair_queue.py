"""The queue in front of a pool: fair by the time it costs, bounded, and no ticket is lost."""

import heapq
from collections import Counter, defaultdict
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.pool.fair_queue import FairQueue, QueueBudget, QueueFull
from workers.replica.ticket import Ticket

MIB = 1024 * 1024


def a_ticket(flow: str = "", size: int = 2, due: float = 30.0) -> Ticket:
    ticket = Ticket(b"x" * size, lambda _: None, flow)
    ticket.due = due
    return ticket


def a_queue(requests: int = 1000, total: QueueBudget | None = None) -> FairQueue:
    return FairQueue(QueueBudget(requests, MIB), total or QueueBudget(10_000, 16 * MIB))


def push(queue: FairQueue, *tickets: Ticket) -> list[Ticket]:
    for ticket in tickets:
        queue.push(ticket)
        queue.verify()
    return list(tickets)


def serve(queue: FairQueue, seconds: float = 1.0) -> str:
    """Serves one ticket and tells whose it was."""
    ticket = queue.pop()
    queue.settle(ticket, seconds)
    queue.verify()
    return ticket.flow


# Who is next.


def test_first_come_first_served() -> None:
    """The tickets of one flow leave in the order in which they came."""
    queue = a_queue()
    tickets = push(queue, *(a_ticket() for _ in range(5)))
    assert [queue.pop() for _ in tickets] == tickets


def test_flows_take_turns() -> None:
    """A caller with one waiting request does not wait for all requests of a caller with many."""
    queue = a_queue()
    push(queue, *(a_ticket("many") for _ in range(200)))
    serve(queue)
    push(queue, a_ticket("one"))
    assert serve(queue) == "one"


def test_turns_are_fair_by_time() -> None:
    """Of a slow and a quick flow that both always wait, each gets half of the time."""
    queue = a_queue()
    seconds = {"slow": 1.0, "quick": 0.01}
    push(queue, *(a_ticket(flow) for flow in seconds))
    had = dict.fromkeys(seconds, 0.0)
    while sum(had.values()) < 20.0:
        ticket = queue.pop()
        queue.settle(ticket, seconds[ticket.flow])
        had[ticket.flow] += seconds[ticket.flow]
        push(queue, a_ticket(ticket.flow))
    assert abs(had["slow"] - had["quick"]) <= 1.0 + 0.01


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    longest=st.lists(st.sampled_from([0.001, 0.01, 0.1, 1.0]), min_size=2, max_size=5),
    replicas=st.integers(1, 4),
    random=st.randoms(use_true_random=False),
)
def test_flow_that_always_waits_gets_its_share(
    longest: list[float], replicas: int, random: Random
) -> None:
    """However long predictions take, no flow is ever more than two predictions for each replica
    ahead of another waiting flow."""
    queue = a_queue()
    for flow in range(len(longest)):
        push(queue, *(a_ticket(str(flow)) for _ in range(replicas + 1)))
    had = [0.0] * len(longest)
    running: list[tuple[float, int, Ticket, float]] = []
    now = 0.0
    for number in range(200):
        if len(running) == replicas:
            now, _, ticket, seconds = heapq.heappop(running)
            queue.settle(ticket, seconds)
            had[int(ticket.flow)] += seconds
            queue.push(a_ticket(ticket.flow))
            assert max(had) - min(had) <= 2 * replicas * max(longest)
        ticket = queue.pop()
        seconds = longest[int(ticket.flow)] * random.random()
        heapq.heappush(running, (now + seconds, number, ticket, seconds))
    queue.verify()


def test_slow_flow_does_not_get_all_replicas_at_once() -> None:
    """The expected time of a prediction is charged when it begins, so a flow known to be slow does
    not get the next replicas as well before one of its predictions ends."""
    queue = a_queue()
    for flow, seconds in [("slow", 10.0), ("quick", 0.1)] * 5:
        push(queue, a_ticket(flow))
        serve(queue, seconds)
    push(queue, *(a_ticket("slow") for _ in range(9)), *(a_ticket("quick") for _ in range(9)))
    begun = [queue.pop().flow for _ in range(9)]
    assert begun.count("slow") <= 1


def test_having_been_idle_earns_nothing() -> None:
    """Who comes back after a long time is next, and then has to take turns."""
    queue = a_queue()
    push(queue, a_ticket("idle"), *(a_ticket("steady") for _ in range(100)))
    assert serve(queue) == "idle"
    for _ in range(50):
        assert serve(queue) == "steady"
    push(queue, *(a_ticket("idle") for _ in range(10)))
    assert Counter(serve(queue) for _ in range(10)) == {"idle": 5, "steady": 5}


def test_use_of_idle_replicas_costs_nothing() -> None:
    """A flow that used the replicas alone for hours keeps its turn."""
    queue = a_queue()
    for _ in range(100):
        ticket = a_ticket("alone")
        queue.begin(ticket)
        queue.settle(ticket, 1.0)
    push(queue, *(a_ticket(flow) for flow in ["alone", "new"] * 10))
    assert Counter(serve(queue) for _ in range(10)) == {"alone": 5, "new": 5}


def test_endless_new_flows_starve_no_other() -> None:
    """Even if new flows always arrive, the older ones get their turns."""
    queue = a_queue()
    push(queue, a_ticket("old"), a_ticket("new 0"), a_ticket("new 1"))
    since = 0
    for number in range(2, 300):
        if serve(queue) == "old":
            since = 0
            push(queue, a_ticket("old"))
        else:
            since += 1
            push(queue, a_ticket(f"new {number}"))
        assert since <= 20


def test_instant_predictions_still_take_turns() -> None:
    """Predictions too quick for the clock do not keep other flows waiting."""
    queue = a_queue()
    push(queue, *(a_ticket(flow) for flow in ["a", "b", "c"] for _ in range(5)))
    assert Counter(serve(queue, 0.0) for _ in range(9)) == {"a": 3, "b": 3, "c": 3}


# When it is full.


@pytest.mark.parametrize(
    ("bounds", "named"), [((3, 3000), "3 requests"), ((100, 300), "300 bytes")]
)
@pytest.mark.parametrize("of_all", [False, True])
def test_full_queue_names_its_bound(bounds: tuple[int, int], named: str, of_all: bool) -> None:
    """A ticket that would pass a bound in number or bytes, of one queue or of all, is refused."""
    room = QueueBudget(*bounds)
    queue = a_queue(total=room) if of_all else FairQueue(room, QueueBudget(1000, MIB))
    for number in range(3):
        other = queue if not of_all else a_queue(total=room)
        push(other, a_ticket(str(number), size=100))
    with pytest.raises(QueueFull, match=named):
        queue.push(a_ticket("another", size=100))
    queue.verify()


@pytest.mark.parametrize("size", [2, 1000])
def test_one_flow_cannot_fill_the_queue(size: int) -> None:
    """One flow gets eight ninths of the queue, in number or bytes; another flow then still fits."""
    queue = FairQueue(QueueBudget(90, 90_000), QueueBudget(1000, MIB))
    with pytest.raises(QueueFull, match="other callers"):
        push(queue, *(a_ticket("greedy", size) for _ in range(90)))
    assert queue.waiting == 80
    push(queue, *(a_ticket("modest", size) for _ in range(5)))


def test_one_queue_cannot_fill_the_total_budget() -> None:
    """One queue gets eight ninths of the total budget, with any bounds of its own."""
    total = QueueBudget(90, 90_000)
    greedy, modest = a_queue(total=total), a_queue(total=total)
    with pytest.raises(QueueFull, match="other models"):
        push(greedy, *(a_ticket(str(number)) for number in range(90)))
    assert greedy.waiting == 80
    push(modest, *(a_ticket(str(number)) for number in range(5)))


def test_ticket_moved_from_another_queue_is_accepted() -> None:
    """A ticket that moves here from another queue is accepted, even beyond the bounds; a new ticket
    is refused until it fits."""
    room = QueueBudget(10, 10_000)
    for queue in (FairQueue(room, QueueBudget(1000, MIB)), a_queue(total=room)):
        for _ in range(12):
            queue.push(a_ticket(), adopted=True)
            queue.verify()
        for _ in range(3):
            with pytest.raises(QueueFull, match="10 requests"):
                queue.push(a_ticket("another"))
            queue.settle(queue.pop(), 0.1)
        while queue.waiting:
            queue.settle(queue.pop(), 0.1)
        assert room.free == room.size
        push(queue, a_ticket("another"))
        queue.pop()


@pytest.mark.parametrize("way", ["served", "removed", "expired"])
def test_ticket_that_leaves_frees_its_budget(way: str) -> None:
    """A ticket that leaves, served or not, frees its part of the budget."""
    queue = a_queue(1)
    for _ in range(3):
        [ticket] = push(queue, a_ticket(due=1.0))
        if way == "served":
            assert queue.pop() is ticket
        elif way == "removed":
            assert queue.remove(ticket)
        else:
            assert queue.expire(1.0) == [ticket]
        queue.verify()
        assert queue.waiting == 0


# Leaving, and being due.


def test_ticket_is_removed_once() -> None:
    """remove returns whether the ticket was waiting here."""
    queue = a_queue()
    first, second, third = push(queue, *(a_ticket() for _ in range(3)))
    assert queue.remove(second)
    assert not queue.remove(second)
    assert not queue.remove(a_ticket("unknown"))
    assert [queue.pop(), queue.pop()] == [first, third]
    with pytest.raises(IndexError):
        queue.pop()


def test_expired_tickets_leave_in_order() -> None:
    """expire removes exactly the tickets past their deadline, at any position in the queue."""
    queue = a_queue()
    push(queue, *(a_ticket(str(due % 2), due=float(due)) for due in (30, 5, 31, 7, 32)))
    assert queue.next_due() == 5.0
    assert [ticket.due for ticket in queue.expire(7.0)] == [5.0, 7.0]
    assert queue.next_due() == 30.0
    assert queue.expire(29.9) == []
    queue.verify()


# What is remembered.


def test_flows_without_tickets_are_forgotten() -> None:
    """Callers that come once, from ever new addresses, leave nothing in memory, whether they are
    served at once, in their turn, or never."""
    queue = a_queue()
    for number in range(3000):
        at_once, served, never = (a_ticket(f"{kind}{number}") for kind in "abc")
        queue.begin(at_once)
        queue.settle(at_once, 0.1)
        push(queue, served) if number % 100 == 0 else queue.push(served)
        queue.push(never)
        queue.settle(queue.pop(), 0.1)
        queue.expire(99.0)
    assert len(queue._flows) < 300
    assert len(queue._heap) < 300


def test_forgotten_flow_is_still_charged() -> None:
    """The time of a prediction is charged even if its flow was forgotten while it ran."""
    queue = a_queue()
    slow = a_ticket("slow")
    queue.begin(slow)
    for number in range(500):
        other = a_ticket(str(number))
        queue.begin(other)
        queue.settle(other, 0.1)
    queue.settle(slow, 60.0)
    push(queue, a_ticket("slow"), a_ticket("0"))
    assert serve(queue) == "0"


def test_removed_tickets_are_not_kept() -> None:
    """However many tickets leave the middle of a queue, no more of them are kept than still
    wait."""
    queue = a_queue()
    tickets = push(queue, *(a_ticket() for _ in range(200)))
    for ticket in tickets[1:]:
        queue.remove(ticket)
    queue.verify()
    assert len(queue._flows[""].tickets) <= 2


def test_flow_without_waiting_tickets_is_idle() -> None:
    """A ticket of a flow without waiting tickets begins as one of an idle flow."""
    queue = a_queue()
    _, second = push(queue, a_ticket("a"), a_ticket("a"))
    queue.remove(second)
    queue.settle(queue.pop(), 1.0)
    queue.verify()
    assert not queue._flows["a"].tickets


# Other bounds.


@pytest.mark.parametrize("of_all", [False, True])
def test_smaller_bounds_keep_waiting_tickets(of_all: bool) -> None:
    """Waiting tickets are served after a budget shrinks; a new one is refused until it fits."""
    room = QueueBudget(90, 90_000)
    queue = a_queue(total=room) if of_all else FairQueue(room, QueueBudget(1000, MIB))

    def resize(requests: int) -> None:
        if of_all:
            room.resize(requests, 90_000)
            queue.total_resized()
        else:
            queue.resize(requests, 90_000)
        queue.verify()

    waiting = push(queue, *(a_ticket(str(number)) for number in range(8)))
    resize(4)
    for ticket in waiting[:5]:
        with pytest.raises(QueueFull, match="at most 4 requests"):
            queue.push(a_ticket("new"))
        assert queue.pop() is ticket
        queue.settle(ticket, 0.1)
    assert [queue.pop() for _ in waiting[5:]] == waiting[5:]
    push(queue, a_ticket("new"))
    resize(90)
    push(queue, *(a_ticket(f"more {number}") for number in range(60)))


# Any order.


class AnyUse(RuleBasedStateMachine):
    """Two queues that share their room, used in any order, against plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.total = QueueBudget(12, 1200)
        self.rooms = [QueueBudget(8, 400) for _ in range(2)]
        self.queues = [FairQueue(room, self.total) for room in self.rooms]
        self.waiting: list[dict[str, list[Ticket]]] = [defaultdict(list) for _ in range(2)]
        self.running: list[tuple[int, Ticket]] = []

    def lines(self, which: int) -> list[list[Ticket]]:
        return [line for line in self.waiting[which].values() if line]

    @rule(
        which=st.integers(0, 1),
        flow=st.sampled_from("abc"),
        size=st.integers(0, 200),
        limit=st.sampled_from([0.0, 1.0, 3.0, 3.0, 3.0]),
        adopted=st.booleans(),
    )
    def push(self, which: int, flow: str, size: int, limit: float, adopted: bool) -> None:
        ticket = a_ticket(flow, size, self.now + limit)
        own, total = self.rooms[which], self.total
        held = [max(len(t.request), own.min_cost) for line in self.lines(which) for t in line]
        of_all = [max(len(t.request), total.min_cost) for queue in self.queues for t in queue]
        free = own.size - sum(held) - max(size, own.min_cost)
        free = min(free, total.size - sum(of_all) - max(size, total.min_cost))
        try:
            self.queues[which].push(ticket, adopted=adopted)
        except QueueFull:
            assert not adopted
            if not self.queues[which].waiting:
                assert free < 0
        else:
            assert adopted or free >= 0
            self.waiting[which][flow].append(ticket)

    @precondition(lambda self: any(self.queues[which].waiting for which in (0, 1)))
    @rule()
    def pop(self) -> None:
        which = 0 if self.queues[0].waiting else 1
        ticket = self.queues[which].pop()
        assert self.waiting[which][ticket.flow].pop(0) is ticket
        self.running.append((which, ticket))

    @rule(which=st.integers(0, 1), flow=st.sampled_from("abcd"))
    def begin(self, which: int, flow: str) -> None:
        if not self.queues[which].waiting:
            ticket = a_ticket(flow)
            self.queues[which].begin(ticket)
            self.running.append((which, ticket))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.1, 1.0, 30.0]))
    def settle(self, data: st.DataObject, seconds: float) -> None:
        which, ticket = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.queues[which].settle(ticket, seconds)

    @rule(which=st.integers(0, 1), data=st.data())
    def remove(self, which: int, data: st.DataObject) -> None:
        if lines := self.lines(which):
            line = data.draw(st.sampled_from(lines))
            ticket = line.pop(data.draw(st.integers(0, len(line) - 1)))
            assert self.queues[which].remove(ticket)
            assert not self.queues[which].remove(ticket)

    @rule(which=st.integers(0, 1), bounds=st.sampled_from([(8, 400), (2, 400), (9, 150)]))
    def resize(self, which: int, bounds: tuple[int, int]) -> None:
        self.queues[which].resize(*bounds)

    @rule(bounds=st.sampled_from([(12, 1200), (3, 1200), (30, 300)]))
    def resize_room_of_all(self, bounds: tuple[int, int]) -> None:
        self.total.resize(*bounds)
        for queue in self.queues:
            queue.total_resized()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for queue, waiting in zip(self.queues, self.waiting, strict=True):
            late = queue.expire(self.now)
            assert [t.due for t in late] == sorted(t.due for t in late)
            expected = [t for line in waiting.values() for t in line if t.due <= self.now]
            assert set(late) == set(expected)
            assert len(late) == len(expected)
            assert queue.next_due() > self.now
            for line in waiting.values():
                line[:] = [t for t in line if t.due > self.now]

    @invariant()
    def nobody_is_lost_or_doubled(self) -> None:
        for queue, waiting in zip(self.queues, self.waiting, strict=True):
            queue.verify()
            there = list(queue)
            assert len(there) == queue.waiting
            for flow, line in waiting.items():
                assert [t for t in there if t.flow == flow] == line

    def teardown(self) -> None:
        for queue, waiting in zip(self.queues, self.waiting, strict=True):
            for _ in range(queue.waiting):
                ticket = queue.pop()
                assert waiting[ticket.flow].pop(0) is ticket
            assert not any(waiting.values())
        assert self.total.free == self.total.size


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
