"""A log that many follow is read once, costs nothing while it is silent, and waits for no one."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.background import Tasks
from gateway.control.logs import following as following_module
from gateway.control.logs.feeds import Feed
from gateway.control.logs.following import PAUSE, Follower, LogFollowers
from gateway.errors import Refusal
from tests.faults.matrix import fault
from tests.support.polling import wait_until
from workers import Line, Log

PATIENCE = 30.0
MANY = 300


def told(lines: Sequence[Line]) -> bytes:
    return b"".join(f"{line.text}\n".encode() for line in lines)


@pytest.fixture
async def following(nursery: trio.Nursery) -> LogFollowers:
    return LogFollowers(Tasks(nursery))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log")
    yield log
    log.close()


class Clients:
    """Followers of one log, each a task; what they got."""

    def __init__(self, following: LogFollowers, log: Log) -> None:
        self.got: list[list[bytes]] = []
        self.feed = following.feed(log, "told", told)
        self._following = following

    async def follow(self, flow: str) -> None:
        mine: list[bytes] = []
        self.got.append(mine)
        with self._following.follower("a log", flow) as follower:
            follower.add(self.feed, 0)
            while not follower.ended:
                if data := await follower.next():
                    mine.append(data)

    async def waiting(self, count: int) -> None:
        """Returns when so many have all there is."""
        await wait_until(
            lambda: len(self.feed.waiting) == count and not self._following.turns._queues
        )


@asynccontextmanager
async def clients(following: LogFollowers, log: Log, count: int) -> AsyncIterator[Clients]:
    many = Clients(following, log)
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(many.follow, f"user {number % 20}")
        yield many
        nursery.cancel_scope.cancel()


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """The arguments of each call of a method."""
    calls: list[Any] = []
    method: Callable[..., Any] = getattr(owner, name)

    def call(*given: Any) -> Any:
        calls.append(given)
        return method(*given)

    monkeypatch.setattr(owner, name, call)
    return calls


class Steps(trio.abc.Instrument):
    """The tasks that run, but for the one that looks on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._looking_on = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is not self._looking_on:
            self.names.append(task.name)


async def test_a_log_is_read_once_for_all(
    following: LogFollowers, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of followers of a log cost one reading and one encoding of each piece, and hold the
    very same bytes."""
    reads = counted(monkeypatch, Log, "read")
    log.write_lines(["one", "two"])
    async with clients(following, log, MANY) as many:
        await many.waiting(MANY)
        log.write("three")
        await wait_until(lambda: all(len(got) == 2 for got in many.got))
    assert {b"".join(got) for got in many.got} == {b"one\ntwo\nthree\n"}
    for piece in zip(*many.got, strict=True):
        assert len({id(data) for data in piece}) == 1
    assert len(reads) == 2


@fault(
    "followers of a silent log",
    injection="hundreds follow, nothing is written",
    bound="no task runs for them",
)
async def test_a_silent_log_costs_nothing(
    following: LogFollowers, log: Log, mock_clock: trio.testing.MockClock
) -> None:
    """While nothing is written, no task of its followers runs, nor any other for them."""
    mock_clock.rate = 1
    log.write("one")
    async with clients(following, log, MANY) as many:
        await many.waiting(MANY)
        await trio.testing.wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for _ in range(24):
            mock_clock.jump(3600)
            await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
    assert steps.names == []


@fault(
    "followers of a log that grows",
    injection="many wait for one line",
    bound="one runs in a step of the loop",
)
async def test_turns_come_one_at_a_time(
    following: LogFollowers, log: Log, mock_clock: trio.testing.MockClock
) -> None:
    """A write wakes one follower, and the next after a pause in which others have the loop."""
    mock_clock.rate = 1
    log.write("one")
    async with clients(following, log, 50) as many:
        await many.waiting(50)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.rate = 0
        given = following.turns.given
        log.write("two")
        for number in range(50):
            await trio.testing.wait_all_tasks_blocked()
            assert following.turns.given == given + number + 1
            mock_clock.jump(1.01 * PAUSE)


async def test_users_have_turns_in_rotation(following: LogFollowers) -> None:
    """One follower of a user does not wait for the hundred of another."""
    turns, order = following.turns, list[str]()

    class Waiting(Follower):
        def take_turn(self) -> None:
            order.append(self.flow)

    for flow in [*100 * ["ada"], "bob"]:
        turns.ask(Waiting(flow, turns))
    await wait_until(lambda: len(order) == 101)
    assert order.index("bob") <= 1


@fault(
    "a follower that does not read",
    injection="a log outgrows its files meanwhile",
    bound="nothing is kept for it; it is told how much was left out",
)
async def test_a_follower_that_does_not_read(following: LogFollowers, tmp_path: Path) -> None:
    """What it has not taken is in the log's files, not in memory; what they do not hold any more is
    left out, with a line that says how much."""
    log = Log(tmp_path / "log", most_bytes=100_000)
    feed = following.feed(log, "told", told)
    with following.follower("a log", "slow") as slow, following.follower("a log", "ada") as quick:
        for follower in (slow, quick):
            follower.add(feed, 0)
        for number in range(30):
            log.write_lines([f"{number:03}" + "x" * 97] * 100)
            while feed.log.has_more(quick._positions[feed]):
                with trio.fail_after(PATIENCE):
                    await quick.next()
            held = sum(len(piece.data) for piece in feed._kept.values())
            assert held <= 4 * 65536
        with trio.fail_after(PATIENCE):
            text = (await slow.next()).decode()
        log.close()
        while not slow.ended:
            text += (await slow.next()).decode()
    first, *rest = text.splitlines()
    assert first.startswith("[predictd] ")
    assert first.endswith(" of this log left out: it was not read in time")
    assert rest[-1].startswith("029")
    kept = [line[:3] for line in rest]
    assert kept == sorted(kept)
    assert len(kept) % 100 == 0


async def test_all_come_to_the_end(following: LogFollowers, log: Log) -> None:
    """When a log is closed, each of its followers gets the last lines, and then the end."""
    many = Clients(following, log)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(many.follow, f"user {number}")
            await many.waiting(100)
            log.write("last")
            log.close()
    assert [b"".join(got) for got in many.got] == 100 * [b"last\n"]


async def test_nothing_is_left_of_followers(following: LogFollowers, log: Log) -> None:
    """After the last follower has left, the log has no subscriber, no turn waits, and no feed is
    kept."""
    async with clients(following, log, 100) as many:
        await many.waiting(100)
        log.write("more")
    assert log._subscribers == set()
    assert not following.turns._queues
    assert not many.feed.waiting
    del many
    assert not following._feeds
    assert not following._followers


async def test_several_logs_of_one_follower(following: LogFollowers, tmp_path: Path) -> None:
    """A log that always has more does not keep the others waiting."""
    loud, quiet = Log(tmp_path / "loud"), Log(tmp_path / "quiet")
    loud.write_lines(["x" * 100] * 10_000)
    quiet.write("here")
    with following.follower("a model", "ada") as follower, trio.fail_after(PATIENCE):
        for log in (loud, quiet):
            follower.add(following.feed(log, "told", told), 0)
        pieces = [await follower.next() for _ in range(2)]
    loud.close()
    quiet.close()
    assert b"here\n" in pieces


async def test_places_are_bounded(following: LogFollowers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one log and of all together so many are followed; the last places are for users that have
    few, and a refusal says what is full."""
    monkeypatch.setattr(following_module, "MOST_OF_ONE", 4)
    monkeypatch.setattr(following_module, "MOST_OF_ALL", 8)

    def refused(what: str, flow: str) -> str:
        with pytest.raises(Refusal) as found:
            following.admit(what, flow)
        assert found.value.code == "gateway.overloaded"
        return str(found.value)

    with following.follower("a", "ada"), following.follower("a", "ada"):
        assert refused("a", "ada") == "2 of 4 clients follow this log, 2 of them of this user"
        following.admit("a", "bob")
        with following.follower("b", "ada"), following.follower("c", "ada"):
            assert refused("d", "ada") == "4 of 8 clients follow logs, 4 of them of this user"
            following.admit("d", "bob")
    following.admit("a", "ada")


async def test_a_feed_reads_again_after_an_error(
    following: LogFollowers, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails once ends the followers that asked, and nothing waits for ever."""
    log.write("one")
    feed: Feed = following.feed(log, "told", told)
    with monkeypatch.context() as failing:
        failing.setattr(Log, "read", lambda *_: (_ for _ in ()).throw(OSError("no")))
        with pytest.raises(OSError, match="no"):
            await feed.piece(0)
    with trio.fail_after(PATIENCE):
        assert (await feed.piece(0)).data == b"one\n"
