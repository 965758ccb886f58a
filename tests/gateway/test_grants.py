"""Rights under which answers are given: looked at in turns, and ended where they end."""

from contextlib import ExitStack
from functools import partial

import trio
import trio.testing

from gateway.grants import TURN, Grants, Principal, Right
from store import User


async def test_many_grants_are_looked_at_in_turns(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Once a second all grants are looked at, so many in one step of the loop; those that do not
    hold any more are ended, and one that is over by its turn is not touched."""
    count, looks, most, expired = 10 * TURN, 0, 0, False

    def holds(who: Principal, right: Right) -> bool:
        nonlocal looks
        looks += 1
        return not (expired and who.address == "late")

    async def look_on() -> None:
        """Runs in each pass of the loop, so between two steps of the task that looks at grants."""
        nonlocal most
        seen = looks
        while True:
            await trio.lowlevel.checkpoint()
            most, seen = max(most, looks - seen), looks

    grants, cut = Grants(holds), list[int]()
    user = User(id="u", name="ada")
    with ExitStack() as stack:
        for number in range(count):
            grant = stack.enter_context(grants.one(partial(cut.append, number)))
            address = "late" if number % 2 else "early"
            grant.principal = Principal(user, "api key", address)
            grant.rights, grant.sending = {Right("identified")}, True
        nursery.start_soon(grants.watch)
        await trio.sleep(1.5)
        assert (looks, cut) == (count, [])
        expired = True
        nursery.start_soon(look_on)
        looks = 0
        while looks < count:
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(0.1)
        assert most <= 2 * TURN
    assert sorted(cut) == list(range(1, count, 2))
